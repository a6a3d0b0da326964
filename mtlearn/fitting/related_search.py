"""Grids over strengths, correlations of the tasks, and intercepts."""

import numbers
from dataclasses import replace

import numpy as np

from ..moments import grams_fit
from ..problem.ids import LARGEST, as_floats, shorten
from ..problem.intercepts import SHARED, priced, shrunken
from ..relations import (
    Composition,
    Independent,
    LearnedCovariance,
    SharedMean,
    check_relation,
)
from ..solvers.related.levels import level_price
from . import checks
from .grid import GridFit

_NAMES = ("free", "shared", "shrunk")
_SHARES = (0.15, 0.4, 0.7, 0.9)  # of its level that a task of mean size may keep
_STRENGTHS = (10.0, 1.0, 0.1)  # of shrunken intercepts, where they have no price


class RelatedSearch(GridFit):
    """What `PerTaskRegressorCV` and `PerTaskClassifierCV` try, and in which order.

    A family says by `_penalty_at` what alpha its strengths stand for.
    """

    def _check_parameters(self):
        super()._check_parameters()
        checks.check_number("margin", self.margin, 0)
        self._variants()
        self._names()
        self._given_intercept_strengths()

    # ------------------------------------------------------------ relations

    def _variants(self):
        """The relations to try."""
        tried = isinstance(self.relation, str) and self.relation == "shared_mean"
        if not tried or self.correlations is None:
            return [check_relation(self.relation)]
        values = np.atleast_1d(as_floats("correlations", self.correlations))
        if values.ndim != 1 or not values.size:
            raise ValueError(
                "`correlations` must be a number, a sequence of at least one or None, "
                f"got shape {values.shape}."
            )
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"`correlations` must be between 0 and 1, got {shorten(values)}."
            )
        return [SharedMean(float(value)) for value in values]

    def _plain(self, table):
        """Independent tasks, with free intercepts where those are tried."""
        alone = [
            k
            for k, one in enumerate(table.variants)
            if isinstance(one, SharedMean) and one.correlation == 0
        ]
        if not alone or len(table.modes) * len(table.variants) == 1:
            return None
        free = [k for k, mode in enumerate(table.modes) if mode.own]
        return (free or [0])[0], alone[0]

    def _keep_choice(self, variants, chosen):
        shared = [v for v in variants if isinstance(v, SharedMean)]
        self.correlation_ = variants[chosen].correlation if shared else None
        self.correlations_ = (
            np.array([v.correlation for v in shared]) if shared else None
        )

    def _taking_part(self, labelled):
        relation = self._relation()
        given = relation.given(self.tasks_)
        return relation.taking_part(self.tasks_, labelled), labelled | given

    def _turns(self):
        return True

    # ------------------------------------------------------------ intercepts

    def _names(self):
        """Names of the intercepts to try, as they are given or for "auto"."""
        given = self.fit_intercept
        if isinstance(given, str) and given == "auto":
            relation = check_relation(self.relation)
            rare = isinstance(relation, (LearnedCovariance, Composition))
            return ("free",) if rare else _NAMES
        names = list(given) if isinstance(given, (list, tuple)) else [given]
        if not names:
            raise ValueError("`fit_intercept` is empty: expected at least one to try.")
        for name in names:
            if not isinstance(name, (bool, np.bool_)):
                checks.check_choice(
                    "fit_intercept", name, ("auto", True, False, *_NAMES)
                )
        return names

    def _given_intercept_strengths(self):
        """Strengths of shrunken intercepts as they are given, None for "auto"."""
        given = self.intercept_strength
        if isinstance(given, str) and given == "auto":
            return None
        if isinstance(given, numbers.Number):
            return [shrunken(checks.check_intercept("shrunk", given).strength)]
        values = np.sort(as_floats("intercept_strength", given))
        if values.ndim != 1 or not values.size:
            raise ValueError(
                "`intercept_strength` must be a number, a sequence of at least one or "
                f"'auto', got shape {values.shape}."
            )
        return [checks.check_intercept("shrunk", value) for value in values[::-1]]

    def _intercepts(self):
        """The first of those to try; none at all if that is among them."""
        modes = [checks.check_intercept(name) for name in self._names()]
        return min(modes, key=lambda mode: mode.present)

    def _modes(self, whole, variants):
        """The intercepts to try: free ones, then from shared ones to ever freer."""
        modes = []
        for name in self._names():
            mode = checks.check_intercept(name)
            modes += self._shrunken(whole, variants) if mode.shrunk else [mode]
        return list(dict.fromkeys(modes))

    def _shrunken(self, whole, variants):
        """Shrunken intercepts, the most alike first."""
        given = self._given_intercept_strengths()
        if given is not None:
            return given
        if not all(isinstance(one, (Independent, SharedMean)) for one in variants):
            return [shrunken(strength) for strength in _STRENGTHS]
        price = self._likely_price(whole)
        if price is None:
            mass = self._bend_of(whole) * _size_of_a_task(whole)
            return [priced(mass * (1.0 - share) / share) for share in _SHARES]
        return [priced(price)]

    def _likely_price(self, whole):
        """The price at which the tasks' levels are most likely, None if none is."""
        if whole.moments is None and not grams_fit(whole.data):
            return None
        n_labels = int(whole.counts[whole.part].sum())
        price = level_price(self._moments_of_labels(whole), n_labels)
        if price is None:
            return None
        # where levels do not differ, a task of mean size keeps a tenth of its own
        return self._bend_of(whole) * min(price, 9.0 * _size_of_a_task(whole))

    def _moments_of_labels(self, whole):
        """Of labels as if their loss were squared."""
        return whole.gathered()

    def _bend_of(self, whole):
        """Mean curvature of the loss of a label."""
        return 1.0

    def _keep_modes(self, table, quality, mode):
        self.fit_intercepts_ = [_words(one) for one in table.modes]

    def _settle(self, model, whole):
        """Tell the chosen model of its intercepts; return them."""
        found = whole.intercept
        strength = getattr(self, f"{self._strength_name}_")
        form = model._relation().form(whole.part_ids)
        mode = self._as_shrunken(found, form, self._penalty_at(strength))
        if not found.present:
            self.fit_intercept_ = False
        elif found.price < np.inf or found.shrunk:
            self.fit_intercept_ = "shrunk"
        else:
            self.fit_intercept_ = found.name
        self.intercept_strength_ = None
        if self.fit_intercept_ == "shrunk":
            self.intercept_strength_ = mode.strength
            model.intercept_strength = mode.strength
        model.fit_intercept = self.fit_intercept_
        return mode

    def _tied(self, part, relation):
        """A part with a relation; one model for all has no deviations at a price."""
        part = part.tied(relation)
        if part.intercept.price < np.inf and part.form.pooled:
            return replace(part, intercept=SHARED)
        return part

    def _as_shrunken(self, mode, form, alpha):
        """Intercepts with a price as the base estimator has them, at a penalty alpha.

        A deviation costs alpha / private^2 times the strength; there is none between
        tasks with one common model.
        """
        if mode.price == np.inf:
            return mode
        if alpha == 0 or form.pooled:
            return shrunken(1.0)
        strength = mode.price * form.private**2 / alpha
        return shrunken(np.clip(strength, 1.0 / LARGEST, LARGEST))


def _size_of_a_task(whole):
    """The mean weight of the tasks with labels."""
    if whole.moments is not None:
        mass = whole.moments.task_weights
    else:
        mass = whole.data.sums(whole.data.weights)
    return float(mass[mass > 0].mean())


def _words(mode):
    """Intercepts that were tried, for the reader."""
    if mode.price < np.inf:
        return f"shrunk (price {mode.price:.3g})"
    if mode.shrunk:
        return f"shrunk (strength {mode.strength:.3g})"
    return mode.name
