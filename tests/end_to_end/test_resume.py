"""A single run really killed in the middle, and started again."""

import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from at_work import DATA, lrsweep, start, until

from lrsweep.storage import store

RUN = [
    *("data.num_train=320", "data.num_valid=200", "data.num_test=200", "training.patience=20", "training.max_epochs=20"),
    *("model.dropout=0.5", "schedule=cosine", "machine.checkpoint_seconds=0", DATA),
]

pytestmark = pytest.mark.slow


def finished(folder: Path) -> str:
    code, out, err = lrsweep(folder, *RUN)
    assert code == 0, err
    return out


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
    assert "resumes" not in finished(whole)

    runs = killed / "results" / "single" / "runs"
    with start(killed, *RUN) as process:
        until(lambda: list(runs.glob("*.checkpoint")))
        process.send_signal(signal.SIGKILL)
    assert list(runs.glob("*.json")) == []

    assert "This run resumes after epoch " in finished(killed)
    assert result(killed) == result(whole)
    assert [path.suffix for path in runs.iterdir()] == [".json"]
