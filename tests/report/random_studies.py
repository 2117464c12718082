"""Strategies for studies of any composition: runs that are ok, diverged, failed or missing, in one or more arms."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from synthetic_study import DIVERGED, FAILED, MACHINE, record_of

from lrsweep.analysis.confirmation import FIRST_FRESH_SEED
from lrsweep.config import RunConfig
from lrsweep.records import EpochRecord, RangeTest, RangeTests, RunRecord
from lrsweep.storage import range_tests, store

NAMES = ["lr", "학습률 연구", "é/zürich", "a<b>|`c`", "$10^{-3}$"]
RATES = [1e-6, 10**-5.5, 10**-4.5, 1e-4, 10**-3.5, 0.0012345, 10**-2.5, 10**-2.4, 0.03, 1.0]
# The settings of an arm that differ from the defaults. Two arms that differ in one of these are an extended study.
ARMS: list[dict[str, Any]] = [
    {},
    {"loss.name": "double_softmax"},
    {"optimizer.name": "sgd"},
    {"training.batch_size": 64},
    {"training.max_epochs": 3},
    {"training.patience": None, "training.validate_every": 2},
    {"training.patience": None, "training.score": "last"},
    {"schedule.name": "cosine"},
    {"schedule.name": "plateau", "schedule.factor": 0.5},
    {"schedule.name": "grow_batch", "schedule.factor": 0.5, "schedule.every": 2.0},
    {"schedule.name": "piecewise", "schedule.milestones": [2.0], "schedule.shares": [1.0, 0.1]},
    {"data.classes": [0, 1], "data.num_test": 2115},
    {"data.num_valid": 10},
    {"model.init_from": "weights/{seed} a|b.pt"},
]
ENVIRONMENTS: list[dict[str, Any]] = [
    {},
    MACHINE,
    MACHINE | {"device": "cuda", "device_name": "NVIDIA <H100>", "git_dirty": True},
]
ACCURACIES = st.one_of(st.sampled_from([0.0, 0.1, 0.97, 0.9702, 1.0]), st.integers(0, 5000).map(lambda num: num / 5000))


@cache
def _defaults() -> dict[str, Any]:
    return asdict(RunConfig())


def config_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run, as a record holds it."""
    config: dict[str, Any] = {name: dict(group) if isinstance(group, dict) else group for name, group in _defaults().items()}
    for name, value in settings.items():
        *groups, last = name.split(".")
        group = config
        for key in groups:
            group = group[key]
        group[last] = value
    return config


@st.composite
def outcomes(draw: st.DrawFn, training: Mapping[str, Any]) -> dict[str, Any]:
    """What an engine stores: see solo.train."""
    kind = draw(st.sampled_from(["ok", "ok", "ok", "diverged", "diverged late", "failed"]))
    if kind == "failed":
        return FAILED | {"error": draw(st.sampled_from(["", "out of memory", "a|b\n<c>", "학습"]))}
    if kind == "diverged":
        return DIVERGED
    every = training["validate_every"]
    num_epochs = draw(st.integers(1, 3 if training["max_epochs"] == 3 else 12))
    last = num_epochs if kind == "ok" else 0  # the last epoch is always validated, unless the run diverged
    valid = [draw(ACCURACIES) if epoch % every == 0 or epoch == last else None for epoch in range(1, num_epochs + 1)]
    loss = draw(st.sampled_from([0.0, 0.05, 1.5, 1e30]))
    curve = tuple(
        EpochRecord(
            epoch=epoch,
            train_loss=loss,
            train_accuracy=0.5,
            highest_loss=draw(st.sampled_from([None, 3.0])) if epoch == 1 else 3.0,
            valid_loss=None if accuracy is None else loss / epoch,
            valid_accuracy=accuracy,
            seconds=1.0,
        )
        for epoch, accuracy in enumerate(valid, start=1)
    )
    scores = [accuracy for accuracy in valid if accuracy is not None]
    best_epoch = valid.index(max(scores)) + 1 if scores else None
    is_last = training["score"] == "last"
    scored = (None if kind != "ok" else num_epochs) if is_last else best_epoch
    test = draw(ACCURACIES) if scored else None
    patience = training["patience"]
    reason = "patience" if best_epoch and patience and num_epochs - best_epoch >= patience else "max_epochs"
    wall = draw(st.sampled_from([0.5, 12.0]))
    return {
        **{"status": "ok" if kind == "ok" else "diverged", "stop_reason": reason if kind == "ok" else "diverged"},
        **{"curve": curve, "best_epoch": best_epoch, "valid_accuracy": valid[scored - 1] if scored else None},
        **{"test_accuracy": test, "test_loss": None if test is None else loss, "last_finite_loss": loss},
        **{"best_test_accuracy": None if best_epoch is None else draw(ACCURACIES) if is_last else test},
        **{"last_test_accuracy": draw(st.sampled_from([None, 0.5])) if kind == "ok" else None},
        **{"wall_seconds": wall, "cpu_seconds": wall * draw(st.sampled_from([0.5, 1.0]))},
        "diverged_step": None if kind == "ok" else 94 * num_epochs,
    }


