"""Which groups of columns differ between tasks: greedy, by the likelihood.

Whether a variance that is zero should be more is seen from the slope of the likelihood
and its information there, for all groups in one evaluation. The best few are let go,
and stay if the likelihood has gained enough by them.
"""

import numpy as np

from .scoring import Diagonal

_ROUNDS = 8
_VAIN = 2  # trials in a row that gain too little, after which there are no more
_ALIKE = 0.5  # of the best promise: groups that are tried together with the best one
_MOST = 4  # groups that are tried together
_PROMISE = 0.3  # gain in the log-likelihood from which it is tried
_ROUGH = 1e-5  # certificate that a trial must reach
_LEAST = 1.0  # gain in the log-likelihood that a variance is worth
_TASKS = 200  # tasks, those with most labels, that are asked for what they promise


def grow(model, trial, varying, optional, tol, max_iter):
    """Let groups of optional columns differ between tasks, as long as it pays.

    Parameters
    ----------
    model : the model of `solve_evidence`
    trial : its best variances where the `varying` columns differ between tasks
    varying : ndarray of shape (n_features,), bool
    optional : ndarray of shape (n_features,)
        How much each column must gain, in what a variance is worth; 0 for others.
    tol, max_iter : as `solve_evidence` has them

    Returns
    -------
    trial : the same with more columns
    """
    left = model.may_vary((optional > 0) & ~varying)
    worth = max(_LEAST, 0.5 * np.log(len(model.rows.counts)))
    price = np.zeros(int(model.groups.max(initial=-1)) + 1)
    np.maximum.at(price, model.groups, worth * optional)
    vain = -1
    for _ in range(_ROUNDS):
        vain += 1
        promise = promises(model, trial, varying, left)
        best = max(promise.values(), default=0.0)
        if best < _PROMISE or vain == _VAIN:
            break
        order = sorted(promise, key=promise.get, reverse=True)[:_MOST]
        chosen = [g for g in order if promise[g] >= max(_ALIKE * best, _PROMISE)]
        new = varying | (left & np.isin(model.groups, chosen))
        start = _start(model, trial, new)
        there = model.fit(new, start, max(tol, _ROUGH), max_iter, tried=True)
        there.best.n_iter += trial.best.n_iter
        gain = 0.5 * (trial.best.point.deviance - there.best.point.deviance)
        if gain > price[chosen].sum() and not there.best.point.noiseless:
            trial, varying, vain = there, new, -1
            left &= ~new
        else:  # the others may still be worth it without the best one
            left &= model.groups != order[0]
    if trial.best.certificate <= tol:
        return trial
    there = model.fit(varying, (trial.best.theta, trial.best.tau), tol, max_iter)
    there.best.n_iter += trial.best.n_iter
    return there


def promises(model, trial, varying, left):
    """What the log-likelihood might gain by a variance of each group of columns."""
    if not left.any():
        return {}
    every = model.may_vary(varying | left)
    kinds = model.own(every)[1]
    names, kinds = np.unique(kinds, return_inverse=True)
    shape, theta = Diagonal(kinds), _spread(trial, names)
    tasks = _largest(model.rows.counts)
    evidence = model.evidence(every, True, tasks)
    point = evidence.at(shape.root(theta), model.shared.prior(trial.best.tau))
    local = shape.around(theta, point, *point.scores())
    info = np.diag(local.info) - local.noise**2 / (0.5 * point.evidence.freedom)
    usable = (local.slope < 0) & (info > 1e-9 * np.diag(local.info))
    gain = np.zeros(len(names))
    gain[usable] = local.slope[usable] ** 2 / (8.0 * info[usable])
    gain *= model.rows.count / evidence.rows.count
    some = np.unique(model.groups[left])
    return dict(zip(some, gain[np.searchsorted(names, some)], strict=True))


def _start(model, trial, varying):
    """Variances of the groups of `varying`: what is known of them, or zero."""
    kinds = model.own(model.may_vary(varying))[1]
    return _spread(trial, np.unique(kinds)), trial.best.tau


def _spread(trial, names):
    """The trial's variances by groups, zero for groups that it has not."""
    known = np.unique(trial.kinds)
    theta = np.zeros(len(names))
    theta[np.searchsorted(names, known)] = trial.best.theta
    return theta


def _largest(counts):
    """Numbers of the tasks with most labels, None for all."""
    if len(counts) <= _TASKS:
        return None
    return np.sort(np.argsort(-counts, kind="stable")[:_TASKS])
