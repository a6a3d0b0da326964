"""The method that puts a fitted model on a page."""


class Reported:
    """Adds `report` to a fitted estimator."""

    def report(self, X=None, y=None, *, task=None):
        """Put what the fitted model says on a page: HTML, Markdown or JSON.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_columns)
            Rows as in `fit`, for checks of the data; None: without those.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Their labels.
        task : array-like of shape (n_samples,), default=None
            Task ids, if they were passed to `fit` as `task`.

        Returns
        -------
        report : TaskReport
            Shown as a page in a notebook; ``report.save("report.html")`` writes it.

        See Also
        --------
        mtlearn.report.make_report : The same with a comparison, and of pipelines.
        """
        from ..report import make_report

        return make_report(self, X, y, task=task)
