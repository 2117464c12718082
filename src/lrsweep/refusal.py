"""Why a setting was refused, as one line for the person who typed it: what was wrong, the value, what to do."""

import re
from dataclasses import asdict
from difflib import get_close_matches

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lrsweep.config import AppConfig, ConfigError, flatten
from lrsweep.download import DataError
from lrsweep.lock import InUseError
from lrsweep.store import StoreError

_OURS = (ConfigError, DataError, StoreError, InUseError)
REFUSALS = (*_OURS, HydraException, OmegaConfBaseException, OSError)  # OSError: Hydra writes files of its own


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
    causes = [str(link) for link in chain[1:] if isinstance(link, OmegaConfBaseException)]
    return f"ConfigError: {_explain_hydra(str(error), causes)}"


def _as_it_is(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _explain_hydra(outer: str, causes: list[str]) -> str:
    if unknown := re.search(r"Could not (?:override|append to config[^']*) '([^']+)'", outer):
        name = unknown[1]
        near = get_close_matches(name, flatten(asdict(AppConfig())), n=1)
        return f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "; lrsweep --cfg job lists them all")
    if missing := re.search(
        r"Could not find '([^']+)'\s+Available options in '([^']+)':\s+(.*?)\s*Config search path", outer, re.S
    ):
        group, known = missing[2], ", ".join(missing[3].split())
        return f"{group} must be one of {known}, got {missing[1].removeprefix(group + '/')!r}"
    if mistyped := re.search(r"Error merging override (\S+?)=", outer):
        return f"{mistyped[1]}: {causes[0].splitlines()[0]}" if causes else outer.splitlines()[0]
    return " ".join(outer.split())
