"""Every schedule as a pure function of the step, and the one that listens to validation as a state machine.

`lr_at(schedule, base_lr, step, pace)` is the rate of an optimizer step, step 0 first. Its shape is a share of `base_lr`; where
the settings name a rate itself ("1e-3 to 1e-5"), `final_lr` and `warmup_start_lr`, its share is taken.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from lrsweep.config import RunConfig, ScheduleConfig


@dataclass(frozen=True)
class Pace:
    """What turns a schedule's lengths into steps."""

    epoch_steps: int  # optimizer steps of an epoch
    num_epochs: int  # the length of a schedule that ends and does not say where


def pace_of(run: RunConfig) -> Pace:
    return Pace(epoch_steps=run.epoch_steps, num_epochs=run.num_scheduled)


def lr_at(schedule: ScheduleConfig, base_lr: float, step: int, pace: Pace) -> float:
    unit = pace.epoch_steps if schedule.unit == "epoch" else 1
    warmup = round(schedule.warmup * unit)
    if step < warmup:
        start = _share(schedule.warmup_start_lr, schedule.warmup_start, base_lr)
        return base_lr * (start + (1 - start) * step / warmup)
    length = round(pace.num_epochs * pace.epoch_steps if schedule.length is None else schedule.length * unit)
    # The last step is the one before `length`: it has the final rate, as a run of that many steps ends with it.
    shape = _Shape(schedule, unit, max(1, length - 1 - warmup), _share(schedule.final_lr, schedule.final, base_lr))
    return base_lr * _SHAPES[schedule.name](shape, step - warmup)


def _share(rate: float | None, share: float, base_lr: float) -> float:
    return share if rate is None else rate / base_lr


@dataclass(frozen=True)
class _Shape:
    """A schedule after its warm-up. Its functions take the step t from there and give the share of the rate."""

    schedule: ScheduleConfig
    unit: int  # steps
    length: int  # steps from the full rate to the final one
    final: float  # share

    def steps(self, length: float) -> int:
        return max(1, round(length * self.unit))

    def constant(self, t: int) -> float:
        return 1.0

    def step(self, t: int) -> float:
        return float(self.schedule.factor ** (t // self.steps(self.schedule.every)))

    def multi_step(self, t: int) -> float:
        return float(self.schedule.factor ** self._num_passed(t))

    def piecewise(self, t: int) -> float:
        return self.schedule.shares[self._num_passed(t)]

    def exponential(self, t: int) -> float:
        return float(self.schedule.factor ** (t / self.steps(self.schedule.every)))

    def power(self, t: int) -> float:
        return float((1 + t / self.steps(self.schedule.every)) ** -self.schedule.power)

    def polynomial(self, t: int) -> float:
        return self.final + (1 - self.final) * float((1 - min(1.0, t / self.length)) ** self.schedule.power)

    def cosine(self, t: int) -> float:
        return _half_cosine(1.0, self.final, min(1.0, t / self.length))

    def cosine_restarts(self, t: int) -> float:
        return _half_cosine(1.0, self.final, self._position(t))

    def triangular(self, t: int) -> float:
        return self._triangle(t, height=1.0)

    def triangular2(self, t: int) -> float:
        return self._triangle(t, height=0.5 ** (t // self.steps(self.schedule.period)))

    def exp_range(self, t: int) -> float:
        return self._triangle(t, height=self.exponential(t))

    def one_cycle(self, t: int) -> float:
        """Half of what is left of the tail up, half down, then on down to the end."""
        low, tail = self.schedule.low, int(self.schedule.tail * self.length)
        half = (self.length - tail) / 2
        if t <= 2 * half:
            return low + (1 - low) * (1 - abs(t - half) / half)
        return self.final + (low - self.final) * (max(0, self.length - t) / tail if tail else 0.0)

    def one_cycle_torch(self, t: int) -> float:
        # PyTorch's own reckoning: the peak lies at a fraction of the steps, less one.
        peak = max(0.0, self.schedule.rise * (self.length + 1) - 1)
        if t < peak:
            return _half_cosine(self.schedule.low, 1.0, t / peak)
        return _half_cosine(1.0, self.final, min(1.0, (t - peak) / (self.length - peak)))

    def _num_passed(self, t: int) -> int:
        return sum(t >= self.steps(milestone) for milestone in self.schedule.milestones)

    def _triangle(self, t: int, height: float) -> float:
        period = self.steps(self.schedule.period)
        rising = 1 - abs(2 * (t % period) / period - 1)
        return self.schedule.low + (1 - self.schedule.low) * rising * height

    def _position(self, t: int) -> float:
        """How much of its cycle has passed at t. Each cycle is `period_growth` times as long as the one before."""
        period, growth = self.steps(self.schedule.period), self.schedule.period_growth
        if growth == 1:
            return t % period / period
        begin, length = 0.0, float(period)
        while t >= begin + length:
            begin, length = begin + length, length * growth
        return (t - begin) / length


def _half_cosine(start: float, end: float, position: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2


_SHAPES: dict[str, Callable[[_Shape, int], float]] = {
    "constant": _Shape.constant,
    "step": _Shape.step,
    "multi_step": _Shape.multi_step,
    "piecewise": _Shape.piecewise,
    "exponential": _Shape.exponential,
    "power": _Shape.power,
    "polynomial": _Shape.polynomial,
    "cosine": _Shape.cosine,
    "cosine_restarts": _Shape.cosine_restarts,
    "triangular": _Shape.triangular,
    "triangular2": _Shape.triangular2,
    "exp_range": _Shape.exp_range,
    "one_cycle": _Shape.one_cycle,
    "one_cycle_torch": _Shape.one_cycle_torch,
    "plateau": _Shape.constant,  # times PlateauState.lr_scale
    "grow_batch": _Shape.constant,  # batch_size_at has the growth
}


@dataclass(frozen=True)
class PlateauState:
    """`schedule=plateau` after some epochs: lowers the rate where validation loss does not fall."""

    lr_scale: float = 1.0  # multiplies the rate that lr_at gives
    best: float = math.inf  # validation loss
    num_bad: int = 0  # epochs
    cooldown: int = 0  # epochs left

    def after(self, schedule: ScheduleConfig, base_lr: float, valid_loss: float) -> "PlateauState":
        if schedule.name != "plateau":
            return self
        is_better = valid_loss < self.best * (1 - schedule.threshold)
        cooldown = max(0, self.cooldown - 1)
        num_bad = 0 if is_better or self.cooldown else self.num_bad + 1
        seen = replace(self, best=valid_loss if is_better else self.best, num_bad=num_bad, cooldown=cooldown)
        if num_bad <= schedule.patience:
            return seen
        least = _share(schedule.final_lr, schedule.final, base_lr)
        return replace(seen, lr_scale=max(seen.lr_scale * schedule.factor, least), num_bad=0, cooldown=schedule.cooldown)


def batch_size_at(schedule: ScheduleConfig, batch_size: int, epoch: int) -> int:
    """The batch of an epoch, 0 first: it grows where a step schedule of the same settings would lower the rate."""
    if schedule.name != "grow_batch":
        return batch_size
    num_times = max(0.0, epoch - schedule.warmup) // schedule.every
    growth = -math.log(schedule.factor) * num_times  # as a logarithm, which no number of times makes too large
    most = schedule.max_batch_size
    return most if growth >= math.log(most / batch_size) else round(batch_size * math.exp(growth))
