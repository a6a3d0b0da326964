"""What additive models share: features as curves, own ones where they pay, reports."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from ..problem.terms import LEVEL, LINE, WIGGLE, Levels, make_terms
from ..solvers.evidence.solve import solve_evidence
from . import checks
from .categories import encode_categories, find_categories
from .constrained import feature_names
from .learned import Summary, chosen_features, data_frame, feature_position

_LEVELS_PRICE = 2.0  # variances that a task's own levels of a category must be worth
_LEAST_NOISE = 1e-6  # of the labels' squares: many columns find an answer to rounding
_VARIANCE_COST = 0.5  # labels that the noise is not judged by, for each variance
_REFINEMENTS = 2  # times that a curve gets twice as many knots
_DETERMINED = 0.5  # posterior over prior variance of the finest wiggle that is known
_WORTH = 2.0  # gain in the log-likelihood by which finer curves stay
_REPEATED = 1.5  # mean weight of rows from which they count as repeated
_MOST_KNOTS = 100


@dataclass(frozen=True)
class Curves:
    """The part of a model that one feature has, all others at their mean.

    Attributes
    ----------
    feature : str
    values : ndarray of shape (n_values,)
        Of the feature; for a category its levels.
    shared : ndarray of shape (n_values,)
        The shared curve, the common level included.
    standard_error : ndarray of shape (n_values,)
        Of the shared curve, given the variances.
    tasks : ndarray of shape (n_tasks, n_values)
        The tasks' curves, their own levels included.
    """

    feature: str
    values: np.ndarray
    shared: np.ndarray
    standard_error: np.ndarray
    tasks: np.ndarray


class AdditiveModel:
    """A learned model, which stands after it, of features that are curves and levels."""

    # a diagonal model with learned strengths and one noise
    covariance, shared_prior, noise, method = "diag", "learned", "common", "reml"
    varying = groups = None

    # ------------------------------------------------------------ fit

    def _check_parameters(self):
        super()._check_parameters()
        checks.check_number("n_knots", self.n_knots, 1, _MOST_KNOTS, whole=True)
        listed = hasattr(self.own_curves, "__iter__")
        listed &= not isinstance(self.own_curves, (str, bytes))
        if not listed and not isinstance(self.own_curves, (bool, np.bool_)):
            if not isinstance(self.own_curves, str) or self.own_curves != "auto":
                raise ValueError(
                    "`own_curves` must be 'auto', True, False, or a list of names or "
                    f"positions, got {self.own_curves!r}."
                )

    def _prepare(self, X, y, sample_weight, task):
        self._levels, names = find_categories(X, self.task_column)
        self._categories = [self._levels.get(name) for name in names]
        return super()._prepare(
            encode_categories(X, self._levels), y, sample_weight, task
        )

    def _solution(self, fit, start):
        data = fit.data
        X = _dense(data.X)
        mass = np.bincount(data.rows, weights=data.weights, minlength=len(X))
        self._categories = self._categories or [None] * X.shape[1]
        knots = np.full(X.shape[1], self.n_knots)
        solution = self._learn(fit, X, mass, knots, self._may_vary)
        for _ in range(_REFINEMENTS):
            coarse, terms = self._coarse(solution), self._terms
            if not coarse.any():
                break
            knots = np.where(coarse, 2 * knots + 1, knots)
            own = np.isin(np.arange(len(knots)), self._own_features(solution))
            finer = self._learn(fit, X, mass, knots, lambda own=own: self._vary(own))
            gain = solution.objective - finer.objective
            if gain < _WORTH or self._interpolates(finer, data.weights):
                self._terms = terms
                break
            solution = finer
        self.term_names_ = self._name_terms()
        return solution

    def _learn(self, fit, X, mass, knots, may_vary):
        """The model with so many inner knots for each feature."""
        categorical = np.array([levels is not None for levels in self._categories])
        self._terms = make_terms(X, mass, categorical, knots + 2)
        varying, optional = may_vary()
        columns = replace(fit.data, X=self._terms.columns(X), _shared={})
        return solve_evidence(
            fit.with_rows(columns).gathered(),
            varying=varying,
            optional=optional,
            groups=self._terms.groups,
            constant=bool(self.fit_intercept),
            least_noise=_LEAST_NOISE,
            variance_cost=_VARIANCE_COST,
            tol=float(self.tol),
            max_iter=self.max_iter,
        )

    def _coarse(self, solution):
        """Features whose finest wiggle the rows determine: finer ones may be there."""
        terms, D = self._terms, np.diag(solution.covariance)
        tau = solution.shared_variance[terms.groups]
        after = np.diag(solution.posterior.shared()[1])
        coarse = np.zeros(len(terms.parts), dtype=bool)
        for j, part in enumerate(terms.parts):
            last = terms.of(j).stop - 1
            if terms.kind[last] == WIGGLE and part.has_all_knots:
                own = D[last] > 0 and solution.pooled[last] < _DETERMINED
                coarse[j] = own or after[last] < _DETERMINED * tau[last]
        return coarse

    def _interpolates(self, solution, weights):
        """Whether any labels could be met, so that little noise is no finding.

        Rows that count several times look as if they had been measured so often.
        """
        own = int((np.diag(solution.covariance) > 0).sum())
        shared = int((solution.shared_variance[self._terms.groups] > 0).sum())
        able = len(solution.coef) * own + shared >= len(weights)
        return able and (solution.noiseless or weights.mean() > _REPEATED)

    def _own_features(self, solution):
        """Features of which the tasks have curves or levels of their own."""
        varies = np.diag(solution.covariance)[:-1] > 0
        return np.unique(self._terms.feature[varies & (self._terms.kind != LINE)])

    def _may_vary(self):
        """Terms that differ between tasks, and what others must gain for it."""
        own, d = self.own_curves, len(self._terms.parts)
        if isinstance(own, str):
            line = self._terms.kind == LINE
            price = np.where(self._terms.kind == LEVEL, _LEVELS_PRICE, 1.0)
            return line, np.where(line, 0.0, price)
        if isinstance(own, (bool, np.bool_)):
            return self._vary(np.full(d, bool(own)))
        return self._vary(chosen_features(own, feature_names(self), d, "own_curves"))

    def _vary(self, own):
        """All lines, and all other terms of some features."""
        return (self._terms.kind == LINE) | own[self._terms.feature], None

    def _features(self):
        """Names of the features, or x0, x1, ..."""
        names = feature_names(self)
        return names or [f"x{j}" for j in range(len(self._terms.parts))]

    def _name_terms(self):
        """A name for each term."""
        out = []
        each = zip(self._features(), self._terms.parts, self._categories, strict=True)
        for name, part, seen in each:
            if isinstance(part, Levels):
                codes = part.codes[-part.width :]
                out += [f"{name}={seen[int(code)]}" for code in codes]
            else:
                out.append(name)
                out += [f"{name} (curve {k})" for k in range(1, part.width)]
        return np.array(out, dtype=object)

    def _keep(self, fit, solution):
        super()._keep(fit, solution)
        own = self._own_features(solution)
        named = feature_names(self) is not None
        self.own_curves_ = [self._features()[j] if named else int(j) for j in own]

    # ------------------------------------------------------------ predict

    def predict(self, X, return_std=False, *, task=None):
        """Predict the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            As in `fit`, the column of ids included.
        return_std : bool, default=False
            Whether to return standard deviations of new labels, too.
        task : array-like of shape (n_samples,), default=None
            Task ids, if `fit` had them in `task`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Two-dimensional if `fit` had a two-dimensional `y`.
        std : ndarray of the same shape
            With `return_std`: of a new label of weight one, given the variances: noise,
            what is not known of the functions, and, for a task that `fit` never saw,
            its own deviations.
        """
        check_is_fitted(self)
        X = encode_categories(X, self._levels)
        return super().predict(X, return_std, task=task)

    def _represent(self, X):
        return self._terms.columns(_dense(X))

    def _variance(self, known, X, codes):
        return super()._variance(known, self._represent(X), codes)

    # ------------------------------------------------------------ reports

    def summary(self, coverage=0.95):
        """Shared lines and levels, and the variance components.

        Parameters
        ----------
        coverage : float, default=0.95
            Of the intervals, given the variances.

        Returns
        -------
        summary : Summary
            With the frames `coefficients` (lines, of features scaled to variance one,
            and levels) and `variances` (of lines, curves and levels; each is the mean
            variance of that part of the function over the rows); dicts of arrays where
            pandas is not installed.
        """
        whole = super().summary(coverage)
        plain, first = self._terms.kind != WIGGLE, self._first()
        labels = self.term_names_.copy()
        curves = np.flatnonzero(first & ~plain)
        labels[curves] = [f"{labels[j - 1]} (curve)" for j in curves]
        rest = [True] * bool(self.fit_intercept)
        coefficients = _some(whole.coefficients, np.append(plain, rest).astype(bool))
        keep = np.append(first, [*rest, True]).astype(bool)
        variances = _some(whole.variances, keep)
        every = [*labels, *["intercept"] * len(rest), "noise"]
        variances["effect"] = np.array(every, dtype=object)[keep]
        return Summary(data_frame(coefficients), data_frame(variances))

    def task_effects(self, coverage=0.95):
        """Deviations of the tasks' levels and slopes from the shared ones.

        Parameters
        ----------
        coverage : float, default=0.95
            Of the intervals, given the variances (which are estimates themselves: with
            few tasks the intervals are somewhat too short).

        Returns
        -------
        effects : DataFrame or dict of arrays
            `task`, `rows` (labels, counted by their weights), `effect`, `estimate`,
            `standard_error`, `lower`, `upper`; effect by effect, in the order of the
            estimates. Slopes are those of features scaled to variance one; the tasks'
            own curves are in `curve`. A dict where pandas is not installed.
        """
        effects = super().task_effects(coverage)
        wiggles = set(self.term_names_[self._terms.kind == WIGGLE])
        keep = np.array([one not in wiggles for one in effects["effect"]], dtype=bool)
        return data_frame(_some(effects, keep))

    def curve(self, feature, values=None):
        """What the model says of one feature, all others at their mean.

        Parameters
        ----------
        feature : str or int
            Name, or position without the column of ids.
        values : array-like of shape (n_values,), default=None
            Where; by default a hundred values between the ends of the data, or all
            levels of a category.

        Returns
        -------
        curves : Curves
            Shared values with standard errors, and those of the tasks.
        """
        check_is_fitted(self)
        terms, d = self._terms, len(self._terms.parts)
        j = feature_position(feature, feature_names(self), d, "feature") % d
        part, levels = terms.parts[j], self._categories[j]
        if values is None:
            values = levels if levels is not None else part.grid()
        x = values
        if levels is not None:
            place = {level: i for i, level in enumerate(levels)}
            x = [place.get(value, -1) for value in values]
        # beside it the mean of each column, that is, for levels, how frequent they are
        where, mean = terms.of(j), self._posterior.columns.mean
        C = np.tile(np.append(mean, 1.0), (len(x), 1))
        C[:, where] = part.columns(np.asarray(x, dtype=np.float64))
        shared, covariance = self._posterior.shared()
        error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", C, covariance, C), 0.0))
        tasks = self.coef_ @ C[:, :-1].T + self.intercept_[:, None]
        name = self._features()[j]
        return Curves(name, np.asarray(values), C @ shared, error, tasks)

    def _effect_names(self):
        return np.append(self.term_names_, "intercept")

    def _group_of(self):
        return self._terms.groups

    def _first(self):
        """The first term of each group."""
        return np.append(True, np.diff(self._terms.groups) > 0)


def _dense(X):
    return X.toarray() if sp.issparse(X) else X


def _some(columns, keep):
    """Some rows of a frame, or of a dict of arrays, as a dict."""
    return {name: np.asarray(columns[name])[keep] for name in columns}
