"""What is printed of a sweep: a line a finished run in a file, bars on a terminal."""

import io
import sys
from collections.abc import Callable

import pytest

from hydra_plugins.lrsweep_launchers._progress import Note, Progress, Update, label
from lrsweep.records import RunRecord

MakeRecord = Callable[..., RunRecord]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Both streams, as in a terminal window. Not a fixture: pytest sets the streams anew when the test itself begins."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys, "stdout", shown)
    return shown


def test_in_a_file_there_is_a_line_at_the_start_and_one_a_finished_run(
    make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(2, [make_record(lr=1e-2)], "1 worker", num_lines=1)
    progress.started("a", label(1e-3, 0))
    progress.hear(Update("a", 1, 0.5))
    progress.ended("a", make_record(lr=1e-3))
    progress.started("b", label(1e-4, 0))
    progress.again("b", "its process was killed by signal 9; tried once more")
    progress.started("b", label(1e-4, 0))
    progress.hear(Note("b", "goes on after epoch 3"))
    progress.ended("b", make_record(lr=1e-4, status="failed"))
    progress.hear(Note("b", "the last word of a run that has ended"))
    progress.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "sweep: 1 of 3 runs are in the store, 1 worker",
        "lr 1.00e-03 seed 0: ok after 3 epochs, test 0.5900, 3 s",
        "lr 1.00e-04 seed 0: its process was killed by signal 9; tried once more",
        "lr 1.00e-04 seed 0: goes on after epoch 3",
        "lr 1.00e-04 seed 0: failed: its process was killed by signal 9, 2 times",
    ]
    assert err == ""


def test_on_a_terminal_bars_say_what_runs_what_is_done_and_the_best(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_a_terminal(monkeypatch)
    progress = Progress(1, [make_record(lr=1e-2, valid_accuracy=0.7)], "1 worker", num_lines=1)
    progress.started("a", label(1e-3, 0))
    progress.hear(Update("a", 12, 0.8125))
    progress.ended("a", make_record(lr=1e-3, valid_accuracy=0.9))
    progress.close()
    shown = terminal.getvalue()
    assert "lr 1.00e-03 seed 0  epoch  12  valid 0.8125" in shown
    assert "best valid 0.7000 at lr 1.00e-02 seed 0" in shown
    assert "best valid 0.9000 at lr 1.00e-03 seed 0" in shown
    assert "2/2" in shown
    assert "ok after" not in shown


def test_the_last_word_of_a_run_that_has_ended_is_not_shown(make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    progress = Progress(1, [], "1 worker", num_lines=1)
    progress.started("a", label(1e-3, 0))
    progress.ended("a", make_record(lr=1e-3))
    progress.hear(Update("a", 99, 0.123))
    progress.close()
    assert "0.1230" not in terminal.getvalue()
