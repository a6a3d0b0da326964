"""Every public name has a numpydoc docstring, and every example runs."""

import configparser
import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import ERROR_MSGS, validate
from sklearn.base import BaseEstimator, MetaEstimatorMixin

import mtlearn

ROOT = Path(__file__).parents[1]

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mtlearn.__path__, "mtlearn.")
    if not module.name.endswith("__main__")
)

# what scikit-learn's classes give ours; documented there
INHERITED = {"set_fit_request", "set_predict_request", "set_score_request"}


def asked_checks():
    """The numpydoc checks of setup.cfg: all but those that are listed after "all"."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["tool:numpydoc_validation"]["checks"].split()
    assert listed[0] == "all"
    assert set(listed[1:]) < set(ERROR_MSGS)
    return set(ERROR_MSGS) - set(listed[1:])


def public_names(module):
    """Names that the module itself, or a package's part, defines and does not hide."""
    listed = getattr(module, "__all__", vars(module))
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name in listed
        and (inspect.isclass(value) or inspect.isfunction(value))
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
    ]


def documented():
    """Dotted names that users meet: of `mtlearn`, and of its plain public modules."""
    found = {f"mtlearn.{name}" for name in mtlearn.__all__}
    for name in MODULES:
        if name.rpartition(".")[2] in (
            "compose",
            "metrics",
            "model_selection",
            "report",
        ):
            module = importlib.import_module(name)
            found |= {f"{name}.{one}" for one in public_names(module)}
        if name == "mtlearn.constraints":
            module = importlib.import_module(name)
            kinds = module.Constraint, module.ConstraintDual
            found |= {
                f"{name}.{one}"
                for one in set(public_names(module)) - {"Constraint"}
                if inspect.isclass(getattr(module, one))
                and issubclass(getattr(module, one), kinds)
            }
        if name.rpartition(".")[2] in ("datasets", "inspection"):
            module = importlib.import_module(name)
            found |= {f"{name}.{one}" for one in public_names(module)}
    return sorted(found)


def methods(dotted):
    """Public methods that a class of ours defines or overrides."""
    module, _, name = dotted.rpartition(".")
    value = getattr(importlib.import_module(module), name)
    if not inspect.isclass(value):
        return []
    found = []
    for attribute in dir(value):
        if attribute.startswith("_") or attribute in INHERITED:
            continue
        member = inspect.getattr_static(value, attribute)
        function = getattr(member, "__func__", member)
        function = getattr(function, "fget", function)
        ours = getattr(function, "__module__", "") or ""
        if inspect.isfunction(function) and ours.startswith("mtlearn"):
            found.append(f"{dotted}.{attribute}")
    return found


NAMES = documented()
METHODS = sorted({method for name in NAMES for method in methods(name)})


def test_there_is_something_to_look_at():
    assert len(NAMES) > 15 and len(METHODS) > 20
    assert "mtlearn.MultiTaskSVM.decision_function" in METHODS


@pytest.mark.parametrize("name", NAMES + METHODS)
def test_numpydoc(name):
    errors = [
        f"{code} {words}"
        for code, words in validate(name)["errors"]
        if code in asked_checks()
    ]
    assert errors == []


@pytest.mark.parametrize("name", MODULES)
def test_every_room_and_name_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__ and module.__doc__.strip()
    for one in public_names(module):
        value = getattr(module, one)
        assert inspect.getdoc(value), f"{name}.{one}"
        if inspect.isclass(value):
            for attribute, member in vars(value).items():
                if not attribute.startswith("_") and inspect.isfunction(member):
                    told = inspect.getdoc(getattr(value, attribute))
                    assert told, f"{name}.{one}.{attribute}"


@pytest.mark.parametrize("name", ["mtlearn", *MODULES])
def test_examples_run(name):
    module = importlib.import_module(name)
    with np.printoptions():
        result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", NAMES)
def test_estimators_and_relations_show_an_example(name):
    module, _, last = name.rpartition(".")
    value = getattr(importlib.import_module(module), last)
    if inspect.isclass(value) and issubclass(value, BaseEstimator):
        assert ">>> " in inspect.getdoc(value)


