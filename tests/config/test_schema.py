"""lrsweep.config: the grid, the bounds and the names of runs."""

import math
import os
import re
from dataclasses import asdict, fields, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsweep.config import (
    LAYERS,
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
    TrainingConfig,
    flatten,
    log_grid,
    per_seed,
    run_id,
)
from lrsweep.config.grid import resolve_log_grid, resolve_offsets, resolve_pick, resolve_ten_to
from lrsweep.config.optimizer import _OPTIMIZER_USES
from lrsweep.config.schedule import _SCHEDULE_USES
from lrsweep.training.schedules import lr_at, pace_of

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

PLAIN_PATH = "a plain relative path, with no backslash and no part that begins with '.' or '-'"
REFUSED = [
    (DataConfig, {"num_train": 0}, "data.num_train must be at least 1, got 0"),
    (DataConfig, {"num_valid": -1}, "data.num_valid must be at least 1, got -1"),
    (DataConfig, {"num_train": 55_001}, "data.skip + data.num_train + data.num_valid must be at most 60000, got 60001"),
    (DataConfig, {"skip": 52_001}, "data.skip + data.num_train + data.num_valid must be at most 60000, got 60001"),
    (DataConfig, {"skip": -1}, "data.skip must be at least 0, got -1"),
    *((DataConfig, {"max_shift": x}, f"data.max_shift must be from 0 to 14, got {x}") for x in (-0.1, 14.1, NAN)),
    *((DataConfig, {"max_rotation": x}, f"data.max_rotation must be from 0 to 180, got {x}") for x in (-0.1, 180.1, NAN)),
    (DataConfig, {"num_test": 0}, "data.num_test must be from 1 to 10000, got 0"),
    (DataConfig, {"num_test": 10_001}, "data.num_test must be from 1 to 10000, got 10001"),
    (ModelConfig, {"name": "mlp"}, "model.name must be one of cnn, got 'mlp'"),
    (
        ModelConfig,
        {"activation": "gelu"},
        "model.activation must be one of sigmoid, tanh, relu, leaky_relu, elu, got 'gelu'",
    ),
    *((ModelConfig, {"dropout": x}, f"model.dropout must be from 0 to below 1, got {x}") for x in (-0.1, 1.0, NAN)),
    (ModelConfig, {"init": "zeros"}, "model.init must be one of pytorch, xavier, he, got 'zeros'"),
    (
        ModelConfig,
        {"init": "he", "init_from": "weights.pt"},
        "model.init=he means nothing where model.init_from gives the weights; drop one of them",
    ),
    *(
        (LossConfig, {name: x}, f"loss.{name} must be finite and at least 0, got {x}")
        for name in ("l1", "l2")
        for x in (-0.1, INF, NAN)
    ),
    (LossConfig, {"name": "mse"}, "loss.name must be one of cross_entropy, double_softmax, got 'mse'"),
    (
        OptimizerConfig,
        {"name": "lion"},
        "optimizer.name must be one of gd, sgd, momentum, nesterov, adagrad, rmsprop, adadelta, adam, adamw, got 'lion'",
    ),
    *(
        (OptimizerConfig, {"name": "nesterov", "momentum": x}, f"optimizer.momentum must be between 0 and 1, got {x}")
        for x in (0.0, 1.0, NAN)
    ),
    (
        OptimizerConfig,
        {"name": "adam", "momentum": 0.5},
        "optimizer.momentum means nothing to optimizer=adam; it is a setting of momentum, nesterov",
    ),
    *(
        (OptimizerConfig, {"weight_decay": x}, f"optimizer.weight_decay must be finite and at least 0, got {x}")
        for x in (-0.1, INF, NAN)
    ),
    (
        OptimizerConfig,
        {"layerwise": "random"},
        "optimizer.layerwise must be one of uniform, rising, falling, got 'random'",
    ),
    *(
        (OptimizerConfig, {"layer_factor": x}, f"optimizer.layer_factor must be above 1 and at most 100, got {x}")
        for x in (1.0, 100.1, NAN)
    ),
    *(
        (LayerFactors, {layer: x}, f"optimizer.layers.{layer} must be finite and at least 0, got {x}")
        for layer in LAYERS
        for x in (-0.1, INF, NAN)
    ),
    (OptimizerConfig, {"lr": 0.0}, "optimizer.lr must be positive and finite, got 0.0"),
    (OptimizerConfig, {"lr": -0.001}, "optimizer.lr must be positive and finite, got -0.001"),
    (OptimizerConfig, {"lr": NAN}, "optimizer.lr must be positive and finite, got nan"),
    (OptimizerConfig, {"lr": INF}, "optimizer.lr must be positive and finite, got inf"),
    (
        ScheduleConfig,
        {"name": "linear"},
        "schedule.name must be one of constant, step, multi_step, piecewise, exponential, power, polynomial, cosine, "
        "cosine_restarts, triangular, triangular2, exp_range, one_cycle, one_cycle_torch, plateau, grow_batch, got 'linear'",
    ),
    (ScheduleConfig, {"unit": "image"}, "schedule.unit must be one of epoch, step, got 'image'"),
    *((ScheduleConfig, {"warmup": x}, f"schedule.warmup must be from 0 to 1,000,000,000, got {x}") for x in (-0.1, 1e308, NAN)),
    *(
        (ScheduleConfig, {"name": name, key: x}, f"schedule.{key} must be above 0 and at most 1,000,000,000, got {x}")
        for name, key in (("step", "every"), ("triangular", "period"), ("cosine", "length"))
        for x in (0.0, -1.0, 1e308, INF, NAN)
    ),
    *(
        (
            ScheduleConfig,
            {"name": "cosine_restarts", "period_growth": x},
            f"schedule.period_growth must be from 1 to 100, got {x}",
        )
        for x in (0.9, 100.1, NAN)
    ),
    *(
        (ScheduleConfig, {"name": name, key: x}, f"schedule.{key} must be from 0 to below 1, got {x}")
        for name, key in (("constant", "warmup_start"), ("cosine", "final"), ("one_cycle", "tail"), ("one_cycle_torch", "rise"))
        for x in (-0.1, 1.0, NAN)
    ),
    *(
        (ScheduleConfig, {"name": name, key: x}, f"schedule.{key} must be above 0 and at most 1, got {x}")
        for name, key in (("step", "factor"), ("triangular", "low"))
        for x in (0.0, 1.1, NAN)
    ),
    *(
        (ScheduleConfig, {"name": "cosine", key: x}, f"schedule.{key} must be finite and at least 0, got {x}")
        for key in ("warmup_start_lr", "final_lr")
        for x in (-0.1, INF, NAN)
    ),
    *(
        (
            ScheduleConfig,
            {"name": "cosine", key: 0.5, f"{key}_lr": 0.0},
            f"schedule.{key} means nothing where schedule.{key}_lr gives the rate; drop one of them",
        )
        for key in ("warmup_start", "final")
    ),
    *(
        (ScheduleConfig, {"name": "power", "power": x}, f"schedule.power must be positive and finite, got {x}")
        for x in (0.0, INF, NAN)
    ),
    *(
        (ScheduleConfig, {"name": "plateau", "threshold": x}, f"schedule.threshold must be from 0 to below 1, got {x}")
        for x in (-0.1, 1.0, NAN)
    ),
    (ScheduleConfig, {"name": "plateau", "patience": 0}, "schedule.patience must be at least 1, got 0"),
    (ScheduleConfig, {"name": "plateau", "cooldown": -1}, "schedule.cooldown must be at least 0, got -1"),
    (ScheduleConfig, {"name": "cosine", "warmup": 5.0, "length": 5.0}, "schedule.warmup must be below schedule.length, got 5.0"),
    *(
        (
            ScheduleConfig,
            {"name": "multi_step", "milestones": milestones},
            f"schedule.milestones must be above 0, ascending and at most 1,000,000,000, got {milestones}",
        )
        for milestones in ([0.0], [2.0, 2.0], [3.0, 2.0], [NAN], [1.0, INF], [1e10])
    ),
    (ScheduleConfig, {"name": "multi_step"}, "schedule.milestones must be given, as [5,10], got []"),
    (ScheduleConfig, {"name": "piecewise"}, "schedule.milestones must be given, as [5,10], got []"),
    (
        ScheduleConfig,
        {"name": "piecewise", "milestones": [5.0, 10.0], "shares": [1.0, 0.1]},
        "schedule.shares must be 3 shares of the rate, one more than schedule.milestones, got [1.0, 0.1]",
    ),
    *(
        (
            ScheduleConfig,
            {"name": "piecewise", "milestones": [5.0], "shares": [1.0, x]},
            f"schedule.shares must be finite and at least 0, got [1.0, {x}]",
        )
        for x in (-0.1, INF, NAN)
    ),
    (ScheduleConfig, {"name": "grow_batch", "every": 2.5}, "schedule.every must be whole epochs, got 2.5"),
    (ScheduleConfig, {"name": "grow_batch", "unit": "step"}, "schedule.unit must be epoch for schedule=grow_batch, got 'step'"),
    (
        ScheduleConfig,
        {"name": "cosine", "every": 5.0},
        "schedule.every means nothing to schedule=cosine; it is a setting of step, exponential, power, exp_range, grow_batch",
    ),
    (
        ScheduleConfig,
        {"name": "constant", "length": 5.0},
        "schedule.length means nothing to schedule=constant; it is a setting of polynomial, cosine, one_cycle, one_cycle_torch",
    ),
    (
        ScheduleConfig,
        {"milestones": [5.0]},
        "schedule.milestones means nothing to schedule=constant; it is a setting of multi_step, piecewise",
    ),
    (TrainingConfig, {"batch_size": 0}, "training.batch_size must be at least 1, got 0"),
    (TrainingConfig, {"batch_size": 60_001}, "training.batch_size must be at most 60000, got 60001"),
    (TrainingConfig, {"patience": 0}, "training.patience must be at least 1, got 0"),
    (TrainingConfig, {"max_epochs": 0}, "training.max_epochs must be at least 1, got 0"),
    (TrainingConfig, {"precision": "fp16"}, "training.precision must be one of fp32, bf16, got 'fp16'"),
    (
        RunConfig,
        {"optimizer": OptimizerConfig(name="gd"), "training": TrainingConfig(batch_size=64)},
        "training.batch_size=64 contradicts optimizer=gd, whose batch is all training images; optimizer=sgd takes a batch size",
    ),
    (
        RunConfig,
        {"optimizer": OptimizerConfig(name="gd"), "schedule": ScheduleConfig(name="grow_batch")},
        "schedule=grow_batch has nothing to grow: the batch of optimizer=gd is all training images",
    ),
    (
        RunConfig,
        {"schedule": ScheduleConfig(name="grow_batch", max_batch_size=31)},
        "schedule.max_batch_size must be at least training.batch_size (32), got 31",
    ),
    (
        RunConfig,
        {"schedule": ScheduleConfig(name="grow_batch", max_batch_size=60_001)},
        "schedule.max_batch_size must be at most 60000, got 60001",
    ),
    *(
        (
            RunConfig,
            {"optimizer": OptimizerConfig(lr=1e-6), "schedule": ScheduleConfig(name="cosine", **{key: 1e-5})},
            f"schedule.{key} must be at most optimizer.lr (1e-06), got 1e-05",
        )
        for key in ("warmup_start_lr", "final_lr")
    ),
    *(
        (
            RunConfig,
            {"schedule": ScheduleConfig(**schedule), "training": TrainingConfig(**training)},
            f"schedule.warmup must be shorter than the {end}, got {schedule['warmup']}",
        )
        for schedule, training, end in (
            ({"warmup": 1_000.0}, {}, "run (1000 epochs)"),
            ({"warmup": 7.0}, {"patience": None, "max_epochs": 7}, "run (7 epochs)"),
            ({"name": "cosine", "warmup": 20.0}, {}, "schedule (20 epochs)"),
            ({"name": "cosine", "warmup": 7.0}, {"patience": None, "max_epochs": 7}, "schedule (7 epochs)"),
            ({"name": "cosine", "warmup": 9.0}, {"max_epochs": 7}, "schedule (7 epochs)"),
            ({"name": "cosine", "warmup": 9.0, "length": 50.0}, {"max_epochs": 7}, "run (7 epochs)"),
            ({"name": "cosine", "warmup": 1_880.0, "unit": "step"}, {}, "schedule (1880 steps)"),
            ({"warmup": 94.0, "unit": "step"}, {"max_epochs": 1}, "run (94 steps)"),
        )
    ),
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
    (MachineConfig, {"checkpoint_seconds": -1.0}, "machine.checkpoint_seconds must be finite and at least 0, got -1.0"),
    (MachineConfig, {"checkpoint_seconds": INF}, "machine.checkpoint_seconds must be finite and at least 0, got inf"),
    (MachineConfig, {"threads": 0}, "machine.threads must be from 1 to 1024, got 0"),
    (MachineConfig, {"threads": 2**63}, "machine.threads must be from 1 to 1024, got 9223372036854775808"),
    *(
        (MachineConfig, {"device": device}, f"machine.device must be auto, cpu, cuda or cuda:N, got {device!r}")
        for device in ("gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU", "cuda:²")
    ),
    (StudyConfig, {"name": "all"}, "study.name must be another (to a report, that is every study), got 'all'"),
    *(
        (StudyConfig, {"name": name}, f"study.name must be {PLAIN_PATH}, got {name!r}")
        for name in (
            *("", ".", "./", "..", "../lr", "lr/..", "lr/../../x", "/", "/tmp/lr", "lr\n", "l\0r", "\u202elr", "l\x1b[31mr"),
            *(".hidden", "lr/.hidden", "-rf", "lr/--help", "lr\\..\\x", "C:\\lr", "lr\\"),
        )
    ),
]


