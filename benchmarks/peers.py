"""The peers: one short function for every library that fits the same objective.

Each returns a `Run`; only the call of `fit` is timed, checks and sorting of the rows
included. What a peer needs beforehand (augmented features, sorted rows) is made outside
the timing, in the peer's favour.
"""

import numpy as np
from races import Run, timed
from sklearn.linear_model import MultiTaskLasso, Ridge
from sklearn.svm import LinearSVC

# ---------------------------------------------------------------- multitask SVM


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


# ---------------------------------------------------------------- per-task ridge


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


# ---------------------------------------------------------------- shared features


def sklearn_l21(problem, tol, max_iter):
    """Fit scikit-learn's MultiTaskLasso on the rows as they come."""
    X, Y = problem.rows.X, problem.rows.y
    model = MultiTaskLasso(alpha=problem.alpha / len(X), tol=tol, max_iter=max_iter)
    model, seconds = timed(model.fit, X, Y)
    return Run(seconds, model.coef_, model.intercept_, model.n_iter_)


def sklearn_l21_prepared(problem, tol, max_iter):
    """Fit MultiTaskLasso on rows that were centred and turned to Fortran order."""
    X, Y = problem.rows.centred
    model = MultiTaskLasso(
        alpha=problem.alpha / len(X),
        fit_intercept=False,
        copy_X=False,
        tol=tol,
        max_iter=max_iter,
    )
    model, seconds = timed(model.fit, X, Y)
    return _centred_run(problem, seconds, model.coef_, model.n_iter_)


def _prepared(problem):
    """Centred rows in Fortran order: what a function without intercepts needs."""
    X, Y = problem.rows.X, problem.rows.y
    return np.asfortranarray(X - X.mean(axis=0)), np.asfortranarray(Y - Y.mean(axis=0))


def celer_l21(problem, tol, max_iter):
    """Run celer's function for multitask lasso paths, on one strength."""
    from celer.homotopy import mtl_path

    strengths = [problem.alpha / len(problem.rows.X)]

    def fit():
        X, Y = _prepared(problem)
        return mtl_path(X, Y, alphas=strengths, tol=tol, max_iter=max_iter)

    path, seconds = timed(fit)
    return _centred_run(problem, seconds, path[1][:, :, 0])


def skglm_l21(problem, tol, max_iter):
    """Run skglm's multitask solver, residuals in the order of `X`.

    Its class MultiTaskLasso keeps them in the other order and takes up to five times as
    long. `tol` is relative to the strength.
    """
    from skglm.datafits import QuadraticMultiTask
    from skglm.penalties import L2_1
    from skglm.solvers import MultiTaskBCD

    strength = problem.alpha / len(problem.rows.X)
    solver = MultiTaskBCD(tol=tol * strength, max_iter=max_iter, fit_intercept=False)

    def fit():
        X, Y = _prepared(problem)
        W, fitted = np.zeros((X.shape[1], Y.shape[1])), np.zeros(Y.shape, order="F")
        return solver.solve(X, Y, QuadraticMultiTask(), L2_1(strength), W, fitted)

    (W, steps, _), seconds = timed(fit)
    return _centred_run(problem, seconds, W.T, len(steps))


def _centred_run(problem, seconds, W, n_iter=1):
    return Run(seconds, W, problem.intercept(W), n_iter)


def celer_group(problem, tol, max_iter):
    """Run celer's function for group lasso paths, on one strength."""
    from celer.homotopy import celer_path

    D, y = problem.rows.design
    (_, path, _), seconds = timed(
        celer_path,
        D,
        y,
        "grouplasso",
        alphas=[problem.alpha / len(y)],
        groups=_group_size(problem),
        tol=tol,
        max_iter=max_iter,
    )
    return _grouped_run(problem, seconds, path[:, 0])


def celer_group_kernel(problem, tol, max_iter):
    """Call celer's compiled solver alone: what `celer_path` sets up is not timed.

    For sparse designs it sets up in a loop of Python, most of its time here.
    """
    from celer.group_fast import celer_grp

    D, y = problem.rows.design
    n, p = D.shape
    group = _group_size(problem)
    starts = np.arange(0, p + 1, group, dtype=np.int32)
    w, zeros, theta = np.zeros(p), np.zeros(p), np.zeros(n)
    _, seconds = timed(
        celer_grp,
        True,
        0,
        np.empty((1, 1), order="F"),
        np.arange(p, dtype=np.int32),
        starts,
        D.data,
        D.indices,
        D.indptr,
        zeros,
        y,
        problem.alpha / n,
        w,
        y.copy(),
        theta,
        problem.rows.column_norms,
        tol,
        np.ones(len(starts) - 1),
        max_iter,
        50_000,
        p0=10,
        prune=1,
    )
    return _grouped_run(problem, seconds, w)


def skglm_group(problem, tol, max_iter):
    """Fit skglm's GroupLasso; `tol` is relative to the strength."""
    from skglm import GroupLasso

    D, y = problem.rows.design
    strength = problem.alpha / len(y)
    model = GroupLasso(
        _group_size(problem),
        alpha=strength,
        tol=tol * strength,
        max_iter=max_iter,
        fit_intercept=False,
    )
    model, seconds = timed(model.fit, D, y)
    return _grouped_run(problem, seconds, model.coef_)


def _group_size(problem):
    """Columns of the design for every feature: one for each task."""
    return problem.rows.design[0].shape[1] // problem.rows.X.shape[1]


def _grouped_run(problem, seconds, w):
    W = w.reshape(problem.rows.X.shape[1], -1).T
    return _centred_run(problem, seconds, W)
