"""What every classifier shares: classes, decisions, probabilities, accuracy."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from ..problem.ids import shorten
from ..problem.losses import Logistic, Softmax
from ..problem.values import check_sample_weight
from . import checks
from .base import TaskEstimator
from .partitions import by_partition, in_memory
from .shared_model import determined, frequencies, present_classes


class TaskClassifier(ClassifierMixin, TaskEstimator):
    """What classifiers add: classes, decisions, accuracy."""

    __metadata_request__decision_function = {"task": True}

    def _encode(self, y):
        codes, labels = checks.check_classes(y)
        self._require_classes(labels)
        return codes, labels

    def _require_classes(self, labels):
        if len(labels) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least two classes over all tasks, but "
                f"y has only one class: {shorten(labels)}."
            )

    def _keep(self, fit, solution):
        """Store the model, the classes of all tasks and those of each."""
        super()._keep(fit, solution)
        labels = fit.labels
        own = self._classes_of_all(fit)
        self._own, self._labels = own, labels
        self.task_classes_ = [labels[row] for row in own]
        if self._layout != "wide":
            self.classes_ = labels
        elif len(labels) == 2:
            self.classes_ = np.arange(len(self.tasks_))
        else:
            self.classes_ = self.task_classes_

    def _classes_of_all(self, fit):
        """The same of all tasks: those without a label may have any."""
        own = np.ones((len(self.tasks_), len(fit.labels)), dtype=bool)
        own[fit.part] = self._classes_of(fit)
        own[~own.any(axis=1)] = True
        return own

    def _classes_of(self, fit):
        """Classes that each task may have, (n_part, n_classes) bool."""
        return present_classes(fit.data, len(fit.labels))

    def _masked_scores(self, X, task):
        """Scores; minus infinity for classes that a row's task does not have."""
        z, codes = self._scores(X, task)
        if len(self._labels) == 2:
            return z
        if codes is None:
            own = self._own if self._layout == "wide" else self._own[0]
            return np.where(own, z, -np.inf)
        own = np.vstack([self._own, np.ones((1, len(self._labels)), dtype=bool)])
        return np.where(own[codes], z, -np.inf)

    @by_partition
    def decision_function(self, X, *, task=None):
        """Linear scores of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        scores : ndarray or list of ndarray
            Two classes: (n_samples,), or (n_samples, n_tasks) if `fit` had a
            two-dimensional `y`; positive means the second class. More: (n_samples,
            n_classes), minus infinity for classes that the task does not have; with a
            two-dimensional `y` a list with an array per task over its own classes.
        """
        z = self._masked_scores(X, task)
        if self._layout != "wide" or z.ndim == 2:
            return z
        return [own_scores(z[:, t], own) for t, own in enumerate(self._own)]

    @by_partition
    def predict(self, X, *, task=None):
        """Predict the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Two-dimensional if `fit` had a two-dimensional `y`.
        """
        z = self._masked_scores(X, task)
        if len(self._labels) == 2:
            return self._labels[(z > 0).astype(np.intp)]
        return self._labels[z.argmax(axis=-1)]

    def score(self, X, y, sample_weight=None, *, task=None):
        """Accuracy of the predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            With two dimensions the score is the share of correct entries (not of
            correct rows); NaN entries do not count.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        score : float
            The higher the better.
        """
        fitted, sample_weight = in_memory(self.predict(X, task=task), sample_weight)
        y = checks.as_table(y)
        if y.ndim == 1 or fitted.ndim == 1:
            return float(accuracy_score(y, fitted, sample_weight=sample_weight))
        fitted = self._beside(y, fitted)
        codes, labels = checks.check_classes(y)
        seen = ~np.isnan(codes)
        right = labels[codes[seen].astype(np.intp)] == fitted[seen]
        weight = check_sample_weight(sample_weight, y.shape)
        if weight is not None:
            weight = weight if weight.ndim == 2 else weight[:, None]
            weight = np.broadcast_to(weight, y.shape)[seen]
        return float(np.average(right, weights=weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self.task_column is None
        return tags


class LogisticClassifier(TaskClassifier):
    """What classifiers with a log-loss add: probabilities."""

    __metadata_request__predict_proba = {"task": True}
    __metadata_request__predict_log_proba = {"task": True}

    def _determined(self, fit):
        return determined(fit)

    def _featureless(self, fit):
        return frequencies(fit)

    def _log_loss(self, fit):
        """The rows with labels as the loss wants them, and the loss.

        Two classes: -1 and +1; more: softmax over the classes that a task has.
        """
        data, n_labels = fit.data, len(fit.labels)
        if n_labels == 2:
            return data.relabel(2.0 * data.y - 1.0), Logistic()
        allowed = present_classes(data, n_labels)[data.task_of]
        return data, Softmax(n_labels, allowed)

    @by_partition
    def predict_proba(self, X, *, task=None):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        p : ndarray or list of ndarray
            (n_samples, n_classes), 0 for classes that the row's task does not have.
            With a two-dimensional `y` of two labels (n_samples, n_tasks), the
            probability of the second; of more labels a list with an array per task over
            its own classes.
        """
        z = self._masked_scores(X, task)
        if len(self._labels) == 2:
            p = expit(z)
            return p if self._layout == "wide" else np.column_stack([1.0 - p, p])
        p = self._shares(z)
        if self._layout != "wide":
            return p
        return [p[:, t][:, own] for t, own in enumerate(self._own)]

    def _shares(self, z):
        """Probabilities of more than two classes, minus infinity for absent ones."""
        return softmax(z, axis=-1)

    @by_partition
    def predict_log_proba(self, X, *, task=None):
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        log_p : ndarray or list of ndarray
            In the shape of `predict_proba`; minus infinity where that is 0.
        """
        p = self.predict_proba(X, task=task)
        with np.errstate(divide="ignore"):
            return [np.log(one) for one in p] if isinstance(p, list) else np.log(p)


def against_the_rest(fit):
    """Yield the data of every one-against-the-rest problem, with labels -1 and +1.

    Two classes are a single one.
    """
    y, n_labels = fit.data.y, len(fit.labels)
    for k in [1] if n_labels == 2 else range(n_labels):
        signs = np.where(y == k, 1.0, -1.0)
        if fit.data.wide:
            signs[np.isnan(y)] = np.nan
        yield fit.data.relabel(signs)


def own_scores(z, own):
    """Decision of one task: (n,) for two classes of its own, else (n, n_own).

    There may be axes between those of rows and classes.
    """
    z = z[..., own]
    return z[..., 1] - z[..., 0] if z.shape[-1] == 2 else z
