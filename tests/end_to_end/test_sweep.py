"""A sweep as a user sees it: the command, its exit code, its files, no open port. tests/faults/ tests what can go wrong."""

import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from at_work import DATA, descendants, finish, start

from hydra_plugins.lrsweep_launchers import _core
from lrsweep.storage import store

RATES = [1e-5, 1e-4, 1e-3, 1e-2]
SWEEP = [
    *("study=lr", "grid.start=-5", "grid.stop=-2", "grid.step=1", "hydra.launcher.workers=2", DATA),
    *("data.num_train=320", "data.num_valid=200", "data.num_test=200", "training.patience=12", "training.max_epochs=12"),
]
SUMMARY = "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing\n"
REPORT = "Report: results/lr/report.md and results/lr/report.html\n"
LISTEN = "0A"  # the state of a listening socket in /proc/net/tcp

needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="there is no /proc to read")


def listening_sockets(pids: set[int]) -> set[str]:
    """The TCP sockets on which these processes listen, named as in /proc/<pid>/fd."""
    tables = [path for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == LISTEN} & {link for pid in pids for link in open_files(pid)}


def open_files(pid: int) -> set[str]:
    links = set()
    with suppress(OSError):  # the process may end, or close a file, while we read
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                links.add(str(link.readlink()))
    return links


class Finished(NamedTuple):
    """A finished sweep."""

    results: Path
    pids: set[int]  # all processes that it had
    listening: set[str]  # all sockets on which these processes listened


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The folder's name has a space and Korean letters."""
    folder = tmp_path_factory.mktemp("학습률 sweep")
    pids, listening = set[int](), set[str]()
    with start(folder, *SWEEP) as process:
        while process.poll() is None:
            family = {process.pid, *descendants(process.pid)}
            pids |= family
            listening |= listening_sockets(family)
            time.sleep(0.1)
        code, out, err = finish(process)
    assert code == 0, err
    assert SUMMARY in out
    assert out.endswith(REPORT)
    return Finished(folder / "results", pids, listening)


@pytest.fixture
def repeat(
    lrsweep: Callable[..., int],
    finished: Finished,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """`repeat(…)` runs the same command on a copy of the finished sweep. Writing a report only creates a file `drawn`."""
    shutil.copytree(finished.results, tmp_path / "results")
    monkeypatch.setattr(_core, "report_command", lambda app_config: ["touch", "drawn"])

    def command(*overrides: str) -> str:
        assert lrsweep(*SWEEP, *overrides) == 0
        return capsys.readouterr().out

    return command


@pytest.mark.slow
def test_a_sweep_leaves_a_record_for_each_rate_and_a_report(finished: Finished) -> None:
    frame = store.load(finished.results / "lr")
    assert frame["lr"].tolist() == RATES
    assert (frame["status"] == "ok").all()
    assert (frame["epochs"] == 12).all()
    assert (frame["stop_reason"] == "max_epochs").all()
    assert (frame["peak_memory_bytes"] < 1.5e9).all()
    report = finished.results / "lr" / "report.md"
    images = re.findall(r"\((figures/[^)]+)\)", report.read_text())
    assert images
    for image in images:
        assert (report.parent / image).stat().st_size > 10_000
        assert (report.parent / image).with_suffix(".svg").exists()
    assert "121,994" in (report.parent / "model.txt").read_text()


@pytest.mark.slow
def test_runs_csv_has_the_documented_columns(finished: Finished) -> None:
    frame = pd.read_csv(finished.results / "lr" / "runs.csv")
    documented = {"lr", "seed", "loss", "status", "stop_reason", "epochs", "best_epoch", "valid_accuracy", "test_accuracy"}
    assert documented | {"wall_seconds", "engine", "device"} <= set(frame.columns)
    assert frame["lr"].tolist() == RATES


@pytest.mark.slow
def test_each_run_has_its_hydra_directory(finished: Finished) -> None:
    for run_id in store.load(finished.results / "lr")["run_id"]:
        overrides = finished.results / "lr" / "hydra" / run_id / ".hydra" / "overrides.yaml"
        assert "optimizer.lr=" in overrides.read_text()


@pytest.mark.slow
@needs_proc
def test_a_sweep_listens_on_no_port(finished: Finished) -> None:
    assert len(finished.pids) >= 4  # the sweep, its fork server and two workers
    assert not finished.listening


@needs_proc
@pytest.mark.parametrize(("kind", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listening_socket_would_be_seen(kind: socket.AddressFamily, address: str) -> None:
    with socket.socket(kind) as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        before = len(listening_sockets({os.getpid()}))
        listener.listen()
        assert len(listening_sockets({os.getpid()})) == before + 1


@pytest.mark.slow
def test_a_second_sweep_changes_nothing(repeat: Callable[..., str]) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in Path("results/lr/runs").iterdir()}

    before = times()
    assert repeat().endswith(SUMMARY + REPORT)
    assert times() == before
    assert not Path("drawn").exists()


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["report.md", "report.html"])
def test_a_second_sweep_draws_an_incomplete_report_again(repeat: Callable[..., str], missing: str) -> None:
    Path("results/lr", missing).unlink()
    assert repeat().endswith(SUMMARY)
    assert Path("drawn").exists()


@pytest.mark.slow
def test_hydra_writes_the_missing_folders_of_finished_runs(repeat: Callable[..., str]) -> None:
    kept, removed, *_ = sorted(Path("results/lr/hydra").iterdir())
    shutil.rmtree(removed)
    repeat("+hydra.callbacks.jobs._target_=hydra.experimental.callbacks.PickleJobInfoCallback")
    assert "optimizer.lr=" in (removed / ".hydra" / "overrides.yaml").read_text()
    assert (removed / ".hydra" / "job_return.pickle").exists()
    assert not (kept / ".hydra" / "job_return.pickle").exists()
