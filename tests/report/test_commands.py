"""lrsweep.report.texts.commands: the commands in a report compose to the runs that it reports, by Hydra's own reading of them."""

import copy
import itertools
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from made_study import AT_CHANCE, record_of
from omegaconf import OmegaConf

from lrsweep.analysis.summary import with_arms
from lrsweep.cli import main
from lrsweep.config import (
    CONF_DIR,
    AppConfig,
    DataConfig,
    GridConfig,
    LayerFactors,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
    log_grid,
    run_id,
)
from lrsweep.records import RunRecord
from lrsweep.report.texts.commands import commands
from lrsweep.storage import tables
from lrsweep.storage.study_settings import refuse_changes

GRID = log_grid(GridConfig())


@pytest.fixture(autouse=True)
def _schema() -> None:
    main.register()


def apps_of(command: str) -> list[AppConfig]:
    """Every config that a command would run, as Hydra sweeps it."""
    program, *words = shlex.split(command)
    assert program == "lrsweep"
    overrides = [word for word in words if word != "-m"]
    swept = {o.get_key_element(): o for o in OverridesParser.create().parse_overrides(overrides) if o.is_sweep_override()}
    fixed = [word for word in overrides if word.partition("=")[0] not in swept]
    with initialize_config_dir(str(CONF_DIR), **main.VERSION_BASE):
        hydra = compose("config", fixed, return_hydra_config=True).hydra
        plain = compose("config", fixed)
    assert "-m" in words or hydra.mode.name == "MULTIRUN"
    choices = {name: list(override.sweep_string_iterator()) for name, override in swept.items()}
    for name, values in (hydra.sweeper.params or {}).items():  # the study's own
        choices[name] = values.split(",")
    made = []
    for chosen in itertools.product(*choices.values()):
        config = copy.deepcopy(plain)
        for name, value in zip(choices, chosen, strict=True):
            OmegaConf.update(config, name, value)
        made.append(main.to_app_config(config))
    return made


def record_of_run(run: RunConfig) -> RunRecord:
    return RunRecord(**vars(record_of(1e-3, AT_CHANCE)) | {"run_id": run_id(run), "config": asdict(run)})


def table_of(runs: list[RunConfig]) -> pd.DataFrame:
    return with_arms(tables.to_frame([record_of_run(run) for run in runs]))


def runs_of(rates: list[float], seeds: list[int], **settings: Any) -> list[RunConfig]:
    return [RunConfig(seed=seed, optimizer=OptimizerConfig(lr=lr), **settings) for seed in seeds for lr in rates]


STUDIES = {
    "one run": runs_of([1e-3], [0]),
    "the documents' grid": runs_of(GRID, [0, 1, 2]),
    "both losses": runs_of(GRID, [0]) + runs_of(GRID, [0], loss=LossConfig(name="double_softmax")),
    "a part of the grid": runs_of(GRID[3:9], [0]),
    "rates that are no powers of ten": runs_of([3e-4, 0.1 + 0.2, 1 / 3, 5e-324, 1.0], [7]),
    "fresh seeds": runs_of([1e-3, 1e-2], [1000, 1001, 2**31 - 1]),
    "arms of every setting": [
        *runs_of([1e-3], [0, 1], training=TrainingConfig(batch_size=64, patience=20, max_epochs=200)),
        *runs_of([1e-3, 1e-2], [0], data=DataConfig(num_train=64, num_valid=100, num_test=50)),
    ],
    "methods": [
        *runs_of([1e-3], [0, 1], schedule=ScheduleConfig(name="polynomial"), training=TrainingConfig(patience=None)),
        *runs_of([1e-3], [0], schedule=ScheduleConfig(name="piecewise", milestones=[1.0, 2.5], shares=[1.0, 0.5, 0.1])),
        *runs_of([1e-3], [0], schedule=ScheduleConfig(name="cosine", warmup=2.0, length=7.0, final_lr=1e-5)),
        *runs_of([1e-3], [0], model=ModelConfig(batch_norm=True, dropout=0.5, activation="elu", init="he")),
        *runs_of([1e-3], [0], model=ModelConfig(init_from="some where/it's seed-{seed}.pt")),
        *(RunConfig(optimizer=OptimizerConfig(lr=1e-3), model=ModelConfig(init_from=path)) for path in (r"a\b", "a\\", r"a\'b")),
        *(
            RunConfig(optimizer=OptimizerConfig(name=name, layerwise="falling", layers=LayerFactors(conv1=0.0), weight_decay=0.1))
            for name in ("gd", "rmsprop")
        ),
    ],
    "lists, and patience that there is none of": [
        *runs_of([1e-3], [0, 1]),
        *runs_of([1e-3], [0], training=TrainingConfig(patience=None)),
        *runs_of([1e-3], [0], schedule=ScheduleConfig(name="multi_step", milestones=[5.0, 10.0])),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("runs", STUDIES.values(), ids=STUDIES.keys())
def test_the_commands_make_exactly_the_runs_of_the_report(runs: list[RunConfig]) -> None:
    """In any order of the records."""
    apps: list[AppConfig] = []
    for line in commands("lr", table_of(runs[::-1])).splitlines():
        asked = apps_of(line)
        if not asked[0].study.is_open:  # as a sweep is refused that would make another experiment of a study
            refuse_changes(Path("lr"), [asdict(made.run) for made in apps], [made.run for made in asked])
        apps += asked
    assert sorted(run_id(made.run) for made in apps) == sorted(run_id(run) for run in runs)
    assert {made.study.name for made in apps} == {"lr"}


def test_every_setting_of_a_run_is_told() -> None:
    """Whatever setting is added later: each that can differ is part of the command."""
    command = commands("lr", table_of(STUDIES["arms of every setting"]))
    for setting in ("training.batch_size=64", "training.patience=20", "training.max_epochs=200", "data.num_train=64"):
        assert setting in command.split()
    command = commands("lr", table_of(STUDIES["methods"]))
    for setting in ("training.patience=null", "'schedule.shares=[1.0,0.5,0.1]'", "optimizer.layers.conv1=0.0"):
        assert setting in command.split()


def test_a_line_an_arm() -> None:
    assert commands("mine", table_of(STUDIES["both losses"])) == (
        "lrsweep study=lr study.name=mine seed=0\nlrsweep study=lr study.name=mine seed=0 loss=double_softmax study.extend=true"
    )


def test_a_setting_at_its_default_is_left_out() -> None:
    assert commands("mine", table_of(STUDIES["one run"])) == "lrsweep -m study.name=mine optimizer.lr=0.001 seed=0"


@pytest.mark.slow
@pytest.mark.parametrize(
    "study",
    [
        *(
            "reference/lr",
            "Mine",
            "a_b-c.d",
            "학습률 연구",
            "a,b",
            "it's",
            "a b",
            "null",
            "1e3",
            "007",
            "a=b",
            "a[1]{2}",
            "$x `y`",
        ),
        *("'", '"', "~x", "a#b", "x*", "(x)"),
    ],
)
def test_a_study_of_any_name_goes_into_its_own_folder(study: str) -> None:
    """By way of a shell, and of Hydra, to which a bare comma is a sweep and a bare `null` nothing."""
    (made,) = apps_of(commands(study, table_of(STUDIES["one run"])))
    assert made.study.name == study
    assert made.folder == Path("results") / study
