import scipy.sparse as sp

from mtlearn.relations import MatrixForm, Relation


class Chain(Relation):
    """Neighbours in the order of the tasks are alike."""

    spreads = True

    def __init__(self, strength=1.0):
        self.strength = strength

    def form(self, tasks):
        """A = I + strength * sum over neighbours of (e_t - e_t+1)(e_t - e_t+1)'."""
        if not self.strength >= 0:
            raise ValueError(f"`strength` must be at least 0, got {self.strength!r}.")
        n = len(tasks)
        step = sp.diags_array([1.0, -1.0], offsets=[0, 1], shape=(n - 1, n))
        return MatrixForm(sp.csr_array(sp.eye_array(n) + self.strength * step.T @ step))
