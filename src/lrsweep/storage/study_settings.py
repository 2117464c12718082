"""Keep a study to one experiment: later runs may add seeds and learning rates to its arms, but no new arm.

An arm is one choice of all settings other than the seed and the learning rate. A study's arms are those of its finished runs. A
stopped sweep may be continued, even if some of its arms have no finished run yet.
"""

from collections.abc import Iterable, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrsweep.config import WITHOUT_EFFECT, ConfigError, RunConfig, run_id
from lrsweep.storage.tables import DEFAULT_SETTINGS, settings_of

_MAY_CHANGE = ("seed", "optimizer.lr")
_DEFINE_ARM = [name for name in DEFAULT_SETTINGS if name not in _MAY_CHANGE and name not in WITHOUT_EFFECT]
_MAX_LISTED = 5

_Arm = tuple[Any, ...]  # the values of _DEFINE_ARM


def refuse_new_arms(folder: Path, stored: Iterable[dict[str, Any]], planned: Set[str], requested: Iterable[RunConfig]) -> None:
    """Raise ConfigError if the study has finished runs, and a requested run belongs to none of its arms.

    `stored`: the configs of the finished runs; `planned`: the run_ids of the last sweep.
    """
    known = {_arm_of(config): None for config in stored}  # a dict, because it keeps the order
    if not known:
        return
    runs_by_arm: dict[_Arm, list[RunConfig]] = {}
    for run in requested:
        runs_by_arm.setdefault(_arm_of(asdict(run)), []).append(run)
    new = [
        arm
        for arm, runs in runs_by_arm.items()
        if arm not in known and not (planned and any(run_id(run) in planned for run in runs))
    ]
    if new:
        raise ConfigError(
            f"{folder} holds runs with other settings: {_changes(list(known), new)}. "
            f"Within a study only {' and '.join(_MAY_CHANGE)} may change: choose a new study.name for these runs, "
            "or add them to this study with study.extend=true"
        )


def _arm_of(config: dict[str, Any]) -> _Arm:
    settings = settings_of(config)
    return tuple(settings[name] for name in _DEFINE_ARM)


def _changes(known: list[_Arm], new: list[_Arm]) -> str:
    """List how each new arm differs from the most similar known arm."""
    before: dict[str, dict[str, None]] = {}
    after: dict[str, dict[str, None]] = {}
    for arm in new:
        nearest = min(known, key=lambda other: sum(a != b for a, b in zip(arm, other, strict=True)))
        for name, old_value, new_value in zip(_DEFINE_ARM, nearest, arm, strict=True):
            if old_value != new_value:
                before.setdefault(name, {})[str(old_value)] = None
                after.setdefault(name, {})[str(new_value)] = None
    return "; ".join(f"{name} {_listed(before[name])} → {_listed(after[name])}" for name in _DEFINE_ARM if name in before)


def _listed(values: Iterable[str]) -> str:
    texts = list(values)
    return ", ".join([*texts[:_MAX_LISTED], *(["…"] if len(texts) > _MAX_LISTED else [])])
