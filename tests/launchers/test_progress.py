"""The progress of a sweep: one line per finished run in a file, bars on a terminal."""

import io
import sys
from collections.abc import Callable

import pytest

from hydra_plugins.lrsweep_launchers._progress import Progress, label
from lrsweep.records import EpochRecord, RunRecord

MakeRecord = Callable[..., RunRecord]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def epoch(number: int, valid_accuracy: float | None) -> EpochRecord:
    return EpochRecord(
        epoch=number, train_loss=1.0, train_accuracy=0.5, valid_loss=None, valid_accuracy=valid_accuracy, seconds=1.0
    )


def test_a_file_gets_a_summary_and_a_line_per_run(make_record: MakeRecord, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(2, [make_record(lr=1e-2)], "1 worker", num_lines=1)
    progress.started("a", label(1e-3, 0))
    progress.receive("a", epoch(1, 0.5))
    progress.ended("a", make_record(lr=1e-3))
    progress.started("b", label(1e-4, 0))
    progress.retried("b", "its process was killed by signal 9; trying once more")
    progress.started("b", label(1e-4, 0))
    progress.receive("b", "resumes after epoch 3")
    progress.ended("b", make_record(lr=1e-4, status="failed"))
    progress.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "sweep: 1 of 3 runs are in the store, 1 worker",
        "lr 1.00e-03 seed 0: ok after 3 epochs, test 0.5900, 3 s",
        "lr 1.00e-04 seed 0: its process was killed by signal 9; trying once more",
        "lr 1.00e-04 seed 0: resumes after epoch 3",
        "lr 1.00e-04 seed 0: failed: its process was killed by signal 9, 2 times",
    ]
    assert err == ""


def test_a_terminal_shows_active_runs_finished_runs_and_the_best(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    progress = Progress(1, [make_record(lr=1e-2, valid_accuracy=0.7)], "1 worker", num_lines=1)
    progress.started("a", label(1e-3, 0))
    progress.receive("a", epoch(11, None))
    progress.receive("a", epoch(12, 0.8125))
    progress.ended("a", make_record(lr=1e-3, valid_accuracy=0.9))
    progress.close()
    shown = terminal.getvalue()
    assert "lr 1.00e-03 seed 0  epoch  11" in shown
    assert "lr 1.00e-03 seed 0  epoch  12  valid 0.8125" in shown
    assert "best valid 0.7000 at lr 1.00e-02 seed 0" in shown
    assert "best valid 0.9000 at lr 1.00e-03 seed 0" in shown
    assert "2/2" in shown
    assert "ok after" not in shown
