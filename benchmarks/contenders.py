"""What people predict grouped data with: trees, ridge, mixed and logistic models.

Every one is a function of a `Grouped` set, the rows to learn from and the rows held
out, and returns predictions, or probabilities of one. All that can be chosen is chosen
by cross-validation of the rows to learn from, with the loss that is reported. What is
not installed is left out, with the reason.
"""

import warnings

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold

STRENGTHS = np.logspace(-3, 5, 25)
FOLDS = 3
ROUNDS, PATIENCE = 800, 30
RATE = 0.1


# ---------------------------------------------------------------- columns


def columns(problem, train):
    """All features as numbers, scaled by the rows to learn from; words as columns."""
    words = [name for name in problem.X if problem.X[name].dtype.kind != "f"]
    X = pd.get_dummies(problem.X, columns=words, drop_first=True, dtype=float)
    spread = X.iloc[train].std(ddof=0)
    X = X.loc[:, spread > 0]
    return (X - X.iloc[train].mean()) / spread[spread > 0]


def codes(problem, train):
    """Number of every row's task, those of unseen tasks last, and how many are seen."""
    seen, known = np.unique(problem.task[train].astype(str), return_inverse=True)
    place = np.full(len(problem.y), len(seen))
    place[train] = known
    numbers = {name: k for k, name in enumerate(seen)}
    return np.array([numbers.get(name, len(seen)) for name in problem.task]), len(seen)


def _one_hot(problem, train):
    task, n_tasks = codes(problem, train)
    X = columns(problem, train).to_numpy()
    return np.hstack([X, np.eye(n_tasks + 1)[task][:, :n_tasks]])


def _folds(problem, train):
    """Folds of the rows to learn from."""
    y = problem.y[train]
    if problem.binary:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    else:
        folds = KFold(FOLDS, shuffle=True, random_state=0)
    return list(folds.split(y[:, None], y))


# ---------------------------------------------------------------- ridge, logistic


def pooled(problem, train, test):
    """One model for all tasks."""
    return _linear(columns(problem, train).to_numpy(), problem, train, test)


def one_hot(problem, train, test):
    """One model, with a column for every task."""
    return _linear(_one_hot(problem, train), problem, train, test)


def _linear(X, problem, train, test):
    """Ridge or logistic regression, its strength tuned."""
    if not problem.binary:
        return RidgeCV(STRENGTHS).fit(X[train], problem.y[train]).predict(X[test])
    model = LogisticRegression(max_iter=2000)
    search = GridSearchCV(
        model,
        {"C": np.logspace(-4, 2, 13)},
        scoring="neg_log_loss",
        cv=_folds(problem, train),
    )
    return search.fit(X[train], problem.y[train]).predict_proba(X[test])[:, 1]


def independent(problem, train, test):
    """A ridge of its own for every task; one for all where it has a single row."""
    X, (task, n_tasks) = columns(problem, train).to_numpy(), codes(problem, train)
    fitted = RidgeCV(STRENGTHS).fit(X[train], problem.y[train]).predict(X[test])
    for t in range(n_tasks):
        own, held = train[task[train] == t], task[test] == t
        if len(own) < 2 or not held.any():
            continue
        model = RidgeCV(STRENGTHS) if len(own) > 2 else Ridge(1.0)
        fitted[held] = model.fit(X[own], problem.y[own]).predict(X[test][held])
    return fitted


# ---------------------------------------------------------------- mixed models


def mixed(problem, train, test):
    """A random intercept for every task, by statsmodels."""
    from statsmodels.tools.tools import add_constant

    X = _independent_columns(columns(problem, train), train)
    X = add_constant(X, has_constant="add").to_numpy()
    task, n_tasks = codes(problem, train)
    if problem.binary:
        return _mixed_classes(X, task, n_tasks, problem.y, train, test)
    from statsmodels.regression.mixed_linear_model import MixedLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MixedLM(problem.y[train], X[train], task[train]).fit()
        effects = fit.random_effects
    level = np.array([*(float(effects[t].iloc[0]) for t in range(n_tasks)), 0.0])
    return X[test] @ fit.fe_params + level[task[test]]


def _independent_columns(X, train):
    """Columns that the others do not determine: there is nothing to hold them."""
    kept, rank = [], 0
    values = np.column_stack([np.ones(len(train)), X.iloc[train].to_numpy()])
    for j in range(1, values.shape[1]):
        if np.linalg.matrix_rank(values[:, [0, *kept, j]], tol=1e-8) > rank + 1:
            kept.append(j)
            rank += 1
    return X.iloc[:, [j - 1 for j in kept]]


