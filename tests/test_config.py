"""lrsweep.config: the grid, the bounds and the names of runs."""

import math
from dataclasses import asdict, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.config import (
    AppConfig,
    ConfigError,
    DataConfig,
    GridConfig,
    LossConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StudyConfig,
    TrainingConfig,
    flatten,
    log_grid,
    resolve_log_grid,
    run_id,
)

# The grid.


def test_the_default_grid_is_the_documents() -> None:
    grid = log_grid(GridConfig())
    assert grid == [10 ** round(-6 + 0.1 * i, 1) for i in range(46)]
    assert len(grid) == 46
    assert grid[0] == 1e-06
    assert grid[-1] == 10**-1.5


@pytest.mark.parametrize(
    ("start", "stop", "step", "exponents"),
    [
        (-4.0, -2.0, 0.25, [-4, -3.75, -3.5, -3.25, -3, -2.75, -2.5, -2.25, -2]),
        (-3.0, -3.0, 0.1, [-3]),
        (-3.0, -2.0, 0.4, [-3, -2.6, -2.2]),  # a step that does not divide stays below the end
        (-1.0, 1.0, 1.0, [-1, 0, 1]),
        (-0.3, 0.0, 0.1, [-0.3, -0.2, -0.1, 0]),
        (-2.0, -1.0, 5.0, [-2]),
    ],
)
def test_a_grid_is_the_powers_of_its_exponents(start: float, stop: float, step: float, exponents: list[float]) -> None:
    assert log_grid(GridConfig(start=start, stop=stop, step=step)) == [10 ** float(m) for m in exponents]


@given(
    start=st.decimals(-10, 5, places=2),
    step=st.decimals("0.01", 2, places=2),
    num_steps=st.integers(0, 100),
    rest=st.decimals(0, 1, places=3).filter(lambda x: x < 1),
)
def test_every_point_is_ten_to_a_decimal_exponent(start: Decimal, step: Decimal, num_steps: int, rest: Decimal) -> None:
    stop = start + (num_steps + rest) * step
    grid = log_grid(GridConfig(start=float(start), stop=float(stop), step=float(step)))
    assert grid == [10 ** float(start + i * step) for i in range(num_steps + 1)]
    assert all(a < b for a, b in pairwise(grid))
    if rest == 0:
        assert grid[-1] == 10 ** float(stop)


@given(start=st.decimals(-10, 0, places=2), step=st.decimals("0.05", 2, places=2), num_steps=st.integers(0, 50))
def test_the_resolver_keeps_every_bit(start: Decimal, step: Decimal, num_steps: int) -> None:
    grid = GridConfig(start=float(start), stop=float(start + num_steps * step), step=float(step))
    assert [float(text) for text in resolve_log_grid(grid.start, grid.stop, grid.step).split(",")] == log_grid(grid)


# The bounds.

NAN, INF = math.nan, math.inf

REFUSED = [
    (DataConfig, {"num_train": 0}, "data.num_train must be at least 1, got 0"),
    (DataConfig, {"num_valid": -1}, "data.num_valid must be at least 1, got -1"),
    (DataConfig, {"num_train": 55_001}, "data.num_train + data.num_valid must be at most 60000, got 60001"),
    (DataConfig, {"num_test": 0}, "data.num_test must be from 1 to 10000, got 0"),
    (DataConfig, {"num_test": 10_001}, "data.num_test must be from 1 to 10000, got 10001"),
    (ModelConfig, {"name": "mlp"}, "model.name must be one of cnn, got 'mlp'"),
    (LossConfig, {"name": "mse"}, "loss.name must be one of cross_entropy, double_softmax, got 'mse'"),
    (OptimizerConfig, {"name": "adam"}, "optimizer.name must be one of adamw, got 'adam'"),
    (OptimizerConfig, {"lr": 0.0}, "optimizer.lr must be positive and finite, got 0.0"),
    (OptimizerConfig, {"lr": -0.001}, "optimizer.lr must be positive and finite, got -0.001"),
    (OptimizerConfig, {"lr": NAN}, "optimizer.lr must be positive and finite, got nan"),
    (OptimizerConfig, {"lr": INF}, "optimizer.lr must be positive and finite, got inf"),
    (ScheduleConfig, {"name": "cosine"}, "schedule.name must be one of constant, got 'cosine'"),
    (TrainingConfig, {"batch_size": 0}, "training.batch_size must be at least 1, got 0"),
    (TrainingConfig, {"patience": 0}, "training.patience must be at least 1, got 0"),
    (TrainingConfig, {"max_epochs": 0}, "training.max_epochs must be at least 1, got 0"),
    (RunConfig, {"seed": -1}, "seed must be from 0 to 2147483647, got -1"),
    (RunConfig, {"seed": 2**31}, "seed must be from 0 to 2147483647, got 2147483648"),
    (GridConfig, {"start": NAN}, "grid.start must be finite, got nan"),
    (GridConfig, {"stop": INF}, "grid.stop must be finite, got inf"),
    (GridConfig, {"step": NAN}, "grid.step must be finite, got nan"),
    (GridConfig, {"step": 0.0}, "grid.step must be positive, got 0.0"),
    (GridConfig, {"step": -0.1}, "grid.step must be positive, got -0.1"),
    (GridConfig, {"start": -1.0}, "grid.start must be at most grid.stop (-1.5), got -1.0"),
    (GridConfig, {"start": -301.0}, "grid.start must be at least -300, got -301.0"),
    (GridConfig, {"stop": 301.0}, "grid.stop must be at most 300, got 301.0"),
    (GridConfig, {"step": 4.5e-4}, "grid.step must be coarse enough for 10,000 points, got 0.00045"),
    (MachineConfig, {"threads": 0}, "machine.threads must be at least 1, got 0"),
    *(
        (MachineConfig, {"device": device}, f"machine.device must be auto, cpu, cuda or cuda:N, got {device!r}")
        for device in ("gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU", "cuda:²")
    ),
    *(
        (StudyConfig, {"name": name}, f"study.name must be a relative path without '..', got {name!r}")
        for name in ("", ".", "./", "..", "../lr", "lr/..", "lr/../../x", "/", "/tmp/lr", "lr\n", "l\0r", "\u202elr")
    ),
]


