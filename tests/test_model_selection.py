"""Splitters: partitions, shares, balance, the three ways of the ids, scikit-learn."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.metadata_routing import get_routing_for_object

from mtlearn import PerTaskRegressor, SharedMean
from mtlearn.datasets import make_task_regression
from mtlearn.metrics import TaskScorer
from mtlearn.model_selection import (
    LeaveTasksOut,
    TaskShuffleSplit,
    TaskStratifiedKFold,
)

SPLITTERS = [TaskStratifiedKFold, TaskShuffleSplit, LeaveTasksOut]
TASK = np.array(["b", "a", "c", "a", "b", "a", "c", "a", "d", "d", "e"])


class RidgeWithTask(RegressorMixin, BaseEstimator):
    """Ridge that takes `task` and forgets it."""

    __metadata_request__fit = {"task": True}
    __metadata_request__score = {"task": True}

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def fit(self, X, y, task=None):
        self.ridge_ = Ridge(self.alpha).fit(X, y)
        self.saw_task_ = task is not None
        return self

    def predict(self, X):
        return self.ridge_.predict(X)

    def score(self, X, y, task=None):
        assert task is not None
        return self.ridge_.score(X, y)


def parts(cv, ids, /, **ways):
    return list(cv.split(np.zeros((len(ids), 1)), **(ways or {"groups": ids})))


def counts(task, rows):
    """Rows of each of the tasks among `rows`."""
    tasks, codes = np.unique(task, return_inverse=True)
    return np.bincount(codes[rows], minlength=len(tasks))


# ---------------------------------------------------------------- properties

tasks_of_rows = st.lists(st.integers(0, 12), min_size=5, max_size=60).map(np.array)


@settings(deadline=None, max_examples=60)
@given(tasks_of_rows, st.integers(2, 5), st.one_of(st.none(), st.integers(0, 9)))
def test_stratified_folds_are_a_partition_with_fair_shares(task, n_splits, seed):
    cv = TaskStratifiedKFold(n_splits, shuffle=seed is not None, random_state=seed)
    splits = parts(cv, task)
    assert len(splits) == n_splits
    tested = np.concatenate([test for _, test in splits])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(task)))
    for train, test in splits:
        np.testing.assert_array_equal(np.sort([*train, *test]), np.arange(len(task)))
    assert np.ptp([len(test) for _, test in splits]) <= 1
    assert np.ptp([counts(task, test) for _, test in splits], axis=0).max() <= 1


@settings(deadline=None, max_examples=60)
@given(tasks_of_rows, st.integers(2, 5), st.one_of(st.none(), st.integers(0, 9)))
def test_held_out_tasks_are_a_balanced_partition(task, n_splits, seed):
    cv = LeaveTasksOut(n_splits, shuffle=seed is not None, random_state=seed)
    n_tasks = len(np.unique(task))
    if n_splits > n_tasks:
        with pytest.raises(ValueError, match=rf"`n_splits`={n_splits} .* {n_tasks}"):
            parts(cv, task)
        return
    splits = parts(cv, task)
    held_out = [np.unique(task[test]) for _, test in splits]
    np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), np.unique(task))
    for train, test in splits:
        np.testing.assert_array_equal(np.sort([*train, *test]), np.arange(len(task)))
        assert not set(task[train]) & set(task[test])
    assert np.ptp([len(tasks) for tasks in held_out]) <= 1
    largest = np.unique(task, return_counts=True)[1].max()
    assert np.ptp([len(test) for _, test in splits]) <= largest


sizes_of_parts = st.one_of(st.none(), st.floats(0.05, 0.5), st.integers(1, 20))


@settings(deadline=None, max_examples=60)
@given(tasks_of_rows, sizes_of_parts, sizes_of_parts, st.integers(0, 9))
def test_every_task_is_in_both_parts(task, test_size, train_size, seed):
    cv = TaskShuffleSplit(
        3, test_size=test_size, train_size=train_size, random_state=seed
    )
    sizes = np.unique(task, return_counts=True)[1]
    if sizes.max() == 1:
        with pytest.raises(ValueError, match="no task has two rows"):
            parts(cv, task)
        return
    splits = parts(cv, task)
    assert len(splits) == 3
    for train, test in splits:
        assert not set(train) & set(test)
        assert len(set(train)) == len(train) and len(set(test)) == len(test)
        n_train, n_test = counts(task, train), counts(task, test)
        assert n_train.min() >= 1
        np.testing.assert_array_equal(n_test >= 1, sizes >= 2)
        if test_size is None or train_size is None:
            np.testing.assert_array_equal(n_train + n_test, sizes)


# ---------------------------------------------------------------- TaskStratifiedKFold


def test_tasks_smaller_than_the_number_of_folds():
    """StratifiedKFold refuses this (every task has fewer rows than folds)."""
    task = np.repeat(np.arange(7), 3)
    splits = parts(TaskStratifiedKFold(5), task)
    assert sorted(len(test) for _, test in splits) == [4, 4, 4, 4, 5]
    assert all(counts(task, test).max() == 1 for _, test in splits)


def test_without_shuffling_a_fold_tests_consecutive_rows():
    task = np.repeat([3, 1], [6, 4])
    (_, first), (_, second) = parts(TaskStratifiedKFold(2), task)
    assert first.tolist() == [0, 1, 2, 6, 7]
    assert second.tolist() == [3, 4, 5, 8, 9]


def test_shuffling_depends_on_the_seed_even_for_tasks_of_one_row():
    task = np.arange(30)

    def folds(seed):
        cv = TaskStratifiedKFold(3, shuffle=True, random_state=seed)
        return [test.tolist() for _, test in parts(cv, task)]

    assert folds(0) == folds(0)
    assert folds(0) != folds(1)


def test_complete_wide_target_is_an_ordinary_kfold():
    X, Y = np.zeros((11, 2)), np.zeros((11, 4))
    for ours, theirs in zip(TaskStratifiedKFold(3).split(X, Y), KFold(3).split(X)):
        np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, pl.DataFrame, "objects"])
def test_missing_labels_are_spread(kind):
    rng = np.random.default_rng(0)
    Y = np.where(rng.uniform(size=(40, 3)) < [0.0, 0.5, 0.8], np.nan, 1.0)
    Y[:5] = np.nan
    Y[np.flatnonzero(~np.isnan(Y[:, 2]))[5:], 2] = np.nan  # five labels
    n_labels = (~np.isnan(Y)).sum(axis=0)
    if kind == "objects":
        labels = np.where(np.isnan(Y), None, "yes")
    else:
        labels = kind(Y)
    for _, test in TaskStratifiedKFold(5).split(np.zeros((40, 1)), labels):
        tested = (~np.isnan(Y[test])).sum(axis=0)
        assert tested[2] == 1
        assert np.abs(tested - n_labels / 5).max() <= 2


# ---------------------------------------------------------------- TaskShuffleSplit


def test_shares_hold_per_task_and_overall():
    task = np.repeat(np.arange(40), 14)
    for train, test in parts(TaskShuffleSplit(2, random_state=0), task):
        assert set(counts(task, test)) == {1, 2}
        assert len(test) == 56 and len(train) == 504


def test_int_sizes_are_rows_of_each_task():
    task = np.repeat(["big", "mid", "small", "one"], [30, 12, 5, 1])
    cv = TaskShuffleSplit(1, train_size=10, random_state=0)
    [(train, test)] = parts(cv, task)
    assert counts(task, train).tolist() == [10, 10, 1, 4]  # sorted ids
    assert counts(task, test).tolist() == [20, 2, 0, 1]
    cv = TaskShuffleSplit(1, train_size=10, test_size=4, random_state=0)
    [(train, test)] = parts(cv, task)
    assert counts(task, train).tolist() == [10, 8, 1, 1]
    assert counts(task, test).tolist() == [4, 4, 0, 4]


def test_random_splits_differ_and_repeat():
    first, second = parts(TaskShuffleSplit(2, test_size=0.5, random_state=3), TASK)
    again, _ = parts(TaskShuffleSplit(2, test_size=0.5, random_state=3), TASK)
    assert first[1].tolist() != second[1].tolist()
    assert first[1].tolist() == again[1].tolist()


def test_random_split_of_a_wide_target():
    Y = np.full((20, 2), np.nan)
    Y[:4, 1] = Y[4:, 0] = 1.0
    [(_, test)] = TaskShuffleSplit(1, test_size=0.25, random_state=0).split(Y, Y)
    assert (~np.isnan(Y[test])).sum(axis=0).tolist() == [4, 1]


# ---------------------------------------------------------------- LeaveTasksOut


def test_as_many_folds_as_tasks_leaves_one_out():
    for _, test in parts(LeaveTasksOut(5), TASK):
        assert len(set(TASK[test])) == 1


def test_shuffled_tasks_differ_with_the_seed():
    task = np.repeat(np.arange(20), 3)

    def folds(seed):
        cv = LeaveTasksOut(4, shuffle=True, random_state=seed)
        return [test.tolist() for _, test in parts(cv, task)]

    assert folds(0) == folds(0)
    assert folds(0) != folds(1)


# ---------------------------------------------------------------- where the ids are

CONTAINERS = {
    "pandas": lambda ids, x: (pd.DataFrame({"x": x, "task": ids}), "task"),
    "polars": lambda ids, x: (pl.DataFrame({"x": x, "task": ids}), "task"),
    "pyarrow": lambda ids, x: (pl.DataFrame({"x": x, "t": ids}).to_arrow(), "t"),
    "categorical": lambda ids, x: (
        pd.DataFrame({"x": x, "task": pd.Categorical(ids)}),
        1,
    ),
    "objects": lambda ids, x: (
        np.column_stack([ids.astype(object), x.astype(object)]),
        0,
    ),
    "lists": lambda ids, x: ([list(row) for row in zip(ids.tolist(), x.tolist())], 0),
    "codes": lambda ids, x: (
        np.column_stack([np.unique(ids, return_inverse=True)[1], x]),
        0,
    ),
    "sparse": lambda ids, x: (
        sp.csr_array(np.column_stack([np.unique(ids, return_inverse=True)[1], x])),
        -2,
    ),
}


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_column_groups_and_task_split_alike(splitter, container):
    X, column = CONTAINERS[container](TASK, np.arange(len(TASK), dtype=float))
    seed = {"random_state": 0} if splitter is TaskShuffleSplit else {}
    by_column = list(splitter(3, task_column=column, **seed).split(X))
    for way in ("groups", "task"):
        for ours, expected in zip(
            by_column, parts(splitter(3, **seed), TASK, **{way: TASK})
        ):
            np.testing.assert_array_equal(ours[0], expected[0])
            np.testing.assert_array_equal(ours[1], expected[1])


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_splitter_without_ids_explains_both_ways(splitter):
    X, y = np.zeros((6, 1)), np.zeros(6)
    for target in (y, None):
        with pytest.raises(ValueError, match=r"task_column=.*groups=.*task="):
            next(splitter(2).split(X, target))
    with pytest.raises(ValueError, match="`task_column` and `groups`"):
        next(splitter(2, task_column=0).split(X, y, groups=y))
    with pytest.raises(ValueError, match="`groups` and `task`"):
        next(splitter(2).split(X, y, groups=y, task=y))


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["a", None, "b", "b"], "`groups` has missing ids"),
        ([0.5, 1.0, 2.0, 2.0], "`groups` holds floats that are not integers"),
        ([0, 1, 1], "inconsistent numbers of samples"),
    ],
)
def test_bad_ids(splitter, ids, words):
    with pytest.raises(ValueError, match=words):
        next(splitter(2).split(np.zeros((4, 1)), groups=ids))


BAD_PARAMETERS = [
    (TaskStratifiedKFold, {"n_splits": 1}, ValueError, "`n_splits` must be at least 2"),
    (LeaveTasksOut, {"n_splits": 2.0}, TypeError, "`n_splits` must be an integer"),
    (TaskShuffleSplit, {"n_splits": 0}, ValueError, "`n_splits` must be at least 1"),
    (TaskStratifiedKFold, {"shuffle": "yes"}, TypeError, "`shuffle` must be True or"),
    (LeaveTasksOut, {"random_state": 0}, ValueError, "set `shuffle=True`"),
    (TaskShuffleSplit, {"test_size": 1.5}, ValueError, "`test_size` as a float must"),
    (TaskShuffleSplit, {"train_size": 0}, ValueError, "`train_size` as an int must"),
    (TaskShuffleSplit, {"test_size": "half"}, TypeError, "`test_size` must be a float"),
    (
        TaskShuffleSplit,
        {"test_size": 0.7, "train_size": 0.7},
        ValueError,
        "together more than 1",
    ),
]


@pytest.mark.parametrize(("splitter", "parameters", "error", "words"), BAD_PARAMETERS)
def test_bad_parameters(splitter, parameters, error, words):
    with pytest.raises(error, match=words):
        splitter(**parameters)


def test_too_many_folds_and_columns_without_tasks():
    with pytest.raises(ValueError, match=r"`n_splits`=5 .* at least as many rows.* 3"):
        parts(TaskStratifiedKFold(5), np.arange(3))
    with pytest.raises(ValueError, match="2-D Y every row has labels of all tasks"):
        next(LeaveTasksOut(2).split(np.zeros((4, 1)), np.zeros((4, 3))))
    with pytest.raises(ValueError, match=r"'school' is not a column"):
        next(
            TaskStratifiedKFold(2, task_column="school").split(
                pd.DataFrame({"x": [1.0, 2.0]})
            )
        )


# ---------------------------------------------------------------- with scikit-learn


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_repr_clone_and_number_of_splits(splitter):
    cv = splitter(4, task_column="school")
    assert repr(cv).startswith(f"{splitter.__name__}(n_splits=4, ")
    assert "task_column='school'" in repr(cv)
    assert repr(clone(cv, safe=False)) == repr(cv)
    assert cv.get_n_splits() == 4
    # GridSearchCV hands over everything that it hands to split
    assert cv.get_n_splits(None, None, groups=TASK, task=TASK) == 4


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_groups_and_task_are_requested(splitter):
    with config_context(enable_metadata_routing=True):
        request = get_routing_for_object(splitter(2)).split.requests
        assert request == {"groups": True, "task": True}
        silent = splitter(2).set_split_request(task=False)
        assert get_routing_for_object(silent).split.requests["task"] is False


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_search_and_cross_validation(splitter):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y, school = X.sum(axis=1), np.tile(np.arange(12), 5)
    grid = {"alpha": [0.1, 1.0]}
    # 1) ids as groups, 2) ids in a column, 3) ids by metadata routing
    search = GridSearchCV(Ridge(), grid, cv=splitter(3)).fit(X, y, groups=school)
    assert search.n_splits_ == 3
    drop = FunctionTransformer(lambda X: X[:, 1:])
    scores = cross_val_score(
        make_pipeline(drop, Ridge()),
        np.column_stack([school, X]),
        y,
        cv=splitter(3, task_column=0),
        scoring="r2",
    )
    assert np.isfinite(scores).all()
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(RidgeWithTask(), grid, cv=splitter(3))
        search.fit(X, y, task=school)
        assert search.best_estimator_.saw_task_
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_rows_sorted_by_task_keep_their_task_in_training():
    """Trap: an integer `cv` tests tasks that training has not seen."""
    school = np.repeat(np.arange(6), 10)
    level = np.eye(6)[school]
    y = 10.0 * school
    plain = cross_val_predict(Ridge(1e-3), level, y, cv=6)
    ours = cross_val_predict(
        Ridge(1e-3), level, y, cv=TaskStratifiedKFold(6), groups=school
    )
    assert np.abs(ours - y).max() < 0.1 < np.abs(plain - y).min()


@pytest.fixture
def pupils():
    """30 rows of each of eight schools, sorted by school."""
    X, y, task = make_task_regression(
        8, 30, 3, noise=0.5, shuffle=False, return_X_y=True, random_state=0
    )
    df = pd.DataFrame(X, columns=["intake", "age", "ses"])
    return df.assign(school=[f"school {t}" for t in task]), y


def test_user_code_word_for_word(pupils):
    df, y = pupils
    pipe = make_pipeline(
        ColumnTransformer(
            [("task", "passthrough", ["school"])],
            remainder=StandardScaler(),
            verbose_feature_names_out=False,
        ).set_output(transform="pandas"),
        PerTaskRegressor(task_column="school", relation=SharedMean()),
    )
    cv = TaskStratifiedKFold(5, task_column="school", shuffle=True, random_state=0)
    search = GridSearchCV(
        pipe,
        {"pertaskregressor__relation__correlation": [0, 0.5, 0.9, 1]},
        cv=cv,
        scoring="r2",
    ).fit(df, y)
    assert search.best_score_ > 0.8
    known = cross_val_score(
        pipe, df, y, cv=cv, scoring=TaskScorer(r2_score, task_column="school")
    )
    unseen = cross_val_score(pipe, df, y, cv=GroupKFold(5), groups=df["school"])
    out = LeaveTasksOut(4, task_column="school")
    also_unseen = cross_val_score(pipe, df, y, cv=out)
    assert known.min() > max(unseen.mean(), also_unseen.mean())


def test_user_code_the_second_way(pupils):
    """Ids by `task=`: one word for the estimator, the splitter and the scorer."""
    df, y = pupils
    X, school = df[["intake", "age", "ses"]], df["school"]
    with config_context(enable_metadata_routing=True):
        grid = {"relation__correlation": [0, 0.9]}
        for scoring in (None, TaskScorer("r2", average="worst")):
            search = GridSearchCV(
                PerTaskRegressor(relation=SharedMean()),
                grid,
                cv=TaskStratifiedKFold(3),
                scoring=scoring,
                error_score="raise",
            ).fit(X, y, task=school)
            assert search.best_score_ > 0.5
