"""`lrsweep` with faults. FAULTY=name,… selects them. If TALLY=file is set, every solo epoch first appends a byte to the file.
If HANGING=file is set, a run writes the PID of its process to the file and hangs.

Worker processes import this file again, as multiprocessing does with any main script, so they have the same faults.
It draws no report: the fault `report` kills the sweep at that point instead.
"""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hydra_plugins.lrsweep_launchers import _core, _pool
from lrsweep.cli import main
from lrsweep.fused import scheduler
from lrsweep.records import Outcome
from lrsweep.training import solo

faults = os.environ.get("FAULTY", "").split(",")
train_one_epoch, train_fused = solo._one_epoch, scheduler.train


def one_epoch(progress: solo._Progress, split: solo.Split) -> None:
    if tally := os.environ.get("TALLY"):
        with Path(tally).open("ab") as file:
            file.write(b".")
    if hanging := os.environ.get("HANGING"):
        Path(hanging).write_text(str(os.getpid()))
        signal.pause()
    if "run" in faults and progress.course.curve:
        fail_at(progress.learner.run.optimizer.lr)
    train_one_epoch(progress, split)


def fail_at(lr: float) -> None:
    if lr == 1e-6:
        raise RuntimeError("a fault")
    if lr == 1e-5:
        sys.exit(0)
    if lr == 1e-4:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # hanging C code ignores signals like this
        while True:
            signal.pause()
    if lr == 1e-3:
        _ = [torch.empty(2**28) for _ in range(64)]  # 64 GiB, more than the test allows the process


def train_program(*arguments: Any, on_outcome: Callable[[int, Outcome], None], **options: Any) -> None:
    """The fused program fails after two runs."""
    num_ended = itertools.count()

    def fail_at_third(i: int, outcome: Outcome) -> None:
        if next(num_ended) == 2:
            raise RuntimeError("CUDA error: a fault\nCUDA kernel errors might be asynchronously reported at some other API call")
        on_outcome(i, outcome)

    train_fused(*arguments, on_outcome=fail_at_third, **options)


def killed_before_rename(temporary: Path, path: Path) -> Path:
    if path.parent.name == "runs":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(temporary, path)


def jumping_time() -> float:
    """The time, but hours ahead or behind, differently at every call."""
    return true_time() + next(hours) * 3600


solo._one_epoch = one_epoch
_core.report_command = lambda app_config: ["sh", "-c", "kill -9 $PPID"] if "report" in faults else ["true"]
rename = Path.replace
if "rename" in faults:
    Path.replace = killed_before_rename
hours, true_time = itertools.cycle((5, -7, 2, -24)), time.time
if "program" in faults:
    scheduler.train = train_program
if "as on a GPU" in faults:
    _pool._trains_many = lambda machine: True
if "clock" in faults:
    time.time = jumping_time

if __name__ == "__main__":
    main.main()
