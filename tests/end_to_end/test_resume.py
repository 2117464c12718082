"""A single run that is killed and started again gives the same record as an undisturbed one."""

import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from at_work import DATA, start, until

from lrsweep.storage import store

RUN = [
    *("data.num_train=320", "data.num_valid=200", "data.num_test=200", "training.patience=20", "training.max_epochs=20"),
    *("model.dropout=0.5", "schedule=cosine", "machine.checkpoint_seconds=0", DATA),
]


def result(folder: Path) -> dict[str, Any]:
    """The outcome of the only record, without its times."""
    (record,) = store.read(folder / "single")
    outcome = asdict(record.outcome)
    assert outcome.pop("wall_seconds") == pytest.approx(sum(epoch.pop("seconds") for epoch in outcome["curve"]))
    del outcome["cpu_seconds"]
    return outcome


@pytest.mark.slow
def test_a_killed_run_continues_and_gives_the_same_result(
    lrsweep: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lrsweep(*RUN, "machine.results_dir=undisturbed") == 0
    assert "after epoch" not in capsys.readouterr().out

    runs = tmp_path / "killed" / "single" / "runs"
    with start(tmp_path, *RUN, "machine.results_dir=killed") as process:
        until(lambda: list(runs.glob("*.checkpoint")))
        process.send_signal(signal.SIGKILL)
    assert list(runs.glob("*.json")) == []

    assert lrsweep(*RUN, "machine.results_dir=killed") == 0
    assert "after epoch " in capsys.readouterr().out
    assert result(tmp_path / "killed") == result(tmp_path / "undisturbed")
    assert [path.suffix for path in runs.iterdir()] == [".json"]
