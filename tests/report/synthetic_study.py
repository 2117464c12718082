"""Synthetic studies on disk, and the files of a report."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lrsweep.config import LossConfig, OptimizerConfig, RunConfig, TrainingConfig, run_id
from lrsweep.records import EpochRecord, Outcome, RunRecord
from lrsweep.storage import store

ARMS = ("cross_entropy", "double_softmax")
MAIN_FIGURES = ("shortfall", "error", "price", "training-curves")
MACHINE = {
    **{"device": "cpu", "device_name": "a processor", "cores": 2, "threads": 1, "workers": 2, "peak_memory_bytes": 4.6e8},
    **{"git_commit": "abcdef1234567890", "git_dirty": False},
}
CLASS_COUNTS = {"train": [300] * 10, "valid": [500] * 10, "test": [1000] * 10}


def curve_of(accuracies: Iterable[float]) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(epoch=i, train_loss=2 / i, train_accuracy=0.5, valid_loss=2 / i, valid_accuracy=accuracy, seconds=1.0)
        for i, accuracy in enumerate(accuracies, start=1)
    )


def scored(accuracy: float, seconds: float = 10.0, *, num_epochs: int = 7, best_epoch: int = 2) -> dict[str, Any]:
    """A run that reaches `accuracy` at `best_epoch` and stays there. Its test accuracy is 0.01 lower."""
    before = [accuracy * i / best_epoch for i in range(1, best_epoch)]
    return {
        **{"status": "ok", "stop_reason": "patience", "curve": curve_of([*before, *[accuracy] * (num_epochs - best_epoch + 1)])},
        **{"best_epoch": best_epoch, "valid_accuracy": accuracy, "test_accuracy": round(accuracy - 0.01, 4), "test_loss": 1.0},
        **{"wall_seconds": seconds, "cpu_seconds": seconds, "last_finite_loss": 0.7},
    }


AT_CHANCE = scored(0.1, 8.0, num_epochs=6, best_epoch=1)
DIVERGED = {
    **{"status": "diverged", "stop_reason": "diverged", "wall_seconds": 1.1, "cpu_seconds": 1.1},
    **{"diverged_step": 1, "last_finite_loss": 2.3},
}
FAILED = {"status": "failed", "stop_reason": "error", "error": "its process was killed by signal 9, 2 times"}


def outcome_of(lr: float, seed: int, num_epochs: int = 7) -> dict[str, Any]:
    """Chance level below 10^-5.2, most accurate near 10^-2.5, fastest near 10^-2, diverged above 10^-1.8."""
    exponent = math.log10(lr)
    if exponent > -1.75:
        return DIVERGED
    if exponent < -5.25:
        return AT_CHANCE
    noise = np.random.default_rng([round(-10 * exponent), seed]).normal(0, 0.0015)
    accuracy = 0.97 - 0.08 * (exponent + 2.5) ** 2 + noise
    return scored(round(accuracy * 5000) / 5000, round(10 + 20 * abs(exponent + 2) + 0.1 * seed, 1), num_epochs=num_epochs)


def record_of(
    lr: float, outcome: dict[str, Any], *, seed: int = 0, loss: str = "cross_entropy", machine: Any = MACHINE, **training: Any
) -> RunRecord:
    """A record as a sweep stores it. `training` sets fields of TrainingConfig."""
    run = RunConfig(seed=seed, optimizer=OptimizerConfig(lr=lr), loss=LossConfig(name=loss), training=TrainingConfig(**training))
    return RunRecord(
        run_id=run_id(run),
        config=asdict(run),
        outcome=Outcome(**outcome),
        engine="solo",
        timing="measured",
        class_counts={} if outcome["status"] == "failed" else CLASS_COUNTS,
        environment=machine,
    )


def fill(folder: Path, rates: Iterable[float], seeds: Iterable[int], losses: Iterable[str] = ARMS[:1], **training: int) -> Path:
    """Save one record per rate, seed and loss."""
    seeds, losses = list(seeds), list(losses)
    for lr in rates:
        for seed in seeds:
            for loss in losses:
                store.save(folder, record_of(lr, outcome_of(lr, seed), seed=seed, loss=loss, **training))
    return folder


def fill_budget(folder: Path, rates: Iterable[float], seeds: Iterable[int], **training: int) -> Path:
    """Save runs of 20 epochs without early stopping."""
    seeds = list(seeds)
    for lr in rates:
        for seed in seeds:
            outcome = outcome_of(lr, seed, num_epochs=20) | {"stop_reason": "max_epochs"}
            settings = {"max_epochs": 20, "patience": 20} | training
            store.save(folder, record_of(lr, outcome, seed=seed, **settings))
    return folder


def report_in(folder: Path) -> dict[str, bytes]:
    """The files in a study's folder except its records, by name."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".gz"]
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in contents.items() if "runs/" not in name}
