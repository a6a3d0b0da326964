"""`features_only` over containers, positions and transformers, and in pipelines."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.utils.estimator_checks import check_estimator

from mtlearn import PerTaskRegressor, SharedMean
from mtlearn.compose import FeaturesOnly, features_only
from mtlearn.datasets import make_task_regression
from mtlearn.metrics import TaskScorer
from mtlearn.model_selection import TaskStratifiedKFold
from mtlearn.problem.ids import column_names, split_task_column

N_ROWS = 12


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(3.0, 2.0, size=(N_ROWS, 3))


@pytest.fixture
def school():
    return np.tile([1007, 12, 12, 3], 3)


@pytest.fixture
def frame(features, school):
    X = pd.DataFrame(features, columns=["u", "v", "w"])
    X.insert(1, "school", school)
    return X.set_index(np.arange(100, 100 + N_ROWS))


@pytest.fixture
def scaled(features):
    return StandardScaler().fit_transform(features)


class RidgeWithoutIds(RegressorMixin, BaseEstimator):
    """Takes the id column out, as our models do, and fits the rest."""

    def __init__(self, task_column=None):
        self.task_column = task_column

    def fit(self, X, y):
        features, _ = split_task_column(X, self.task_column)
        self.ridge_ = Ridge().fit(np.asarray(features, dtype=float), y)
        return self

    def predict(self, X):
        features, _ = split_task_column(X, self.task_column)
        return self.ridge_.predict(np.asarray(features, dtype=float))


class Bare(TransformerMixin, BaseEstimator):
    """Returns two columns of ones, and has no get_feature_names_out."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.ones((len(X), 2))


class Leaky(Bare):
    """Returns the target, if it is given together with the features."""

    def fit_transform(self, X, y):
        return y[:, None]


# ---------------------------------------------------------------- frames


def test_pandas_keeps_names_places_index_and_dtypes(frame, scaled):
    for ids in (frame["school"], frame["school"].astype("category")):
        X = frame.assign(school=ids)
        before = X.copy()
        out = features_only(StandardScaler(), "school").fit_transform(X)
        assert list(out.columns) == ["u", "school", "v", "w"]
        pd.testing.assert_series_equal(out["school"], ids)
        np.testing.assert_allclose(out[["u", "v", "w"]], scaled)
        pd.testing.assert_frame_equal(X, before)


@pytest.mark.parametrize("kind", [pl.from_pandas, pa.Table.from_pandas])
@pytest.mark.parametrize("column", ["school", 1])
def test_polars_and_pyarrow_come_out_as_they_came(frame, scaled, kind, column):
    X = kind(frame.reset_index(drop=True))
    transformer = features_only(StandardScaler(), column).fit(X)
    out = transformer.transform(X)
    assert type(out) is type(X)
    assert column_names(out) == ["u", "school", "v", "w"]
    assert out["school"].to_numpy().tolist() == frame["school"].tolist()
    rest = np.column_stack([out[name] for name in "uvw"])
    np.testing.assert_allclose(rest, scaled)
    assert list(transformer.get_feature_names_out()) == ["u", "school", "v", "w"]


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_transformers_that_return_frames(frame, scaled, output):
    inner = StandardScaler().set_output(transform=output)
    out = features_only(inner, "school").fit_transform(frame)
    assert isinstance(out, pl.DataFrame if output == "polars" else pd.DataFrame)
    assert column_names(out) == ["u", "school", "v", "w"]
    np.testing.assert_allclose(np.asarray(out)[:, [0, 2, 3]], scaled)
    if output != "polars":
        assert out.index.equals(frame.index)
    pipe = make_pipeline(features_only(StandardScaler(), "school"))
    out = pipe.set_output(transform=output).fit_transform(frame)
    assert column_names(out) == ["u", "school", "v", "w"]


@pytest.mark.parametrize("kind", [np.asarray, pl.from_pandas, pa.Table.from_pandas])
def test_frames_asked_for_by_the_configuration(frame, scaled, kind):
    with config_context(transform_output="pandas"):
        out = features_only(StandardScaler(), 1).fit_transform(kind(frame))
    assert isinstance(out, pd.DataFrame)
    assert out.iloc[:, 1].tolist() == frame["school"].tolist()
    np.testing.assert_allclose(out.iloc[:, [0, 2, 3]], scaled)


