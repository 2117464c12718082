"""Processes that are killed, and sweeps that are stopped."""

import importlib.util
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from at_work import alive, blocks_or_ignores, descendants, finish, lrsweep, num_lost, start, until, workers
from small_sweep import FAULTY, FUSED, LONG, POOL, RATES, SWEEP, RecordLoss, num_lost_after_repeat, start_sweep, sweep

NUM_EPOCHS = 16 * len(RATES)

pytestmark = pytest.mark.slow


def num_epochs_started(tally: Path) -> int:
    """The number of epochs that all workers started: each epoch leaves a byte in the tally (faulty.py)."""
    return tally.stat().st_size if tally.exists() else 0


def has_killed_a_worker(pid: int, chance: random.Random) -> bool:
    """False if there was no worker, or if it ended by itself."""
    with suppress(IndexError, ProcessLookupError):
        os.kill(chance.choice(workers(pid)), signal.SIGKILL)
        return True
    return False


@pytest.mark.fault(
    "`kill -9` of the sweep, of a worker, or of both, at random moments of one sweep",
    "no process is left behind; the same command continues the sweep, with at most 1.5 times the epochs in total",
)
def test_kills_at_random_moments_of_one_sweep(tmp_path: Path, long_undisturbed: Path, record_loss: RecordLoss) -> None:
    chance, tally = random.Random(20), tmp_path / "tally"
    output, process = "", start_sweep(tmp_path, LONG, TALLY=str(tally))
    moments = sorted(chance.sample(range(1, NUM_EPOCHS - 10), 6))
    for moment, victim in zip(moments, ["sweep", "both", "worker"] * 2, strict=True):
        until(lambda moment=moment: num_epochs_started(tally) >= moment)
        time.sleep(chance.uniform(0, 0.1))  # so that the kill comes anywhere in an epoch
        until(lambda process=process: workers(process.pid))
        members = descendants(process.pid)
        if victim != "sweep":
            until(lambda process=process: has_killed_a_worker(process.pid, chance))
        if victim != "worker":
            process.kill()
            output += finish(process)[1]
            until(lambda members=members: not alive(members))
            process = start_sweep(tmp_path, LONG, TALLY=str(tally))
    code, out, err = finish(process)
    assert code == 0, err
    output += out
    assert "killed by signal 9" in output
    assert "after epoch " in output  # where a run continued
    assert num_epochs_started(tally) <= 1.5 * NUM_EPOCHS
    record_loss(num_lost(tmp_path / "results" / "lr", long_undisturbed / "lr"), num_tries=len(moments))


@pytest.mark.parametrize("processes", ["one per run", "as on a GPU"])
@pytest.mark.fault("a run's process is killed twice in one sweep", "it is recorded as failed; the sweep's exit code is 1")
def test_a_run_killed_twice_is_repeated_by_the_next_sweep(
    tmp_path: Path, undisturbed: Path, record_loss: RecordLoss, processes: str
) -> None:
    results = shutil.copytree(undisturbed, tmp_path / "results")
    next((results / "lr" / "runs").glob("*.json")).unlink()
    hanging = tmp_path / "pid of the run"
    process = start_sweep(tmp_path, FAULTY=processes, HANGING=str(hanging))
    for _ in range(2):
        until(lambda: hanging.exists() and hanging.read_text())
        victim = int(hanging.read_text())
        hanging.unlink()
        os.kill(victim, signal.SIGKILL)
    code, out, err = finish(process)
    assert code == 1
    assert "5 expected: 4 ok, 0 diverged, 1 failed, 0 missing" in out
    assert "killed by signal 9" in err
    assert "Traceback" not in err
    record_loss(num_lost_after_repeat(undisturbed, tmp_path))


