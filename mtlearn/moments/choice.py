"""Whether to learn from moments or from the rows."""

GRAM_BYTES = 1 << 31  # Gram matrices of all tasks are never larger than this
_FEW = 128  # features up to which moments are cheap even of few rows


def grams_fit(data, copies=1):
    """Whether Gram matrices of the tasks fit into memory.

    Parameters
    ----------
    data : TaskData
    copies : int
        How many sets of them there are to be at once, and how much else beside them.
    """
    blocks = 1 if data.common else data.n_tasks
    return 8.0 * copies * blocks * data.n_features**2 <= GRAM_BYTES


def moments_pay(data, copies=1):
    """Whether a squared loss asks less of moments than of rows, over many passes."""
    d = data.n_features
    rows = data.X.shape[0] if data.wide else len(data.rows) / data.n_tasks
    return (d <= rows or d <= _FEW) and grams_fit(data, copies=copies)
