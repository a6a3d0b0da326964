"""Penalties on W that tie tasks by their features: value, prox, strength of zero.

A penalty sees a matrix with a row per task (per task and class where there are more
than two) and a column per feature. Its dual ball is the set of its subgradients at
zero; the gauge of that ball is all that a duality gap needs to know.
"""

import numpy as np
from numba import njit

_ROOT_STEPS = 60


class _Rows:
    """Penalties of single features: columns of W are shrunk one at a time.

    One formula serves both: a column costs the least of alpha |s|_2 + beta |p|_1 over
    all s + p = w, so its dual ball is that of radius alpha cut by a box of half-width
    beta; an infinite beta leaves the plain norm.
    """

    alpha = 0.0
    beta = np.inf

    def value(self, W):
        """Penalty of W, of shape (n_rows, n_features)."""
        if not np.isfinite(self.beta):
            return self.alpha * float(np.sqrt(np.einsum("tj,tj->j", W, W)).sum())
        return self.value_of_parts(*self.split(W))

    def value_of_parts(self, shared, private):
        """Penalty of a given decomposition W = shared + private."""
        value = self.alpha * np.sqrt(np.einsum("tj,tj->j", shared, shared)).sum()
        if np.isfinite(self.beta):
            value += self.beta * np.abs(private).sum()
        return float(value)

    def split(self, W):
        """Shared and private part of W, the cheapest pair with that sum."""
        if not np.isfinite(self.beta):
            return W, np.zeros_like(W)
        cap = _caps(W, self.alpha, self.beta)
        shared = np.clip(W, -cap, cap)
        return shared, W - shared

    def prox(self, Z, step=1.0):
        """argmin over V of 1/2 |V - Z|^2 + step * value(V)."""
        V = np.empty((Z.shape[1], Z.shape[0]))
        ones = np.ones(Z.shape[0])
        for j, z in enumerate(np.ascontiguousarray(Z.T)):
            shrink(z, ones, step * self.alpha, step * self.beta, V[j])
        return np.ascontiguousarray(V.T)

    def gauges(self, G):
        """Gauge of every column of G, of shape (n_features,)."""
        norms = np.sqrt(np.einsum("tj,tj->j", G, G))
        ratio = _over(norms, self.alpha)
        if np.isfinite(self.beta) and len(G):
            ratio = np.maximum(ratio, _over(np.abs(G).max(axis=0), self.beta))
        return ratio

    def gauge(self, G):
        """Smallest c for which G / c is a subgradient of the penalty at zero."""
        return float(self.gauges(G).max(initial=0.0))


class L21(_Rows):
    r"""Joint selection: a feature is used by all tasks or by none.

    .. math:: \alpha \sum_j \|W_{:, j}\|_2

    Parameters
    ----------
    alpha : float
        Strength, greater than 0.

    References
    ----------
    Obozinski, Taskar and Jordan, Joint covariate selection and joint subspace selection
    for multiple classification problems, Statistics and Computing 20, 2010.
    """

    def __init__(self, alpha):
        self.alpha = float(alpha)

    def scaled(self, alpha):
        """The same penalty of another strength."""
        return L21(alpha)

    def zero_strength(self, G):
        """The alpha from which on W is zero; G is the loss gradient there."""
        return float(np.sqrt(np.einsum("tj,tj->j", G, G)).max(initial=0.0))

    def __repr__(self):
        return f"L21(alpha={self.alpha})"


class Dirty(_Rows):
    r"""Shared plus private: joint selection for one part, single entries for the other.

    .. math:: \min_{S + P = W} \alpha \sum_j \|S_{:, j}\|_2
              + \alpha_{private} \sum_{tj} |P_{tj}|

    Parameters
    ----------
    alpha, alpha_private : float
        Strengths, greater than 0. From alpha_private = alpha on, P is zero; up to
        alpha / sqrt(n_rows), S is.

    References
    ----------
    Jalali, Ravikumar, Sanghavi and Ruan, A dirty model for multi-task learning, NIPS
    2010 (there with the l1/l-infinity norm for S).
    """

    def __init__(self, alpha, alpha_private):
        self.alpha, self.beta = float(alpha), float(alpha_private)

    @property
    def alpha_private(self):
        """Strength of the private part."""
        return self.beta

    def scaled(self, alpha):
        """The same penalty of another strength, the ratio of the two kept."""
        return Dirty(alpha, alpha * self.beta / self.alpha)

    def zero_strength(self, G):
        """The alpha from which on W is zero, at the same ratio of the two strengths."""
        return self.gauge(G) * self.alpha

    def __repr__(self):
        return f"Dirty(alpha={self.alpha}, alpha_private={self.beta})"


class Nuclear:
    r"""Few hidden features: the sum of the singular values of W.

    .. math:: \alpha \|W\|_* = \min_{\Phi V = W} \frac{\alpha}{2}
              (\|\Phi\|_F^2 + \|V\|_F^2)

    Parameters
    ----------
    alpha : float
        Strength, greater than 0.

    References
    ----------
    Argyriou, Evgeniou and Pontil, Convex multi-task feature learning, Machine Learning
    73, 2008.
    """

    def __init__(self, alpha):
        self.alpha = float(alpha)

    def scaled(self, alpha):
        """The same penalty of another strength."""
        return Nuclear(alpha)

    def value(self, W):
        """Penalty of W, of shape (n_rows, n_features)."""
        return self.alpha * float(np.linalg.svd(W, compute_uv=False).sum())

    def prox(self, Z, step=1.0):
        """argmin over V of 1/2 |V - Z|^2 + step * value(V)."""
        U, s, V = np.linalg.svd(Z, full_matrices=False)
        return (U * np.maximum(s - step * self.alpha, 0.0)) @ V

    def gauge(self, G):
        """Smallest c for which G / c is a subgradient of the penalty at zero."""
        return float(_over(self.zero_strength(G), self.alpha))

    def zero_strength(self, G):
        """The alpha from which on W is zero; G is the loss gradient there."""
        small = G @ G.T if G.shape[0] <= G.shape[1] else G.T @ G
        if small.size == 0:
            return 0.0
        return float(np.sqrt(max(np.linalg.eigvalsh(small)[-1], 0.0)))

    def __repr__(self):
        return f"Nuclear(alpha={self.alpha})"


