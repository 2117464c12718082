"""The commands that make a study's runs again, from the runs themselves."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd

from lrsweep import store
from lrsweep.config import GridConfig, RunConfig, flatten, log_grid

_DEFAULTS = {name: store.setting_cell(value) for name, value in flatten(asdict(RunConfig())).items()}


def commands(study: str, runs: pd.DataFrame) -> str:
    """A line an arm."""
    return "\n".join(_command(study, of_arm) for _, of_arm in runs.groupby("arm", sort=True))


def _command(study: str, runs: pd.DataFrame) -> str:
    rates = sorted(runs["lr"].unique())
    if rates == log_grid(GridConfig()):
        words = ["lrsweep study=lr", _name(study)]
    else:
        words = ["lrsweep -m", _name(study), f"optimizer.lr={_listed(rates)}"]
    return " ".join([*words, f"seed={_listed(sorted(runs['seed'].unique()))}", *settings(runs)])


def _name(study: str) -> str:
    """As Hydra reads it from a shell: quoted twice where it is more than a plain word."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", study) and study.lower() not in ("null", "true", "false", "nan", "inf"):
        return f"study.name={study}"
    quoted = re.sub(r"\\+(?='|$)", r"\g<0>\g<0>", study).replace("'", r"\'")  # a backslash counts before a quote only
    return shlex.quote(f"study.name='{quoted}'")


def settings(runs: pd.DataFrame) -> list[str]:
    """What the runs of one arm have set besides rate and seed, as overrides; a group goes by its name."""
    first = runs.iloc[0].rename({"loss": "loss.name"})
    chosen = {name: first[name] for name in _DEFAULTS if name in first and name not in ("optimizer.lr", "seed")}
    return [shlex.quote(f"{name.removesuffix('.name')}={value}") for name, value in chosen.items() if value != _DEFAULTS[name]]


def _listed(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)
