"""Nothing to choose, for classes: strengths by an approximate marginal likelihood."""

import warnings
from dataclasses import dataclass, fields

import numpy as np

from .fitting.classifiers import LogisticClassifier, against_the_rest
from .fitting.learned import LearnedModel
from .problem.ids import shorten
from .problem.logistic import mixed_score
from .problem.solution import Solution, stack_classes
from .solvers.evidence.solve import solve_laplace

_UNKNOWN = 20.0  # standard error of a score per deviation of a feature: nothing known


@dataclass(frozen=True)
class _Classes(Solution):
    """Solutions of several problems against the rest as one."""

    parts: tuple = ()


class MultiTaskBayesianClassifier(LearnedModel, LogisticClassifier):
    r"""Logistic regression for each task; how much the tasks share is learned.

    A task's coefficients vary around shared ones:

    .. math:: \Pr(y_i = 1) = \sigma(x_i \cdot (m + v_t) + b + a_t), \quad
              m_g \sim N(0, \tau_g I), \quad v_{tg} \sim N(0, D_g I), \quad
              a_t \sim N(0, D_0)

    where g runs over groups of features, b is free and :math:`\sigma(z) = 1 / (1 +
    e^{-z})`. The variances :math:`\tau, D` maximise an approximate likelihood of the
    labels, times weak priors of the variances; there is nothing to tune. A variance may
    be estimated as exactly zero. This is the logistic mixed model, with random slopes,
    and with shrunken instead of fixed effects unless `shared_prior` is "flat".

    More than two classes are each set against the rest, and their probabilities made to
    sum to one.

    Parameters
    ----------
    covariance : {"diag", "full", "scalar", "intercept"}, default="diag"
        Of the tasks' deviations. "diag": a variance for every group of features and
        one for the levels. "full": any covariance matrix, as lme4's ``(x | task)``.
        "scalar": one variance for all slopes, one for the levels. "intercept": only the
        levels vary: one set of coefficients and an offset for each task, shrunk as far
        as the labels say.
    varying : array-like of str or int, default=None
        Features whose coefficients differ between the tasks, by names or positions in
        `coef_`; None: all of them, ``[]``: none (the levels still do).
    groups : array-like of shape (n_features,), default=None
        Label of each feature's group; the features of a group share their variances.
        None: each feature is a group of its own.
    shared_prior : {"learned", "flat"}, default="learned"
        "flat" leaves the shared coefficients unpenalised, as the fixed effects of a
        classical mixed model.
    method : {"reml", "ml"}, default="reml"
        Whether flat coefficients are integrated out of the likelihood, too.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    fit_intercept : bool, default=True
        A free common level b with each task's own deviation a_t; or neither.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the shared coefficients,
        averaged over its unknown deviations, or raises an error.
    tol : float, default=1e-6
        Stop when no derivative of the log-likelihood with respect to the logarithm of a
        variance, divided by the number of labels, is larger than this.
    max_iter : int, default=200
        Maximum number of solver steps.
    verbose : int, default=0
        1 prints the negative log-likelihood and the certificate of each step.

    Attributes
    ----------
    classes_ : ndarray or list of ndarray
        The union of the labels over all tasks; with a two-dimensional `y`
        ``arange(n_tasks)`` if all tasks share two labels, else a list with each task's.
    task_classes_ : list of ndarray
        The labels that occur in each task.
    covariance_ : ndarray of shape (n_features + 1, n_features + 1)
        Covariance of the tasks' deviations, the intercept last. With more than two
        classes this and the following have the classes for their first axis.
    shared_variance_ : ndarray of shape (n_groups,)
        The tau of each group, in the sorted order of their labels; infinite where the
        prior is flat.
    sharing_ : ndarray of shape (n_features + 1,)
        How much of a deviation the tasks' own rows leave open: the mean over the tasks
        of its posterior variance over the prior's, the intercept last. 1 where a
        coefficient is the same in all tasks, 0 where each task finds its own.
    log_likelihood_ : float
        Approximate, with all constants, without the priors of the variances; of all
        classes together.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    coef_ : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
        Posterior modes m + v_t. The task column is not counted. The second shape with
        more than two classes.
    intercept_ : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
        Intercept of each task.
    shared_coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        m, the model of a task not seen in `fit`.
    shared_intercept_ : float or ndarray of shape (n_classes,)
        b.
    n_iter_ : int
        Iterations of the solver.
    optimality_ : float
        The certificate, in the same units as `tol`. The likelihood is not concave, so
        this certifies a stationary point.
    n_features_in_ : int
        Number of columns of `X`, including the task column.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if all columns of `X` have string names.

    See Also
    --------
    MultiTaskBayesianRidge : The same for numbers.
    PerTaskClassifier : A strength that is given.

    Notes
    -----
    The likelihood is Laplace's approximation around the mode of all coefficients. It is
    poor where tasks have a few labels: variances of slopes come out too small, of five
    slopes with 20 labels by a quarter, with ten by a half, and of levels beside them.
    Tasks of a single label are integrated
    exactly. So are, with ``covariance="intercept"``, the levels of tasks of at most 100
    labels in the mean, by adaptive quadrature; and where no slope is found to differ,
    those of tasks of at most 20. A feature that is constant in every task has no slopes
    of its own: they would show by nothing but levels of different spread.

    What labels leave open, weak priors settle: the variance of the levels of tasks
    with one label each cannot be told from none, and a slope's is boundless where the
    classes can be separated. The first has a prior worth two tasks of variance 0.35,
    the others a Cauchy distribution of their root, for a standard deviation of the
    feature, with an end far out. `optimality_` counts them, `log_likelihood_` does not.
    Flat coefficients that the labels do not determine are told.

    Probabilities are averaged over what is not known of the coefficients, around their
    posterior means, so that they are nearer to one half than those of `coef_`;
    `decision_function` is their logit. In the long layout every task can have every
    class, and a task's probability of a class that it had no label of comes from the
    others'.

    The log-likelihood is a sum, not a mean, and `sample_weight` counts labels: a row of
    weight two is two rows. `tol` is not relative to an objective, as derivatives in
    logarithms have no unit. A task has one level and one set of slopes in the features
    as given: where zero is far from the data, centre them.

    References
    ----------
    Breslow, N. E. and Clayton, D. G., Approximate inference in generalized linear mixed
    models, Journal of the American Statistical Association 88, 1993.

    Pinheiro, J. C. and Chao, E. C., Efficient Laplacian and adaptive Gaussian
    quadrature algorithms for multilevel generalized linear mixed models, Journal of
    Computational and Graphical Statistics 15, 2006.

    MacKay, D. J. C., The evidence framework applied to classification networks, Neural
    Computation 4, 1992.

    Examples
    --------
    >>> from mtlearn import MultiTaskBayesianClassifier
    >>> from mtlearn.datasets import make_task_classification
    >>> X, y, task = make_task_classification(
    ...     20, 20, 5, correlation=0.8, return_X_y=True, random_state=0
    ... )
    >>> model = MultiTaskBayesianClassifier().fit(X, y, task=task)
    >>> model.predict_proba(X[:2], task=task[:2]).shape
    (2, 2)
    >>> model.summary().coefficients.shape
    (6, 5)
    """

    def __init__(
        self,
        covariance="diag",
        *,
        varying=None,
        groups=None,
        shared_prior="learned",
        method="reml",
        task_column=None,
        fit_intercept=True,
        handle_unknown="shared",
        tol=1e-6,
        max_iter=200,
        verbose=0,
    ):
        self.covariance = covariance
        self.varying = varying
        self.groups = groups
        self.shared_prior = shared_prior
        self.method = method
        self.task_column = task_column
        self.fit_intercept = fit_intercept
        self.handle_unknown = handle_unknown
        self.tol = tol
        self.max_iter = max_iter
        self.verbose = verbose

    # ------------------------------------------------------------ fit

    def _solution(self, fit, start):
        return self._maximised(fit, self._settings(fit.n_features))

    def _maximised(self, fit, settings, starts=None):
        """The models of all classes at their best variances."""
        problems = list(against_the_rest(fit))
        starts = starts or [None] * len(problems)
        parts = [
            solve_laplace(one, **settings, start=start)
            for one, start in zip(problems, starts, strict=True)
        ]
        whole = parts[0] if len(parts) == 1 else stack_classes(parts)
        known = {field.name: getattr(whole, field.name) for field in fields(Solution)}
        return _Classes(**known, parts=tuple(parts))

    def _keep(self, fit, solution):
        super()._keep(fit, solution)
        if self._layout != "wide":
            # what a few labels do not show, the other tasks may
            self._own[:] = True
        parts = solution.parts
        self._posteriors = [part.posterior for part in parts]
        self._keep_places(fit, fit.n_part)
        for name in ("covariance", "shared_variance"):
            setattr(self, f"{name}_", _each([getattr(part, name) for part in parts]))
        self.sharing_ = _each([part.pooled for part in parts])
        self.log_likelihood_ = float(sum(part.log_likelihood for part in parts))
        self._means = self._models_of_means(fit, parts)
        self._warn_if_unknown()

    def _keep_model(self, fit, solution):
        shared = _each([part.posterior.shared()[0] for part in solution.parts])
        self.shared_coef_, self.shared_intercept_ = shared[..., :-1], shared[..., -1]
        self.coef_ = fit.fill(solution.coef, self.shared_coef_)
        self.intercept_ = fit.fill(solution.intercept, self.shared_intercept_)

    def _models_of_means(self, fit, parts):
        """Posterior means of all models, that of an unknown task last."""
        means = np.stack([part.means for part in parts], axis=1)
        every = np.concatenate([fit.fill(means[:-1], means[-1]), means[-1:]])
        every = every[:, 0] if len(parts) == 1 else every
        return every[..., :-1], every[..., -1]

    def _warn_if_unknown(self):
        """Tell whose coefficients without a prior the labels leave open."""
        if self.shared_prior != "flat":
            return
        d = self.coef_.shape[-1]
        error = [np.sqrt((one.spread**2).sum(axis=0))[:d] for one in self._posteriors]
        open_ = np.max(error, axis=0) > _UNKNOWN
        if open_.any():
            names = self._effect_names()[:-1][open_]
            warnings.warn(
                "The labels do not determine the shared coefficients of "
                f"{shorten(names)}: the classes can be separated, or features are "
                "collinear. Use shared_prior='learned'.",
                UserWarning,
                stacklevel=4,
            )

    # ------------------------------------------------------------ predict

    def _evaluate(self, X, codes):
        """Scores whose logistic functions are the averaged probabilities."""
        X = self._represent(X)
        variance = [
            self._variance(one.score_variance, X, codes) for one in self._posteriors
        ]
        variance = np.stack(variance, axis=-1) if len(variance) > 1 else variance[0]
        score = mixed_score(self._apply(X, codes, *self._means), variance)
        # means are further out than modes where labels agree, but no average is
        mode = self._apply(X, codes, *self._models())
        out = (np.sign(score) == np.sign(mode)) & (np.abs(score) > np.abs(mode))
        return np.where(out, mode, score)

    def _rest(self, X, codes):
        linear = self._apply(self._represent(X), codes, *self._models())
        return self._evaluate(X, codes) - linear

    def _shares(self, z):
        """Probabilities against the rest, made to sum to one."""
        # the largest is taken out, so that none of them vanish together
        log_p = -np.logaddexp(0.0, -z)
        p = np.exp(log_p - log_p.max(axis=-1, keepdims=True))
        return p / p.sum(axis=-1, keepdims=True)

    # ------------------------------------------------------------ reports

    def _learned(self):
        if len(self._posteriors) == 1:
            names = [None]
            rest = [[self.covariance_], [self.sharing_], [self.shared_variance_]]
        else:
            names = self._labels
            rest = [self.covariance_, self.sharing_, self.shared_variance_]
        yield from zip(names, self._posteriors, *rest, strict=True)


def _each(values):
    """The value of a single problem, or those of all classes as one array."""
    return values[0] if len(values) == 1 else np.stack(values)
