"""Explain a user's mistake in one line: what was wrong, the value, what to do."""

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

_OUR_ERRORS = (ConfigError, DataError, StoreError, InUseError)
_USER_ERRORS = (*_OUR_ERRORS, HydraException, OmegaConfBaseException, OSError)  # OSError: Hydra cannot write a file
_HOW_TO_WRITE = "write name=value, and put unusual characters inside two pairs of quotes: \"study.name='학습률'\""
_HOW_TO_WRITE_MANY = 'write several values as "seed=range(5)" or seed=0,1,2'
_HYDRA_PACKAGES, _OUR_PACKAGES = {"hydra", "omegaconf"}, {"lrsweep", "hydra_plugins"}


def is_user_error(error: Exception) -> bool:
    """Is this the user's mistake, and not a bug in lrsweep?

    A built-in error of Python, such as ValueError, is the user's mistake only if the code of Hydra or OmegaConf raised it.
    """
    packages = [frame.f_globals.get("__name__", "").split(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    relevant = [package for package in packages if package in _HYDRA_PACKAGES | _OUR_PACKAGES]
    return isinstance(error, _USER_ERRORS) or (bool(relevant) and relevant[-1] in _HYDRA_PACKAGES)


def explain(error: BaseException) -> str:
    """Describe the error in one line. Messages of Hydra and OmegaConf lose their internals, and a typo gets a suggestion."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)  # in a debugger, OmegaConf may link errors in a circle
    for link in chain:
        if isinstance(link, _OUR_ERRORS):
            return _in_one_line(link)
    if isinstance(error, OSError) and not isinstance(error, HydraException):  # Hydra's MissingConfigException is both
        return _in_one_line(error)
    if isinstance(error, OverrideParseException):
        how = _HOW_TO_WRITE_MANY if "(" in error.override else _HOW_TO_WRITE
        return f"ConfigError: cannot parse {error.override[:100]!r}; {how}"
    if isinstance(error, UnicodeEncodeError):  # Hydra 1.4 writes the config to a file before we see it
        return f"ConfigError: a setting must be valid UTF-8 text, got {error.object!r}"
    causes = [str(link) for link in chain[1:] if isinstance(link, OmegaConfBaseException)]
    return f"ConfigError: {_explain_hydra(str(error), causes)}"


def _in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _explain_hydra(text: str, causes: list[str]) -> str:
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{match[1]} is already a setting; remove the +"
    if match := re.search(r"Could not (?:override|append to config[^']*) '([^']+)'", text):
        name = (_full_key(causes[0]) if causes else None) or match[1]
        groups = asdict(AppConfig())
        names = [*flatten(groups), *groups]
        same = [full for full in names if full.endswith(f".{name}")]
        return f"{name} is not a setting; {_did_you_mean(name, names, same) or 'lrsweep --cfg job lists them all'}"
    if match := re.search(r"Ambiguous value for argument '([^']+)'|Sweep parameters '([^']+)' requires --multirun", text):
        word = match[1] or match[2]
        return f"{word} has several values; add -m and the name of a study, as in lrsweep -m study.name=mine {word}"
    if match := re.search(
        r"Could not find '([^']+)'\s+Available options in '([^']+)':\s+(.*?)\s*Config search path", text, re.DOTALL
    ):
        group, options = match[2], match[3].split()
        option = match[1].removeprefix(f"{group}/")
        similar = _did_you_mean(option, options)
        return f"{group} must be one of {', '.join(options)}, got {option!r}" + (f"; {similar}" if similar else "")
    if match := re.search(r"Error merging override ([^\s=]+)", text):
        return f"{match[1]}: {causes[0].splitlines()[0]}" if causes else text.splitlines()[0]
    if "Config group override must be a string or a list" in text:
        return "a group takes the name of one of its options, as in optimizer=adamw"
    name, message = _full_key(text), " ".join(re.split(r"\s+full_key: ", text)[0].split())
    return f"{name}: {message}" if name else message


def _did_you_mean(name: str, names: list[str], best: list[str] | None = None) -> str:
    """The most similar name as a question; empty if none is similar."""
    similar = best or get_close_matches(name, names, n=1)
    return f"did you mean {similar[0]}?" if similar else ""


def _full_key(text: str) -> str | None:
    """The name of the setting, which OmegaConf appends to its message."""
    match = re.search(r"\s+full_key: (\S+)", text)
    return match[1] if match else None
