"""Keep a study to one experiment: a later sweep may add seeds and learning rates, but not change another setting."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrsweep.config import ConfigError, RunConfig
from lrsweep.storage.tables import settings_of

_MAY_CHANGE = ("seed", "optimizer.lr")


def refuse_changes(folder: Path, stored: Iterable[dict[str, Any]], requested: Iterable[RunConfig]) -> None:
    """ConfigError if a setting has one value in all `stored` configs and only other values in the `requested` runs."""
    before = _values_by_setting(map(settings_of, stored))
    after = _values_by_setting(settings_of(asdict(run)) for run in requested)
    changes = [
        f"{name} {''.join(before[name])} → {', '.join(sorted(after[name]))}"
        for name in before
        if name not in _MAY_CHANGE and len(before[name]) == 1 and name in after and not before[name] & after[name]
    ]
    if changes:
        raise ConfigError(
            f"{folder} holds runs with other settings: {'; '.join(changes)}. Choose a new study.name for this sweep, "
            "or add its runs to this study with study.extend=true"
        )


def _values_by_setting(configs: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    values: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config.items():
            values.setdefault(name, set()).add(str(value))
    return values
