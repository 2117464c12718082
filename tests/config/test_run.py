"""The settings that define a run, and its run_id."""

import math
import re
from dataclasses import asdict, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsweep.config import (
    WITHOUT_EFFECT,
    AppConfig,
    ConfigError,
    DataConfig,
    GridConfig,
    LayerFactors,
    LossConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StudyConfig,
    TrackerConfig,
    TrainingConfig,
    flatten,
    per_seed,
    run_id,
)
from lrsweep.config.optimizer import _OPTIMIZER_USES
from lrsweep.config.schedule import _SCHEDULE_USES
from lrsweep.training.schedules import lr_at, pace_of

GROUPS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "loss": LossConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "training": TrainingConfig,
}
USES = {"optimizer": _OPTIMIZER_USES, "schedule": _SCHEDULE_USES}


def test_the_defaults_are_those_of_the_documents() -> None:
    """If this fails because you changed a default: raise records.SCHEMA_VERSION, because run_id leaves defaults out."""
    assert flatten(asdict(RunConfig())) == {
        "seed": 0,
        "data.num_train": 3_000,
        "data.num_valid": 5_000,
        "data.num_test": 10_000,
        "data.skip": 0,
        "data.max_shift": 0.0,
        "data.max_rotation": 0.0,
        "data.classes": None,
        "data.name": "mnist",
        "data.target": None,
        "data.args": {},
        "data.path": None,
        "data.shape": [1, 28, 28],
        "data.num_classes": 10,
        "data.content": None,
        "model.name": "cnn",
        "model.target": None,
        "model.args": {},
        "model.source": None,
        "model.activation": "sigmoid",
        "model.conv_activation": "relu",
        "model.pool": "max",
        "model.dropout": 0.0,
        "model.batch_norm": False,
        "model.init": "pytorch",
        "model.init_from": None,
        "model.new_output": False,
        "loss.name": "cross_entropy",
        "loss.l1": 0.0,
        "loss.l2": 0.0,
        "optimizer.name": "adamw",
        "optimizer.lr": 1e-3,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": None,
        "optimizer.layerwise": "uniform",
        "optimizer.layer_factor": 2.0,
        "optimizer.rates": {},
        **{f"optimizer.layers.{layer}": 1.0 for layer in ("conv1", "conv2", "conv3", "dense", "output")},
        "schedule.name": "constant",
        "schedule.unit": "epoch",
        "schedule.warmup": 0.0,
        "schedule.warmup_start": 0.001,
        "schedule.warmup_start_lr": None,
        "schedule.length": None,
        "schedule.final": 0.0,
        "schedule.final_lr": None,
        "schedule.factor": 0.1,
        "schedule.every": 10.0,
        "schedule.milestones": [],
        "schedule.shares": [],
        "schedule.power": 1.0,
        "schedule.period": 10.0,
        "schedule.period_growth": 1.0,
        "schedule.low": 0.04,
        "schedule.tail": 0.1,
        "schedule.rise": 0.3,
        "schedule.patience": 2,
        "schedule.threshold": 1e-4,
        "schedule.cooldown": 0,
        "schedule.max_batch_size": 512,
        "training.batch_size": 32,
        "training.patience": 5,
        "training.max_epochs": 1_000,
        "training.score": "best",
        "training.validate_every": 1,
        "training.precision": "fp32",
    }


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (RunConfig(), "44136fa355b3678a"),
        (RunConfig(seed=1, optimizer=OptimizerConfig(lr=10**-3.1)), "116992a20f704cf2"),
    ],
)
def test_run_ids_do_not_change_between_versions(run: RunConfig, name: str) -> None:
    assert run_id(run) == name


@pytest.mark.parametrize("number", [int, float])
def test_a_whole_number_and_its_float_give_the_same_run_id(number: type) -> None:
    one, two = number(1), number(2)
    run = RunConfig(
        data=DataConfig(max_shift=two),
        loss=LossConfig(l2=one),
        optimizer=OptimizerConfig(lr=one, weight_decay=one, layers=LayerFactors(dense=two)),
        schedule=ScheduleConfig(name="piecewise", warmup=one, milestones=[one, two], shares=[one, one, two]),
    )
    assert run_id(run) == "2c5f31cd41d1fd76"


def test_the_order_of_the_classes_does_not_change_the_run_id() -> None:
    first, second = (run_id(RunConfig(data=DataConfig(classes=classes))) for classes in ([7, 0, 3], [3, 7, 0]))
    assert first == second != run_id(RunConfig())


def test_by_default_all_test_images_of_the_classes_are_used() -> None:
    assert DataConfig(classes=[0, 1, 2, 3, 4]).num_test == 5_139
    assert DataConfig(classes=[0, 1], num_test=50).num_test == 50


def test_a_new_output_layer_may_have_any_initialisation() -> None:
    assert ModelConfig(init="he", init_from="weights.pt", new_output=True).init == "he"


@pytest.mark.parametrize(
    ("every", "max_epochs", "validated"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (3, 6, [3, 6]), (5, 5, [5]), (9, 4, [4])]
)
def test_every_nth_epoch_and_the_last_one_are_validated(every: int, max_epochs: int, validated: list[int]) -> None:
    training = TrainingConfig(patience=None, max_epochs=max_epochs, validate_every=every)
    assert [epoch for epoch in range(1, max_epochs + 1) if training.validates(epoch)] == validated


