"""What estimators keep and do where they are kernel machines."""

import numpy as np

from ..problem.baseline import base_objective
from ..problem.kernels import KERNELS, Rows, check_square, settle_kernel
from ..solvers.kernels.decomposition import WORKING_SET, solve_kernel_dual
from ..solvers.kernels.gram import GRAM_BYTES, LongGram, WideGram
from ..solvers.margins.gap import zero_objective
from . import checks

_BLOCK = 1 << 22  # kernel values that a prediction holds at once
_LINEAR_ONLY = ("coef_", "shared_coef_")


class KernelMachine:
    """Adds kernels to an estimator that is linear for ``kernel="linear"``.

    Goes before the estimator's other bases. The function of task t is sum_i K[t, t_i]
    beta_i k(x_i, .) + b_t; one of an unknown task is the mean over tasks.
    """

    _gram_bytes = GRAM_BYTES

    @property
    def _is_machine(self):
        return callable(self.kernel) or self.kernel != "linear"

    def _check_kernel(self):
        """Check the parameters of the kernel, and what does not go with one."""
        if not callable(self.kernel):
            checks.check_choice("kernel", self.kernel, ("linear", *KERNELS))
        if isinstance(self.gamma, str):
            checks.check_choice("gamma", self.gamma, ("scale", "auto"))
        else:
            checks.check_number("gamma", self.gamma, 0)
        checks.check_number("degree", self.degree, 0)
        checks.check_number("coef0", self.coef0)
        if not self._is_machine:
            return
        if self.constraints:
            raise ValueError(
                f"`constraints` need the linear kernel, got `kernel`={self.kernel!r}."
            )
        if self.solver != "auto":
            raise ValueError(
                f"`solver`={self.solver!r} is for kernel='linear'; with "
                f"kernel={self.kernel!r} use 'auto'."
            )

    # ------------------------------------------------------------ fit

    def _check_rows(self, X):
        if self._is_machine and self.kernel == "precomputed":
            check_square(X)

    def _solved(self, fit, start):
        if not self._is_machine:
            return super()._solved(fit, start)
        self._gram = None
        weight = fit.data.sample_weight
        weight = None if weight is None or weight.ndim > 1 else weight
        self._kernel = settle_kernel(
            self.kernel, fit.data.X, self.gamma, self.degree, self.coef0, weight
        )
        try:
            return self._solve(fit, None)
        finally:
            del self._gram

    def _solve_kernel(self, fit):
        """Solve for one label per observation, -1 and +1 or numbers."""
        data, loss = fit.data, self._margin
        weight = np.where(data.weights > 0.0, data.weights, 1.0)
        dual = loss.box(data.labels, weight)
        if np.any(data.weights == 0.0):
            absent = data.weights == 0.0
            dual.lower[absent], dual.upper[absent] = 0.0, 0.0
        zero = zero_objective(dual)
        base = base_objective(data, loss, fit.form, fit.intercept, zero)
        return solve_kernel_dual(
            lambda E, unit: self._make_gram(fit, E, unit),
            dual,
            data.task_of,
            fit.form,
            fit.intercept,
            tol=self._tolerance(),
            max_iter=self.max_iter,
            base=base,
        )

    def _make_gram(self, fit, E, unit):
        """The Gram matrix; problems one against the rest share it."""
        units = np.outer(unit, unit)
        data, K, E = fit.data, fit.form.kernel() / units, E / units
        if self._gram is not None and np.array_equal(self._gram.E, E):
            return self._gram
        memory = {"limit": self._gram_bytes, "least": WORKING_SET}
        if data.wide and data.n_tasks > 1:
            rows = Rows(self._kernel, data.X, fit.row_numbers)
            place = data.rows, data.task_of
            self._gram = WideGram(rows, data.X, K, E, *place, **memory)
        else:
            X = data.X[data.rows] if data.wide else data.features
            rows = Rows(self._kernel, X, fit.row_numbers[data.rows])
            self._gram = LongGram(rows, X, K, E, data.starts, **memory)
        return self._gram

    # ------------------------------------------------------------ keep

    def _keep_model(self, fit, solution):
        if not self._is_machine:
            super()._keep_model(fit, solution)
            return
        self._keep_intercepts(fit, solution.intercept)
        beta = np.atleast_2d(solution.dual.T)  # a row per class
        self._keep_support(fit, beta)
        K = fit.form.kernel()
        mix = np.zeros((len(self.tasks_) + 1, len(K)))
        mix[:-1][fit.part] = K
        mix[:-1][~fit.part] = K.mean(axis=0)
        mix[-1] = mix[:-1].mean(axis=0)
        self._mix = mix

    def _keep_support(self, fit, beta):
        """Keep the rows that have a say, and their weights in the tasks' functions."""
        data, n_tasks = fit.data, len(self.tasks_)
        n_rows = data.X.shape[0]
        if data.wide:
            table = np.zeros((len(beta), n_rows, data.n_tasks))
            table[:, data.rows, data.task_of] = beta
            used = np.flatnonzero(table.any(axis=(0, 2)))
            table = table[:, used]
        else:
            table = np.zeros((len(beta), n_rows))
            table[:, data.rows] = beta
            used = np.flatnonzero(table.any(axis=0))
            self._task_of = data.codes[used]
            table = table[:, used]
        self.support_ = fit.row_numbers[used]
        self._support = None if self._kernel.precomputed else data.X[used]
        self._own_beta = table
        if not data.wide:
            self.dual_coef_ = table
            return
        whole = np.zeros((n_tasks, *table.shape[:2]))
        whole[fit.part] = table.transpose(2, 0, 1)
        self.dual_coef_ = whole if len(beta) > 1 else whole[:, 0]

    def __getattr__(self, name):
        if name in _LINEAR_ONLY and "support_" in self.__dict__:
            raise AttributeError(
                f"{name} is only available with kernel='linear'; a kernel machine has "
                "support_, dual_coef_ and intercept_."
            )
        return object.__getattribute__(self, name)  # raises, and says why

    # ------------------------------------------------------------ predict

    def _evaluate(self, X, codes):
        if "support_" not in self.__dict__:
            return super()._evaluate(X, codes)
        Z = self.support_ if self._kernel.precomputed else self._support
        n_support = len(self.support_)
        parts, size = [], max(1, _BLOCK // max(n_support, 1))
        rows = None if n_support == 0 else _kernel_rows(self._kernel, Z)
        for s in range(0, X.shape[0], size):
            block = X[s : s + size]
            values = np.empty((block.shape[0], n_support))
            if n_support:
                rows.fill(block, values)
            own = None if codes is None else codes[s : s + size]
            parts.append(self._mixed(values, own))
        z = np.concatenate(parts)
        z = z[:, 0] if self._layout == "single" else z
        return z[..., 0] if z.shape[-1] == 1 else z

    def _mixed(self, values, codes):
        """Functions of the rows' own tasks, or of all tasks, classes last."""
        intercept = np.concatenate([self.intercept_, self.shared_intercept_[None]])
        intercept = intercept.reshape(len(intercept), -1)
        if codes is None:
            beta = self._own_beta
            beta = beta[..., None] if self._layout == "single" else beta
            weights = beta @ self._mix[:-1].T
            z = np.stack([values @ one for one in weights], axis=-1)
            return z + intercept[:-1]
        order = np.argsort(self._task_of, kind="stable")
        tasks, starts = np.unique(self._task_of[order], return_index=True)
        z = intercept[codes]
        mix = self._mix[:, tasks]
        for k, beta in enumerate(self._own_beta):
            if len(tasks):
                sums = np.add.reduceat((values * beta)[:, order], starts, axis=1)
                z[:, k] += np.einsum("it,it->i", sums, mix[codes])
        return z

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        precomputed = isinstance(self.kernel, str) and self.kernel == "precomputed"
        tags.input_tags.pairwise = precomputed and self.task_column is None
        return tags


def _kernel_rows(kernel, Z):
    """Kernel values against the kept rows, or in the columns that belong to them."""
    return Rows(kernel, None, Z) if kernel.precomputed else Rows(kernel, Z)
