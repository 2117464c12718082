"""`lrsweep`, but for what its environment asks: FAULTY=name,… of the faults below, TALLY=file for a byte an epoch begun.

A worker imports this file anew, as multiprocessing does with any main script, so what is replaced here is replaced there too.
No report is drawn: of the faults only one is of it, and kills the sweep in its place.
"""

import itertools
import os
import signal
import sys
import time
from pathlib import Path

import torch

from hydra_plugins.lrsweep_launchers import _core
from lrsweep.cli import main
from lrsweep.training import solo

asked = os.environ.get("FAULTY", "").split(",")
hoard: list[torch.Tensor] = []
train_one_epoch = solo._one_epoch


def one_epoch(progress: solo._Progress, split: solo.Split) -> None:
    if tally := os.environ.get("TALLY"):
        with Path(tally).open("ab") as file:
            file.write(b".")
    if "run" in asked and progress.curve:
        fail_at(progress.learner.run.optimizer.lr)
    if "memory" in asked and progress.learner.run.optimizer.lr == 1e-3:
        hoard.extend(torch.empty(2**28) for _ in range(64))  # 64 GiB: below the test's limit there are not so many
    train_one_epoch(progress, split)


def fail_at(lr: float) -> None:
    if lr == 1e-5:
        raise RuntimeError("it raises")
    if lr == 1e-4:
        sys.exit(0)
    if lr == 1e-3:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # hangs as C code does that hears no signal
        while True:
            signal.pause()


def jumping_time() -> float:
    """Hours ahead, hours back, at every call."""
    return true_time() + next(hours) * 3600


solo._one_epoch = one_epoch
_core.report_command = lambda app_config: ["sh", "-c", "kill -9 $PPID"] if "report" in asked else ["true"]
hours, true_time = itertools.cycle((5, -7, 2, -24)), time.time
if "clock" in asked:
    time.time = jumping_time

if __name__ == "__main__":
    main.main()
