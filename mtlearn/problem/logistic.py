r"""The logistic function under a normal score, and its derivatives.

The logistic distribution is a mixture of normal ones: a variable of it is 2 K times a
standard normal one, with K of Kolmogorov's distribution. Hence

.. math:: L(m, s^2) = \int \sigma(m + s z) \, dN(z)
          = \sum_k p_k \Phi(m / \sqrt{s^2 + c_k^2}),

where the trapezoidal rule in log K has an error far below 1e-9, for every m and s.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.special import ndtr

_NODES = 24
_HALF, _DENSITY = math.sqrt(0.5), 1.0 / math.sqrt(2.0 * math.pi)
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
    """log L of a label of +1 where the score is normal.

    Parameters
    ----------
    m, s2 : ndarray of shape (n,)

    Returns
    -------
    Site
    """
    out = np.empty((5, len(m)))
    _sites(m, s2, _WEIGHT, _VARIANCE, out)
    return Site(*out)


@njit(cache=True)
def _sites(m, s2, weight, variance, out):
    for i in range(len(m)):
        p = one = two = three = four = 0.0
        for k in range(len(weight)):
            inverse = 1.0 / math.sqrt(s2[i] + variance[k])
            x = m[i] * inverse
            p += weight[k] * 0.5 * math.erfc(-x * _HALF)
            a = weight[k] * inverse * math.exp(-0.5 * x * x) * _DENSITY
            one += a
            a *= inverse
            two -= x * a
            a *= inverse
            three += (x * x - 1.0) * a
            four += (3.0 - x * x) * x * a * inverse
        p = max(p, 1e-300)
        one, two, three, four = one / p, two / p, three / p, four / p
        out[0, i], out[1, i] = math.log(p), one
        out[2, i] = two - one * one
        out[3, i] = three - 3.0 * one * two + 2.0 * one**3
        out[4, i] = four - 4.0 * one * three - 3.0 * two * two
        out[4, i] += 12.0 * one * one * two - 6.0 * one**4
