"""The command `lrsweep`, and the parts that it shares with `lrsweep-find`: config, exit codes, Ctrl-C.

Only this package and the launchers know Hydra and OmegaConf. Everything else takes the dataclasses of lrsweep.config.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, Literal, NoReturn, get_origin

import hydra
from hydra._internal.utils import get_args_parser  # Hydra has no public name for it
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationValidationError

from lrsweep import __version__
from lrsweep.cli.errors import explain, is_user_error
from lrsweep.cli.signals import Stopped, stopped_by_signals
from lrsweep.cli.streams import write_any_text
from lrsweep.config import CONF_DIR, DICTS, RESOLVERS, AppConfig, ConfigError, flatten

_IS_HYDRA_1_3 = hydra.__version__.startswith("1.3.")
# Hydra 1.3 warns if version_base is missing, Hydra 1.4 warns if it is given.
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if _IS_HYDRA_1_3 else {}


class SweepIncomplete(Exception):
    """Runs failed or are missing, or a report was not written. The reason is already printed."""


def register() -> None:
    """Register the config schema and the resolvers that conf/ uses."""
    if "schema.yaml" not in ConfigStore.instance().repo:
        _hide_literals(AppConfig)
        schema = OmegaConf.structured(AppConfig)
        for name in DICTS:
            OmegaConf.set_struct(OmegaConf.select(schema, name), False)  # so that model.args.width=128 needs no +
        ConfigStore.instance().store(name="schema", node=schema)
    for name, resolver in RESOLVERS.items():
        _register_resolver(name, resolver)


def _register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    omegaconf: Any = OmegaConf  # typed as Any, because mypy knows only the version that is installed
    if _IS_HYDRA_1_3:  # and OmegaConf 2.3
        omegaconf.register_new_resolver(name, resolver, replace=True)
    else:  # OmegaConf 2.4, which by default warns if a float parameter gets an int
        omegaconf.register_resolver(name, resolver, replace=True, annotation_validation="off")


def compose(*overrides: str, return_hydra_config: bool = False) -> DictConfig:
    """The config of a command with these overrides."""
    register()
    with hydra.initialize_config_dir(str(CONF_DIR), **VERSION_BASE):
        return hydra.compose("config", with_own_groups(list(overrides)), return_hydra_config=return_hydra_config)


def _hide_literals(config: Any) -> None:
    """Declare Literal settings as str to OmegaConf, which does not support Literal before 2.4. The dataclass checks the value."""
    for field in fields(config):
        if is_dataclass(field.type):
            _hide_literals(field.type)
        elif get_origin(field.type) is Literal:
            config.__annotations__[field.name] = str  # OmegaConf reads these; our own checks read dataclasses.fields


def to_app_config(cfg: DictConfig) -> AppConfig:
    """The composed config as dataclasses. Raises ConfigError if a setting is unknown or out of bounds."""
    for name, value in flatten(OmegaConf.to_container(cfg)).items():  # type: ignore[arg-type]  # a dict, because cfg is one
        if name not in _setting_names():  # Hydra accepts +name=value, and the dataclasses would ignore it
            raise ConfigError(f"{name} is not a setting; lrsweep --cfg job lists them all")
        if isinstance(value, str) and value != value.encode(errors="replace").decode():  # a shell passes on any bytes
            raise ConfigError(f"a setting must be valid UTF-8 text, got {value!r}")
    try:
        app = OmegaConf.to_object(cfg)
    except InterpolationValidationError as error:
        if error.full_key:
            raise
        raise _not_a_list(cfg) from error
    assert isinstance(app, AppConfig)
    if app.data.target is None and app.model.target is None and not app.optimizer.rates:
        return app
    from lrsweep.cli.own_code import with_own_code  # PyTorch takes seconds to import

    return with_own_code(app)


def _not_a_list(cfg: DictConfig) -> ConfigError:
    """The error for a list setting whose interpolation gives no list. OmegaConf 2.4 finds it, but does not say where it is."""
    without_types = OmegaConf.create(OmegaConf.to_container(cfg))
    for name in sorted(_setting_names()):
        try:
            OmegaConf.select(cfg, name)
        except InterpolationValidationError:
            return ConfigError(f"{name} must be a list of numbers, got {OmegaConf.select(without_types, name)!r}")
    raise AssertionError("every setting can be read")


@cache
def _setting_names() -> frozenset[str]:
    return frozenset(flatten(asdict(AppConfig())))


def _run_single(cfg: DictConfig) -> float | None:
    _refuse_unused(HydraConfig.get())
    app = to_app_config(cfg)
    from lrsweep.cli.single_run import run_single  # PyTorch takes seconds to import; --help and typos need not wait

    return run_single(app)


def _refuse_unused(hydra_config: Any) -> None:
    """ConfigError if settings of a grid or of a range test are given to a single run that is of no study."""
    words: Any = OmegaConf.to_container(hydra_config.overrides.task)  # they may hold interpolations
    unused = [word for word in words if word.lstrip("+~").startswith(("grid.", "find."))]
    if unused and hydra_config.mode == RunMode.RUN and not any(word.startswith("study=") for word in words):
        raise ConfigError(f"{unused[0]} has no effect on a single run; add study=NAME for a sweep, or use lrsweep-find")


def main() -> None:
    command = os.environ.get("LRSWEEP_COMMAND") or shlex.join(["lrsweep", *sys.argv[1:]])
    run_command(_run_single, f"Finished runs are kept. To continue, run the same command again:\n  {command}")


def run_command(task: Callable[[DictConfig], Any], if_stopped: str) -> None:
    """Compose the config and run the task.

    Exit codes: 2 after a user's mistake, with one line on stderr; 130 after Ctrl-C and 143 after SIGTERM, with the text
    `if_stopped`; 1 if runs failed or are missing, or if a report was not written.
    """
    write_any_text()
    if "--version" in sys.argv[1:]:
        print(f"lrsweep {__version__}, Hydra {hydra.__version__}")
        return
    register()
    show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its exceptions instead of printing them over several lines

    def job(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except Exception as error:
            if show_tracebacks or not is_user_error(error):
                raise
            _refuse(error)  # before Hydra sees the error, because Hydra would print a line of its own

    entry: Callable[[], Any] = hydra.main(config_path=str(CONF_DIR), config_name="config", **VERSION_BASE)(job)
    try:
        sys.argv[1:] = with_study_mode(with_own_groups(options_first(sys.argv[1:])))
        with stopped_by_signals():
            entry()
    except SweepIncomplete:
        sys.exit(1)
    except Stopped as stopped:
        print(f"\nStopped. {if_stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except Exception as error:
        if show_tracebacks or not is_user_error(error):
            raise
        _refuse(error)


def options_first(words: list[str]) -> list[str]:
    """Move Hydra's options before the overrides, because Hydra does not accept overrides on both sides of an option.

    Raises ConfigError if an option is unknown; Hydra would print a usage message.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; lrsweep --hydra-help lists the options")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    overrides: list[str] = parser.parse_intermixed_args(words).overrides
    left = list(overrides)
    options = [word for word in words if not (left and word == left[0] and left.pop(0))]
    return options + overrides


