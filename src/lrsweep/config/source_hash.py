"""The hash of a class or function that a setting names: of its source files, or of its code if it has no file of its own."""

import ast
import dis
import functools
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    EllipsisType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    ModuleType,
    UnionType,
)
from typing import Any

from lrsweep.config.targets import SITES
from lrsweep.config.validation import ConfigError

_PLACES = ("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__")
_ARRAYS = {"numpy.ndarray", "numpy.generic", "torch.Tensor"}
# Python makes these from code that is hashed, so only the name of their type counts.
_MADE = (EllipsisType, GenericAlias, GetSetDescriptorType, MemberDescriptorType, UnionType)
_MAKERS = ("_abc", "dataclasses", "typing")


def source_hash(target: str, loaded: Callable[..., Any]) -> str:
    """SHA-256 of the source file that the target names, and of the files that it imports from the same folder or package.

    In a notebook and in the script that runs, most lines have nothing to do with the target, so only its own code is hashed, with
    the content of the objects that it uses, and the source files of the modules that it uses and that are not installed. Of an
    installed package, the file and the version are hashed. Raises ConfigError if the content of an object cannot be hashed.
    """
    module = sys.modules[target.split(":")[0]]
    digest = hashlib.sha256()
    files: set[Path] = set()
    if module.__name__ != "__main__":
        files = _files_of(module)
        for file in sorted(files):
            digest.update(file.read_bytes())
        digest.update(str(getattr(sys.modules[module.__name__.split(".")[0]], "__version__", "")).encode())
    if module.__name__ == "__main__" or "<" in getattr(loaded, "__qualname__", "<"):  # defined inside a function
        digest.update(_Code(module.__name__, with_content=False).text_of(loaded).encode())
        code = _Code(module.__name__, with_content=True)
        try:
            text = code.text_of(loaded)
        except _NoContent as error:
            raise ConfigError(f"{target} uses {error}, whose content cannot be hashed; create it inside {target}") from error
        if code.adds_something:
            digest.update(text.encode())
        others = {file for used in code.modules for file in _files_of(used)} - files
        for source in sorted(file.read_bytes() for file in others):
            digest.update(source)
    return digest.hexdigest()


class _NoContent(Exception):
    """The object's content cannot be read."""


