"""From a config to runs: Hydra's entry, and how every command of it begins and ends.

Hydra and OmegaConf end here (refusal.py words their errors): below, everything takes the dataclasses of config.py.
"""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import FrameType
from typing import Any, Literal, NoReturn, get_origin

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from lrsweep.cli.errors import explain, is_refusal
from lrsweep.config import CONF_DIR, RESOLVERS, AppConfig, ConfigError, flatten


class Stopped(Exception):
    """By Ctrl-C, or by SIGTERM, which is taken as Ctrl-C."""

    def __init__(self, signal_number: int) -> None:
        self.exit_code = 128 + signal_number  # as a shell has it


class SweepIncomplete(Exception):
    """A sweep that left runs failed or missing; the sweep itself has said which."""


def register() -> None:
    """Give Hydra the schema and the resolvers of conf/."""
    _hide_literals(AppConfig)
    ConfigStore.instance().store(name="schema", node=AppConfig)
    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _hide_literals(config: Any) -> None:
    """Let OmegaConf see str where a setting is a Literal, which it does not know before 2.4. The dataclass checks the choice."""
    for field in fields(config):
        if is_dataclass(field.type):
            _hide_literals(field.type)
        elif get_origin(field.type) is Literal:
            config.__annotations__[field.name] = str  # OmegaConf reads these; our own checks read dataclasses.fields


def to_app_config(cfg: DictConfig) -> AppConfig:
    """The composed config as dataclasses, every bound checked."""
    for name, value in flatten(OmegaConf.to_container(cfg)).items():  # type: ignore[arg-type]  # a dict, since cfg is one
        if name not in _known():  # Hydra lets +name=value through, and the dataclasses would ignore it
            raise ConfigError(f"{name} is not a setting; lrsweep --cfg job lists them all")
        if isinstance(value, str) and value != value.encode(errors="replace").decode():  # a terminal hands on any bytes
            raise ConfigError(f"{name} must be text that UTF-8 can hold, got {value!r}")
    app = OmegaConf.to_object(cfg)
    assert isinstance(app, AppConfig)
    return app


@cache
def _known() -> frozenset[str]:
    return frozenset(flatten(asdict(AppConfig())))


def _run_single(cfg: DictConfig) -> float | None:
    settings = to_app_config(cfg)
    from lrsweep.cli.single_run import (
        run_single,  # imports PyTorch, seconds that a typo, --help or a completion need not wait for
    )

    return run_single(settings)


def main() -> None:
    """The console command."""
    command = os.environ.get("LRSWEEP_COMMAND") or shlex.join(["lrsweep", *sys.argv[1:]])
    run_command(_run_single, f"What is done is kept. To go on, give the same command again:\n  {command}")


def run_command(task: Callable[[DictConfig], Any], if_stopped: str) -> None:
    """Compose and run. A person's mistake is one line and exit code 2; Ctrl-C is 130, SIGTERM 143; runs missing or failed, 1."""
    register()
    show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands us its exceptions instead of printing them over several lines

    def job(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except Exception as error:
            if show_tracebacks or not is_refusal(error):
                raise
            _refuse(error)  # here already: on its way through Hydra it would be announced by a second line

    entry: Callable[[], Any] = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(job)
    try:
        with _stopped_by_signals():
            entry()
    except SweepIncomplete:
        sys.exit(1)
    except Stopped as stopped:
        print(f"\nStopped. {if_stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except Exception as error:
        if show_tracebacks or not is_refusal(error):
            raise
        _refuse(error)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    received = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        received.append(number)
        for each in heard:
            signal.signal(each, signal.SIG_IGN)  # the way out is short, and a second Ctrl-C would cut it shorter
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    except KeyboardInterrupt as interrupt:  # ours, or Ray's, which it raises in the place of ours
        raise Stopped(received[0] if received else signal.SIGINT) from interrupt
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:  # else the process is on its way out
                signal.signal(number, handler)


def _refuse(error: BaseException) -> NoReturn:
    print(explain(error), file=sys.stderr)
    sys.exit(2)
