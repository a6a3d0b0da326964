"""What a grid of classifiers does otherwise than one of regressors."""

import numbers

import numpy as np
from scipy.special import log_softmax

from ..model_selection import TaskStratifiedKFold
from ..moments import gather_moments
from ..problem.solution import Solution, Status
from ..problem.tasks import some_rows
from .grid import check_strengths
from .shared_model import of_all_tasks

_LEAST = float(np.finfo(float).eps)  # probability below which none is counted


class ClassGrid:
    """Judges the models of a grid by their log-loss; goes before `GridFit`.

    The base estimator is a `LogisticClassifier`. A strength is the C that multiplies
    the loss; to solvers the penalty is one of 1 / C.
    """

    _strengths_name, _strength_name, _errors_name = "Cs", "C", "log_loss"
    _strict = True

    def _loss_strength(self):
        return 1.0

    def _penalty_at(self, C):
        return 1.0 / C

    def _moments_of_labels(self, whole):
        data = whole.data
        return gather_moments(data.relabel(1.0 * (data.y == _evenest(data)[0])))

    def _bend_of(self, whole):
        share = _evenest(whole.data)[1]
        return share * (1.0 - share)

    def _lowered(self, fit, rows):
        return fit, rows, np.zeros(1)

    def _by_moments(self, rows):
        return False

    def _strengths(self, whole, variant):
        # the strongest penalty is that of the smallest C
        if not isinstance(self.Cs, numbers.Number):
            return np.sort(check_strengths("Cs", self.Cs, strict=True))
        return 1.0 / super()._strengths(whole, variant)

    def _dealt(self, rows, labels, n_splits):
        """As many folds with their share of every class, and of every task within it.

        Where every row has its own task; else as for numbers.
        """
        y, codes = rows.y, rows.codes
        if rows.wide:
            if self._n_columns > 1:
                return super()._dealt(rows, labels, n_splits)
            y, codes = y[:, 0], 0
        classes = np.where(np.isnan(y), len(labels), y).astype(np.int64)
        cells = np.unique(classes * rows.n_tasks + codes, return_inverse=True)[1]
        order = np.random.RandomState(0).permutation(len(y))
        split = TaskStratifiedKFold(n_splits).split(y, groups=cells[order])
        return [(np.sort(order[train]), np.sort(order[test])) for train, test in split]

    def _tells(self, part):
        """Whether there is something to learn: two classes at least."""
        return len(np.unique(part.data.labels)) > 1

    def _tested(self, rows, index, moments):
        return HeldOutLabels(some_rows(rows, index))

    def _errors(self, fold, part, point, batch):
        own = None
        if batch.coef.ndim == 4:
            own = self._model(*point)._classes_of_all(part)
        both = zip(*self._filled(part, point, batch), strict=True)
        return np.array([fold.test.log_loss(*one, own) for one in both])

    def _filled(self, part, point, batch):
        model = self._model(*point)
        tied = part.tied(model._relation())
        known = model._determined(tied), model._featureless(tied)
        models = [
            of_all_tasks(tied, *one, *known)[::2]
            for one in zip(batch.coef, batch.intercept, strict=True)
        ]
        return tuple(map(np.array, zip(*models, strict=True)))

    def _fitted(self, part, point, coef, intercept):
        model = self._model(*point)
        found = Solution(coef, intercept, 0.0, 0.0, 1, Status.CONVERGED)
        model._keep(part.tied(model._relation()), found)
        return model

    def _n_scores(self, whole):
        n_labels = len(whole.labels)
        return n_labels if n_labels > 2 else 1


def _evenest(data):
    """The class whose share is nearest to a half, and its share."""
    mass = np.bincount(data.labels.astype(np.intp), weights=data.weights)
    share = mass / mass.sum()
    evenest = int(np.abs(share - 0.5).argmin())
    return evenest, float(share[evenest])


class HeldOutLabels:
    """Labels to be predicted, unweighted.

    Parameters
    ----------
    data : TaskData
        Of all tasks; its labels are positions of classes.
    """

    def __init__(self, data):
        self.data = data

    def log_loss(self, coef, intercept, own=None):
        """Mean of minus the logarithms of the probabilities, those of zero bounded.

        Parameters
        ----------
        coef, intercept : ndarray
            Of all tasks, as the estimators have them.
        own : ndarray of shape (n_tasks, n_classes), default=None
            With more than two classes, which of them each task has.
        """
        data = self.data
        if not len(data.rows):
            return np.nan
        labels = data.labels.astype(np.intp)
        if own is None:
            z = data.forward(coef, intercept)
            loss = np.logaddexp(0.0, np.where(labels > 0, -z, z))
        else:
            each = zip(np.moveaxis(coef, 1, 0), intercept.T, strict=True)
            z = np.column_stack([data.forward(*one) for one in each])
            shares = log_softmax(np.where(own[data.task_of], z, -np.inf), axis=1)
            loss = -shares[np.arange(len(labels)), labels]
        return float(np.minimum(loss, -np.log(_LEAST)).mean())
