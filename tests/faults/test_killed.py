"""Processes that are killed, and people who stop a sweep."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from at_work import alive, family, finish, is_deaf_to, lrsweep, num_lost, until, workers
from small_sweep import LONG, RATES, SWEEP, Tried, begin, lost_after, sweep

NUM_EPOCHS = 30 * len(RATES)
SEED = 20

pytestmark = pytest.mark.slow


def num_begun(tally: Path) -> int:
    """Epochs that any worker has ever begun: each leaves a byte (faulty.py)."""
    return tally.stat().st_size if tally.exists() else 0


def strike(process: subprocess.Popen[str], who: str, chance: random.Random) -> int:
    """Kill, and see that nothing of a killed sweep stays. How often it was done: not where there is nobody left to kill."""
    members, victims = family(process.pid), workers(process.pid)
    if process.poll() is not None or not victims:
        return 0
    if who != "sweep":
        os.kill(chance.choice(victims), signal.SIGKILL)
    if who != "worker":
        process.kill()
        process.wait()
        until(lambda: not alive(members))
    return 1


@pytest.mark.fault(
    "`kill -9` of a worker, of the sweep, or of both, at random moments of one sweep",
    "no process stays; the same command goes on, and all in all trains at most 1.5 times the epochs",
)
def test_kills_at_random_moments_of_one_sweep(tmp_path: Path, long_undisturbed: Path, tried: Tried) -> None:
    chance, tally = random.Random(SEED), tmp_path / "tally"
    print(f"seed {SEED}")
    told, process, num_kills = "", begin(tmp_path, LONG, TALLY=str(tally)), 0
    for moment in sorted(chance.sample(range(1, NUM_EPOCHS - 10), 20)):
        until(lambda moment=moment, process=process: num_begun(tally) >= moment or process.poll() is not None)
        while process.poll() is None and not workers(process.pid):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))  # the kill comes anywhere in an epoch
        num_kills += strike(process, chance.choice(("worker", "sweep", "both")), chance)
        if process.poll() is not None:
            told += finish(process)[1]
            process = begin(tmp_path, LONG, TALLY=str(tally))
    while (ended := finish(process))[0] != 0:  # a run whose process died twice in one sweep has failed: once more
        assert "failed" in ended[1]
        process = begin(tmp_path, LONG, TALLY=str(tally))
    assert "killed by signal 9; trying once more" in told + ended[1]
    assert "resumes after epoch" in told + ended[1]
    assert num_begun(tally) <= 1.5 * NUM_EPOCHS
    tried(lost=num_lost(tmp_path / "results" / "lr", long_undisturbed / "lr"), times=num_kills)


@pytest.mark.fault("a run's process is killed twice in one sweep", "it is recorded as failed, the sweep's exit code is 1")
def test_a_run_killed_twice_is_done_by_the_next_sweep(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    process = begin(tmp_path, "grid.stop=-5", "data.num_train=3000")  # long enough to be met
    killed: set[int] = set()
    for _ in range(2):
        until(lambda: set(workers(process.pid)) - killed)
        (victim,) = set(workers(process.pid)) - killed
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
    code, out, err = finish(process)
    assert code == 1
    assert "1 expected: 0 ok, 0 diverged, 1 failed, 0 missing" in out
    assert "killed by signal 9, 2 times" in err
    assert "Traceback" not in err
    tried(lost=lost_after(undisturbed, tmp_path))


@pytest.mark.fault(
    "Ctrl-C; Ctrl-C again and again; SIGTERM", "exit code 130, 130, 143; no process stays; it says how to go on, and that goes on"
)
def test_a_sweep_that_is_stopped_goes_on(tmp_path: Path, long_undisturbed: Path, tried: Tried) -> None:
    for number, is_repeated, code in ((signal.SIGINT, False, 130), (signal.SIGINT, True, 130), (signal.SIGTERM, False, 143)):
        process = begin(tmp_path, LONG, LRSWEEP_COMMAND="make sweep STUDY='lr'")  # as the Makefile gives it
        until(lambda process=process: len(workers(process.pid)) == 2)
        members = family(process.pid)
        assert all(is_deaf_to(signal.SIGINT, pid) for pid in members if pid != process.pid)  # one answers Ctrl-C
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        while is_repeated and process.poll() is None:
            os.killpg(process.pid, number)
            time.sleep(0.05)
        found, _, err = finish(process, seconds=60)
        assert found == code
        assert "Traceback" not in err, err
        assert "To continue, run the same command again:\n  make sweep STUDY='lr'\n" in err
        until(lambda members=members: not alive(members))
    tried(lost=lost_after(long_undisturbed, tmp_path, LONG), times=3)


@pytest.mark.fault(
    "`kill -9` of the sweep while its report is made", "the old report stays whole; the same command makes the new one"
)
def test_killed_while_reporting(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    shutil.copytree(undisturbed, tmp_path / "results")
    report = tmp_path / "results" / "lr" / "report.md"
    assert lrsweep(tmp_path, *SWEEP)[0] == 0
    old = report.read_bytes()
    assert sweep(tmp_path, "seed=0,1", FAULTY="report")[0] == -signal.SIGKILL
    assert report.read_bytes() == old
    assert lrsweep(tmp_path, *SWEEP, "seed=0,1")[0] == 0
    assert report.read_bytes() != old
    tried(lost=num_lost(tmp_path / "results" / "lr", undisturbed / "lr"))
