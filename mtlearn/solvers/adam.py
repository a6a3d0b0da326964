"""Steps on random batches of rows, for data of which a pass over all is dear.

Adam (Kingma and Ba, ICLR 2015) with a rate that falls to zero along half a cosine.
Rates are in the units of what they move, so that none has to be chosen.
"""

import numpy as np

_RATE = 0.01  # of the first steps
_BATCH = 256  # rows
_MEANS = 0.9, 0.999  # of gradients and of their squares
_TINY = 1e-30


def descend(function, x, units, n_rows, rng, n_epochs):
    """Go down a sum over rows that is seen a batch at a time.

    Parameters
    ----------
    function : callable
        Value and gradient, of the numbers of some rows and a point; an estimate of
        those of all rows.
    x : ndarray of shape (n,)
    units : ndarray of shape (n,)
        What is a step of size one.
    n_rows : int
    rng : numpy.random.Generator
    n_epochs : int
        Passes over the rows.

    Returns
    -------
    x : ndarray of shape (n,)
    """
    x, mean, square = x.copy(), np.zeros_like(x), np.zeros_like(x)
    n_batches, step = max(1, n_rows // _BATCH), 0
    n_steps = n_epochs * n_batches
    for _ in range(n_epochs):
        for rows in np.array_split(rng.permutation(n_rows), n_batches):
            _, g = function(np.sort(rows), x)
            g *= units
            step += 1
            mean += (1.0 - _MEANS[0]) * (g - mean)
            square += (1.0 - _MEANS[1]) * (g * g - square)
            level = square / (1.0 - _MEANS[1] ** step)
            move = mean / (1.0 - _MEANS[0] ** step) / (np.sqrt(level) + _TINY)
            rate = 0.5 * _RATE * (1.0 + np.cos(np.pi * step / n_steps))
            x -= rate * units * move
    return x
