"""Every way in which a solver may end, and the one warning it may cause."""

import dataclasses
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from mtlearn.problem.solution import Solution, Status, reached, warn_unless_converged


def solution(status):
    return Solution(
        coef=np.zeros((2, 3)),
        intercept=np.zeros(2),
        objective=1.5,
        certificate=0.03,
        n_iter=7,
        status=status,
    )


@pytest.mark.parametrize("status", Status)
def test_every_status_is_a_sentence(status):
    assert status.value.endswith(".")
    assert len(status.value.split()) > 4
    assert len({member.value for member in Status}) == len(Status)


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CONVERGED])
def test_a_bad_end_warns_once_with_both_numbers(status):
    words = "Model did not converge in 7 iterations: certificate 0.03, asked for 1e-08"
    with pytest.warns(ConvergenceWarning, match=words) as caught:
        warn_unless_converged(solution(status), "Model", 1e-8)
    assert len(caught) == 1
    assert status.value in str(caught[0].message)


def test_a_good_end_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_unless_converged(solution(Status.CONVERGED), "Model", 1e-8)


def test_the_warning_points_above_the_estimator():
    # user -> fit -> keep -> warn: the reader's own line is in the warning
    def keep():
        warn_unless_converged(solution(Status.MAX_ITER), "Model", 1e-8)

    def fit():
        keep()

    with pytest.warns(ConvergenceWarning) as caught:
        fit()
    assert caught[0].filename == __file__


def test_a_solution_is_fixed():
    answer = solution(Status.CONVERGED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.objective = 0.0
    assert answer.dual is None and answer.history == []
    names = [field.name for field in dataclasses.fields(Solution)]
    assert names == [
        "coef",
        "intercept",
        "objective",
        "certificate",
        "n_iter",
        "status",
        "dual",
        "history",
        "gap",
        "task_covariance",
    ]


def test_what_was_promised_does_not_warn():
    # stalled on the way to more than the tolerance asks for
    found = dataclasses.replace(solution(Status.STALLED), certificate=1e-12)
    warn_unless_converged(found, "Model", 1e-8)
    assert reached(found, 1e-8) and not reached(found, 1e-13)
    with pytest.warns(ConvergenceWarning, match="asked for 1e-13"):
        warn_unless_converged(found, "Model", 1e-13)
