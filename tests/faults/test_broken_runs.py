"""Runs that fail in ways of their own. Each costs itself, and no other."""

import resource
from pathlib import Path

import pytest
from at_work import finish
from small_sweep import Tried, begin, lost_after, sweep

pytestmark = pytest.mark.slow


@pytest.mark.fault(
    "a run raises; calls sys.exit(0); hangs where it hears no signal, with a limit of `hydra.launcher.run_seconds`",
    "each is recorded as failed with the reason; the others are done; exit code 1",
)
def test_runs_that_raise_exit_and_hang(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    code, out, err = sweep(tmp_path, "hydra.launcher.run_seconds=20", FAULTY="run")
    assert code == 1
    assert "4 expected: 1 ok, 0 diverged, 3 failed, 0 missing" in out
    for reason in ("RuntimeError: it raises, 2 times", "SystemExit: 0, 2 times", "took longer than 20.0 s"):
        assert reason in err
    tried(lost=lost_after(undisturbed, tmp_path), times=3)


@pytest.mark.fault("a run asks for more memory than there is (a real limit)", "it is recorded as failed; the others are done")
def test_a_run_without_memory(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    process = begin(tmp_path, FAULTY="memory")
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (8 * 2**30, 8 * 2**30))
    code, out, err = finish(process)
    assert code == 1
    assert "4 expected: 3 ok, 0 diverged, 1 failed, 0 missing" in out
    assert "can't allocate memory" in err
    tried(lost=lost_after(undisturbed, tmp_path))


@pytest.mark.fault("the clock jumps by hours at every look at it", "times are measured by another, which does not")
def test_a_clock_that_jumps(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    tried(lost=lost_after(undisturbed, tmp_path, "hydra.launcher.run_seconds=200", FAULTY="clock"))
