"""With this folder on PYTHONPATH, a process of Python waits after each checkpoint that it writes."""

import sys
import time
from typing import Any


def wait_after_a_checkpoint(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.rename" and str(arguments[1]).endswith(".checkpoint"):
        time.sleep(0.8)


sys.addaudithook(wait_after_a_checkpoint)
