"""Nothing to choose: how much the tasks share is learned by marginal likelihood."""

import numpy as np

from .fitting import checks
from .fitting.base import TaskRegressor
from .fitting.learned import LearnedModel, half_width
from .fitting.partitions import by_partition
from .fitting.streams import FromMoments
from .solvers.evidence.solve import solve_evidence

_VARIANCE_COST = 0.5  # labels that the noise is not judged by, for each variance


class MultiTaskBayesianRidge(FromMoments, LearnedModel, TaskRegressor):
    r"""Linear regression of every task, with strengths of sharing that are learned.

    A task's coefficients vary around shared ones:

    .. math:: y_i = x_i \cdot (m + v_t) + b + a_t + e_i, \quad m_g \sim N(0, \tau_g I),
              \quad v_{tg} \sim N(0, D_g I), \quad a_t \sim N(0, D_0), \quad
              e_i \sim N(0, \sigma^2 / s_i)

    where g runs over groups of features and b is free. The variances
    :math:`\tau, D, \sigma^2` maximise the (restricted) likelihood of the labels;
    nothing is left to tune. A variance may come out as zero, exactly: that group is
    the same in all tasks, or absent. This is the linear mixed model, with random
    slopes, and with shrunken instead of fixed effects unless `shared_prior` is "flat".

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
    noise : {"common", "task"}, default="common"
        "task": each task has a noise variance of its own, drawn towards the common one
        as if by four more labels.
    method : {"reml", "ml"}, default="reml"
        Restricted maximum likelihood, or plain.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    fit_intercept : bool, default=True
        A free common level b with each task's own deviation a_t; or neither.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the shared coefficients,
        with a standard deviation that includes its unknown deviations, or raises an
        error.
    tol : float, default=1e-6
        Stop when no derivative of the log-likelihood with respect to the logarithm of a
        variance, divided by the number of labels, is larger than this.
    max_iter : int, default=200
        Maximum number of solver steps.
    verbose : int, default=0
        1 prints the negative log-likelihood and the certificate of each step.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_features + 1, n_features + 1)
        Covariance of the tasks' deviations, the intercept last.
    shared_variance_ : ndarray of shape (n_groups,)
        The tau of each group, in the sorted order of their labels; infinite where the
        prior is flat.
    noise_variance_ : float or ndarray of shape (n_tasks,)
        With ``noise="task"`` one for each.
    sharing_ : ndarray of shape (n_features + 1,)
        How much of a deviation the tasks' own rows leave open: the mean over the tasks
        of its posterior variance over the prior's, the intercept last. 1 where a
        coefficient is the same in all tasks, 0 where each task finds its own.
    log_likelihood_ : float
        With all constants; ``method="reml"`` as lme4's ``logLik``, "ml" as the ``llf``
        of statsmodels, where the shared prior is flat.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    coef_ : ndarray of shape (n_tasks, n_features)
        Posterior means m + v_t. The task column is not counted.
    intercept_ : ndarray of shape (n_tasks,)
        Intercept of each task.
    shared_coef_ : ndarray of shape (n_features,)
        m, the model of a task not seen in `fit`.
    shared_intercept_ : float
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
    PerTaskRegressorCV : One strength for all coefficients, by cross-validation.
    PerTaskRegressor : With ``relation="pooled"``, offsets that are not shrunk.
    mtlearn.inspection.TaskEffectsDisplay : A picture of what is each task's own.

    Notes
    -----
    The rows are read once, for second moments of every task; a step of the scoring then
    costs O(n_tasks n_features^3), whatever the number of rows. The log-likelihood is a
    sum, not a mean, and `sample_weight` counts labels: a row of weight two is two rows.
    `tol` is not relative to an objective, as derivatives in logarithms have no unit.
    With a learned prior the noise has a weak one, too (half a label for each variance),
    so that few rows and many variances are not taken for noiseless; `log_likelihood_`
    is without it. Where every task has a single label, levels and noise look the same:
    half is given to each.
    Noise of less than a ten-thousandth of the labels' spread is not told from none. A
    task has one level and one set of slopes in the features as given: where zero is far
    from the data, centre them, or take ``covariance="full"``, which does not depend on
    the origin.

    References
    ----------
    Laird, N. M. and Ware, J. H., Random-effects models for longitudinal data,
    Biometrics 38, 1982.

    MacKay, D. J. C., Bayesian interpolation, Neural Computation 4, 1992.

    Examples
    --------
    >>> from mtlearn import MultiTaskBayesianRidge
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(
    ...     20, 20, 5, correlation=0.8, noise=2.0, return_X_y=True, random_state=0
    ... )
    >>> model = MultiTaskBayesianRidge().fit(X, y, task=task)
    >>> mean, std = model.predict(X[:2], return_std=True, task=task[:2])
    >>> mean.shape, std.shape, model.predict_interval(X[:2], task=task[:2]).shape
    ((2,), (2,), (2, 2))
    """

    def __init__(
        self,
        covariance="diag",
        *,
        varying=None,
        groups=None,
        shared_prior="learned",
        noise="common",
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
        self.noise = noise
        self.method = method
        self.task_column = task_column
        self.fit_intercept = fit_intercept
        self.handle_unknown = handle_unknown
        self.tol = tol
        self.max_iter = max_iter
        self.verbose = verbose

    # ------------------------------------------------------------ fit

    def _check_parameters(self):
        super()._check_parameters()
        checks.check_choice("noise", self.noise, ("common", "task"))

    def _settings(self, d):
        # a classical model is judged by its likelihood alone
        flat = self.shared_prior == "flat"
        return {
            **super()._settings(d),
            "own_noise": self.noise == "task",
            "variance_cost": 0.0 if flat else _VARIANCE_COST,
        }

    def _gather(self, fit):
        return fit.with_moments()

    def _solution(self, fit, start):
        return self._maximised(fit, self._settings(fit.n_features))

    def _maximised(self, fit, settings, starts=(None,)):
        """The model at its best variances."""
        return solve_evidence(fit.gathered(), **settings, start=starts[0])

    def _keep(self, fit, solution):
        super()._keep(fit, solution)
        posterior = solution.posterior
        self._posterior = posterior
        self._keep_places(fit, len(posterior.ratio))
        self.covariance_ = solution.covariance
        self.shared_variance_ = solution.shared_variance
        self.sharing_ = solution.pooled
        self.log_likelihood_ = float(solution.log_likelihood)
        self.noise_variance_ = float(posterior.noise)
        if self.noise == "task":
            own = posterior.noise * posterior.ratio
            self.noise_variance_ = fit.fill(own, posterior.noise)

    def _keep_model(self, fit, solution):
        shared = solution.posterior.shared()[0]
        self.shared_coef_, self.shared_intercept_ = shared[:-1], shared[-1]
        self.coef_ = fit.fill(solution.coef, self.shared_coef_)
        self.intercept_ = fit.fill(solution.intercept, self.shared_intercept_)

    # ------------------------------------------------------------ predict

    @by_partition
    def predict(self, X, return_std=False, *, task=None):
        """Predict the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        return_std : bool, default=False
            Whether to return the standard deviations of new labels as well.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Two-dimensional if `fit` had a two-dimensional `y`.
        std : ndarray of the same shape
            With `return_std`: of a new label of weight one, given the variances: noise,
            what is not known of the functions, and, for a task that `fit` never saw,
            its own deviations.
        """
        if not return_std:
            return super().predict(X, task=task)
        fitted, codes = self._scores(X, task)
        X = self._represent(self._checked(X, task)[0])
        variance = self._variance(self._posterior.label_variance, X, codes)
        return fitted, np.sqrt(variance)

    @by_partition
    def predict_interval(self, X, coverage=0.9, *, task=None):
        """Intervals for new labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, including the task column.
        coverage : float, default=0.9
            Probability that a new label of weight one is inside, given the variances.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, n_tasks, 2)
            Lower and upper ends.
        """
        width = half_width(coverage)
        mean, std = self.predict(X, return_std=True, task=task)
        return np.stack([mean - width * std, mean + width * std], axis=-1)
