"""The commands that repeat the runs of a study, derived from the settings in their records."""

import json
import math
import re
import shlex
from collections.abc import Iterable
from typing import Any

import pandas as pd

from lrsweep.analysis.shortfall import DELTA
from lrsweep.config import DICTS, GridConfig, log_grid
from lrsweep.config.targets import TARGETS
from lrsweep.storage.tables import DEFAULT_SETTINGS

TEXTS = ("data.name", "data.target", "data.path", "model.name", "model.target", "model.init_from")

_LONGEST_LINE = 60  # characters of a command
_IN_PROGRAM = "__main__:"  # how targets begin that were defined in a notebook or in the script that ran


def is_in_program(runs: pd.DataFrame) -> bool:
    """Is the network, or are the images, only in the program that called lrsweep.sweep?"""
    return any(target.startswith(_IN_PROGRAM) for target in runs.filter(TARGETS).to_numpy().flat)


def rerun_commands(study: str, runs: pd.DataFrame, delta: float = DELTA) -> str:
    """One command per arm. All but the first extend the study, because their settings differ from those of the first.

    `delta` is the smallest difference in test accuracy that matters in the study's report.
    """
    if is_in_program(runs):
        return "# Call lrsweep.sweep again: the network or the images are in the program that called it."
    last = [] if delta == DELTA else [f"study.delta={delta}"]
    first, *others = ([*_words(study, arm_runs), *last] for _, arm_runs in runs.groupby("arm", sort=True))
    return "\n".join(map(_command, [first, *([*other, "study.extend=true"] for other in others)]))


def _command(words: list[str]) -> str:
    """A long command has one override per line, so that no reader has to scroll."""
    line = " ".join(words)
    return line if len(line) <= _LONGEST_LINE else " \\\n  ".join(words)


def _words(study: str, runs: pd.DataFrame) -> list[str]:
    return [*_rates(study, sorted(runs["lr"].unique())), _seeds(sorted(runs["seed"].unique())), *settings(runs)]


def _rates(study: str, rates: list[float]) -> list[str]:
    """The rates as a grid if they are one, else with all their digits: another float would be another run."""
    exponents = [round(math.log10(rate), 2) for rate in rates]
    step = round((exponents[-1] - exponents[0]) / max(len(rates) - 1, 1), 2)
    is_inside = max(map(abs, exponents)) <= 300  # else there is no such grid
    if step and is_inside and rates == log_grid(grid := GridConfig(start=exponents[0], stop=exponents[-1], step=step)):
        changed = [f"grid.{name}={value}" for name, value in vars(grid).items() if value != getattr(GridConfig, name)]
        return [f"lrsweep study=lr {study_name(study)}", *changed]
    return [f"lrsweep -m {study_name(study)}", f"optimizer.lr={_listed(rates)}"]


def _seeds(seeds: list[int]) -> str:
    if len(seeds) > 3 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f'seed="range({seeds[0]},{seeds[-1] + 1})"'
    return f"seed={_listed(seeds)}"


def study_name(study: str) -> str:
    return f"study.name={study}" if _is_plain(study) else _quoted("study.name", study)


def _is_plain(text: str) -> bool:
    """True if Hydra reads the text as a string without quotes."""
    is_word = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) is not None
    return is_word and text.lower() not in ("null", "true", "false", "nan", "inf")


def _quoted(name: str, text: str) -> str:
    """An override in two layers of quotes: one for the shell, one for Hydra."""
    return shlex.quote(f"{name}={in_quotes(text)}")


def in_quotes(text: str, mark: str = "'") -> str:
    """Quote a text for Hydra. Within quotes, Hydra treats a backslash specially only before a quote."""
    return mark + re.sub(rf"\\+(?={mark}|\Z)", r"\g<0>\g<0>", text).replace(mark, "\\" + mark) + mark


def settings(runs: pd.DataFrame) -> list[str]:
    """All settings of one arm that differ from the defaults, except rate and seed, as overrides."""
    first = runs.iloc[0].rename({"loss": "loss.name"})
    chosen = {name: first[name] for name in DEFAULT_SETTINGS if name in first and name not in ("optimizer.lr", "seed")}
    return [_setting(name, value) for name, value in chosen.items() if value != DEFAULT_SETTINGS[name]]


def _setting(name: str, value: object) -> str:
    if name == "loss.name":
        return shlex.quote(f"loss={value}")  # a config group; its files set only the name
    if name in DICTS:
        return shlex.quote(f"{name}={in_hydra(json.loads(str(value)))}")
    is_text = name in TEXTS and re.fullmatch(r"[A-Za-z][\w./:-]*", str(value), re.ASCII) is None  # other values need no quotes
    return _quoted(name, str(value)) if is_text else shlex.quote(f"{name}={value}")


def in_hydra(value: Any) -> str:
    """A value of JSON in Hydra's syntax, in which keys have no quotes."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{in_hydra(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(in_hydra, value)) + "]"
    return in_quotes(value) if isinstance(value, str) else json.dumps(value)


def _listed(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)
