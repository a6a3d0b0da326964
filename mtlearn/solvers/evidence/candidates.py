"""What the likelihood would gain by more shared columns, before any fit has them."""

from itertools import pairwise

import numpy as np
from scipy import linalg

_STRENGTHS = np.logspace(-4.0, 4.0, 33)  # variances that are tried, over their unit
_NONE = 1e-9  # part of a column's square that is not yet explained: rounding


def gains(posterior, U, weight, slope, starts, Z, groups):
    r"""Gain in the log-likelihood by each group of new shared columns.

    With all other variances as they are, the best variance of each group,

    .. math:: \max_\lambda -\frac{1}{2} \log |I + \lambda A|
              + \frac{\lambda}{2 \sigma^2} r^\top (I + \lambda A)^{-1} r, \quad
              A = \sigma^2 Z^\top P Z, \quad r = Z^\top W (y - \hat y)

    where P is the inverse covariance of the labels, freed of the flat coefficients.

    Parameters
    ----------
    posterior : Posterior
    U : ndarray of shape (n_labels, q)
        The model's own columns, task after task.
    weight : ndarray of shape (n_labels,)
        Curvature of the loss of each label, weights included.
    slope : ndarray of shape (n_labels,)
        Minus its gradient.
    starts : ndarray of shape (n_tasks + 1,), int
    Z : ndarray of shape (n_labels, n_columns)
    groups : ndarray of shape (n_columns,), int
        Group of each column, in order from 0.

    Returns
    -------
    gains : ndarray of shape (n_groups,)
    strengths : ndarray of shape (n_groups,)
        The best variances, over sigma^2.
    """
    F = posterior.basis @ posterior.root
    bounds = list(pairwise(starts))
    G = np.array([U[i:j].T @ (weight[i:j, None] * U[i:j]) for i, j in bounds])
    root = np.linalg.inv(np.linalg.cholesky(F.T @ G @ F + np.eye(F.shape[1])))
    lower, GF = root @ F.T, G @ F
    halves, lent = [], np.zeros((U.shape[1], Z.shape[1]))
    for t, (low, high) in enumerate(bounds):
        both = U[low:high].T @ (weight[low:high, None] * Z[low:high])
        halves.append(lower[t] @ both)
        lent += both - GF[t] @ (root[t].T @ halves[-1])
    known = np.vstack([*halves, posterior.spread @ lent])
    r = Z.T @ slope
    edges = np.flatnonzero(np.diff(groups, prepend=-1, append=groups[-1] + 1))
    found = []
    for low, high in pairwise(edges):
        part, rest = Z[:, low:high], known[:, low:high]
        square = part.T @ (weight[:, None] * part)
        A = square - rest.T @ rest
        found.append(_best(A, r[low:high], np.trace(square), posterior.noise))
    return tuple(np.array(found).T)


def _best(A, r, square, noise):
    """The best gain of one group, and its strength."""
    values, vectors = linalg.eigh(A)
    if values[-1] <= _NONE * square:
        return 0.0, 0.0
    strength = _STRENGTHS / values[-1]
    grown = 1.0 + strength[:, None] * np.maximum(values, 0.0)
    squares = strength[:, None] * (vectors.T @ r) ** 2 / noise
    gain = 0.5 * (squares / grown - np.log(grown)).sum(axis=1)
    best = int(np.argmax(gain))
    return (gain[best], strength[best]) if gain[best] > 0 else (0.0, 0.0)
