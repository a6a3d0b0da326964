"""A fitted model in a file, with what is needed to predict other tables by it."""

import copy
import platform
import warnings
from dataclasses import dataclass, field

import joblib
import numpy as np
import sklearn
from sklearn.base import is_classifier
from sklearn.exceptions import InconsistentVersionWarning

from .. import __version__
from ..report import make_report
from .labels import read_ids
from .reading import need_pandas

_NEW = "(no task)"  # stands for a missing id in `predict`


def versions():
    """Of what a saved model depends on."""
    return {
        "mtlearn": __version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }


@dataclass
class SavedModel:
    """A fitted model, and how a table is read for it.

    Attributes
    ----------
    estimator : Pipeline
        `TablePreparer` and the model, fitted.
    target, task : str
        Names of the columns.
    classes : list
        Empty for a regression.
    whole_ids : bool
        Whether the task ids are whole numbers.
    reading : list of str
        Sentences: what was done to the table.
    comparison : SharingComparison or None
        Without the rows.
    report : TaskReport
        On the model and its rows, without them.
    versions : dict
        With which it was saved.
    """

    estimator: object
    target: str
    task: str
    classes: list
    whole_ids: bool
    reading: list
    comparison: object = None
    report: object = None
    versions: dict = field(default_factory=versions)

    @classmethod
    def of(cls, table, estimator, comparison=None, reading=None):
        """What is kept of a fit.

        Parameters
        ----------
        table : Table
        estimator : Pipeline
            Fitted.
        comparison : SharingComparison, default=None
        reading : list of str, default=None
            By default what the table says of itself.

        Returns
        -------
        SavedModel
        """
        pandas = need_pandas()
        reading = table.describe() if reading is None else reading
        classes = np.unique(table.y).tolist() if table.target.classes else []
        if comparison is not None:
            comparison = copy.copy(comparison)
            comparison._refit = None  # it holds the rows
        names = table.target.name, table.task
        saved = cls(estimator, *names, classes, table.whole_ids, reading, comparison)
        saved.report = make_report(
            estimator,
            table.X,
            pandas.Series(table.y, name=table.target.name),
            comparison=comparison,
            reading=reading,
        )
        return saved

    def save(self, path):
        """Write the file."""
        joblib.dump(self, path, compress=3)

    @classmethod
    def load(cls, path):
        """Read a file that `save` has written.

        Parameters
        ----------
        path : str

        Returns
        -------
        SavedModel

        Raises
        ------
        ValueError
            If the file holds something else.

        Warns
        -----
        UserWarning
            If it was saved with another version.
        """
        with open(path, "rb"), warnings.catch_warnings():  # whether it is there
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            try:
                saved = joblib.load(path)
            except Exception as error:  # whatever bytes may be taken for
                raise ValueError(
                    f"{path} is no model that --save has written, or was written with "
                    f"other versions ({type(error).__name__})."
                ) from None
        if not isinstance(saved, cls):
            raise ValueError(f"{path} is no model that --save has written.")
        now = versions()
        other = [name for name in now if saved.versions.get(name) != now[name]]
        if other:
            was = ", ".join(f"{name} {saved.versions.get(name)}" for name in other)
            warnings.warn(
                f"{path} was saved with {was}, and is read with "
                f"{', '.join(f'{name} {now[name]}' for name in other)}: its "
                "predictions may differ; fit it again if in doubt.",
                UserWarning,
                stacklevel=2,
            )
        return saved

    # ------------------------------------------------------------ predictions

    def predict(self, frame, coverage=0.9):
        """Predict the rows of a table.

        Parameters
        ----------
        frame : DataFrame
            With the columns of the fit.
        coverage : float, default=0.9
            Of the intervals.

        Returns
        -------
        DataFrame
            `estimate`, with `lower` and `upper` where the model has intervals; of
            classes `class` and a probability for each; and `new_task`, whether `fit`
            saw no row of the task.
        """
        X, new = frame, np.ones(len(frame), dtype=bool)
        if self.task in frame.columns:
            ids, known = read_ids(frame[self.task], self.whole_ids)
            ids[~known] = _NEW
            new = self._are_new(ids)
            X = frame.assign(**{self.task: ids})
        X = self.estimator[:-1].transform(X)
        columns = self._of_rows(self.estimator[-1], X, coverage)
        return type(frame)({**columns, "new_task": new}, index=frame.index)

    def _of_rows(self, model, X, coverage):
        if is_classifier(model):
            shares = model.predict_proba(X)
            label = model.classes_[np.argmax(shares, axis=1)]
            named = [f"probability_{name}" for name in model.classes_]
            return {"class": label, **dict(zip(named, shares.T, strict=True))}
        if not self.has_intervals():
            return {"estimate": model.predict(X)}
        ends = model.predict_interval(X, coverage)
        estimate = ends.mean(axis=1)
        return {"estimate": estimate, "lower": ends[:, 0], "upper": ends[:, 1]}

    def _are_new(self, ids):
        """Which ids no row of the fit had."""
        tasks = set(self.estimator[-1].tasks_.tolist())
        return np.array([id not in tasks for id in ids.tolist()], dtype=bool)

    def has_intervals(self):
        """Whether the model tells how sure its numbers are."""
        return hasattr(self.estimator[-1], "predict_interval")
