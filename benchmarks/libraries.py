"""One short function for every library that fits the same objective.

Each returns a `Run`; only the call of `fit` is timed, checks and sorting of the rows
included. What a peer needs beforehand (augmented features, sorted rows) is made outside
the timing, in the peer's favour.
"""

import time
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from mtlearn import MultiTaskSVM, PerTaskRegressor, SharedMean


@dataclass(frozen=True)
class Run:
    """Seconds of one fit, and the model."""

    seconds: float
    coef: np.ndarray
    intercept: np.ndarray | float = 0.0
    n_iter: int = 1


def timed(fit, *args, **kwargs):
    """Result and seconds of one call; warnings of early stops are expected here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        result = fit(*args, **kwargs)
        return result, time.perf_counter() - start


# ---------------------------------------------------------------- multitask SVM


def mtlearn_svm(problem, tol=None, max_iter=100):
    """Fit MultiTaskSVM on the rows as they come; `tol` None is the default."""
    options = {} if tol is None else {"tol": tol}
    model = MultiTaskSVM(
        C=problem.C,
        relation=SharedMean(problem.correlation),
        fit_intercept=False,
        max_iter=max_iter,
        **options,
    )
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, model.coef_, n_iter=model.n_iter_)


def liblinear_primal(problem, tol, max_iter=1_000_000):
    """Fit LinearSVC by a trust region Newton method on the augmented features."""
    return _liblinear(problem, tol, max_iter, dual=False)


def liblinear_dual(problem, tol, max_iter=1_000_000):
    """Fit LinearSVC by dual coordinate descent on the augmented features."""
    return _liblinear(problem, tol, max_iter, dual=True)


def _liblinear(problem, tol, max_iter, dual):
    model = LinearSVC(
        C=problem.C,
        loss="squared_hinge",
        dual=dual,
        fit_intercept=False,
        tol=tol,
        max_iter=max_iter,
        random_state=0,
    )
    X = problem.augmented
    model, seconds = timed(model.fit, X, problem.y)
    return Run(seconds, problem.coefficients(model.coef_[0]), n_iter=model.n_iter_)


SVM_LIBRARIES = {
    "mtlearn": mtlearn_svm,
    "LIBLINEAR primal": liblinear_primal,
    "LIBLINEAR dual": liblinear_dual,
}


# ---------------------------------------------------------------- per-task ridge


def mtlearn_ridge(problem):
    """Fit PerTaskRegressor on the rows as they come, or on complete Y."""
    tied = problem.correlation is not None
    model = PerTaskRegressor(
        alpha=problem.alpha,
        relation=SharedMean(problem.correlation) if tied else "independent",
        fit_intercept=problem.intercept,
    )
    model, seconds = timed(model.fit, problem.X, problem.y, task=problem.task)
    return Run(seconds, model.coef_, model.intercept_)


def sklearn_loop(problem):
    """Fit one scikit-learn Ridge after the other, on rows sorted beforehand."""
    X, y = problem.blocks

    def loop():
        fits = []
        for rows, labels in zip(X, y):
            model = Ridge(alpha=problem.alpha, solver="cholesky").fit(rows, labels)
            fits.append((model.coef_, model.intercept_))
        return fits

    fits, seconds = timed(loop)
    coef, intercept = map(np.array, zip(*fits))
    return Run(seconds, coef, intercept)


def sklearn_multioutput(problem):
    """Fit one scikit-learn Ridge on complete Y."""
    model = Ridge(alpha=problem.alpha, solver="cholesky")
    model, seconds = timed(model.fit, problem.X, problem.y)
    return Run(seconds, model.coef_, model.intercept_)


def sklearn_augmented(problem):
    """Fit one scikit-learn Ridge on the augmented sparse features."""
    model = Ridge(
        alpha=problem.alpha, solver="sparse_cg", fit_intercept=False, tol=1e-7
    )
    model, seconds = timed(model.fit, problem.augmented, problem.y)
    coef = problem.coefficients(model.coef_)
    return Run(seconds, coef, np.zeros(len(coef)))


def numpy_batched(problem):
    """Solve all tasks by batched NumPy on rows sorted beforehand: the physical limit.

    Nothing is checked and the tasks must have equally many rows.
    """
    (coef, intercept), seconds = timed(_batched, *problem.blocks, problem.alpha)
    return Run(seconds, coef, intercept)


def _batched(X, y, alpha):
    mean, y_mean = X.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    Xc, yc = X - mean, y - y_mean
    Xt = Xc.transpose(0, 2, 1)
    gram = Xt @ Xc
    diagonal = np.arange(X.shape[2])
    gram[:, diagonal, diagonal] += alpha
    coef = np.linalg.solve(gram, Xt @ yc[:, :, None])[:, :, 0]
    return coef, y_mean[:, 0] - np.einsum("tj,tj->t", mean[:, 0], coef)


def numpy_arrow(problem):
    """Solve tied tasks by batched NumPy, the common part eliminated; rows sorted."""
    coef, seconds = timed(_arrow, *problem.blocks, problem.alpha, problem.correlation)
    return Run(seconds, coef, np.zeros(len(coef)))


def _arrow(X, y, alpha, rho):
    # stationarity: g_t(W) + alpha (w_t - w_0) / (1 - rho) = 0 with
    # w_0 = rho / (1 - rho + T rho) sum_t w_t
    n_tasks, _, d = X.shape
    Xt = X.transpose(0, 2, 1)
    gram = Xt @ X
    cross = Xt @ y[:, :, None]
    pull = alpha / (1.0 - rho)
    M = gram + pull * np.eye(d)
    both = np.concatenate([cross, np.broadcast_to(pull * np.eye(d), gram.shape)], 2)
    solved = np.linalg.solve(M, both)
    own, slope = solved[:, :, 0], solved[:, :, 1:]
    share = rho / (1.0 - rho + n_tasks * rho)
    common = np.linalg.solve(
        np.eye(d) - share * slope.sum(axis=0), share * own.sum(axis=0)
    )
    return own + slope @ common


def ridge_libraries(problem):
    """Peers of the problem, ours first."""
    if problem.task is None:
        peers = {"scikit-learn Ridge": sklearn_multioutput}
    elif problem.correlation is not None:
        peers = {
            "scikit-learn Ridge, augmented": sklearn_augmented,
            "batched NumPy": numpy_arrow,
        }
    else:
        peers = {
            "loop of scikit-learn Ridge": sklearn_loop,
            "batched NumPy": numpy_batched,
        }
    return {"mtlearn": mtlearn_ridge, **peers}
