"""Threads for compiled passes that need no interpreter: as many as the caller allows.

What is computed never depends on their number: work is cut into parts by the data
alone, and the parts are put together in their order.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numba
from numba.np.ufunc import parallel
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads


def count_threads():
    """How many threads may work: the least of what numba and OpenMP are allowed.

    Both know the limits of workers of joblib's processes; the second those of
    `threadpoolctl`, too. Outside the main thread there is one: who starts threads
    has put the other cores to work already.
    """
    if threading.current_thread() is not threading.main_thread():
        return 1
    # asked for its number, numba would start its own threads
    started = getattr(parallel, "_is_initialized", False)
    most = numba.get_num_threads() if started else numba.config.NUMBA_NUM_THREADS
    return max(1, min(most, _openmp_effective_n_threads()))


def in_threads(function, parts):
    """Results of a function on every part, in the order of the parts.

    Parameters
    ----------
    function : callable
        Of one part; it should leave the interpreter alone most of the time.
    parts : list

    Returns
    -------
    results : list
    """
    n_threads = min(count_threads(), len(parts))
    if n_threads < 2:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, parts))
