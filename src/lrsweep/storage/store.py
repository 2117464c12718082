"""Records on disk. No other module reads or writes the record format.

A study's folder holds one record per file, `runs/<run_id>.json`, or the same records packed in `runs.jsonl.gz`. The
checkpoint of a run in progress lies in `runs/` as well.

A record is `{"checksum": sha256 of the record's canonical JSON, "record": {...}}`. Its curve is stored as columns, which
takes less space than rows.
"""

import dataclasses
import gzip
import hashlib
import json
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lrsweep.records import SCHEMA_VERSION, EpochRecord, Outcome, RunRecord
from lrsweep.storage import record_types, tables
from lrsweep.storage.files import StoreError, write_atomically

_PACKED = "runs.jsonl.gz"
_EXPECTED = "expected.json"
# The oldest records lack these fields. A field that is None is not written, so that old records give the same bytes again.
_LATER_FIELDS = ("best_test_accuracy", "last_test_accuracy", "balanced_test_accuracy", "highest_loss")


class Damaged(NamedTuple):
    """A record that cannot be trusted."""

    path: Path
    reason: str


class Scan(NamedTuple):
    records: dict[str, RunRecord]  # by run_id
    damaged: list[Damaged]


def path_of(folder: Path, run_id: str) -> Path:
    return folder / "runs" / f"{run_id}.json"


def checkpoint_path(folder: Path, run_id: str) -> Path:
    return folder / "runs" / f"{run_id}.checkpoint"


def save(folder: Path, record: RunRecord) -> Path:
    """Write one record, completely or not at all."""
    path = path_of(folder, record.run_id)
    write_atomically(path, _encode(record).encode() + b"\n")
    return path


def scan(folder: Path) -> Scan:
    """All records of a study, valid and damaged. Changes nothing on disk."""
    records: dict[str, RunRecord] = {}
    damaged: list[Damaged] = []
    own_files = sorted((folder / "runs").glob("*.json"))
    # Packed records first: a run's own file is newer and replaces them.
    for path, text in chain(_packed_texts(folder, damaged), _file_texts(own_files, damaged)):
        try:
            record = _decode(text)
        except StoreError as error:
            damaged.append(Damaged(path, str(error)))
            continue
        if path.suffix == ".json" and path.stem != record.run_id:
            damaged.append(Damaged(path, f"holds the record of another run, {record.run_id}"))
        else:
            records[record.run_id] = record
    return Scan(records, damaged)


def expect(folder: Path, run_ids: list[str], delta: float | None = None) -> None:
    """Store what reports need to know of a sweep: which runs it plans, and its study.delta.

    A file that would not change is not written, because `newest_input` tells from its age whether a report is out of date.
    """
    planned = sorted(run_ids) if delta is None else {"run_ids": sorted(run_ids), "delta": delta}
    if _read_plan(folder) != planned:
        write_atomically(folder / _EXPECTED, (json.dumps(planned) + "\n").encode())


def read_expected(folder: Path) -> set[str] | None:
    """The run_ids that this study's last sweep planned; None if no sweep has stored them, or the file is damaged."""
    plan = _read_plan(folder)
    run_ids = plan.get("run_ids") if isinstance(plan, dict) else plan
    return set(run_ids) if isinstance(run_ids, list) and all(isinstance(run_id, str) for run_id in run_ids) else None


def read_delta(folder: Path) -> float | None:
    """The study.delta of this study's last sweep; None if it had none, so that the default holds."""
    plan = _read_plan(folder)
    delta = plan.get("delta") if isinstance(plan, dict) else None
    return delta if isinstance(delta, float) and 0 < delta < 1 else None


