"""Smooth functions for classes, with nothing to choose."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .fitting.classifiers import against_the_rest
from .fitting.curves import AdditiveModel
from .learned_classifier import MultiTaskBayesianClassifier
from .problem.ids import shorten
from .problem.losses import Logistic


class MultiTaskAdditiveClassifier(AdditiveModel, MultiTaskBayesianClassifier):
    r"""Class probabilities from smooth functions for each task; sharing is learned.

    A task's log-odds are a sum, over the features, of shared functions and of the
    task's deviations from them:

    .. math:: \Pr(y_i = 1) = \sigma(z_i), \quad
              z_i = b + a_t + \sum_j \left( f_j(x_{ij}) + g_{tj}(x_{ij}) \right), \quad
              f_j(x) = \beta_j x + h_j(x), \quad
              p(h_j) \propto \exp\left( -\frac{1}{2 \tau_j} \int h_j''(x)^2 dx \right)

    with :math:`\sigma(z) = 1 / (1 + e^{-z})`, lines :math:`\beta_j \sim N(0, \rho_j)`,
    levels :math:`a_t \sim N(0, D_0)`, and :math:`g_{tj}` a line and, where the
    likelihood gains, a curve of the same kind with its own variances. Curves are
    natural cubic splines. All variances maximise an approximate likelihood of the
    labels, times weak priors of the variances; there is nothing to tune. A variance may
    be estimated as exactly zero: that curve is then a line, or the same in all tasks.
    This is a logistic additive mixed model.

    More than two classes are each set against the rest, and their probabilities made to
    sum to one.

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
        Whether a task that was not in `fit` is predicted by the shared functions,
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
    term_names_ : ndarray of shape (n_terms,)
        What the columns are that the functions are made of: a line and some wiggles for
        each numeric feature, a column for each level of a category.
    own_curves_ : list
        Features, by name or position, of which the tasks have curves of their own.
    interactions_ : list of tuple
        Pairs of features, by name or position, that act together.
    covariance_ : ndarray of shape (n_terms + 1, n_terms + 1)
        Covariance of the tasks' deviations, the intercept last. The terms are scaled:
        a variance is the mean one of that part of the function over the rows. With more
        than two classes this and the following have the classes for their first axis.
    shared_variance_ : ndarray of shape (n_groups,)
        Of the shared lines, curves and levels, in the order of the terms.
    sharing_ : ndarray of shape (n_terms + 1,)
        How much of a deviation the tasks' own rows do not determine, the intercept
        last. 1 where it is the same in all tasks, 0 where each task finds its own.
    log_likelihood_ : float
        Approximate, with all constants, without the priors of the variances; of all
        classes together.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task ids; with a two-dimensional `y` the names or positions of its
        columns.
    coef_ : ndarray of shape (n_tasks, n_terms) or (n_tasks, n_classes, n_terms)
        Posterior modes of the coefficients of the terms. The second shape with more
        than two classes.
    intercept_ : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
        Intercept of each task.
    shared_coef_ : ndarray of shape (n_terms,) or (n_classes, n_terms)
        The model of a task that was not in `fit`.
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
    MultiTaskBayesianClassifier : The same with lines alone.
    MultiTaskAdditiveRegressor : The same for numbers, and what becomes of a feature.
    mtlearn.inspection.CurveDisplay : A picture of one feature's curves.

    Notes
    -----
    The terms are those of :class:`MultiTaskAdditiveRegressor`. The likelihood is
    Laplace's approximation around the mode of all coefficients, as in
    :class:`MultiTaskBayesianClassifier`, with what it says there of its bias, of tasks
    with a single label and of the weak priors that end the variances where classes can
    be separated. A step costs what the columns cost that differ between tasks; the
    squares of all others are those of all rows together.

    Probabilities are averaged over what is not known of the functions, so that they are
    nearer to one half than those of `coef_`; `decision_function` is their logit. The
    log-likelihood is a sum, not a mean, and `sample_weight` counts labels: a row of
    weight two is two rows. `tol` is not relative to an objective. Sparse `X` is made
    dense. In `summary()` and `task_effects()` lines are of features scaled to variance
    one, and a variance is the mean one of that part of the log-odds over the rows; the
    tasks' own curves are in `curve`.

    References
    ----------
    Wood, S. N., Generalized Additive Models: An Introduction with R, 2nd ed., 2017.

    Breslow, N. E. and Clayton, D. G., Approximate inference in generalized linear mixed
    models, Journal of the American Statistical Association 88, 1993.

    Wood, S. N., Fast stable restricted maximum likelihood and marginal likelihood
    estimation of semiparametric generalized linear models, Journal of the Royal
    Statistical Society B 73, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from mtlearn import MultiTaskAdditiveClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, task = rng.uniform(size=(600, 2)), np.repeat(np.arange(20), 30)
    >>> z = 3 * np.sin(6 * X[:, 0]) + rng.normal(size=20)[task]
    >>> y = (rng.logistic(size=600) < z).astype(int)
    >>> model = MultiTaskAdditiveClassifier().fit(X, y, task=task)
    >>> p = model.predict_proba([[0.25, 0.5], [0.75, 0.5]], task=[3, 3])[:, 1]
    >>> bool(p[0] > 0.8 and p[1] < 0.2)
    True
    >>> model.own_curves_
    []
    """

    _loss = Logistic()

    def _problems(self, fit):
        return against_the_rest(fit)

    def curve(self, feature, values=None, *, label=None):
        """What the model says of one feature, all others at their mean.

        Parameters
        ----------
        feature : str or int
            Name, or position not counting the task column.
        values : array-like of shape (n_values,), default=None
            Where; by default a hundred values between the ends of the data, or all
            levels of a category.
        label : object, default=None
            Class whose log-odds these are, against all others: the second one of two,
            to be named where there are more.

        Returns
        -------
        curves : Curves
            Shared log-odds with standard errors, and those of the tasks.
        """
        check_is_fitted(self)
        sign, k = self._side(label)
        posterior = self._posteriors[k]
        coef, intercept = self.coef_, self.intercept_
        if coef.ndim == 3:
            coef, intercept = coef[:, k], intercept[:, k]
        curves = self._curves(feature, values, posterior, coef, intercept)
        return curves if sign > 0 else curves.mirrored()

    def _side(self, label):
        """Sign and number of the log-odds that are those of a class."""
        labels = self._labels
        known = [] if label is None else np.flatnonzero(labels == label).tolist()
        if not known and (label is not None or len(labels) > 2):
            raise ValueError(
                f"`label` must be one of the classes {shorten(labels)}, got {label!r}."
            )
        if len(labels) > 2:
            return 1, known[0]
        return (-1 if known == [0] else 1), 0
