"""The parts of a record that trackers log: its name, its metrics with their times, and a hash of its content."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from lrsweep.records import RunRecord

_EPOCH_FIELDS = ("train_loss", "train_accuracy", "highest_loss", "valid_loss", "valid_accuracy", "seconds")
_OUTCOME_FIELDS = ("valid_accuracy", "test_accuracy", "wall_seconds")
FINAL_METRICS = tuple(f"final/{name}" for name in _OUTCOME_FIELDS)


class EpochMetric(NamedTuple):
    name: str
    epoch: int
    value: float
    time: float  # of the end of the epoch, in seconds since 1970


class Times(NamedTuple):
    """Seconds since 1970, as if the run had trained without a break until it was stored."""

    started: float
    finished: float


def run_name(record: RunRecord) -> str:
    return f"lr={record.config['optimizer']['lr']:.2e}_seed={record.config['seed']}_{record.run_id}"


def times_of(record: RunRecord) -> Times:
    finished = datetime.fromisoformat(record.environment["finished_at"]).timestamp()
    return Times(finished - (record.outcome.wall_seconds or 0.0), finished)


def epoch_metrics(record: RunRecord) -> Iterator[EpochMetric]:
    """The metrics that every epoch has. `epoch/valid_accuracy` belongs to one epoch, `final/valid_accuracy` to the scored one."""
    started = times_of(record).started
    elapsed = accumulate(epoch.seconds for epoch in record.outcome.curve)
    for epoch, seconds in zip(record.outcome.curve, elapsed, strict=True):
        for name in _EPOCH_FIELDS:
            if (value := getattr(epoch, name)) is not None:
                yield EpochMetric(f"epoch/{name}", epoch.epoch, value, started + seconds)


def final_metrics(record: RunRecord) -> dict[str, float]:
    """The measured FINAL_METRICS: none for a failed run."""
    values = (getattr(record.outcome, name) for name in _OUTCOME_FIELDS)
    return {name: value for name, value in zip(FINAL_METRICS, values, strict=True) if value is not None}


def record_hash(record: RunRecord) -> str:
    return hash_of(json.dumps(asdict(record), sort_keys=True).encode())


def files_hash(paths: list[Path]) -> str:
    return hash_of(b"".join(path.name.encode() + path.read_bytes() for path in paths))


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