PENALTIES = [L21(0.7), Dirty(0.7, 0.45), Dirty(0.5, 0.6), Nuclear(0.7)]


def _over(value, strength):
    """value / strength, where 0 / 0 is 0."""
    value = np.asarray(value, dtype=np.float64)
    if strength > 0:
        return value / strength
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(value == 0.0, 0.0, value / strength)


# ---------------------------------------------------------------- one column


# error_model: a quotient that underflows becomes infinite and the search bisects
@njit(cache=True, error_model="numpy")
def shrink(z, h, alpha, beta, w):
    """argmin over w of 1/2 sum_t (h_t w_t^2 - 2 z_t w_t) plus the penalty of a column.

    The shared part is s_t = z_t / (h_t + nu), cut at beta / nu, with nu = alpha / |s|:
    one number to find, by Newton's method on 1 / |s(nu)| - nu / alpha, which is
    concave and starts right of its root.

    Parameters
    ----------
    z, h : ndarray of shape (n_rows,)
        Linear terms and curvatures; entries without curvature become zero.
    alpha, beta : float
    w : ndarray of shape (n_rows,)
        Overwritten.

    Returns
    -------
    nu : float
        0 where the shared part is zero.
    """
    n = z.shape[0]
    cut = 0.0
    high_h = 0.0
    low_h = np.inf
    whole = 0.0
    for t in range(n):
        size = min(abs(z[t]), beta)
        cut += size * size
        whole += z[t] * z[t]
        high_h = max(high_h, h[t])
        low_h = min(low_h, h[t])
    cut, whole = np.sqrt(cut), np.sqrt(whole)
    if cut <= alpha or high_h <= 0.0:
        for t in range(n):
            over = abs(z[t]) - beta
            w[t] = np.sign(z[t]) * over / h[t] if over > 0.0 and h[t] > 0.0 else 0.0
        return 0.0
    nu = alpha * high_h / (cut - alpha)
    if low_h < high_h or whole > cut:
        nu = _root(z, h, alpha, beta, alpha * low_h / (whole - alpha), nu)
    for t in range(n):
        if h[t] <= 0.0:
            w[t] = 0.0
            continue
        s = z[t] / (h[t] + nu)
        if nu * abs(s) > beta:
            w[t] = (z[t] - np.sign(z[t]) * beta) / h[t]
        else:
            w[t] = s
    return nu


@njit(cache=True, error_model="numpy")
def _root(z, h, alpha, beta, low, high):
    """The nu between low and high at which the subgradient has the norm alpha."""
    nu = high
    for _ in range(_ROOT_STEPS):
        square = 0.0  # |s|^2 over the entries that are not cut
        bend = 0.0
        room = alpha * alpha  # what the cut entries leave of alpha^2
        for t in range(z.shape[0]):
            if h[t] <= 0.0 and z[t] == 0.0:
                continue
            s = z[t] / (h[t] + nu)
            if nu * abs(s) > beta:
                room -= beta * beta
            else:
                square += s * s
                bend += s * s / (h[t] + nu)
        error = nu * nu * square - room
        if error > 0.0:
            high = nu
        else:
            low = nu
        if abs(error) <= 4e-16 * alpha * alpha or high - low <= 1e-15 * high:
            break
        if room > 0.0 and square > 0.0:
            # Newton on 1 / |s| - nu / sqrt(room); d|s|^2 / dnu = -2 bend
            size = np.sqrt(square)
            rise = bend / (size * square) - 1.0 / np.sqrt(room)
            step = (1.0 / size - nu / np.sqrt(room)) / rise
            nu = nu - step if rise != 0.0 else low
        else:
            nu = low
        if not low < nu < high:
            nu = np.sqrt(low * high) if low > 0.0 else 0.5 * (low + high)
    return nu


def _caps(W, alpha, beta):
    """Where the shared part of every column is cut: s = clip(w, -cap, cap).

    With k entries cut, alpha cap = beta |s| and |s|^2 = rest + k cap^2, rest the
    squares of the others: one candidate for each k, the entries sorted by size.
    """
    n, d = W.shape
    size = np.sort(np.abs(W), axis=0)
    # squares of the smallest entries, added up from below: nothing cancels
    rest = np.vstack([np.zeros(d), np.cumsum(size * size, axis=0)])[::-1]
    room = alpha * alpha - np.arange(n + 1.0) * beta * beta
    open_ = room > 0.0
    caps = beta * np.sqrt(rest / np.where(open_, room, np.inf)[:, None])
    # consistent once the largest entry left is below the cap
    left = np.vstack([size[::-1], np.zeros(d)])
    ends = (left <= caps * (1.0 + 1e-15)) | ~open_[:, None]
    return caps[np.argmax(ends, axis=0), np.arange(d)]