@given(st.text(alphabet="./\\-~ a학\n\0:", max_size=12))
def test_a_study_that_is_accepted_is_inside_the_results(name: str) -> None:
    try:
        app = AppConfig(study=StudyConfig(name=name), machine=MachineConfig(results_dir="/results"))
    except ConfigError:
        return
    assert Path("/results") in Path(os.path.normpath(app.folder)).parents
    assert Path("/results") in Path(os.path.normpath(str(app.folder).replace("\\", "/"))).parents


@pytest.mark.parametrize(("config", "fields", "message"), REFUSED, ids=[f"{c.__name__}-{f}" for c, f, _ in REFUSED])
def test_refused(config: type, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        config(**fields)
    assert str(refusal.value) == message


ACCEPTED = [
    (DataConfig, {"num_train": 1, "num_valid": 1, "num_test": 1}),
    (DataConfig, {"num_train": 55_000, "num_valid": 5_000}),
    (DataConfig, {"skip": 52_000, "max_shift": 14.0, "max_rotation": 180.0}),
    (ModelConfig, {"dropout": math.nextafter(1, 0), "batch_norm": True, "init": "he"}),
    (ModelConfig, {"init_from": "weights.pt"}),
    (LossConfig, {"l1": 0.5, "l2": 1e300}),
    (OptimizerConfig, {"name": "momentum", "momentum": 5e-324, "weight_decay": 0.0}),
    (OptimizerConfig, {"layerwise": "rising", "layer_factor": 100.0}),
    (LayerFactors, {"conv1": 0.0, "output": 1e300}),
    (ScheduleConfig, {"name": "cosine", "warmup": 1e9 - 1, "length": 1e9, "unit": "step"}),
    (ScheduleConfig, {"name": "cosine", "warmup_start": 0.0, "final": math.nextafter(1, 0)}),
    (ScheduleConfig, {"name": "cosine", "warmup_start_lr": 0.0, "final_lr": 0.0}),
    (ScheduleConfig, {"name": "exp_range", "period": 5e-324, "low": 1.0, "factor": 5e-324, "every": 5e-324}),
    (ScheduleConfig, {"name": "piecewise", "milestones": [5e-324, 1e9], "shares": [0.0, 2.0, 0.0]}),
    (ScheduleConfig, {"name": "plateau", "patience": 1, "threshold": 0.0, "cooldown": 100, "factor": 1.0}),
    (ScheduleConfig, {"name": "grow_batch", "every": 1.0, "warmup": 2.5}),
    (RunConfig, {"schedule": ScheduleConfig(warmup=999.0)}),
    (RunConfig, {"schedule": ScheduleConfig(name="cosine", warmup=19.9)}),
    (RunConfig, {"schedule": ScheduleConfig(name="cosine", warmup=1_879.0, unit="step")}),
    (RunConfig, {"schedule": ScheduleConfig(name="cosine", warmup_start_lr=1e-3, final_lr=1e-3)}),
    (RunConfig, {"schedule": ScheduleConfig(name="grow_batch", max_batch_size=32)}),
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
    found, default = config(**fields), config()
    assert all(getattr(found, name) == fields.get(name, getattr(default, name)) for name in asdict(found))


@pytest.mark.parametrize("batch_size", [TrainingConfig.batch_size, 500])
def test_the_batch_of_gradient_descent_is_all_training_images(batch_size: int) -> None:
    gd, data = OptimizerConfig(name="gd"), DataConfig(num_train=500)
    run = RunConfig(data=data, optimizer=gd, training=TrainingConfig(batch_size=batch_size))
    assert run.training.batch_size == 500
    assert run.epoch_steps == 1
    assert replace(run, seed=1).training == run.training


NUMBERS = st.floats(0.01, 0.99) | st.integers(1, 20) | st.sampled_from([0.0, -1.0, 5e-324, 1e-6, 1e9, 1e308, INF, -INF, NAN])
WORDS: dict[str, tuple[str | None, ...]] = {
    "optimizer.name": (*_OPTIMIZER_USES, "?"),
    "optimizer.layerwise": ("uniform", "rising", "falling", "?"),
    "schedule.name": (*_SCHEDULE_USES, "?"),
    "schedule.unit": ("epoch", "step", "?"),
    "training.precision": ("fp32", "bf16", "?"),
    "model.activation": ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "?"),
    "model.init": ("pytorch", "xavier", "he", "?"),
    "model.init_from": (None, "weights.pt"),
    "model.name": ("cnn", "?"),
    "loss.name": ("cross_entropy", "double_softmax", "?"),
}


def any_value(name: str, default: Any) -> st.SearchStrategy[Any]:
    if name in WORDS:
        return st.sampled_from(WORDS[name])
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, list):
        return st.lists(NUMBERS, min_size=1, max_size=3).map(sorted)
    if isinstance(default, int):
        return st.integers(-1, 70_000)
    return st.none() | NUMBERS if default is None else NUMBERS