class _Code:
    """The code of a class or function of a module, with what it uses.

    Without content, the text lacks the content of objects, and the globals that only inner functions use. Earlier versions hashed
    this text, so it is still hashed, and runs keep their names. Only if the text with content `adds_something`, it is hashed too.
    `modules` are the other own modules that the code uses.
    """

    def __init__(self, module: str, *, with_content: bool) -> None:
        self.modules: set[ModuleType] = set()
        self.adds_something = False
        self._module = module
        self._with_content = with_content
        self._seen: dict[int, tuple[Any, str]] = {}  # by id: the object, kept so that no other one gets its id, and its name

    def text_of(self, thing: Any, name: str = "") -> str:
        """The text does not depend on the place in a file. `name` is the global name of the object, if it has one."""
        if isinstance(thing, int | float | str | bytes | None):
            return repr(thing)
        if id(thing) in self._seen:
            return self._text_of_seen(thing, name)
        self._seen[id(thing)] = thing, name
        if isinstance(thing, staticmethod | classmethod):
            thing = thing.__func__
        if isinstance(thing, property):
            return self.text_of((thing.fget, thing.fset))
        if isinstance(thing, functools.partial):
            return self.text_of((thing.func, thing.args, thing.keywords))
        if isinstance(thing, CodeType):
            return repr((thing.co_code, thing.co_names, thing.co_varnames)) + self.text_of(thing.co_consts)
        if isinstance(thing, type | FunctionType) and thing.__module__ != self._module:
            self._add_module(sys.modules.get(thing.__module__), ())
            return f"{thing.__module__}.{thing.__qualname__}"
        if isinstance(thing, FunctionType):
            used = self._globals_of(thing)
            cells = [cell.cell_contents for cell in thing.__closure__ or ()]
            texts = map(self.text_of, (thing.__code__, thing.__defaults__, thing.__kwdefaults__, *cells))
            return "(" + ",".join([*texts, *(self.text_of(value, name) for name, value in used.items())]) + ")"
        if isinstance(thing, type):
            parts = [(name, part) for name, part in vars(thing).items() if name not in _PLACES]
            return self.text_of([thing.__name__, *thing.__bases__, *parts])
        if isinstance(thing, dict):
            return self.text_of(list(thing.items()))
        if isinstance(thing, tuple | list):
            return "(" + ",".join(map(self.text_of, thing)) + ")"
        if not self._with_content:
            return type(thing).__name__
        content = self._content_of(thing, name)
        self.adds_something |= bool(content)
        return type(thing).__name__ + content

    def _text_of_seen(self, thing: Any, name: str) -> str:
        if not self._with_content:
            return ""
        first_name = self._seen[id(thing)][1]
        self.adds_something |= bool(name and first_name and name != first_name)  # one object with two names
        return f"#{list(self._seen).index(id(thing))}"

    def _globals_of(self, function: FunctionType) -> dict[str, Any]:
        outer = function.__code__.co_names  # of globals and attributes
        if not self._with_content:
            return {name: function.__globals__.get(name) for name in outer}
        codes = [function.__code__, *_codes_inside(function.__code__)]
        steps = [step for code in codes for step in dis.get_instructions(code)]
        used = {s.argval: function.__globals__.get(s.argval) for s in steps if s.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        self.adds_something |= any(name not in outer and not isinstance(used[name], ModuleType | None) for name in used)
        names = [name for code in codes for name in code.co_names]
        for value in used.values():
            self._add_module(value, names)
        for step in steps:
            if step.opname == "IMPORT_NAME":
                with suppress(Exception):  # the statement may be inside `try`
                    self._add_module(importlib.import_module(step.argval), names)
        return used

    def _content_of(self, thing: Any, name: str) -> str:
        """The content of an object, in the same words at each start of Python. Empty if its code or name says it already."""
        if isinstance(thing, ModuleType):
            self._add_module(thing, ())
            return ""
        if isinstance(thing, BuiltinFunctionType) and name == thing.__name__:
            return ""
        if isinstance(thing, _MADE) or type(thing).__module__ in _MAKERS:
            return ""
        if isinstance(thing, set | frozenset):
            seen = self._seen
            texts = []
            for item in thing:  # in any order, so no item may count as seen because of another one
                self._seen = dict(seen)
                texts.append(self.text_of(item))
            self._seen = seen
            return ",".join(sorted(texts))
        if isinstance(thing, MappingProxyType):
            return self.text_of(dict(thing))
        if isinstance(thing, functools.cached_property):
            return self.text_of(thing.func)
        if hasattr(thing, "__wrapped__"):  # by functools.cache
            return self.text_of(thing.__wrapped__)
        try:
            if _ARRAYS & {f"{base.__module__}.{base.__name__}" for base in type(thing).__mro__}:
                values = thing.tolist()
                return f"{thing.dtype}{tuple(thing.shape)}" + (self.text_of(values) if thing.dtype == object else repr(values))
            reduced = thing.__reduce_ex__(2)  # what pickle stores
        except Exception as error:
            raise _NoContent(f"an object of the type {type(thing).__name__} ({error})") from error
        # A string is the object's name. Of a tuple, the last items are iterators.
        return self.text_of(reduced if isinstance(reduced, str) else [*reduced[:3], *(list(each or ()) for each in reduced[3:5])])

    def _add_module(self, module: Any, names: Iterable[str]) -> None:
        """Add the module if it is not installed, and those of its modules that the names name, as in package.module."""
        if (
            isinstance(module, ModuleType)
            and module not in self.modules
            and module.__name__ != "__main__"
            and _is_not_installed(module)
        ):
            self.modules.add(module)
            for name in names:
                self._add_module(getattr(module, name, None), names)


def _codes_inside(code: CodeType) -> Iterator[CodeType]:
    """The code of inner functions, lambdas, comprehensions, generator expressions and classes."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes_inside(inner)


def _is_not_installed(module: ModuleType) -> bool:
    is_of_python = module.__name__.split(".")[0] in sys.stdlib_module_names
    return not is_of_python and not SITES & set(Path(getattr(module, "__file__", None) or "").parts)


def _home(module: ModuleType) -> Path:
    """The folder of the module's package, or of its file if it is in no package."""
    top = sys.modules.get(module.__name__.split(".")[0], module)
    file = Path(getattr(module, "__file__", None) or ".").resolve()
    if own_file := getattr(top, "__file__", None):
        return Path(own_file).resolve().parent
    folders = [Path(folder).resolve() for folder in getattr(top, "__path__", ())]  # of a package without __init__.py
    return next((folder for folder in folders if file.is_relative_to(folder)), file.parent)


def _is_own(file: Path, home: Path) -> bool:
    return file.is_relative_to(home) and not SITES & set(file.relative_to(home).parts)


def _files_of(module: ModuleType) -> set[Path]:
    """The module's file, and what it imports from the same folder or package, directly or not. Nothing is imported here."""
    file, home, name = getattr(module, "__file__", None), _home(module), module.__name__
    if file is None:
        return set()
    files = {Path(file).resolve()}
    if not SITES & set(home.parts):
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