def test_sparse_result_becomes_a_frame_of_sparse_columns(frame):
    transformer = features_only(OneHotEncoder(), "school")
    out = transformer.fit_transform(frame.round())
    assert list(out.columns) == list(transformer.get_feature_names_out())
    assert out["school"].tolist() == frame["school"].tolist()
    assert isinstance(out.dtypes.iloc[0], pd.SparseDtype)
    with pytest.raises(ValueError, match="sparse_output=False"):
        transformer.fit_transform(pl.from_pandas(frame))


def test_transformers_that_change_the_number_of_columns(frame):
    transformer = features_only(PCA(1), "school")
    out = transformer.fit_transform(frame[["u", "v", "w", "school"]])
    assert list(out.columns) == ["pca0", "school"]
    out = features_only(Bare(), "school").fit_transform(frame)
    assert list(out.columns) == ["bare0", "school", "bare1"]
    with pytest.raises(AttributeError, match="Bare has no get_feature_names_out"):
        features_only(Bare(), "school").fit(frame).get_feature_names_out()


def test_the_least_that_a_transformer_must_have(frame):
    class Double(BaseEstimator):
        def fit(self, X, y=None):
            self.n_features_in_ = X.shape[1]
            return self

        def transform(self, X):
            return 2 * X.to_numpy()

    out = features_only(Double(), "school").fit_transform(frame)
    expected = frame.assign(**{name: 2 * frame[name] for name in "uvw"})
    pd.testing.assert_frame_equal(out, expected)


def test_a_transformer_that_makes_a_column_of_the_same_name(frame):
    class Clash(Bare):
        def get_feature_names_out(self, input_features=None):
            return ["school", "u"]

    with pytest.raises(ValueError, match="Clash makes a column called 'school'"):
        features_only(Clash(), "school").fit_transform(frame)


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("column", [0, 1, 3, -1, -2])
@pytest.mark.parametrize("ids", ["numbers", "strings", "numbers as objects"])
def test_arrays_keep_the_position(features, school, scaled, column, ids):
    position = column % 4
    if ids == "strings":
        school = np.array([f"s{i}" for i in school], dtype=object)
    X = np.insert(features.astype(object), position, school, axis=1)
    if ids == "numbers":
        X = X.astype(float)
    transformer = features_only(StandardScaler(), column)
    out = transformer.fit_transform(X)
    rest, found = split_task_column(out, column)
    assert out.dtype == (object if ids == "strings" else float)
    np.testing.assert_array_equal(found, school)
    np.testing.assert_allclose(rest.astype(float), scaled)
    names = transformer.get_feature_names_out().tolist()
    assert names == ["x0", "x1", "x2", "x3"]
    np.testing.assert_array_equal(transformer.transform(X), out)


@pytest.mark.parametrize("column", [0, -1])
@pytest.mark.parametrize("transformer", [PCA(1), PolynomialFeatures(2)])
def test_first_and_last_position_hold_for_any_number_of_features(
    features, school, column, transformer
):
    X = np.insert(features, column % 4, school, axis=1)
    out = features_only(transformer, column).fit_transform(X)
    np.testing.assert_array_equal(out[:, column], school)
    rest = np.delete(out, column % out.shape[1], axis=1)
    np.testing.assert_allclose(rest, transformer.fit_transform(features))


@pytest.mark.parametrize("column", [3, -4])
def test_a_position_that_cannot_hold(features, school, column):
    X = np.insert(features, column % 4, school, axis=1)
    with pytest.raises(ValueError, match=r"only 1 features come out of PCA.*\(0\) or"):
        features_only(PCA(1), column).fit_transform(X)


def test_large_integer_ids_are_not_rounded(features):
    ids = 2**60 + np.arange(N_ROWS)
    X = np.column_stack([ids, features.round().astype(np.int64)])
    out = features_only(StandardScaler(), 0).fit_transform(X)
    assert out[:, 0].tolist() == ids.tolist()
    small = np.column_stack([np.arange(N_ROWS) + 2**30, features]).astype(object)
    single = FeaturesOnly(StandardScaler(), 0).fit(small)
    assert single.transform(small)[:, 0].tolist() == small[:, 0].tolist()


