"""Weak priors of variances, for what the labels of classes leave open."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

_WIDE = 2.5**2  # variance of a score for a standard deviation of a feature: large
_MOST = 1e8  # variance of a score
_FAR = 100.0  # as good as boundless
_LEAST = 0.15  # of a level's variance: below it there is little to tell


@dataclass(frozen=True)
class Hyperprior:
    """Weak priors of the variances of scores, for what labels leave open.

    They are of the columns U: of a level at the features' means, and of slopes for a
    standard deviation of the feature. A level's variance D is worth some two tasks' of
    about 0.35: its deviance is 2 log(0.15 + D) + 1 / (0.15 + D), which zero costs
    little more. Where every task has a single label, nothing else says how much the
    levels vary. The others have log(1 + D / w) times a weight, a Cauchy distribution of
    the deviation's size. All have (D / 100)^2, so that there is an end to it where each
    task has one class only, or the classes can be separated.

    Attributes
    ----------
    level : ndarray of shape (q,), bool
        The constant.
    own, shared : ndarray of shape (q,)
        One over the number of columns that have the variance in common; zero where
        there is none.
    single : float
        Share of the tasks with a single label: of slopes it tells by the shape of the
        logistic function alone, so that the prior of theirs is to weigh more.
    """

    level: np.ndarray
    own: np.ndarray
    shared: np.ndarray
    single: float = 0.0

    def value(self, F, prior):
        """Deviance of the variances, of the deviations F F' and the shared `prior`."""
        D = (F**2).sum(axis=1)
        near = _LEAST + D
        level = 2 * np.log(near) + 1 / near
        own = np.where(self.level, level, self._slope_weight * np.log1p(D))
        shared = np.log1p(prior / _WIDE) + (prior / _FAR) ** 2
        return float(self.own @ (own + (D / _FAR) ** 2) + self.shared @ shared)

    def own_slope(self, F):
        """Derivatives in the variances of the deviations, (q,)."""
        D = (F**2).sum(axis=1)
        near = _LEAST + D
        level = 2 / near - 1 / near**2
        slope = np.where(self.level, level, self._slope_weight / (1.0 + D))
        return self.own * (slope + 2 * D / _FAR**2)

    def shared_slope(self, prior):
        """Derivatives in the variances of the shared coefficients, (q,)."""
        return self.shared * (1 / (_WIDE + prior) + 2 * prior / _FAR**2)

    def refuse(self, F, prior):
        """Raise where a step has gone so far out that rounding is all there is."""
        D = (F**2).sum(axis=1)
        if max(D.max(initial=0.0), prior.max(initial=0.0)) > _MOST:
            raise linalg.LinAlgError("the variances of scores are beyond reason")

    @property
    def _slope_weight(self):
        return 1.0 + 7.0 * self.single
