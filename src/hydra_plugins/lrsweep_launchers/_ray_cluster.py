"""Connect to a running Ray cluster, or start Ray on this machine and stop it at the end."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from hydra_plugins.lrsweep_launchers import _watchdog
from lrsweep.config import ConfigError

_CONNECT_SECONDS = 10
_NEW_CLUSTER_ONLY = ("include_dashboard", "num_cpus", "num_gpus", "object_store_memory")  # an existing cluster refuses them


def import_ray(init: dict[str, Any]) -> Any:
    """Import Ray. Raises ConfigError if there is no cluster at `address`."""
    if init.get("address") == "local":
        # Ray reads these variables on import. The first one is meant for Windows and macOS, where Ray supports a single machine.
        # The value 0 keeps all ports on loopback, on Linux as well. The token keeps other users of this machine out.
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **token}
    else:
        _require_listener(str(init.get("address")))
    import ray

    return ray


@contextmanager
def connected(ray: Any, init: dict[str, Any]) -> Iterator[None]:
    """Connect to a running Ray, or start Ray here and stop it at the end."""
    if init.get("address") == "local":
        ends_with_sweep: AbstractContextManager[None] = _killed_with_this_process()
    else:
        init = {name: value for name, value in init.items() if name not in _NEW_CLUSTER_ONLY}
        ends_with_sweep = nullcontext()
    with ends_with_sweep:
        try:
            with as_config_error("hydra.launcher.ray.init", ConnectionError, RuntimeError, ray.exceptions.RayError):
                ray.init(**init)
            yield
        finally:
            ray.shutdown()


@contextmanager
def as_config_error(setting: str, *more: type[Exception]) -> Iterator[None]:
    """Turn the errors that Ray raises for invalid arguments into ConfigError: ValueError, TypeError and the types in `more`."""
    kinds: tuple[type[Exception], ...] = (ValueError, TypeError, *more)
    try:
        yield
    except kinds as error:
        raise ConfigError(f"{setting}: {' '.join(str(error).split())}") from error


@contextmanager
def _killed_with_this_process() -> Iterator[None]:
    """If this process is killed inside this context, a watchdog kills all processes that it has started."""
    name, value = "LRSWEEP_RAY", secrets.token_hex(16)
    command = [sys.executable, "-I", _watchdog.__file__, str(os.getpid()), f"{name}={value}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watchdog:
        os.environ[name] = value  # Ray's processes inherit it
        try:
            yield
        finally:
            del os.environ[name]
            watchdog.communicate(b"The sweep has ended by itself.")


def _require_listener(address: str) -> None:
    """Raise ConfigError at once if nothing listens at host:port. Ray would keep trying for more than a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ConfigError(f"hydra.launcher.ray.init.address: nothing answers at {address} ({error})") from error
