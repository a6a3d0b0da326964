"""Which groups of columns differ between tasks: greedy, by the likelihood.

Whether a variance that is zero should be more is seen from the slope of the likelihood
and its information there, for all groups in one evaluation. The best few are let go,
and stay if the likelihood has gained enough by them.
"""

import numpy as np

from .partial import PartialEvidence
from .scoring import Diagonal

_ROUNDS = 8
_ALIKE = 0.5  # of the best promise: groups that are tried together with the best one
_MOST = 4  # groups that are tried together
_LEAST = 1.0  # gain in the log-likelihood that a variance is worth


def grow(model, trial, varying, optional, tol, max_iter):
    """Let groups of optional columns differ between tasks, as long as it pays.

    Parameters
    ----------
    model : the model of `solve_evidence`
    trial : its best variances where the `varying` columns differ between tasks
    varying, optional : ndarray of shape (n_features,), bool
    tol, max_iter : as `solve_evidence` has them

    Returns
    -------
    trial : the same with more columns
    """
    left = model.may_vary(optional & ~varying)
    worth = max(_LEAST, 0.5 * np.log(len(model.rows.counts)))
    for _ in range(_ROUNDS):
        promise = promises(model, trial, varying, left)
        if not promise:
            break
        best = max(promise.values())
        if best < _LEAST:
            break
        order = sorted(promise, key=promise.get, reverse=True)[:_MOST]
        chosen = [g for g in order if promise[g] > max(_ALIKE * best, _LEAST)]
        new = varying | (left & np.isin(model.groups, chosen))
        left &= ~new
        start = _start(model, trial, new)
        there = model.fit(new, start, tol, max_iter)
        gain = 0.5 * (trial.best.point.deviance - there.best.point.deviance)
        if gain > worth * len(chosen):
            trial, varying = there, new
    return trial


def promises(model, trial, varying, left):
    """What the log-likelihood might gain by a variance of each group of columns."""
    if not left.any():
        return {}
    every = model.may_vary(varying | left)
    own, kinds = model.own(every)
    names, kinds = np.unique(kinds, return_inverse=True)
    shape, theta = Diagonal(kinds), _spread(model, trial, names)
    point = model.evidence(every, PartialEvidence).at(
        shape.root(theta), model.shared.prior(trial.best.tau)
    )
    local = shape.around(theta, point, *point.scores())
    info = np.diag(local.info) - local.noise**2 / (0.5 * point.evidence.freedom)
    usable = (local.slope < 0) & (info > 1e-9 * np.diag(local.info))
    gain = np.zeros(len(names))
    gain[usable] = local.slope[usable] ** 2 / (8.0 * info[usable])
    some = np.unique(model.groups[left])
    return dict(zip(some, gain[np.searchsorted(names, some)], strict=True))


def _start(model, trial, varying):
    """Variances of the groups of `varying`: what is known of them, or zero."""
    kinds = model.own(model.may_vary(varying))[1]
    return _spread(model, trial, np.unique(kinds)), trial.best.tau


def _spread(model, trial, names):
    """The trial's variances by groups, zero for groups that it has not."""
    known = np.unique(trial.kinds)
    theta = np.zeros(len(names))
    theta[np.searchsorted(names, known)] = trial.best.theta
    return theta
