"""A run under way on disk, so that what interrupts it costs seconds. Beside its record to come, and removed once that is there.

The file is the SHA-256 of what follows in it, then what torch.save writes of tensors and plain values. Nothing else is read
back: a file of other objects, which could be code, is of no use.
"""

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from lrsweep.records import State
from lrsweep.storage.files import StoreError, write_atomically

_FORMAT = 3  # raise it with any change of what a state holds
_DIGEST_BYTES = hashlib.sha256().digest_size


class CheckpointError(Exception):
    """A checkpoint that is of no use. The message, after the file's name, says why."""


@dataclass
class Checkpoint:
    """The checkpoint of one run."""

    path: Path
    made_by: dict[str, Any]  # what must be the same for the run to go on from it: the run itself, the machine, the versions
    every_seconds: float | None  # at least; None: it is never written
    _written_at: float = field(default_factory=monotonic)

    def read(self) -> State | None:
        """None where there is none; CheckpointError where it is of no use."""
        try:
            return decode(self.path.read_bytes(), self.made_by)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror})") from error

    def keep(self, make_state: Callable[[], State]) -> None:
        """Write the state if it is time to: all of the file or nothing, whatever dies in between."""
        if self.every_seconds is not None and monotonic() - self._written_at >= self.every_seconds:
            with suppress(StoreError):  # a disk without room for a checkpoint may have room for the record
                write_atomically(self.path, encode(make_state(), self.made_by))
            self._written_at = monotonic()

    def remove(self) -> None:
        """With what writing that was killed has left of it."""
        for path in (self.path, *self.path.parent.glob(f".{self.path.name}.*")):
            path.unlink(missing_ok=True)


def encode(state: State, made_by: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "made_by": made_by, "state": state}, buffer)
    content = buffer.getvalue()
    return hashlib.sha256(content).digest() + content


def decode(content: bytes, made_by: dict[str, Any]) -> State:
    """The state, on the CPU. CheckpointError where `content` is not what `encode` gave of the same `made_by`."""
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise CheckpointError("is no checkpoint, or was cut short or altered")
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        key, state = (found["format"], found["made_by"]), found["state"]
    except Exception as error:  # of many kinds, as PyTorch meets what is no file of tensors
        raise CheckpointError("is no checkpoint of this program") from error
    if key != (_FORMAT, made_by):
        raise CheckpointError("is of another run, machine, commit or version")
    assert isinstance(state, dict)
    return state
