"""Functions and classes that a setting names as module:name. Importing one runs its code."""

import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lrsweep.config.validation import ConfigError, require


def require_target(setting: str, target: str) -> None:
    is_target = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", target) is not None
    require(is_target, setting, "module:name, such as my_nets:Net", target)


def load_target(setting: str, target: str) -> Callable[..., Any]:
    """Import what the setting names, from the current folder or from an installed package. Raises ConfigError."""
    module_name, name = target.split(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{setting}={target}: {module_name} cannot be imported ({reason}); "
            "modules are looked for in the current folder and among the installed packages"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        defined = ", ".join(n for n, value in vars(module).items() if callable(value) and n[0] != "_") or "nothing"
        raise ConfigError(f"{setting}={target}: {module_name} has no class or function {name}; it has {defined[:200]}")
    return found  # type: ignore[no-any-return]


def source_hash(loaded: Callable[..., Any]) -> str:
    """SHA-256 of the source file that defines it, and of the files that this one imports from the same folder or package."""
    module = sys.modules[loaded.__module__]
    digest = hashlib.sha256()
    for file in sorted(_files_of(module, _home(module), set())):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _home(module: ModuleType) -> Path:
    """The folder of the module's package, or of its file if it is in no package."""
    top = sys.modules.get(module.__name__.split(".")[0], module)
    return Path(getattr(top, "__file__", None) or getattr(module, "__file__", None) or ".").resolve().parent


def _files_of(module: ModuleType, home: Path, seen: set[Path]) -> set[Path]:
    file = getattr(module, "__file__", None)
    if file is not None and (path := Path(file).resolve()).is_relative_to(home) and path not in seen and path.suffix == ".py":
        seen.add(path)
        for imported in _modules_in(module):
            _files_of(imported, home, seen)
    return seen


def _modules_in(module: ModuleType) -> Iterator[ModuleType]:
    """The modules that this module's names come from."""
    for value in list(vars(module).values()):
        found = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
        if found is not None:
            yield found
