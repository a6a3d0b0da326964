"""Splitters that know tasks: every task in every fold, or whole tasks held out.

Rows sorted by task are the usual case, and there an integer `cv` silently tests tasks
that the training part never saw. These splitters say which of the two is meant.
"""

import numbers
from importlib import import_module

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state, indexable

from .problem.ids import index_tasks, missing_labels, split_task_column


def __getattr__(name):
    """Find TaskConformal, which stands on the estimators, on this path as well."""
    if name == "TaskConformal":
        return import_module("mtlearn.conformal").TaskConformal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _TaskSplitter(BaseCrossValidator):
    """Find the task of every row; a subclass parts the rows in `_parts(codes)`."""

    # Name mangling gives every class its own attribute; scikit-learn looks for the end.
    __metadata_request__split = {"groups": True, "task": True}

    def split(self, X, y=None, groups=None, task=None):
        """Yield the row numbers of the training and of the test part.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_columns)
            Holds the task ids if `task_column` was given.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Only its missing labels matter, and only in two dimensions.
        groups : array-like of shape (n_samples,), default=None
            Task ids, by the name that scikit-learn's tools use.
        task : array-like of shape (n_samples,), default=None
            Task ids, by the name that metadata routing uses.

        Yields
        ------
        train : ndarray of shape (n_train,)
            Row numbers, ascending.
        test : ndarray of shape (n_test,)
            Row numbers, ascending.

        Raises
        ------
        ValueError
            If the ids came by no way or by two, if some are missing, or if the rows
            cannot be parted as asked.
        """
        X, y, groups, task = indexable(X, y, groups, task)
        yield from self._parts(self._codes(X, y, groups, task))

    def get_n_splits(self, X=None, y=None, groups=None, task=None):
        """Return the number of splits; the arguments are there for scikit-learn.

        Parameters
        ----------
        X, y, groups, task : object, default=None
            Ignored.

        Returns
        -------
        int
            As given to the constructor.
        """
        return self.n_splits

    def _codes(self, X, y, groups, task):
        """Task of every row, of shape (n_samples,), from the one place that has it."""
        ways = {"task_column": self.task_column, "groups": groups, "task": task}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise ValueError(
                f"{type(self).__name__} got task ids in more than one way: "
                f"{' and '.join(f'`{name}`' for name in given)}. Give them once."
            )
        if not given:
            return self._codes_of_labels(y)
        name = given[0]
        ids = ways[name]
        if name == "task_column":
            _, ids = split_task_column(X, self.task_column)
        return index_tasks(ids, name=name)[1]

    def _codes_of_labels(self, y):
        """Rows of a 2-D `Y`, each by the rarest of its observed labels."""
        if y is None or np.ndim(y) != 2:
            raise ValueError(
                f"{type(self).__name__} needs the task of every row. Either name the "
                "column of X that holds the ids, `task_column=...`, or pass the ids "
                "to the tool that splits, `groups=...` (with metadata routing: "
                "`task=...`)."
            )
        observed = ~missing_labels(y)
        rarest_first = np.argsort(observed.sum(axis=0), kind="stable")
        codes = observed[:, rarest_first].argmax(axis=1)
        codes[~observed.any(axis=1)] = observed.shape[1]
        return codes


class _TaskFolds(_TaskSplitter):
    """Every row is tested once; a subclass numbers the folds in `_fold_of_rows`."""

    def __init__(
        self, n_splits=5, *, task_column=None, shuffle=False, random_state=None
    ):
        _check_n_splits(n_splits, at_least=2)
        if not isinstance(shuffle, (bool, np.bool_)):
            raise TypeError(f"`shuffle` must be True or False, got {shuffle!r}.")
        if random_state is not None and not shuffle:
            raise ValueError(
                f"`random_state`={random_state!r} has no effect without shuffling: set "
                "`shuffle=True`, or leave `random_state` out."
            )
        self.n_splits = n_splits
        self.task_column = task_column
        self.shuffle = shuffle
        self.random_state = random_state

    def _parts(self, codes):
        rng = check_random_state(self.random_state) if self.shuffle else None
        fold = self._fold_of_rows(codes, rng)
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


