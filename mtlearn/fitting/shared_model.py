"""Which intercepts the labels determine, and what those get that are open."""

import numpy as np

_ROUNDING = 1e-8


def mean_where(values, own, otherwise):
    """Mean over the first axis of those in `own`; `otherwise` where there are none.

    Parameters
    ----------
    values : ndarray of shape (n_part, ...)
    own : ndarray of bool, of the shape of the first axes of `values`
    otherwise : float or ndarray of the shape of the mean

    Returns
    -------
    mean : float or ndarray of shape (...)
    """
    if own.all():
        return values.mean(axis=0)
    own = own.reshape(own.shape + (1,) * (values.ndim - own.ndim))
    count = own.sum(axis=0)
    total = np.where(own, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), otherwise)[()]


def settle_intercepts(fit, intercept, own=None, otherwise=0.0):
    """Give intercepts that no label determines the mean of the others.

    A task without labels has such a one where it is free and takes part by its
    relation to the others.

    Parameters
    ----------
    fit : Fit
    intercept : ndarray of shape (n_part, ...)
    own : ndarray of bool, of the shape of `intercept`, default=None
        Those that count in the mean, beside having labels; by default all do.
    otherwise : float or ndarray of the shape of the mean, default=0.0
        Where none counts.

    Returns
    -------
    intercept : ndarray of shape (n_part, ...)
    """
    labelled = fit.labelled[fit.part]
    if not fit.intercept.own or labelled.all():
        return intercept
    own = np.ones(len(intercept), dtype=bool) if own is None else own
    rules, free = fit.form.mix, intercept[fit.form.free]
    seen = _seen(fit)
    if seen.all():
        return intercept
    loose = abs(rules[:, ~seen]).sum(axis=1) > 0
    free = free.copy()
    free[~seen] = mean_where(intercept, (own.T & ~loose).T, otherwise)
    return fit.form.expand(free)


def of_all_tasks(fit, coef, intercept, own, otherwise):
    """A model of every task, and the shared one, of what was found for some.

    Parameters
    ----------
    fit : Part
    coef : ndarray of shape (n_part, ...)
    intercept : ndarray of shape (n_part,) or (n_part, n_classes)
    own : ndarray of bool, of the shape of `intercept`, or (n_part,)
        Which enter the shared model.
    otherwise : float or ndarray
        The shared intercept where none does.

    Returns
    -------
    coef, shared_coef, intercept, shared_intercept : ndarray or float
    """
    shared = mean_where(coef, own, coef.mean(axis=0))
    levels = intercepts_of_all_tasks(fit, intercept, own, otherwise)
    return fit.fill(coef, shared), shared, *levels


def intercepts_of_all_tasks(fit, intercept, own, otherwise):
    """An intercept of every task, and the shared one: see `of_all_tasks`."""
    found = settle_intercepts(fit, intercept, own, otherwise)
    level = mean_where(found, own, otherwise)
    return fit.fill(found, level), level


def present_classes(data, n_labels):
    """Which classes each task of `data` has labels of, (n_tasks, n_labels) bool."""
    present = np.zeros((data.n_tasks, n_labels), dtype=bool)
    for tasks, labels, _ in data.pieces():
        present[tasks, labels.astype(np.intp)] = True
    return present


def determined(fit):
    """Which intercepts a log-loss determines, where they are free of each other.

    A task of one class would have its own infinite, and a softmax leaves those open of
    classes that a task does not have. Tasks without labels get the mean of the others.

    Parameters
    ----------
    fit : Fit
        Of a classifier.

    Returns
    -------
    own : ndarray of shape (n_part,) or, with more than two classes, (n_part, n_classes)
    """
    n_labels = len(fit.labels)
    present = present_classes(fit.data, n_labels)
    several = present.sum(axis=1, keepdims=True) > 1
    own = (present & several)[:, 0] if n_labels == 2 else present & several
    if not fit.intercept.own:
        return np.ones_like(own)
    if fit.form.composed:
        columns = [_pinned(fit, column) for column in np.atleast_2d(own.T)]
        return np.stack(columns, axis=-1).reshape(own.shape)
    own[~fit.labelled[fit.part]] = True
    return own


def frequencies(fit):
    """Intercepts of the best model without features, one for all tasks.

    A number for two classes, else (n_classes,) with mean zero.
    """
    data, n_labels = fit.data, len(fit.labels)
    mass = np.zeros(n_labels)
    for tasks, labels, weight in data.pieces():
        if data.task_weight is not None:
            own = data.task_weight[tasks]
            weight = own if weight is None else weight * own
        mass += np.bincount(labels.astype(np.intp), weight, n_labels)
    level = np.log(np.maximum(mass, 1e-6 * mass.sum()))
    return level[1] - level[0] if n_labels == 2 else level - level.mean()


def _seen(fit):
    """Free tasks of a composition in whose intercept some label has a say."""
    return abs(fit.form.mix[fit.labelled[fit.part]]).sum(axis=0) > 0


def _pinned(fit, own):
    """Tasks of a composition that follow from those in `own`, and from settled ones."""
    rules = fit.form.mix.toarray()
    if own.all():
        return own
    settled = np.eye(rules.shape[1])[~_seen(fit)]
    known = np.vstack([rules[own], settled])
    _, s, V = np.linalg.svd(known, full_matrices=False)
    V = V[s > _ROUNDING * s.max(initial=0.0)]
    rest = np.abs(rules - rules @ V.T @ V).max(axis=1)
    return rest <= _ROUNDING * np.abs(rules).max(axis=1)
