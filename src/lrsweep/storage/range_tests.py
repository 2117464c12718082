"""Store a study's learning-rate range tests in `finder.json`."""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

from lrsweep.records import SCHEMA_VERSION, RangeTest, RangeTests
from lrsweep.storage.files import StoreError, write_atomically

_FILE_NAME = "finder.json"


def save_range_tests(folder: Path, range_tests: RangeTests) -> Path:
    path = folder / _FILE_NAME
    write_atomically(path, (json.dumps(dataclasses.asdict(range_tests), allow_nan=False) + "\n").encode())
    return path


def has_range_tests(folder: Path) -> bool:
    return (folder / _FILE_NAME).exists()


def read_range_tests(folder: Path) -> RangeTests:
    """StoreError if the file is missing or damaged."""
    path = folder / _FILE_NAME
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["schema_version"] != SCHEMA_VERSION:
            raise StoreError(f"{path} has format {tree['schema_version']!r}, not {SCHEMA_VERSION}")
        tree["tests"] = tuple(_range_test(test) for test in tree["tests"])
        if not tree["tests"]:
            raise ValueError("it has no test")
        return RangeTests(**tree)
    except (OSError, ArithmeticError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({type(error).__name__}: {error}); create it with lrsweep-find") from None


def _range_test(tree: dict[str, Any]) -> RangeTest:
    curves = {name: tuple(map(float, tree[name])) for name in ("rates", "losses", "smoothed")}
    lengths = {*map(len, curves.values())}
    if len(lengths) != 1 or 0 in lengths or not all(map(math.isfinite, itertools.chain(*curves.values()))):
        raise ValueError("a test's curves must have the same length and finite numbers")
    if min(curves["rates"]) <= 0 or type(tree["seed"]) is not int:
        raise ValueError("a test needs a seed and rates above 0")
    return RangeTest(**tree | curves)
