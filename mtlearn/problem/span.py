"""Features as coordinates in the span of the rows, where those are fewer."""

from dataclasses import replace

import numpy as np
from scipy import linalg


class _Space:
    """The features, in coordinates of the rows' span where those are fewer.

    Penalties that do not care for the axes lose nothing by that.
    """

    def __init__(self, rows, turns, own_rows):
        self.rows, self.n_features, self.basis = rows, rows.n_features, None
        few = rows.X.shape[0] < rows.n_features
        if turns and few and (rows.wide or own_rows) and not rows.sparse:
            self.basis = linalg.qr(rows.X.T, mode="economic")[0]
            X = np.ascontiguousarray(rows.X @ self.basis)
            self.rows = replace(rows, X=X, _shared={})

    def there(self, coef):
        """Coefficients in these coordinates."""
        return coef if self.basis is None else np.ascontiguousarray(coef @ self.basis)

    def back(self, coef):
        """Coefficients of the features as given."""
        return coef if self.basis is None else coef @ self.basis.T


# ---------------------------------------------------------------- fewer features


def in_row_space(solve, data, start, *, own_rows=False):
    """Solve with features that are coordinates in the span of the rows, if fewer.

    The best coefficients of every loss and of every penalty that does not change when
    the features are rotated lie in that span, so nothing is lost; with fewer rows than
    features, and those rows common to all tasks, much is saved.

    Parameters
    ----------
    solve : callable
        From (data, start) to a Solution.
    data : TaskData
    start : (coef, intercept) or None
    own_rows : bool
        Whether it is worth it also for tasks with rows of their own.

    Returns
    -------
    Solution
    """
    if data.sparse or not (data.wide or own_rows):
        return solve(data, start)
    if data.X.shape[0] >= data.n_features:
        return solve(data, start)
    basis = linalg.qr(data.X.T, mode="economic")[0]
    if start is not None:
        start = np.ascontiguousarray(start[0] @ basis), start[1]
    reduced = replace(data, X=np.ascontiguousarray(data.X @ basis), _shared={})
    solution = solve(reduced, start)
    return replace(solution, coef=solution.coef @ basis.T)
