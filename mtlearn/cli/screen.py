"""What the command prints: tables, a bar of progress, warnings."""

import sys
import warnings
from contextlib import contextmanager

from ..sharing.contenders import LABELS


@contextmanager
def said_once():
    """Collect the warnings of the work and say each once, without a code line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for message in dict.fromkeys(str(warning.message) for warning in caught):
                print(f"mtlearn: {message}", file=sys.stderr)


def _terminal():
    """A rich console, where rich is installed and stdout is a terminal; else None."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console()


@contextmanager
def progress():
    """The `progress` of compare_sharing that draws a bar; None without a terminal."""
    console = _terminal()
    if console is None:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        row = bar.add_task("Fitting", total=1)
        yield lambda done, total: bar.update(row, completed=done, total=total)


def print_summary(comparison):
    """Overall scores, the best marked, and the recommended one if it is another."""
    overall = {
        name: float(comparison.summary[name].iloc[0]) for name in comparison.strategies
    }
    means = {name: float(comparison.summary[name].iloc[1]) for name in overall}
    marks = {comparison.winner: "recommended", comparison.best: "best"}
    rows = [
        (
            f"{LABELS[name]} ({name})",
            f"{overall[name]:.4f}",
            f"{means[name]:.4f}",
            marks.get(name, ""),
        )
        for name in overall
    ]
    header = ("learned", f"{comparison.metric}, all rows", "mean over tasks", "")
    better = "higher" if comparison.greater_is_better else "lower"
    title = f"{comparison.metric} on held-out rows ({better} is better)"
    _print_table(title, header, rows)


def print_extremes(comparison):
    """The tasks that gain and lose most."""
    judged, base = comparison.judged, comparison.baseline
    header = ("task", "rows", judged, base, "gain", "verdict")
    titles = ("Gain most by learning together", "Lose most")
    for title, part in zip(titles, comparison.extremes(5)):
        rows = [
            (
                str(row["task"]),
                f"{row['n_samples']:,}",
                f"{row[judged]:.4f}",
                f"{row[base]:.4f}",
                f"{row['gain']:+.4f} (± {row['standard_error']:.4f})",
                row["verdict"],
            )
            for row in part.to_dict("records")
        ]
        if rows:
            _print_table(f"{title} (over {base})", header, rows)


def _print_table(title, header, rows):
    """Print a table, by rich or plain; the first column is text, the others numbers."""
    print(f"\n{title}")
    console = _terminal()
    if console is None:
        widths = [max(map(len, column)) for column in zip(header, *rows)]
        for row in (header, *rows):
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            print("  ".join(cells).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        style = "bold green" if row[-1] == "best" else ""
        table.add_row(*(Text(cell, style) for cell in row))
    console.print(table)