@pytest.mark.parametrize("name", mtlearn.__all__)
def test_the_problem_stands_before_the_parameters(name):
    value = getattr(mtlearn, name)
    told = inspect.getdoc(value)
    if hasattr(value, "fit") and not issubclass(value, MetaEstimatorMixin):
        assert ".. math::" in told[: told.index("Parameters\n")]
        assert "sum, not a mean" in " ".join(told.split())
        assert "relative" in told


# ---------------------------------------------------------------- the same words

ESTIMATORS = [
    name for name in mtlearn.__all__ if hasattr(getattr(mtlearn, name), "fit")
]
RIDGE, CURVES = "MultiTaskBayesianRidge", "MultiTaskAdditiveRegressor"
CLASSIFIER, CLASSES = "MultiTaskBayesianClassifier", "MultiTaskAdditiveClassifier"
BAYES = f"{RIDGE} {CURVES} {CLASSIFIER} {CLASSES}"
SVMS = "MultiTaskSVM MultiTaskSVR"
SEARCHES = "PerTaskRegressorCV PerTaskClassifierCV"
GRIDS = f"{SEARCHES} SharedFeatureRegressorCV"
RIDGES = "PerTaskRegressor PerTaskRegressorCV"
FEATURES = "SharedFeatureClassifier SharedFeatureRegressor"
LOGISTIC = "PerTaskClassifier PerTaskClassifierCV"
SCORES = f"MultiTaskSVM {LOGISTIC} SharedFeatureClassifier"
MAPPING_GRIDS = "SharedMappingClassifierCV SharedMappingRegressorCV"
MAPPINGS = f"SharedMappingClassifier SharedMappingRegressor {MAPPING_GRIDS}"

