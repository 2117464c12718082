"""What a person sees of a sweep: bars on a terminal, one line a finished run where the output is a file."""

import sys
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm


@dataclass(frozen=True)
class Update:
    """An epoch of a run that is under way."""

    run_id: str
    epoch: int
    valid_accuracy: float


class Progress:
    """A bar for the sweep (done, best so far, time left) above a line for each active run."""

    def __init__(self, num_expected: int, num_done: int, num_workers: int) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._best: tuple[float, str] | None = None
        self._total: tqdm[Any] = tqdm(
            desc="sweep", total=num_expected, initial=num_done, unit="run", dynamic_ncols=True, disable=not self._is_terminal
        )
        self._free = [
            tqdm(bar_format="  {desc}", position=i + 1, leave=False, disable=not self._is_terminal) for i in range(num_workers)
        ]
        self._lines: dict[str, tuple[str, tqdm[Any]]] = {}
        if not self._is_terminal:
            print(f"sweep: {num_done} of {num_expected} runs are in the store, {num_workers} workers", flush=True)

    def started(self, run_id: str, label: str) -> None:
        self._lines[run_id] = label, self._free.pop(0)
        self._show(run_id, "starting")

    def epoch(self, update: Update) -> None:
        if update.run_id in self._lines:  # else: the last word of a run that has ended
            self._show(update.run_id, f"epoch {update.epoch:3}  valid {update.valid_accuracy:.4f}")

    def ended(self, run_id: str, told: str, valid_accuracy: float | None, *, counts: bool = True) -> None:
        label, line = self._lines.pop(run_id)
        line.set_description_str("")
        self._free.insert(0, line)
        if valid_accuracy is not None and (self._best is None or valid_accuracy > self._best[0]):
            self._best = valid_accuracy, label
        if counts:
            self._total.update()
        if self._best is not None:
            self._total.set_postfix_str(f"best valid {self._best[0]:.4f} at {self._best[1]}")
        if not self._is_terminal:
            print(f"{label}: {told}", flush=True)

    def close(self) -> None:
        for line in (*self._free, *(line for _, line in self._lines.values())):
            line.close()
        self._total.close()

    def _show(self, run_id: str, what: str) -> None:
        label, line = self._lines[run_id]
        line.set_description_str(f"{label}  {what}")
