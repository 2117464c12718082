"""Check that the values of a record have the types that its dataclasses declare.

A record may come from anyone, and its checksum says nothing about who wrote it. The tables and reports rely on these types.
"""

import math
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lrsweep.config import DataConfig, RunConfig
from lrsweep.records import EpochRecord, Outcome, RunRecord

_LARGEST = 2**63  # whole numbers in tables must be smaller

_IsValid = Callable[[Any], bool]


def check(record: RunRecord) -> None:
    """Raise TypeError if a value has the wrong type, or if a number is infinite or out of range."""
    is_valid = (
        _fits(record, RunRecord)
        and re.fullmatch(r"\w[\w.-]*", record.run_id) is not None  # names of files and folders contain it
        and _fits(record.outcome, Outcome)
        and all(_fits(epoch, EpochRecord) for epoch in record.outcome.curve)
        and _fits_config(record.config, RunConfig)
        and record.config["optimizer"]["lr"] > 0
        and all(len(counts) == _num_classes(record) and all(map(_is_count, counts)) for counts in record.class_counts.values())
        and all(isinstance(value, str) for value in (record.environment.get("finished_at", ""), *record.class_counts))
    )
    if not is_valid:
        raise TypeError("a value has the wrong type or is out of range")


def _num_classes(record: RunRecord) -> int:
    return record.config["data"].get("num_classes", DataConfig().num_classes)  # type: ignore[no-any-return]


def _fits(values: Any, kind: type) -> bool:
    return all(is_valid(getattr(values, name)) for name, is_valid in _checks(kind).items())


def _fits_config(tree: Any, kind: type) -> bool:
    """A missing setting is valid: its default applies. Of a setting that this version does not know, only the name is checked:
    a name with a dot could hide another setting, because tables have one column per dotted name.
    """
    if not isinstance(tree, dict):
        return False
    hints = get_type_hints(kind)
    for name, value in tree.items():
        if "." in name:
            return False
        hint = hints.get(name)
        if isinstance(hint, type) and is_dataclass(hint):
            if not _fits_config(value, hint):
                return False
        elif hint is not None and not _check_of(str if get_origin(hint) is Literal else hint)(value):
            return False
    return True


@cache
def _checks(kind: type) -> dict[str, _IsValid]:
    hints = get_type_hints(kind)
    return {field.name: _check_of(hints[field.name]) for field in fields(kind)}


@cache
def _check_of(hint: Any) -> _IsValid:
    if isinstance(hint, UnionType):
        options = [_check_of(option) for option in get_args(hint)]
        return lambda value: any(is_valid(value) for is_valid in options)
    if get_origin(hint) is Literal:
        return lambda value: value in get_args(hint)
    if get_origin(hint) is list:
        is_valid_item = _check_of(get_args(hint)[0])
        return lambda value: isinstance(value, list) and all(map(is_valid_item, value))
    if hint is float:
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    if hint in (str, bool, NoneType):
        return lambda value: isinstance(value, hint)
    origin: Any = get_origin(hint) or hint  # dict, tuple or a dataclass, whose contents are checked elsewhere
    return lambda value: isinstance(value, origin)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST
