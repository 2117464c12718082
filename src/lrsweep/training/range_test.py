"""The learning-rate range test (Smith 2015): train briefly while the rate rises at every step, and record the losses.

analysis/suggestions.py picks rates from the losses. Shapes: B batch, C channels, H × W pixels.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from lrsweep.config import FindConfig, RunConfig
from lrsweep.data.dataset import Part, batch_order
from lrsweep.records import RangeTest, RangeTestEnd
from lrsweep.training.solo import Learner, new_learner, own_draws, train_step

_MAX_RISE = 4  # stop when the smoothed loss is more than this many times its minimum so far, as fastai does


def rising_rates(find: FindConfig) -> list[float]:
    """One rate per step, from exactly `low` to exactly `high`."""
    space = np.geomspace if find.spacing == "exponential" else np.linspace
    rates: list[float] = space(find.low, find.high, find.num_steps).tolist()
    return [find.low, *rates[1:-1], find.high]


class MovingAverage:
    """Exponential moving average with bias correction: the first average equals the first value."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self._sum = self._weight = 0.0

    def after(self, value: float) -> float:
        """The average after one more value."""
        self._sum = self._smoothing * self._sum + value
        self._weight = self._smoothing * self._weight + 1
        return self._sum / self._weight


def range_test(run: RunConfig, train: Part, find: FindConfig, on_step: Callable[[], object] = lambda: None) -> RangeTest:
    """Train a fresh model with rising rates. A sweep's run with the same seed has the same initial weights and batches."""
    learner = new_learner(run, train.images.device, train.black)
    average = MovingAverage(find.smoothing)
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    end: RangeTestEnd = "high"
    with own_draws(learner):
        for rate, (images_BCHW, labels_B) in zip(rising_rates(find), _batches(learner, train), strict=False):
            loss = train_step(learner, images_BCHW, labels_B, rate)[0].item()
            if not math.isfinite(loss):
                end = "not_finite"
                break
            rates.append(rate)
            losses.append(loss)
            smoothed.append(average.after(loss))
            on_step()
            if smoothed[-1] > _MAX_RISE * min(smoothed):
                end = "loss_rose"
                break
    return RangeTest(seed=run.seed, rates=tuple(rates), losses=tuple(losses), smoothed=tuple(smoothed), end=end)


def _batches(learner: Learner, train: Part) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches, epoch after epoch, without end."""
    while True:
        for indices in batch_order(len(train), learner.run.training.batch_size, learner.random["order"]):
            chosen = indices.to(train.images.device)
            yield train.images[chosen], train.labels[chosen]