GROUPS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "loss": LossConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "training": TrainingConfig,
}
USES = {"optimizer": _OPTIMIZER_USES, "schedule": _SCHEDULE_USES}


def any_of(draw: st.DrawFn, group: str) -> Any:
    """A group with a few of its settings at, within or beyond their bounds, and those that its choice reads first of all."""
    default = asdict(GROUPS[group]())
    default.pop("layers", None)
    values = {"name": draw(any_value(f"{group}.name", ""))} if "name" in default else {}
    read = set(USES.get(group, {}).get(values.get("name", ""), ()))
    chosen = read | draw(st.sets(st.sampled_from(sorted(default.keys() - {"name"})), max_size=1))
    values |= {name: draw(any_value(f"{group}.{name}", default[name])) for name in sorted(chosen)}
    return GROUPS[group](**values)


@st.composite
def runs_and_refusals(draw: st.DrawFn) -> RunConfig | ConfigError:
    changed = {"schedule"} | draw(st.sets(st.sampled_from(sorted(GROUPS)), max_size=1))
    try:
        return RunConfig(**{group: any_of(draw, group) for group in sorted(changed)})
    except ConfigError as refusal:
        return refusal


@given(runs_and_refusals())
@settings(max_examples=400)
def test_any_settings_make_a_run_or_one_line_of_refusal(found: RunConfig | ConfigError) -> None:
    if isinstance(found, ConfigError):
        assert re.fullmatch(rf"({'|'.join(GROUPS)})[.=]\w+ .+|.+ means nothing .+|.+ contradicts .+", str(found))
        assert "\n" not in str(found)
    else:
        assert RunConfig(**{f.name: getattr(found, f.name) for f in fields(found)}) == found
        assert re.fullmatch("[0-9a-f]{16}", run_id(found))


