"""The shared layers of a mapping: forward and backward passes on one long vector."""

import numpy as np
from numba import njit
from scipy.special import expit

ACTIVATIONS = ("tanh", "relu", "logistic", "softplus", "identity")
KINKED = ("relu",)


class Layers:
    """Fully connected layers with one activation.

    Parameters
    ----------
    sizes : tuple of int
        Number of features, then the size of every layer.
    activation : str
        One of `ACTIVATIONS`.
    """

    def __init__(self, sizes, activation):
        self.sizes, self.activation = tuple(sizes), activation
        self._places, at = [], 0
        for fan_in, fan_out in zip(self.sizes, self.sizes[1:]):
            middle, end = at + fan_in * fan_out, at + (fan_in + 1) * fan_out
            self._places.append((slice(at, middle), slice(middle, end)))
            at = end
        self.n_params = at

    def unpack(self, theta):
        """Views of every layer's weights (fan_in, fan_out) and biases (fan_out,)."""
        shapes = zip(self._places, self.sizes, self.sizes[1:])
        return [(theta[w].reshape(i, o), theta[b]) for (w, b), i, o in shapes]

    def pack(self, weights, biases):
        """The vector of given weights and biases, the opposite of `unpack`."""
        pairs = zip(weights, biases)
        return np.concatenate([np.append(W.ravel(), b) for W, b in pairs])

    def read(self, data, X):
        """The rows of `data` with features X as `forward` wants them."""
        return X

    def first(self, theta):
        """A view of the weights that see the features."""
        return self.unpack(theta)[0][0]

    def decay(self, alpha, first):
        """Penalty of every weight; that of the features is in `first`."""
        decay = np.zeros(self.n_params)
        for k, (W, _) in enumerate(self.unpack(decay)):
            W[:] = alpha if k else first[:, None]
        return decay

    def draw(self, rng):
        """Weights to begin with (Glorot and Bengio, AISTATS 2010)."""
        theta = np.empty(self.n_params)
        factor = 2.0 if self.activation == "logistic" else 6.0
        for W, b in self.unpack(theta):
            bound = np.sqrt(factor / sum(W.shape))
            W[:] = rng.uniform(-bound, bound, W.shape)
            b[:] = rng.uniform(-bound, bound, b.shape)
        return theta

    def forward(self, theta, X):
        """What every layer makes of the rows of X, X itself first."""
        outputs = [X]
        for W, b in self.unpack(theta):
            Z = np.asarray(outputs[-1] @ W)
            Z += b
            outputs.append(activate(self.activation, Z))
        return outputs

    def slopes(self, outputs):
        """Derivatives of every layer's activation, at what `forward` returned."""
        found = [np.ones_like(H) for H in outputs[1:]]
        for H, D in zip(outputs[1:], found):
            fold(self.activation, H, D)
        return found

    def backward(self, theta, outputs, D):
        """Gradient of a function with derivatives D in the last layer's outputs.

        D, of the shape of ``outputs[-1]``, is overwritten.
        """
        gradient = np.empty_like(theta)
        parts = list(zip(self.unpack(theta), self.unpack(gradient)))
        for k in range(len(parts) - 1, -1, -1):
            (W, _), (gW, gb) = parts[k]
            fold(self.activation, outputs[k + 1], D)
            gW[:] = outputs[k].T @ D
            gb[:] = D.sum(axis=0)
            if k:
                D = D @ W.T
        return gradient


def represent(weights, biases, activation, X):
    """What the last of given layers makes of the rows of X, (n_samples, h)."""
    layers = Layers([W.shape[0] for W in weights] + [len(biases[-1])], activation)
    outputs = layers.forward(layers.pack(weights, biases), X)
    return np.ascontiguousarray(outputs[-1])


_CODES = {name: code for code, name in enumerate(ACTIVATIONS)}


def activate(name, Z):
    """The activation of Z, in place."""
    if name == "tanh":
        return np.tanh(Z, out=Z)
    if name == "relu":
        return np.maximum(Z, 0.0, out=Z)
    if name == "logistic":
        return expit(Z, out=Z)
    if name == "softplus":
        return np.logaddexp(Z, 0.0, out=Z)
    return Z


def fold(name, H, D):
    """D times the derivative of the activation, which its value H tells; in place."""
    _fold(_CODES[name], H, D)


@njit(cache=True)
def _fold(code, H, D):
    n, h = H.shape
    one = H.dtype.type(1.0)
    for i in range(n):
        for j in range(h):
            v = H[i, j]
            if code == 0:
                D[i, j] *= one - v * v
            elif code == 1:
                if v <= 0:
                    D[i, j] = 0
            elif code == 2:
                D[i, j] *= v * (one - v)
            elif code == 3:
                D[i, j] *= one - np.exp(-v)
