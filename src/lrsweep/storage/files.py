"""Write a file completely or not at all."""

import os
from contextlib import suppress
from pathlib import Path


class StoreError(Exception):
    """Records that are not what they should be, or cannot be written. The message is for a person."""


def write_atomically(path: Path, content: bytes) -> None:
    """All of the file or nothing; StoreError where it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:  # a full disk, one that is read-only, …
        raise StoreError(f"{path} cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):  # what kept us from writing may keep us from this
            temporary.unlink(missing_ok=True)
