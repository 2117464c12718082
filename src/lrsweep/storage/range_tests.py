"""The learning-rate range tests of a study, on disk in `finder.json`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from lrsweep.records import SCHEMA_VERSION, RangeTest, RangeTests
from lrsweep.storage.files import StoreError, write_atomically

_RANGE_TESTS = "finder.json"


def save_range_tests(folder: Path, found: RangeTests) -> Path:
    path = folder / _RANGE_TESTS
    write_atomically(path, (json.dumps(dataclasses.asdict(found), allow_nan=False) + "\n").encode())
    return path


def has_range_tests(folder: Path) -> bool:
    return (folder / _RANGE_TESTS).exists()


def read_range_tests(folder: Path) -> RangeTests:
    """StoreError where there are none, or none to trust."""
    path = folder / _RANGE_TESTS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema_version"] != SCHEMA_VERSION:
            raise StoreError(f"{path} has format {found['schema_version']!r}, not {SCHEMA_VERSION}")
        found["tests"] = tuple(_range_test(test) for test in found["tests"])
        return RangeTests(**found)
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({type(error).__name__}: {error}); make it with lrsweep-find") from None


def _range_test(columns: dict[str, Any]) -> RangeTest:
    curves = {name: tuple(map(float, columns[name])) for name in ("rates", "losses", "smoothed")}
    return RangeTest(**columns | curves)
