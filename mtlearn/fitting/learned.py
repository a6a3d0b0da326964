"""What models with learned variances share: what varies, and reports of it."""

import numbers
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted

from ..problem.ids import feature_names, shorten
from ..relations import Independent
from . import checks

_COVARIANCES = ("diag", "full", "scalar", "intercept")
_CHUNK = 1 << 21  # entries of dense rows that are held at once


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
        own part, `sharing`, and `shared_variance`, the prior's; the noise of numbers
        last.
    """

    coefficients: object
    variances: object

    def __str__(self):
        return (
            f"Shared coefficients\n{self.coefficients}\n\nVariances\n{self.variances}"
        )


class LearnedModel:
    """What varies between tasks, where they are known, and reports of it."""

    # a likelihood weighs no tasks, and its starts are its own
    task_weight = None
    warm_start = False

    def _relation(self):
        return Independent()

    def _check_parameters(self):
        checks.check_choice("covariance", self.covariance, _COVARIANCES)
        checks.check_choice("shared_prior", self.shared_prior, ("learned", "flat"))
        checks.check_choice("method", self.method, ("reml", "ml"))
        if self.fit_intercept not in (True, False):
            raise ValueError(
                f"`fit_intercept` must be True or False, got {self.fit_intercept!r}: "
                "the levels of the tasks are shrunk by what the likelihood says."
            )

    def _settings(self, d):
        """What the solvers are told, for `d` features."""
        return {
            "covariance": self.covariance,
            "varying": chosen_features(self.varying, feature_names(self), d),
            "groups": group_codes(self.groups, d),
            "flat": self.shared_prior == "flat",
            "restricted": self.method == "reml",
            "constant": bool(self.fit_intercept),
            "tol": float(self.tol),
            "max_iter": self.max_iter,
        }

    def _keep_places(self, fit, n_part):
        """Store where the posterior has each task; `n_part` is a new one."""
        self._place = np.full(len(fit.part) + 1, n_part)
        self._place[:-1][fit.part] = np.arange(n_part)

    def _variance(self, known, X, codes):
        """Variances that `known` gives to checked rows of tasks, by the shape of y.

        Parameters
        ----------
        known : callable
            From dense rows and places of their tasks to variances.
        X : {ndarray, sparse} of shape (n_rows, n_features)
        codes : ndarray of shape (n_rows,) or None
        """
        if self._layout == "wide":
            every = np.arange(len(self.tasks_))[:, None]
            columns = [
                self._of_tasks(known, X, np.repeat(t, X.shape[0])) for t in every
            ]
            return np.column_stack(columns)
        codes = np.zeros(X.shape[0], dtype=np.int64) if codes is None else codes
        return self._of_tasks(known, X, codes)

    def _of_tasks(self, known, X, codes):
        out = np.empty(X.shape[0])
        step = max(1, _CHUNK // max(1, X.shape[1]))
        for low in range(0, len(out), step):
            part = slice(low, low + step)
            rows = X[part].toarray() if sp.issparse(X) else X[part]
            out[part] = known(rows, self._place[codes[part]])
        return out

    # ------------------------------------------------------------ reports

    def _learned(self):
        """Name of a class or None, posterior, covariance, sharing, shared variance."""
        yield (
            None,
            self._posterior,
            self.covariance_,
            self.sharing_,
            self.shared_variance_,
        )

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
            is not installed. With more than two classes a column `class` comes first.
        """
        check_is_fitted(self)
        width = half_width(coverage)
        parts = [self._summary(width, *one) for one in self._learned()]
        coefficients, variances = zip(*parts, strict=True)
        return Summary(_frame(coefficients), _frame(variances))

    def _summary(self, width, name, posterior, covariance, sharing, tau):
        """Columns of the two frames, of one class."""
        end = None if self.fit_intercept else -1
        m, C = posterior.shared()
        labels, m, error = (
            self._effect_names()[:end],
            m[:end],
            np.sqrt(np.diag(C))[:end],
        )
        shared = np.append(tau[self._group_of()], np.inf)[:end]
        variance, sharing = np.diag(covariance)[:end], sharing[:end]
        coefficients = {
            "effect": labels,
            "estimate": m,
            "standard_error": error,
            "lower": m - width * error,
            "upper": m + width * error,
        }
        if hasattr(self, "noise_variance_"):
            labels, variance = (
                np.append(labels, "noise"),
                np.append(variance, posterior.noise),
            )
            sharing, shared = np.append(sharing, np.nan), np.append(shared, np.nan)
        variances = {
            "effect": labels,
            "variance": variance,
            "deviation": np.sqrt(variance),
            "sharing": sharing,
            "shared_variance": shared,
        }
        return _of_class(name, coefficients), _of_class(name, variances)

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
            estimates; with more than two classes `class` comes first. A dict where
            pandas is not installed.
        """
        check_is_fitted(self)
        width = half_width(coverage)
        parts = [self._effects(width, *one[:2]) for one in self._learned()]
        return _frame(parts)

    def _effects(self, width, name, posterior):
        """Columns of the tasks' effects, of one class."""
        chosen = posterior.varying
        part = self._place[:-1] < len(posterior.ratio)
        n_tasks, n_effects = int(part.sum()), len(chosen)
        estimate = posterior.effects()[0][:, chosen].T.ravel()
        error = posterior.effect_errors().T.ravel()
        effect = np.repeat(np.arange(n_effects), n_tasks)
        order = np.lexsort([estimate, effect])
        task = np.tile(np.arange(n_tasks), n_effects)[order]
        estimate, error = estimate[order], error[order]
        columns = {
            "task": self.tasks_[part][task],
            "rows": posterior.rows.counts[task],
            "effect": self._effect_names()[chosen][effect[order]],
            "estimate": estimate,
            "standard_error": error,
            "lower": estimate - width * error,
            "upper": estimate + width * error,
        }
        return _of_class(name, columns)

    def _effect_names(self):
        """Names of the features, or their positions; the intercept last."""
        names = feature_names(self)
        if names is None:
            names = [f"x{j}" for j in range(self.coef_.shape[-1])]
        return np.array([*names, "intercept"], dtype=object)

    def _group_of(self):
        """Group of every feature."""
        d = self.coef_.shape[-1]
        codes = group_codes(self.groups, d)
        return np.arange(d) if codes is None else codes


