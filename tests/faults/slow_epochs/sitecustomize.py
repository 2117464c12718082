"""If this folder is on PYTHONPATH, a Python process that has written a checkpoint waits until the file HOLD is deleted.

So a run cannot end before a test stops it. A Slurm job that was queued again does not wait: it only has to finish.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any


def wait_after_a_checkpoint(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.rename" and str(arguments[1]).endswith(".checkpoint") and "SLURM_RESTART_COUNT" not in os.environ:
        while Path(arguments[1]).exists() and Path(os.environ["HOLD"]).exists():  # the event comes before the file
            time.sleep(0.1)


sys.addaudithook(wait_after_a_checkpoint)
