"""What a comparison says, in sentences."""

import numpy as np

from .contenders import LABELS
from .gains import FEW, GAINS, HURT, SAME

_CLEAR = 2.0  # standard errors from which an overall difference is one
_NAMED = 5  # tasks that are hurt and named


def say(comparison, held, target):
    """Yield the sentences of a verdict.

    Parameters
    ----------
    comparison : SharingComparison
    held : HeldOut
    target : str
        What is predicted.
    """
    words = _Words(comparison, held, target)
    yield words.answer()
    yield words.recommendation()
    yield words.tasks()
    if words.hurt.any():
        yield (
            "BestSharing gives each task the strategy that its own rows prefer, as far "
            "as they tell."
        )


class _Words:
    def __init__(self, comparison, held, target):
        self.of, self.held, self.target = comparison, held, target
        self.verdicts = np.asarray(comparison.table["verdict"])
        self.hurt = self.verdicts == HURT
        straight = [n for n in held.responses if n not in ("additive", "independent")]
        straight.sort(key=lambda name: held.better(name, "independent"))
        self.straight = straight[-1] if straight else None

    # ------------------------------------------------------------ does it help?

    def answer(self):
        """Whether sharing helps, and by how much."""
        judged = self.of.judged
        clear = self._clear(judged)
        if clear > 0 and self._by_curves():
            return (
                "Learning the tasks together makes no clear difference as long as "
                f"features count in straight lines: {self._against(self.straight)}. "
                f"Curves do: {self._scored(judged)}{self._closer(judged)}."
            )
        if clear > 0:
            return (
                "Yes, learning the tasks together helps: "
                f"{self._against(judged)}{self._closer(judged)}."
            )
        if clear < 0 and self._count(GAINS) > len(self.verdicts) / 2:
            return (
                "Learning the tasks together helps most of them, but costs others "
                f"more: {self._against(judged)}."
            )
        if clear < 0:
            return (
                "No, learning the tasks together does not help: "
                f"{self._against('independent', judged)}."
            )
        return (
            "Learning the tasks together makes no clear difference: "
            f"{self._against(judged)}."
        )

    def _clear(self, name):
        """1 if a strategy is clearly better than independent tasks, -1 if worse."""
        mean, error = self.held.overall_gain(name, "independent")
        better = self.held.better(name, "independent")
        if not abs(mean) > _CLEAR * error or mean * better <= 0:
            return 0
        return 1 if mean > 0 else -1

    def _by_curves(self):
        """Whether the judged strategy wins by its curves, not by sharing."""
        if self.of.judged != "additive" or self.straight is None:
            return False
        return self._clear(self.straight) <= 0

    def _against(self, name, other="independent"):
        theirs = self.held.overall[other]
        return f"{self._scored(name)} against {theirs:.4g} with {LABELS[other]}"

    def _scored(self, name):
        return f"{self.of.metric} {self.held.overall[name]:.4g} with {LABELS[name]}"

    def _closer(self, name):
        """What the difference means, where there is a plain way to say it."""
        held = self.held
        if self.of.metric == "accuracy":
            more = 100 * held.better(name, "independent")
            return f": about {more:.2g} more of 100 rows are right"
        if held.scoring.loss is None or not held.by_ratio:
            return ""
        ours, theirs = (
            np.mean(np.abs(held.y - held.responses[one]))
            for one in (name, "independent")
        )
        if not theirs > ours:
            return ""
        return (
            f": predictions are about {theirs - ours:.2g} closer to {self.target} on "
            f"average{self._unit()}"
        )

    def _unit(self):
        """What the metric is measured in, where it is the target's unit."""
        if self.of.metric not in ("RMSE", "mean_absolute_error"):
            return ""
        return f" ({self.of.metric}, too, is in the unit of {self.target})"

    # ------------------------------------------------------------ what to use

    def recommendation(self):
        """The winner, and why it is if it is not the best."""
        of, held = self.of, self.held
        winner = f"Recommended: {LABELS[of.winner]} ({of.winner})"
        if of.winner == of.best:
            return f"{winner}, which has the best score."
        return (
            f"{winner}, {of.metric} {held.overall[of.winner]:.4g}: the simplest of "
            f"those that the best ({of.best}, {held.overall[of.best]:.4g}) does not "
            "beat by more than noise."
        )

    # ------------------------------------------------------------ for whom?

    def tasks(self):
        """How many tasks gain."""
        count = {name: self._count(name) for name in VERBS}
        said = [
            f"{n} {VERBS[name][n != 1]}{self._who() if name == HURT else ''}"
            for name, n in count.items()
            if n
        ]
        text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
        judged = self.of.judged
        which = "" if judged == self.of.winner else f" by {judged}"
        return f"Of {len(self.verdicts)} tasks {text}{which}."

    def _count(self, verdict):
        return int(np.sum(self.verdicts == verdict))

    def _who(self):
        """Names of those that are hurt, the worst first."""
        worst = np.argsort(np.where(self.hurt, self.of.gain, np.inf), kind="stable")
        worst = worst[: min(_NAMED, int(self.hurt.sum()))]
        names = ", ".join(str(self.of.table["task"][t]) for t in worst)
        more = int(self.hurt.sum()) - len(worst)
        return f" ({names}{f' and {more} more' if more else ''})"


# of one, of several
VERBS = {
    GAINS: ("gains", "gain"),
    HURT: ("is hurt by sharing", "are hurt by sharing"),
    SAME: ("shows no difference", "show no difference"),
    FEW: ("has too few rows to say", "have too few rows to say"),
}