class TaskStratifiedKFold(_TaskFolds):
    """K-fold cross-validation in which every fold has its share of every task.

    Of the n_t rows of task t, every fold tests either floor(n_t / k) or ceil(n_t / k),
    and of all n rows either floor(n / k) or ceil(n / k), with k the number of folds.
    Tasks may have fewer rows than there are folds: their rows go to different folds,
    and the next task goes on where the last one ended.

    This is the splitter for predicting new rows of known tasks. For new tasks, take
    `LeaveTasksOut`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    task_column : str or int, default=None
        Name or position of the column of X that holds the task ids. None: the ids come
        with `groups=` or `task=`, or the target has one column per task.
    shuffle : bool, default=False
        Whether rows of a task (and the tasks, in the order in which they take up the
        remainders) are shuffled. Otherwise each fold tests consecutive rows of a task.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling; with an int every call gives the same folds.

    Raises
    ------
    TypeError
        If `n_splits` is not an integer or `shuffle` not a bool.
    ValueError
        If `n_splits` is below 2, or a `random_state` comes without `shuffle=True`; in
        `split`, if there are fewer rows than folds, or no ids for a 1-D target.

    Notes
    -----
    A 2-D target of shape (n_samples, n_tasks) needs no ids. If it is complete, this is
    scikit-learn's KFold. If labels are missing (NaN), every row counts as a row of the
    rarest of its observed labels, so that the columns with few labels are spread evenly
    and the others nearly so.

    Examples
    --------
    >>> import numpy as np
    >>> school = np.repeat(["a", "b", "c"], [4, 2, 2])
    >>> X = np.zeros((8, 1))
    >>> cv = TaskStratifiedKFold(n_splits=2)
    >>> for train, test in cv.split(X, groups=school):
    ...     print(test, school[test])
    [0 1 4 6] ['a' 'a' 'b' 'c']
    [2 3 5 7] ['a' 'a' 'b' 'c']
    """

    def _fold_of_rows(self, codes, rng):
        n_samples = len(codes)
        if self.n_splits > n_samples:
            raise ValueError(
                f"`n_splits`={self.n_splits} folds need at least as many rows, got "
                f"{n_samples}."
            )
        # 1) the rows task after task, 2) dealt to the folds like cards: then no two
        # folds differ by more than one row, neither within a task nor overall
        dealt = np.arange(n_samples) % self.n_splits
        if rng is None:
            order = np.argsort(codes, kind="stable")
            # 3) the same number of rows for each, but consecutive ones
            dealt = dealt[np.lexsort((dealt, codes[order]))]
        else:
            place = rng.permutation(codes.max() + 1)
            order = np.lexsort((rng.permutation(n_samples), place[codes]))
        fold = np.empty(n_samples, dtype=np.int64)
        fold[order] = dealt
        return fold


class LeaveTasksOut(_TaskFolds):
    """K-fold cross-validation over tasks: every task is either trained on or tested.

    The folds are balanced both ways: their numbers of tasks differ by one at most,
    their numbers of rows by no more than the largest task has. For that the tasks, from
    the largest to the smallest, are dealt out in rounds of one task per fold, in each
    round the largest to the fold that has the fewest rows so far.

    This is the splitter for predicting tasks that the fit has never seen. For new rows
    of known tasks, take `TaskStratifiedKFold`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of tasks (then each fold
        holds out one task).
    task_column : str or int, default=None
        Name or position of the column of X that holds the task ids. None: the ids come
        with `groups=` or `task=`.
    shuffle : bool, default=False
        Whether each round is dealt at random. The numbers stay within the same bounds.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling; with an int every call gives the same folds.

    Raises
    ------
    TypeError
        If `n_splits` is not an integer or `shuffle` not a bool.
    ValueError
        If `n_splits` is below 2, or a `random_state` comes without `shuffle=True`; in
        `split`, if there are fewer tasks than folds, or no ids.

    Examples
    --------
    >>> import numpy as np
    >>> school = np.repeat(["a", "b", "c", "d"], [4, 2, 2, 3])
    >>> X = np.zeros((11, 1))
    >>> for train, test in LeaveTasksOut(n_splits=2).split(X, groups=school):
    ...     print(np.unique(school[test]))
    ['a' 'c']
    ['b' 'd']
    """

    def _codes_of_labels(self, y):
        if y is not None and np.ndim(y) == 2:
            raise ValueError(
                "LeaveTasksOut holds out rows, and in a 2-D Y every row has labels of "
                "all tasks. Pass one id per row (`task_column=...` or `groups=...`), "
                "or split the rows with TaskStratifiedKFold."
            )
        return super()._codes_of_labels(y)

    def _fold_of_rows(self, codes, rng):
        sizes = np.bincount(codes)
        if self.n_splits > len(sizes):
            raise ValueError(
                f"`n_splits`={self.n_splits} folds need at least as many tasks to "
                f"hold out, got {len(sizes)}."
            )
        order = np.arange(len(sizes)) if rng is None else rng.permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        fold = np.empty(len(sizes), dtype=np.int64)
        load = np.zeros(self.n_splits)
        for start in range(0, len(sizes), self.n_splits):
            tasks = order[start : start + self.n_splits]
            lightest_first = (
                np.argsort(load, kind="stable")
                if rng is None
                else rng.permutation(self.n_splits)
            )
            fold[tasks] = lightest_first[: len(tasks)]
            load[fold[tasks]] += sizes[tasks]
        return fold[codes]


