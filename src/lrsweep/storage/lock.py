"""Locks on a study's folder. A sweep locks the whole study; a single run locks only itself.

The operating system locks bytes of one file, so a lock ends with its process, even if that is killed.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrsweep.storage.files import StoreError


class InUseError(Exception):
    """Another process is using the study. The message is for the user."""


@contextmanager
def hold(folder: Path, run_id: str | None = None) -> Iterator[None]:
    """Lock one run of a study, or the whole study. InUseError if another process holds an overlapping lock."""
    path = folder / ".lock"
    # Each run has its own byte, computed from its id. Length 0 locks all bytes from `start` on.
    start, length = (int(run_id[:15], 16), 1) if run_id else (0, 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror})") from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
            file.truncate(0)
            file.write("" if run_id else str(os.getpid()))  # single runs share the file, so they do not record their PID
            file.flush()
        except BlockingIOError:
            file.seek(0)
            pid = file.read()
            holder = f"a sweep (process {pid})" if pid else "a single run"
            raise InUseError(f"{holder} is at work in {folder}; wait until it ends, or choose another study.name") from None
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror})") from error
        yield
