r"""The logistic function under a normal score, and its derivatives.

The logistic distribution is a mixture of normal ones: a variable of it is 2 K times a
standard normal one, with K of Kolmogorov's distribution. Hence

.. math:: L(m, s^2) = \int \sigma(m + s z) \, dN(z)
          = \sum_k p_k \Phi(m / \sqrt{s^2 + c_k^2}),

where the trapezoidal rule in log K has an error far below 1e-9, for every m and s.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr

_NODES = 30
_FAR = 20.0  # score below which 1 + exp(score) is 1 to nine digits
_CHUNK = 8192


class Site(NamedTuple):
    """log L(m, s2) and its first four derivatives in m."""

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray


def _mixture():
    """Weights and variances of the normal distributions that make the logistic one."""
    k = np.exp(np.linspace(np.log(0.18), np.log(4.6), _NODES))
    n = np.arange(1, 40)[:, None]
    small = (np.pi**2 * (2 * n - 1) ** 2 / (4 * k**2) - 1) * np.exp(
        -((2 * n - 1) ** 2) * np.pi**2 / (8 * k**2)
    )
    small = np.sqrt(2 * np.pi) / k**2 * small.sum(axis=0)
    large = (8 * k * (-1.0) ** (n + 1) * n**2 * np.exp(-2 * n**2 * k**2)).sum(axis=0)
    weight = k * np.where(k < 1.0, small, large)
    return weight / weight.sum(), 4 * k**2


_WEIGHT, _VARIANCE = _mixture()


def mixed_score(mean, variance):
    """The score whose logistic function is the mean of those of a normal score.

    Parameters
    ----------
    mean, variance : ndarray of the same shape

    Returns
    -------
    score : ndarray of that shape
    """
    out = np.empty(np.shape(mean))
    flat, size, var = out.reshape(-1), np.abs(mean).reshape(-1), variance.reshape(-1)
    for low in range(0, len(flat), _CHUNK):
        part = slice(low, low + _CHUNK)
        x = size[part, None] / np.sqrt(var[part, None] + _VARIANCE)
        rest = ndtr(-x) @ _WEIGHT
        flat[part] = np.log1p(-rest) - np.log(np.maximum(rest, 1e-300))
    # far out, where the mixture has no tail left, the logistic function is exp
    far = size - var - 6.0 * np.sqrt(var) > _FAR
    flat[far] = (size - 0.5 * var)[far]
    return np.copysign(out, mean)


def normal_site(m, s2):
    """log L of a label of +1 where the score is normal; m in the label's direction.

    Parameters
    ----------
    m, s2 : ndarray of shape (n,)

    Returns
    -------
    Site
    """
    size = np.sqrt(s2[:, None] + _VARIANCE)
    x = m[:, None] / size
    value = logsumexp(log_ndtr(x), b=_WEIGHT, axis=1)
    density = _WEIGHT * np.exp(-0.5 * x**2 - value[:, None]) / np.sqrt(2 * np.pi)
    one = (density / size).sum(axis=1)
    two = (-x * density / size**2).sum(axis=1)
    three = ((x**2 - 1) * density / size**3).sum(axis=1)
    four = ((3 * x - x**3) * density / size**4).sum(axis=1)
    second = two - one**2
    third = three - 3 * one * two + 2 * one**3
    fourth = four - 4 * one * three - 3 * two**2 + 12 * one**2 * two - 6 * one**4
    return Site(value, one, second, third, fourth)
