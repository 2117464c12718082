"""A run in a slot of a block: its batches, its learning rates and its course.

Shapes: N images.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lrsweep.config import RunConfig
from lrsweep.data.dataset import batch_order
from lrsweep.data.seeding import training_generators
from lrsweep.records import State
from lrsweep.training.course import Course, Score
from lrsweep.training.schedules import Pace, lr_at, pace_of


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
    course: Course = field(init=False)
    random: dict[str, torch.Generator] = field(init=False)  # by purpose
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.course = Course(self.run)
        self.random = training_generators(self.run.seed)
        self.pace = pace_of(self.run)

    def state(self) -> State:
        """Everything that `load_state` needs."""
        return {"generators": {purpose: random.get_state() for purpose, random in self.random.items()}} | self.course.state()

    def load_state(self, state: State) -> None:
        """Continue from the `state()` of a run with the same settings."""
        for purpose, random in self.random.items():
            random.set_state(state["generators"][purpose])
        self.course.load_state(state)

    def next_order(self) -> Tensor:
        """[N]: the order of the training images in the next epoch."""
        return torch.cat(batch_order(self.run.data.num_train, self.run.training.batch_size, self.random["order"]))

    def next_rates(self) -> list[float]:
        first = self.course.stopping.epoch * self.run.epoch_steps
        scale, base_lr = self.course.plateau.lr_scale, self.run.optimizer.lr
        return [lr_at(self.run.schedule, base_lr, first + i, self.pace) * scale for i in range(self.run.epoch_steps)]

    def after_epoch(self, losses: list[float], train_accuracy: float, valid: Score | None) -> None:
        size, num_train = self.run.training.batch_size, self.run.data.num_train
        sizes = [min(size, num_train - first) for first in range(0, num_train, size)]
        mean_loss = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / num_train
        seconds = self.epoch_seconds.with_validation if valid else self.epoch_seconds.without_validation
        self.course.after_epoch(losses, Score(mean_loss, train_accuracy), valid, seconds)
