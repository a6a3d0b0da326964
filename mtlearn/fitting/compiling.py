"""One line on a terminal while code is compiled, which happens once per machine."""

import sys

from numba.core import event

LINE = "mtlearn: compiling for this machine, once; the next fit starts at once."


class _Notice(event.Listener):
    """Says the line when the first of our functions is not found in Numba's cache."""

    def __init__(self, stream):
        self.stream = stream

    def on_start(self, event):
        """Numba begins to compile a function."""
        function = getattr(event.data["dispatcher"], "py_func", None)
        ours = str(getattr(function, "__module__", "")).startswith("mtlearn.")
        if self.stream is None or not ours:
            return
        stream, self.stream = self.stream, None
        try:
            print(LINE, file=stream, flush=True)
        except (OSError, ValueError):
            # a closed stream is no reason for a fit to fail
            pass

    def on_end(self, event):
        """Numba has compiled a function."""


_notices = []


def tell_when_compiling(stream=None):
    """Say so, once in a process, where functions have to be compiled.

    Parameters
    ----------
    stream : file, default=None
        Standard error by default. Nothing is said if it is not a terminal.
    """
    stream = sys.stderr if stream is None else stream
    # what stands in for a terminal need not have all of a file's methods
    terminal = getattr(stream, "isatty", None)
    if _notices or terminal is None or getattr(stream, "closed", False):
        return
    if not terminal():
        return
    _notices.append(_Notice(stream))
    event.register("numba:compile", _notices[0])
