"""A report on a page: what a comparison and a fitted model say, and what may be wrong.

HTML, Markdown and JSON are rendered from one dict of plain values.
"""

import copy
import json
from pathlib import Path

from .contents import collect
from .markdown import to_markdown
from .page import framed, render

__all__ = ["TaskReport", "make_report"]


def make_report(
    estimator=None,
    X=None,
    y=None,
    *,
    task=None,
    comparison=None,
    reading=None,
    title=None,
):
    """Put a comparison and a fitted model on a page, and look for what may be wrong.

    The verdict comes first; then what each task gains and who is hurt, the tasks'
    effects with intervals, shared coefficients and curves, how much the tasks differ,
    and how the data were read. Checks of rows, ids and strengths each say one sentence.
    Everything is optional: what is not given is left out.

    Parameters
    ----------
    estimator : estimator or Pipeline, default=None
        A fitted estimator of mtlearn, or a pipeline that ends in one, whose other steps
        are applied to `X`.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
        Rows, as for the estimator's `fit`. None: without checks of the rows.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Their labels, given with `X`.
    task : array-like of shape (n_samples,), default=None
        Task ids, if no column of `X` holds them.
    comparison : SharingComparison, default=None
        What `compare_sharing` returned.
    reading : list of str, default=None
        Sentences on how the data were read.
    title : str, default=None
        Of the report; None: made of the name of `y`.

    Returns
    -------
    report : TaskReport
        Small, and free of the data.

    Raises
    ------
    ValueError
        If there is neither an estimator nor a comparison, or the data do not fit.
    TypeError
        If an argument is not what it should be.

    See Also
    --------
    mtlearn.inspection.compare_sharing : Compares.

    Notes
    -----
    What the checks look for is told in the guide, :ref:`report`.

    Examples
    --------
    >>> from mtlearn import MultiTaskBayesianRidge
    >>> from mtlearn.datasets import make_task_regression
    >>> X, y, task = make_task_regression(8, 20, 3, return_X_y=True, random_state=0)
    >>> model = MultiTaskBayesianRidge().fit(X, y, task=task)
    >>> report = make_report(model, X, y, task=task)
    >>> report.to_dict()["data"]["sentence"]
    '160 rows of 8 tasks, 3 features; a task has 20 to 20 labels, the middle one 20.'
    >>> [check["code"] for check in report.to_dict()["checks"]]
    []
    """
    return TaskReport(collect(estimator, X, y, task, comparison, reading, title))


class TaskReport:
    """What `make_report` returns: one dict, and the forms that it is shown in.

    In a notebook it shows itself. It can be pickled.

    Parameters
    ----------
    contents : dict
        Of plain values, as `to_dict` gives it.

    See Also
    --------
    make_report : Makes it.
    """

    def __init__(self, contents):
        self._contents = contents

    def __repr__(self):
        return f"TaskReport({self._contents['title']!r})"

    def to_dict(self):
        """Return all that the report says.

        Returns
        -------
        contents : dict
            A copy, of dicts, lists, strings, numbers, booleans and None.
        """
        return copy.deepcopy(self._contents)

    def to_json(self):
        """Return the same as JSON.

        Returns
        -------
        text : str
            Of one line.
        """
        return json.dumps(self._contents, ensure_ascii=False, allow_nan=False)

    def to_markdown(self):
        """Return the report as Markdown.

        Returns
        -------
        text : str
            Tables are cut to the tasks at both ends.
        """
        return to_markdown(self._contents)

    def to_html(self):
        """Return the report as a page that needs nothing else.

        Returns
        -------
        page : str
            Styles, pictures and the table of all tasks inside. Needs jinja2.
        """
        return render(self._contents)

    def save(self, path):
        """Write the report to a file.

        Parameters
        ----------
        path : str or Path
            Its ending says what is written: .html, .json or .md.

        Returns
        -------
        path : Path
            Of the file.

        Raises
        ------
        ValueError
            On another ending.
        """
        forms = {
            ".html": self.to_html,
            ".json": self.to_json,
            ".md": self.to_markdown,
        }
        path = Path(path)
        form = forms.get(path.suffix.lower())
        if form is None:
            raise ValueError(
                f"`path` must end in {', '.join(forms)}, got {str(path)!r}."
            )
        path.write_text(form(), encoding="utf-8")
        return path

    def _repr_html_(self):
        """The page in a frame, for notebooks."""
        return framed(self.to_html(), self._contents["title"])
