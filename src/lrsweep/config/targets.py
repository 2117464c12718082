"""Functions and classes that a setting names as module:name. Importing one runs its code."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from lrsweep.config.validation import ConfigError, require

TARGETS = ("data.target", "model.target")  # settings that name a class or function to import
SITES = {"site-packages", "dist-packages"}  # of installed packages; the second one on Debian and in Colab


def require_target(setting: str, target: str) -> None:
    is_target = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", target) is not None
    require(is_target, setting, "module:name, such as my_nets:Net", target)


_own: dict[str, Callable[..., Any]] = {}  # by target
_imported: dict[str, tuple[Path, int]] = {}  # modules that targets have imported → their file, and when it was changed


def register_own(own: Callable[..., Any], name: str) -> str:
    """The target of a class or function, so that `load_target` finds it. It may be defined in a notebook, and have no name."""
    is_defined = isinstance(own, type | FunctionType)
    own_name = own.__name__ if is_defined else name
    target = f"{own.__module__ if is_defined else '__main__'}:{own_name if own_name.isidentifier() else name}"
    _own[target] = own
    return target


def is_registered(target: str) -> bool:
    return target in _own


def forget_own() -> None:
    _own.clear()


def _forget_edited() -> None:
    """If a file has been edited since a target imported it, forget all modules that targets have imported."""
    if any(not file.is_file() or file.stat().st_mtime_ns != changed for file, changed in _imported.values()):
        for name in _imported:
            sys.modules.pop(name, None)
        _imported.clear()


def load_target(setting: str, target: str) -> Callable[..., Any]:
    """Import what the setting names, from the current folder or from an installed package. Raises ConfigError."""
    if target in _own:
        return _own[target]
    module_name, name = target.split(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    _forget_edited()
    before = set(sys.modules)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{setting}={target}: {module_name} cannot be imported ({reason}); "
            "modules are looked for in the current folder and among the installed packages"
        ) from error
    finally:  # also after an error, because what the module had imported by then stays imported
        for imported in set(sys.modules) - before:
            file = Path(getattr(sys.modules[imported], "__file__", None) or "")
            if file.is_file() and not SITES & set(file.parts):
                _imported[imported] = file, file.stat().st_mtime_ns
    found = getattr(module, name, None)
    if not callable(found):
        defined = ", ".join(n for n, value in vars(module).items() if callable(value) and n[0] != "_") or "nothing"
        raise ConfigError(f"{setting}={target}: {module_name} has no class or function {name}; it has {defined[:200]}")
    return found  # type: ignore[no-any-return]


def accepted_by(function: Callable[..., Any]) -> frozenset[str]:
    """The names of its arguments. Empty for some built-in functions, whose arguments Python does not know."""
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()
