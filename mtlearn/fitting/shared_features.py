"""What estimators on shared features have in common: penalties, factors, transform."""

from dataclasses import replace

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..problem.ids import column_position
from ..problem.penalties import L21, Dirty, Nuclear
from ..relations import Independent
from ..solvers.features.block_descent import solve_block_descent
from ..solvers.features.low_rank import solve_low_rank, solve_nuclear
from ..solvers.features.proximal import solve_proximal
from . import checks
from .base import TaskEstimator
from .coefficients import LinearReports

PENALTIES = ("rank", "nuclear", "l21", "dirty")
_FAINT = 1e-6  # singular values, relative to the largest, that do not count as rank


class SharedFeatureEstimator(LinearReports, TransformerMixin, TaskEstimator):
    """What both estimators share: penalties, factors, the transformation."""

    def _relation(self):
        return Independent()

    def _check_parameters(self):
        checks.check_choice("penalty", self.penalty, PENALTIES)
        if self.n_components is not None:
            checks.check_number("n_components", self.n_components, 1, whole=True)
        if self.alpha_private is not None:
            checks.check_strength("alpha_private", self.alpha_private, strict=True)

    def _penalty(self, n_tasks):
        """The penalty on W; for "rank" that of its convex hull."""
        alpha = float(self.alpha)
        if self.penalty == "l21":
            return L21(alpha)
        if self.penalty != "dirty":
            return Nuclear(alpha)
        private = self.alpha_private
        return Dirty(alpha, alpha / n_tasks**0.25 if private is None else private)

    def _rank_limit(self, fit):
        """Number of rows of `components_` for "rank"."""
        n_rows = fit.n_part * scores_of(fit)
        full = min(n_rows, fit.n_features)
        if self.n_components is None:
            return full
        if self.n_components > full:
            raise ValueError(
                f"`n_components` must be at most {full}, the smaller of the numbers "
                f"of features and of tasks (times classes where there are more than "
                f"two), got {self.n_components}."
            )
        return self.n_components

    def _solved(self, fit, start):
        """Solve; penalties of W as a whole in the span of the rows."""
        if self.penalty in ("l21", "dirty"):
            return self._solve(fit, start)
        if self.penalty == "rank":
            self._rank_limit(fit)
        return self._in_span(fit, start, own_rows=True)

    def _minimise(self, loss, start):
        """Minimise a loss plus the penalty.

        Parameters
        ----------
        loss : MomentLoss, RowLoss or LazyLoss
        start : (coef, intercept) or None
        """
        # classes are rows of W beside the tasks
        flat = None if start is None else start[0].reshape(-1, loss.n_features)
        how = {"tol": self.tol, "max_iter": self.max_iter, "start": flat}
        if self.penalty == "rank":
            rank = self.n_components or loss.n_rows
            return solve_low_rank(loss, rank, float(self.alpha), **how)
        penalty = self._penalty(len(self.tasks_))
        solve = solve_block_descent if loss.squared else solve_proximal
        solve = solve_nuclear if self.penalty == "nuclear" else solve
        solution = solve(loss, penalty, **how)
        return replace(solution, gap=solution.certificate * loss.zero_objective)

    # ------------------------------------------------------------ keep

    def _keep(self, fit, solution):
        super()._keep(fit, solution)
        n_tasks, d = len(self.tasks_), fit.n_features
        flat = self.coef_.reshape(-1, d)
        self.selected_features_ = np.flatnonzero(flat.any(axis=0))
        U, s, V = np.linalg.svd(flat, full_matrices=False)
        self.rank_ = int(np.sum(s > _FAINT * s.max(initial=0.0)))
        s[self.rank_ :] = 0.0  # rounding, of which a square root would make a feature
        if self.penalty in ("rank", "nuclear"):
            k = self._rank_limit(fit) if self.penalty == "rank" else self.rank_
            heads = self._keep_factors(U[:, :k], s[:k], V[:k])
            self.task_components_ = heads.reshape(*self.coef_.shape[:-1], k)
        if self.penalty == "dirty":
            shared, private = self._penalty(n_tasks).split(flat)
            self.shared_part_ = shared.reshape(self.coef_.shape)
            self.private_part_ = private.reshape(self.coef_.shape)
        if self.penalty != "rank":
            self.dual_gap_ = solution.gap

    def _keep_factors(self, U, s, V):
        """Balanced factors, the largest entry of a component positive."""
        top = np.argmax(np.abs(V), axis=1)
        sign = np.sign(V[np.arange(len(V)), top])
        sign[sign == 0] = 1.0
        root = np.sqrt(s)
        self.components_ = (sign * root)[:, None] * V
        return U * (sign * root)

    # ------------------------------------------------------------ transform

    def transform(self, X):
        """Return the shared features of every row.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`. The task of a row does not matter: a column of ids is dropped.

        Returns
        -------
        Z : {ndarray, sparse array} of shape (n_samples, n_shared)
            `X @ components_.T` for "rank" and "nuclear"; for "l21" and "dirty" the
            features in `selected_features_`.
        """
        check_is_fitted(self)
        X, ids = checks.check_features(self, X, None, reset=False)
        if ids is not None:
            self._codes(ids, X.shape[0])
        if hasattr(self, "components_"):
            return X @ self.components_.T
        return X[:, self.selected_features_]

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of `X`, that of the ids included; by default those seen
            in `fit`, else x0, x1, ...

        Returns
        -------
        names : ndarray of shape (n_shared,), str
            The selected features' own names, or the estimator's name with a number.
        """
        check_is_fitted(self)
        names = OneToOneFeatureMixin.get_feature_names_out(self, input_features)
        if self.task_column is not None:
            column = column_position(self.task_column, list(names), len(names))
            names = np.delete(names, column)
        if hasattr(self, "components_"):
            prefix = type(self).__name__.lower()
            names = [f"{prefix}{k}" for k in range(len(self.components_))]
            return np.array(names, dtype=object)
        return names[self.selected_features_]


def scores_of(fit):
    """Linear scores of an observation: one, or one per class with more than two."""
    return 1 if fit.labels is None or len(fit.labels) == 2 else len(fit.labels)
