"""The small studies that the claims ask for, with runs that no training had to make: accuracies that a test chose."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from made_study import CLASS_COUNTS, MACHINE

from lrsweep.config import DataConfig, LossConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainingConfig, run_id
from lrsweep.records import EpochRecord, Outcome, RunRecord
from lrsweep.storage import store

NUM_EPOCHS = 10
GROUPS = {"data": DataConfig, "model": ModelConfig, "loss": LossConfig, "optimizer": OptimizerConfig, "schedule": ScheduleConfig}


def record_of(settings: Mapping[str, Any], lr: float, seed: int, accuracy: float, seconds: float = 10.0) -> RunRecord:
    """A run of NUM_EPOCHS that rises to `accuracy` and has it on validation and test alike."""
    named: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        group, _, field = name.partition(".")
        named.setdefault(group, {})[field] = value
    training = TrainingConfig(**{"max_epochs": NUM_EPOCHS, "patience": None} | named.pop("training", {}))
    optimizer = OptimizerConfig(**{"lr": lr} | named.pop("optimizer", {}))
    groups = {name: GROUPS[name](**values) for name, values in named.items()}
    run = RunConfig(seed=seed, optimizer=optimizer, training=training, **groups)
    curve = tuple(
        EpochRecord(epoch=i, train_loss=2 / i, train_accuracy=min(1.0, accuracy + 0.01), valid_loss=2 / i,
                    valid_accuracy=accuracy * (1 - 0.5 ** (2 * i)) if i < NUM_EPOCHS else accuracy, seconds=1.0)
        for i in range(1, NUM_EPOCHS + 1)
    )  # fmt: skip
    outcome = Outcome(
        status="ok", stop_reason="max_epochs", curve=curve, best_epoch=NUM_EPOCHS, valid_accuracy=accuracy,
        test_accuracy=accuracy, test_loss=0.1, wall_seconds=seconds, cpu_seconds=seconds, last_finite_loss=0.1,
    )  # fmt: skip
    return RunRecord(
        run_id=run_id(run), config=asdict(run), outcome=outcome, engine="solo", timing="measured",
        class_counts=CLASS_COUNTS, environment=MACHINE,
    )  # fmt: skip


def fill_arms(
    folder: Path, arms: Iterable[Mapping[str, Any]], exponents: Iterable[float], heights: Iterable[float], *,
    seeds: Iterable[int] = range(3), sd: float = 0.001, best: float = -2.5,
) -> Path:  # fmt: skip
    """Each arm's accuracy is a hill of its height around 10^best, with a seed's own part and noise."""
    rng = np.random.default_rng(0)
    of_seed = {seed: rng.normal(0, 0.003) for seed in seeds}
    for arm, height in zip(arms, heights, strict=True):
        for exponent in exponents:
            for seed, shift in of_seed.items():
                accuracy = height - 0.02 * (exponent - best) ** 2 + shift + rng.normal(0, sd)
                store.save(folder, record_of(arm, 10**exponent, seed, round(min(accuracy, 1.0), 4)))
    store.pack(folder)
    for path in (folder / "runs").glob("*.json"):
        path.unlink()
    return folder


OPTIMIZERS = ("gd", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamw")
FALLING = ("step", "exponential", "power", "cosine", "plateau")
SMALL: dict[str, tuple[list[dict[str, Any]], list[float]]] = {
    "optimizers/small": ([{"optimizer.name": name} for name in OPTIMIZERS], [-4.0, -3.5, -3, -2.5, -2, -1.5]),
    "schedules/small": (
        [{"schedule.name": name} for name in ("constant", *FALLING, "cosine_restarts", "triangular", "one_cycle")]
        + [{"schedule.name": "cosine", "schedule.warmup": 2.0}],
        [-3.0, -2.5, -2.0],
    ),
    "schedules_sgd/small": (
        [{"optimizer.name": "nesterov", "schedule.name": name} for name in ("constant", "step", "cosine", "one_cycle")],
        [-3.0, -2.5, -2.0],
    ),
    "warmup/small": ([{"schedule.warmup": epochs} for epochs in (0.0, 1.0, 2.0, 5.0)], [-2.5, -2.0, -1.5]),
    "batch_size/small": ([{"training.batch_size": size} for size in (32, 128, 512)], [-3.0, -2.5, -2.0, -1.5]),
    "grow_batch/small": (
        [{"schedule.name": name, "schedule.factor": 0.5, "schedule.every": 3.0} for name in ("step", "grow_batch")],
        [-3.0, -2.5, -2.0],
    ),
    "layerwise/small": (
        [
            {"optimizer.layerwise": layerwise, "model.activation": activation}
            for layerwise in ("uniform", "rising", "falling")
            for activation in ("sigmoid", "relu")
        ],
        [-3.0, -2.5, -2.0],
    ),
    "finetune/small": ([{}, {"model.init_from": "results/pretrain/small/seed-{seed}.pt"}], [-5.0, -4.5, -4, -3.5, -3, -2.5]),
    "techniques/small": (
        [
            *({}, {"model.dropout": 0.5}, {"model.batch_norm": True}, {"loss.l1": 1e-5}, {"loss.l2": 1e-3}),
            *({"data.max_shift": 2.0, "data.max_rotation": 10.0}, {"model.init": "xavier"}, {"model.init": "he"}),
            *({"model.activation": name} for name in ("tanh", "relu", "leaky_relu", "elu")),
        ],
        [-3.0, -2.5, -2.0],
    ),
}


def fill_small(folder: Path, gain: float = 0.004) -> Path:
    """All small studies; each arm `gain` better than the one before."""
    for name, (arms, exponents) in SMALL.items():
        fill_arms(folder / name, arms, exponents, [0.95 + gain * i for i in range(len(arms))])
    return folder
