"""Checkpoints of runs in progress, so that an interruption costs seconds. Storing a run removes its checkpoint.

The file holds a SHA-256 and then torch.save's output. Only tensors and plain values are loaded back: a file with other
objects could run code, so it is refused.
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

_FORMAT = 4  # raise it whenever the contents of a state change
_DIGEST_BYTES = hashlib.sha256().digest_size


class CheckpointError(Exception):
    """A checkpoint cannot be used. The message says why; the caller puts the file's name before it."""


@dataclass
class Checkpoint:
    """The checkpoint file of one run."""

    path: Path
    made_by: dict[str, Any]  # the run, engine, machine and versions; the run resumes only if all of it is the same
    every_seconds: float | None  # shortest time between two writes; None never writes
    _written_at: float = field(default_factory=monotonic)

    def read(self) -> State | None:
        """None if there is no checkpoint; CheckpointError if it cannot be used."""
        try:
            return decode(self.path.read_bytes(), self.made_by)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror})") from error

    def keep(self, make_state: Callable[[], State]) -> None:
        """Write the state if `every_seconds` have passed since the last write."""
        if self.every_seconds is not None and monotonic() - self._written_at >= self.every_seconds:
            with suppress(StoreError):  # a disk too full for a checkpoint may still have room for the record
                write_atomically(self.path, encode(make_state(), self.made_by))
            self._written_at = monotonic()

    def remove(self) -> None:
        """Remove the checkpoint, and temporary files that a killed process left."""
        for path in (self.path, *self.path.parent.glob(f".{self.path.name}.*")):
            path.unlink(missing_ok=True)


def encode(state: State, made_by: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "made_by": made_by, "state": state}, buffer)
    content = buffer.getvalue()
    return hashlib.sha256(content).digest() + content


def decode(content: bytes, made_by: dict[str, Any]) -> State:
    """The state that was encoded, on the CPU. CheckpointError if the content is damaged or `made_by` differs."""
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise CheckpointError("is not a checkpoint, or was truncated or altered")
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        key, state = (loaded["format"], loaded["made_by"]), loaded["state"]
    except Exception as error:  # PyTorch does not document which errors it raises on other files
        raise CheckpointError("is not a checkpoint of this program") from error
    if key != (_FORMAT, made_by):
        raise CheckpointError("comes from another run, engine, machine, commit or version")
    if not isinstance(state, dict):
        raise CheckpointError("is not a checkpoint of this program")
    return state
