"""Natural gradients: the metric of a network, and steps in it on batches of rows.

The Gauss-Newton matrix of a layer is a sum over rows of Kronecker products: of what the
layer sees, and of how its outputs move the scores. Here it is the product of two means
(Martens and Grosse, ICML 2015). The features have moments of about one, see `units`: of
the first layer, by far the largest, one small factor is all there is to find.
"""

import numpy as np
from scipy import linalg

_LOUD, _QUIET = 0.3, 0.03  # what noise may add to the objective, relative to it
_MOST = 0.5  # of a Gauss-Newton step that a step is, with all its momentum
_MOMENTUM = 0.9
_LAST = 0.03  # what a batch adds to running means
_DAMPING = 0.1
_BATCH = 256  # rows
_SAMPLE = 1024  # rows that tell the metric
_REFRESH = 20  # steps between two looks at it
_KEPT = 0.8  # of the last moments, where new ones come in
_LEAST = 1e-8  # curvature relative to the greatest one of a layer
_FLAT = 1e30  # what the inverse of no curvature is
_LOGISTIC = 0.25  # greatest curvature of the log-loss


def descend_naturally(network, x, rng, n_epochs):
    """Go down the objective of a network by batches of rows.

    Natural gradient steps with momentum, which become shorter along half a cosine. On
    the way the noise of the batches adds to the objective about what a whole step
    promises to take from it, times the length of the steps: that is kept at the share
    of the objective that the network has explained so far, within bounds.

    Parameters
    ----------
    network : Network
        With heads among the unknowns.
    x : ndarray of shape (n,)
        With heads that explain nothing yet.
    rng : numpy.random.Generator
    n_epochs : int
        Passes over the rows.

    Returns
    -------
    x : ndarray of shape (n,)
    """
    network = network.rows(None, np.float32)
    n, zero = network.X.shape[0], network(x)[0]
    metric, move, noise, level = Metric(_DAMPING, np.float32), 0.0, 0.0, zero
    n_batches, step = max(1, n // _BATCH), 0
    for _ in range(n_epochs):
        rows = network.rows(rng.permutation(n), np.float32)
        for first in range(0, n_batches * _BATCH, _BATCH):
            if step % _REFRESH == 0:
                x = _look(metric, rows, first, x, step == 0)
            batch = rows.part(slice(first, first + _BATCH), n / min(n, _BATCH))
            value, g = batch(x)
            step += 1
            change = metric(g)
            new = max(_LAST, 1.0 / step)
            level += new * (value - level)
            noise += new * (0.5 * float(g @ change) / value - noise)
            share = min(_MOST, min(max(1.0 - level / zero, _QUIET), _LOUD) / noise)
            warm = min(1.0, step / n_batches)
            fall = 0.5 * (1.0 + np.cos(np.pi * step / (n_epochs * n_batches)))
            move = _MOMENTUM * move + (1.0 - _MOMENTUM) * share * warm * fall * change
            x = x - move
    return x


def _look(metric, rows, first, x, heads_first):
    """Update the metric by the rows from `first` on; return where to go on.

    That is x, or x with heads that suit those rows.
    """
    n = rows.X.shape[0]
    first = max(min(first, n - _SAMPLE), 0)
    some = rows.part(slice(first, first + _SAMPLE), n / min(n, _SAMPLE))
    metric.update(some, x)
    if heads_first:
        cut = rows.layers.n_params
        x = np.append(x[:cut], (x - metric(some(x)[1]))[cut:])
        metric.update(some, x)
    return x


class Metric:
    """An approximate inverse Hessian of a `Network`, to be applied to its gradients.

    Parameters
    ----------
    damping : float
        What all outputs of a layer get of their mean curvature.
    dtype : dtype
        Of what is applied.
    """

    def __init__(self, damping=0.0, dtype=np.float64):
        self._damping, self._dtype, self._moments = damping, dtype, None

    def update(self, network, x):
        """Look at the rows of a network that has the weights x."""
        layers, heads = network.layers, network.heads
        outputs, V, _ = network.outputs(x)
        seen = outputs[1:-1] if network.projected else outputs[1:]
        seen = [np.column_stack([H, np.ones(len(H), H.dtype)]) for H in seen]
        moments = [_moment(A) for A in (*layers.slopes(outputs), *seen)]
        if self._moments is not None:
            pairs = zip(self._moments, moments)
            moments = [_KEPT * old + (1.0 - _KEPT) * new for old, new in pairs]
        self._moments, depth = moments, len(layers.sizes) - 1
        bend = _LOGISTIC if heads.own is not None else 1.0
        mass = bend * heads.mass
        outward = (V.T * mass) @ V
        self._layers = self._of_layers(network, x, outward)
        self._heads = None
        if not network.projected:
            size, axes = _axes(moments[2 * depth - 1])
            mass = np.where(mass > 0, mass, 1.0)[:, None]
            self._heads = self._kept(None, mass * size + heads.alpha, axes)

    def _of_layers(self, network, x, outward):
        """Axes and inverse curvatures of every layer, the biases as a last feature."""
        layers, total = network.layers, max(float(network.heads.mass.sum()), 1e-300)
        pairs = layers.unpack(x[: layers.n_params])
        decays = layers.unpack(network.decay)
        depth, found = len(pairs), []
        for k in range(depth - 1, -1, -1):
            block, penalty = outward * self._moments[k], decays[k][0][:, :1]
            outward = pairs[k][0] @ block @ pairs[k][0].T
            block[np.diag_indices(len(block))] += self._damping * np.diag(block).mean()
            size, axes = _axes(block)
            if k:
                level, own = _axes(self._moments[depth + k - 1])
                level, penalty = level[:, None], penalty[0]
            else:
                own, penalty = None, np.append(penalty, [[0.0]], axis=0)
                level = 1.0 - np.minimum(penalty / total, 1.0)
            found.insert(0, self._kept(own, level * size + penalty, axes))
        return found

    def _kept(self, own, curvature, axes):
        kept = own, np.minimum(1.0 / curvature, _FLAT), axes
        return [None if A is None else A.astype(self._dtype) for A in kept]

    def __call__(self, g):
        """The inverse times a gradient."""
        g, at, parts = g.astype(self._dtype, copy=False), 0, []
        for factors in self._layers:
            size = factors[1].size
            parts.append(_apply(factors, g[at : at + size]).ravel())
            at += size
        if self._heads is not None:
            n, h = self._heads[1].shape[0], self._heads[1].shape[1] - 1
            V, b = g[at : at + n * h].reshape(n, h), g[at + n * h :]
            step = _apply(self._heads, np.column_stack([V, b]))
            parts += [step[:, :-1].ravel(), step[:, -1]]
        return np.concatenate(parts)


def _apply(factors, g):
    own, inverse, axes = factors
    g = g.reshape(inverse.shape)
    g = g if own is None else own.T @ g
    g = (g @ axes) * inverse @ axes.T
    return g if own is None else own @ g


def _axes(moment):
    """Eigenvalues, none of them far below the greatest (1 if it is 0), and vectors."""
    size, axes = linalg.eigh(moment, check_finite=False)
    return np.maximum(size, _LEAST * size[-1] if size[-1] > 0 else 1.0), axes


def _moment(A):
    """The mean of a_i a_i' over rows."""
    return (A.T @ A).astype(np.float64) / max(len(A), 1)
