"""Smooth functions of every task, with nothing to choose."""

from sklearn.utils.validation import check_is_fitted

from .fitting.curves import AdditiveModel
from .fitting.term_streams import TermStreams
from .learned import MultiTaskBayesianRidge
from .problem.losses import Squared

_LEAST_NOISE = 1e-6  # of the labels' squares: many columns find an answer to rounding


class MultiTaskAdditiveRegressor(TermStreams, AdditiveModel, MultiTaskBayesianRidge):
    r"""Smooth functions for each task; how much the tasks share is learned.

    A task's prediction is a sum, over the features, of shared functions and of the
    task's deviations from them:

    .. math:: y_i = b + a_t + \sum_j \left( f_j(x_{ij}) + g_{tj}(x_{ij}) \right) + e_i,
              \quad f_j(x) = \beta_j x + h_j(x), \quad
              p(h_j) \propto \exp\left( -\frac{1}{2 \tau_j} \int h_j''(x)^2 dx \right)

    with lines :math:`\beta_j \sim N(0, \rho_j)`, levels :math:`a_t \sim N(0, D_0)`,
    noise :math:`e_i \sim N(0, \sigma^2 / s_i)`, and :math:`g_{tj}` a line and, where
    the likelihood gains, a curve of the same kind with its own variances. Curves are
    natural cubic splines. All variances maximise the restricted likelihood of the
    labels; there is nothing to tune. A variance may be estimated as exactly zero: that
    curve is then a line, or the same in all tasks.

    Parameters
    ----------
    n_knots : int, default=6
        Inner knots of each curve, at quantiles of the feature's distinct values. As the
        curvature is penalised, more knots change little; where the rows determine even
        the finest detail, twice or four times as many are used if the likelihood gains.
    own_curves : {"auto"}, bool or array-like of str or int, default="auto"
        Features for which each task has its own curve (its own levels, for categories)
        in addition to its own slope. "auto": those for which the likelihood gains
        enough, found one after the other; or all, none, or a list of names or
        positions.
    interactions : {"auto"}, False or list of pairs of str or int, default="auto"
        Pairs of features that interact, in the same way in all tasks: products of their
        lines, first curves and levels are added to the functions of each. "auto": those
        for which the likelihood gains enough, if the model then also predicts each
        label better from all others; or none, or a list of pairs of names or positions.
    knots : dict or list, default=None
        Knots of some features by name or position, the two ends included (of two, the
        function is a line), or levels of a category by name; or a list with an entry
        for each feature. None: from the rows. With knots the terms do not depend on the
        rows.
    task_column : str or int, default=None
        Name or position of the column of `X` that holds the task ids.
    fit_intercept : bool, default=True
        A free common level b with each task's own deviation a_t; or neither.
    handle_unknown : {"shared", "error"}, default="shared"
        Whether a task that was not in `fit` is predicted by the shared functions, with
        a standard deviation that includes its unknown deviations, or raises an error.
    tol : float, default=1e-6
        Stop when no derivative of the log-likelihood with respect to the logarithm of a
        variance, divided by the number of labels, is larger than this.
    max_iter : int, default=200
        Maximum number of solver steps.
    verbose : int, default=0
        1 prints the negative log-likelihood and the certificate of each step.

    Attributes
    ----------
    term_names_ : ndarray of shape (n_terms,)
        What the columns are that the functions are made of: a line and some wiggles for
        each numeric feature, a column for each level of a category.
    own_curves_ : list
        Features, by name or position, of which the tasks have curves of their own.
    interactions_ : list of tuple
        Pairs of features, by name or position, that act together.
    covariance_ : ndarray of shape (n_terms + 1, n_terms + 1)
        Covariance of the tasks' deviations, the intercept last. The terms are scaled:
        a variance is the mean one of that part of the function over the rows.
    shared_variance_ : ndarray of shape (n_groups,)
        Of the shared lines, curves and levels, in the order of the terms.
    noise_variance_ : float
        Variance of the noise of a label.
    sharing_ : ndarray of shape (n_terms + 1,)
        How much of a deviation the tasks' own rows do not determine, the intercept
        last. 1 where it is the same in all tasks, 0 where each task finds its own.
    log_likelihood_ : float
        Restricted, with all constants.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    coef_ : ndarray of shape (n_tasks, n_terms)
        Posterior means of the coefficients of the terms.
    intercept_ : ndarray of shape (n_tasks,)
        Intercept of each task.
    shared_coef_ : ndarray of shape (n_terms,)
        The model of a task that was not in `fit`.
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
    MultiTaskBayesianRidge : The same with lines alone.
    mtlearn.inspection.CurveDisplay : A picture of one feature's curves.

    Notes
    -----
    A numeric feature has no more knots than distinct values: of a few, each may have a
    value of its own. One with a long tail (its farthest value is more than four
    distances of the quartiles from the median) is read on a logarithmic scale, or that
    of the inverse hyperbolic sine. Beyond the data every function goes on as a line.
    Columns of a data frame that hold strings or categories become levels that are
    shrunk towards zero; one that `fit` did not see is zero. Of more than a hundred
    levels the rarest are zero, too. The log-likelihood is a sum, not a mean, and
    `sample_weight` counts labels: a row of weight two is two rows (weights that are no
    counts are better scaled to mean one). `tol` is not relative to an objective. Sparse
    `X` is made dense. In `summary()` and `task_effects()` lines are of features scaled
    to variance one, and a variance is the mean one of that part of the function over
    the rows; the tasks' own curves are in `curve`. Noise of less than a thousandth of
    the labels' spread cannot be distinguished from none.

    References
    ----------
    Wood, S. N., Generalized Additive Models: An Introduction with R, 2nd ed., 2017.

    Eilers, P. H. C. and Marx, B. D., Flexible smoothing with B-splines and penalties,
    Statistical Science 11, 1996.

    MacKay, D. J. C., Bayesian interpolation, Neural Computation 4, 1992.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import MultiTaskAdditiveRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, task = rng.uniform(size=(300, 2)), np.repeat(np.arange(10), 30)
    >>> own = rng.normal(size=10)[task]
    >>> y = np.sin(6 * X[:, 0]) + own + 0.1 * rng.normal(size=300)
    >>> model = MultiTaskAdditiveRegressor().fit(X, y, task=task)
    >>> bool(np.ptp(model.predict([[0.25, 0.5], [0.75, 0.5]], task=[3, 3])) > 1.8)
    True
    >>> model.own_curves_
    []
    """

    noise = "common"
    _loss = Squared()

    def _gather(self, fit):
        return fit  # of the features themselves no moments are asked

    def _problems(self, fit):
        return (fit.data,)

    def _settings(self, d):
        return {**super()._settings(d), "least_noise": _LEAST_NOISE}

    def curve(self, feature, values=None):
        """What the model says of one feature, all others at their mean.

        Parameters
        ----------
        feature : str or int
            Name, or position not counting the task column.
        values : array-like of shape (n_values,), default=None
            Where; by default a hundred values between the ends of the data, or all
            levels of a category.

        Returns
        -------
        curves : Curves
            Shared values with standard errors, and those of the tasks.
        """
        check_is_fitted(self)
        models = self._posterior, self.coef_, self.intercept_
        return self._curves(feature, values, *models)
