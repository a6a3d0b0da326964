"""Every public estimator as scikit-learn wants it: checks, copies, parameters, tags."""

import copy
import inspect
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from cases import ESTIMATORS, learnt, quick
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.fixes import parse_version

import mtlearn
from mtlearn import (
    Composition,
    Independent,
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    MultiTaskSVR,
    PerTaskRegressor,
    SharedFeatureClassifier,
    SharedFeatureRegressor,
    SharedFeatureRegressorCV,
    SharedMappingRegressor,
    SharedMean,
    TaskCovariance,
    TaskGraph,
)
from mtlearn.constraints import Bounds, NonNegative, SharedCoefficients

# what they feed as ids are random floats
RANDOM_IDS = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
    "check_classifiers_one_label_sample_weights",
    "check_decision_proba_consistency",
    "check_class_weight_classifiers",
}
REFUSAL = "holds floats that are not integers"

every_estimator = pytest.mark.parametrize(
    "estimator", ESTIMATORS, ids=lambda c: c.__name__
)
# the others inherit from these how ids and metadata are read: checked when asked for
KINDS = {
    MultiTaskBayesianRidge,
    MultiTaskSVM,
    PerTaskRegressor,
    SharedFeatureRegressorCV,
    SharedMappingRegressor,
}
one_of_every_kind = pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(c, marks=[pytest.mark.slow] if c not in KINDS else [])
        for c in ESTIMATORS
    ],
    ids=lambda c: c.__name__,
)
every_related = pytest.mark.parametrize(
    "estimator",
    [c for c in ESTIMATORS if hasattr(c(), "relation")],
    ids=lambda c: c.__name__,
)
# the convex penalties are solvers of their own; "rank" is the default
PENALTIES = [
    estimator(penalty=penalty)
    for estimator in (SharedFeatureClassifier, SharedFeatureRegressor)
    for penalty in ("nuclear", "l21", "dirty")
]
# gamma="scale" is a variance, which repeated rows change and weights do not
MACHINES = [
    estimator(kernel="rbf", loss=loss)
    for estimator, losses in [
        (MultiTaskSVM, ("hinge", "squared_hinge")),
        (MultiTaskSVR, ("epsilon_insensitive", "squared_epsilon_insensitive")),
    ]
    for loss in losses
]

KINKED = [
    MultiTaskSVM(loss="hinge"),
    MultiTaskSVR(loss="epsilon_insensitive"),
]


@pytest.fixture
def p(request, long_regression, long_classification):
    """The long problem that suits the estimator of the test."""
    estimator = request.node.callspec.params["estimator"]
    return long_regression if is_regressor(estimator()) else long_classification


def coupled(estimator, relation="shared_mean"):
    """Parameters that tie the tasks, in an estimator's own way."""
    return {"relation": relation} if hasattr(estimator(), "relation") else {}


def weighing(estimator, task_weight):
    """Parameters that weigh the tasks; a likelihood weighs none."""
    has = "task_weight" in inspect.signature(estimator).parameters
    return {"task_weight": task_weight} if has else {}


def test_all_estimators_are_here():
    names = {estimator.__name__ for estimator in ESTIMATORS}
    assert names >= {
        "MultiTaskAdditiveClassifier",
        "MultiTaskAdditiveRegressor",
        "MultiTaskBayesianClassifier",
        "MultiTaskBayesianRidge",
        "MultiTaskSVM",
        "MultiTaskSVR",
        "PerTaskClassifier",
        "PerTaskRegressor",
        "SharedFeatureClassifier",
        "SharedFeatureRegressor",
        "SharedMappingClassifier",
        "SharedMappingClassifierCV",
        "SharedMappingRegressor",
        "SharedMappingRegressorCV",
    }
    for estimator in ESTIMATORS:
        assert is_regressor(estimator()) != is_classifier(estimator())


# ---------------------------------------------------------------- scikit-learn's checks


CONSTRAINED = [
    PerTaskRegressor(constraints=[NonNegative()]),
    MultiTaskSVM(constraints=[Bounds(-0.5, 0.5)]),
    MultiTaskSVR(constraints=[SharedCoefficients([0])]),
]


