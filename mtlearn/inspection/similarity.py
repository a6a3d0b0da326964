"""Which tasks are alike."""

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..canvas import canvas
from ..fitting import checks

_MEASURES = {
    "cosine": "cosine of the coefficients",
    "correlation": "correlation of the coefficients",
    "deviation": "cosine of the deviations from the shared model",
}


class TaskSimilarityDisplay:
    """Heat map of how alike the tasks' coefficients are, like beside like.

    Parameters
    ----------
    similarity : ndarray of shape (n_tasks, n_tasks)
        Between -1 and 1.
    tasks : ndarray of shape (n_tasks,)
        Their ids, in the same order.
    measure : str, default="cosine"
        What the numbers are; written beside the colours.

    Attributes
    ----------
    order_ : ndarray of shape (n_tasks,), int
        The order of the tasks in the picture.
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    image_ : AxesImage
        The matrix.
    colorbar_ : Colorbar
        Its scale.

    Examples
    --------
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(8, 20, 3, return_X_y=True, random_state=0)
    >>> model = PerTaskRegressor().fit(X, y, task=task)
    >>> TaskSimilarityDisplay.from_estimator(model).similarity.shape
    (8, 8)
    """

    def __init__(self, *, similarity, tasks, measure="cosine"):
        self.similarity, self.tasks, self.measure = similarity, tasks, measure

    @classmethod
    def from_estimator(cls, estimator, *, measure="cosine", ax=None):
        """Measure and draw the similarity of the tasks of a fitted estimator.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted, with `coef_` and `tasks_`.
        measure : {"cosine", "correlation", "deviation"}, default="cosine"
            Cosine of the angle between two tasks' coefficients; the same after taking
            out each task's mean over its coefficients; or the cosine between their
            deviations from `shared_coef_`, for tasks that have most in common.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        Returns
        -------
        TaskSimilarityDisplay
        """
        checks.check_choice("measure", measure, ("cosine", "correlation", "deviation"))
        model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        check_is_fitted(model)
        W = model.coef_.reshape(len(model.tasks_), -1)
        if measure == "deviation":
            W = W - W.mean(axis=0)
        elif measure == "correlation":
            W = W - W.mean(axis=1, keepdims=True)
        length = np.sqrt(np.einsum("ij,ij->i", W, W))[:, None]
        W = np.divide(W, length, out=np.zeros_like(W), where=length > 0)
        similarity = np.clip(W @ W.T, -1.0, 1.0)
        np.fill_diagonal(similarity, 1.0)
        display = cls(similarity=similarity, tasks=model.tasks_, measure=measure)
        return display.plot(ax=ax)

    def plot(self, *, ax=None, cmap=None):
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.
        cmap : str or Colormap, default=None
            Colours. None: two hues around 0, or one where all tasks are alike.

        Returns
        -------
        TaskSimilarityDisplay
            Itself, with `ax_` and `figure_`.
        """
        self.figure_, self.ax_ = canvas(ax, (6.0, 5.0))
        self.order_ = _like_beside_like(self.similarity)
        lowest = float(self.similarity.min())
        one_sided = lowest >= 0
        self.image_ = self.ax_.imshow(
            self.similarity[np.ix_(self.order_, self.order_)],
            vmin=lowest if one_sided else -1.0,
            vmax=1.0,
            cmap=cmap or ("Blues" if one_sided else "RdBu_r"),
            interpolation="nearest",
        )
        self.colorbar_ = self.figure_.colorbar(self.image_, ax=self.ax_)
        self.colorbar_.outline.set_visible(False)
        self.colorbar_.set_label(_MEASURES.get(self.measure, self.measure))
        self._name_tasks()
        return self

    def _name_tasks(self):
        """Ids on both axes as long as they can be read."""
        self.ax_.spines[:].set_visible(False)
        if len(self.tasks) > 40:
            self.ax_.set(xticks=[], yticks=[], xlabel=f"{len(self.tasks)} tasks")
            return
        names = [str(task) for task in np.asarray(self.tasks)[self.order_]]
        place, long = np.arange(len(names)), max(map(len, names)) > 3
        size = "small" if len(names) <= 20 else "x-small"
        self.ax_.set_yticks(place, names, fontsize=size)
        self.ax_.set_xticks(place, names, fontsize=size, rotation=90 if long else 0)
        self.ax_.tick_params(length=0)


def _like_beside_like(similarity):
    """An order in which similar tasks are neighbours, by average linkage."""
    if len(similarity) < 3:
        return np.arange(len(similarity))
    distance = np.maximum(1.0 - 0.5 * (similarity + similarity.T), 0.0)
    np.fill_diagonal(distance, 0.0)
    tree = hierarchy.linkage(
        squareform(distance, checks=False), "average", len(similarity) <= 300
    )
    return hierarchy.leaves_list(tree)
