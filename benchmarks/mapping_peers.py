"""Peers that fit shared layers: torch, and scikit-learn's MLP.

A peer is a function `fit(problem, seed, budget, rate=..., ...)` that returns its curve,
a list of (seconds, objective); it is stopped after `budget` seconds. What it needs
beforehand (tensors) is made outside the timing, and so is the objective along the way.
"""

import warnings
from functools import partial
from itertools import pairwise

import numpy as np
import races
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

try:
    import torch
except ImportError:
    torch = None

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
N_POINTS = 60  # of a curve


class Enough(Exception):
    """The budget is used up."""


class Recorder:
    """Weights along the way, at times that grow by a factor; recording is not timed."""

    def __init__(self, budget):
        self.budget, self.points = budget, []
        self._next, self._factor = budget / 1000, 1000 ** (1 / N_POINTS)
        self.start()

    def start(self):
        """Begin to count."""
        self._since, self._left_out = races.clock(), 0.0

    @property
    def seconds(self):
        """Seconds so far."""
        return races.clock() - self._since - self._left_out

    def __call__(self, weights):
        """Keep what `weights()` returns if it is time to; raise `Enough` at the end."""
        seconds = self.seconds
        if seconds < self._next:
            return
        before = races.clock()
        self.points.append((seconds, weights()))
        self._next = max(self._next, seconds) * self._factor
        self._left_out += races.clock() - before
        if seconds >= self.budget:
            raise Enough

    def last(self, weights):
        """Keep what a solver that stopped by itself ended with."""
        self.points.append((self.seconds, weights()))

    def curve(self, problem):
        """List of (seconds, objective), the objective never rising."""
        values = [problem.objective(*model) for _, model in self.points]
        values = np.minimum.accumulate(np.nan_to_num(values, nan=np.inf))
        seconds = [spent for spent, _ in self.points]
        return list(zip(seconds, values.tolist()))


# ---------------------------------------------------------------- torch


def torch_adam(problem, seed, budget, rate, batch=None, cosine=True):
    """Adam in single precision; the cosine reaches zero when the budget ends."""
    X, Y, weights, biases = _tensors(problem, seed, torch.float32)
    adam = torch.optim.Adam([*weights, *biases], lr=rate, fused=True)
    n, batch = len(X), batch or len(X)
    recorder = Recorder(budget)
    try:
        while True:
            order = torch.randperm(n) if batch < n else None
            for first in range(0, n - batch + 1, batch):
                if cosine:
                    part = min(recorder.seconds / budget, 1.0)
                    adam.param_groups[0]["lr"] = rate * (1 + np.cos(np.pi * part)) / 2
                rows = slice(None) if order is None else order[first : first + batch]
                loss = _torch_objective(problem, X[rows], Y[rows], weights, biases, n)
                adam.zero_grad()
                loss.backward()
                adam.step()
                recorder(partial(_numbers, weights, biases))
    except Enough:
        return recorder.curve(problem)


def torch_lbfgs(problem, seed, budget):
    """L-BFGS with a strong Wolfe search in double precision."""
    X, Y, weights, biases = _tensors(problem, seed, torch.float64)
    steps = torch.optim.LBFGS(
        [*weights, *biases],
        max_iter=1_000_000,
        max_eval=10_000_000,
        history_size=30,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )
    recorder = Recorder(budget)

    def closure():
        steps.zero_grad()
        loss = _torch_objective(problem, X, Y, weights, biases, len(X))
        loss.backward()
        recorder(partial(_numbers, weights, biases))
        return loss

    try:
        steps.step(closure)
        recorder.last(partial(_numbers, weights, biases))
    except Enough:
        pass
    return recorder.curve(problem)


def _tensors(problem, seed, dtype):
    torch.manual_seed(seed)
    sizes = problem.X.shape[1], problem.units, problem.Y.shape[1]
    weights = [torch.empty(s, dtype=dtype) for s in pairwise(sizes)]
    for W in weights:
        torch.nn.init.xavier_uniform_(W).requires_grad_()
    biases = [torch.zeros(s, dtype=dtype, requires_grad=True) for s in sizes[1:]]
    X, Y = (torch.tensor(v, dtype=dtype) for v in (problem.X, problem.Y))
    return X, Y, weights, biases


