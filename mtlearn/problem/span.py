"""Features as coordinates in the span of the rows, where those are fewer."""

from dataclasses import replace

import numpy as np
from scipy import linalg


class RowSpan:
    """The rows, with features that are coordinates in their span, if those are fewer.

    The best coefficients of every loss and of every penalty that does not change when
    the features are rotated lie in that span, so nothing is lost; with fewer rows than
    features much is saved.

    Parameters
    ----------
    rows : TaskData
    turns : bool
        Whether the penalty allows for other axes.
    own_rows : bool
        Whether it is worth it also for tasks with rows of their own.
    """

    def __init__(self, rows, turns=True, own_rows=False):
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

    def start(self, model):
        """A model (coef, intercept) in these coordinates, or None."""
        return None if model is None else (self.there(model[0]), model[1])


class NoSpan(RowSpan):
    """Features as they are, of rows that are not there any more."""

    def __init__(self, n_features):
        self.rows, self.n_features, self.basis = None, n_features, None
