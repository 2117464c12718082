"""conf/: every file composes, and says what the schema says."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from lrsweep.app import register, to_app_config
from lrsweep.config import CONF_DIR, AppConfig, GridConfig, flatten, log_grid

GROUPS = sorted(path.name for path in CONF_DIR.iterdir() if path.is_dir())
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF_DIR / group).glob("*.yaml"))]
STUDIES = [option for group, option in OPTIONS if group == "study"]


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield


def composed(*overrides: str, **options: Any) -> DictConfig:
    return compose("config", overrides=list(overrides), **options)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=["/".join(pair) for pair in OPTIONS])
def test_every_option_composes(group: str, option: str) -> None:
    app = asdict(to_app_config(composed(f"{group}={option}")))
    said = yaml.safe_load((CONF_DIR / group / f"{option}.yaml").read_text(encoding="utf-8"))
    said = {name: said[name] for name in ("study", "grid") if name in said} if group == "study" else {group: said}
    for name, value in flatten(said).items():
        # YAML 1.1 reads 1e-3 as text, OmegaConf as a number.
        assert flatten(app)[name] == (float(value) if name == "optimizer.lr" else value)


def test_the_yaml_defaults_are_the_dataclasses_defaults() -> None:
    assert to_app_config(composed()) == AppConfig()


def test_every_folder_is_a_group_of_the_defaults_list() -> None:
    listed = yaml.safe_load((CONF_DIR / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    assert {name for entry in listed if isinstance(entry, dict) for name in entry if " " not in name} == set(GROUPS)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_opens_with_the_command_that_runs_it(study: str) -> None:
    lines = (CONF_DIR / "study" / f"{study}.yaml").read_text(encoding="utf-8").splitlines()
    opening = [line.removeprefix("#").strip() for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")]]
    command = next(line for line in opening if re.match(r"lrsweep\b", line))
    assert to_app_config(composed(*shlex.split(command)[1:])).study.name == study


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_named_after_its_file(study: str) -> None:
    assert to_app_config(composed(f"study={study}")).study.name == study


@pytest.mark.parametrize(
    ("overrides", "grid"),
    [
        ([], GridConfig()),
        (["grid.start=-4", "grid.stop=-2", "grid.step=0.25"], GridConfig(start=-4.0, stop=-2.0, step=0.25)),
    ],
    ids=["default", "coarse"],
)
def test_the_lr_study_sweeps_its_grid(overrides: list[str], grid: GridConfig) -> None:
    hydra = composed("study=lr", *overrides, return_hydra_config=True).hydra
    assert hydra.mode.name == "MULTIRUN"
    assert [float(lr) for lr in hydra.sweeper.params["optimizer.lr"].split(",")] == log_grid(grid)


def test_no_job_leaves_the_folder_it_was_started_in() -> None:
    assert composed(return_hydra_config=True).hydra.job.chdir is False
