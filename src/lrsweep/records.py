"""What a run leaves. Frozen: a record is a fact.

Accuracies are fractions. Losses and accuracies are means over images.
"""

from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 1

RangeTestEnd = Literal["high", "loss_rose", "not_finite"]
Status = Literal["ok", "diverged", "failed"]
StopReason = Literal["patience", "max_epochs", "diverged", "error"]
State = dict[str, Any]  # a run in progress: tensors, numbers, text, None, and lists and dicts of them


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    epoch: int  # from 1
    train_loss: float  # of the epoch's batches as they were trained on, so an average over moving weights
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    seconds: float  # training and validation


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What training gave. `failed` outcomes carry an error and nothing measured."""

    status: Status
    stop_reason: StopReason
    curve: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None
    valid_accuracy: float | None = None  # at the best epoch
    test_accuracy: float | None = None  # once, with the best epoch's weights
    test_loss: float | None = None
    wall_seconds: float | None = None  # training and validation, without set-up, warm-up and the test
    cpu_seconds: float | None = None  # the process's own; on a CPU, well below wall_seconds: the machine was busy
    diverged_step: int | None = None  # optimizer steps before the first loss that was not finite
    last_finite_loss: float | None = None
    error: str | None = None

    @property
    def epochs(self) -> int:
        return len(self.curve)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    run_id: str
    config: dict[str, Any]  # the full RunConfig, nested
    outcome: Outcome
    engine: str
    timing: Literal["measured", "calibrated"]
    class_counts: dict[str, list[int]]  # split → images of each class
    environment: dict[str, Any]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """What a training whose learning rate rises at every step leaves: a value a step, all of them finite."""

    seed: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]  # of the step's batch, before its update
    smoothed: tuple[float, ...]  # the losses' moving average
    end: RangeTestEnd  # at the highest rate | the smoothed loss had risen too far | the next loss was not finite


@dataclass(frozen=True, kw_only=True)
class RangeTests:
    """One call of `lrsweep-find`. The suggestions follow from the tests; they are kept to be read without this software."""

    config: dict[str, Any]  # the full RunConfig, nested; its seed is the first test's, its rate and schedule are unused
    find: dict[str, Any]  # the full FindConfig
    environment: dict[str, Any]
    tests: tuple[RangeTest, ...]  # one a seed
    suggestions: list[dict[str, Any]]  # a row a rule, as analysis/suggest.py has them; None: no suggestion, or not measured
    schema_version: int = SCHEMA_VERSION