def _mixed_classes(X, task, n_tasks, y, train, test):
    """A logistic mixed model; its variance by a variational approximation."""
    from scipy.sparse import csr_matrix
    from scipy.special import expit
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

    Z = csr_matrix(np.eye(n_tasks)[task[train]])
    model = BinomialBayesMixedGLM(
        y[train], X[train], Z, np.zeros(n_tasks, dtype=int), vcp_p=1, fe_p=2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.fit_vb()
    level = np.append(fit.vc_mean, 0.0)
    # a score that is not known is worth a probability nearer to one half
    spread = np.append(fit.vc_sd, np.exp(fit.vcp_mean[0])) ** 2
    z = X[test] @ fit.fe_mean + level[task[test]]
    return expit(z / np.sqrt(1.0 + np.pi / 8.0 * spread[task[test]]))


# ---------------------------------------------------------------- trees


def lightgbm(problem, train, test):
    """Boosted trees, the task a category: leaves, least rows, rounds are tuned."""
    import lightgbm as lgb

    frame = problem.X.assign(task_=problem.task)
    words = [name for name in frame if frame[name].dtype.kind != "f"]
    frame[words] = frame[words].astype("category")
    # what is not seen in training is missing, so that nothing is learned of it
    data = lgb.Dataset(
        frame.iloc[train],
        problem.y[train],
        params={"verbosity": -1},
        free_raw_data=False,
    )
    best = None
    for params in _leaves(problem):
        found = lgb.cv(
            params,
            data,
            ROUNDS,
            folds=_folds(problem, train),
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )
        curve = next(v for name, v in found.items() if name.endswith("-mean"))
        if best is None or curve[-1] < best[0]:
            best = curve[-1], params, len(curve)
    model = lgb.train(best[1], data, best[2])
    return model.predict(frame.iloc[test])


def _leaves(problem):
    loss = "binary_logloss" if problem.binary else "l2"
    fixed = {
        "objective": "binary" if problem.binary else "regression",
        "metric": loss,
        "learning_rate": RATE,
        "verbosity": -1,
        "num_threads": 1,
        "seed": 0,
        "feature_pre_filter": False,
    }
    plain = {}
    # as it comes it hardly looks at categories of a few rows
    many = {"min_data_per_group": 5, "cat_smooth": 1.0, "cat_l2": 1.0}
    many |= {"max_cat_threshold": 256}
    for leaves in (4, 15, 31):
        for least in (5, 20):
            for categories in (plain, many):
                rest = {"num_leaves": leaves, "min_data_in_leaf": least}
                yield fixed | rest | categories


def catboost(problem, train, test):
    """Boosted trees with the task's mean labels: depth and rounds are tuned."""
    from catboost import Pool

    frame = problem.X.assign(task_=problem.task)
    words = [name for name in frame if frame[name].dtype.kind != "f"]

    def pool(rows):
        return Pool(frame.iloc[rows], problem.y[rows], cat_features=words)

    best = None
    for depth in (3, 6):
        curves = [
            _trees(problem, depth, pool(train[inner]), pool(train[outer]))
            for inner, outer in _folds(problem, train)
        ]
        shortest = min(map(len, curves))
        curve = np.mean([one[:shortest] for one in curves], axis=0)
        if best is None or curve.min() < best[0]:
            best = curve.min(), depth, int(curve.argmin()) + 1
    model = _boosted(problem, best[1], best[2]).fit(pool(train))
    if problem.binary:
        return model.predict_proba(pool(test))[:, 1]
    return model.predict(pool(test))


def _boosted(problem, depth, rounds):
    from catboost import CatBoostClassifier, CatBoostRegressor

    kind = CatBoostClassifier if problem.binary else CatBoostRegressor
    return kind(
        iterations=rounds,
        depth=depth,
        learning_rate=RATE,
        boosting_type="Plain",
        thread_count=1,
        random_seed=0,
        verbose=False,
        allow_writing_files=False,
    )


def _trees(problem, depth, inner, outer):
    """Squared errors, or log losses, of held-out rows after every round."""
    model = _boosted(problem, depth, ROUNDS)
    model.fit(inner, eval_set=outer, early_stopping_rounds=PATIENCE)
    loss = "Logloss" if problem.binary else "RMSE"
    curve = np.array(model.get_evals_result()["validation"][loss])
    return curve if problem.binary else curve**2


# ---------------------------------------------------------------- all of them


NUMBERS = {
    "pooled ridge": pooled,
    "independent ridges": independent,
    "one-hot ridge": one_hot,
    "mixed model": mixed,
    "LightGBM": lightgbm,
    "CatBoost": catboost,
}
CLASSES = {
    "pooled logistic": pooled,
    "one-hot logistic": one_hot,
    "mixed model": mixed,
    "LightGBM": lightgbm,
    "CatBoost": catboost,
}
NEEDS = {"mixed model": "statsmodels", "LightGBM": "lightgbm", "CatBoost": "catboost"}


def loss(problem, test, fitted):
    """Root mean squared error, or log loss."""
    y = problem.y[test]
    if problem.binary:
        p = np.clip(fitted, 1e-6, 1 - 1e-6)
        return log_loss(y, p, labels=[0, 1])
    return float(np.sqrt(np.mean((y - fitted) ** 2)))