def with_own_groups(words: list[str]) -> list[str]:
    """`data.target=…` alone means `data=own`, whose sizes fit any data. In the same way, `model.target=…` means `model=own`."""
    named = {word.lstrip("+").split("=")[0] for word in words}
    return [*words, *(f"{group}=own" for group in ("data", "model") if f"{group}.target" in named and group not in named)]


def with_study_mode(words: list[str]) -> list[str]:
    """Copy hydra.mode from the study's file to the command line, so that `study=NAME` runs a sweep.

    Hydra 1.4 reads hydra.mode only from the primary config and the command line. Without -m, Hydra refuses the lists of a sweep
    before it looks for typos, so -m is added too, also if the study's name is mistyped.
    """
    files = {f"study={path.stem}": path for path in (CONF_DIR / "study").glob("*.yaml")}
    unquoted = [word.replace("'", "").replace('"', "") for word in words]  # Hydra reads study='lr' like study=lr
    modes = [OmegaConf.select(OmegaConf.load(files[word]), "hydra.mode") for word in unquoted if word in files]
    modes = [mode for mode in modes if mode]
    is_mistyped = any(re.fullmatch(r"study=(?!null)\w+", word) and word not in files for word in unquoted)
    if not (modes or is_mistyped) or any(word.lstrip("+").startswith("hydra.mode=") for word in words):
        return words
    has_option = any(word.startswith("-") for word in words)
    return [*([] if has_option else ["-m"]), *words, *(f"hydra.mode={mode}" for mode in modes[-1:])]


def _refuse(error: BaseException) -> NoReturn:
    print(explain(error), file=sys.stderr)
    sys.exit(2)
