"""What a study holds still: a sweep that goes on with one may bring new seeds and points, but not another experiment."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrsweep.config import ConfigError, RunConfig
from lrsweep.storage.tables import settings_of

_POINTS = ("seed", "optimizer.lr")  # what every study is free to add


def refuse_changes(folder: Path, stored: Iterable[dict[str, Any]], asked: Iterable[RunConfig]) -> None:
    """ConfigError where a setting that is one and the same in all `stored` configs is another in all runs `asked` for."""
    changes = [
        f"{name} {before} → {', '.join(sorted(after))}"
        for name, (before, after) in changed(map(settings_of, stored), (settings_of(asdict(run)) for run in asked)).items()
    ]
    if changes:
        raise ConfigError(
            f"{folder} holds runs with other settings: {'; '.join(changes)}. Give this sweep a study.name of its own, or add its "
            "runs to that study with study.extend=true"
        )


def changed(stored: Iterable[dict[str, Any]], asked: Iterable[dict[str, Any]]) -> dict[str, tuple[str, set[str]]]:
    """By setting: the one value that all of `stored` have and none of `asked`, and theirs. Of settings as tables hold them."""
    before, after = _values(stored), _values(asked)
    return {
        name: (next(iter(before[name])), after[name])
        for name in before
        if name not in _POINTS and len(before[name]) == 1 and name in after and not before[name] & after[name]
    }


def _values(configs: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    values: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config.items():
            values.setdefault(name, set()).add(str(value))
    return values
