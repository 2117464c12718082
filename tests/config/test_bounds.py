"""The bounds of every setting, and the messages for values outside them."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.config import (
    LAYERS,
    AppConfig,
    ConfigError,
    DataConfig,
    FindConfig,
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
)

NAN, INF = math.nan, math.inf
TINY, BELOW_1 = 5e-324, math.nextafter(1, 0)

OPTIMIZERS = "gd, sgd, momentum, nesterov, adagrad, rmsprop, adadelta, adam, adamw"
SCHEDULES = (
    "constant, step, multi_step, piecewise, exponential, power, polynomial, cosine, cosine_restarts, triangular, triangular2, "
    "exp_range, one_cycle, one_cycle_torch, plateau, grow_batch"
)
PLAIN_PATH = "a plain relative path, with no backslash and no part that begins with '.' or '-'"
NOT_PLAIN = (
    *("", ".", "./", "..", "../lr", "lr/..", "lr/../../x", "/", "/tmp/lr", "lr\n", "l\0r", "\u202elr", "l\x1b[31mr"),
    *(".hidden", "lr/.hidden", "-rf", "lr/--help", "lr\\..\\x", "C:\\lr", "lr\\"),
)
ASCENDING = "above 0, ascending and at most 1,000,000,000"
NOT_ASCENDING = ([0.0], [2.0, 2.0], [3.0, 2.0], [NAN], [1.0, INF], [1e10])

GROUPS = {
    "data": DataConfig,
    "model": ModelConfig,
    "loss": LossConfig,
    "optimizer": OptimizerConfig,
    "optimizer.layers": LayerFactors,
    "schedule": ScheduleConfig,
    "training": TrainingConfig,
    "grid": GridConfig,
    "find": FindConfig,
    "machine": MachineConfig,
    "study": StudyConfig,
    "tracker": TrackerConfig,
}

# The setting, the other settings that it needs, its bound as in the error, values that are refused, values that are accepted.
BOUNDS: list[tuple[str, dict[str, Any], str, tuple[Any, ...], tuple[Any, ...]]] = [
    ("data.num_train", {}, "at least 1", (0, -1), (1, 55_000)),
    ("data.num_valid", {}, "at least 1", (0, -1), (1, 57_000)),
    ("data.num_test", {}, "from 1 to 10000", (0, 10_001), (1, 10_000)),
    ("data.skip", {}, "at least 0", (-1,), (0, 52_000)),
    ("data.max_shift", {}, "from 0 to 14", (-0.1, 14.1, NAN), (0.0, 14.0)),
    ("data.max_rotation", {}, "from 0 to 180", (-0.1, 180.1, NAN), (0.0, 180.0)),
    (
        "data.classes",
        {},
        "at least two different classes from 0 to 9",
        ([], [3], [1, 1], [1, 2, 1], [-1, 2], [0, 10]),
        ([0, 9], [2, 3, 5, 7], list(range(10)), None),
    ),
    # An interpolation may put anything in the place of a list.
    ("data.classes", {}, "at least two different classes from 0 to 9", ("01", 3, {"a": 1}, [0.5, 1.5]), ()),
    *(
        (f"schedule.{key}", {"name": "piecewise"}, "a list of numbers", ("12", 3, None, {1: 2}, ["1"], [[1.0]]), ())
        for key in ("milestones", "shares")
    ),
    (
        "study.confirm_also",
        {},
        "a list of arms, each with an exponent from -300 to 300 as `at`",
        ("single", 3, None, {"at": 1}, ["at"]),
        (),
    ),
    ("data.num_test", {"classes": [0, 1]}, "from 1 to 2115 (all images of data.classes)", (0, 2_116, 9_999), (1, 2_115)),
    ("model.activation", {}, "one of sigmoid, tanh, relu, leaky_relu, elu, linear", ("gelu",), ("elu", "linear")),
    ("model.conv_activation", {}, "one of sigmoid, tanh, relu, leaky_relu, elu, linear", ("gelu",), ("elu", "linear")),
    ("model.pool", {}, "one of max, mean", ("none",), ("mean",)),
    ("model.dropout", {}, "from 0 to below 1", (-0.1, 1.0, NAN), (0.0, BELOW_1)),
    ("model.init", {}, "one of pytorch, xavier, he, zero, large", ("zeros",), ("he", "zero", "large")),
    ("model.new_output", {}, "false unless model.init_from is set", (True,), (False,)),
    ("model.new_output", {"init_from": "a.pt"}, "", (), (True,)),
    ("loss.name", {}, "one of cross_entropy, double_softmax", ("mse",), ("double_softmax",)),
    ("loss.l1", {}, "finite and at least 0", (-0.1, INF, NAN), (0.0, 1e300)),
    ("loss.l2", {}, "finite and at least 0", (-0.1, INF, NAN), (0.0, 1e300)),
    ("optimizer.name", {}, f"one of {OPTIMIZERS}", ("lion",), ("gd",)),
    ("optimizer.lr", {}, "positive and finite", (0.0, -0.001, NAN, INF), (TINY, 1e308)),
    ("optimizer.momentum", {"name": "nesterov"}, "between 0 and 1", (0.0, 1.0, NAN), (TINY, BELOW_1)),
    ("optimizer.weight_decay", {}, "finite and at least 0", (-0.1, INF, NAN), (0.0, 1e300)),
    ("optimizer.layerwise", {}, "one of uniform, rising, falling", ("random",), ("falling",)),
    ("optimizer.layer_factor", {}, "above 1 and at most 100", (1.0, 100.1, NAN), (math.nextafter(1, 2), 100.0)),
    *((f"optimizer.layers.{layer}", {}, "finite and at least 0", (-0.1, INF, NAN), (0.0, 1e300)) for layer in LAYERS),
    ("schedule.name", {}, f"one of {SCHEDULES}", ("linear",), ("plateau",)),
    ("schedule.unit", {}, "one of epoch, step", ("image",), ("step",)),
    ("schedule.unit", {"name": "grow_batch"}, "epoch for schedule=grow_batch", ("step",), ("epoch",)),
    ("schedule.warmup", {}, "from 0 to 1,000,000,000", (-0.1, 1e308, NAN), (0.0, 1e9)),
    ("schedule.warmup", {"name": "cosine", "length": 5.0}, "below schedule.length", (5.0,), (4.9,)),
    *(
        ("schedule.warmup", {"name": name}, f"0 for schedule={name}, which rises from schedule.low itself", (2.0,), (0.0,))
        for name in ("triangular", "triangular2", "exp_range", "one_cycle", "one_cycle_torch")
    ),
    ("schedule.warmup_start", {}, "from 0 to below 1", (-0.1, 1.0, NAN), (0.0, BELOW_1)),
    ("schedule.warmup_start_lr", {}, "finite and at least 0", (-0.1, INF, NAN), (0.0, 1e308)),
    *(
        (f"schedule.{key}", {"name": name}, "above 0 and at most 1,000,000,000", (0.0, -1.0, 1e308, INF, NAN), (TINY, 1e9))
        for name, key in (("step", "every"), ("triangular", "period"), ("cosine", "length"))
    ),
    ("schedule.every", {"name": "grow_batch"}, "whole epochs", (2.5,), (1.0,)),
    *(
        (f"schedule.{key}", {"name": name}, "from 0 to below 1", (-0.1, 1.0, NAN), (0.0, BELOW_1))
        for name, key in (("cosine", "final"), ("one_cycle", "tail"), ("one_cycle_torch", "rise"), ("plateau", "threshold"))
    ),
    ("schedule.final_lr", {"name": "cosine"}, "finite and at least 0", (-0.1, INF, NAN), (0.0, 1e308)),
    ("schedule.factor", {"name": "step"}, "above 0 and at most 1", (0.0, 1.1, NAN), (TINY, 1.0)),
    ("schedule.low", {"name": "triangular"}, "above 0 and at most 1", (0.0, 1.1, NAN), (TINY, 1.0)),
    ("schedule.milestones", {"name": "multi_step"}, ASCENDING, NOT_ASCENDING, ([TINY, 1e9],)),
    ("schedule.milestones", {"name": "multi_step"}, "given, for example [5,10]", ([],), ()),
    ("schedule.milestones", {"name": "piecewise"}, "given, for example [5,10]", ([],), ()),
    (
        "schedule.shares",
        {"name": "piecewise", "milestones": [5.0, 10.0]},
        "a list of 3, one more than schedule.milestones",
        ([1.0, 0.1],),
        ([0.0, 2.0, 0.0],),
    ),
    (
        "schedule.shares",
        {"name": "piecewise", "milestones": [5.0]},
        "finite and at least 0",
        ([1.0, -0.1], [INF, 1.0], [1.0, NAN]),
        ([0.0, 1e300],),
    ),
    ("schedule.power", {"name": "power"}, "positive and finite", (0.0, INF, NAN), (TINY, 1e308)),
    ("schedule.period_growth", {"name": "cosine_restarts"}, "from 1 to 100", (0.9, 100.1, NAN), (1.0, 100.0)),
    ("schedule.patience", {"name": "plateau"}, "at least 1", (0,), (1,)),
    ("schedule.cooldown", {"name": "plateau"}, "at least 0", (-1,), (0, 100)),
    ("training.batch_size", {}, "at least 1", (0,), (1, 60_000)),
    ("training.batch_size", {}, "at most 60000", (60_001,), ()),
    ("training.patience", {}, "at least 1", (0,), (1, None)),
    ("training.max_epochs", {}, "at least 1", (0,), (1,)),
    ("training.score", {}, "one of best, last", ("first",), ("last",)),
    ("training.validate_every", {"patience": None}, "at least 1", (0, -1), (1, 2, 10_000)),
    ("training.validate_every", {}, "1 for early stopping (training.patience)", (2,), (1,)),
    ("training.precision", {}, "one of fp32, bf16", ("fp16",), ("bf16",)),
    ("grid.start", {}, "finite", (NAN,), ()),
    ("grid.start", {}, "at most grid.stop (-1.5)", (-1.0,), (-1.5,)),
    ("grid.start", {"step": 1.0}, "at least -300", (-301.0,), (-300.0,)),
    ("grid.stop", {}, "finite", (INF,), ()),
    ("grid.stop", {"step": 1.0}, "at most 300", (301.0,), (300.0,)),
    ("grid.step", {}, "finite", (NAN,), ()),
    ("grid.step", {}, "positive", (0.0, -0.1), (4.6e-4,)),
    ("grid.step", {}, "coarse enough for 10,000 points", (4.5e-4,), ()),
    ("machine.checkpoint_seconds", {}, "finite and at least 0", (-1.0, INF), (0.0, None)),
    *(
        (f"machine.{key}", {}, "a path, which cannot be empty", ("",), ("a",))
        for key in ("data_dir", "results_dir", "save_weights")
    ),
    ("model.init_from", {}, "a path, which cannot be empty", ("",), ("a", None)),
    ("tracker.uri", {"name": "mlflow"}, "a path, which cannot be empty", ("",), ("a", None)),
    (
        "tracker.uri",
        {"name": "wandb"},
        "the address of a W&B server, such as https://wandb.example.com",
        ("wandb.example.com", "sqlite:///results/wandb.db"),
        ("http://localhost:8080", "https://wandb.example.com", None),
    ),
    ("find.num_seeds", {}, "from 1 to 1000", (0, 1_001, 10**9), (1, 1_000)),
    ("find.num_steps", {}, "from 20 to 100000", (19, 100_001, 10**9), (20, 100_000)),
    ("find.low", {}, "positive and finite", (0.0, -1.0, INF, NAN), (TINY,)),
    ("find.high", {}, "finite and above find.low (1e-07)", (1e-7, INF, NAN), (1e308,)),
    ("find.spacing", {}, "one of exponential, linear", ("log",), ("linear",)),
    ("find.against", {}, PLAIN_PATH, NOT_PLAIN, ("reference/lr",)),
    ("find.smoothing", {}, "from 0 to below 1", (-0.1, 1.0, NAN), (0.0, BELOW_1)),
    ("machine.threads", {}, "from 1 to 1024", (0, 2**63), (1, 1024)),
    ("machine.precision", {}, "one of fp32, tf32", ("bf16",), ("tf32",)),
    (
        "machine.device",
        {},
        "auto, cpu, cuda or cuda:N",
        ("gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU", "cuda:²"),
        ("cuda", "cuda:1"),
    ),
    ("study.fresh_seeds", {}, "from 0 to 9999", (-1, 10_000), (0, 9_999)),
    ("study.confirm_decades", {}, "finite and at least 0", (-0.1, math.inf, math.nan), (0, 0.5)),
    (
        "study.confirm_also",
        {},
        "a list of arms, each with an exponent from -300 to 300 as `at`",
        ([{}], [{"at": math.nan}], [{"at": "high"}], [{"at": 301}], [{"optimizer.name": "adam"}]),
        ([], [{"optimizer.name": "adam", "at": -3}]),
    ),
    ("study.name", {}, PLAIN_PATH, NOT_PLAIN, ("reference/학습률 1",)),
    ("study.delta", {}, "a fraction above 0 and below 1", (0.0, 1.0, NAN), (None, 0.01)),
    ("study.name", {}, "another name, because study=all reports on every study", ("all",), ("all/lr",)),
    ("tracker.name", {}, "one of none, tensorboard, mlflow, wandb", ("comet",), ("mlflow", "wandb")),
]


@pytest.mark.parametrize(("setting", "others", "bound", "refused", "accepted"), BOUNDS, ids=[f"{b[0]} {b[2]}" for b in BOUNDS])
def test_values_outside_the_bound_are_refused(
    setting: str, others: dict[str, Any], bound: str, refused: tuple[Any, ...], accepted: tuple[Any, ...]
) -> None:
    group, name = setting.rsplit(".", 1)
    for value in refused:
        with pytest.raises(ConfigError) as error:
            GROUPS[group](**others, **{name: value})
        assert str(error.value) == f"{setting} must be {bound}, got {value!r}"
    for value in accepted:
        assert getattr(GROUPS[group](**others, **{name: value}), name) == value


def schedule(**settings: Any) -> dict[str, Any]:
    return {"schedule": ScheduleConfig(**settings)}


GD = {"optimizer": OptimizerConfig(name="gd")}
SHORT, FIXED = TrainingConfig(max_epochs=7), TrainingConfig(patience=None, max_epochs=7)
TOO_MANY_IMAGES = "data.skip + data.num_train + data.num_valid must be at most 60000, got 60001"
OWN_DATA, OWN_MODEL = {"target": "my_data:load"}, {"target": "my_nets:Net", "name": "net"}
CONTRADICTIONS: list[tuple[type, dict[str, Any], str]] = [
    (DataConfig, {"name": "digits"}, "data.name=digits is not a data set; choose data=… or, for your own, data.target=…"),
    (DataConfig, {"path": "x.npz"}, "data.path needs data=arrays or data.target=module:function"),
    (DataConfig, {"shape": [3, 32, 32]}, "data.shape needs data=arrays or data.target=module:function"),
    (DataConfig, {"target": "my_data"}, "data.target must be module:name, such as my_nets:Net, got 'my_data'"),
    (DataConfig, {**OWN_DATA, "num_train": -1}, "data.num_train must be at least 0, got -1"),
    (ModelConfig, {"name": "mlp"}, "model.name=mlp is not a network; choose model=… or, for your own, model.target=…"),
    (ModelConfig, {"args": {"width": 3}}, "model.args is not used by model=cnn, only by model.target=…"),
    (ModelConfig, {**OWN_MODEL, "dropout": 0.5}, "model.dropout belongs to model=cnn; net has only model.args"),
    (
        RunConfig,
        {"model": ModelConfig(target="my_nets:Net"), "optimizer": OptimizerConfig(layerwise="rising")},
        "optimizer.layerwise and optimizer.layers name layers of model=cnn; other networks take optimizer.rates",
    ),
    (OptimizerConfig, {"rates": {"head.": -1.0}}, "optimizer.rates.head. must be finite and at least 0, got -1.0"),
    (DataConfig, {"num_train": 55_001}, TOO_MANY_IMAGES),
    (DataConfig, {"skip": 52_001}, TOO_MANY_IMAGES),
    (
        DataConfig,
        {"classes": [0, 1], "num_train": 7_666},
        "data.skip + data.num_train + data.num_valid must be at most 12665 (all images of data.classes), got 12666",
    ),
    (
        ModelConfig,
        {"init": "he", "init_from": "weights.pt"},
        "model.init=he has no effect because model.init_from sets the weights; drop one of them",
    ),
    (
        OptimizerConfig,
        {"name": "adam", "momentum": 0.5},
        "optimizer.momentum is not used by optimizer=adam, only by momentum, nesterov",
    ),
    (
        ScheduleConfig,
        {"name": "cosine", "every": 5.0},
        "schedule.every is not used by schedule=cosine, only by step, exponential, power, exp_range, grow_batch",
    ),
    (
        ScheduleConfig,
        {"milestones": [5.0]},
        "schedule.milestones is not used by schedule=constant, only by multi_step, piecewise",
    ),
    *(
        (
            ScheduleConfig,
            {"name": "cosine", key: 0.5, f"{key}_lr": 0.0},
            f"schedule.{key} and schedule.{key}_lr set the same rate; drop one of them",
        )
        for key in ("warmup_start", "final")
    ),
    (TrackerConfig, {"name": "tensorboard", "uri": "x"}, "tracker.uri is not used by tracker=tensorboard, only by mlflow, wandb"),
    (RunConfig, {"seed": -1}, "seed must be from 0 to 2147483647, got -1"),
    (RunConfig, {"seed": 2**31}, "seed must be from 0 to 2147483647, got 2147483648"),
    (
        RunConfig,
        {**GD, "training": TrainingConfig(batch_size=64)},
        "training.batch_size=64 contradicts optimizer=gd, whose batch is all training images; optimizer=sgd takes a batch size",
    ),
    (
        RunConfig,
        {**GD, **schedule(name="grow_batch")},
        "schedule=grow_batch cannot grow the batch of optimizer=gd, which holds all training images",
    ),
    *(
        (RunConfig, schedule(name="grow_batch", max_batch_size=size), f"schedule.max_batch_size must be {bound}, got {size}")
        for size, bound in ((31, "at least training.batch_size (32)"), (60_001, "at most 60000"))
    ),
    (
        RunConfig,
        {**schedule(name="plateau"), "training": TrainingConfig(patience=None, validate_every=3)},
        "training.validate_every must be 1 for schedule=plateau, which needs the loss of every epoch, got 3",
    ),
    *(
        (
            RunConfig,
            {"optimizer": OptimizerConfig(lr=1e-6), **schedule(name="cosine", **{key: 1e-5})},
            f"schedule.{key} must be at most optimizer.lr (1e-06), got 1e-05",
        )
        for key in ("warmup_start_lr", "final_lr")
    ),
    *(
        (
            RunConfig,
            {**schedule(warmup=warmup, **settings), "training": training},
            f"schedule.warmup must be shorter than the {end}, got {warmup}",
        )
        for warmup, settings, training, end in (
            (1_000.0, {}, TrainingConfig(), "run (1000 epochs)"),
            (7.0, {}, FIXED, "run (7 epochs)"),
            (20.0, {"name": "cosine"}, TrainingConfig(), "schedule (20 epochs)"),
            (7.0, {"name": "cosine"}, FIXED, "schedule (7 epochs)"),
            (9.0, {"name": "cosine"}, SHORT, "schedule (7 epochs)"),
            (9.0, {"name": "cosine", "length": 50.0}, SHORT, "run (7 epochs)"),
            (1_880.0, {"name": "cosine", "unit": "step"}, TrainingConfig(), "schedule (1880 steps)"),
            (94.0, {"unit": "step"}, TrainingConfig(max_epochs=1), "run (94 steps)"),
        )
    ),
]


@pytest.mark.parametrize(("config", "settings", "message"), CONTRADICTIONS, ids=[message for _, _, message in CONTRADICTIONS])
def test_settings_that_contradict_each_other_are_refused(config: type, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup": 999.0},
        {"name": "cosine", "warmup": 19.9},
        {"name": "cosine", "warmup": 1_879.0, "unit": "step"},
        {"name": "cosine", "warmup_start_lr": 1e-3, "final_lr": 1e-3},
        {"name": "grow_batch", "max_batch_size": 32, "warmup": 2.5},
    ],
)
def test_a_schedule_may_just_fit_its_run(settings: dict[str, Any]) -> None:
    assert RunConfig(schedule=ScheduleConfig(**settings)).schedule == ScheduleConfig(**settings)


@given(st.text(alphabet="./\\-~ a학\n\0:", max_size=12))
def test_the_folder_of_an_accepted_study_is_inside_the_results(name: str) -> None:
    try:
        app = AppConfig(study=StudyConfig(name=name), machine=MachineConfig(results_dir="/results"))
    except ConfigError:
        return
    assert Path("/results") in Path(os.path.normpath(app.folder)).parents
    assert Path("/results") in Path(os.path.normpath(str(app.folder).replace("\\", "/"))).parents