class TaskShuffleSplit(_TaskSplitter):
    """Random splits in which every task is in both parts.

    Of the n_t rows of task t, about `test_size` n_t are tested, but at least one and
    never all; which ones is drawn anew for each split. A task with a single row is
    always trained on and never tested.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits.
    test_size : float or int, default=None
        Float: the share of every task's rows to test, between 0 and 1; the rounding is
        carried over from task to task, so that the share holds overall too. Int: the
        number of rows of every task. None: what `train_size` leaves, or 0.1.
    train_size : float or int, default=None
        The same for the training part; an int, say 10, is the way to ask how well the
        tasks are learned from ten rows each. None: what `test_size` leaves.
    task_column : str or int, default=None
        Name or position of the column of X that holds the task ids. None: the ids come
        with `groups=` or `task=`, or the target has one column per task.
    random_state : int, RandomState instance or None, default=None
        Seed; an int makes every call give the same splits.

    Raises
    ------
    TypeError
        If `n_splits` is not an integer or a size is not a number.
    ValueError
        If `n_splits` is below 1, a share is not between 0 and 1 or both together are
        more than 1, or an int size is below 1; in `split`, if no task has two rows, or
        no ids came for a 1-D target.

    Notes
    -----
    Where a task is too small for what is asked, it keeps one row in each part, and
    `test_size` goes before `train_size`. A 2-D target needs no ids; see
    `TaskStratifiedKFold` for how its missing labels are spread.

    Examples
    --------
    >>> import numpy as np
    >>> school = np.repeat(["a", "b", "c"], [6, 3, 1])
    >>> X = np.zeros((10, 1))
    >>> cv = TaskShuffleSplit(n_splits=2, test_size=1 / 3, random_state=0)
    >>> for train, test in cv.split(X, groups=school):
    ...     print(school[train], school[test])
    ['a' 'a' 'a' 'a' 'b' 'b' 'c'] ['a' 'a' 'b']
    ['a' 'a' 'a' 'a' 'b' 'b' 'c'] ['a' 'a' 'b']
    """

    def __init__(
        self,
        n_splits=10,
        *,
        test_size=None,
        train_size=None,
        task_column=None,
        random_state=None,
    ):
        _check_n_splits(n_splits, at_least=1)
        shares = [
            size
            for name, size in [("test_size", test_size), ("train_size", train_size)]
            if _is_share(size, name)
        ]
        if sum(shares) > 1:
            raise ValueError(
                f"`test_size`={test_size} and `train_size`={train_size} are together "
                "more than 1."
            )
        self.n_splits = n_splits
        self.test_size = test_size
        self.train_size = train_size
        self.task_column = task_column
        self.random_state = random_state

    def _parts(self, codes):
        rng = check_random_state(self.random_state)
        sizes = np.bincount(codes)
        n_train, n_test = self._part_sizes(sizes)
        starts = np.cumsum(sizes) - sizes
        for _ in range(self.n_splits):
            order = np.lexsort((rng.permutation(len(codes)), codes))
            task = codes[order]
            place = np.arange(len(codes)) - starts[task]
            test = place < n_test[task]
            train = ~test & (place < (n_test + n_train)[task])
            yield np.sort(order[train]), np.sort(order[test])

    def _part_sizes(self, sizes):
        """Rows of each task to train on and to test, both of shape (n_tasks,)."""
        test_size, train_size = self.test_size, self.train_size
        if test_size is None and train_size is None:
            test_size = 0.1
        # a single row is trained on; otherwise each part has at least one
        most = sizes - 1
        if test_size is None:
            n_test = sizes - np.maximum(_of_each(train_size, sizes, most), 1)
        else:
            n_test = _of_each(test_size, sizes, most)
        n_test = np.maximum(n_test, 0)
        n_train = sizes - n_test
        if train_size is not None:
            n_train = _of_each(train_size, sizes, n_train)
        if not n_test.any():
            raise ValueError(
                "TaskShuffleSplit puts every task into both parts, but no task has two "
                f"rows: {np.count_nonzero(sizes)} tasks, {sizes.sum()} rows."
            )
        return n_train, n_test


def _of_each(size, sizes, most):
    """Rows of each task: at least one where `most` allows it, at most `most`."""
    if isinstance(size, numbers.Integral):
        wanted = np.full(len(sizes), size)
    else:
        wanted = np.diff(np.floor(size * np.cumsum(sizes) + 0.5), prepend=0)
    return np.minimum(np.maximum(wanted.astype(np.int64), 1), most)


def _check_n_splits(n_splits, at_least):
    if isinstance(n_splits, bool) or not isinstance(n_splits, numbers.Integral):
        raise TypeError(f"`n_splits` must be an integer, got {n_splits!r}.")
    if n_splits < at_least:
        raise ValueError(f"`n_splits` must be at least {at_least}, got {n_splits}.")


def _is_share(size, name):
    """Check a part's size; return whether it is a share, not a number of rows."""
    if size is None:
        return False
    if isinstance(size, bool) or not isinstance(size, numbers.Real):
        raise TypeError(f"`{name}` must be a float, an int or None, got {size!r}.")
    if isinstance(size, numbers.Integral):
        if size < 1:
            raise ValueError(f"`{name}` as an int must be at least 1, got {size}.")
        return False
    if not 0 < size < 1:
        raise ValueError(f"`{name}` as a float must be between 0 and 1, got {size}.")
    return True