def _torch_objective(problem, X, Y, weights, biases, n):
    """The objective over n, the loss that of some of the rows."""
    H = torch.tanh(torch.addmm(biases[0], X, weights[0]))
    R = torch.addmm(biases[1], H, weights[1]) - Y
    squares = sum(W.square().sum() for W in weights)
    return 0.5 * R.square().sum() / len(X) + 0.5 * problem.alpha / n * squares


def _numbers(weights, biases):
    return [[v.detach().numpy().copy() for v in part] for part in (weights, biases)]


# ---------------------------------------------------------------- scikit-learn


class _Recorded(MLPRegressor):
    """MLPRegressor that keeps its weights along the way.

    Its gradient is that of half the squares summed over outputs, its value that of
    their mean (scikit-learn's issue 8349): `consistent` puts the value right.
    """

    def _loss_grad_lbfgs(self, packed, X, y, *rest):
        value, gradient = super()._loss_grad_lbfgs(packed, X, y, *rest)
        self.recorder(self._kept)
        if self.consistent:
            squares = sum(float(np.vdot(W, W)) for W in self.coefs_)
            penalty = 0.5 * self.alpha * squares / len(X)
            value = self.n_outputs_ * (value - penalty) + penalty
        return value, gradient

    def _update_no_improvement_count(self, *args):
        self.recorder(self._kept)

    def _kept(self):
        copies = [W.copy() for W in self.coefs_]
        return copies, [b.copy() for b in self.intercepts_]


def sklearn_lbfgs(problem, seed, budget, consistent=False):
    """MLPRegressor(solver="lbfgs"), which stops by itself where it gets stuck."""
    options = {"solver": "lbfgs", "tol": 1e-9, "max_fun": 10_000_000}
    return _sklearn(problem, seed, budget, consistent, problem.alpha, options)


def sklearn_adam(problem, seed, budget, rate, batch=200):
    """MLPRegressor(solver="adam") at a constant rate.

    It divides the penalty by the rows of a batch and adds it once a batch.
    """
    batch = min(batch, len(problem.X))
    options = {"batch_size": batch, "learning_rate_init": rate}
    alpha = problem.alpha * batch / len(problem.X)
    return _sklearn(problem, seed, budget, False, alpha, options)


def _sklearn(problem, seed, budget, consistent, alpha, options):
    model = _Recorded(
        hidden_layer_sizes=(problem.units,),
        activation="tanh",
        alpha=alpha,
        max_iter=1_000_000,
        random_state=seed,
        **options,
    )
    model.recorder, model.consistent = Recorder(budget), consistent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(problem.X, problem.Y)
            model.recorder.last(model._kept)
        except Enough:
            pass
    return model.recorder.curve(problem)


# ---------------------------------------------------------------- who there is

MENDED = "scikit-learn lbfgs, value put right"  # which no user has
SKLEARN = {
    "scikit-learn lbfgs": (sklearn_lbfgs, {}),
    MENDED: (sklearn_lbfgs, {"consistent": (True,)}),
    "scikit-learn adam": (sklearn_adam, {"rate": RATES[:3]}),
}
TORCH = {
    "torch Adam, batches, cosine": (torch_adam, {"rate": RATES, "batch": (64, 256)}),
    "torch Adam, batches, constant": (
        torch_adam,
        {"rate": RATES[:2], "batch": (256,), "cosine": (False,)},
    ),
    "torch Adam, all rows, cosine": (torch_adam, {"rate": RATES[1:]}),
    "torch L-BFGS": (torch_lbfgs, {}),
}


def mapping_peers():
    """Functions by name, with the values among which to tune; says who is absent."""
    if torch is None:
        print("torch: left out, not installed")
        return SKLEARN
    torch.set_num_threads(1)
    return TORCH | SKLEARN
