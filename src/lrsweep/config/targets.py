"""Functions and classes that a setting names as module:name. Importing one runs its code."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lrsweep.config.validation import ConfigError, require


def require_target(setting: str, target: str) -> None:
    is_target = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", target) is not None
    require(is_target, setting, "module:name, such as my_nets:Net", target)


_own: dict[str, Callable[..., Any]] = {}  # by target


def register_own(own: Callable[..., Any], name: str) -> str:
    """The target of a class or function, so that `load_target` finds it. It may be defined in a notebook, and have no name."""
    own_name = getattr(own, "__name__", name)
    target = f"{own.__module__}:{own_name if own_name.isidentifier() else name}"
    _own[target] = own
    return target


def forget_own() -> None:
    _own.clear()


def load_target(setting: str, target: str) -> Callable[..., Any]:
    """Import what the setting names, from the current folder or from an installed package. Raises ConfigError."""
    if target in _own:
        return _own[target]
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


def source_hash(target: str, loaded: Callable[..., Any]) -> str:
    """SHA-256 of the source file that the target names, and of the files that it imports from the same folder or package.

    In a notebook and in the script that runs, most lines have nothing to do with the target, so only its own code is hashed.
    """
    module = sys.modules[target.split(":")[0]]
    digest = hashlib.sha256()
    if module.__name__ != "__main__":
        files: set[Path] = set()
        _add_files(module.__name__, _home(module), files)
        for file in sorted(files):
            digest.update(file.read_bytes())
    else:
        parts = vars(loaded).values() if isinstance(loaded, type) else [loaded]
        for part in parts:
            digest.update(_code_text(getattr(part, "__code__", None)).encode())
    return digest.hexdigest()


def _code_text(code: CodeType | None) -> str:
    """The code of a function, without its place in a file."""
    if code is None:
        return ""
    constants = [_code_text(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


def accepted_by(function: Callable[..., Any]) -> frozenset[str]:
    """The names of its arguments; nothing for built-in functions that do not tell."""
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()


def _home(module: ModuleType) -> Path:
    """The folder of the module's package, or of its file if it is in no package."""
    top = sys.modules.get(module.__name__.split(".")[0], module)
    return Path(getattr(top, "__file__", None) or getattr(module, "__file__", None) or ".").resolve().parent


def _add_files(name: str, home: Path, files: set[Path]) -> None:
    """Add the module's file, if it is below `home`, and the files of what it imports."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):  # not a module, but a name in one
        return
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return
    file = Path(spec.origin).resolve()
    if file.is_relative_to(home) and file not in files:
        files.add(file)
        package = name if spec.submodule_search_locations else name.rpartition(".")[0]
        for imported in _imports(file, package):
            _add_files(imported, home, files)


def _imports(file: Path, package: str) -> Iterator[str]:
    """The modules that the file imports, and the names that it imports from them, which may be modules too."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (source, *(f"{source}.{alias.name}" for alias in node.names))
