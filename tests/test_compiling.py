"""The line of a first fit: on a terminal only, once, and for our own functions."""

import io

import numpy as np
import pytest
from numba import njit

from mtlearn import PerTaskRegressor
from mtlearn.fitting import compiling


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A process that has said nothing, and forgets what it is told to watch."""
    monkeypatch.setattr(compiling, "_notices", [])
    yield
    for notice in compiling._notices:
        compiling.event.unregister("numba:compile", notice)


def compile_one(module):
    """Compile a new function of a module."""

    def function(x):
        return x + 1

    function.__module__ = module
    assert njit(function)(1) == 2


def test_a_terminal_is_told_once():
    stream = Terminal()
    compiling.tell_when_compiling(stream)
    compile_one("elsewhere.module")
    assert stream.getvalue() == ""
    compile_one("mtlearn.module")
    compile_one("mtlearn.module")
    compiling.tell_when_compiling(stream)
    compile_one("mtlearn.module")
    assert stream.getvalue() == compiling.LINE + "\n"


@pytest.mark.parametrize("stream", [io.StringIO(), object()])
def test_nothing_else_is_told(stream):
    compiling.tell_when_compiling(stream)
    assert not compiling._notices


def test_a_closed_terminal_is_no_error():
    stream = Terminal()
    compiling.tell_when_compiling(stream)
    stream.close()
    compile_one("mtlearn.module")


def test_a_stream_that_was_closed_is_not_told():
    stream = Terminal()
    stream.close()
    compiling.tell_when_compiling(stream)
    assert not compiling._notices


def test_a_fit_watches(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    PerTaskRegressor().fit(np.eye(3), np.arange(3.0))
    assert len(compiling._notices) == 1