@pytest.mark.fault(
    "`kill -9` of a run between writing its record and renaming it", "the same command repeats the run and removes the file"
)
def test_killed_while_storing(tmp_path: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    runs = tmp_path / "results" / "lr" / "runs"
    no_checkpoint = "machine.checkpoint_seconds=null"
    process = start(tmp_path, *SWEEP, "hydra.mode=RUN", no_checkpoint, program=FAULTY, FAULTY="rename")
    assert finish(process)[0] == -signal.SIGKILL
    assert [path.name.endswith(".json") for path in runs.iterdir()] == [False]
    lost = num_lost_after_repeat(undisturbed, tmp_path)
    assert all(path.suffix == ".json" for path in runs.iterdir())
    record_loss(lost)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")
@pytest.mark.fault("`kill -9` of a sweep that has started Ray", "no process is left behind; the same command continues the sweep")
def test_a_killed_sweep_takes_its_ray_with_it(tmp_path: Path, long_undisturbed: Path, record_loss: RecordLoss) -> None:
    endless = ["training.max_epochs=100000", "training.patience=100000", "study.name=endless"]
    process = start(tmp_path, *SWEEP, *endless, "hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2")
    until(lambda: any(b"ray::train" in command_of(pid) for pid in descendants(process.pid)))
    members = descendants(process.pid)
    process.kill()
    finish(process)
    try:
        until(lambda: not alive(members))
    finally:
        for pid in alive(members):
            os.kill(pid, signal.SIGKILL)
    record_loss(num_lost_after_repeat(long_undisturbed, tmp_path, LONG))


def command_of(pid: int) -> bytes:
    with suppress(OSError):  # the process may have ended
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.mark.fault(
    "Ctrl-C; Ctrl-C many times; SIGTERM",
    "exit code 130, 130, 143; no process is left behind; a message says how to continue, and that works",
)
def test_a_stopped_sweep_continues(tmp_path: Path, long_undisturbed: Path, record_loss: RecordLoss) -> None:
    for number, is_repeated, expected_code in (
        (signal.SIGINT, False, 130),
        (signal.SIGINT, True, 130),
        (signal.SIGTERM, False, 143),
    ):
        process = start_sweep(tmp_path, LONG, LRSWEEP_COMMAND="make sweep STUDY='lr'")  # the Makefile sets it
        until(lambda process=process: len(workers(process.pid)) == 2)
        members = descendants(process.pid)
        assert all(blocks_or_ignores(signal.SIGINT, pid) for pid in members)  # only the sweep itself reacts to Ctrl-C
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        while is_repeated and process.poll() is None:
            os.killpg(process.pid, number)
            time.sleep(0.05)
        code, _, err = finish(process)
        assert code == expected_code
        assert "Traceback" not in err, err
        assert ":\n  make sweep STUDY='lr'\n" in err
        until(lambda members=members: not alive(members))
    record_loss(num_lost_after_repeat(long_undisturbed, tmp_path, LONG), num_tries=3)


@pytest.mark.fault(
    "with the fused launcher: Ctrl-C; SIGTERM; `kill -9` of the sweep; `kill -9` of its program",
    "no process is left behind; the same command continues the sweep; exit code 1 if only the program is killed",
)
def test_a_fused_sweep_that_is_stopped_leaves_no_process(
    tmp_path: Path, undisturbed_fused: Path, record_loss: RecordLoss
) -> None:
    hanging = tmp_path / "pid of the program"
    for number, expected_code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9), (None, 1)):
        process = start_sweep(tmp_path, launcher=FUSED, HANGING=str(hanging))
        until(lambda: hanging.exists() and hanging.read_text())  # in the solo epochs that the program times first
        program = int(hanging.read_text())
        hanging.unlink()
        members = descendants(process.pid)
        assert program in members
        if number is None:
            os.kill(program, signal.SIGKILL)
        else:
            os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        code, out, err = finish(process)
        assert code == expected_code
        assert ("the fused program failed: its process was killed by signal 9" in err) == (number is None)
        assert "Traceback" not in err
        assert "expected:" not in out
        until(lambda members=members: not alive(members))
    record_loss(num_lost_after_repeat(undisturbed_fused, tmp_path, launcher=FUSED), num_tries=4)


@pytest.mark.fault(
    "`kill -9` of the sweep while it builds its report", "the old report stays whole; the same command builds the new one"
)
def test_killed_while_reporting(tmp_path: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    results = shutil.copytree(undisturbed, tmp_path / "results")
    report = results / "lr" / "report.md"
    report.write_text("the old report")
    one_more = "optimizer.lr=1e-3,1e30"  # it diverges at its first step
    assert sweep(tmp_path, one_more, FAULTY="report")[0] == -signal.SIGKILL
    assert report.read_text() == "the old report"
    code, out, err = lrsweep(tmp_path, *SWEEP, *POOL, one_more)
    assert code == 0, err
    assert "2 expected: 1 ok, 1 diverged, 0 failed, 0 missing" in out
    assert "diverged" in report.read_text()
    record_loss(num_lost(results / "lr", undisturbed / "lr"))
