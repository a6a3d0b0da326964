"""What models with learned variances share: what varies, and reports of it."""

import numbers
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted

from ..problem.ids import shorten
from . import checks
from .constrained import feature_names


@dataclass(frozen=True)
class Summary:
    """What a learned model says of all tasks, in two frames.

    Attributes
    ----------
    coefficients : DataFrame or dict of arrays
        The shared coefficients, a row for each feature and one for the intercept:
        `effect`, `estimate`, `standard_error`, `lower`, `upper`.
    variances : DataFrame or dict of arrays
        For each of these `effect`: `variance` and `deviation` (its root) of the tasks'
        own part, `sharing`, and `shared_variance`, the prior's; the noise last.
    """

    coefficients: object
    variances: object

    def __str__(self):
        return (
            f"Shared coefficients\n{self.coefficients}\n\nVariances\n{self.variances}"
        )


class LearnedModel:
    """Reports of shared coefficients, variances and tasks' effects."""

    def summary(self, coverage=0.95):
        """Shared coefficients and variance components.

        Parameters
        ----------
        coverage : float, default=0.95
            Of the intervals, given the variances.

        Returns
        -------
        summary : Summary
            With the frames `coefficients` and `variances`; dicts of arrays where pandas
            is not installed.
        """
        check_is_fitted(self)
        width, (m, C) = half_width(coverage), self._posterior.shared()
        error, labels = np.sqrt(np.diag(C)), self._effect_names()
        shared = np.append(self.shared_variance_[self._group_of()], np.inf)
        variance, sharing = np.diag(self.covariance_), self.sharing_
        if not self.fit_intercept:
            labels, m, error, shared = labels[:-1], m[:-1], error[:-1], shared[:-1]
            variance, sharing = variance[:-1], sharing[:-1]
        coefficients = {
            "effect": labels,
            "estimate": m,
            "standard_error": error,
            "lower": m - width * error,
            "upper": m + width * error,
        }
        noise = self._posterior.noise
        variances = {
            "effect": np.append(labels, "noise"),
            "variance": np.append(variance, noise),
            "deviation": np.sqrt(np.append(variance, noise)),
            "sharing": np.append(sharing, np.nan),
            "shared_variance": np.append(shared, np.nan),
        }
        return Summary(_frame(coefficients), _frame(variances))

    def task_effects(self, coverage=0.95):
        """Deviations of the tasks from the shared coefficients.

        Parameters
        ----------
        coverage : float, default=0.95
            Of the intervals, given the variances (which are estimates themselves: with
            few tasks the intervals are somewhat too short).

        Returns
        -------
        effects : DataFrame or dict of arrays
            `task`, `rows` (labels, counted by their weights), `effect`, `estimate`,
            `standard_error`, `lower`, `upper`; effect by effect, in the order of the
            estimates. A dict where pandas is not installed.
        """
        check_is_fitted(self)
        width, posterior = half_width(coverage), self._posterior
        chosen = posterior.varying
        part = self._place[:-1] < len(posterior.ratio)
        n_tasks, n_effects = int(part.sum()), len(chosen)
        estimate = posterior.effects()[0][:, chosen].T.ravel()
        error = posterior.effect_errors().T.ravel()
        effect = np.repeat(np.arange(n_effects), n_tasks)
        order = np.lexsort([estimate, effect])
        task = np.tile(np.arange(n_tasks), n_effects)[order]
        estimate, error = estimate[order], error[order]
        return _frame(
            {
                "task": self.tasks_[part][task],
                "rows": posterior.rows.counts[task],
                "effect": self._effect_names()[chosen][effect[order]],
                "estimate": estimate,
                "standard_error": error,
                "lower": estimate - width * error,
                "upper": estimate + width * error,
            }
        )

    def _effect_names(self):
        """Names of the features, or their positions; the intercept last."""
        names = feature_names(self)
        if names is None:
            names = [f"x{j}" for j in range(self.coef_.shape[1])]
        return np.array([*names, "intercept"], dtype=object)

    def _group_of(self):
        """Group of every feature."""
        codes = group_codes(self.groups, self.coef_.shape[1])
        return np.arange(self.coef_.shape[1]) if codes is None else codes


def half_width(coverage):
    """Half the width of an interval, in standard deviations."""
    checks.check_number("coverage", coverage, 0, 1, strict=True)
    return ndtri(0.5 + 0.5 * float(coverage))


def _frame(columns):
    """A data frame where pandas is installed."""
    try:
        import pandas as pd
    except ImportError:
        return columns
    return pd.DataFrame(columns)


def chosen(varying, names, d):
    """Mask of the features that `varying` lists, (d,) bool; None for all."""
    if varying is None:
        return None
    if isinstance(varying, (str, bytes)) or not hasattr(varying, "__iter__"):
        raise TypeError(
            f"`varying` must be a list of names or positions, got {varying!r}."
        )
    mask = np.zeros(d, dtype=bool)
    for one in varying:
        mask[_position(one, names, d)] = True
    return mask


def _position(feature, names, d):
    """Column of `coef_` of one name or position."""
    if isinstance(feature, str):
        if names is None or feature not in names:
            known = (
                "X has no column names"
                if names is None
                else (f"the features are {shorten(names)}")
            )
            raise ValueError(f"`varying` names {feature!r}, but {known}.")
        return names.index(feature)
    whole = isinstance(feature, numbers.Integral) and not isinstance(feature, bool)
    if not whole or not -d <= feature < d:
        raise ValueError(
            f"`varying` must hold names, or positions in `coef_` of {d} columns, got "
            f"{feature!r}."
        )
    return int(feature)


def group_codes(groups, d):
    """Group of each feature as a number, in the sorted order of the labels."""
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (d,):
        raise ValueError(
            f"`groups` must have a label for each of the {d} features, got shape "
            f"{labels.shape}."
        )
    return np.unique(labels, return_inverse=True)[1].reshape(-1)
