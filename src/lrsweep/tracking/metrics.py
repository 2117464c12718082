"""What every tracker shows of a record, and the stamp of its content."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from lrsweep.records import RunRecord

_CURVES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")
_FINAL = ("valid_accuracy", "test_accuracy", "wall_seconds")


class Point(NamedTuple):
    name: str
    epoch: int
    value: float
    time: float  # when the epoch ended; seconds since 1970


class Times(NamedTuple):
    """Seconds since 1970, as if the run had trained without a break until it was recorded."""

    started: float
    finished: float


def times_of(record: RunRecord) -> Times:
    finished = datetime.fromisoformat(record.environment["finished_at"]).timestamp()
    return Times(finished - (record.outcome.wall_seconds or 0.0), finished)


def points(record: RunRecord) -> Iterator[Point]:
    """Every value of every epoch. `epoch/valid_accuracy` is one epoch's, `final/valid_accuracy` the best one's."""
    started = times_of(record).started
    elapsed = accumulate(epoch.seconds for epoch in record.outcome.curve)
    for epoch, seconds in zip(record.outcome.curve, elapsed, strict=True):
        for name in _CURVES:
            yield Point(f"epoch/{name}", epoch.epoch, getattr(epoch, name), started + seconds)


def final_names() -> dict[str, str]:
    return {f"final/{name}": name for name in _FINAL}


def final_values(record: RunRecord) -> dict[str, float]:
    """What was measured: nothing of a failed run."""
    found = {name: getattr(record.outcome, of) for name, of in final_names().items()}
    return {name: value for name, value in found.items() if value is not None}


def title_of(record: RunRecord) -> str:
    return f"lr={record.config['optimizer']['lr']:.2e}_seed={record.config['seed']}_{record.run_id}"


def stamp_of(record: RunRecord) -> str:
    return _stamp(json.dumps(asdict(record), sort_keys=True).encode())


def stamp_of_files(paths: list[Path]) -> str:
    return _stamp(b"".join(path.name.encode() + path.read_bytes() for path in paths))


def _stamp(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