@pytest.mark.parametrize(("config", "fields", "message"), REFUSED, ids=[f"{c.__name__}-{f}" for c, f, _ in REFUSED])
def test_refused(config: type, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        config(**fields)
    assert str(refusal.value) == message


ACCEPTED = [
    (DataConfig, {"num_train": 1, "num_valid": 1, "num_test": 1}),
    (DataConfig, {"num_train": 55_000, "num_valid": 5_000}),
    (OptimizerConfig, {"lr": 5e-324}),
    (OptimizerConfig, {"lr": 1e308}),
    (LossConfig, {"name": "double_softmax"}),
    (TrainingConfig, {"batch_size": 1, "patience": 1, "max_epochs": 1}),
    (RunConfig, {"seed": 2**31 - 1}),
    (GridConfig, {"start": -300.0, "stop": 300.0, "step": 1.0}),
    (GridConfig, {"start": -1.5}),
    (MachineConfig, {"device": "cuda"}),
    (MachineConfig, {"device": "cuda:1"}),
    (StudyConfig, {"name": "reference/학습률 1"}),
]


@pytest.mark.parametrize(("config", "fields"), ACCEPTED, ids=[f"{c.__name__}-{f}" for c, f in ACCEPTED])
def test_the_edges_of_the_bounds_are_accepted(config: type, fields: dict[str, Any]) -> None:
    assert asdict(config(**fields)) == asdict(config()) | fields


# What defines a run, and its name.


def test_the_defaults_are_the_documents() -> None:
    """If this fails because a default was changed: raise records.SCHEMA_VERSION, as run_id leaves defaults out."""
    assert flatten(asdict(RunConfig())) == {
        "seed": 0,
        "data.num_train": 3_000,
        "data.num_valid": 5_000,
        "data.num_test": 10_000,
        "model.name": "cnn",
        "loss.name": "cross_entropy",
        "optimizer.name": "adamw",
        "optimizer.lr": 1e-3,
        "schedule.name": "constant",
        "training.batch_size": 32,
        "training.patience": 5,
        "training.max_epochs": 1_000,
    }


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (RunConfig(), "44136fa355b3678a"),
        (RunConfig(seed=1, optimizer=OptimizerConfig(lr=10**-3.1)), "116992a20f704cf2"),
    ],
)
def test_names_do_not_change_between_versions(run: RunConfig, name: str) -> None:
    assert run_id(run) == name


def test_equal_runs_have_equal_names() -> None:
    assert run_id(RunConfig(seed=3)) == run_id(replace(RunConfig(), seed=3))


def test_a_whole_number_is_the_same_rate_as_its_float() -> None:
    whole, real = (RunConfig(optimizer=OptimizerConfig(lr=lr)) for lr in (1, 1.0))
    assert whole == real
    assert run_id(whole) == run_id(real)


CHANGES: dict[str, RunConfig] = {
    "seed": RunConfig(seed=1),
    "data.num_train": RunConfig(data=DataConfig(num_train=1)),
    "data.num_valid": RunConfig(data=DataConfig(num_valid=1)),
    "data.num_test": RunConfig(data=DataConfig(num_test=1)),
    "loss.name": RunConfig(loss=LossConfig(name="double_softmax")),
    "optimizer.lr": RunConfig(optimizer=OptimizerConfig(lr=math.nextafter(1e-3, 1))),
    "training.batch_size": RunConfig(training=TrainingConfig(batch_size=1)),
    "training.patience": RunConfig(training=TrainingConfig(patience=1)),
    "training.max_epochs": RunConfig(training=TrainingConfig(max_epochs=1)),
}
ONLY_ONE_VALUE = {"model.name", "optimizer.name", "schedule.name"}


def test_every_setting_that_can_change_changes_the_name() -> None:
    assert CHANGES.keys() | ONLY_ONE_VALUE == flatten(asdict(RunConfig())).keys()
    names = [run_id(run) for run in (RunConfig(), *CHANGES.values())]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "app",
    [
        AppConfig(study=StudyConfig(name="other")),
        AppConfig(grid=GridConfig(start=-5.0, stop=-4.0, step=0.5)),
        AppConfig(machine=MachineConfig(device="cpu", threads=8, data_dir="elsewhere", results_dir="elsewhere")),
    ],
    ids=["study", "grid", "machine"],
)
def test_study_grid_and_machine_are_no_part_of_the_run(app: AppConfig) -> None:
    assert app.run == RunConfig()
    assert type(app.run) is RunConfig


def test_a_studys_folder_is_below_the_results() -> None:
    app = AppConfig(study=StudyConfig(name="reference/lr"), machine=MachineConfig(results_dir="out"))
    assert app.folder == Path("out/reference/lr")


def test_flatten_joins_names_with_dots() -> None:
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": [3]}}}) == {"a": 1, "b.c": 2, "b.d.e": [3]}
