"""A picture of the tasks' own effects: the caterpillar plot of a mixed model."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..canvas import BLUE, canvas
from ..fitting import checks
from ..problem.ids import shorten

_APART, _ALIKE = BLUE, "0.62"
_LINE = 9.5  # points that a name on the axis takes
_MOST_NAMED = 45  # in a figure of our own, which grows with the names
_LONGEST = 22  # letters of a name


class TaskEffectsDisplay:
    """What is each task's own, in its order, with intervals: a caterpillar plot.

    Made by `from_estimator`. A dot is a task: how far its level, or the slope of one
    feature, lies from the shared one, with its interval. In colour where the interval
    does not hold zero. All tasks are named where there is room, else those at the ends.

    Parameters
    ----------
    tasks : ndarray of shape (n_tasks,)
        Ids, in the order of the estimates.
    estimate : ndarray of shape (n_tasks,)
        Deviations from the shared coefficient.
    lower, upper : ndarray of shape (n_tasks,)
        Ends of the intervals.
    effect : str, default="intercept"
        Of what they are: a feature, or the level.
    coverage : float, default=0.95
        Of the intervals.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    points_ : Line2D
        A dot per task, the largest on top.
    intervals_ : LineCollection
        Their intervals.
    texts_ : list of Text
        The names: on the axis of all tasks, or in two corners of those at the ends.

    See Also
    --------
    MultiTaskBayesianRidge.task_effects : The same as a table.
    TaskSimilarityDisplay : Which tasks are alike.

    Notes
    -----
    The intervals take the variances as known. They are of one task each: of many tasks
    that are all alike, some are in colour by chance. Two tasks differ where their
    difference does, not where one interval holds zero and the other does not.

    Examples
    --------
    >>> from mtlearn import MultiTaskBayesianRidge
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(8, 20, 3, return_X_y=True, random_state=0)
    >>> model = MultiTaskBayesianRidge().fit(X, y, task=task)
    >>> display = TaskEffectsDisplay.from_estimator(model, "x0")
    >>> len(display.tasks), display.ax_.get_xlabel()
    (8, 'slope of x0, less the shared one')
    """

    def __init__(
        self, *, tasks, estimate, lower, upper, effect="intercept", coverage=0.95
    ):
        self.tasks, self.estimate = tasks, estimate
        self.lower, self.upper = lower, upper
        self.effect, self.coverage = effect, coverage

    @classmethod
    def from_estimator(
        cls,
        estimator,
        effect="intercept",
        *,
        label=None,
        coverage=0.95,
        ax=None,
        n_labels=5,
    ):
        """Draw one effect of a fitted model with learned variances.

        Parameters
        ----------
        estimator : MultiTaskBayesianRidge, MultiTaskBayesianClassifier, \
