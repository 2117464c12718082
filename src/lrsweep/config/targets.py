"""Functions and classes that a setting names as module:name. Importing one runs its code."""

import ast
import functools
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from lrsweep.config.validation import ConfigError, require

_SITE = "site-packages"  # of installed packages
_PLACES = ("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__")


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
            if file.is_file() and _SITE not in file.parts:
                _imported[imported] = file, file.stat().st_mtime_ns
    found = getattr(module, name, None)
    if not callable(found):
        defined = ", ".join(n for n, value in vars(module).items() if callable(value) and n[0] != "_") or "nothing"
        raise ConfigError(f"{setting}={target}: {module_name} has no class or function {name}; it has {defined[:200]}")
    return found  # type: ignore[no-any-return]


def source_hash(target: str, loaded: Callable[..., Any]) -> str:
    """SHA-256 of the source file that the target names, and of the files that it imports from the same folder or package.

    In a notebook and in the script that runs, most lines have nothing to do with the target, so only its own code is hashed. Of
    an installed package, the file and the version are hashed.
    """
    module = sys.modules[target.split(":")[0]]
    digest = hashlib.sha256()
    if module.__name__ != "__main__":
        for file in sorted(_files_of(module)):
            digest.update(file.read_bytes())
        digest.update(str(getattr(sys.modules[module.__name__.split(".")[0]], "__version__", "")).encode())
    if module.__name__ == "__main__" or "<" in getattr(loaded, "__qualname__", "<"):  # defined inside a function
        digest.update(_text_of(loaded, module.__name__, {}).encode())
    return digest.hexdigest()


def _text_of(thing: Any, module: str, seen: dict[int, Any]) -> str:
    """The code of a class or function without its place in a file, with what it uses of the same module."""
    if isinstance(thing, int | float | str | bytes | None):
        return repr(thing)
    if id(thing) in seen:
        return ""
    seen[id(thing)] = thing  # kept, so that no other object gets its id
    inside = functools.partial(_text_of, module=module, seen=seen)
    if isinstance(thing, staticmethod | classmethod):
        thing = thing.__func__
    if isinstance(thing, property):
        return inside((thing.fget, thing.fset))
    if isinstance(thing, functools.partial):
        return inside((thing.func, thing.args, thing.keywords))
    if isinstance(thing, CodeType):
        return repr((thing.co_code, thing.co_names, thing.co_varnames)) + inside(thing.co_consts)
    if isinstance(thing, type | FunctionType) and thing.__module__ != module:
        return f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, FunctionType):
        used = [thing.__globals__.get(name) for name in thing.__code__.co_names]
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        return inside([thing.__code__, thing.__defaults__, thing.__kwdefaults__, *cells, *used])
    if isinstance(thing, type):
        parts = [(name, part) for name, part in vars(thing).items() if name not in _PLACES]
        return inside([thing.__name__, *thing.__bases__, *parts])
    if isinstance(thing, dict):
        return inside(list(thing.items()))
    if isinstance(thing, tuple | list):
        return "(" + ",".join(map(inside, thing)) + ")"
    return type(thing).__name__


def accepted_by(function: Callable[..., Any]) -> frozenset[str]:
    """The names of its arguments. Empty for some built-in functions, whose arguments Python does not know."""
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()


def _home(module: ModuleType) -> Path:
    """The folder of the module's package, or of its file if it is in no package."""
    top = sys.modules.get(module.__name__.split(".")[0], module)
    return Path(getattr(top, "__file__", None) or getattr(module, "__file__", None) or ".").resolve().parent


def _is_own(file: Path, home: Path) -> bool:
    return file.is_relative_to(home) and _SITE not in file.relative_to(home).parts


def _files_of(module: ModuleType) -> set[Path]:
    """The module's file, and what it imports from the same folder or package, directly or not. Nothing is imported here."""
    file, home, name = getattr(module, "__file__", None), _home(module), module.__name__
    if file is None:
        return set()
    files = {Path(file).resolve()}
    if _SITE not in home.parts:
        root = home.parent if hasattr(sys.modules[name.split(".")[0]], "__path__") else home
        package = name if hasattr(module, "__path__") else name.rpartition(".")[0]
        _add_imports(Path(file).resolve(), package, root, home, files)
    return files


def _add_imports(file: Path, package: str, root: Path, home: Path, files: set[Path]) -> None:
    for name in _imports(file, package):
        folder = root.joinpath(*name.split("."))
        for path, inside in ((folder.with_name(f"{folder.name}.py"), name.rpartition(".")[0]), (folder / "__init__.py", name)):
            if name and path.is_file() and _is_own(path.resolve(), home) and path.resolve() not in files:
                files.add(path.resolve())
                _add_imports(path.resolve(), inside, root, home, files)


def _imports(file: Path, package: str) -> Iterator[str]:
    """The modules that the file imports, and the names that it imports from them, which may be modules too."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # a file that is imported only where it is valid
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (source, *(f"{source}.{alias.name}" for alias in node.names))
