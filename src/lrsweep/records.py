"""The results that a run leaves behind. Records are frozen, because a result is a fact.

Accuracies are fractions. Losses and accuracies are means over images.
"""

from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 1

RangeTestEnd = Literal["high", "loss_rose", "not_finite"]
Status = Literal["ok", "diverged", "failed"]
StopReason = Literal["patience", "max_epochs", "diverged", "error"]
State = dict[str, Any]  # an unfinished run: nested dicts and lists of tensors, numbers, strings and None


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    epoch: int  # from 1
    train_loss: float  # averaged during the epoch, while the weights changed
    train_accuracy: float
    highest_loss: float | None = None  # largest loss of a single step; None in old records
    valid_loss: float | None  # None: not validated after this epoch, see training.validate_every
    valid_accuracy: float | None
    seconds: float  # training, and validation if there was one


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of training. If `status` is "failed", `error` says why, and nothing was measured.

    The scored epoch is the best or the last one, as `training.score` says. A run that diverged has no last epoch to score.
    """

    status: Status
    stop_reason: StopReason
    curve: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None  # the first epoch with the highest validation accuracy, even if the last is scored
    valid_accuracy: float | None = None  # of the scored epoch
    test_accuracy: float | None = None  # with the weights of the scored epoch
    test_loss: float | None = None
    best_test_accuracy: float | None = None  # with the weights of the best epoch
    last_test_accuracy: float | None = None  # with the weights of the last epoch; old records have only test_accuracy
    balanced_test_accuracy: float | None = None  # of the scored epoch, mean over the classes; None in old records
    wall_seconds: float | None = None  # training and validation, without set-up, warm-up and test
    cpu_seconds: float | None = None  # of this process; on a CPU, far less than wall_seconds means that the machine was busy
    diverged_step: int | None = None  # optimizer steps before the first loss that was not finite
    last_finite_loss: float | None = None
    error: str | None = None

    @property
    def epochs(self) -> int:
        return len(self.curve)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    run_id: str
    config: dict[str, Any]  # the whole RunConfig, nested
    outcome: Outcome
    engine: str
    timing: Literal["measured", "calibrated"]  # calibrated: trained with other runs; each epoch counts as long as a solo epoch
    class_counts: dict[str, list[int]]  # split → images of each class
    environment: dict[str, Any]
    schema_version: int = SCHEMA_VERSION

    @property
    def is_done(self) -> bool:
        """A diverged run is done, because divergence is a result. A failed run is tried again."""
        return self.outcome.status != "failed"


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """The result of one range test. It has one value per step, and all of them are finite."""

    seed: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]  # of the batch, before its update
    smoothed: tuple[float, ...]  # moving average of the losses
    end: RangeTestEnd  # reached the highest rate, the smoothed loss rose too far, or the next loss was not finite


@dataclass(frozen=True, kw_only=True)
class RangeTests:
    """The result of one call of `lrsweep-find`. It keeps the suggestions, so that they can be read without this program."""

    config: dict[str, Any]  # the whole RunConfig, nested; the seed is the first test's; the rate and schedule are unused
    find: dict[str, Any]  # the whole FindConfig
    environment: dict[str, Any]
    tests: tuple[RangeTest, ...]  # one per seed
    suggestions: list[dict[str, Any]]  # one row per rule; None: no suggestion, or not measured
    schema_version: int = SCHEMA_VERSION
