"""Threads for compiled passes that need no interpreter: as many as the caller allows.

What is computed never depends on their number: work is cut into parts by the data
alone, and the parts are put together in their order.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np
from numba.np.ufunc import parallel
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

WORTH = 1 << 18  # entries of rows that are worth a thread
OWN_THREADS = 128  # features up to which BLAS leaves the threads to us
_MOST_BLOCKS = 8
_BESIDE = 0.25  # entries of what blocks of rows leave behind, against those of the rows


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
    # a single part does not ask: that takes longer than the work on few rows
    n_threads = min(count_threads(), len(parts)) if len(parts) > 1 else 1
    if n_threads < 2:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, parts))


# ---------------------------------------------------------------- how work is cut


def row_blocks(n_rows, width, left):
    """Slices of the rows whose results together take a part of what the rows do.

    Their number depends on the data alone, so that sums over them, in their order, do
    not depend on threads.

    Parameters
    ----------
    n_rows, width : int
        Shape of the rows.
    left : int
        Entries of what a pass over a block leaves behind.
    """
    most = _BESIDE * n_rows * width / max(1, left)
    most = max(1, min(_MOST_BLOCKS, int(most), n_rows * width // WORTH))
    if most == 1:
        return [slice(0, n_rows)]
    most = 1 << most.bit_length() - 1  # a power of two: no thread waits for the others
    ends = np.linspace(0, n_rows, most + 1).astype(int).tolist()
    return [slice(low, high) for low, high in pairwise(ends)]


def task_ranges(starts, threaded=True):
    """Ranges of tasks of about equally many rows, one for each thread.

    Parameters
    ----------
    starts : ndarray of shape (n_tasks + 1,)
        Where the rows of each task start.
    threaded : bool
        Whether the rows are worth threads.

    Returns
    -------
    ranges : list of (int, int)
    """
    n_tasks = len(starts) - 1
    most = min(count_threads(), n_tasks) if threaded else 1
    if most < 2:
        return [(0, n_tasks)]
    ends = np.searchsorted(starts, np.linspace(0, starts[-1], most + 1))
    ends[0], ends[-1] = 0, n_tasks
    ends = np.maximum.accumulate(np.minimum(ends, n_tasks)).tolist()
    return [(low, high) for low, high in pairwise(ends) if low < high]


def inner(a, b):
    """Sum of products of the entries, which BLAS would cut by its threads."""
    return float(np.einsum("i,i->", np.ravel(a), np.ravel(b)))
