"""Runs that fail in ways of their own. Each costs itself, and no other."""

import resource
from pathlib import Path

import pytest
from at_work import finish, lrsweep, num_lost
from small_sweep import SWEEP, Tried, begin, lost_after, sweep

from lrsweep.storage import store

pytestmark = pytest.mark.slow


@pytest.mark.fault(
    "a run raises; calls sys.exit(0); hangs where it hears no signal, with a limit of `hydra.launcher.run_seconds`",
    "each is recorded as failed with the reason; the others are done; exit code 1",
)
def test_runs_that_raise_exit_and_hang(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    code, out, err = sweep(tmp_path, "hydra.launcher.run_seconds=40", FAULTY="run")
    assert code == 1
    assert "4 expected: 1 ok, 0 diverged, 3 failed, 0 missing" in out
    for reason in ("RuntimeError: it raises, 2 times", "SystemExit: 0, 2 times", "took longer than 40.0 s"):
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


FUSED = ["hydra/launcher=fused", "hydra.launcher.runs=2"]


@pytest.mark.parametrize("launcher", [[], FUSED], ids=["pool", "fused"])
@pytest.mark.fault(
    "a loss is NaN from the first step on, for the rate (1e30) or at any rate (a penalty that overflows), in the pool and fused",
    "the run is recorded as diverged at that step; the others and the report are done; exit code 0",
)
def test_nan_from_the_first_step(tmp_path: Path, undisturbed: Path, tried: Tried, launcher: list[str]) -> None:
    words = [word for word in SWEEP if not (launcher and word.startswith("hydra.launcher"))] + launcher
    code, out, err = lrsweep(tmp_path, *words, "optimizer.lr=1e-5,1e-4,1e-3,1e-2,1e30", "loss.l2=0,1e39")
    assert code == 0, err
    assert "10 expected: 4 ok, 6 diverged, 0 failed, 0 missing" in out
    assert "run solo" not in out
    diverged = [record for record in store.read(tmp_path / "results" / "lr") if record.outcome.status == "diverged"]
    assert {(record.outcome.diverged_step, record.outcome.epochs) for record in diverged} == {(1, 0)}
    assert "diverged" in (tmp_path / "results" / "lr" / "report.md").read_text()
    if launcher:
        code, _, err = lrsweep(tmp_path, *words, "machine.results_dir=fused")
        assert code == 0, err
    tried(lost=num_lost(tmp_path / "results" / "lr", (tmp_path / "fused" if launcher else undisturbed) / "lr"))
