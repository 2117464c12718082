"""The commands that make a study's runs again, from the runs themselves."""

import re
import shlex
from collections.abc import Iterable

import pandas as pd

from lrsweep.config import GridConfig, log_grid
from lrsweep.storage.tables import DEFAULT_SETTINGS


def commands(study: str, runs: pd.DataFrame) -> str:
    """A line an arm; to the first one's runs the others add theirs, whose settings are others."""
    first, *others = (_command(study, of_arm) for _, of_arm in runs.groupby("arm", sort=True))
    return "\n".join([first, *(f"{other} study.extend=true" for other in others)])


def _command(study: str, runs: pd.DataFrame) -> str:
    rates = sorted(runs["lr"].unique())
    if rates == log_grid(GridConfig()):
        words = ["lrsweep study=lr", study_name(study)]
    else:
        words = ["lrsweep -m", study_name(study), f"optimizer.lr={_listed(rates)}"]
    return " ".join([*words, shlex.quote(f"seed={_listed(sorted(runs['seed'].unique()))}"), *settings(runs)])


def study_name(study: str) -> str:
    return f"study.name={study}" if _is_plain(study) else _quoted("study.name", study)


def _is_plain(text: str) -> bool:
    """Hydra reads it as the text that it is."""
    is_word = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) is not None
    return is_word and text.lower() not in ("null", "true", "false", "nan", "inf")


def _quoted(name: str, text: str) -> str:
    """As Hydra reads it from a shell: quoted twice."""
    inside = re.sub(r"\\+(?='|$)", r"\g<0>\g<0>", text).replace("'", r"\'")  # a backslash counts before a quote only
    return shlex.quote(f"{name}='{inside}'")


def settings(runs: pd.DataFrame) -> list[str]:
    """What the runs of one arm have set besides rate and seed, as overrides; a group goes by its name."""
    first = runs.iloc[0].rename({"loss": "loss.name"})
    chosen = {name: first[name] for name in DEFAULT_SETTINGS if name in first and name not in ("optimizer.lr", "seed")}
    return [_setting(name, value) for name, value in chosen.items() if value != DEFAULT_SETTINGS[name]]


def _setting(name: str, value: object) -> str:
    if name == "loss.name":
        return shlex.quote(f"loss={value}")  # the one group whose files set nothing but the name
    is_text = name == "model.init_from"  # all other texts are words, or lists and null as Hydra spells them
    return _quoted(name, str(value)) if is_text else shlex.quote(f"{name}={value}")


def _listed(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)
