"""Runs that fail or diverge. No other run is affected."""

import resource
from pathlib import Path

import pytest
from at_work import finish, num_lost
from small_sweep import POOL, RATES, RecordLoss, num_lost_after_repeat, start_sweep, sweep_in_process

from lrsweep.storage import store

pytestmark = pytest.mark.slow

FUSED = ["hydra/launcher=fused", "hydra.launcher.runs=2"]


@pytest.mark.fault(
    "a run raises an exception; calls `sys.exit(0)`; hangs and ignores every signal, with `hydra.launcher.run_seconds` set; "
    "needs more memory than there is",
    "each is recorded as failed, with the reason; the other runs finish; exit code 1",
)
def test_broken_runs_are_recorded_as_failed(tmp_path: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    process = start_sweep(tmp_path, "hydra.launcher.run_seconds=20", FAULTY="run")
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (8 * 2**30, 8 * 2**30))
    code, out, err = finish(process)
    assert code == 1
    assert "5 expected: 1 ok, 0 diverged, 4 failed, 0 missing" in out
    for reason in ("RuntimeError: a fault", "SystemExit: 0", "20.0 s", "can't allocate memory"):
        assert reason in err
    record_loss(num_lost_after_repeat(undisturbed, tmp_path), num_tries=4)


@pytest.mark.parametrize("launcher", [POOL, FUSED], ids=["pool", "fused"])
@pytest.mark.fault(
    "the loss is NaN from the first step, because the learning rate is 1e30 or a penalty overflows, in the pool and fused",
    "the run is recorded as diverged at that step; the other runs finish; exit code 0",
)
def test_a_run_that_diverges_at_once_is_a_result(
    tmp_path: Path, undisturbed: Path, record_loss: RecordLoss, launcher: list[str]
) -> None:
    rates = ",".join(map(str, [*RATES, 1e30]))
    code, out, err = sweep_in_process(tmp_path, f"optimizer.lr={rates}", "loss.l2=0,1e39", launcher=launcher)
    assert code == 0, err
    assert "12 expected: 5 ok, 7 diverged, 0 failed, 0 missing" in out
    results, reference = tmp_path / "results" / "lr", undisturbed / "lr"
    records = store.read(results)
    assert {record.engine for record in records} == {"fused" if launcher == FUSED else "solo"}
    diverged = [record for record in records if record.outcome.status == "diverged"]
    assert {(record.outcome.diverged_step, record.outcome.epochs) for record in diverged} == {(1, 0)}
    if launcher == FUSED:  # its sums are taken in another order than the pool's, so the bits differ
        (tmp_path / "fused").mkdir()
        code, _, err = sweep_in_process(tmp_path / "fused", launcher=FUSED)
        assert code == 0, err
        reference = tmp_path / "fused" / "results" / "lr"
    record_loss(num_lost(results, reference))
