"""What each task gains by learning together."""

from itertools import zip_longest

import numpy as np

from ..canvas import BLUE, RED, canvas, plain_ticks, pyplot
from ..sharing.comparison import compare_sharing
from ..sharing.gains import FEW, GAINS, HURT, SAME

_COLOURS = {GAINS: BLUE, SAME: "#8a8a8a", HURT: RED, FEW: "#9a9a9a"}
_FEW_TASKS = 40  # up to which standard errors are drawn


class SharingDisplay:
    """Picture of a comparison: what each task gains, against its number of rows.

    Made by `from_estimator` or `from_comparison`. A dot is a task, coloured by its
    verdict; above zero it is predicted better by the judged strategy than by a model
    of its own. With at most forty tasks a line shows a standard error to either side.
    Tasks with too few rows to say are hollow, and stretch neither axis: those beyond
    the ends are triangles there. The line is the mean over tasks of about the same
    size.

    Parameters
    ----------
    comparison : SharingComparison
        What to draw.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    points_ : PathCollection
        A dot per task.
    bars_ : LineCollection or None
        The standard errors.
    line_ : Line2D or None
        The running mean; None with fewer than 20 tasks.
    texts_ : list of Text
        Ids of the tasks that gain and lose most, as far as they do not cover others.

    See Also
    --------
    compare_sharing : Compares.

    Examples
    --------
    >>> from mtlearn import PerTaskRegressor
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(8, 20, 3, return_X_y=True, random_state=0)
    >>> display = SharingDisplay.from_estimator(
    ...     PerTaskRegressor(), X, y, task=task, cv=2
    ... )
    >>> display.ax_.get_xlabel()
    'tasks in the order of their gain'
    """

    def __init__(self, *, comparison):
        self.comparison = comparison

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, task=None, cv=None, scoring=None, ax=None, n_labels=3
    ):
        """Compare and draw.

        Parameters
        ----------
        estimator, X, y, task, cv, scoring : object
            As in `compare_sharing`.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.
        n_labels : int, default=3
            How many tasks are named at either end.

        Returns
        -------
        SharingDisplay
        """
        pyplot()  # before the work
        comparison = compare_sharing(estimator, X, y, task=task, cv=cv, scoring=scoring)
        return cls.from_comparison(comparison, ax=ax, n_labels=n_labels)

    @classmethod
    def from_comparison(cls, comparison, *, ax=None, n_labels=3):
        """Draw what `compare_sharing` returned.

        Parameters
        ----------
        comparison : SharingComparison
            What `compare_sharing` returned.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.
        n_labels : int, default=3
            How many tasks are named at either end.

        Returns
        -------
        SharingDisplay
        """
        return cls(comparison=comparison).plot(ax=ax, n_labels=n_labels)

    def plot(self, *, ax=None, n_labels=3):
        """Draw the gain of each task.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.
        n_labels : int, default=3
            How many tasks are named at either end.

        Returns
        -------
        SharingDisplay
            Itself, with `ax_` and `figure_`.
        """
        self.figure_, self.ax_ = canvas(ax, (7.0, 4.6))
        at, gain = self._positions(), self.comparison.gain
        x = np.clip(at, *self._span(at))
        low, high = self._reach()
        self.points_ = self._draw(x, np.clip(gain, low, high), at, gain)
        self.bars_ = self._draw_errors(x) if len(gain) <= _FEW_TASKS else None
        self.ax_.axhline(0.0, color="0.25", linewidth=0.8, zorder=2)
        self.line_ = self._running_mean(x)
        pad = 0.06 * (high - low)
        self.ax_.set_ylim(low - pad, high + pad)
        self._describe()
        self.texts_ = self._name_extremes(x, n_labels)
        return self

    def _reach(self):
        """Lowest and highest gain on the axis: of the tasks with enough rows."""
        gain = self.comparison.gain
        known = gain[~np.isnan(gain) & (self._verdicts() != FEW)]
        known = known if len(known) else gain[~np.isnan(gain)]
        low, high = min(0.0, *known, 0.0), max(0.0, *known, 0.0)
        return (low, high) if high > low else (-1.0, 1.0)

    def _span(self, x):
        """Ends of the other axis: of the tasks with enough rows, if there are some."""
        enough = x[self._verdicts() != FEW]
        some = enough if len(enough) > 1 else x
        return some.min(), some.max()

    def _verdicts(self):
        return np.asarray(self.comparison.table["verdict"])

    def _draw(self, x, shown, at, gain):
        """The dots, coloured by verdict; triangles for those that are out of range."""
        dense = min(1.0, 8.0 / np.sqrt(len(gain)))
        verdicts, low = self._verdicts(), shown < gain
        how = {"s": 12 + 30 * dense, "alpha": 0.35 + 0.45 * dense, "zorder": 3}
        colours = np.array([_COLOURS[verdict] for verdict in verdicts])
        faces = np.where(verdicts == FEW, "white", colours)
        points = self.ax_.scatter(x, shown, c=faces, edgecolors=colours, **how)
        known, aside = ~np.isnan(gain), x != at
        out = (shown != gain) | aside
        if out.any():
            points.set_sizes(np.where(out, 0.0, how["s"]))
        out &= known
        for marker, which in (
            ("^", out & ~aside & low),
            ("v", out & ~aside & ~low),
            ("<", out & aside & (at < x)),
            (">", out & aside & (at > x)),
        ):
            if which.any():
                rim = {"c": faces[which], "edgecolors": colours[which]}
                self.ax_.scatter(x[which], shown[which], marker=marker, **rim, **how)
        for verdict, colour in _COLOURS.items():
            n = int(np.sum(verdicts == verdict))
            if n:
                face = "white" if verdict == FEW else colour
                mark = {"facecolors": face, "edgecolors": colour}
                self.ax_.scatter([], [], **mark, s=30, label=f"{verdict} ({n})")
        return points

    def _draw_errors(self, x):
        """A line of one standard error to either side."""
        gain, error = self.comparison.gain, self.comparison.standard_error
        enough = self._verdicts() != FEW
        return self.ax_.vlines(
            x[enough],
            (gain - error)[enough],
            (gain + error)[enough],
            color="0.75",
            linewidth=1.0,
            zorder=1,
        )

    def _positions(self):
        """Rows of each task; ranks of the gain where all have the same."""
        size = np.asarray(self.comparison.table["n_samples"], dtype=float)
        if size.min() < size.max():
            low, high = self._span(size)
            if low > 0 and high > 4 * low:
                self.ax_.set_xscale("log")
                plain_ticks(self.ax_.xaxis)
            self.ax_.set_xlabel("rows of the task")
            return size
        self.ax_.set_xlabel("tasks in the order of their gain")
        rank = np.empty(len(size))
        rank[np.argsort(-self.comparison.gain, kind="stable")] = np.arange(len(size))
        return rank + 1.0

    def _running_mean(self, x):
        """The mean gain of the tasks of about the same size."""
        defined = ~np.isnan(self.comparison.gain) & (self._verdicts() != FEW)
        x, gain = x[defined], self.comparison.gain[defined]
        by_size = self.ax_.get_xlabel().startswith("rows")
        if len(x) < 20 or not by_size:
            return None
        order = np.argsort(x, kind="stable")
        width = max(9, len(x) // 5)
        mean = np.convolve(gain[order], np.ones(width) / width, mode="valid")
        centre = np.convolve(x[order], np.ones(width) / width, mode="valid")
        (line,) = self.ax_.plot(
            centre, mean, color="0.15", linewidth=1.6, zorder=4, label="running mean"
        )
        return line

    def _name_extremes(self, x, n_labels):
        """Write the ids of the tasks that gain and lose most beside their dots."""
        gain, tasks = self.comparison.gain, np.asarray(self.comparison.table["task"])
        gaining, losing = self.comparison._extremes(n_labels)
        shown = self._verdicts() != FEW
        dots = self.ax_.transData.transform(np.column_stack([x, gain])[shown])
        writer = _Writer(self.ax_, dots)
        for t in [t for pair in zip_longest(gaining, losing) for t in pair]:
            if t is not None:
                writer.write(str(tasks[t]), (x[t], gain[t]))
        return writer.texts

    def _describe(self):
        comparison = self.comparison
        self.ax_.set_ylabel(f"gain in {comparison.metric} over a model of its own")
        self.ax_.set_title(
            f"What each task gains by learning together ({comparison.judged})",
            fontsize="medium",
        )
        self.ax_.margins(x=0.07)
        self.ax_.grid(axis="y", color="0.92", linewidth=0.8)
        self.ax_.set_axisbelow(True)
        self.ax_.spines[["top", "right"]].set_visible(False)
        self.ax_.legend(
            frameon=False,
            fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            ncols=3,
        )


class _Writer:
    """Writes names beside dots, where they cover neither others nor dots."""

    def __init__(self, ax, dots):
        ax.figure.draw_without_rendering()  # so that all has its place
        self.ax, self.dots, self.texts, self._boxes = ax, dots, [], []
        self._renderer = ax.figure.canvas.get_renderer()

    def write(self, name, place):
        """Write a name to the first free side of a dot, or nowhere."""
        for side, up in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            text = self.ax.annotate(
                name,
                place,
                xytext=(5 * side, 3 * up),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="bottom" if up > 0 else "top",
                fontsize="small",
                color="0.3",
            )
            box = text.get_window_extent(self._renderer)
            if self._is_free(box):
                self.texts.append(text)
                self._boxes.append(box)
                return
            text.remove()

    def _is_free(self, box):
        frame, (x, y) = self.ax.get_window_extent(self._renderer), self.dots.T
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
        inside = inside and frame.y0 <= box.y0 and box.y1 <= frame.y1
        covers = (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)
        zero = self.ax.transData.transform((1.0, 0.0))[1]
        crossed = box.y0 < zero < box.y1
        others = any(box.overlaps(other) for other in self._boxes)
        return inside and not crossed and not others and not covers.any()
