"""Write files completely or not at all."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


class StoreError(Exception):
    """A stored file is damaged or cannot be written. The message is for the user."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write the whole file or nothing. StoreError if it cannot be written."""
    # A random name, because containers that share a folder can have the same process ids.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):  # on a read-only disk this fails as well
            temporary.unlink(missing_ok=True)
