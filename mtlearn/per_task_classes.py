"""Per-task weights of classes, with everything chosen by cross-validation."""

from dataclasses import replace

import numpy as np

from .fitting import checks
from .fitting.class_grid import ClassGrid
from .fitting.folds import scatter
from .fitting.grid import in_batches
from .fitting.related_search import RelatedSearch
from .per_task import PerTaskClassifier
from .solvers.related.compact import CompactRows
from .solvers.related.steps import SOLVERS, LazyStep

_FOLD_TOL = 1e-6  # accuracy at which the models of the folds are told apart


class PerTaskClassifierCV(ClassGrid, RelatedSearch, PerTaskClassifier):
    r"""`PerTaskClassifier` with everything chosen by cross-validation.

    Minimises over W (a row per task) and the intercepts b, with labels -1 and +1,

    .. math:: C \sum_t \lambda_t \sum_{i \in t} s_i
              \log(1 + \exp(-y_i (x_i \cdot w_t + b_t))) + \frac12 \Omega(W)

    with the C, the correlation of the relation `SharedMean`, and the intercepts whose
    models of the training parts give held-out labels the highest probabilities. With
    more than two classes the loss is the softmax cross-entropy over the classes that
    the task has. The loss is a sum, not a mean.

    Parameters
    ----------
    Cs : int or array-like, default=15
        The strengths of the loss to try, in any order; or how many. Then they form a
        geometric grid of six decades, up from where the penalty leaves next to nothing
        of the coefficients.
    correlations : array-like, float or None
        The correlations of `SharedMean` to try, from 0 (independent tasks) to 1 (one
        common model), where `relation` is "shared_mean". None: only the relation as it
        is.
    relation : str or relation, default="shared_mean"
        "shared_mean" tries all `correlations`; everything else ("independent",
        "pooled", "learned", `SharedMean(0.7)`, `TaskGraph`, `TaskCovariance`) is taken
        as it is.
    cv : None, int, splitter or iterable, default=None
        The folds. None means 5; an integer gives that many folds, each with its share
        of every task, and, where rows belong to tasks, of the classes within it;
        splitters and (train, test) pairs refer to the rows as passed, and splitters get
        the ids as groups.
    scoring : str, callable or None, default=None
        The name of a scikit-learn scorer, or a callable ``scorer(estimator, X, y)``
        such as `TaskScorer`; larger is better. None: the log-loss.
    margin : float, default=1.0
        Independent tasks, with free intercepts where those are tried, are taken unless
        the best model is ahead of them by this many standard errors of the difference,
        fold by fold. 0: the best is taken.
    one_standard_error : bool or "paired", default=False
        Take the smallest C that is at most one standard error (over the folds) worse
        than the best. True: the standard error of the best one's own score. "paired":
        that of the difference between the two, fold by fold.
    n_jobs : int, default=None
        Number of folds processed in parallel.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    task_weight : None, "balanced", dict or array-like, default=None
        The lambda_t. "balanced": n / (n_tasks n_t) in labelled rows (of the training
        part), so that all tasks have the same total weight; a dict by id (1 for absent
        ids); an array in the order of `tasks_`.
    fit_intercept : {"auto", True, "free", "shrunk", "shared", False}, or a list
        True or "free": one unpenalised intercept per task (and class). "shrunk": a free
        common one, deviations from it penalised. "shared": one for all tasks. A list:
        all of these are tried. "auto": the first three; free ones only, where the
        relation is learned or tasks are made of others.
    intercept_strength : "auto", float or array-like, default="auto"
        With shrunken intercepts, the factor of the penalty on their deviations, or
        several to try. "auto": with independent tasks and `SharedMean` that at which
        the tasks' levels are most likely in a random-intercept model, whatever the
        strength of the penalty; with other relations 0.1, 1 and 10.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the mean of the tasks'
        models or raises an error. (Within the folds it is always predicted.)
    solver : {"auto", "newton-cholesky", "newton-dual", "newton-cg"}, default="auto"
        How to solve for a Newton step: with one block per task of the number of
        features, of the number of rows (wide data, two classes only), or matrix-free
        (wide and sparse data).
    tol : float, default=1e-8
        Stop when the objective is certified to be within this distance of its minimum,
        relative to the objective of the best model without features.
    max_iter : int, default=100
        Maximum number of solver steps.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    verbose : int, default=0
        1 prints the objective and the certificate of each step of the final fit.

    Attributes
    ----------
    C_ : float
        The chosen strength of the loss.
    correlation_ : float or None
        The chosen correlation; None where the relation is not `SharedMean`.
    fit_intercept_ : {"free", "shrunk", "shared", False}
        The chosen intercepts.
    intercept_strength_ : float or None
        Their strength as the base estimator has it; None unless they are shrunken.
    fit_intercepts_ : list of str
        The intercepts that were tried, in words.
    Cs_ : ndarray of shape (n_Cs,)
        The strengths, the smallest first.
    correlations_ : ndarray of shape (n_correlations,) or None
        The correlations, in the order in which they were given.
    best_index_ : int
        Position of `C_` in `Cs_`.
    log_loss_path_ : ndarray of shape (n_Cs, n_folds)
        With the chosen correlation and intercepts, the log-loss of each fold: the plain
        mean over its observed labels, whatever their weights. NaN for a fold without
        labels, or with a single class to learn from.
    log_loss_grid_ : ndarray of shape (n_correlations, n_Cs, n_folds)
        The same with every correlation.
    score_path_ : ndarray of shape (n_Cs, n_folds)
        Only with `scoring`: the scores, along the chosen correlation and intercepts.
    coef_path_ : ndarray of shape (n_Cs, n_tasks, n_features) or None
        Coefficients of all rows along `Cs_`, with more than two classes (n_Cs, n_tasks,
        n_classes, n_features); None where they would take more than 256 MB.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    classes_ : ndarray or list of ndarray
        The union of the labels over all tasks; with a two-dimensional `y`
        ``arange(n_tasks)`` if all tasks share two labels, else a list with each task's.
    task_classes_ : list of ndarray
        The labels that occur in each task.
    coef_ : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
        The task column is not counted. The second with more than two classes.
    intercept_ : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
        Intercept of each task.
    shared_coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        Mean of `coef_` over tasks: the model of a task not seen in `fit`. With free
        intercepts over those of two classes or more.
    shared_intercept_ : float or ndarray of shape (n_classes,)
        Intercept for tasks that were not in `fit`.
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate of the final fit, in the same units as `tol`.
    task_covariance_ : ndarray of shape (n_tasks, n_tasks)
        Only with `relation` "learned": the estimated covariance, scaled so that its
        trace is the number of tasks with labels; NaN for tasks without labels.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    PerTaskClassifier : With given strength, relation and intercepts.
    PerTaskRegressorCV : The same for numbers.
    MultiTaskBayesianClassifier : Strengths by the likelihood, without folds.

    Notes
    -----
    The log-losses are those of `PerTaskClassifier` fitted to the training parts, one
    strength after the other, each from where the last two point to, with a `tol` of
    1e-6 at least. Several kinds of intercept are compared at some of the strengths and
    correlations; the grid is then filled with the best. A label to which a model gives
    no probability at all, such as a class that the task did not have in the training
    part, counts as one of 2e-16.

    References
    ----------
    Evgeniou, T. and Pontil, M., Regularized multi-task learning, KDD 2004.

    Examples
    --------
    >>> from mtlearn import PerTaskClassifierCV
    >>> from mtlearn.datasets import make_task_classification
    >>> X, y, task = make_task_classification(
    ...     20, 20, 5, correlation=0.8, return_X_y=True, random_state=0
    ... )
    >>> model = PerTaskClassifierCV(Cs=8).fit(X, y, task=task)
    >>> model.correlation_, round(model.C_, 2), model.log_loss_path_.shape
    (0.8, 0.6, (8, 5))
    """

    _span, _coarse = 1e-6, 8

    def __init__(
        self,
        Cs=15,
        correlations=(0.0, 0.5, 0.8, 0.95, 0.99, 1.0),
        *,
        relation="shared_mean",
        cv=None,
        scoring=None,
        margin=1.0,
        one_standard_error=False,
        n_jobs=None,
        task_column=None,
        task_weight=None,
        fit_intercept="auto",
        intercept_strength="auto",
        handle_unknown="shared",
        solver="auto",
        tol=1e-8,
        max_iter=100,
        warm_start=False,
        verbose=0,
    ):
        self.Cs = Cs
        self.correlations = correlations
        self.relation = relation
        self.cv = cv
        self.scoring = scoring
        self.margin = margin
        self.one_standard_error = one_standard_error
        self.n_jobs = n_jobs
        self.task_column = task_column
        self.task_weight = task_weight
        self.fit_intercept = fit_intercept
        self.intercept_strength = intercept_strength
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose

    def _check_parameters(self):
        RelatedSearch._check_parameters(self)
        checks.check_choice("solver", self.solver, SOLVERS)

    def _base(self, relation, C):
        chosen = {"relation": relation, "C": C, "intercept_strength": 1.0}
        return self._of_base(PerTaskClassifier, fit_intercept=True, **chosen)

    def _largest(self, whole, relation):
        # a logistic loss bends by a quarter at most
        return 2.5 * scatter(whole) or 1.0

    def _paths(self, part, variants, grids):
        tol = max(self.tol, _FOLD_TOL)
        compact, lazy = self._compact(part, variants), LazyStep()
        for relation, Cs in zip(variants, grids):
            tied = self._tied(part, relation)
            path = self._path(tied, relation, Cs, tol, compact, lazy)
            yield in_batches(path, tol)

    def _compact(self, part, variants):
        """The rows ready for all fits along all paths, where these are small."""
        if self.solver not in ("auto", "newton-cholesky"):
            return None
        data, loss = self._log_loss(part)
        forms = [part.tied(relation).form for relation in variants]
        if not all(CompactRows.fits(data, loss, form) for form in forms):
            return None
        return CompactRows(data, loss, part.intercept)

    def _path(self, part, relation, Cs, tol, compact, lazy):
        """Solutions along the strengths, each from where the last two point to."""
        last, model = [], self._base(relation, 1.0)
        model.tol = tol
        for C in Cs.tolist():
            model.C, start, solved = C, _ahead(last, C), False
            if compact is not None:
                mode = self._as_shrunken(part.intercept, part.form, 1.0 / C)
                how = 1.0 / C, mode, tol, self.max_iter, start
                solution, solved = compact.solve(part.form, *how)
            if not solved:
                solution = self._at(model, part, start, lazy)
            last = [*last[-1:], (C, solution.coef, solution.intercept)]
            yield solution

    def _at(self, model, part, start, lazy=None):
        """The solution of the base estimator, its penalty divided by C."""
        mode = self._as_shrunken(part.intercept, part.form, 1.0 / model.C)
        part = replace(part, intercept=mode)
        return model._solve(part, start, 1.0 / model.C, lazy)

    def _solve_whole(self, model, fit, whole, space, start):
        whole = replace(whole.tied(model._relation()), intercept=fit.intercept)
        solution = self._at(model, whole, space.start(start))
        history = [(model.C * value, gap) for value, gap in solution.history]
        return replace(
            solution,
            coef=space.back(solution.coef),
            objective=model.C * solution.objective,
            history=history,
        )


def _ahead(last, C):
    """Where to begin at a C: on the line in log C through the last two solutions."""
    if len(last) < 2:
        return last[0][1:] if last else None
    (C0, *one), (C1, *two) = last
    ratio = min(np.log(C / C1) / np.log(C1 / C0), 2.0) if C1 > C0 else 0.0
    return tuple(b + ratio * (b - a) for a, b in zip(one, two, strict=True))
