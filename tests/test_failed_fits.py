"""A fit succeeds or leaves the estimator exactly as it was."""

import sys
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

import mtlearn
from mtlearn.compose import FeaturesOnly
from mtlearn.constraints import Bounds, NonNegative
from mtlearn.model_selection import TaskStratifiedKFold

PACKAGE = str(Path(mtlearn.__file__).parent)
POINTS = 8  # at which each fit is interrupted
# one that was fitted has more to lose; the other is asked for with -m slow
STATES = [pytest.param(False, marks=pytest.mark.slow), True]


def _small(name, **params):
    """An estimator by name, cheap to fit."""
    kind = getattr(mtlearn, name)
    known = kind().get_params(deep=False)
    cheap = {
        "alphas": 3,
        "Cs": 2,
        "cv": 2,
        "hidden_layer_sizes": (3,),
        "random_state": 0,
    }
    cheap |= {"correlations": [0.5, 1.0]}
    cheap |= {"max_iter": 20} if "Mapping" in name else {}
    cheap = {key: value for key, value in cheap.items() if key in known}
    return kind(**{**cheap, **params})


PUBLIC = [n for n in mtlearn.__all__ if hasattr(getattr(mtlearn, n), "fit")]
MODELS = {name: _small(name) for name in PUBLIC}
MODELS |= {
    "PerTaskRegressor-constraints": _small(
        "PerTaskRegressor", constraints=[Bounds(-1.0, 1.0)]
    ),
    "PerTaskRegressor-pooled": _small("PerTaskRegressor", relation="pooled"),
    "PerTaskRegressorCV-scoring": _small("PerTaskRegressorCV", scoring="r2"),
    "MultiTaskSVM-hinge": _small("MultiTaskSVM", loss="hinge"),
    "MultiTaskSVM-rbf": _small("MultiTaskSVM", kernel="rbf"),
    "MultiTaskSVR-kinked": _small(
        "MultiTaskSVR", loss="epsilon_insensitive", epsilon=0.1
    ),
    "MultiTaskSVR-poly": _small("MultiTaskSVR", kernel="poly"),
    "SharedFeatureRegressor-l21": _small("SharedFeatureRegressor", penalty="l21"),
    "SharedFeatureRegressor-dirty": _small("SharedFeatureRegressor", penalty="dirty"),
    "SharedFeatureRegressor-rank": _small("SharedFeatureRegressor", n_components=1),
    "SharedFeatureRegressorCV-both": _small(
        "SharedFeatureRegressorCV", penalty=["l21", "nuclear"]
    ),
    "SharedMappingRegressor-stopped": _small(
        "SharedMappingRegressor", early_stopping=True, n_init=2
    ),
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _problem(model, first=0, n_tasks=3, n_features=3, seed=0):
    """Arguments of `fit`: ids from `first` on, ten rows each."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(first, first + n_tasks), 10)
    X = rng.normal(size=(len(task), n_features))
    y = X[:, 0] + 0.3 * rng.normal(size=len(task)) + 0.1 * (task - first)
    if get_tags(model).estimator_type == "classifier":
        y = np.array(["no", "yes"])[(y > 0.1).astype(int)]
    return {"X": X, "y": y, "task": task}


def _first(model):
    return _problem(model)


def _second(model):
    """A problem that has nothing in common with the first, and more of everything."""
    return _problem(model, first=100, n_tasks=5, n_features=4, seed=1)


def _predictions(model):
    problem = _first(model)
    ids = problem["task"].copy()
    ids[:5] = 999  # a new task
    return model.predict(problem["X"], task=ids)


class _Unchanged:
    """Remembers an estimator, and tells whether it is still as it was."""

    def __init__(self, model):
        self.model, self.stored = model, dict(vars(model))
        self.arrays = {
            name: value.copy()
            for name, value in self.stored.items()
            if isinstance(value, np.ndarray)
        }
        self.fitted = hasattr(model, "tasks_")
        self.predicted = _predictions(model) if self.fitted else None

    def check(self):
        stored = vars(self.model)
        assert stored.keys() == self.stored.keys()
        assert all(stored[name] is self.stored[name] for name in stored)
        for name, array in self.arrays.items():
            np.testing.assert_array_equal(stored[name], array)
        if self.fitted:
            np.testing.assert_array_equal(_predictions(self.model), self.predicted)
        else:
            with pytest.raises(NotFittedError):
                _predictions(self.model)


def _calls_until(stop, function):
    """Run a function; interrupt it when it makes its call number `stop`.

    Calls of functions of the package count. Returns how many there were.
    """
    count = 0

    def watch(frame, event, arg):
        nonlocal count
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            count += 1
            if count == stop:
                sys.setprofile(None)
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def _warm(model):
    """A copy that starts at its last fit, if it can."""
    model = clone(model)
    has = "warm_start" in model.get_params(deep=False)
    return model.set_params(warm_start=True) if has else model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fitted", STATES)
def test_an_interrupted_fit_never_happened(name, fitted):
    """At some points from the first check to the last store."""
    if not fitted and name not in PUBLIC:
        return
    model = _warm(MODELS[name])
    if fitted:
        model.fit(**_first(model))
    other = _second(model)
    clone(model).fit(**other)  # sets up what is set up once
    fresh = deepcopy(model)
    n_calls = _calls_until(None, lambda: fresh.fit(**other))
    points = np.unique(np.geomspace(1, n_calls, POINTS // 2).astype(int))
    # backwards too: there the model is stored
    points = np.union1d(points, n_calls + 1 - points)
    before = _Unchanged(model)
    for stop in points.tolist():
        with pytest.raises(KeyboardInterrupt):
            _calls_until(stop, lambda: model.fit(**other))
        before.check()
    model.fit(**other)
    assert model.tasks_.tolist() == [100, 101, 102, 103, 104]


BAD = {
    "X with NaN": lambda p: p["X"].__setitem__((0, 0), np.nan),
    "X one-dimensional": lambda p: p.update(X=p["X"][:, 0]),
    "X and y of other lengths": lambda p: p.update(y=p["y"][1:]),
    "X and task of other lengths": lambda p: p.update(task=p["task"][1:]),
    "no y": lambda p: p.update(y=None),
    "y of three dimensions": lambda p: p.update(y=p["y"][:, None, None]),
    "y infinite": lambda p: p.update(y=np.full(len(p["X"]), np.inf)),
    "an id missing": lambda p: p.update(
        task=np.where(p["task"] == 100, np.nan, p["task"])
    ),
    "a weight negative": lambda p: p.update(sample_weight=-np.ones(len(p["X"]))),
    "all weights zero": lambda p: p.update(sample_weight=np.zeros(len(p["X"]))),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("fitted", STATES)
def test_bad_data_change_nothing(name, bad, fitted):
    model = clone(MODELS[name])
    if fitted:
        model.fit(**_first(model))
    problem = _second(model)
    BAD[bad](problem)
    before = _Unchanged(model)
    with pytest.raises((ValueError, TypeError)):
        model.fit(**problem)
    before.check()


BAD_PARAMETERS = {
    "task_weight": {99: 2.0},
    "fit_intercept": "often",
    "tol": -1.0,
    "solver": "magic",
    "relation": mtlearn.TaskGraph([[0, 1], [1, 0]], tasks=["a", "b"]),
    "n_components": 50,
    "alpha": -1.0,
    "C": 0.0,
    "cv": 400,
    "kernel": lambda A, B: np.zeros((1, 1)),
    "constraints": [Bounds(1.0, 2.0), Bounds(-2.0, -1.0)],
    "class_weight": {"perhaps": 2.0},
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("parameter", BAD_PARAMETERS)
@pytest.mark.parametrize("name", PUBLIC)
def test_bad_parameters_change_nothing(name, parameter):
    """Those refused at the door, with the data, or in the solver."""
    model = clone(MODELS[name])
    if parameter not in model.get_params(deep=False):
        return
    model.fit(**_first(model))
    model.set_params(**{parameter: BAD_PARAMETERS[parameter]})
    before = _Unchanged(model)
    with pytest.raises((ValueError, TypeError)):
        model.fit(**_second(model))
    before.check()


@pytest.mark.parametrize(
    "name", ["PerTaskClassifier", "SharedFeatureRegressorCV", "SharedMappingRegressor"]
)
def test_a_warning_that_is_an_error_is_one(name):
    model = clone(MODELS[name]).fit(**_first(MODELS[name]))
    model.set_params(max_iter=1, tol=1e-14)
    before = _Unchanged(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Warning, match="converge"):
            model.fit(**_second(model))
    before.check()


@pytest.mark.parametrize("name", MODELS)
def test_warm_starts_know_what_fits(name):
    """After a failed fit, on other tasks, and on the same ones."""
    model = _warm(MODELS[name])
    model.fit(**_first(model))
    bad = _second(model)
    bad["X"][0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(**bad)
    for problem in (_first(model), _second(model), _first(model)):
        model.fit(**problem)
        fresh = clone(model).fit(**problem)
        assert model.tasks_.tolist() == fresh.tasks_.tolist()
        if "Mapping" not in name:  # which goes on, instead of ending where it began
            ids = problem["task"]
            agree = model.predict(problem["X"], task=ids) == fresh.predict(
                problem["X"], task=ids
            )
            if get_tags(model).estimator_type == "classifier":
                assert agree.mean() > 0.97
            else:
                np.testing.assert_allclose(
                    model.predict(problem["X"], task=ids),
                    fresh.predict(problem["X"], task=ids),
                    atol=1e-2,
                )


CHANGES = [
    ("MultiTaskSVM", {"kernel": "rbf"}, {"kernel": "linear"}),
    ("MultiTaskSVR", {"constraints": [NonNegative()]}, {"kernel": "rbf"}),
    ("PerTaskRegressorCV", {"scoring": "r2"}, {"scoring": None}),
    ("PerTaskRegressorCV", {}, {"relation": "independent"}),
    ("SharedFeatureRegressor", {"penalty": "rank"}, {"penalty": "l21"}),
    ("SharedFeatureRegressor", {"penalty": "dirty"}, {"penalty": "nuclear"}),
    ("SharedFeatureRegressorCV", {"penalty": "l21"}, {"penalty": "rank"}),
    ("SharedMappingRegressor", {"early_stopping": True}, {"early_stopping": False}),
]


@pytest.mark.parametrize(("name", "first", "then"), CHANGES)
def test_nothing_is_left_of_an_earlier_fit(name, first, then):
    for old, new in ((first, then), (then, first)):
        model = _small(name, **old)
        model.own = "kept"
        problem = _first(model)
        names = ["u", "v", "w"]
        model.fit(**{**problem, "X": pd.DataFrame(problem["X"], columns=names)})
        assert model.feature_names_in_.tolist() == names
        model.set_params(
            **{**clone(_small(name)).get_params(), **_small(name, **new).get_params()}
        )
        model.fit(**problem)
        fresh = clone(model).fit(**problem)
        assert vars(model).keys() - {"own"} == vars(fresh).keys()
        assert not hasattr(model, "feature_names_in_")
        assert model.own == "kept"


@pytest.mark.parametrize("method", ["fit", "fit_transform"])
@pytest.mark.parametrize("fitted", [False, True])
def test_a_transformer_beside_the_ids(method, fitted):
    model = FeaturesOnly(StandardScaler(), task_column=0)
    X = np.arange(12.0).reshape(4, 3)
    if fitted:
        model.fit(X)
    stored = dict(vars(model))
    bad = np.full((4, 5), np.inf)
    with pytest.raises(ValueError, match="infinity"):
        getattr(model, method)(bad)
    fresh = clone(model)
    n_calls = _calls_until(None, lambda: getattr(fresh, method)(X[:, :2]))
    for stop in range(1, n_calls + 1):
        with pytest.raises(KeyboardInterrupt):
            _calls_until(stop, lambda: getattr(model, method)(X[:, :2]))
        assert vars(model).keys() == stored.keys()
        assert all(value is stored[name] for name, value in vars(model).items())


def test_folds_that_fail_half_way():
    """The scorer of a search is a caller's function too."""
    calls = []

    def scorer(estimator, X, y):
        calls.append(1)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return 0.0

    model = _small("PerTaskRegressorCV", cv=TaskStratifiedKFold(3))
    problem = _first(model)
    model.fit(**problem).set_params(scoring=scorer)
    before = _Unchanged(model)
    with pytest.raises(KeyboardInterrupt):
        model.fit(**_second(model))
    before.check()