# What has one name has one text, but for these: estimators that share another text.
# All that are not named share one.
OTHERWISE = {
    "cv": [
        "BestSharing",
        "PerTaskClassifierCV SharedMappingClassifierCV",
        "TaskConformal",
    ],
    "scoring": ["BestSharing", "PerTaskClassifierCV SharedMappingClassifierCV"],
    "task_column": ["BestSharing", "TaskConformal"],
    "classes_": ["BestSharing"],
    "fit_intercept": [
        BAYES,
        "MultiTaskSVM PerTaskClassifier",
        SEARCHES,
        "SharedFeatureClassifier",
        "SharedFeatureRegressor SharedFeatureRegressorCV",
        "SharedMappingClassifier",
        "SharedMappingClassifierCV",
        "SharedMappingRegressor",
        "SharedMappingRegressorCV",
    ],
    "hidden_layer_sizes": [MAPPING_GRIDS],
    "activation": [MAPPING_GRIDS],
    "task_classes_": ["SharedMappingClassifier"],
    "intercepts_": [MAPPING_GRIDS],
    "intercept_strength": [SEARCHES],
    "handle_unknown": [
        RIDGE,
        CURVES,
        CLASSIFIER,
        CLASSES,
        GRIDS,
        "SharedMappingClassifier SharedMappingRegressor",
        MAPPING_GRIDS,
    ],
    "method": [RIDGE, "TaskConformal"],
    "tol": [BAYES, SVMS, FEATURES + " SharedFeatureRegressorCV", MAPPINGS],
    "max_iter": [SVMS, FEATURES, "SharedFeatureRegressorCV", MAPPINGS],
    "verbose": [BAYES, f"{GRIDS} {MAPPING_GRIDS}"],
    "warm_start": [
        SVMS,
        RIDGES,
        "SharedFeatureRegressorCV",
        "SharedMappingClassifier SharedMappingRegressor",
        MAPPING_GRIDS,
    ],
    "task_weight": [f"{GRIDS} {MAPPING_GRIDS}"],
    "relation": [SEARCHES],
    "one_standard_error": ["PerTaskClassifierCV"],
    "constraints": ["MultiTaskSVM"],
    "solver": [
        SVMS,
        LOGISTIC,
        RIDGES,
        "SharedFeatureClassifier",
        "SharedMappingClassifier SharedMappingClassifierCV",
        "SharedMappingRegressor SharedMappingRegressorCV",
    ],
    "alpha": [
        "PerTaskRegressor",
        *FEATURES.split(),
        "SharedMappingClassifier SharedMappingRegressor",
    ],
    "alpha_": ["SharedMappingClassifier SharedMappingRegressor"],
    "loss_": ["SharedMappingClassifier SharedMappingRegressor"],
    "alphas": ["SharedFeatureRegressorCV", *MAPPING_GRIDS.split()],
    "penalty": ["SharedFeatureClassifier", "SharedFeatureRegressorCV"],
    "n_components": ["SharedFeatureClassifier", "SharedFeatureRegressorCV"],
    "loss": ["MultiTaskSVR"],
    "covariance_": [RIDGE, CLASSIFIER, CLASSES],
    "shared_variance_": [f"{RIDGE} {CLASSIFIER}"],
    "noise_variance_": [RIDGE],
    "sharing_": [f"{RIDGE} {CLASSIFIER}"],
    "log_likelihood_": [RIDGE, f"{CLASSIFIER} {CLASSES}"],
    "coef_": [RIDGE, CURVES, CLASSIFIER, CLASSES, SCORES],
    "coefs_": [*MAPPING_GRIDS.split(), "SharedMappingClassifier"],
    "intercept_": [f"{CLASSIFIER} {CLASSES} {SCORES}"],
    "shared_coef_": [
        RIDGE,
        CURVES,
        CLASSIFIER,
        CLASSES,
        "MultiTaskSVM",
        f"{LOGISTIC} SharedFeatureClassifier",
    ],
    "shared_intercept_": [
        f"{RIDGE} {CURVES}",
        f"{CLASSIFIER} {CLASSES}",
        SCORES,
    ],
    "n_iter_": [SVMS],
    "optimality_": [BAYES, "MultiTaskSVM", GRIDS, MAPPINGS],
    "dual_coef_": ["MultiTaskSVM"],
    "constraint_duals_": ["MultiTaskSVM"],
    "task_components_": ["SharedFeatureClassifier"],
    "alphas_": ["SharedFeatureRegressorCV"],
    "mse_path_": ["SharedFeatureRegressorCV", "SharedMappingRegressorCV"],
    "mse_grid_": ["SharedFeatureRegressorCV", "SharedMappingRegressorCV"],
    "log_loss_path_": ["SharedMappingClassifierCV"],
    "log_loss_grid_": ["SharedMappingClassifierCV"],
    "score_path_": [
        "PerTaskClassifierCV",
        "SharedFeatureRegressorCV",
        MAPPING_GRIDS,
    ],
    "coef_path_": ["PerTaskClassifierCV"],
    "best_index_": ["PerTaskClassifierCV"],
}


def texts():
    """{parameter or attribute: {estimator: type without its default, and text}}."""
    found = {}
    for name in ESTIMATORS:
        told = NumpyDocString(inspect.getdoc(getattr(mtlearn, name)))
        for one in [*told["Parameters"], *told["Attributes"]]:
            text = one.type.split(", default")[0], " ".join(one.desc)
            found.setdefault(one.name, {})[name] = text
    return found


TEXTS = texts()


@pytest.mark.parametrize("name", [name for name, own in TEXTS.items() if len(own) > 1])
def test_what_has_one_name_has_one_text(name):
    own, groups = TEXTS[name], [group.split() for group in OTHERWISE.get(name, [])]
    rest = [one for one in own if not any(one in group for group in groups)]
    groups += [rest] if rest else []
    for group in groups:
        for one in group:
            assert own[one] == own[group[0]], f"{one} and {group[0]}: {name}"
    distinct = {own[group[0]] for group in groups}
    assert len(distinct) == len(groups), f"{name}: exceptions that are none"


def test_exceptions_are_of_what_there_is():
    assert set(OTHERWISE) <= {name for name, own in TEXTS.items() if len(own) > 1}
