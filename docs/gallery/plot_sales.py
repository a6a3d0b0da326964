"""
Shops, regions, total: sales that add up
========================================

Nine shops in three regions. The chain has known its *total* for two years of weeks and
each *region's* sales for one; single shops report since ten weeks. A forecast for every
shop is wanted, and the forecasts have to add up: the region's is the sum of its shops',
the total the sum of the regions'.

The data are simulated, so that the truth is known: every shop answers in its own way to
the season, a promotion, the temperature and school holidays.
"""

# %%
# Simulate two years
# ------------------

import numpy as np
import pandas as pd

rng = np.random.default_rng(7)
regions = {
    "north": ["n1", "n2", "n3"],
    "centre": ["c1", "c2", "c3"],
    "south": ["s1", "s2", "s3"],
}
shops = [shop for members in regions.values() for shop in members]


def weeks(n):
    """Drivers of a week's sales, the same for all shops."""
    week = np.arange(n)
    return pd.DataFrame(
        {
            "sine": np.sin(2 * np.pi * week / 52),
            "cosine": np.cos(2 * np.pi * week / 52),
            "promotion": rng.uniform(size=n) < 0.3,
            "temperature": rng.normal(size=n),
            "holidays": rng.uniform(size=n) < 0.2,
        }
    ).astype(float)


chain = np.array([4.0, -6.0, 12.0, 2.0, -5.0])
effects = chain + 5.0 * rng.normal(size=(len(shops), 5))
level = rng.uniform(40, 90, size=len(shops))


def sales(drivers):
    """A table of sales: a column for every shop, region and the total."""
    noise = 6.0 * rng.normal(size=(len(drivers), len(shops)))
    table = pd.DataFrame(drivers.to_numpy() @ effects.T + level + noise, columns=shops)
    for region, members in regions.items():
        table[region] = table[members].sum(axis=1)
    return table.assign(total=table[shops].sum(axis=1))


X, X_new = weeks(104), weeks(104)
Y, Y_new = sales(X), sales(X_new)
Y.loc[: 104 - 53, list(regions)] = np.nan  # the regions: the last year
Y.loc[: 104 - 11, shops] = np.nan  # the shops: the last ten weeks
print(Y.notna().sum().to_string())

# %%
# Say how the tasks depend on each other
# --------------------------------------
#
# A :class:`~mtlearn.Composition` gives the rules. Regions are made of shops and the
# total is made of regions: chains are allowed. The nine shops are the free tasks, and
# `relation` says how these are tied. A region's sales carry the noise of three shops
# and the total's that of nine, so their rows get a third and a ninth of the weight.

from mtlearn import Composition, PerTaskRegressor

rules = {region: dict.fromkeys(members, 1) for region, members in regions.items()}
rules["total"] = dict.fromkeys(regions, 1)
weight = {**dict.fromkeys(regions, 1 / 3), "total": 1 / 9}

models = {
    "every series alone": PerTaskRegressor(alpha=1.0),
    "shops only, added up": PerTaskRegressor(alpha=1.0, relation=Composition(rules)),
    "all rows, rules": PerTaskRegressor(
        alpha=1.0, relation=Composition(rules), task_weight=weight
    ),
    "all rows, rules, shared mean": PerTaskRegressor(
        alpha=1.0, relation=Composition(rules, "shared_mean"), task_weight=weight
    ),
}
forecasts = {}
for name, model in models.items():
    known = Y.copy()
    if name.startswith("shops only"):
        known[[*regions, "total"]] = np.nan
    forecasts[name] = pd.DataFrame(
        model.fit(X, known).predict(X_new), columns=Y.columns
    )

# %%
# Do they add up?
# ---------------

for name, table in forecasts.items():
    gap = (table[shops].sum(axis=1) - table["total"]).abs().max()
    print(f"{name:30s} shops and total differ by up to {gap:.2g}")

# %%
# Are they any good?
# ------------------
#
# The error of next year's forecasts, less the noise that nobody can forecast, at each
# level. The total's long history is what the shops lack: with the rules, its rows and
# those of the regions help to find out how each shop answers.

levels = {"shops": shops, "regions": list(regions), "total": ["total"]}
truth = pd.DataFrame(X_new.to_numpy() @ effects.T + level, columns=shops)
for region, members in regions.items():
    truth[region] = truth[members].sum(axis=1)
truth["total"] = truth[shops].sum(axis=1)

errors = pd.DataFrame(
    {
        name: {
            level: np.sqrt(((table[names] - truth[names]) ** 2).to_numpy().mean())
            for level, names in levels.items()
        }
        for name, table in forecasts.items()
    }
).T
print(errors.round(2).to_string())

# %%

import matplotlib.pyplot as plt

_, axes = plt.subplots(1, 3, figsize=(9.6, 2.8), sharey=True, layout="constrained")
for ax, column in zip(axes, errors):
    ax.barh(errors.index, errors[column], color="#2a6f97", height=0.6)
    ax.set_title(column, fontsize="medium")
    ax.set_xlabel("RMSE of the expected sales")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].invert_yaxis()

# %%
# What a driver does, level by level
# ----------------------------------
#
# Coefficients follow the rules like the forecasts: the effect of a promotion on the
# total *is* the sum of its effects on the shops.

model = models["all rows, rules, shared mean"]
promotion = pd.Series(model.coef_[:, 2], index=model.tasks_)
actual = pd.Series(effects[:, 2], index=shops)
for region, members in regions.items():
    actual[region] = actual[members].sum()
actual["total"] = actual[shops].sum()
print(pd.DataFrame({"estimated": promotion, "true": actual}).round(1).to_string())
print("sum of the shops:", promotion[shops].sum().round(6))
print("total:           ", promotion["total"].round(6))
