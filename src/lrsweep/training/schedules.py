"""Schedules: each is a pure function of the step. Reduce-on-plateau, which depends on validation, is a state machine.

`lr_at(schedule, base_lr, step, pace)` returns the learning rate of an optimizer step; the first step is 0. A schedule scales
`base_lr` by a factor. Settings given as rates, `final_lr` and `warmup_start_lr`, are first divided by `base_lr`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from lrsweep.config import RunConfig, ScheduleConfig


@dataclass(frozen=True)
class Pace:
    """Converts the lengths in a schedule to optimizer steps."""

    epoch_steps: int  # optimizer steps per epoch
    num_epochs: int  # the length of a schedule that ends, if its `length` is None


def pace_of(run: RunConfig) -> Pace:
    return Pace(epoch_steps=run.epoch_steps, num_epochs=run.num_scheduled)


def lr_at(schedule: ScheduleConfig, base_lr: float, step: int, pace: Pace) -> float:
    unit = pace.epoch_steps if schedule.unit == "epoch" else 1
    warmup = round(schedule.warmup * unit)
    if step < warmup:
        start = _lr_scale(schedule.warmup_start_lr, schedule.warmup_start, base_lr)
        return base_lr * (start + (1 - start) * step / warmup)
    length = round(pace.num_epochs * pace.epoch_steps if schedule.length is None else schedule.length * unit)
    # Step `length - 1` is the last step of a run of that length, so it has the final rate.
    shape = _Shape(schedule, unit, max(1, length - 1 - warmup), _lr_scale(schedule.final_lr, schedule.final, base_lr))
    return base_lr * _SHAPES[schedule.name](shape, step - warmup)


def _lr_scale(lr: float | None, lr_scale: float, base_lr: float) -> float:
    return lr_scale if lr is None else lr / base_lr


@dataclass(frozen=True)
class _Shape:
    """A schedule after its warm-up. Each public method takes the number of steps t since then and returns a factor on base_lr."""

    schedule: ScheduleConfig
    unit: int  # optimizer steps per unit of the schedule's lengths
    length: int  # steps from the full rate to the final one
    final: float  # factor on base_lr

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
        """Rise for half of the time before the tail, fall for the other half, then fall further during the tail."""
        low, tail = self.schedule.low, int(self.schedule.tail * self.length)
        half = (self.length - tail) / 2
        if t <= 2 * half:
            return low + (1 - low) * (1 - abs(t - half) / half)
        return self.final + (low - self.final) * (max(0, self.length - t) / tail if tail else 0.0)

    def one_cycle_torch(self, t: int) -> float:
        # As in PyTorch, the peak is at step `rise * num_steps - 1`, where num_steps is self.length + 1. It is before the first
        # step if the rise is shorter than a step.
        peak = self.schedule.rise * (self.length + 1) - 1
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
        """The position of t in its cycle, from 0 to 1. Each cycle is `period_growth` times as long as the previous one."""
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
    "plateau": _Shape.constant,  # PlateauState.lr_scale lowers the rate
    "grow_batch": _Shape.constant,  # batch_size_at grows the batch instead
}


@dataclass(frozen=True)
class PlateauState:
    """`schedule=plateau`: lower the rate when the validation loss stops falling. The other schedules never change this state."""

    lr_scale: float = 1.0  # factor on the rate from lr_at
    best: float = math.inf  # lowest validation loss
    num_bad: int = 0  # epochs without improvement
    cooldown: int = 0  # remaining epochs of the cooldown

    def after(self, schedule: ScheduleConfig, base_lr: float, valid_loss: float) -> "PlateauState":
        if schedule.name != "plateau":
            return self
        is_better = valid_loss < self.best * (1 - schedule.threshold)
        cooldown = max(0, self.cooldown - 1)
        num_bad = 0 if is_better or self.cooldown else self.num_bad + 1
        state = replace(self, best=valid_loss if is_better else self.best, num_bad=num_bad, cooldown=cooldown)
        if num_bad <= schedule.patience:
            return state
        minimum = _lr_scale(schedule.final_lr, schedule.final, base_lr)
        return replace(state, lr_scale=max(state.lr_scale * schedule.factor, minimum), num_bad=0, cooldown=schedule.cooldown)


def batch_size_at(schedule: ScheduleConfig, batch_size: int, epoch: int) -> int:
    """The batch size of an epoch; the first epoch is 0. `grow_batch` grows it when `step` would lower the rate."""
    if schedule.name != "grow_batch":
        return batch_size
    num_times = max(0.0, epoch - schedule.warmup) // schedule.every
    log_growth = -math.log(schedule.factor) * num_times  # a logarithm cannot overflow
    largest = schedule.max_batch_size
    return largest if log_growth >= math.log(largest / batch_size) else round(batch_size * math.exp(log_growth))