@st.composite
def records(draw: st.DrawFn, arm: Mapping[str, Any], rates: list[float], seeds: list[int]) -> list[RunRecord]:
    """Runs of one arm. Some are missing; in some studies, all runs have the same outcome."""
    training = config_of(arm)["training"]
    same = draw(outcomes(training)) if draw(st.integers(0, 9)) == 0 else None
    environment = draw(st.sampled_from(ENVIRONMENTS))
    is_fused = draw(st.booleans())
    share_missing = draw(st.sampled_from([0, 0, 3, 8]))
    made = []
    for lr in rates:
        for seed in seeds:
            if share_missing and draw(st.integers(0, 9)) < share_missing:
                continue
            outcome = same or draw(outcomes(training))
            record = record_of(lr, outcome, seed=seed, machine=environment)
            config = config_of({**arm, "seed": seed, "optimizer.lr": lr})
            run_id = hashlib.sha256(str(config).encode()).hexdigest()[:16]
            made.append(
                replace(
                    record,
                    run_id=run_id,
                    config=config,
                    engine="fused" if is_fused else "solo",
                    timing="calibrated" if is_fused else "measured",
                )
            )
    return made


@st.composite
def studies(draw: st.DrawFn) -> dict[str, list[RunRecord]]:
    """The records of a study ("") and of its subfolders: "confirm" on fresh seeds, "budget" without early stopping."""
    arms = draw(st.lists(st.sampled_from(ARMS), min_size=1, max_size=3, unique_by=str))
    rates = st.lists(st.sampled_from(RATES), min_size=1, max_size=5, unique=True)
    shared_rates, num_seeds = draw(rates), draw(st.integers(1, 4))
    own, fresh = [], []
    for arm in arms:
        arm_rates = draw(st.sampled_from([shared_rates, draw(rates)]))
        first_seed = draw(st.sampled_from([0, 0, 1]))
        own += draw(records(arm, arm_rates, list(range(first_seed, first_seed + num_seeds))))
        first_fresh = draw(st.sampled_from([FIRST_FRESH_SEED, FIRST_FRESH_SEED, first_seed]))
        tried = draw(st.sampled_from([arm_rates, arm_rates[:1], [1e-3]]))
        if draw(st.booleans()):
            fresh += draw(records(arm, tried, list(range(first_fresh, first_fresh + draw(st.integers(1, 4))))))
    budget: list[RunRecord] = []
    if draw(st.integers(0, 2)) == 0:
        settings = {"training.max_epochs": 12, "training.patience": draw(st.sampled_from([None, 12]))}
        budget = draw(records(arms[0] | settings, shared_rates, list(range(num_seeds))))
    return {"": own, "confirm": fresh, "budget": budget}


def save(folder: Path, study: Mapping[str, list[RunRecord]]) -> None:
    for name, made in study.items():
        for record in made:
            store.save(folder / name, record)


@st.composite
def curves(draw: st.DrawFn) -> tuple[RangeTest, ...]:
    """Range tests: of noise, flat, falling, and of a few steps."""
    num_steps = draw(st.sampled_from([1, 2, 7, 40, 100]))
    rates = np.geomspace(1e-6, draw(st.sampled_from([1e-2, 1.0])), num_steps)
    tests = []
    for seed in range(draw(st.integers(1, 3))):
        shape = draw(st.sampled_from(["flat", "noise", "falls", "valley"]))
        x = np.linspace(0, 1, num_steps)
        losses = {"flat": 0 * x + 2.3, "falls": 2.3 - 2 * x**2, "valley": 2.3 - 2 * np.sin(np.pi * x**2)}.get(
            shape, 2.3 + 0.1 * np.random.default_rng(seed).standard_normal(num_steps)
        )
        values = tuple(losses.tolist())
        tests.append(RangeTest(seed=seed, rates=tuple(rates.tolist()), losses=values, smoothed=values, end="high"))
    return tuple(tests)


def save_range_tests(folder: Path, tests: tuple[RangeTest, ...]) -> None:
    stored = RangeTests(config=config_of({}), find={}, environment=MACHINE, tests=tests, suggestions=[])
    range_tests.save_range_tests(folder, stored)
