"""Checks of settings. An error is one line with the setting's name, its bound and the value it got."""

from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line for the person who set it."""


def require(holds: bool, name: str, bound: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {bound}, got {value!r}")


def require_one_of(name: str, choices: Iterable[str], value: str) -> None:
    require(value in choices, name, "one of " + ", ".join(choices), value)


def require_choices(group: str, config: Any) -> None:
    """Check every setting whose type is a Literal."""
    for field in fields(config):
        if get_origin(field.type) is Literal:
            require_one_of(f"{group}.{field.name}", get_args(field.type), getattr(config, field.name))


def default_of(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def require_used(group: str, config: Any, uses: dict[str, tuple[str, ...]]) -> None:
    """Refuse a changed setting that the chosen optimizer or schedule does not use: it would silently have no effect."""
    unused = {name for names in uses.values() for name in names} - set(uses[config.name])
    for field in fields(config):
        if field.name in unused and getattr(config, field.name) != default_of(field):
            users = ", ".join(user for user, names in uses.items() if field.name in names)
            raise ConfigError(f"{group}.{field.name} is not used by {group}={config.name}, only by {users}")


def require_inside(name: str, folder: str) -> None:
    """Require a relative path that cannot leave its parent folder on any OS, is not hidden, and does not look like an option."""
    parts = Path(folder).parts
    is_plain = parts and all(part[0] not in "/.-" for part in parts) and "\\" not in folder and folder.isprintable()
    require(bool(is_plain), name, "a plain relative path, with no backslash and no part that begins with '.' or '-'", folder)


def require_path(name: str, path: str | None) -> None:
    require(path != "", name, "a path, which cannot be empty", path)


def convert_floats(group: str, config: Any) -> None:
    """Store 1 as 1.0 where a setting is a float, so that both give the same run_id.

    OmegaConf does not check the type of a list that comes from an interpolation, so this does.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type in (float, float | None) and isinstance(value, int):
            setattr(config, field.name, float(value))
        elif field.type == list[float]:
            is_list = isinstance(value, list) and all(isinstance(x, int | float) for x in value)
            require(is_list, f"{group}.{field.name}", "a list of numbers", value)
            setattr(config, field.name, [float(x) for x in value])
