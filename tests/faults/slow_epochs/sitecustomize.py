"""If this folder is on PYTHONPATH, a Python process waits after each checkpoint that it writes.

At first it also waits for the checkpoints of the other jobs, so that no job ends before the last one has started. A Slurm job
that was queued again does not wait: it only has to finish.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

_wait_for_others_until = time.monotonic() + 100


def wait_after_a_checkpoint(event: str, arguments: tuple[Any, ...]) -> None:
    global _wait_for_others_until
    if event == "os.rename" and str(arguments[1]).endswith(".checkpoint") and "SLURM_RESTART_COUNT" not in os.environ:
        time.sleep(float(os.environ.get("SECONDS_AFTER_A_CHECKPOINT", "0.8")))
        path = Path(arguments[1])
        if not path.exists():  # the first one is there after this event
            return
        while len(list(path.parent.glob("*.checkpoint"))) < int(os.environ.get("NUM_JOBS", "1")):
            if time.monotonic() > _wait_for_others_until:
                break
            time.sleep(0.1)
        _wait_for_others_until = 0


sys.addaudithook(wait_after_a_checkpoint)
