"""Which features act together: products of their terms, found one after the other.

What the likelihood would gain by each pair of features is seen without a fit. The best
few are fitted, and stay if the model predicts each label better from all others, too:
products reach far where there are few rows, and the likelihood does not see that.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..problem.terms import Pair
from ..solvers.evidence.candidates import gains

_LABELS = 20_000  # labels, those of the largest tasks, that pairs are judged by
_ENTRIES = 1e7  # of the products that are looked at together
_BENT = 400  # columns of products with wiggles that are looked at together
_WIDEST = 60  # columns of a pair
_TOGETHER = 3  # pairs that are tried together
_ALIKE = 0.5  # of the best one's promise: pairs that are tried together with it
_ROUNDS, _VAIN = 8, 3  # fits with more pairs, and those of them that find nothing
_FEW = 0.02  # of the labels, at each end, that may not decide
_CLEAR = 1.5  # standard errors by which held-out losses must fall


@dataclass(frozen=True)
class Judged:
    """Labels of one problem that pairs are judged by, task after task.

    Attributes
    ----------
    posterior : Posterior
    C : ndarray of shape (n_labels, n_columns)
        The model's columns.
    y, weight, score : ndarray of shape (n_labels,)
    task : ndarray of shape (n_labels,), int
    starts : ndarray of shape (n_chosen + 1,), int
    """

    posterior: object
    C: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    score: np.ndarray
    task: np.ndarray
    starts: np.ndarray

    def gains(self, loss, Z, groups):
        """Of groups of new columns, and the best variances."""
        _, gradient, curvature = loss.evaluate(self.y, self.score, self.weight)
        U = self.posterior.columns.of(self.C)
        return gains(self.posterior, U, curvature, -gradient, self.starts, Z, groups)

    def left_out(self, loss):
        """Loss of each label by the model of all others, to first order."""
        _, gradient, curvature = loss.evaluate(self.y, self.score, self.weight)
        known = self.posterior.score_variance(self.C, self.task) / self.posterior.noise
        left = np.maximum(1.0 - curvature * known, 1e-6)
        return loss.each(self.y, self.score + known * gradient / left, self.weight)


class Rows:
    """The rows by which pairs are judged: those of the largest tasks.

    Parameters
    ----------
    data : TaskData
        Of the features.
    problems : list of TaskData
        The same rows with the labels of each problem.
    loss : loss
    """

    def __init__(self, X, data, problems, loss):
        order = np.argsort(-data.sizes, kind="stable")
        seen = np.cumsum(data.sizes[order])
        most = max(1, int(np.searchsorted(seen, _LABELS, side="right")))
        tasks = np.sort(order[:most])
        tasks = tasks[data.sizes[tasks] > 0]
        self.place = np.concatenate(
            [np.arange(data.starts[t], data.starts[t + 1]) for t in tasks]
        )
        self.starts = np.append(0, np.cumsum(data.sizes[tasks]))
        self.task = data.task_of[self.place]
        self.X = X[data.rows[self.place]]
        self.share = len(self.place) / len(data.rows)
        self.problems, self.loss = problems, loss

    def judged(self, terms, solution):
        """Yield each problem's `Judged`."""
        C = terms.columns(self.X)
        for data, one in zip(self.problems, solution.parts, strict=True):
            score = np.einsum("ij,ij->i", C, one.coef[self.task])
            score += one.intercept[self.task]
            y, weight = data.labels[self.place], data.weights[self.place]
            rest = y, weight, score, self.task, self.starts
            yield Judged(one.posterior, C, *rest)

    def left_out(self, judged):
        """Held-out loss of each label, summed over the problems."""
        return sum(one.left_out(self.loss) for one in judged)

    def promises(self, terms, judged, refused, known):
        """Pairs that the likelihood asks for, the best first, and their variances.

        Gains are kept in `known`, as long as the model is the same.
        """
        most = int(_ENTRIES / len(self.X))
        blocks = terms.blocks(self.X)
        every = combinations(range(len(terms.parts)), 2)
        plain = [Pair(i, j, False) for i, j in every]
        how = terms, judged, blocks, refused, known
        first = self._gains(*how, plain, most)
        rank = {pair[:2]: gain for pair, (gain, _) in first.items()}
        plain.sort(key=lambda pair: -rank.get(pair[:2], 0.0))
        bent = [Pair(pair.first, pair.second, True) for pair in plain]
        found = {**first, **self._gains(*how, bent, min(most, _BENT))}
        price = 1.0 + np.log(max(len(found), 1))
        order = sorted(found, key=lambda pair: -found[pair][0])[:_TOGETHER]
        least = max(price, _ALIKE * found[order[0]][0]) if order else price
        return [(pair, *found[pair]) for pair in order if found[pair][0] > least]

    def _gains(self, terms, judged, blocks, refused, known, pairs, most):
        """Gain and variance of each pair, as long as there is room for products."""
        chosen, width = [], 0
        for pair in pairs:
            n = terms.width(pair)
            if pair not in refused and 0 < n <= _WIDEST and width + n <= most:
                chosen.append(pair)
                width += n
        new = [pair for pair in chosen if pair not in known]
        if new:
            Z = np.hstack([terms.products(pair, blocks) for pair in new])
            groups = np.repeat(np.arange(len(new)), [terms.width(pair) for pair in new])
            each = [one.gains(self.loss, Z, groups) for one in judged]
            gain = sum(one[0] for one in each) / self.share
            strength = np.mean([one[1] for one in each], axis=0)
            known.update(zip(new, zip(gain, strength, strict=True), strict=True))
        return {pair: known[pair] for pair in chosen}


def find_pairs(rows, terms, solution, learn):
    """Add pairs to a model, as long as it pays.

    Parameters
    ----------
    rows : Rows
    terms : Terms
    solution : of the model with these terms
    learn : callable
        From terms, and a model and strengths to start from, to the model with them, or
        None if that cannot be judged.

    Returns
    -------
    terms, solution
    """
    refused, vain = [], 0
    judged, known, loss = list(rows.judged(terms, solution)), {}, None
    for _ in range(_ROUNDS):
        found = rows.promises(terms, judged, [*refused, *terms.pairs], known)
        if not found or vain == _VAIN:
            break
        if loss is None:
            loss = rows.left_out(judged)
        pairs, _, strengths = zip(*found, strict=True)
        more = terms.with_pairs(terms.pairs + pairs)
        there = learn(more, solution, strengths)
        ahead = [] if there is None else list(rows.judged(more, there))
        left = rows.left_out(ahead) if ahead else loss
        if _clearly_less(left, loss) and there.objective < solution.objective:
            terms, solution, loss, vain = more, there, left, 0
            judged, known = ahead, {}
        else:
            refused += pairs
            vain += 1
    return terms, solution


def _clearly_less(new, old):
    """Whether losses fell by more than chance, and not those of a few labels alone."""
    less = old - new
    low, high = np.quantile(less, [_FEW, 1.0 - _FEW])
    return all(
        one.sum() > _CLEAR * np.sqrt(len(one)) * one.std()
        for one in (less, np.clip(less, low, high))
    )
