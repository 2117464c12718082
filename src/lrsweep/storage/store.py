"""Records on disk. The only owner of the record format.

A study's folder holds `runs/<run_id>.json`, one record a file, or the same records packed in `runs.jsonl.gz`; a run under
way has its checkpoint beside its record to come. Each record is
`{"checksum": sha256 of the record's canonical JSON, "record": {...}}`; curves are columns, not rows, to keep it small.
"""

import dataclasses
import gzip
import hashlib
import json
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lrsweep.records import SCHEMA_VERSION, EpochRecord, Outcome, RunRecord
from lrsweep.storage import tables
from lrsweep.storage.files import StoreError, write_atomically

_PACKED = "runs.jsonl.gz"
_EXPECTED = "expected.json"


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
    """Write one record so that a reader finds all of it or nothing, whatever dies in between."""
    path = path_of(folder, record.run_id)
    write_atomically(path, _encode(record).encode() + b"\n")
    return path


def scan(folder: Path) -> Scan:
    """All records of a study, and what looks like one but is not. Changes nothing on disk."""
    records: dict[str, RunRecord] = {}
    damaged: list[Damaged] = []
    for path, text in _texts(folder, damaged):
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


def expect(folder: Path, run_ids: list[str]) -> None:
    """Keep which runs a sweep is to leave, so that a report of a sweep under way knows what is missing."""
    write_atomically(folder / _EXPECTED, (json.dumps(sorted(run_ids)) + "\n").encode())


def read_expected(folder: Path) -> set[str] | None:
    """What the last sweep of this study was to leave; None where no sweep has said so, or its word is damaged."""
    try:
        named = json.loads((folder / _EXPECTED).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return set(named) if isinstance(named, list) and all(isinstance(name, str) for name in named) else None


def set_aside(damaged: Damaged) -> Path:
    """Move a damaged record out of the way, so that its run is done again and the file can still be looked at.

    A packed file is refused: it holds good records as well, and came from elsewhere.
    """
    if damaged.path.name == _PACKED:
        raise StoreError(f"{damaged.path} holds a record that {damaged.reason}; restore the file, or move it away")
    target = damaged.path.parent / "damaged" / damaged.path.name
    target.parent.mkdir(exist_ok=True)
    return damaged.path.replace(target)


def read_run(folder: Path, run_id: str) -> RunRecord | None:
    """One record, or None where there is none to trust. The other runs' files, of which there may be thousands, stay closed."""
    texts = [text for _, text in _own_texts([path_of(folder, run_id)], [])]
    texts += [text for _, text in _packed_texts(folder, []) if run_id in text]
    for text in texts:  # a file of its own first, which is newer
        with suppress(StoreError):
            record = _decode(text)
            if record.run_id == run_id:
                return record
    return None


def pack(folder: Path) -> Path:
    """All records of a study in one small file, in order of learning rate: for results that are kept under version control."""
    found = scan(folder)
    if found.damaged:
        raise StoreError(f"{found.damaged[0].path}: {found.damaged[0].reason}")
    ordered = sorted(found.records.values(), key=tables.order_of)
    content = "".join(_encode(record) + "\n" for record in ordered).encode()
    path = folder / _PACKED
    write_atomically(path, gzip.compress(content, mtime=0))  # no time stamp: the same records give the same bytes
    return path


def load(folder: Path) -> pd.DataFrame:
    """One row a run, sorted by loss, seed and learning rate: what was set, what came of it, and where it ran.

    Settings have their dotted names ("training.patience"), None and lists as text ("null", "[5,10]"); the three that studies
    turn on most are `lr`, `seed`, `loss`.
    """
    return tables.to_frame(read(folder))


def load_curves(folder: Path) -> pd.DataFrame:
    """One row an epoch: run_id, loss, seed, lr, then EpochRecord's fields."""
    return tables.curves_frame(read(folder))


def read(folder: Path) -> list[RunRecord]:
    """All records to trust, sorted as in `load`. What is left out is warned of."""
    found = scan(folder)
    for path, reason in found.damaged:
        warnings.warn(f"left out {path}: {reason}", stacklevel=2)
    return sorted(found.records.values(), key=tables.order_of)


def _texts(folder: Path, damaged: list[Damaged]) -> Iterator[tuple[Path, str]]:
    """Packed records first, so that a file of its own, which is newer, wins."""
    yield from _packed_texts(folder, damaged)
    yield from _own_texts(sorted((folder / "runs").glob("*.json")), damaged)


def _packed_texts(folder: Path, damaged: list[Damaged]) -> Iterator[tuple[Path, str]]:
    packed = folder / _PACKED
    if packed.exists():
        try:
            lines = gzip.decompress(packed.read_bytes()).decode().split("\n")  # and nothing else that Unicode calls a line's end
            if lines.pop() != "" or not lines:
                raise ValueError("it was cut short")
            yield from ((packed, line) for line in lines)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            damaged.append(Damaged(packed, f"cannot be read ({error})"))


def _own_texts(paths: Iterable[Path], damaged: list[Damaged]) -> Iterator[tuple[Path, str]]:
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
    names = [f.name for f in dataclasses.fields(EpochRecord)]
    tree["outcome"]["curve"] = {name: [epoch[name] for epoch in curve] for name in names}
    return _canonical({"checksum": _checksum(tree), "record": tree})


def _decode(text: str) -> RunRecord:
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
        tables.key_of(record), tables.drawn_by_of(record)  # KeyError where they are missing
        return record
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise StoreError("is not a record, or was cut short") from None
