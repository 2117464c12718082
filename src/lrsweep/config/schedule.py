"""Settings of the learning-rate schedule."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from lrsweep.config.validation import ConfigError, convert_floats, require, require_choices, require_one_of, require_used

# Every schedule, with those of its settings that not all schedules use.
_SCHEDULE_USES: dict[str, tuple[str, ...]] = {
    "constant": (),
    "step": ("factor", "every"),
    "multi_step": ("factor", "milestones"),
    "piecewise": ("milestones", "shares"),
    "exponential": ("factor", "every"),
    "power": ("every", "power"),
    "polynomial": ("length", "power", "final", "final_lr"),
    "cosine": ("length", "final", "final_lr"),
    "cosine_restarts": ("period", "period_growth", "final", "final_lr"),
    "triangular": ("period", "low"),
    "triangular2": ("period", "low"),
    "exp_range": ("period", "low", "factor", "every"),
    "one_cycle": ("length", "low", "final", "final_lr", "tail"),
    "one_cycle_torch": ("length", "low", "final", "final_lr", "rise"),
    "plateau": ("factor", "patience", "threshold", "cooldown", "final", "final_lr"),
    "grow_batch": ("factor", "every", "max_batch_size"),
}
MAX_LENGTH = 1_000_000_000  # in epochs or steps
DEFAULT_LENGTH = 20  # in epochs, if early stopping decides how long a run is


@dataclass(kw_only=True)
class ScheduleConfig:
    """The learning rate at every step, relative to `optimizer.lr`. Lengths are in epochs or steps, as `unit` says."""

    name: str = "constant"
    """A key of `_SCHEDULE_USES`, which lists the settings that each schedule uses. conf/schedule/ describes them."""

    unit: Literal["epoch", "step"] = "epoch"
    """Unit of every length in this group."""

    warmup: float = 0.0
    """Length of a linear warm-up, which can precede any schedule that starts at the full rate."""

    warmup_start: float = 0.001
    """Rate at the start of the warm-up, as a fraction of `optimizer.lr`."""

    warmup_start_lr: float | None = None
    """The same as an absolute rate. None: `warmup_start` applies."""

    length: float | None = None
    """Length of the whole schedule, warm-up included. None: `max_epochs` if there is no early stopping, otherwise 20 epochs."""

    final: float = 0.0
    """Rate at the end, as a fraction of `optimizer.lr`. For `plateau`, the lowest rate."""

    final_lr: float | None = None
    """The same as an absolute rate. None: `final` applies."""

    factor: float = 0.1
    """Multiplies the rate once per `every`, at each milestone or on a plateau. `grow_batch` divides the batch size by it."""

    every: float = 10.0
    """Length over which `factor` applies once. For `power`, the length after which the rate is halved (if `power` is 1)."""

    milestones: list[float] = field(default_factory=list)
    """Where the rate changes: lengths from the end of the warm-up, ascending."""

    shares: list[float] = field(default_factory=list)
    """Fractions of `optimizer.lr`: before the first milestone, then after each milestone."""

    power: float = 1.0
    """Exponent of `power` and `polynomial`."""

    period: float = 10.0
    """Length of the first cycle."""

    period_growth: float = 1.0
    """Length of each cycle relative to the cycle before."""

    low: float = 0.04
    """Rate at the start of a cycle, as a fraction of `optimizer.lr`."""

    tail: float = 0.1
    """Fraction of the length during which `one_cycle` is below `low`."""

    rise: float = 0.3
    """Fraction of the length during which `one_cycle_torch` rises."""

    patience: int = 2
    """Epochs in a row without a lower validation loss that `plateau` tolerates. After one more it lowers the rate."""

    threshold: float = 1e-4
    """How much lower a validation loss must be to count as lower, as a fraction of the lowest loss so far."""

    cooldown: int = 0
    """Epochs after each reduction of the rate during which `patience` does not count."""

    max_batch_size: int = 512
    """Images per batch at which `grow_batch` stops growing."""

    def __post_init__(self) -> None:
        convert_floats("schedule", self)
        require_one_of("schedule.name", _SCHEDULE_USES, self.name)
        require_choices("schedule", self)
        require_used("schedule", self, _SCHEDULE_USES)
        self._check_lengths()
        for name in ("warmup_start", "final", "tail", "rise"):
            require(0 <= getattr(self, name) < 1, f"schedule.{name}", "from 0 to below 1", getattr(self, name))
        for name in ("factor", "low"):
            require(0 < getattr(self, name) <= 1, f"schedule.{name}", "above 0 and at most 1", getattr(self, name))
        for name in ("warmup_start", "final"):
            self._check_absolute_rate(name)
        require(0 < self.power < math.inf, "schedule.power", "positive and finite", self.power)
        require(0 <= self.threshold < 1, "schedule.threshold", "from 0 to below 1", self.threshold)
        require(self.patience >= 1, "schedule.patience", "at least 1", self.patience)
        require(self.cooldown >= 0, "schedule.cooldown", "at least 0", self.cooldown)

    @property
    def starts_low(self) -> bool:
        """Does the schedule itself rise from a low rate?"""
        return "low" in _SCHEDULE_USES[self.name]

    @property
    def ends(self) -> bool:
        """Does the schedule end at `length`? The rate stays the same after that."""
        return "length" in _SCHEDULE_USES[self.name]

    def _check_absolute_rate(self, name: str) -> None:
        rate = getattr(self, f"{name}_lr")
        require(rate is None or 0 <= rate < math.inf, f"schedule.{name}_lr", "finite and at least 0", rate)
        if rate is not None and getattr(self, name) != getattr(ScheduleConfig, name):
            raise ConfigError(f"schedule.{name} and schedule.{name}_lr set the same rate; drop one of them")

    def _check_lengths(self) -> None:
        require(0 <= self.warmup <= MAX_LENGTH, "schedule.warmup", f"from 0 to {MAX_LENGTH:,}", self.warmup)
        for name in ("every", "period", "length"):
            value = getattr(self, name)
            require(value is None or 0 < value <= MAX_LENGTH, f"schedule.{name}", f"above 0 and at most {MAX_LENGTH:,}", value)
        require(1 <= self.period_growth <= 100, "schedule.period_growth", "from 1 to 100", self.period_growth)
        require(self.length is None or self.warmup < self.length, "schedule.warmup", "below schedule.length", self.warmup)
        has_use = self.warmup == 0 or not self.starts_low
        require(has_use, "schedule.warmup", f"0 for schedule={self.name}, which rises from schedule.low itself", self.warmup)
        is_ascending = all(a < b <= MAX_LENGTH for a, b in pairwise([0.0, *self.milestones]))
        require(is_ascending, "schedule.milestones", f"above 0, ascending and at most {MAX_LENGTH:,}", self.milestones)
        if self.name in ("multi_step", "piecewise"):
            require(bool(self.milestones), "schedule.milestones", "given, for example [5,10]", self.milestones)
        if self.name == "piecewise":
            num_shares = len(self.milestones) + 1
            bound = f"a list of {num_shares}, one more than schedule.milestones"
            require(len(self.shares) == num_shares, "schedule.shares", bound, self.shares)
        require(all(0 <= share < math.inf for share in self.shares), "schedule.shares", "finite and at least 0", self.shares)
        if self.name == "grow_batch":
            require(self.unit == "epoch", "schedule.unit", "epoch for schedule=grow_batch", self.unit)
            require(self.every == int(self.every), "schedule.every", "whole epochs", self.every)
