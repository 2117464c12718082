"""Write files completely or not at all."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path


class StoreError(Exception):
    """A stored file is damaged or cannot be written. The message is for the user."""


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
_TRIES = 3  # because another process may remove our temporary file, if it looks like a leftover


def temporary_path(path: Path) -> Path:
    """A new name beside the path. It is random, because containers that share a folder can have the same process ids."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def remove_leftovers(folder: Path, of: str = "") -> None:
    """Remove temporary files that a killed process left in the folder. If `of` is given, only those of files with this prefix."""
    for path in folder.glob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.name.startswith(f".{of}"):
            with suppress(OSError):  # on a read-only disk, they stay
                path.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Write the whole file or nothing. StoreError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(_TRIES)):
            try:
                _write_and_rename(path, content)
                return
            except FileNotFoundError:
                if not tries_left:
                    raise
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror})") from error


def _write_and_rename(path: Path, content: bytes) -> None:
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):  # on a read-only disk this fails as well
            temporary.unlink(missing_ok=True)
