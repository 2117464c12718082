"""How a setting is refused: in one line that names it, its bound and its value."""

from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line for the person who set it."""


def require(holds: bool, name: str, bound: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {bound}, got {value!r}")


def require_one_of(name: str, known: Iterable[str], value: str) -> None:
    require(value in known, name, "one of " + ", ".join(known), value)


def require_inside(name: str, folder: str) -> None:
    """A folder below another on any system, that hides from no listing and that no command takes for an option."""
    parts = Path(folder).parts
    is_plain = parts and all(part[0] not in "/.-" for part in parts) and "\\" not in folder and folder.isprintable()
    require(bool(is_plain), name, "a plain relative path, with no backslash and no part that begins with '.' or '-'", folder)


def refuse_unused(group: str, config: Any, uses: dict[str, tuple[str, ...]]) -> None:
    """A setting that this choice of the group does not read is a mistake, not a wish to be ignored."""
    default = type(config).__dataclass_fields__
    for name in sorted({name for names in uses.values() for name in names} - set(uses[config.name])):
        if getattr(config, name) != _default(default[name]):
            users = ", ".join(user for user, names in uses.items() if name in names)
            raise ConfigError(f"{group}.{name} means nothing to {group}={config.name}; it is a setting of {users}")


def _default(of: Field[Any]) -> Any:
    return of.default if of.default_factory is MISSING else of.default_factory()


def read_floats(config: Any) -> None:
    """1 and 1.0 are one setting, and one name of a run."""
    for of in fields(config):
        value = getattr(config, of.name)
        if of.type in (float, float | None) and isinstance(value, int):
            setattr(config, of.name, float(value))
        elif of.type == list[float]:
            setattr(config, of.name, [float(x) for x in value])
