"""Every file in conf/ composes to the settings it holds."""

from functools import cache
from typing import Any

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lrsweep.cli.confirm import study_config
from lrsweep.cli.main import compose, to_app_config
from lrsweep.config import CONF_DIR, AppConfig, GridConfig, StudyConfig, flatten, log_grid, run_id

FILES = [path.relative_to(CONF_DIR).with_suffix("") for path in sorted(CONF_DIR.glob("*/*.yaml"))]
OPTIONS = [(path.parent.name, path.stem) for path in FILES if path.parent.name != "study"]
STUDIES = [path.stem for path in FILES if path.parent.name == "study"]
LAUNCHERS = [path.stem for path in sorted((CONF_DIR / "hydra" / "launcher").glob("*.yaml"))]


def text_of(group: str, option: str) -> str:
    return (CONF_DIR / group / f"{option}.yaml").read_text(encoding="utf-8")


def app_of(*overrides: str) -> AppConfig:
    return to_app_config(compose(*overrides))


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=[f"{group}/{option}" for group, option in OPTIONS])
def test_an_option_composes_to_the_settings_in_its_file(group: str, option: str) -> None:
    app = flatten(OmegaConf.to_container(compose(f"{group}={option}"), throw_on_missing=True))  # type: ignore[arg-type]
    content = yaml.safe_load(text_of(group, option))
    for name, value in flatten(content if group == "technique" else {group: content}).items():
        # YAML 1.1 reads 1e-3 as a string, OmegaConf as a number.
        assert app[name] == (float(value) if isinstance(app[name], float) else value)


@pytest.mark.parametrize("option", LAUNCHERS)
def test_a_launcher_composes(option: str) -> None:
    config = compose(f"hydra/launcher={option}", return_hydra_config=True)
    assert config.hydra.launcher._target_.startswith("hydra_plugins.lrsweep_launchers.launchers.")
    assert config.hydra.job.chdir is False  # no job leaves the folder it was started in


def test_the_defaults_in_conf_are_those_of_the_dataclasses() -> None:
    assert app_of() == AppConfig()


def test_every_folder_is_in_the_defaults_list() -> None:
    listed = yaml.safe_load((CONF_DIR / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    names = {name for entry in listed if isinstance(entry, dict) for name in entry if " " not in name}
    assert names == {path.parent.name for path in FILES}


# The studies.


@cache
def sweep_of(study: str) -> DictConfig:
    """The config that all runs of a study share."""
    return compose(f"study={study}", return_hydra_config=True)


def jobs_of(study: str) -> list[list[str]]:
    """The overrides of each run of a study, split by Hydra's own sweeper."""
    params = sweep_of(study).hydra.sweeper.params or {}
    overrides = OverridesParser.create().parse_overrides([f"{name}={values}" for name, values in params.items()])
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return [list(job) for job in jobs]


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_opens_with_the_command_that_runs_it(study: str) -> None:
    command = "lrsweep" if study == "single" else f"lrsweep study={study}"
    assert text_of("study", study).startswith(f"# @package _global_\n# {command}\n#\n")
    assert sweep_of(study).hydra.mode == (None if study == "single" else RunMode.MULTIRUN)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_named_after_its_file(study: str) -> None:
    assert sweep_of(study).study.name == study


@pytest.mark.parametrize("study", STUDIES)
def test_lrsweep_confirm_reads_the_study_like_hydra(study: str) -> None:
    """lrsweep-confirm reads the file without Hydra, so the values must be plain."""
    assert study_config(study) == StudyConfig(**OmegaConf.to_container(sweep_of(study).study))


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_the_runs_of_a_study_compose(study: str) -> None:
    """Only one run is composed for each combination of compared settings."""
    repeated = ("optimizer.lr", "grid.offset", "seed")
    compared = {tuple(o for o in job if not o.startswith(repeated)): job for job in jobs_of(study)}
    names = [run_id(app_of(f"study={study}", *job).run) for job in compared.values()]
    assert len(set(names)) == len(compared)


@pytest.mark.parametrize(
    ("overrides", "grid"),
    [
        ([], GridConfig()),
        (["grid.start=-4", "grid.stop=-2", "grid.step=0.25"], GridConfig(start=-4.0, stop=-2.0, step=0.25)),
    ],
    ids=["default", "coarse"],
)
def test_the_lr_study_sweeps_its_grid(overrides: list[str], grid: GridConfig) -> None:
    params: Any = compose("study=lr", *overrides, return_hydra_config=True).hydra.sweeper.params
    assert [float(lr) for lr in params["optimizer.lr"].split(",")] == log_grid(grid)