MultiTaskAdditiveRegressor or Pipeline that ends with one
            Fitted.
        effect : str, default="intercept"
            A name in the column `effect` of `task_effects()`: "intercept", or a feature
            ("x0", "x1", ... where they have no names) for its slopes.
        label : object, default=None
            The class, where there are more than two.
        coverage : float, default=0.95
            Of the intervals, given the variances.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.
        n_labels : int, default=5
            How many tasks are named at either end where there is no room for all.

        Returns
        -------
        TaskEffectsDisplay
        """
        model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        if not hasattr(model, "task_effects"):
            raise TypeError(
                "`estimator` must have `task_effects()`, as MultiTaskBayesianRidge "
                f"has, got {type(model).__name__}."
            )
        check_is_fitted(model)
        columns = model.task_effects(coverage)
        columns = {name: np.asarray(columns[name]) for name in columns}
        columns = _of_effect(_of_class(columns, label), effect)
        names = "estimate", "lower", "upper"
        display = cls(
            tasks=columns["task"],
            **{name: columns[name] for name in names},
            effect=effect,
            coverage=coverage,
        )
        return display.plot(ax=ax, n_labels=n_labels)

    def plot(self, *, ax=None, n_labels=5):
        """Draw the effects.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.
        n_labels : int, default=5
            How many tasks are named at either end where there is no room for all.

        Returns
        -------
        TaskEffectsDisplay
            Itself, with `ax_` and `figure_`.
        """
        checks.check_number("n_labels", n_labels, 0, whole=True)
        n_tasks = len(self.tasks)
        self.figure_, self.ax_ = canvas(ax, (6.4, _height(n_tasks)))
        place, thin = np.arange(n_tasks), min(1.0, 30.0 / max(n_tasks, 1))
        apart = (self.lower > 0) | (self.upper < 0)
        self.ax_.axvline(0.0, color="0.25", linewidth=0.8, zorder=1)
        self.intervals_ = self.ax_.hlines(
            place,
            self.lower,
            self.upper,
            colors=np.where(apart, _APART, _ALIKE),
            linewidths=0.5 + 1.1 * thin,
            zorder=2,
        )
        (self.points_,) = self.ax_.plot(
            self.estimate,
            place,
            "o",
            color="0.15",
            markersize=1.6 + 2.6 * thin,
            markeredgewidth=0,
            zorder=3,
        )
        self.ax_.set_ylim(-0.5 - 0.02 * n_tasks, n_tasks - 0.5 + 0.02 * n_tasks)
        self.texts_ = self._name_tasks(n_labels)
        self._describe(int(apart.sum()))
        return self

    def _name_tasks(self, n_labels):
        """All on the axis, or those at the ends in the corners that are empty."""
        n_tasks, names = len(self.tasks), [_short(task) for task in self.tasks]
        lines = int(72 * _inches(self.ax_) / _LINE)
        if n_tasks <= lines:
            self.ax_.set_yticks(np.arange(n_tasks), names, fontsize="small")
            self.ax_.tick_params(axis="y", length=0)
            return self.ax_.get_yticklabels()
        self.ax_.set_yticks([])
        self.ax_.set_ylabel(f"{n_tasks} tasks in their order")
        n_labels = min(n_labels, lines // 3)
        if not n_labels:
            return []
        return [
            self._in_corner("highest", names[::-1][:n_labels], 0.02, 0.985, "left"),
            self._in_corner("lowest", names[:n_labels][::-1], 0.98, 0.015, "right"),
        ]

    def _in_corner(self, title, names, x, y, side):
        words = [title, *names] if y > 0.5 else [*names, title]
        return self.ax_.text(
            x,
            y,
            "\n".join(words),
            transform=self.ax_.transAxes,
            ha=side,
            va="top" if y > 0.5 else "bottom",
            fontsize="small",
            color="0.3",
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 2},
            zorder=4,
        )

    def _describe(self, n_apart):
        """What is drawn, in words."""
        level = self.effect == "intercept"
        what = "level of the task" if level else f"slope of {self.effect}"
        self.ax_.set_xlabel(f"{what}, less the shared one")
        self.ax_.set_title(
            f"{100 * self.coverage:.3g} % intervals; in colour: the {n_apart} of "
            f"{len(self.tasks)} tasks away from zero",
            fontsize="medium",
        )
        self.ax_.grid(axis="x", color="0.92", linewidth=0.8)
        self.ax_.set_axisbelow(True)
        self.ax_.spines[["top", "right", "left"]].set_visible(False)


def _of_class(columns, label):
    """The rows of one class, where there are several."""
    if "class" not in columns:
        if label is not None:
            raise ValueError(
                "`label` names a class where there are more than two; here there is "
                f"one effect for each task, and `label` must be None, got {label!r}."
            )
        return columns
    classes = list(dict.fromkeys(columns["class"].tolist()))
    if label not in classes:
        raise ValueError(
            f"`label` must be one of the classes {shorten(classes)}, got {label!r}."
        )
    return {name: one[columns["class"] == label] for name, one in columns.items()}


def _of_effect(columns, effect):
    """The rows of one effect."""
    found = list(dict.fromkeys(columns["effect"].tolist()))
    if not isinstance(effect, str) or effect not in found:
        raise ValueError(
            f"`effect`={effect!r} does not differ between the tasks, or is no effect; "
            f"there are {shorten(found)}."
        )
    return {name: one[columns["effect"] == effect] for name, one in columns.items()}


def _height(n_tasks):
    """Inches of a figure in which all are named, or as many as any other has."""
    return 5.6 if n_tasks > _MOST_NAMED else max(2.4, 1.2 + 0.16 * n_tasks)


def _inches(ax):
    """Height of the axes, about the same after a layout that is made when drawn."""
    return ax.get_position().height * ax.figure.get_size_inches()[1] + 0.1


def _short(task):
    name = str(task)
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
