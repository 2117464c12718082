"""The progress of a sweep: bars on a terminal, one line per finished run if the output goes to a file."""

import sys
from typing import Any, TextIO

from tqdm import tqdm

from lrsweep.records import EpochRecord, Outcome, RunRecord


def label(lr: float, seed: int) -> str:
    return f"lr {lr:.2e} seed {seed}"


def first_line(error: BaseException) -> str:
    """The error's type and the first line of its text, because some errors fill pages."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


def _label_of(record: RunRecord) -> str:
    return label(record.config["optimizer"]["lr"], record.config["seed"])


def _describe(outcome: Outcome) -> str:
    if outcome.status == "failed":
        return f"failed: {outcome.error}"
    test = "not scored" if outcome.test_accuracy is None else f"{outcome.test_accuracy:.4f}"
    return f"{outcome.status} after {outcome.epochs} epochs, test {test}, {outcome.wall_seconds:.0f} s"


class Progress:
    """A bar for the sweep (finished runs, best run so far, time left) above one line per active run.

    Bars go to stderr if it is a terminal. If stdout or stderr is not a terminal, stdout gets one line per finished run. If both
    are terminals, only failed and diverged runs get a line.
    """

    def __init__(self, num_pending: int, done: list[RunRecord], how: str, num_lines: int = 0) -> None:
        """`done`: records of the finished runs; `how`: describes how the others run; `num_lines`: lines for active runs."""
        has_bars = sys.stderr.isatty()
        self._prints_each = not (has_bars and sys.stdout.isatty())
        self._best: float | None = None
        self._total: tqdm[Any] = tqdm(
            desc="sweep", total=num_pending + len(done), initial=len(done), unit="run", dynamic_ncols=True, disable=not has_bars
        )
        self._free = [tqdm(bar_format="  {desc}", position=i + 1, leave=False, disable=not has_bars) for i in range(num_lines)]
        self._active: dict[str, tuple[str, tqdm[Any]]] = {}
        for record in done:
            self._show_best(record)
        if self._prints_each:
            print(f"sweep: {len(done)} of {len(done) + num_pending} runs are in the store, {how}", flush=True)

    def started(self, key: str, label: str) -> None:
        self._active[key] = label, self._free.pop(0)
        self._show(key, "starting")

    def receive(self, key: str, news: EpochRecord | str) -> None:
        """Show that the run has finished an epoch, or print its message."""
        if isinstance(news, str):
            self.write(f"{self._active[key][0]}: {news}")
        else:
            score = "" if news.valid_accuracy is None else f"  valid {news.valid_accuracy:.4f}"
            self._show(key, f"epoch {news.epoch:3}{score}")

    def retried(self, key: str, reason: str) -> None:
        """The run has ended without a record and will start again."""
        self.write(f"{self._release(key)}: {reason}")

    def ended(self, key: str, record: RunRecord) -> None:
        self._release(key)
        self.recorded(record)

    def recorded(self, record: RunRecord) -> None:
        """Count a finished run that has no progress line."""
        self._total.update()
        self._show_best(record)
        if self._prints_each or record.outcome.valid_accuracy is None:
            self.write(f"{_label_of(record)}: {_describe(record.outcome)}")

    def describe(self, text: str) -> None:
        """Show a text in front of the sweep's bar."""
        self._total.set_description_str(text)

    def write(self, line: str, file: TextIO | None = None) -> None:
        """Print a line above the bars, if there are any; to stdout by default."""
        tqdm.write(line, file=file)
        (file or sys.stdout).flush()

    def close(self) -> None:
        for line in (*self._free, *(line for _, line in self._active.values())):
            line.close()
        self._total.close()

    def _release(self, key: str) -> str:
        label, line = self._active.pop(key)
        line.set_description_str("")
        self._free.insert(0, line)
        return label

    def _show_best(self, record: RunRecord) -> None:
        accuracy = record.outcome.valid_accuracy
        if accuracy is not None and (self._best is None or accuracy > self._best):
            self._best = accuracy
            self._total.set_postfix_str(f"best valid {accuracy:.4f} at {_label_of(record)}")

    def _show(self, key: str, text: str) -> None:
        label, line = self._active[key]
        line.set_description_str(f"{label}  {text}")
