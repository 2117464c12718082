"""A single run really killed in the middle, and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lrsweep import store

ROOT = Path(__file__).parents[1]
RUN = [
    *("data.num_train=320", "data.num_valid=200", "data.num_test=200", "training.patience=20", "training.max_epochs=20"),
    *("model.dropout=0.5", "schedule=cosine", "machine.checkpoint_seconds=0", f"machine.data_dir={ROOT / 'data'}"),
]

pytestmark = pytest.mark.slow


def start(folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "lrsweep", *RUN], cwd=folder, env=environment, **streams)


def finish(process: subprocess.Popen[str]) -> str:
    with process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def until(what: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def result(folder: Path) -> dict[str, Any]:
    """The one record's outcome without its times."""
    (record,) = store.read(folder / "results" / "single")
    outcome = asdict(record.outcome)
    assert outcome.pop("wall_seconds") == pytest.approx(sum(epoch.pop("seconds") for epoch in outcome["curve"]))
    del outcome["cpu_seconds"]
    return outcome


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert "goes on" not in finish(start(whole))

    runs = killed / "results" / "single" / "runs"
    with start(killed) as process:
        until(lambda: list(runs.glob("*.checkpoint")))
        process.send_signal(signal.SIGKILL)
    assert list(runs.glob("*.json")) == []

    assert "This run goes on after epoch " in finish(start(killed))
    assert result(killed) == result(whole)
    assert [path.suffix for path in runs.iterdir()] == [".json"]
