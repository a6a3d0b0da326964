"""A fit succeeds or leaves the estimator as it was."""

from .doc_links import DocLinks


class WholeFit(DocLinks):
    """Adds to an estimator what its `fit` needs to be whole, or not to have happened.

    Such a `fit` works on ``model = self._unfitted()`` and ends with ``return
    self._become(model)``: whatever stops it before, nothing has happened to `self`;
    afterwards nothing is left there of an earlier fit.
    """

    def _unfitted(self):
        """A copy, of the same parameters, without what fits have stored."""
        stored = vars(self).get("_stored", ())
        given = {name: v for name, v in vars(self).items() if name not in stored}
        model = type(self).__new__(type(self))
        vars(model).update(given)
        return model

    def _become(self, model):
        """Take over what a fit has stored in `model`, in one step."""
        given = vars(self._unfitted())
        new = [name for name in vars(model) if name not in given]
        model._stored = frozenset([*new, "_stored"])
        self.__dict__ = vars(model)
        return self
