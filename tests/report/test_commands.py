"""The commands in a report repeat exactly its runs, as Hydra reads them."""

import copy
import itertools
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from synthetic_study import AT_CHANCE, record_of

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
from lrsweep.report.texts.commands import rerun_commands
from lrsweep.storage import tables
from lrsweep.storage.study_settings import refuse_new_arms

GRID = log_grid(GridConfig())


@pytest.fixture(autouse=True)
def _schema() -> None:
    main.register()


def lines_of(commands: str) -> list[str]:
    """The commands as a shell reads them: a backslash at the end of a line continues it."""
    return commands.replace("\\\n", "").splitlines()


def apps_of(command: str) -> list[AppConfig]:
    """All configs that a command runs, as Hydra sweeps them."""
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
    choices |= {name: values.split(",") for name, values in (hydra.sweeper.params or {}).items()}
    apps = []
    for chosen in itertools.product(*choices.values()):
        config = copy.deepcopy(plain)
        for name, value in zip(choices, chosen, strict=True):
            OmegaConf.update(config, name, value)
        apps.append(main.to_app_config(config))
    return apps


def table_of(runs: list[RunConfig]) -> pd.DataFrame:
    template = vars(record_of(1e-3, AT_CHANCE))
    return with_arms(tables.to_frame([RunRecord(**template | {"run_id": run_id(run), "config": asdict(run)}) for run in runs]))


def runs_of(rates: list[float], seeds: list[int], **settings: Any) -> list[RunConfig]:
    return [RunConfig(seed=seed, optimizer=OptimizerConfig(lr=lr), **settings) for seed in seeds for lr in rates]


STUDIES = {
    "one run": runs_of([1e-3], [0]),
    "both losses": runs_of(GRID, [0]) + runs_of(GRID, [0], loss=LossConfig(name="double_softmax")),
    "part of the grid": runs_of(GRID[3:9], [*range(3, 9)]),
    "every other rate": runs_of(GRID[3:9:2], [0, 1, 3, 4]),
    "rates that are no powers of ten": runs_of([3e-4, 0.1 + 0.2, 1 / 3, 5e-324, 1.0], [7, 1000, 2**31 - 1]),
    "training and data": [
        *runs_of([1e-3], [0, 1], training=TrainingConfig(batch_size=64, patience=20, max_epochs=200)),
        *runs_of([1e-3, 1e-2], [0], data=DataConfig(num_train=64, num_valid=100, num_test=50)),
    ],
    "methods": [
        *runs_of([1e-3], [0, 1], schedule=ScheduleConfig(name="polynomial"), training=TrainingConfig(patience=None)),
        *runs_of([1e-3], [0], schedule=ScheduleConfig(name="piecewise", milestones=[1.0, 2.5], shares=[1.0, 0.5, 0.1])),
        *runs_of([1e-3], [0], schedule=ScheduleConfig(name="multi_step", milestones=[5.0, 10.0])),
        *runs_of([1e-3], [0], schedule=ScheduleConfig(name="cosine", warmup=2.0, length=7.0, final_lr=1e-5)),
        *runs_of([1e-3], [0], model=ModelConfig(batch_norm=True, dropout=0.5, activation="elu", init="he")),
        *runs_of([1e-3], [0], model=ModelConfig(init_from="some where/it's seed-{seed}.pt")),
        *(RunConfig(optimizer=OptimizerConfig(lr=1e-3), model=ModelConfig(init_from=path)) for path in (r"a\b", "a\\", r"a\'b")),
        *(
            RunConfig(optimizer=OptimizerConfig(name=name, layerwise="falling", layers=LayerFactors(conv1=0.0), weight_decay=0.1))
            for name in ("gd", "rmsprop")
        ),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("runs", STUDIES.values(), ids=STUDIES.keys())
def test_the_commands_repeat_exactly_the_runs_of_the_report(runs: list[RunConfig]) -> None:
    apps: list[AppConfig] = []
    for line in lines_of(rerun_commands("lr", table_of(runs[::-1]))):
        next_apps = apps_of(line)
        if not next_apps[0].study.is_open:  # a sweep would refuse to add runs with other settings
            refuse_new_arms(Path("lr"), [asdict(app.run) for app in apps], set(), [app.run for app in next_apps])
        apps += next_apps
    assert sorted(run_id(app.run) for app in apps) == sorted(run_id(run) for run in runs)
    assert {app.study.name for app in apps} == {"lr"}


def test_the_text_of_the_commands() -> None:
    assert rerun_commands("mine", table_of(STUDIES["one run"])) == "lrsweep -m study.name=mine optimizer.lr=0.001 seed=0"
    assert rerun_commands("mine", table_of(STUDIES["both losses"])) == (
        "lrsweep study=lr study.name=mine seed=0\n"
        "lrsweep study=lr study.name=mine \\\n  seed=0 \\\n  loss=double_softmax \\\n  study.extend=true"
    )
    assert rerun_commands("mine", table_of(STUDIES["part of the grid"])) == (
        'lrsweep study=lr study.name=mine \\\n  grid.start=-5.7 \\\n  grid.stop=-5.2 \\\n  seed="range(3,9)"'
    )
    assert rerun_commands("mine", table_of(STUDIES["one run"]), delta=0.01).endswith(" \\\n  study.delta=0.01")
    settings = rerun_commands("mine", table_of(STUDIES["training and data"])).split()
    assert {"training.batch_size=64", "training.patience=20", "training.max_epochs=200", "data.num_train=64"} <= set(settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "study",
    [
        *("reference/lr", "a_b-c.d", "학습률 연구", "a,b", "it's", "a b", "null", "1e3", "007", "a=b", "a[1]{2}", "$x `y`"),
        *("'", '"', "~x", "a#b", "x*", "(x)"),
    ],
)
def test_a_study_with_any_name_goes_into_its_own_folder(study: str) -> None:
    """The name passes through a shell and through Hydra, where a comma starts a sweep and `null` means nothing."""
    (command,) = lines_of(rerun_commands(study, table_of(STUDIES["one run"])))
    (app,) = apps_of(command)
    assert app.study.name == study
    assert app.folder == Path("results") / study


def test_the_command_repeats_runs_of_an_own_network_and_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my scans, 사진"
    folder.mkdir()
    np.savez(folder / "a.npz", x=np.zeros((60, 4, 4), np.uint8), y=np.arange(60) % 3)
    (tmp_path / "net_with_odd_arguments.py").write_text(
        "from torch import nn\n\ndef net(num_classes, **others):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(16, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = "{note: 'it''s {odd}, \"is\" it?', sizes: [1, 2.5], none: null, deep: {flag: true}}".replace("''", "\\'")
    words = [
        "data=arrays",
        f"data.path='{folder / 'a.npz'}'",
        "model.target=net_with_odd_arguments:net",
        f"model.args={arguments}",
    ]
    first = main.to_app_config(main.compose(*words, "optimizer.rates={1.weight: 0.1}")).run
    runs = [replace(first, seed=seed) for seed in (0, 3)]
    assert first.model.args == {"note": 'it\'s {odd}, "is" it?', "sizes": [1, 2.5], "none": None, "deep": {"flag": True}}
    (command,) = lines_of(rerun_commands("mine", table_of(runs)))
    assert [app.run for app in apps_of(command)] == runs