@given(runs_and_refusals())
@settings(max_examples=300)
def test_every_run_that_is_not_refused_has_rates(found: RunConfig | ConfigError) -> None:
    if isinstance(found, RunConfig):
        most = max([1.0, *found.schedule.shares]) * found.optimizer.lr
        for step in (0, 1, 93, 94, 5_000):
            rate = lr_at(found.schedule, found.optimizer.lr, step, pace_of(found))
            assert 0 <= rate <= most * (1 + 1e-12)


# The resolvers.


@pytest.mark.parametrize(
    ("start", "stop", "step", "text"),
    [
        (-1.0, 0.5, 0.5, "-1.0,-0.5,0.0,0.5"),
        (-0.75, 0.75, 0.5, "-0.75,-0.25,0.25,0.75"),
        (-0.3, 0.0, 0.1, "-0.3,-0.2,-0.1,0.0"),
        (0.0, 2e-10, 1e-10, "0.0,1e-10,2e-10"),
    ],
)
def test_offsets_are_the_exponents_of_the_grid(start: float, stop: float, step: float, text: str) -> None:
    assert resolve_offsets(start, stop, step) == text


@pytest.mark.parametrize(
    ("exponents", "rate"),
    [((-3,), 1e-3), ((-0.25, -2.75), 1e-3), ((0.1, 0.2), 10**0.3), ((-300,), 1e-300), ((200, 100), 1e300)],
)
def test_ten_to_adds_decimal_exponents(exponents: tuple[float, ...], rate: float) -> None:
    assert resolve_ten_to(*exponents) == rate


