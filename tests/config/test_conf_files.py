"""conf/: every file composes, and says what the schema says."""

import re
import shlex
from dataclasses import asdict
from functools import cache
from itertools import takewhile
from typing import Any

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from lrsweep.cli.main import compose, to_app_config
from lrsweep.config import CONF_DIR, AppConfig, GridConfig, flatten, log_grid, run_id

GROUPS = sorted(path.name for path in CONF_DIR.iterdir() if path.is_dir() and path.name != "hydra")  # whose groups are Hydra's
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF_DIR / group).glob("*.yaml"))]
STUDIES = [option for group, option in OPTIONS if group == "study"]
PACKAGES = ("study", "technique")  # their files change other groups' settings; all others' hold their own


def said_in(group: str, option: str) -> dict[str, Any]:
    """The settings that a file names, as dotted names."""
    said = yaml.safe_load((CONF_DIR / group / f"{option}.yaml").read_text(encoding="utf-8"))
    return flatten(said if group in PACKAGES else {group: said})


NOT_STUDIES = [pair for pair in OPTIONS if pair[0] != "study"]


@pytest.mark.parametrize(("group", "option"), NOT_STUDIES, ids=["/".join(pair) for pair in NOT_STUDIES])
def test_every_option_composes_to_what_it_says(group: str, option: str) -> None:
    app = flatten(asdict(to_app_config(compose(f"{group}={option}"))))
    for name, value in said_in(group, option).items():
        # YAML 1.1 reads 1e-3 as text, OmegaConf as a number.
        assert app[name] == (float(value) if isinstance(app[name], float) else value)


@pytest.mark.parametrize("option", [path.stem for path in sorted((CONF_DIR / "hydra" / "launcher").glob("*.yaml"))])
def test_every_launcher_composes_to_one_of_ours(option: str) -> None:
    launcher = compose(f"hydra/launcher={option}", return_hydra_config=True).hydra.launcher
    assert launcher._target_.startswith("hydra_plugins.lrsweep_launchers.launchers.")


def test_the_yaml_defaults_are_the_dataclasses_defaults() -> None:
    assert to_app_config(compose()) == AppConfig()


def test_every_folder_is_a_group_of_the_defaults_list() -> None:
    listed = yaml.safe_load((CONF_DIR / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    assert {name for entry in listed if isinstance(entry, dict) for name in entry if " " not in name} == set(GROUPS)


# The studies.

SIZED = [study for study in STUDIES if "${study.size}" in said_in("study", study)["study.name"]]
SIZES = [(study, size) for study in STUDIES for size in (("small", "full") if study in SIZED else ("small",))]
COMMON = ("optimizer.lr", "grid.offset", "seed")  # what a study has many values of for each of the things that it compares


@cache
def sweep_of(study: str, size: str) -> DictConfig:
    """What all of a study's runs have in common."""
    return compose(f"study={study}", f"study.size={size}", return_hydra_config=True)


def jobs_of(study: str, size: str) -> list[list[str]]:
    """The overrides of each of a study's runs, as Hydra's own sweeper takes them apart."""
    params = sweep_of(study, size).hydra.sweeper.params or {}
    overrides = OverridesParser.create().parse_overrides([f"{name}={values}" for name, values in params.items()])
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return [list(job) for job in jobs]


def app_of(study: str, size: str, job: list[str]) -> AppConfig:
    return to_app_config(compose(f"study={study}", f"study.size={size}", *job))


def opening_of(study: str) -> list[str]:
    lines = (CONF_DIR / "study" / f"{study}.yaml").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines)]


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_opens_with_the_command_that_runs_it(study: str) -> None:
    command = next(line for line in opening_of(study) if re.match(r"lrsweep\b", line))
    cfg = compose(*shlex.split(command)[1:], return_hydra_config=True)
    assert cfg.study.name == (f"{study}/small" if study in SIZED else study)
    assert cfg.hydra.mode == (None if study == "single" else RunMode.MULTIRUN)


@pytest.mark.parametrize(
    ("study", "size"), [pytest.param(*pair, marks=pytest.mark.slow if pair[1] == "full" else ()) for pair in SIZES]
)
def test_a_study_is_named_after_its_file_and_its_first_run_composes(study: str, size: str) -> None:
    app = app_of(study, size, jobs_of(study, size)[0])
    assert app.study.name == (f"{study}/{size}" if study in SIZED else study)


@pytest.mark.parametrize(("study", "size"), [pair for pair in SIZES if pair[0] in SIZED])
def test_a_study_has_as_many_runs_and_epochs_as_it_opens_with(study: str, size: str) -> None:
    label = {"small": "Small", "full": r"Full \(study\.size=full\)"}[size]
    told = re.search(label + r": ([\d,]+) runs of (\d+) epochs", " ".join(opening_of(study)))
    assert told is not None
    num_runs, max_epochs = len(jobs_of(study, size)), sweep_of(study, size).training.max_epochs
    assert (f"{num_runs:,}", str(max_epochs)) == told.groups()


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_everything_that_a_study_compares_composes(study: str) -> None:
    """One run each; that a setting means something to its schedule or optimizer is checked on the way."""
    compared = {tuple(o for o in job if not o.startswith(COMMON)): job for job in jobs_of(study, "small")}
    names = [run_id(app_of(study, "small", job).run) for job in compared.values()]
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
    hydra = compose("study=lr", *overrides, return_hydra_config=True).hydra
    assert hydra.mode.name == "MULTIRUN"
    assert [float(lr) for lr in hydra.sweeper.params["optimizer.lr"].split(",")] == log_grid(grid)


def test_no_job_leaves_the_folder_it_was_started_in() -> None:
    assert compose(return_hydra_config=True).hydra.job.chdir is False