def _of_class(name, columns):
    """The columns, after one with the name of their class where there are several."""
    if name is None:
        return columns
    return {"class": np.repeat(name, len(columns["effect"])), **columns}


def half_width(coverage):
    """Half the width of an interval, in standard deviations."""
    checks.check_number("coverage", coverage, 0, 1, strict=True)
    return ndtri(0.5 + 0.5 * float(coverage))


def _frame(parts):
    """The parts' columns below one another: a data frame where pandas is installed."""
    columns = {key: np.concatenate([one[key] for one in parts]) for key in parts[0]}
    return data_frame(columns)


def data_frame(columns):
    """A data frame where pandas is installed."""
    try:
        import pandas as pd
    except ImportError:
        return columns
    return pd.DataFrame(columns)


def chosen_features(varying, names, d, parameter="varying"):
    """Mask of the features that a parameter lists, (d,) bool; None for all."""
    if varying is None:
        return None
    if isinstance(varying, (str, bytes)) or not hasattr(varying, "__iter__"):
        raise TypeError(
            f"`{parameter}` must be a list of names or positions, got {varying!r}."
        )
    mask = np.zeros(d, dtype=bool)
    for one in varying:
        mask[feature_position(one, names, d, parameter)] = True
    return mask


def feature_position(feature, names, d, parameter="varying"):
    """Number of the feature, the ids not counted, of one name or position."""
    if isinstance(feature, str):
        if names is None or feature not in names:
            known = (
                "X has no column names"
                if names is None
                else (f"the features are {shorten(names)}")
            )
            raise ValueError(f"`{parameter}` names {feature!r}, but {known}.")
        return names.index(feature)
    whole = isinstance(feature, numbers.Integral) and not isinstance(feature, bool)
    if not whole or not -d <= feature < d:
        raise ValueError(
            f"`{parameter}` must hold names, or positions in `coef_` of {d} columns, "
            f"got {feature!r}."
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
