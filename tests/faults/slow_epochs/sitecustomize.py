"""If this folder is on PYTHONPATH, a Python process waits after each checkpoint that it writes.

It waits at least until the file HOLD is deleted, so that no job ends before the last one has started. A Slurm job that was queued
again does not wait: it only has to finish.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any


def wait_after_a_checkpoint(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.rename" and str(arguments[1]).endswith(".checkpoint") and "SLURM_RESTART_COUNT" not in os.environ:
        time.sleep(float(os.environ.get("SECONDS_AFTER_A_CHECKPOINT", "0.8")))
        while Path(arguments[1]).exists() and Path(os.environ["HOLD"]).exists():  # the event comes before the file
            time.sleep(0.1)


sys.addaudithook(wait_after_a_checkpoint)
