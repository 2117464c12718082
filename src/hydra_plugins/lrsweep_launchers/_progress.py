"""What a person sees of a sweep: bars on a terminal, one line a finished run where the output is a file."""

import sys
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from lrsweep.records import Outcome, RunRecord


@dataclass(frozen=True)
class Update:
    """An epoch of a run that is under way."""

    run_id: str
    epoch: int
    valid_accuracy: float


@dataclass(frozen=True)
class Note:
    """A line about a run that is under way."""

    run_id: str
    text: str


def label(lr: float, seed: int) -> str:
    return f"lr {lr:.2e} seed {seed}"


def label_of(record: RunRecord) -> str:
    return label(record.config["optimizer"]["lr"], record.config["seed"])


def in_a_line(error: BaseException) -> str:
    """Its kind, and the first line of what it says: some launchers' errors go on for pages."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


def _what_came_of(outcome: Outcome) -> str:
    if outcome.status == "failed":
        return f"failed: {outcome.error}"
    test = "not scored" if outcome.test_accuracy is None else f"{outcome.test_accuracy:.4f}"
    return f"{outcome.status} after {outcome.epochs} epochs, test {test}, {outcome.wall_seconds:.0f} s"


class Progress:
    """A bar for the sweep (done, best so far, time left) above a line for each active run.

    Bars go to stderr if that is a terminal. A line a finished run goes to stdout if that, or stderr, is a file; on a terminal
    only what went wrong is worth a line.
    """

    def __init__(self, num_pending: int, done: list[RunRecord], how: str, num_lines: int = 0) -> None:
        """`done`: the sweep's runs that are in the store already. `how` the others are run, in words, and the lines for them."""
        has_bars = sys.stderr.isatty()
        self._has_lines = not (has_bars and sys.stdout.isatty())
        self._best: tuple[float, str] | None = None
        self._total: tqdm[Any] = tqdm(
            desc="sweep", total=num_pending + len(done), initial=len(done), unit="run", dynamic_ncols=True, disable=not has_bars
        )
        self._free = [tqdm(bar_format="  {desc}", position=i + 1, leave=False, disable=not has_bars) for i in range(num_lines)]
        self._lines: dict[str, tuple[str, tqdm[Any]]] = {}
        for record in done:
            self._see(label_of(record), record.outcome.valid_accuracy)
        if self._has_lines:
            print(f"sweep: {len(done)} of {len(done) + num_pending} runs are in the store, {how}", flush=True)

    def started(self, run_id: str, label: str) -> None:
        self._lines[run_id] = label, self._free.pop(0)
        self._show(run_id, "starting")

    def hear(self, word: Update | Note) -> None:
        if word.run_id not in self._lines:
            return  # the last word of a run that has ended
        if isinstance(word, Note):
            self._tell(f"{self._lines[word.run_id][0]}: {word.text}")
        else:
            self._show(word.run_id, f"epoch {word.epoch:3}  valid {word.valid_accuracy:.4f}")

    def again(self, run_id: str, why: str) -> None:
        """The run has ended without a result and will start once more."""
        self._tell(f"{self._leave(run_id)}: {why}")

    def ended(self, run_id: str, record: RunRecord) -> None:
        self._leave(run_id)
        self.recorded(record)

    def recorded(self, record: RunRecord) -> None:
        """A run that had no line has ended."""
        label, outcome = label_of(record), record.outcome
        self._total.update()
        self._see(label, outcome.valid_accuracy)
        if self._has_lines or outcome.valid_accuracy is None:
            self._tell(f"{label}: {_what_came_of(outcome)}")

    def beat(self, what: str) -> None:
        """What goes on, where the runs have no lines."""
        self._total.set_description_str(what)

    def say(self, line: str) -> None:
        self._tell(line)

    def close(self) -> None:
        for line in (*self._free, *(line for _, line in self._lines.values())):
            line.close()
        self._total.close()

    def _leave(self, run_id: str) -> str:
        label, line = self._lines.pop(run_id)
        line.set_description_str("")
        self._free.insert(0, line)
        return label

    def _see(self, label: str, valid_accuracy: float | None) -> None:
        if valid_accuracy is not None and (self._best is None or valid_accuracy > self._best[0]):
            self._best = valid_accuracy, label
            self._total.set_postfix_str(f"best valid {valid_accuracy:.4f} at {label}")

    def _tell(self, line: str) -> None:
        tqdm.write(line)  # above the bars, if there are any
        sys.stdout.flush()

    def _show(self, run_id: str, what: str) -> None:
        label, line = self._lines[run_id]
        line.set_description_str(f"{label}  {what}")
