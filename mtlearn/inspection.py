"""Look at fitted models: what sharing does to each task, and which tasks are alike.

The public path of `compare_sharing`, and the pictures; matplotlib is imported when one
is drawn.
"""

from itertools import zip_longest

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .canvas import BLUE, RED, canvas, plain_ticks, pyplot
from .curve_display import CurveDisplay
from .effects import TaskEffectsDisplay
from .fitting import checks
from .fitting.choice import best_point, within_one_standard_error
from .problem.ids import column_position, shorten
from .sharing.comparison import SharingComparison, compare_sharing
from .sharing.contenders import STRATEGIES
from .sharing.gains import FEW, GAINS, HURT, SAME

__all__ = [
    "STRATEGIES",
    "CurveDisplay",
    "PathDisplay",
    "SharingComparison",
    "SharingDisplay",
    "TaskEffectsDisplay",
    "TaskSimilarityDisplay",
    "compare_sharing",
]


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
            Where to draw; None makes a new figure.
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
            Where to draw; None makes a new figure.
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
            Where to draw; None makes a new figure.
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


class PathDisplay:
    """Coefficients along the strengths of a cross-validated model, and its errors.

    Made by `from_estimator`. Below, a line per feature: the length of its coefficients,
    over all tasks; or, for one feature, a line per task. Above, the mean error of the
    folds and a band of one standard error. Lines across both mark the chosen strength,
    and the largest that is within one standard error of the best.

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
        Strengths, the largest first.
    coef_path : ndarray of shape (n_alphas, n_tasks, n_features)
        Coefficients at each.
    quality : ndarray of shape (n_alphas, n_folds)
        Scores of the folds, the larger the better.
    alpha : float
        The chosen strength.
    tasks : ndarray of shape (n_tasks,)
        Ids of the tasks.
    feature_names : list of str
        Names of the features.
    metric : str, default="mean squared error"
        Name of the score.
    greater_is_better : bool, default=False
        Whether it is a score or an error; errors are drawn as such, not negated.

    Attributes
    ----------
    ax_ : matplotlib Axes
        That of the coefficients.
    error_ax_ : matplotlib Axes or None
        That of the errors.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    lines_ : list of Line2D
        A line per feature, or per task.
    error_line_ : Line2D or None
        Mean error over the folds; None without errors.
    band_ : PolyCollection or None
        One standard error around it; None without errors.
    marks_ : list of Line2D
        Where the chosen strength and the one within one standard error are.
    texts_ : list of Text
        Names of the largest lines, in the legend.

    See Also
    --------
    PerTaskRegressorCV : Chooses strength and correlation.

    Examples
    --------
    >>> from mtlearn import PerTaskRegressorCV
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(8, 20, 3, return_X_y=True, random_state=0)
    >>> model = PerTaskRegressorCV(alphas=30).fit(X, y, task=task)
    >>> display = PathDisplay.from_estimator(model)
    >>> len(display.lines_), display.ax_.get_xlabel()
    (3, 'alpha')
    """

    def __init__(
        self,
        *,
        alphas,
        coef_path,
        quality,
        alpha,
        tasks,
        feature_names,
        metric="mean squared error",
        greater_is_better=False,
    ):
        self.alphas, self.coef_path, self.quality = alphas, coef_path, quality
        self.alpha, self.tasks, self.feature_names = alpha, tasks, feature_names
        self.metric, self.greater_is_better = metric, greater_is_better

    @classmethod
    def from_estimator(
        cls, estimator, *, feature=None, errors=True, ax=None, n_labels=6
    ):
        """Draw the path of a fitted cross-validated estimator.

        Parameters
        ----------
        estimator : PerTaskRegressorCV, SharedFeatureRegressorCV or Pipeline
            Fitted.
        feature : str or int, default=None
            Draw the coefficients of this feature, by its name or its position in
            `coef_`, in every task. None: the length of every feature's coefficients.
        errors : bool, default=True
            Whether to draw the errors above; only where `ax` is None.
        ax : matplotlib Axes, default=None
            Where to draw the coefficients; None makes a new figure.
        n_labels : int, default=6
            How many lines are named, the largest at the chosen strength.

        Returns
        -------
        PathDisplay
        """
        model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        check_is_fitted(model)
        if getattr(model, "coef_path_", None) is None:
            raise ValueError(
                "`estimator` has no `coef_path_`: PathDisplay needs a fitted "
                "cross-validated estimator such as PerTaskRegressorCV, and one whose "
                "path was not too large to keep; got "
                f"{type(model).__name__}."
            )
        scored = model.scoring is not None
        metric, greater = _name_score(model.scoring)
        display = cls(
            alphas=model.alphas_,
            coef_path=model.coef_path_,
            quality=model.score_path_ if scored else -model.mse_path_,
            alpha=model.alpha_,
            tasks=model.tasks_,
            feature_names=_feature_names(model),
            metric=metric,
            greater_is_better=greater,
        )
        return display.plot(feature=feature, errors=errors, ax=ax, n_labels=n_labels)

    def plot(self, *, feature=None, errors=True, ax=None, n_labels=6):
        """Draw the path.

        Parameters
        ----------
        feature : str or int, default=None
            Draw the coefficients of this feature in every task. None: the length of
            every feature's coefficients.
        errors : bool, default=True
            Whether to draw the errors above; only where `ax` is None.
        ax : matplotlib Axes, default=None
            Where to draw the coefficients; None makes a new figure.
        n_labels : int, default=6
            How many lines are named, the largest at the chosen strength.

        Returns
        -------
        PathDisplay
            Itself, with `ax_` and `figure_`.
        """
        self.error_ax_ = self.error_line_ = self.band_ = None
        if ax is None and errors:
            plt = pyplot()
            self.figure_, (self.error_ax_, self.ax_) = plt.subplots(
                2, 1, sharex=True, figsize=(7.0, 6.0), layout="constrained"
            )
        else:
            self.figure_, self.ax_ = canvas(ax, (7.0, 4.2))
        positive = self.alphas > 0
        self.ax_.set_xscale("log")
        named = self._draw_coefficients(positive, feature, n_labels)
        marks = self._mark()
        if self.error_ax_ is not None:
            self._draw_errors(positive)
            self.error_ax_.legend(handles=marks, **_BESIDE)
            marks = []
        self.texts_ = self.ax_.legend(handles=named + marks, **_BESIDE).get_texts()
        return self

    def _draw_coefficients(self, positive, feature, n_labels):
        """The lines, the largest in colour and with their names."""
        at = int(np.argmin(np.abs(self.alphas - self.alpha)))
        if feature is None:
            names, label = self.feature_names, "length of the feature's coefficients"
            lines = np.sqrt(np.einsum("ktj,ktj->kj", self.coef_path, self.coef_path))
        else:
            j = self._position(feature)
            names, label = self.tasks, f"coefficient of {self.feature_names[j]}"
            lines = self.coef_path[:, :, j]
        order = np.argsort(-np.abs(lines[at]), kind="stable")[: max(n_labels, 0)]
        named = order[lines[at][order] != 0]
        x = self.alphas[positive]
        self.lines_ = self.ax_.plot(
            x, lines[positive], color="0.75", linewidth=0.9, zorder=2
        )
        for place, k in enumerate(named):
            colour = _HUES[place % len(_HUES)]
            self.lines_[k].set(color=colour, linewidth=1.6, zorder=3, label=names[k])
        self._plain(self.ax_, label)
        self.ax_.set_xlabel("alpha")
        self.ax_.axhline(0.0, color="0.25", linewidth=0.8, zorder=1)
        return [self.lines_[k] for k in named]

    def _position(self, feature):
        """Position of a feature that is given by name or position."""
        names = list(self.feature_names)
        if isinstance(feature, str):
            if feature not in names:
                raise ValueError(
                    f"`feature`={feature!r} is not a feature; there are "
                    f"{shorten(names)}."
                )
            return names.index(feature)
        last = len(names) - 1
        return int(checks.check_number("feature", feature, 0, last, whole=True))

    def _draw_errors(self, positive):
        """Mean over the folds, and one standard error to either side."""
        values = self.quality[positive] * (1.0 if self.greater_is_better else -1.0)
        values = values[:, ~np.isnan(values).any(axis=0)]
        mean, n_folds = values.mean(axis=1), values.shape[1]
        x = self.alphas[positive]
        (self.error_line_,) = self.error_ax_.plot(x, mean, color=_GAIN, linewidth=1.8)
        if n_folds > 1:
            error = values.std(axis=1, ddof=1) / np.sqrt(n_folds)
            self.band_ = self.error_ax_.fill_between(
                x, mean - error, mean + error, color=_GAIN, alpha=0.18, linewidth=0
            )
        self._plain(self.error_ax_, self.metric)
        self.error_ax_.set_title(
            f"mean of {n_folds} folds, and one standard error", fontsize="medium"
        )

    def _mark(self):
        """Vertical lines at the chosen strength, and at a simpler or better one."""
        _, best = best_point(self.quality[None])
        simple = within_one_standard_error(self.quality, best)
        other = self.alphas[best if self.alpha == self.alphas[simple] else simple]
        what = "best" if other == self.alphas[best] else "within one standard error"
        marks = [(self.alpha, "-", f"chosen: {self.alpha:.3g}")]
        if other != self.alpha:
            marks.append((other, "--", f"{what}: {other:.3g}"))
        axes = [ax for ax in (self.error_ax_, self.ax_) if ax is not None]
        self.marks_ = [
            ax.axvline(at, color="0.3", linestyle=style, linewidth=1.0, label=label)
            for ax in axes
            for at, style, label in marks
            if at > 0
        ]
        return self.marks_[: len(self.marks_) // len(axes)]

    def _plain(self, ax, label):
        ax.set_ylabel(label)
        ax.grid(axis="y", color="0.92", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)


def _feature_names(model):
    """Names of the features in the order of `coef_`: the ids left out."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return [f"x{j}" for j in range(model.coef_.shape[-1])]
    names = list(names)
    if model.task_column is not None:
        del names[column_position(model.task_column, names, len(names))]
    return names


def _name_score(scoring):
    """Name of a score for the reader, and whether greater is better."""
    if scoring is None:
        return "mean squared error", False
    if isinstance(scoring, str):
        plain = scoring.removeprefix("neg_")
        return plain.replace("_", " "), plain == scoring
    # a TaskScorer, a scorer of scikit-learn, or a plain function
    metric = getattr(scoring, "score_func", getattr(scoring, "_score_func", scoring))
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "score")
    greater = getattr(scoring, "greater_is_better", getattr(scoring, "_sign", 1) > 0)
    return name.replace("_", " "), bool(greater)


_HUES = (BLUE, RED, "#3a8f5c", "#8a4f9e", "#b58a00", "#c2456b")


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
            Where to draw; None makes a new figure.

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
            Where to draw; None makes a new figure.
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


_GAIN, _LOSS = BLUE, RED
_COLOURS = {GAINS: _GAIN, SAME: "#8a8a8a", HURT: _LOSS, FEW: "#9a9a9a"}
_FEW_TASKS = 40  # up to which standard errors are drawn
# A legend beside the axes, where no curve runs through it.
_BESIDE = {
    "loc": "upper left",
    "bbox_to_anchor": (1.02, 1.0),
    "borderaxespad": 0.0,
    "frameon": False,
    "fontsize": "small",
}
_MEASURES = {
    "cosine": "cosine of the coefficients",
    "correlation": "correlation of the coefficients",
    "deviation": "cosine of the deviations from the shared model",
}


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
