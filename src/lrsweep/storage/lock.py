"""Who is at work in a study's folder: a sweep has it for itself; single runs share it, each run in one process.

The lock is the operating system's, on bytes of one file: it ends with its process, however that ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lrsweep.storage.files import StoreError

_NAME = ".lock"


class InUseError(Exception):
    """Another process is at work there. The message is for a person."""


@contextmanager
def hold(folder: Path, run_id: str | None = None) -> Iterator[None]:
    """Hold one run of a study, or the whole study. InUseError where another process holds any of it."""
    # A run's byte is where its name says; a length of 0 reaches to the end of any file.
    start, length = (int(run_id[:15], 16), 1) if run_id else (0, 0)
    with _open(folder / _NAME) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except BlockingIOError:
            raise InUseError(_explain(folder, file)) from None
        _sign(file, str(os.getpid()) if run_id is None else "")  # of runs that share the folder, none can sign for all
        yield


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be written ({error.strerror})") from error


def _sign(file: IO[str], text: str) -> None:
    try:
        file.truncate(0)
        file.write(text)
        file.flush()
    except OSError as error:
        raise StoreError(f"{file.name} cannot be written ({error.strerror})") from error


def _explain(folder: Path, file: IO[str]) -> str:
    file.seek(0)
    pid = file.read()
    who = f"a sweep (process {pid})" if pid else "a single run"
    return f"{who} is at work in {folder}; wait until it has ended, or choose another study.name"
