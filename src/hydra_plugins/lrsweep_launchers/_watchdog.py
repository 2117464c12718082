"""Wait for the end of the parent process. If the parent dies, kill the processes that it started for Ray.

    python _watchdog.py PARENT NAME=VALUE

If the parent writes to the pipe at stdin, it has ended in order, and nothing is killed. If the parent dies without writing, the
watchdog kills every process that started with this environment variable, and every descendant that it has seen. Both ways are
needed: Ray's agents may overwrite their environment when they change their title, and a process that starts just before the
parent dies may not have been seen.

When a sweep is killed, most of Ray's processes end by themselves. Its agents do not: they keep trying to reach a server that has
ended.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_POLL_SECONDS = 0.5
_NUM_QUICK_POLLS = 120  # after these, Ray has started, and polls are ten times as far apart
_PASSES = 10  # a process may be starting during the first pass
_PAUSE_SECONDS = 0.1

_Process = tuple[int, str]  # PID and start time, because a PID may be used again


def main() -> None:
    parent, mark = int(sys.argv[1]), os.fsencode(sys.argv[2])
    family: set[_Process] = set()
    polls = 0
    while not select.select([sys.stdin], [], [], _POLL_SECONDS * (1 if polls < _NUM_QUICK_POLLS else 10))[0]:
        if os.getppid() == parent:
            family |= _descendants(parent)
        polls += 1
    if sys.stdin.buffer.read():
        return
    for _ in range(_PASSES):
        left = [pid for pid, start, _ in _processes() if (pid, start) in family or _has(mark, pid)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
        time.sleep(_PAUSE_SECONDS)


def _processes() -> list[tuple[int, str, int]]:
    """PID, start time and parent of every living process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                found.append((int(path.parent.name), fields[19], int(fields[1])))
    return found


def _descendants(parent: int) -> set[_Process]:
    processes = [process for process in _processes() if process[0] != os.getpid()]
    generation, family = {parent}, set[_Process]()
    while generation:
        children = [(pid, start) for pid, start, parent_pid in processes if parent_pid in generation]
        generation = {pid for pid, _ in children}
        family |= set(children)
    return family


def _has(mark: bytes, pid: int) -> bool:
    with suppress(OSError):  # it has ended, or belongs to another user
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


if __name__ == "__main__":
    main()
