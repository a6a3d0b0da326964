"""What additive models share: features as curves, own ones where they pay, reports."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from ..problem.ids import feature_names
from ..problem.terms import LEVEL, LINE, WIGGLE, Levels, Pair, make_terms
from . import checks
from .categories import encode_categories, find_categories
from .interactions import Rows, find_pairs
from .knots import check_knots, given_levels, known_parts
from .learned import chosen_features, feature_position

_LEVELS_PRICE = 2.0  # variances that a task's own levels of a category must be worth
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

    def mirrored(self):
        """The log-odds of the other one of two classes."""
        return replace(self, shared=-self.shared, tasks=-self.tasks)


class AdditiveModel:
    """What a learned model becomes whose features are curves and levels.

    It stands before the model of lines, whose `_maximised` it gives other columns.
    """

    # a diagonal model with learned strengths
    covariance, shared_prior, method = "diag", "learned", "reml"
    varying = groups = None

    # ------------------------------------------------------------ fit

    def __init__(
        self,
        n_knots=6,
        *,
        own_curves="auto",
        interactions="auto",
        knots=None,
        task_column=None,
        fit_intercept=True,
        handle_unknown="shared",
        tol=1e-6,
        max_iter=200,
        verbose=0,
    ):
        self.n_knots = n_knots
        self.own_curves = own_curves
        self.interactions = interactions
        self.knots = knots
        self.task_column = task_column
        self.fit_intercept = fit_intercept
        self.handle_unknown = handle_unknown
        self.tol = tol
        self.max_iter = max_iter
        self.verbose = verbose

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
        self._check_interactions()
        check_knots(self.knots)

    def _check_interactions(self):
        given = self.interactions
        if given is False or (isinstance(given, str) and given == "auto"):
            return
        listed = hasattr(given, "__iter__") and not isinstance(given, (str, bytes))
        pairs = list(given) if listed else [()]
        if not all(isinstance(one, (tuple, list)) and len(one) == 2 for one in pairs):
            raise ValueError(
                "`interactions` must be 'auto', False, or a list of pairs of names or "
                f"positions of features, got {given!r}."
            )

    def _prepare(self, X, y, sample_weight, task):
        return super()._prepare(self._encoded(X), y, sample_weight, task)

    def _encoded(self, X):
        """The features with codes of categories, whose levels are kept."""
        check_knots(self.knots)
        self._levels, names = find_categories(X, self.task_column)
        self._levels |= given_levels(self.knots, names)
        self._categories = [self._levels.get(name) for name in names]
        return encode_categories(X, self._levels)

    def _known_parts(self):
        """What `knots` says of features, by their numbers."""
        return known_parts(self.knots, feature_names(self), self._categories)

    def _checked(self, X, task):
        return super()._checked(encode_categories(X, self._levels), task)

    def _solution(self, fit, start):
        data = fit.data
        X = dense(data.X)
        mass = np.bincount(data.rows, weights=data.weights, minlength=len(X))
        self._categories = self._categories or [None] * X.shape[1]
        solution = self._with_curves(fit, X, mass)
        if isinstance(self.interactions, str):
            rows = Rows(X, data, list(self._problems(fit)), self._loss)
            own = self._own_features(solution)

            def learn(*more):
                there = self._learn_more(fit, X, own, *more)
                return None if self._interpolates(there, data.weights) else there

            self._terms, solution = find_pairs(rows, self._terms, solution, learn)
        self.term_names_ = self._name_terms()
        return solution

    def _with_curves(self, fit, X, mass):
        """The model, with as many knots as the rows determine."""
        categorical = np.array([levels is not None for levels in self._categories])
        pairs, knots = self._given_pairs(), np.full(X.shape[1], self.n_knots)
        given = self._known_parts()

        def terms_with(knots):
            return make_terms(X, mass, categorical, knots + 2, given).with_pairs(pairs)

        terms = terms_with(knots)
        solution = self._with_terms(fit, X, terms, self._may_vary)
        for _ in range(_REFINEMENTS):
            coarse = self._coarse(solution)
            if not coarse.any():
                break
            knots = np.where(coarse, 2 * knots + 1, knots)
            own = self._own_features(solution)
            finer = terms_with(knots)
            there = self._with_terms(fit, X, finer, lambda own=own: self._vary(own))
            gain = solution.objective - there.objective
            if gain < _WORTH or self._interpolates(there, fit.data.weights):
                self._terms = terms
                break
            terms, solution = finer, there
        return solution

    def _with_terms(self, fit, X, terms, may_vary, **starts):
        """The model with these terms."""
        self._terms = terms
        return self._learn_columns(self._in_terms(fit, X), may_vary, **starts)

    def _in_terms(self, fit, X):
        """The fit of the columns of the terms instead of the features."""
        columns = replace(fit.data, X=self._terms.columns(X), _shared={})
        return fit.with_rows(columns)

    def _learn_columns(self, fit, may_vary, **starts):
        """The model of columns that are those of the terms."""
        varying, optional = may_vary()
        settings = {
            **self._settings(fit.n_features),
            "varying": varying,
            "optional": optional,
            "groups": self._terms.groups,
        }
        return self._maximised(fit, settings, **starts)

    def _learn_more(self, fit, X, own, terms, solution, strengths):
        """The model with more pairs, from another one and variances of the pairs."""
        starts = []
        for one in solution.parts:
            D, noise = np.diag(one.covariance), one.posterior.noise
            ahead = np.insert(D, [len(D) - 1] * (len(terms.feature) + 1 - len(D)), 0.0)
            tau = np.append(one.shared_variance / noise, strengths)
            starts.append((ahead / noise, tau))
        return self._with_terms(fit, X, terms, lambda: self._vary(own), starts=starts)

    def _given_pairs(self):
        """Pairs of features that `interactions` names."""
        if isinstance(self.interactions, (str, bool, np.bool_)):
            return ()
        names, d, pairs = feature_names(self), len(self._categories), set()
        for both in self.interactions:
            where = [feature_position(f, names, d, "interactions") % d for f in both]
            if where[0] == where[1]:
                raise ValueError(
                    f"`interactions` must be pairs of two features, got {both!r}."
                )
            pairs.add(tuple(sorted(where)))
        return [Pair(*pair, bent) for bent in (False, True) for pair in sorted(pairs)]

    def _coarse(self, solution):
        """Features whose finest wiggle the rows determine: finer ones may be there."""
        terms = self._terms
        coarse = np.zeros(len(terms.parts), dtype=bool)
        for one in solution.parts:
            D, tau = np.diag(one.covariance), one.shared_variance[terms.groups]
            after = np.diag(one.posterior.shared()[1])
            for j, part in enumerate(terms.parts):
                last = terms.of(j).stop - 1
                if terms.kind[last] == WIGGLE and part.has_all_knots:
                    own = D[last] > 0 and one.pooled[last] < _DETERMINED
                    coarse[j] |= own or after[last] < _DETERMINED * tau[last]
        return coarse

    def _interpolates(self, solution, weights):
        """Whether any labels could be met, so that little noise is no finding.

        Rows that count several times look as if they had been measured so often.
        """
        repeated = weights.mean() > _REPEATED
        for one in solution.parts:
            own = int((np.diag(one.covariance) > 0).sum())
            shared = int((one.shared_variance[self._terms.groups] > 0).sum())
            able = len(one.coef) * own + shared >= len(weights)
            if able and (one.noiseless or repeated):
                return True
        return False

    def _own_features(self, solution):
        """Features of which the tasks have curves or levels of their own."""
        bent = self._terms.kind != LINE
        varies = [np.diag(one.covariance)[:-1] > 0 for one in solution.parts]
        return np.unique(self._terms.feature[np.any(varies, axis=0) & bent])

    def _may_vary(self):
        """Terms that differ between tasks, and what others must gain for it."""
        own, terms, d = self.own_curves, self._terms, len(self._terms.parts)
        if isinstance(own, str):
            line = terms.kind == LINE
            price = np.where(terms.kind == LEVEL, _LEVELS_PRICE, 1.0)
            return line, np.where(line | (terms.feature >= d), 0.0, price)
        if isinstance(own, (bool, np.bool_)):
            return self._vary(np.arange(d) if own else [])
        chosen = chosen_features(own, feature_names(self), d, "own_curves")
        return self._vary(np.flatnonzero(chosen))

    def _vary(self, own):
        """All lines, and all other terms of some features."""
        return (self._terms.kind == LINE) | np.isin(self._terms.feature, own), None

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
        for pair in self._terms.pairs:
            out += self._name_products(pair, out)
        return np.array(out, dtype=object)

    def _name_products(self, pair, names):
        """A name for each column of a pair."""
        if pair.bent:
            both = ":".join(self._features()[j] for j in pair[:2])
            return [
                f"{both} (curve {k})" for k in range(1, self._terms.width(pair) + 1)
            ]
        first, second = (
            names[self._terms.of(j)][:n]
            for j, n in zip(pair[:2], self._terms.plain(pair), strict=True)
        )
        return [f"{a}:{b}" for a in first for b in second]

    def _keep(self, fit, solution):
        super()._keep(fit, solution)
        own = self._own_features(solution)
        named = feature_names(self) is not None
        name = self._features() if named else range(len(self._terms.parts))
        self.own_curves_ = [name[j] for j in own]
        pairs = sorted({pair[:2] for pair in self._terms.pairs})
        self.interactions_ = [(name[j], name[k]) for j, k in pairs]

    # ------------------------------------------------------------ predict

    def _represent(self, X):
        return self._terms.columns(dense(X))

    # ------------------------------------------------------------ reports

    def _summary(self, width, *one):
        # of a curve, which is several columns, no coefficients and a single variance
        coefficients, variances = super()._summary(width, *one)
        plain, first = self._terms.kind != WIGGLE, self._first()
        curves = np.flatnonzero(first & ~plain)
        names = [f"{self.term_names_[j].removesuffix(' 1)')})" for j in curves]
        variances["effect"] = variances["effect"].copy()
        variances["effect"][curves] = names
        return _some(coefficients, plain), _some(variances, first)

    def _effects(self, width, *one):
        effects = super()._effects(width, *one)
        wiggles = set(self.term_names_[self._terms.kind == WIGGLE])
        keep = [effect not in wiggles for effect in effects["effect"]]
        return _some(effects, np.array(keep, dtype=bool))

    def _curves(self, feature, values, posterior, coef, intercept):
        """The `Curves` of one feature by models of all tasks."""
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
        mean, n = posterior.columns.mean, len(x)
        blocks = [np.tile(mean[terms.of(k)], (n, 1)) for k in range(d)]
        blocks[j] = part.columns(np.asarray(x, dtype=np.float64))
        C = np.column_stack([terms.assembled(blocks), np.ones(n)])
        shared, covariance = posterior.shared()
        error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", C, covariance, C), 0.0))
        tasks = coef @ C[:, :-1].T + intercept[:, None]
        name = self._features()[j]
        return Curves(name, np.asarray(values), C @ shared, error, tasks)

    def _effect_names(self):
        return np.append(self.term_names_, "intercept")

    def _group_of(self):
        return self._terms.groups

    def _first(self):
        """The first term of each group."""
        return np.append(True, np.diff(self._terms.groups) > 0)


def dense(X):
    """Rows as an array."""
    return X.toarray() if sp.issparse(X) else X


def _some(columns, keep):
    """Some rows of columns; those after the terms' stay."""
    n_rows = len(columns["effect"])
    every = np.ones(n_rows, dtype=bool)
    every[: len(keep)] = keep[:n_rows]
    return {name: values[every] for name, values in columns.items()}
