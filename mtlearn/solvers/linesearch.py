"""The exact search along a line, by safeguarded Newton steps."""

import numpy as np

_SEARCH_STEPS = 40


def find_step(along, slope0, accuracy, most=_SEARCH_STEPS, longest=np.inf):
    """Where the slope of a convex function of a step is zero, nearly.

    Parameters
    ----------
    along : callable
        From a step to slope and curvature.
    slope0 : float
        The slope at zero.
    accuracy : float
        Share of that slope which may be left.
    most : int
        Most calls.
    longest : float
        Longest step, at least 1.

    Returns
    -------
    step : float
        0 where the slope does not fall at zero.
    """
    if not slope0 < 0:
        return 0.0
    low, high, step = 0.0, np.inf, 1.0
    for _ in range(most):
        slope, bend = along(step)
        if abs(slope) <= accuracy * abs(slope0):
            return step
        if slope < 0 and step >= longest:
            return step
        low, high = (step, high) if slope < 0 else (low, step)
        step -= slope / bend if bend > 0 else 0.0
        if not low < step < high:
            step = 2 * low if high == np.inf else 0.5 * (low + high)
        step = min(step, longest)
        if high < np.inf and high - low <= 1e-12 * high:
            break
    return low
