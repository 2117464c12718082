"""Why a setting was refused, as one line for the person who typed it: what was wrong, the value, what to do."""

import re
import traceback
from dataclasses import asdict
from difflib import get_close_matches

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from lrsweep.config import AppConfig, ConfigError, flatten
from lrsweep.data.download import DataError
from lrsweep.storage.files import StoreError
from lrsweep.storage.lock import InUseError

_OURS = (ConfigError, DataError, StoreError, InUseError)
_REFUSALS = (*_OURS, HydraException, OmegaConfBaseException, OSError)  # OSError: Hydra writes files of its own
_HOW_TO_WRITE = "write name=value, and letters that Hydra does not know in two pairs of quotes: \"study.name='학습률'\""
_HYDRAS, _HOUSE = {"hydra", "omegaconf"}, {"lrsweep", "hydra_plugins"}


def is_refusal(error: Exception) -> bool:
    """Is it of the user's making? Hydra and OmegaConf let some of Python's own errors through: those that their code raised."""
    packages = [frame.f_globals["__name__"].split(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = [package for package in packages if package in _HYDRAS | _HOUSE]
    return isinstance(error, _REFUSALS) or (bool(known) and known[-1] in _HYDRAS)


def explain(error: BaseException) -> str:
    """One line. Our own errors as they are; Hydra's and OmegaConf's without their internals, with a near name for a typo."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(inner)
    for link in chain:
        if isinstance(link, _OURS):
            return _as_it_is(link)
    if isinstance(error, OSError) and not isinstance(error, HydraException):  # its MissingConfigException is both
        return _as_it_is(error)
    if isinstance(error, OverrideParseException):
        return f"ConfigError: cannot read {error.override[:100]!r}; {_HOW_TO_WRITE}"
    causes = [str(link) for link in chain[1:] if isinstance(link, OmegaConfBaseException)]
    return f"ConfigError: {_explain_hydra(str(error), causes)}"


def _as_it_is(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _explain_hydra(outer: str, causes: list[str]) -> str:
    if there := re.search(r"Could not append to config. An item is already at '([^']+)'", outer):
        return f"{there[1]} is a setting already; leave out the +"
    if unknown := re.search(r"Could not (?:override|append to config[^']*) '([^']+)'", outer):
        name = (_full_key(causes[0]) if causes else None) or unknown[1]
        near = get_close_matches(name, flatten(asdict(AppConfig())), n=1)
        return f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "; lrsweep --cfg job lists them all")
    if missing := re.search(
        r"Could not find '([^']+)'\s+Available options in '([^']+)':\s+(.*?)\s*Config search path", outer, re.S
    ):
        group, known = missing[2], ", ".join(missing[3].split())
        return f"{group} must be one of {known}, got {missing[1].removeprefix(group + '/')!r}"
    if mistyped := re.search(r"Error merging override ([^\s=]+)", outer):
        return f"{mistyped[1]}: {causes[0].splitlines()[0]}" if causes else outer.splitlines()[0]
    if "Config group override must be a string or a list" in outer:
        return "a group of settings takes the name of a choice, as in optimizer=adamw: what was given is none"
    name, told = _full_key(outer), " ".join(re.split(r"\s+full_key: ", outer)[0].split())
    return f"{name}: {told}" if name else told


def _full_key(told: str) -> str | None:
    """The setting that OmegaConf names below its message."""
    found = re.search(r"\s+full_key: (\S+)", told)
    return found[1] if found else None