@pytest.mark.parametrize("make", [sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize("column", [0, 2, -1])
def test_sparse_matrices(features, school, make, column):
    features = np.where(features > 3, features, 0.0)
    X = make(np.insert(features, column % 4, school, axis=1))
    out = features_only(MaxAbsScaler(), column).fit_transform(X)
    assert sp.issparse(out) and out.format == "csr"
    assert isinstance(out, sp.sparray) == isinstance(X, sp.sparray)
    rest, ids = split_task_column(out, column)
    np.testing.assert_array_equal(ids, school)
    np.testing.assert_allclose(rest.toarray(), MaxAbsScaler().fit_transform(features))


def test_string_ids_beside_a_sparse_result(features):
    X = np.column_stack([np.tile(["a", "b"], 6), features.round().astype(object)])
    with pytest.raises(ValueError, match=r"cannot hold ids such as 'a'.*integers"):
        features_only(OneHotEncoder(), 0).fit_transform(X)


def test_nested_lists(features, scaled):
    X = [["ab"[i % 2], *row] for i, row in enumerate(features.tolist())]
    out = features_only(StandardScaler(), 0).fit_transform(X)
    assert out[:2, 0].tolist() == ["a", "b"]
    np.testing.assert_allclose(out[:, 1:].astype(float), scaled)


# ---------------------------------------------------------------- a good citizen


def test_parameters_clone_and_pickle(frame):
    transformer = features_only(StandardScaler(), task_column="school")
    assert isinstance(transformer, FeaturesOnly)
    copy = clone(transformer).set_params(transformer__with_mean=False)
    assert copy.get_params()["transformer__with_mean"] is False
    assert transformer.get_params()["transformer__with_mean"] is True
    fitted = transformer.fit(frame)
    assert not hasattr(transformer.transformer, "mean_")
    assert fitted.n_features_in_ == 4
    again = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(again.transform(frame), fitted.transform(frame))


def test_passthrough_and_target_and_weights(frame, features, school):
    out = features_only("passthrough", "school").fit_transform(frame)
    pd.testing.assert_frame_equal(out, frame)
    # the target arrives, and fit_transform is the transformer's own
    y = np.arange(12.0)
    out = features_only(Leaky(), 0).fit_transform(
        np.column_stack([school, features]), y
    )
    np.testing.assert_array_equal(out, np.column_stack([school, y]))
    # weights arrive, with metadata routing and without
    weight = np.arange(1.0, 13.0)
    mean = np.average(features, axis=0, weights=weight)
    pipe = make_pipeline(features_only(StandardScaler(), "school"))
    pipe.fit(frame, featuresonly__sample_weight=weight)
    np.testing.assert_allclose(pipe[0].transformer_.mean_, mean)
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipe = make_pipeline(features_only(scaler, "school"))
        pipe.fit(frame, sample_weight=weight)
        assert np.allclose(pipe.fit(frame)[0].transformer_.mean_, features.mean(axis=0))
        pipe.fit(frame, sample_weight=weight)
    np.testing.assert_allclose(pipe[0].transformer_.mean_, mean)


def test_a_transformer_of_steps(frame, features):
    inner = make_pipeline(StandardScaler(), PCA(2))
    out = features_only(inner, "school").fit_transform(frame)
    assert list(out.columns) == ["pca0", "school", "pca1"]
    np.testing.assert_allclose(out[["pca0", "pca1"]], inner.fit_transform(features))


def test_refuses(frame, features):
    with pytest.raises(TypeError, match="`transformer` must have fit and transform"):
        features_only("scale", "school").fit(frame)
    with pytest.raises(ValueError, match=r"`task_column`='class' is not a column"):
        features_only(StandardScaler(), "class").fit(frame)
    with pytest.raises(ValueError, match="is a column name, but X has no column"):
        features_only(StandardScaler(), "school").fit(features)
    with pytest.raises(ValueError, match="feature names should match"):
        features_only(StandardScaler(), "school").fit(frame).transform(
            frame.rename(columns={"u": "z"})
        )
    fitted = features_only(StandardScaler(), "school").fit(frame)
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        fitted.get_feature_names_out(["a", "b", "c", "d"])
    nameless = features_only(StandardScaler(), 0).fit(features)
    assert list(nameless.get_feature_names_out(["a", "b", "c"])) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="should have length 3"):
        nameless.get_feature_names_out(["a", "b"])


EXPECTED_FAILURES = {
    "check_estimators_empty_data_messages": "without columns there is no id column",
    "check_fit2d_1feature": "the one column is the id column",
    "check_dtype_object": "ids may be any objects; the estimator checks them",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("column", [0, -1])
def test_check_estimator(column):
    results = check_estimator(
        FeaturesOnly(StandardScaler(), column),
        expected_failed_checks=EXPECTED_FAILURES,
        on_skip=None,
    )
    assert len(results) > 30


# ---------------------------------------------------------------- in pipelines


def test_in_a_pipeline_and_a_search(frame):
    y = frame["u"] - frame["w"]
    pipe = make_pipeline(
        features_only(StandardScaler(), task_column="school"),
        RidgeWithoutIds(task_column="school"),
    )
    plain = make_pipeline(StandardScaler(), Ridge()).fit(frame[["u", "v", "w"]], y)
    np.testing.assert_allclose(
        pipe.fit(frame, y).predict(frame), plain.predict(frame[["u", "v", "w"]])
    )
    grid = {
        "featuresonly__transformer__with_mean": [True, False],
        "featuresonly__transformer": [StandardScaler(), "passthrough"],
    }
    cv = TaskStratifiedKFold(3, task_column="school")
    for part in grid:
        search = GridSearchCV(pipe, {part: grid[part]}, cv=cv, scoring="r2")
        search.fit(frame, y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.fixture
def pupils():
    problem = make_task_regression(8, 30, 3, noise=0.5, random_state=0)
    names = np.array([f"school {t}" for t in problem.task])
    df = pd.DataFrame(problem.data, columns=["intake", "age", "ses"])
    return df.assign(school=names), problem.target


def test_user_code_word_for_word(pupils):
    df, y = pupils
    pipe = make_pipeline(
        features_only(StandardScaler(), task_column="school"),
        PerTaskRegressor(task_column="school"),
    )
    assert pipe.fit(df, y).score(df, y) > 0.5
    pipe.set_params(pertaskregressor__relation=SharedMean())
    cv = TaskStratifiedKFold(5, task_column="school", shuffle=True, random_state=0)
    search = GridSearchCV(
        pipe,
        {
            "pertaskregressor__relation__correlation": [0, 0.5, 0.9, 1],
            "featuresonly__transformer__with_mean": [True],
        },
        cv=cv,
        scoring="r2",
    ).fit(df, y)
    assert search.best_score_ > 0.5
    scorer = TaskScorer(r2_score, task_column="school")
    assert (cross_val_score(pipe, df, y, cv=cv, scoring=scorer) > 0.3).all()
    unseen = cross_val_score(pipe, df, y, cv=GroupKFold(4), groups=df["school"])
    assert np.isfinite(unseen).all()


def test_user_code_with_arrays(pupils):
    df, y = pupils
    by_name = make_pipeline(
        features_only(StandardScaler(), task_column="school"),
        PerTaskRegressor(task_column="school"),
    )
    by_position = make_pipeline(
        features_only(StandardScaler(), task_column=-1),
        PerTaskRegressor(task_column=-1),
    )
    np.testing.assert_allclose(
        by_position.fit(df.to_numpy(), y).predict(df.to_numpy()),
        by_name.fit(df, y).predict(df),
    )


def test_user_code_with_sparse_features(pupils):
    """Trap: string ids cannot be stacked beside a sparse matrix."""
    df, y = pupils
    df = df.round()
    dense = make_pipeline(
        features_only(
            OneHotEncoder(handle_unknown="ignore", sparse_output=False), "school"
        ),
        PerTaskRegressor(task_column="school"),
    )
    sparse = clone(dense).set_params(featuresonly__transformer__sparse_output=True)
    expected = dense.fit(df, y).predict(df)
    np.testing.assert_allclose(sparse.fit(df, y).predict(df), expected, rtol=1e-6)
    # arrays of numbers: the result is a sparse matrix with the ids in their column
    codes = df.assign(school=df["school"].str[-1].astype(int)).to_numpy(dtype=float)
    sparse.set_params(featuresonly__task_column=-1, pertaskregressor__task_column=-1)
    np.testing.assert_allclose(sparse.fit(codes, y).predict(codes), expected, rtol=1e-6)


def test_a_scaler_over_the_ids_is_refused(pupils):
    """Trap: it made tasks of scaled ids, and a training R2 of 1."""
    df, y = pupils
    df = df.assign(school=df["school"].str[-1].astype(int))
    scaler = StandardScaler().set_output(transform="pandas")
    model = PerTaskRegressor(task_column="school")
    with pytest.raises(ValueError, match="floats that are not integers"):
        make_pipeline(scaler, model).fit(df, y)
    make_pipeline(features_only(scaler, "school"), model).fit(df, y)
