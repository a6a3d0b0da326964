"""A picture of one feature's curves, the shared one and the tasks'."""

import numpy as np
from scipy.special import ndtri
from sklearn.pipeline import Pipeline

from ..canvas import BLUE, canvas
from ..fitting import checks


class CurveDisplay:
    """The shared curve of a feature with its band, and the tasks' curves around it.

    Parameters
    ----------
    curves : Curves
        As the method `curve` of `MultiTaskAdditiveRegressor` returns them.
    coverage : float, default=0.9
        Of the band around the shared curve, given the variances.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    line_ : Line2D
        The shared curve.
    band_ : PolyCollection
        Its interval.
    task_lines_ : LineCollection
        The tasks' curves, of the tasks that are drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import MultiTaskAdditiveRegressor
    >>> x, task = np.linspace(0, 6, 90)[:, None], np.arange(90) % 3
    >>> model = MultiTaskAdditiveRegressor().fit(x, np.sin(x[:, 0]) + task, task=task)
    >>> CurveDisplay.from_estimator(model, 0).curves.tasks.shape
    (3, 100)
    """

    def __init__(self, *, curves, coverage=0.9):
        self.curves, self.coverage = curves, coverage

    @classmethod
    def from_estimator(
        cls, estimator, feature, *, values=None, coverage=0.9, ax=None, max_tasks=200
    ):
        """Draw one feature's curves of a fitted additive model.

        Parameters
        ----------
        estimator : MultiTaskAdditiveRegressor or Pipeline that ends with one
            Fitted.
        feature : str or int
            Name, or position not counting the task column.
        values : array-like of shape (n_values,), default=None
            Where; by default between the ends of the data, or all levels of a category.
        coverage : float, default=0.9
            Of the band around the shared curve, given the variances.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.
        max_tasks : int, default=200
            Of more tasks, so many, evenly spaced in their order, are drawn.

        Returns
        -------
        CurveDisplay
        """
        model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        if not hasattr(model, "curve"):
            raise TypeError(
                "`estimator` must be an additive model, such as "
                f"MultiTaskAdditiveRegressor, got {type(model).__name__}."
            )
        display = cls(curves=model.curve(feature, values), coverage=coverage)
        return display.plot(ax=ax, max_tasks=max_tasks)

    def plot(self, *, ax=None, max_tasks=200):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.
        max_tasks : int, default=200
            Of more tasks, so many, evenly spaced in their order, are drawn.

        Returns
        -------
        CurveDisplay
            Itself, with `ax_` and `figure_`.
        """
        checks.check_number("max_tasks", max_tasks, 0, whole=True)
        checks.check_number("coverage", self.coverage, 0, 1, strict=True)
        curves = self.curves
        self.figure_, self.ax_ = canvas(ax, (6.4, 4.4))
        x, levels = np.arange(len(curves.values)), curves.values.dtype.kind not in "iuf"
        x = x if levels else curves.values
        self._draw_tasks(x, max_tasks)
        width = ndtri(0.5 + 0.5 * self.coverage) * curves.standard_error
        low, high = curves.shared - width, curves.shared + width
        self.band_ = self.ax_.fill_between(
            x, low, high, color=BLUE, alpha=0.22, linewidth=0, zorder=3
        )
        (self.line_,) = self.ax_.plot(
            x, curves.shared, "o-" * levels, color=BLUE, linewidth=2.4, zorder=4
        )
        if levels:
            self.ax_.set_xticks(x, [str(value) for value in curves.values])
        self._describe()
        return self

    def _draw_tasks(self, x, max_tasks):
        """Thin lines, fainter where there are many."""
        from matplotlib.collections import LineCollection

        tasks = self.curves.tasks
        if len(tasks) > max_tasks:
            chosen = np.linspace(0, len(tasks) - 1, max_tasks).round().astype(int)
            tasks = tasks[chosen]
        lines = [np.column_stack([x, one]) for one in tasks]
        alpha = float(np.clip(6.0 / max(len(lines), 1), 0.15, 0.6))
        self.task_lines_ = LineCollection(
            lines, colors="0.35", linewidths=0.8, alpha=alpha, zorder=2
        )
        self.ax_.add_collection(self.task_lines_)
        self.ax_.autoscale_view()

    def _describe(self):
        """What is drawn, in words."""
        n_drawn, n_tasks = len(self.task_lines_.get_paths()), len(self.curves.tasks)
        which = f"{n_drawn} of {n_tasks} tasks" if n_drawn < n_tasks else "the tasks"
        self.ax_.set(xlabel=self.curves.feature, ylabel="prediction, others at mean")
        self.ax_.set_title(
            f"shared curve with its {100 * self.coverage:.3g} % band, and {which}",
            fontsize="medium",
        )
        self.ax_.grid(axis="y", color="0.92", linewidth=0.8)
        self.ax_.set_axisbelow(True)
        self.ax_.spines[["top", "right"]].set_visible(False)
