"""What pictures are drawn on, and with."""

BLUE, RED = "#2a6f97", "#d1602f"


def pyplot():
    """matplotlib's pyplot, or one sentence where it is not installed."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which is not installed. Install the extra: "
            'pip install "scikit-multitask[plot]"'
        ) from error
    return plt


def canvas(ax, size):
    """The figure and the axes to draw on."""
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax.figure, ax


def plain_ticks(axis):
    """Plain numbers on a logarithmic axis: 20, 50, 100."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axis.set_minor_formatter(NullFormatter())
