"""Errors and coefficients along a path of strengths."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..canvas import BLUE, RED, canvas, pyplot
from ..fitting import checks
from ..fitting.choice import best_point, within_one_standard_error
from ..problem.ids import feature_names, shorten

_HUES = (BLUE, RED, "#3a8f5c", "#8a4f9e", "#b58a00", "#c2456b")
# A legend beside the axes, where no curve runs through it.
_BESIDE = {
    "loc": "upper left",
    "bbox_to_anchor": (1.02, 1.0),
    "borderaxespad": 0.0,
    "frameon": False,
    "fontsize": "small",
}


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
            feature_names=_named(model),
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
        (self.error_line_,) = self.error_ax_.plot(x, mean, color=BLUE, linewidth=1.8)
        if n_folds > 1:
            error = values.std(axis=1, ddof=1) / np.sqrt(n_folds)
            self.band_ = self.error_ax_.fill_between(
                x, mean - error, mean + error, color=BLUE, alpha=0.18, linewidth=0
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


def _named(model):
    """Names of the features in the order of `coef_`, numbers where they have none."""
    names = feature_names(model)
    return [f"x{j}" for j in range(model.coef_.shape[-1])] if names is None else names
