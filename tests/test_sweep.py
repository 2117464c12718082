"""The whole path as a user meets it: the command, its exit code, what is on disk. Real processes, really killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from lrsweep import store

ROOT = Path(__file__).parents[1]
RATES = [1e-5, 1e-4, 1e-3, 1e-2]
# Four runs of some seconds each: long enough to be killed in the middle.
SWEEP = [
    *("study=lr", "grid.start=-5", "grid.stop=-2", "grid.step=1"),
    *("data.num_train=320", "data.num_valid=200", "data.num_test=200", "training.patience=12", "training.max_epochs=12"),
    *("hydra.launcher.workers=2", "machine.checkpoint_seconds=0", f"machine.data_dir={ROOT / 'data'}"),
]
# What may differ between two sweeps: times, and the commit if somebody commits in between.
TIMES = ["wall_seconds", "cpu_seconds", "finished_at", "peak_memory_bytes", "seconds", "git_commit", "git_dirty"]

pytestmark = pytest.mark.slow


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """`lrsweep …` in a folder of its own, in a process group of its own, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "lrsweep", *SWEEP, *overrides],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: int = 240) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def sweep(folder: Path, *overrides: str) -> tuple[int, str, str]:
    with start(folder, *overrides) as process:
        return finish(process)


def until(what: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition; an assertion if it does not come."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def processes() -> dict[int, int]:
    """pid → parent's pid of everything alive, zombies left out."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue  # ended between the listing and the reading
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def children(pid: int) -> list[int]:
    return [child for child, parent in processes().items() if parent == pid]


def workers(sweep_pid: int) -> list[int]:
    """The processes that train: children of the sweep's fork server."""
    return [worker for server in children(sweep_pid) for worker in children(server)]


def family(sweep_pid: int) -> list[int]:
    return [*children(sweep_pid), *workers(sweep_pid)]


def alive(pids: list[int]) -> set[int]:
    return set(pids) & processes().keys()


def table(folder: Path) -> pd.DataFrame:
    frame = store.load(folder / "results" / "lr")
    return frame.drop(columns=[name for name in TIMES if name in frame])


def curves(folder: Path) -> pd.DataFrame:
    return store.curves_frame(store.read(folder / "results" / "lr")).drop(columns="seconds")


def assert_same_results(folder: Path, reference: Path) -> None:
    pd.testing.assert_frame_equal(table(folder), table(reference), check_exact=True)
    pd.testing.assert_frame_equal(curves(folder), curves(reference), check_exact=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space and Korean in its name, holding a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("학습률 sweep")
    code, out, err = sweep(folder)
    assert code == 0, err
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert "results/lr/report.md" in out
    return folder


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep with two runs under way."""
    with start(tmp_path) as process:
        try:
            until(lambda: len(workers(process.pid)) == 2)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_a_sweep_leaves_a_record_a_point_and_a_report(uninterrupted: Path) -> None:
    frame = store.load(uninterrupted / "results" / "lr")
    assert frame["lr"].tolist() == RATES
    assert (frame["status"] == "ok").all()
    assert (frame["epochs"] == 12).all()
    assert (frame["stop_reason"] == "max_epochs").all()
    assert (frame["peak_memory_bytes"] < 1.5e9).all()
    report = uninterrupted / "results" / "lr" / "report.md"
    for image in re.findall(r"\((figures/[^)]+)\)", report.read_text()):
        assert (report.parent / image).stat().st_size > 10_000
        assert (report.parent / image).with_suffix(".svg").exists()
    assert "121,994" in (report.parent / "model.txt").read_text()


def test_runs_csv_has_the_promised_columns(uninterrupted: Path) -> None:
    frame = pd.read_csv(uninterrupted / "results" / "lr" / "runs.csv")
    promised = {"lr", "seed", "loss", "status", "stop_reason", "epochs", "best_epoch", "valid_accuracy", "test_accuracy"}
    assert promised | {"wall_seconds", "engine", "device"} <= set(frame.columns)
    assert frame["lr"].tolist() == RATES


def test_each_job_has_its_hydra_directory(uninterrupted: Path) -> None:
    results = uninterrupted / "results" / "lr"
    for run_id in store.load(results)["run_id"]:
        assert "optimizer.lr=" in (results / "hydra" / run_id / ".hydra" / "overrides.yaml").read_text()


def test_a_second_sweep_does_nothing_again(uninterrupted: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (uninterrupted / "results" / "lr" / "runs").iterdir()}

    before = stamps()
    code, out, _ = sweep(uninterrupted)
    assert code == 0
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert stamps() == before


def test_a_killed_worker_costs_only_a_second_try_that_goes_on(
    running: subprocess.Popen[str], tmp_path: Path, uninterrupted: Path
) -> None:
    runs = tmp_path / "results" / "lr" / "runs"
    until(lambda: len(list(runs.glob("*.checkpoint"))) == 2)
    os.kill(workers(running.pid)[0], signal.SIGKILL)
    code, out, err = finish(running)
    assert code == 0, err
    assert "killed by signal 9; tried once more" in out
    assert "goes on after epoch" in out
    assert {path.suffix for path in runs.iterdir()} == {".json"}
    assert_same_results(tmp_path, uninterrupted)


def test_a_run_killed_twice_is_recorded_as_failed_and_done_by_the_next_sweep(tmp_path: Path) -> None:
    process = start(tmp_path, "grid.stop=-5")
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
    code, out, _ = sweep(tmp_path, "grid.stop=-5")
    assert code == 0
    assert "1 expected: 1 ok" in out


def test_a_killed_parent_leaves_no_process_and_loses_nothing(
    running: subprocess.Popen[str], tmp_path: Path, uninterrupted: Path
) -> None:
    members = family(running.pid)
    assert len(members) >= 3
    os.kill(running.pid, signal.SIGKILL)
    until(lambda: not alive(members))
    code, _, err = sweep(tmp_path)
    assert code == 0, err
    assert_same_results(tmp_path, uninterrupted)


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(running: subprocess.Popen[str], tmp_path: Path, uninterrupted: Path) -> None:
    members = family(running.pid)
    os.killpg(running.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches every process of the group
    code, _, err = finish(running, seconds=60)
    assert code == 130
    assert "Traceback" not in err
    assert "lrsweep study=lr grid.start=-5" in err
    until(lambda: not alive(members))
    code, _, err = sweep(tmp_path)
    assert code == 0, err
    assert_same_results(tmp_path, uninterrupted)


def test_a_damaged_record_is_set_aside_and_its_run_done_again(tmp_path: Path) -> None:
    one = ("grid.stop=-5",)
    assert sweep(tmp_path, *one)[0] == 0
    (record,) = (tmp_path / "results" / "lr" / "runs").glob("*.json")
    before = table(tmp_path)
    record.write_text(record.read_text()[:-100])
    code, out, err = sweep(tmp_path, *one)
    assert code == 0
    assert "Set aside" in err
    assert "1 expected: 1 ok" in out
    assert (record.parent / "damaged" / record.name).exists()
    pd.testing.assert_frame_equal(table(tmp_path), before, check_exact=True)
