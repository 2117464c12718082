"""Runs that fail or diverge. No other run is affected."""

import resource
from pathlib import Path

import pytest
from at_work import finish, num_lost
from small_sweep import FUSED, POOL, RATES, RecordLoss, num_lost_after_repeat, start_sweep, sweep, sweep_in_process

from hydra_plugins.lrsweep_launchers import _pool
from lrsweep.storage import store

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("processes", ["one per run", "as on a GPU"])
@pytest.mark.fault(
    "a run raises an exception; calls `sys.exit(0)`; hangs and ignores every signal, with `hydra.launcher.run_seconds` set; "
    "needs more memory than there is",
    "each is recorded as failed, with the reason; the other runs finish; exit code 1",
)
def test_broken_runs_are_recorded_as_failed(tmp_path: Path, undisturbed: Path, record_loss: RecordLoss, processes: str) -> None:
    process = start_sweep(tmp_path, "hydra.launcher.run_seconds=20", FAULTY=f"run,{processes}")
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (8 * 2**30, 8 * 2**30))
    code, out, err = finish(process)
    assert code == 1
    assert "5 expected: 1 ok, 0 diverged, 4 failed, 0 missing" in out
    for reason in ("RuntimeError: a fault", "SystemExit: 0", "20.0 s", "can't allocate memory"):
        assert reason in err
    assert "Error executing job" not in out + err  # a line of Hydra's that adds nothing
    record_loss(num_lost_after_repeat(undisturbed, tmp_path), num_tries=4)


@pytest.mark.parametrize("launcher", [POOL, FUSED], ids=["pool", "fused"])
@pytest.mark.fault(
    "the loss is NaN from the first step, because the learning rate is 1e30 or a penalty overflows, in the pool and fused",
    "the run is recorded as diverged at that step; the other runs finish; exit code 0",
)
def test_a_run_that_diverges_at_once_is_a_result(
    tmp_path: Path, undisturbed: Path, undisturbed_fused: Path, record_loss: RecordLoss, launcher: list[str]
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
    if launcher == FUSED:
        reference = undisturbed_fused / "lr"
    record_loss(num_lost(results, reference))


@pytest.mark.fault(
    "the fused program raises an error after two of its runs",
    "the sweep ends with exit code 1 and leaves the traceback in a file; finished runs are kept, and the same command continues",
)
def test_an_error_of_a_fused_program_ends_the_sweep(tmp_path: Path, undisturbed_fused: Path, record_loss: RecordLoss) -> None:
    code, out, err = sweep(tmp_path, launcher=FUSED, FAULTY="program")
    assert code == 1
    assert "expected:" not in out
    assert err.splitlines()[-2] == "The sweep ends, because the fused program failed: RuntimeError: CUDA error: a fault"
    assert "The full error is in results/lr/fused-error.txt." in err.splitlines()[-1]
    error = (tmp_path / "results" / "lr" / "fused-error.txt").read_text()
    assert error.startswith("Traceback (most recent call last):")
    assert "in fail_at_third" in error
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/lr/runs/*.json")}
    assert len(kept) == 2
    lost = num_lost_after_repeat(undisturbed_fused, tmp_path, launcher=FUSED)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    record_loss(lost)


def test_with_fallback_the_runs_of_a_failed_program_run_solo(tmp_path: Path) -> None:
    code, out, err = sweep(tmp_path, "hydra.launcher.fallback=true", launcher=FUSED, FAULTY="program")
    assert code == 0, err
    assert (
        "3 of 5 runs run solo: the fused program failed: RuntimeError: CUDA error: a fault (full error: results/lr/fused" in out
    )
    assert sorted(record.engine for record in store.read(tmp_path / "results" / "lr")) == ["fused"] * 2 + ["solo"] * 3


def test_runs_of_one_process_give_the_same_bits_as_runs_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, runs share a process. Random numbers (dropout, augmentation) and modes (bf16) must not pass to the next run."""
    overrides = ["optimizer.lr=1e-3", "model.dropout=0,0.5", "data.max_shift=2", "training.precision=fp32,bf16"]
    for name in ("own", "shared"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(_pool, "_trains_many", lambda machine, name=name: name == "shared")
        code, _, err = sweep_in_process(tmp_path / name, *overrides, launcher=["hydra.launcher.workers=1"])
        assert code == 0, err
    own, shared = (tmp_path / name / "results" / "lr" for name in ("own", "shared"))
    assert num_lost(shared, own) == 0
    assert [record.environment["peak_memory_bytes"] for record in store.read(shared)] == [None] * 4
    assert all(record.environment["peak_memory_bytes"] for record in store.read(own))
