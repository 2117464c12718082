"""A process that outlives its parent for a moment, to kill the processes that the parent started for Ray.

    python _watchdog.py NAME=VALUE

Waits until the parent closes the pipe to stdin, or dies. Then kills every process that started with this environment variable.
If the sweep is killed, Ray's own processes die with it, except its agents: they try to report to a server that is gone.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PASSES = 10  # a process may be starting during the first pass
_PAUSE_SECONDS = 0.1


def marked(mark: bytes) -> list[int]:
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if mark in path.read_bytes().split(b"\0"):
                pids.append(int(path.parent.name))
    return pids


def main() -> None:
    sys.stdin.buffer.read()
    for _ in range(_PASSES):
        pids = marked(os.fsencode(sys.argv[1]))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