def test_every_setting_changes_the_run_id() -> None:
    names = [run_id(RunConfig())]
    for setting in flatten(asdict(RunConfig())).keys() - set(WITHOUT_EFFECT):  # the content counts, not its place or name
        run = RunConfig()
        *groups, name = setting.split(".")
        setattr(reduce(getattr, groups, run), name, "another value")  # run_id does not check it
        names.append(run_id(run))
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "app",
    [
        AppConfig(study=StudyConfig(name="other")),
        AppConfig(grid=GridConfig(start=-5.0, stop=-4.0, step=0.5)),
        AppConfig(machine=MachineConfig(device="cpu", threads=8, data_dir="elsewhere", results_dir="elsewhere")),
        AppConfig(tracker=TrackerConfig(name="mlflow")),
    ],
    ids=["study", "grid", "machine", "tracker"],
)
def test_study_grid_machine_and_tracker_do_not_define_the_run(app: AppConfig) -> None:
    assert app.run == RunConfig()
    assert type(app.run) is RunConfig


def test_the_folder_of_a_study_is_inside_the_results() -> None:
    app = AppConfig(study=StudyConfig(name="reference/lr"), machine=MachineConfig(results_dir="out"))
    assert app.folder == Path("out/reference/lr")


@pytest.mark.parametrize("batch_size", [TrainingConfig.batch_size, 500])
def test_the_batch_of_gradient_descent_is_all_training_images(batch_size: int) -> None:
    gd, data = OptimizerConfig(name="gd"), DataConfig(num_train=500)
    run = RunConfig(data=data, optimizer=gd, training=TrainingConfig(batch_size=batch_size))
    assert run.training.batch_size == 500
    assert run.epoch_steps == 1
    assert replace(run, seed=1).training == run.training


@pytest.mark.parametrize(
    ("path", "seed", "expected"),
    [
        ("weights.pt", 3, "weights.pt"),
        ("pretrain/seed-{seed}.pt", 3, "pretrain/seed-3.pt"),
        ("{seed}/{seed}.pt", 0, "0/0.pt"),
        ("{other}/{{seed}}.pt", 12, "{other}/{12}.pt"),  # not a format string: other braces stay
    ],
)
def test_seed_in_a_path_is_replaced(path: str, seed: int, expected: str) -> None:
    assert per_seed(path, seed) == Path(expected)


def test_flatten_joins_names_with_dots() -> None:
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": [3]}}}) == {"a": 1, "b.c": 2, "b.d.e": [3]}


NUMBERS = st.floats(0.01, 0.99) | st.integers(1, 20)
NUMBERS |= st.sampled_from([0.0, -1.0, 5e-324, 1e-6, 1e9, 1e308, math.inf, -math.inf, math.nan])
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-1, 70_000),
    int | None: st.none() | st.integers(-1, 70_000),
    float: NUMBERS,
    float | None: st.none() | NUMBERS,
    list[float]: st.lists(NUMBERS, min_size=1, max_size=3).map(sorted),
    list[int] | None: st.none() | st.lists(st.integers(-1, 10), max_size=4),
    list[int]: st.lists(st.integers(0, 40), min_size=3, max_size=3),
    str: st.sampled_from(["cnn", "mnist", "?"]),
    str | None: st.sampled_from([None, "weights.pt", "my_nets:Net"]),
    dict[str, Any]: st.sampled_from([{}, {"width": 3}]),
    dict[str, float]: st.dictionaries(st.sampled_from(["conv1.", "head."]), NUMBERS, max_size=2),
}


def values_of(group: str, name: str, kind: Any) -> st.SearchStrategy[Any]:
    """Values at, within and beyond the bounds of a setting."""
    if name == "name" and group in USES:
        return st.sampled_from([*USES[group], "?"])
    return st.sampled_from([*get_args(kind), "?"]) if get_origin(kind) is Literal else BY_TYPE[kind]


@st.composite
def group_of(draw: st.DrawFn, group: str) -> Any:
    """Settings of a group: those that its optimizer or schedule uses, and at most one more."""
    kinds = {f.name: f.type for f in fields(GROUPS[group]) if f.name != "layers"}
    values = {"name": draw(values_of(group, "name", kinds["name"]))} if "name" in kinds else {}
    used = set(USES.get(group, {}).get(values.get("name", ""), ()))
    chosen = used | draw(st.sets(st.sampled_from(sorted(kinds.keys() - {"name"})), max_size=1))
    return GROUPS[group](**values, **{name: draw(values_of(group, name, kinds[name])) for name in sorted(chosen)})


@st.composite
def runs_or_errors(draw: st.DrawFn) -> RunConfig | ConfigError:
    chosen = {"schedule"} | draw(st.sets(st.sampled_from(sorted(GROUPS)), max_size=1))
    try:
        return RunConfig(**{group: draw(group_of(group)) for group in sorted(chosen)})
    except ConfigError as error:
        return error


@given(runs_or_errors())
@settings(max_examples=300)
def test_any_settings_give_a_run_with_valid_rates_or_a_one_line_error(run: RunConfig | ConfigError) -> None:
    if isinstance(run, ConfigError):
        assert re.fullmatch(
            rf"({'|'.join(GROUPS)})[.=]\w+([.=]\S*)? .+", str(run)
        )  # without re.DOTALL, "." matches no line break
        return
    assert RunConfig(**{f.name: getattr(run, f.name) for f in fields(run)}) == run
    assert re.fullmatch("[0-9a-f]{16}", run_id(run))
    highest = max([1.0, *run.schedule.shares]) * run.optimizer.lr
    for step in (0, 1, 93, 94, 5_000):
        assert 0 <= lr_at(run.schedule, run.optimizer.lr, step, pace_of(run)) <= highest * (1 + 1e-12)