@parametrize_with_checks([*(quick(one) for one in ESTIMATORS), *CONSTRAINED])
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.sampled(3)
@parametrize_with_checks(KINKED)
def test_checks_of_kinked_losses(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(PENALTIES)
def test_checks_of_other_penalties(estimator, check):
    check(estimator)


@pytest.mark.sampled(3)
@parametrize_with_checks(MACHINES)
def test_checks_of_kernel_machines(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [MultiTaskSVM, MultiTaskSVR])
def test_checks_of_precomputed_kernels(estimator):
    # the one that fails predicts from fewer columns than it has fitted
    results = check_estimator(
        estimator(kernel="precomputed"), on_skip=None, on_fail=None
    )
    failed = {r["check_name"] for r in results if r["status"] == "failed"}
    assert failed == {"check_estimators_nan_inf"}
    assert len(results) > 50


@one_of_every_kind
def test_checks_with_metadata_routing(estimator):
    with config_context(enable_metadata_routing=True):
        results = check_estimator(quick(estimator), on_skip=None, on_fail=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    assert len(results) > 50


@one_of_every_kind
def test_checks_with_a_column_of_ids(estimator):
    results = check_estimator(
        quick(estimator, task_column=0), on_skip=None, on_fail=None
    )
    failed = [r for r in results if r["status"] == "failed"]
    assert {r["check_name"] for r in failed} <= RANDOM_IDS
    for r in failed:
        assert isinstance(r["exception"], ValueError)
        assert REFUSAL in str(r["exception"])
    assert len(results) - len(failed) > 50


def test_the_check_that_wants_array_api():
    # skipped above: the variable has to be set before SciPy is imported
    script = """
from cases import ESTIMATORS, quick
from mtlearn import BestSharing, TaskConformal
from sklearn.utils.estimator_checks import estimator_checks_generator as generate
for one in [*map(quick, ESTIMATORS), BestSharing(cv=2), TaskConformal(cv=2)]:
    for estimator, check in generate(one):
        if "check_array_api_input" in str(check):
            check(estimator)
            print(type(one).__name__)
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **os.environ,
            "SCIPY_ARRAY_API": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    # before 1.9 scikit-learn asked this of those only that say that they pass it
    asked = []
    if parse_version(sklearn.__version__) >= parse_version("1.9"):
        asked = [*(estimator.__name__ for estimator in ESTIMATORS), "BestSharing"]
        asked.append("TaskConformal")
    assert sorted(run.stdout.split()) == sorted(asked)


# ---------------------------------------------------------------- copies


@every_estimator
def test_clones_have_the_same_parameters_and_no_model(estimator, p):
    params = coupled(estimator, SharedMean(0.3))
    model = quick(estimator, task_column="school", tol=1e-5, **params)
    model.fit(pd.DataFrame(p.X).assign(school=p.task).rename(columns=str), p.y)
    copied = clone(model)
    for name in params:
        assert getattr(copied, name) is not getattr(model, name)
    assert repr(copied) == repr(model)
    assert not hasattr(copied, "coef_") and not hasattr(copied, "coefs_")


@every_estimator
@pytest.mark.sampled(2)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, "pickle"])
def test_copies_predict_the_same(estimator, p, duplicate, adjacency):
    if duplicate == "pickle":

        def duplicate(model):
            return pickle.loads(pickle.dumps(model))

    for relation in ("shared_mean", TaskGraph(adjacency, tasks=p.tasks)):
        model = quick(estimator, **coupled(estimator, relation))
        model.fit(p.X, p.y, task=p.task)
        other = duplicate(model)
        assert_array_equal(
            other.predict(p.X, task=p.task), model.predict(p.X, task=p.task)
        )
        assert_array_equal(
            learnt(other.fit(p.X, p.y, task=p.task)),
            learnt(duplicate(model).fit(p.X, p.y, task=p.task)),
        )


@every_estimator
def test_fitting_twice_gives_the_same(estimator, p):
    model = quick(estimator, **coupled(estimator)).fit(p.X, p.y, task=p.task)
    before = learnt(model)
    model.fit(p.X, p.y, task=p.task)
    assert_array_equal(learnt(model), before)
    sparse = sp.csr_array(p.X)
    first = learnt(quick(estimator).fit(sparse, p.y, task=p.task))
    second = learnt(quick(estimator).fit(sparse, p.y, task=p.task))
    assert_array_equal(second, first)


@every_estimator
def test_a_global_seed_changes_nothing(estimator, p):
    X, found = sp.csr_array(p.X), []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        model = quick(estimator, fit_intercept=False).fit(X, p.y, task=p.task)
        found.append(learnt(model))
    assert_array_equal(*found)


# ---------------------------------------------------------------- input


@every_estimator
@pytest.mark.parametrize("order", ["C", "F"])
def test_read_only_input(estimator, p, order):
    arrays = [
        np.array(p.X, order=order),
        p.y.copy(),
        p.weight.copy(),
        p.task.copy(),
        np.linspace(0.5, 2.0, 5),
    ]
    for array in arrays:
        array.flags.writeable = False
    X, y, weight, task, task_weight = arrays
    model = quick(estimator, **weighing(estimator, task_weight))
    model.fit(X, y, weight, task=task)
    expected = quick(estimator, **weighing(estimator, np.linspace(0.5, 2.0, 5)))
    expected.fit(p.X, p.y, p.weight, task=p.task)
    assert_array_equal(learnt(model), learnt(expected))
    model.predict(X, task=task)
    model.score(X, y, weight, task=task)


@every_estimator
def test_read_only_sparse_input(estimator, p):
    X = sp.csr_array(p.X)
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = False
    model = quick(estimator).fit(X, p.y, task=p.task)
    model.predict(X, task=p.task)


@every_estimator
def test_input_is_left_alone(estimator, p, long_multiclass):
    df = pd.DataFrame(p.X, columns=list("abcde")).assign(school=p.task)
    before = df.copy(deep=True), p.y.copy(), p.weight.copy()
    model = quick(estimator, task_column="school").fit(df, p.y, p.weight)
    model.predict(df)
    model.score(df, p.y, p.weight)
    pd.testing.assert_frame_equal(df, before[0])
    assert_array_equal(p.y, before[1])
    assert_array_equal(p.weight, before[2])
    X = sp.csr_array(p.X)
    X.data[0] = 0.0
    quick(estimator).fit(X, p.y, task=p.task)
    assert X.nnz == p.X.size


@every_estimator
def test_views_with_strides(estimator, p):
    wide = np.repeat(p.X, 2, axis=1)
    rows = np.repeat(wide, 2, axis=0)
    model = quick(estimator).fit(rows[::2, ::2], np.repeat(p.y, 2)[::2], task=p.task)
    expected = quick(estimator).fit(p.X, p.y, task=p.task)
    assert_array_equal(learnt(model), learnt(expected))


@every_estimator
def test_the_model_does_not_look_into_the_callers_arrays(estimator, p):
    task = p.task.copy()
    model = quick(estimator).fit(p.X, p.y, task=task)
    fitted = model.predict(p.X, task=p.task)
    task[:] = "east"
    assert model.tasks_.tolist() == p.tasks.tolist()
    assert_array_equal(model.predict(p.X, task=p.task), fitted)


# ---------------------------------------------------------------- parameters

COMMON = [
    "task_column",
    "task_weight",
    "fit_intercept",
    "intercept_strength",
    "handle_unknown",
    "solver",
    "tol",
    "max_iter",
    "warm_start",
    "random_state",
    "verbose",
]
DEFAULTS = {
    "task_column": None,
    "task_weight": None,
    "fit_intercept": True,
    "intercept_strength": 1.0,
    "handle_unknown": "shared",
    "solver": "auto",
    "warm_start": False,
    "random_state": None,
    "verbose": 0,
}


@every_estimator
def test_common_parameters_come_last_in_one_order(estimator):
    parameters = dict(inspect.signature(estimator).parameters)
    chance = estimator.__name__.startswith("SharedMapping")
    expected = [name for name in COMMON if chance or name != "random_state"]
    if hasattr(estimator(), "covariance"):  # a likelihood with starts of its own
        absent = {"task_weight", "solver", "warm_start", "intercept_strength"}
        expected = [name for name in expected if name not in absent]
    assert [name for name in parameters if name in COMMON] == expected
    assert list(parameters)[-len(expected) :] == expected
    for name in expected:
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        searched = hasattr(estimator(), "margin") and "intercept" in name
        if name in DEFAULTS:
            default = "auto" if searched else DEFAULTS[name]
            assert parameters[name].default == default


def test_the_models_own_parameters():
    own = {
        "PerTaskRegressor": {"alpha": 1.0, "relation": "independent"},
        "PerTaskClassifier": {"C": 1.0, "relation": "independent"},
        "MultiTaskSVM": {
            "C": 1.0,
            "relation": "shared_mean",
            "loss": "squared_hinge",
            "kernel": "linear",
        },
        "MultiTaskSVR": {
            "C": 1.0,
            "epsilon": 0.0,
            "relation": "shared_mean",
            "loss": "squared_epsilon_insensitive",
            "kernel": "linear",
        },
    }
    shared = {"n_components": None, "alpha": 1.0, "penalty": "rank"}
    for name in ("SharedFeatureClassifier", "SharedFeatureRegressor"):
        own[name] = {**shared, "alpha_private": None}
    mapping = {"hidden_layer_sizes": (64,), "activation": "tanh", "alpha": "auto"}
    for name in ("SharedMappingClassifier", "SharedMappingRegressor"):
        own[name] = {
            **mapping,
            "shared": "hidden",
            "n_init": 1,
            "early_stopping": False,
            "validation_fraction": 0.1,
            "n_iter_no_change": 10,
        }
    for name, expected in own.items():
        parameters = inspect.signature(getattr(mtlearn, name)).parameters
        assert list(parameters)[: len(expected)] == list(expected)
        for parameter, default in expected.items():
            assert parameters[parameter].default == default


@every_estimator
def test_parameters_are_stored_as_they_are(estimator):
    # and checked by fit, not by the constructor
    nonsense = {name: object() for name in quick(estimator).get_params(deep=False)}
    model = quick(estimator, **nonsense)
    for name, value in nonsense.items():
        assert getattr(model, name) is value


@every_estimator
def test_fit_leaves_the_parameters_alone(estimator, p):
    params = coupled(estimator, SharedMean(0.3)) | weighing(estimator, {"east": 2.0})
    model = quick(estimator, **params)
    before = dict(model.get_params())
    model.fit(p.X, p.y, task=p.task)
    after = model.get_params()
    assert after == before
    assert all(after[name] is before[name] for name in after)


@every_related
def test_parameters_of_the_relation_are_reached_by_name(estimator, p):
    model = quick(estimator, relation=SharedMean(0.3))
    assert model.get_params()["relation__correlation"] == 0.3
    model.set_params(relation__correlation=0.9).fit(p.X, p.y, task=p.task)
    expected = quick(estimator, relation=SharedMean(0.9)).fit(p.X, p.y, task=p.task)
    assert_array_equal(learnt(model), learnt(expected))
    model.set_params(relation=TaskCovariance(np.eye(5)))
    assert "relation__covariance" in model.get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'correlation'"):
        model.set_params(relation__correlation=0.1)


@pytest.mark.parametrize("name", ["shared_mean", "pooled"])
@every_related
def test_parameters_of_a_relation_given_by_name_are_reached(estimator, name, p):
    model = quick(estimator, relation=name)
    copy_ = clone(model).set_params(relation__correlation=0.9)
    assert model.relation == name and copy_.relation.correlation == 0.9
    copy_.fit(p.X, p.y, task=p.task)
    expected = quick(estimator, relation=SharedMean(0.9)).fit(p.X, p.y, task=p.task)
    assert_array_equal(learnt(copy_), learnt(expected))
    # the name may come along
    both = quick(estimator).set_params(relation=name, relation__correlation=0.9)
    assert both.relation.correlation == 0.9
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        model.set_params(relation__nonsense=1)
    with pytest.raises(ValueError, match="Invalid parameter 'correlation'"):
        model.set_params(relation="independent", relation__correlation=1)
    assert model.relation == name


def test_a_grid_search_reaches_a_relation_given_by_name(long_classification):
    p = long_classification
    values = [0.1, 0.9]
    X = pd.DataFrame(p.X, columns=list("abcde")).assign(school=p.task)
    search = GridSearchCV(
        MultiTaskSVM(task_column="school"), {"relation__correlation": values}, cv=2
    ).fit(X, p.y)
    assert search.best_params_["relation__correlation"] in values
    assert search.estimator.relation == "shared_mean"
    rules = Composition({"all": {"east": 1}}, relation="shared_mean")
    rules.set_params(relation__correlation=0.2)
    assert rules.relation.correlation == 0.2


@every_related
def test_a_relation_of_choice_on_a_single_task_is_mentioned(estimator, p):
    with pytest.warns(UserWarning, match="`task_column`, or pass them as `task=`"):
        quick(estimator, relation=SharedMean(0.9)).fit(p.X, p.y)
    quick(estimator).fit(p.X, p.y)
    quick(estimator, relation="independent").fit(p.X, p.y)
    quick(estimator, relation=Independent()).fit(p.X, p.y)
    quick(estimator, relation=SharedMean(0.9)).fit(p.X, p.y, task=["a"] * len(p.y))


@every_estimator
def test_representations_show_what_was_changed(estimator):
    assert repr(estimator()) == f"{estimator.__name__}()"
    model = quick(estimator, **coupled(estimator, SharedMean(0.3)), tol=1e-3)
    assert "tol=0.001" in repr(model) and "tol" in model._repr_html_()
    if coupled(estimator):
        assert "SharedMean(correlation=0.3)" in repr(model)
        assert "correlation" in model._repr_html_()


@every_estimator
def test_fit_returns_itself_and_keeps_private_what_it_must(estimator, p):
    model = quick(estimator)
    assert model.fit(p.X, p.y, task=p.task) is model
    public = {name for name in vars(model) if name.endswith("_")}
    documented = {"tasks_", "n_iter_", "optimality_", "n_features_in_"}
    if is_classifier(model):
        documented |= {"classes_", "task_classes_"}
    sometimes = {"feature_names_in_"}
    if hasattr(model, "hidden_layer_sizes"):
        documented |= {"coefs_", "intercepts_", "loss_", "loss_curve_", "alpha_"}
        sometimes |= {"validation_curve_"}
    else:
        documented |= {"coef_", "intercept_", "shared_coef_", "shared_intercept_"}
    if hasattr(model, "constraints"):
        documented |= {"constraint_duals_"}
    if hasattr(model, "covariance"):
        documented |= {"covariance_", "shared_variance_", "sharing_"}
        documented |= {"log_likelihood_"}
        documented |= set() if is_classifier(model) else {"noise_variance_"}
    if hasattr(model, "n_knots"):
        documented |= {"term_names_", "own_curves_", "interactions_"}
    if hasattr(model, "penalty"):
        documented |= {"components_", "task_components_"}
        documented |= {"rank_", "selected_features_"}
        sometimes |= {"dual_gap_", "shared_part_", "private_part_"}
    if hasattr(model, "Cs"):
        documented |= {"C_", "Cs_", "log_loss_path_", "log_loss_grid_"}
    if hasattr(model, "alphas"):
        errors = "log_loss" if is_classifier(model) else "mse"
        documented |= {"alpha_", "alphas_", f"{errors}_path_", f"{errors}_grid_"}
    if hasattr(model, "cv"):
        documented |= {"best_index_"}
        sometimes |= {"score_path_"}
        if hasattr(model, "hidden_layer_sizes"):
            documented |= {"hidden_layer_sizes_"}
            sometimes -= {"validation_curve_"}
        elif hasattr(model, "penalty"):
            documented |= {"coef_path_", "penalty_", "n_components_", "variants_"}
        else:
            documented |= {"coef_path_", "correlation_", "correlations_"}
            documented |= {"fit_intercept_"}
            documented |= {"fit_intercepts_", "intercept_strength_"}
    assert public == documented
    described = inspect.getdoc(estimator)
    for name in documented | sometimes:
        # alone or in a list of attributes of one shape
        assert re.search(rf"^(\w+, )*{name}(, \w+)* : ", described, re.MULTILINE)


# ---------------------------------------------------------------- tags


@every_estimator
def test_tags(estimator):
    tags = get_tags(quick(estimator))
    assert tags.input_tags.sparse and not tags.input_tags.allow_nan
    assert not tags.input_tags.categorical
    assert tags.target_tags.required
    assert tags.target_tags.single_output and tags.target_tags.multi_output
    if is_classifier(quick(estimator)):
        assert tags.classifier_tags.multi_label
    tags = get_tags(quick(estimator, task_column="school"))
    assert tags.input_tags.categorical
    assert tags.target_tags.single_output and not tags.target_tags.multi_output
    if is_classifier(quick(estimator)):
        assert not tags.classifier_tags.multi_label


@every_estimator
def test_ids_are_requested_by_default(estimator):
    with config_context(enable_metadata_routing=True):
        routing = quick(estimator).get_metadata_routing()
        for method in ("fit", "predict", "score"):
            assert getattr(routing, method).requests["task"] is True
        for method in ("predict_proba", "predict_log_proba", "decision_function"):
            if hasattr(estimator, method):
                assert getattr(routing, method).requests["task"] is True