@pytest.mark.parametrize("exponents", [(301,), (-200, -101), (INF,), (NAN,), (INF, -INF)])
def test_ten_to_refuses_what_no_rate_is(exponents: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^a rate's exponent must be from -300 to 300, got \S+$"):
        resolve_ten_to(*exponents)


@pytest.mark.parametrize(
    ("key", "cases", "value"),
    [
        ("small", ("small", 10, "full", 30), 10),
        ("full", ("small", 10, "full", 30), 30),
        (64, (32, -2.5, 64, -2.25), -2.25),
        ("cosine", ("step", 4, "else", 10), 10),
        ("step", ("else", 10, "step", 4), 4),
        (None, (None, "none", "else", "some"), "none"),
    ],
)
def test_pick_takes_the_value_after_the_key(key: Any, cases: tuple[Any, ...], value: Any) -> None:
    assert resolve_pick(key, *cases) == value


def test_pick_refuses_what_it_has_no_value_for() -> None:
    with pytest.raises(ConfigError, match=r"^1024 is none of this study's 32, 64$"):
        resolve_pick(1024, 32, -2.5, 64, -2.25)


@pytest.mark.parametrize(
    ("path", "seed", "found"),
    [
        ("weights.pt", 3, "weights.pt"),
        ("pretrain/seed-{seed}.pt", 3, "pretrain/seed-3.pt"),
        ("{seed}/{seed}.pt", 0, "0/0.pt"),
        ("{other}/{{seed}}.pt", 12, "{other}/{12}.pt"),  # no format string: other braces are the file's own
    ],
)
def test_a_path_may_hold_the_seed(path: str, seed: int, found: str) -> None:
    assert per_seed(path, seed) == Path(found)


# What defines a run, and its name.


def test_the_defaults_are_the_documents() -> None:
    """If this fails because a default was changed: raise records.SCHEMA_VERSION, as run_id leaves defaults out."""
    assert flatten(asdict(RunConfig())) == {
        "seed": 0,
        "data.num_train": 3_000,
        "data.num_valid": 5_000,
        "data.num_test": 10_000,
        "data.skip": 0,
        "data.max_shift": 0.0,
        "data.max_rotation": 0.0,
        "model.name": "cnn",
        "model.activation": "sigmoid",
        "model.dropout": 0.0,
        "model.batch_norm": False,
        "model.init": "pytorch",
        "model.init_from": None,
        "loss.name": "cross_entropy",
        "loss.l1": 0.0,
        "loss.l2": 0.0,
        "optimizer.name": "adamw",
        "optimizer.lr": 1e-3,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": None,
        "optimizer.layerwise": "uniform",
        "optimizer.layer_factor": 2.0,
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
        "training.precision": "fp32",
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


@pytest.mark.parametrize("number", [int, float])
def test_a_whole_number_is_the_same_setting_as_its_float(number: type) -> None:
    one, two = number(1), number(2)
    run = RunConfig(
        data=DataConfig(max_shift=two),
        loss=LossConfig(l2=one),
        optimizer=OptimizerConfig(lr=one, weight_decay=one, layers=LayerFactors(dense=two)),
        schedule=ScheduleConfig(name="piecewise", warmup=one, milestones=[one, two], shares=[one, one, two]),
    )
    assert run_id(run) == "2c5f31cd41d1fd76"


def changed(group: str, setting: str, value: Any, **others: Any) -> tuple[str, RunConfig]:
    return f"{group}.{setting}", RunConfig(**{group: GROUPS[group](**others, **{setting: value})})


# Every setting but what only one value is known of, each with the settings that it needs.
CHANGES: dict[str, RunConfig] = {
    "seed": RunConfig(seed=1),
    "optimizer.lr": RunConfig(optimizer=OptimizerConfig(lr=math.nextafter(1e-3, 1))),
    **{
        f"optimizer.layers.{layer}": RunConfig(optimizer=OptimizerConfig(layers=LayerFactors(**{layer: 0.0}))) for layer in LAYERS
    },
    **dict(
        [
            *(changed("data", name, 1) for name in ("num_train", "num_valid", "num_test", "skip", "max_shift", "max_rotation")),
            changed("model", "activation", "relu"),
            changed("model", "dropout", 0.5),
            changed("model", "batch_norm", True),
            changed("model", "init", "he"),
            changed("model", "init_from", "weights.pt"),
            changed("loss", "name", "double_softmax"),
            changed("loss", "l1", 1e-3),
            changed("loss", "l2", 1e-3),
            changed("optimizer", "name", "adam"),
            changed("optimizer", "momentum", 0.5, name="nesterov"),
            changed("optimizer", "weight_decay", 0.0),
            changed("optimizer", "layerwise", "rising"),
            changed("optimizer", "layer_factor", 3.0, layerwise="rising"),
            changed("schedule", "name", "cosine"),
            changed("schedule", "unit", "step", name="cosine"),
            changed("schedule", "warmup", 1.0),
            changed("schedule", "warmup_start", 0.5, warmup=1.0),
            changed("schedule", "warmup_start_lr", 0.0, warmup=1.0),
            changed("schedule", "length", 5.0, name="cosine"),
            changed("schedule", "final", 0.5, name="cosine"),
            changed("schedule", "final_lr", 1e-5, name="cosine"),
            changed("schedule", "factor", 0.5, name="step"),
            changed("schedule", "every", 5.0, name="step"),
            changed("schedule", "milestones", [5.0], name="multi_step"),
            changed("schedule", "shares", [1.0, 0.5], name="piecewise", milestones=[5.0]),
            changed("schedule", "power", 2.0, name="power"),
            changed("schedule", "period", 5.0, name="cosine_restarts"),
            changed("schedule", "period_growth", 2.0, name="cosine_restarts"),
            changed("schedule", "low", 0.1, name="triangular"),
            changed("schedule", "tail", 0.2, name="one_cycle"),
            changed("schedule", "rise", 0.5, name="one_cycle_torch"),
            changed("schedule", "patience", 3, name="plateau"),
            changed("schedule", "threshold", 0.0, name="plateau"),
            changed("schedule", "cooldown", 1, name="plateau"),
            changed("schedule", "max_batch_size", 64, name="grow_batch"),
            changed("training", "batch_size", 1),
            changed("training", "patience", 1),
            changed("training", "max_epochs", 1),
            changed("training", "precision", "bf16"),
        ]
    ),
}
ONLY_ONE_VALUE = {"model.name"}


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
