"""The schedule's settings: which schedules there are, and which settings each of them reads."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from lrsweep.config.validation import ConfigError, read_floats, refuse_unused, require, require_one_of

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
MAX_LENGTH = 1_000_000_000  # epochs or steps: longer than any run, and still a number of steps
DEFAULT_LENGTH = 20  # epochs, of a schedule that ends, where early stopping leaves the run's length open


@dataclass(kw_only=True)
class ScheduleConfig:
    """The rate at every step as a share of `optimizer.lr`. Lengths are in `unit`s; each name reads what it needs."""

    name: str = "constant"
    unit: str = "epoch"  # of all lengths here: epoch | step
    warmup: float = 0.0  # length of a linear rise in front of any schedule, which begins after it
    warmup_start: float = 0.001  # share of the rate that the rise begins at
    warmup_start_lr: float | None = None  # or that rate itself
    length: float | None = None  # until the end, warm-up included; None: all of a fixed budget, else 20 epochs
    final: float = 0.0  # share of the rate at the end; of `plateau`, the least
    final_lr: float | None = None  # or that rate itself
    factor: float = 0.1  # the rate is multiplied by it …
    every: float = 10.0  # … so often; of `power`, the length after which the rate is halved (for power 1)
    milestones: list[float] = field(default_factory=list)  # lengths from the schedule's begin, ascending
    shares: list[float] = field(default_factory=list)  # of the rate: before the first milestone, and after each
    power: float = 1.0
    period: float = 10.0  # length of the first cycle
    period_growth: float = 1.0  # each cycle's length over the one before
    low: float = 0.04  # share of the rate where a cycle begins
    tail: float = 0.1  # share of the length that 1cycle spends below `low`
    rise: float = 0.3  # share of the length that PyTorch's 1cycle spends rising
    patience: int = 2  # epochs without a lower validation loss before the rate is lowered
    threshold: float = 1e-4  # share by which a validation loss must be lower to count
    cooldown: int = 0  # epochs after a lowering that do not count
    max_batch_size: int = 512  # images; growing stops there

    def __post_init__(self) -> None:
        read_floats(self)
        require_one_of("schedule.name", _SCHEDULE_USES, self.name)
        refuse_unused("schedule", self, _SCHEDULE_USES)
        require_one_of("schedule.unit", ("epoch", "step"), self.unit)
        self._check_lengths()
        for name in ("warmup_start", "final", "tail", "rise"):
            require(0 <= getattr(self, name) < 1, f"schedule.{name}", "from 0 to below 1", getattr(self, name))
        for name in ("factor", "low"):
            require(0 < getattr(self, name) <= 1, f"schedule.{name}", "above 0 and at most 1", getattr(self, name))
        for name in ("warmup_start", "final"):
            self._check_rate(name, f"{name}_lr")
        require(0 < self.power < math.inf, "schedule.power", "positive and finite", self.power)
        require(0 <= self.threshold < 1, "schedule.threshold", "from 0 to below 1", self.threshold)
        require(self.patience >= 1, "schedule.patience", "at least 1", self.patience)
        require(self.cooldown >= 0, "schedule.cooldown", "at least 0", self.cooldown)

    @property
    def ends(self) -> bool:
        """Whether it has a length after which the rate stays as it is."""
        return "length" in _SCHEDULE_USES[self.name]

    def _check_rate(self, share: str, rate: str) -> None:
        value = getattr(self, rate)
        require(value is None or 0 <= value < math.inf, f"schedule.{rate}", "finite and at least 0", value)
        if value is not None and getattr(self, share) != getattr(type(self), share):
            raise ConfigError(f"schedule.{share} means nothing where schedule.{rate} gives the rate; drop one of them")

    def _check_lengths(self) -> None:
        require(0 <= self.warmup <= MAX_LENGTH, "schedule.warmup", f"from 0 to {MAX_LENGTH:,}", self.warmup)
        for name in ("every", "period", "length"):
            value = getattr(self, name)
            require(value is None or 0 < value <= MAX_LENGTH, f"schedule.{name}", f"above 0 and at most {MAX_LENGTH:,}", value)
        require(1 <= self.period_growth <= 100, "schedule.period_growth", "from 1 to 100", self.period_growth)
        require(self.length is None or self.warmup < self.length, "schedule.warmup", "below schedule.length", self.warmup)
        ascending = all(a < b <= MAX_LENGTH for a, b in pairwise([0.0, *self.milestones]))
        require(ascending, "schedule.milestones", f"above 0, ascending and at most {MAX_LENGTH:,}", self.milestones)
        if self.name in ("multi_step", "piecewise"):
            require(bool(self.milestones), "schedule.milestones", "given, as [5,10]", self.milestones)
        if self.name == "piecewise":
            wanted = f"{len(self.milestones) + 1} shares of the rate, one more than schedule.milestones"
            require(len(self.shares) == len(self.milestones) + 1, "schedule.shares", wanted, self.shares)
        require(all(0 <= share < math.inf for share in self.shares), "schedule.shares", "finite and at least 0", self.shares)
        if self.name == "grow_batch":
            require(self.unit == "epoch", "schedule.unit", "epoch for schedule=grow_batch", self.unit)
            require(self.every == int(self.every), "schedule.every", "whole epochs", self.every)