def _read_plan(folder: Path) -> Any:
    try:
        return json.loads((folder / _EXPECTED).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def newest_input(folder: Path) -> int:
    """When the newest file that a report is made from was written, in ns: also in subfolders, which a report may quote."""
    names = ("runs/*.json", _PACKED, _EXPECTED, "finder.json")
    found = (path for name in names for place in (name, f"*/{name}") for path in folder.glob(place))
    return max((path.stat().st_mtime_ns for path in found), default=0)


def set_aside(damaged: Damaged) -> Path:
    """Move a damaged record to `damaged/`, so that its run is repeated and the file is kept.

    StoreError for a packed file, because it also holds valid records.
    """
    if damaged.path.name == _PACKED:
        raise StoreError(f"{damaged.path} holds a record that {damaged.reason}; restore the file, or move it away")
    target = damaged.path.parent / "damaged" / damaged.path.name
    target.parent.mkdir(exist_ok=True)
    return damaged.path.replace(target)


def read_run(folder: Path, run_id: str) -> RunRecord | None:
    """One record; None if there is no valid one. Does not open the files of other runs, which can be thousands."""
    texts = [text for _, text in _file_texts([path_of(folder, run_id)], [])]  # first, because it is newer than a packed one
    texts += [text for _, text in _packed_texts(folder, []) if run_id in text]
    for text in texts:
        with suppress(StoreError):
            record = _decode(text)
            if record.run_id == run_id:
                return record
    return None


def pack(folder: Path) -> Path:
    """Write all records of a study to one small file, in the order of `load`, for version control."""
    records, damaged = scan(folder)
    if damaged:
        raise StoreError(f"{damaged[0].path}: {damaged[0].reason}")
    content = "".join(_encode(record) + "\n" for record in sorted(records.values(), key=tables.sort_key)).encode()
    path = folder / _PACKED
    write_atomically(path, gzip.compress(content, mtime=0))  # no time stamp, so the same records give the same bytes
    return path


def load(folder: Path) -> pd.DataFrame:
    """One row per run, sorted by loss, seed and learning rate: its settings, its outcome and its environment.

    The columns of settings have dotted names ("training.patience"), except `lr`, `seed` and `loss`. None and lists are
    text ("null", "[5,10]").
    """
    return tables.to_frame(read(folder))


def load_curves(folder: Path) -> pd.DataFrame:
    """One row per epoch: run_id, loss, seed, lr, then the fields of EpochRecord."""
    return tables.curves_frame(read(folder))


def read(folder: Path) -> list[RunRecord]:
    """All valid records, in the order of `load`. Warns about each damaged one."""
    records, damaged = scan(folder)
    for path, reason in damaged:
        warnings.warn(f"left out {path}: {reason}", stacklevel=2)
    return sorted(records.values(), key=tables.sort_key)


def _packed_texts(folder: Path, damaged: list[Damaged]) -> Iterator[tuple[Path, str]]:
    packed = folder / _PACKED
    if packed.exists():
        try:
            lines = gzip.decompress(packed.read_bytes()).decode().split("\n")  # splitlines() also splits at U+2028 and others
            if lines.pop() != "" or not lines:
                raise ValueError("it is truncated")
            yield from ((packed, line) for line in lines)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            damaged.append(Damaged(packed, f"cannot be read ({error})"))


def _file_texts(paths: Iterable[Path], damaged: list[Damaged]) -> Iterator[tuple[Path, str]]:
    for path in paths:
        try:
            yield path, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            damaged.append(Damaged(path, f"cannot be read ({error})"))


def _canonical(tree: dict[str, Any]) -> str:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _checksum(tree: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(tree).encode()).hexdigest()


def _encode(record: RunRecord) -> str:
    tree = dataclasses.asdict(record)
    curve = tree["outcome"]["curve"]
    columns = {f.name: [epoch[f.name] for epoch in curve] for f in dataclasses.fields(EpochRecord)}
    tree["outcome"]["curve"] = {name: values for name, values in columns.items() if _is_stored(name, values)}
    tree["outcome"] = {name: value for name, value in tree["outcome"].items() if _is_stored(name, [value])}
    return _canonical({"checksum": _checksum(tree), "record": tree})


def _is_stored(name: str, values: list[Any]) -> bool:
    return name not in _LATER_FIELDS or any(value is not None for value in values)


def _decode(text: str) -> RunRecord:
    """StoreError, with a reason that follows the file's name, if this is not a valid record."""
    try:
        outer = json.loads(text)
        tree, checksum = outer["record"], outer["checksum"]
        version = tree["schema_version"]
        if _checksum(tree) != checksum:
            raise StoreError("was altered: its checksum differs")
        if version != SCHEMA_VERSION:
            raise StoreError(f"has schema version {version}; this program reads {SCHEMA_VERSION}")
        columns = tree["outcome"]["curve"]
        curve = tuple(EpochRecord(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))
        record = RunRecord(**tree | {"outcome": Outcome(**tree["outcome"] | {"curve": curve})})
        record_types.check(record)
        tables.run_key(record), tables.split_key(record)  # KeyError if settings that tables need are missing
        return record
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise StoreError("is not a valid record, or is truncated") from None
