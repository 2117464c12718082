"""Ctrl-C and SIGTERM, also while packages are imported."""

import importlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from at_work import finish, start

from lrsweep.cli import signals
from lrsweep.cli.signals import Stopped, stopped_by_signals

SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
    for _ in range(1000):
        pass
except BaseException:
    pass
"""
HANGS = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
while True:
    time.sleep(0.01)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def command(*steps: Callable[[], object]) -> None:
    with stopped_by_signals():
        for step in steps:
            step()


def import_again(name: str) -> ModuleType:
    return importlib.reload(importlib.import_module(name))


def fail() -> None:
    raise ImportError("because of the signal")


@pytest.mark.parametrize(("name", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_package_that_swallows_exceptions_does_not_swallow_the_signal(name: str, exit_code: int, modules: Path) -> None:
    (modules / "swallows.py").write_text(SWALLOWS.format(name=name))
    finished: list[str] = []
    with pytest.raises(Stopped) as stopped:
        command(lambda: import_again("swallows"), lambda: time.sleep(10), lambda: finished.append("the work"))
    assert (stopped.value.exit_code, finished) == (exit_code, [])


def test_a_command_that_ends_or_fails_soon_after_an_import_was_stopped_all_the_same(modules: Path) -> None:
    (modules / "swallows.py").write_text(SWALLOWS.format(name="SIGINT"))
    with pytest.raises(Stopped):
        command(lambda: import_again("swallows"))
    with pytest.raises(Stopped):
        command(lambda: import_again("swallows"), fail)
    time.sleep(0.1)  # the postponed signal would arrive now
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_import_that_does_not_end_is_interrupted(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "MAX_DELAYS", 4)
    (modules / "hangs.py").write_text(HANGS)
    with pytest.raises(Stopped):
        command(lambda: importlib.import_module("hangs"))


def test_a_second_signal_does_not_interrupt_the_cleanup() -> None:
    done = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            done.append("cleanup")

    with pytest.raises(Stopped):
        command(work)
    assert done == ["cleanup"]


STOPPED_AT_ITS_FIRST_PACKAGE = """
import builtins, importlib, os, signal, sys

real = builtins.__import__

def imports(name, *rest):
    if name.partition(".")[0] in ("torch", "pandas", "matplotlib"):
        builtins.__import__ = real
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest)

builtins.__import__ = imports
importlib.import_module("lrsweep.cli." + sys.argv.pop(1)).main()
"""


@pytest.mark.parametrize("command", ["main", "confirm", "find", "report"])
def test_ctrl_c_while_a_command_loads_its_packages_leaves_no_traceback(command: str, tmp_path: Path) -> None:
    """Loading them takes seconds, so people stop a command here."""
    with start(tmp_path, command, "study=lr", program=("-c", STOPPED_AT_ITS_FIRST_PACKAGE)) as process:
        code, _, err = finish(process)
    assert (code, "Traceback" in err) == (130, False), err
