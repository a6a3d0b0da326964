"""What linear models say in frames: coefficients by name, predictions in parts."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from ..problem.extras import need
from ..problem.ids import feature_names
from .classifiers import own_scores
from .partitions import is_collection

_MOST = 1 << 28  # entries that sparse rows may have as parts


class LinearReports:
    """Coefficients and the parts of predictions as frames, where there is `coef_`."""

    def _keep(self, fit, solution):
        super()._keep(fit, solution)
        if "coef_" in vars(self):
            self._keep_centre(fit, solution)

    def _keep_centre(self, fit, solution=None):
        """Keep the means that parts of predictions count from, the first found."""
        if "_centre" not in vars(self):
            self._centre = self._column_means(fit, solution)

    def _column_means(self, fit, solution):
        """Means of the columns of `coef_` over the labels, by their sample weights."""
        return fit.column_means()

    def _effect_names(self):
        """Names of the columns of `coef_`, or their positions; the intercept last."""
        names = feature_names(self)
        if names is None:
            names = [f"x{j}" for j in range(self.coef_.shape[-1])]
        return np.array([*names, "intercept"], dtype=object)

    def _parts(self):
        """Names of the parts of a prediction, and the part of each column of `coef_`.

        The latter is None where every column is a part.
        """
        return self._effect_names()[:-1].tolist(), None

    # ------------------------------------------------------------ coefficients

    def coef_frame(self, *, shared=False):
        """Coefficients and intercepts as a data frame.

        Parameters
        ----------
        shared : bool or str, default=False
            Whether a last row has the shared model, that of a task not seen in `fit`;
            it is called "shared", or by this name.

        Returns
        -------
        frame : DataFrame
            A row for each task in the order of `tasks_`, for each task and class with
            more than two classes; a column for each column of `coef_` (named as in
            `X`, else x0, x1, ...), and last the intercept. The index is named by
            `task_column` where that is a name, else "task".

        Raises
        ------
        AttributeError
            If the model has no `coef_`, as that of a kernel.
        ImportError
            If pandas is not installed.
        ValueError
            If a task has the name of the shared row.
        """
        check_is_fitted(self)
        coef, intercept = self.coef_, self.intercept_
        tasks = self.tasks_
        if shared is not False:
            tasks = _with_shared(tasks, shared)
            coef, intercept = self._models()
        pd = need("pandas", "coef_frame needs", "examples")
        name = self.task_column if isinstance(self.task_column, str) else "task"
        index = pd.Index(tasks, name=name)
        if coef.ndim == 3:
            both, names = [index, self._labels], [name, "class"]
            index = pd.MultiIndex.from_product(both, names=names)
        values = np.concatenate([coef, intercept[..., None]], axis=-1)
        values = values.reshape(-1, values.shape[-1])
        return pd.DataFrame(values, index=index, columns=self._effect_names())

    # ------------------------------------------------------------ predictions

    def contributions(self, X, *, task=None):
        """What each feature adds to each prediction.

        The part of a feature is what it adds to the function of the row's task beyond
        its mean over the training rows: for a line the task's coefficient times the
        feature less its mean. The baseline is the mean of the task's function over the
        training rows (of all tasks).

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        parts : DataFrame or dict of DataFrame
            A row for each row of `X`, a column for each feature, and last "baseline".
            A row sums to the prediction; for classes to `decision_function`. With more
            than two classes the columns have two levels, class and part. With a
            two-dimensional `y` a frame for each task, by its id.

        Raises
        ------
        AttributeError
            If the model has no `coef_`, as that of a kernel.
        ImportError
            If pandas is not installed.
        TypeError
            If `X` is a Dask collection.
        ValueError
            If the data are not as described, or sparse rows are too many to be dense.
        """
        check_is_fitted(self)
        coef, intercept = self._models()
        if is_collection(X, task):
            raise TypeError(
                "`X` must be in one place for contributions, got a Dask collection: "
                "pass what compute() returns of some of its partitions."
            )
        pd = need("pandas", "contributions needs", "examples")
        index = X.index if hasattr(X, "iloc") else None
        X, ids = self._checked(X, task)
        codes = self._codes(ids, X.shape[0])
        rest = self._rest(X, codes)
        off = self._centred(X)
        if self._layout != "wide":
            which = 0 if codes is None else codes
            parts = self._split(off, coef[which], intercept[which], rest)
            return self._as_frame(pd, parts, self._own_of(codes), index)
        frames = {}
        for t, task in enumerate(self.tasks_.tolist()):
            beyond = None if rest is None else rest[:, t]
            parts = self._split(off, coef[t], intercept[t], beyond)
            own = None if coef.ndim == 2 else self._own[t]
            frames[task] = self._as_frame(pd, parts, own, index)
        return frames

    def _rest(self, X, codes):
        """What predictions are beyond the linear scores of `coef_`, or None."""

    def _centred(self, X):
        """Columns of checked rows, less their means; dense."""
        if sp.issparse(X) and X.shape[0] * X.shape[1] > _MOST:
            raise ValueError(
                f"Parts of predictions are dense, and sparse `X` of shape {X.shape} "
                "has too many: pass some of its rows at a time."
            )
        C = self._represent(X)
        C = C.toarray() if sp.issparse(C) else C
        return C - self._centre

    def _split(self, off, coef, intercept, rest):
        """Parts of the scores: (n_rows, n_parts), and n_classes last with several.

        Parameters
        ----------
        off : ndarray of shape (n_rows, n_columns)
        coef : ndarray of shape (n_columns,), (n_classes, n_columns), or with the rows
            before
        intercept : ndarray of the shape of `coef` without the last axis
        rest : ndarray of shape (n_rows,) or (n_rows, n_classes), or None
        """
        if self.coef_.ndim == 2:
            return self._split_one(off, coef, intercept, rest)
        each = [
            self._split_one(
                off,
                coef[..., k, :],
                intercept[..., k],
                None if rest is None else rest[..., k],
            )
            for k in range(len(self._labels))
        ]
        return np.stack(each, axis=-1)

    def _split_one(self, off, coef, intercept, rest):
        """Parts of one score, the baseline last: (n_rows, n_parts)."""
        names, part = self._parts()
        values = off * coef
        if part is not None:
            values = values @ (part[:, None] == np.arange(len(names)))
        base = np.broadcast_to(coef @ self._centre + intercept, len(off))
        beyond = [] if rest is None else [rest]
        return np.column_stack([values, *beyond, base])

    def _own_of(self, codes):
        """Classes of the task of each row, or None where there are two."""
        if self.coef_.ndim == 2:
            return None
        own = np.vstack([self._own, np.ones((1, len(self._labels)), dtype=bool)])
        return own[0] if codes is None else own[codes]

    def _as_frame(self, pd, parts, own, index):
        """The frame of parts, of classes that the tasks have."""
        names = self._parts()[0]
        names += ["averaging"] * (parts.shape[1] - len(names) - 1) + ["baseline"]
        if own is None:
            return pd.DataFrame(parts, index=index, columns=names)
        labels = self._labels
        if self._layout == "wide":
            parts, labels = own_scores(parts, own), labels[own]
            if parts.ndim == 2:
                return pd.DataFrame(parts, index=index, columns=names)
        else:
            # the score of a class that a task does not have is minus infinity
            absent = np.broadcast_to(~own, parts[:, 0].shape)
            parts[:, :-1] = np.where(absent[:, None], 0.0, parts[:, :-1])
            parts[:, -1] = np.where(absent, -np.inf, parts[:, -1])
        columns = pd.MultiIndex.from_product([labels, names], names=["class", "part"])
        values = parts.transpose(0, 2, 1).reshape(len(parts), -1)
        return pd.DataFrame(values, index=index, columns=columns)


def _with_shared(tasks, shared):
    """Ids, and the name of the shared model after them."""
    if shared is not True and not isinstance(shared, str):
        raise TypeError(f"`shared` must be a bool or a name, got {shared!r}.")
    name = "shared" if shared is True else shared
    ids = tasks.tolist()
    if name in ids:
        raise ValueError(
            f"`shared`: a task is called {name!r}, too. Give another name for the row "
            "of the shared model."
        )
    return [*ids, name]
