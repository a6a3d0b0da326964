"""How strong the penalty should be: from strong to weak, judged by held-out rows.

Each solution is where the next one starts. A strong penalty puts units to sleep, and an
unit without weights has no gradient to wake it: a part of a fresh draw is added to the
weights at every step (shrink and perturb; Ash and Adams, NeurIPS 2020).
"""

from dataclasses import replace

import numpy as np

from ...problem.tasks import some_rows
from .distinct import digest, distinct
from .layers import represent
from .own_layers import own_units
from .solve import arranged, heads_of, solve_mapping

_STRENGTHS = 10.0 ** np.arange(2.0, -3.1, -0.5)  # in units of `unit_strength`
_SHAKE = 0.1  # part of a fresh draw
_PATIENCE = 2  # penalties in a row that are worse, after which no weaker one is tried
_LONGER = 4  # the same where layers are the tasks' own: strong ones keep them alike
_ALIKE = 1e-3  # relative difference of losses that is none
_TOL = 1e-3  # of solutions that are only compared
_ENOUGH = 2048  # rows that tell the strength
_FEW = 16  # rows of a task that are among them at least
_SHARE = 4  # one distinct row in so many is held out


def along(data, own, hidden, activation, alphas, *, seed, **options):
    """Yield the solution of every strength, each from where the last one ended.

    Parameters
    ----------
    data, own, hidden, activation : as in `solve_mapping`
    alphas : iterable of float
        The strongest first.
    seed : int
        Draws the weights, the same ones for every strength.
    **options : as in `solve_mapping`
    """
    start = None
    for alpha in alphas:
        solution = solve_in_units(
            data,
            own,
            hidden,
            activation,
            alpha,
            rng=np.random.default_rng(seed),
            start=start,
            shake=_SHAKE,
            **options,
        )
        start = solution.coef, solution.intercept
        yield solution


def unit_strength(data, own):
    """A strength that means the same in all units of labels: their variance, or 1."""
    if own is not None:
        return 1.0
    weight = data.weights
    total = max(float(weight.sum()), 1e-300)
    level = float(weight @ data.labels) / total
    variance = float(weight @ (data.labels - level) ** 2) / total
    return variance if variance > 0 else 1.0


def solve_in_units(
    data, own, hidden, activation, alpha, *, start, stop=None, **options
):
    """`solve_mapping` with labels in units of about their spread.

    The same problem, and a strength that suits the labels leaves weights of about one
    in all layers; else the first ones may begin where the penalty is all there is.
    """
    # a power of two, so that nothing is rounded
    unit = 2.0 ** round(0.5 * np.log2(unit_strength(data, own)))
    if unit != 1.0:
        data = data.relabel(data.y / unit)
        start = None if start is None else _scaled(*start, 1.0 / unit)
    if unit != 1.0 and stop is not None:
        stop = replace(stop, data=stop.data.relabel(stop.data.y / unit))
    problem = data, own, hidden, activation, float(alpha) / unit**2
    found = solve_mapping(*problem, start=start, stop=stop, **options)
    weights, biases = _scaled(found.coef, found.intercept, unit)
    return replace(
        found,
        coef=weights,
        intercept=biases,
        objective=unit**2 * found.objective,
        dual=None if found.dual is None else unit**2 * found.dual,
        history=[(unit**2 * value, promised) for value, promised in found.history],
    )


def _scaled(weights, biases, factor):
    """Weights and biases of all layers, those of the heads times a factor."""
    return [*weights[:-1], factor * weights[-1]], [*biases[:-1], factor * biases[-1]]


def mean_loss(data, own, intercept, activation, solution):
    """Mean loss of labels that a solution may not have seen."""
    weights, biases = solution.coef[:-1], solution.intercept[:-1]
    shared = "output" if weights[0].ndim == 3 else "hidden"
    data = arranged(data, shared)
    heads = heads_of(data, own, 0.0, intercept, shared)
    if shared == "output":
        H = own_units(weights[0], biases[0], activation, data.X, data.codes)
    else:
        H = represent(weights, biases, activation, data.X)
    return heads.mean_loss(H, solution.coef[-1].T, solution.intercept[-1])


def choose_strength(data, own, hidden, activation, *, intercept, seed, **options):
    """The strength of least loss on distinct rows that are held out.

    A weight of two and a row that stands there twice are the same here.

    Parameters
    ----------
    data, own, hidden, activation, intercept : as in `solve_mapping`
    seed : int
    **options : as in `solve_mapping`

    Returns
    -------
    alpha : float
    """
    data, own = _some(distinct(data), own)
    alphas = unit_strength(data, own) * _STRENGTHS
    part = _part(data, own)
    if part is None:
        return float(alphas[np.argmin(np.abs(np.log(_STRENGTHS)))])
    learnt, held, own = part
    options = {**options, "intercept": intercept, "tol": _TOL, "seed": seed}
    solutions = along(learnt, own, hidden, activation, alphas, **options)
    patience = _LONGER if options.get("shared") == "output" else _PATIENCE
    least, best, worse = np.inf, 0, 0
    for k, solution in enumerate(solutions):
        loss = mean_loss(held, own, intercept, activation, solution)
        worse = worse + 1 if loss > (1.0 + _ALIKE) * least else 0
        if loss < (1.0 - _ALIKE) * least:
            least, best = loss, k
        if worse >= patience:
            break
    return float(alphas[best])


def _some(data, own):
    """So many of the rows, sorted by their tasks, that they tell the strength.

    In an order that neither the one in which they came nor their labels decide.
    """
    key = digest(data.X)
    if data.wide:
        return some_rows(data, np.argsort(key, kind="stable")[:_ENOUGH]), own
    data = some_rows(data, np.lexsort((key, data.codes)))
    place = np.arange(len(data.codes)) - np.searchsorted(data.codes, data.codes)
    most = max(_FEW, _ENOUGH // data.n_tasks)
    data = some_rows(data, np.flatnonzero(place < most))
    chosen = np.zeros(data.n_tasks, dtype=bool)
    chosen[data.codes[:_ENOUGH]] = True
    return data.only(chosen), None if own is None else own[chosen]


def _part(data, own):
    """Rows to learn from, rows held out, and classes; None if they tell nothing."""
    held = np.arange(data.X.shape[0]) % _SHARE == 0
    learnt, held = (some_rows(data, np.flatnonzero(rows)) for rows in (~held, held))
    known = learnt.sizes > 0
    learnt, held = learnt.only(known), held.only(known)
    classes = None if own is None else own[known]
    if not held.sizes.any() or len(np.unique(learnt.labels)) < 2:
        return None
    return learnt, held, classes
