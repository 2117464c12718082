"""A run in a slot of a block. Decides when it is validated, its learning rates and when it stops, as in solo.py.

Shapes: N images.
"""

import math
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor

from lrsweep.config import RunConfig
from lrsweep.data.dataset import batch_order
from lrsweep.data.seeding import training_generators
from lrsweep.records import EpochRecord, Outcome, State, StopReason
from lrsweep.training.early_stopping import EarlyStopping
from lrsweep.training.schedules import Pace, PlateauState, lr_at, pace_of
from lrsweep.training.solo import Score


class EpochSeconds(NamedTuple):
    """The seconds to record for an epoch. A fused run has no wall time of its own, because it shares every step."""

    with_validation: float
    without_validation: float


@dataclass
class ActiveRun:
    """A run in progress. It keeps the same state as solo after the same number of epochs; its tensors are in a block."""

    position: int
    run: RunConfig
    epoch_seconds: EpochSeconds
    random: dict[str, torch.Generator] = field(init=False)  # by purpose
    stopping: EarlyStopping = field(init=False)
    pace: Pace = field(init=False)
    plateau: PlateauState = field(default_factory=PlateauState)
    curve: list[EpochRecord] = field(default_factory=list)
    num_finite: int = 0  # optimizer steps before the first NaN or infinite loss
    last_finite_loss: float | None = None
    wall_seconds: float = 0.0  # includes the epoch that diverged, as in solo
    stop_reason: StopReason | None = None  # None while the run continues

    def __post_init__(self) -> None:
        self.random = training_generators(self.run.seed)
        self.stopping = EarlyStopping(patience=self.run.training.patience)
        self.pace = pace_of(self.run)

    def state(self) -> State:
        """Everything that `load_state` needs."""
        return {
            "generators": {purpose: random.get_state() for purpose, random in self.random.items()},
            "stopping": asdict(self.stopping),
            "plateau": asdict(self.plateau),
            "curve": [asdict(epoch) for epoch in self.curve],
            "num_finite": self.num_finite,
            "last_finite_loss": self.last_finite_loss,
            "wall_seconds": self.wall_seconds,
        }

    def load_state(self, state: State) -> None:
        """Continue from the `state()` of a run with the same settings."""
        for purpose, random in self.random.items():
            random.set_state(state["generators"][purpose])
        self.stopping = EarlyStopping(**state["stopping"])
        self.plateau = PlateauState(**state["plateau"])
        self.curve = [EpochRecord(**epoch) for epoch in state["curve"]]
        self.num_finite, self.last_finite_loss = state["num_finite"], state["last_finite_loss"]
        self.wall_seconds = state["wall_seconds"]

    def next_order(self) -> Tensor:
        """[N]: the order of the training images in the next epoch."""
        return torch.cat(batch_order(self.run.data.num_train, self.run.training.batch_size, self.random["order"]))

    def next_rates(self) -> list[float]:
        first = len(self.curve) * self.run.epoch_steps
        steps = range(first, first + self.run.epoch_steps)
        return [lr_at(self.run.schedule, self.run.optimizer.lr, step, self.pace) * self.plateau.lr_scale for step in steps]

    @property
    def is_validated(self) -> bool:
        """Is the next epoch validated?"""
        return self.run.training.validates(len(self.curve) + 1)

    def after_epoch(self, losses: list[float], train_accuracy: float, valid: Score | None) -> None:
        """Apply the stopping rule of solo.py."""
        finite = list(takewhile(math.isfinite, losses))
        self.num_finite += len(finite)
        self.last_finite_loss = finite[-1] if finite else self.last_finite_loss
        seconds = self.epoch_seconds.with_validation if valid else self.epoch_seconds.without_validation
        self.wall_seconds += seconds
        if len(finite) < len(losses) or (valid is not None and not math.isfinite(valid.loss)):
            self.stop_reason = "diverged"
            return
        if valid is not None:
            self.plateau = self.plateau.after(self.run.schedule, self.run.optimizer.lr, valid.loss)
        self.stopping = self.stopping.after(valid.accuracy if valid else None)
        self.curve.append(
            EpochRecord(
                epoch=self.stopping.epoch,
                train_loss=self._mean_loss(losses),
                train_accuracy=train_accuracy,
                highest_loss=max(losses),
                valid_loss=valid.loss if valid else None,
                valid_accuracy=valid.accuracy if valid else None,
                seconds=seconds,
            )
        )
        if self.stopping.is_over:
            self.stop_reason = "patience"
        elif len(self.curve) >= self.run.training.max_epochs:
            self.stop_reason = "max_epochs"

    def outcome(self, best: Score | None, last: Score | None) -> Outcome:
        """`best` and `last` are the test scores of the best and the last epoch, or None if the run has no such epoch."""
        assert self.stop_reason is not None
        test = {"best": best, "last": last}[self.run.training.score]
        last_accuracy = self.curve[-1].valid_accuracy if self.curve else None
        valid_accuracy = {"best": self.stopping.best_accuracy, "last": last_accuracy}[self.run.training.score]
        is_diverged = self.stop_reason == "diverged"
        return Outcome(
            status="diverged" if is_diverged else "ok",
            stop_reason=self.stop_reason,
            curve=tuple(self.curve),
            best_epoch=self.stopping.best_epoch or None,
            valid_accuracy=valid_accuracy if test else None,
            test_loss=test.loss if test else None,
            test_accuracy=test.accuracy if test else None,
            best_test_accuracy=best.accuracy if best else None,
            last_test_accuracy=last.accuracy if last else None,
            balanced_test_accuracy=test.balanced_accuracy if test else None,
            wall_seconds=self.wall_seconds,
            diverged_step=self.num_finite if is_diverged else None,
            last_finite_loss=self.last_finite_loss,
        )

    def _mean_loss(self, losses: list[float]) -> float:
        size, num_train = self.run.training.batch_size, self.run.data.num_train
        sizes = [min(size, num_train - first) for first in range(0, num_train, size)]
        return sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / num_train
