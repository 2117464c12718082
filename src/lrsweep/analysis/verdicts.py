"""The rule that turns an effect and its interval into one of five verdicts.

The sign of an effect is chosen so that a larger effect favours the claim. δ is the smallest difference that matters.

- holds: the interval lies above zero
- does not hold: it lies below zero
- no difference that matters: it lies between -δ and δ, whatever its sign
- open: none of these
- not testable: a definition, or a statement about something that no run of this network can show

A claim that something costs nothing that matters is judged against -δ instead of zero: it holds if the interval lies above -δ,
and does not hold if it lies below.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from lrsweep.analysis.shortfall import DELTA as ACCURACY_DELTA
from lrsweep.analysis.shortfall import MAX_SEEDS
from lrsweep.analysis.student import critical_t
from lrsweep.analysis.summary import half_interval

Word = Literal["holds", "does not hold", "no difference that matters", "open", "not testable"]

DELTA = {  # unit of an effect → smallest difference that matters
    "accuracy": ACCURACY_DELTA,
    "factor": math.log10(1.25),  # 25% of time or epochs; these effects are log10 of a ratio
    "decades": 0.5,  # of learning rate
}
POWER = 0.8  # probability of a decision, in forecasts
_DRAWS = 4_000  # of a forecast


@dataclass(frozen=True)
class Effect:
    effect: float
    low: float  # confidence interval; NaN if there are too few seeds
    high: float
    unit: str  # accuracy | factor (log10) | decades | nats | share
    num_seeds: int
    num_runs: int
    level: float = math.nan  # the interval is at 1 - level, or at the stricter of two levels; see ranked
    sd: float = math.nan  # of the effect between seeds
    detail: str = ""  # the values compared, as text
    parts: tuple[tuple[str, "Effect"], ...] = ()  # the named effects from which this one was selected, e.g. as the smallest
    rank: int | None = None  # of this effect among its parts, if it was selected by `ranked`
    doubts: tuple[str, ...] = ()  # reasons why no verdict can be based on this effect
    caveats: tuple[str, ...] = ()  # remarks for the reader that follow from the runs


def judge(effect: Effect, delta: float, costs_nothing: bool = False) -> Word:
    """The verdict on an effect; `open` if the effect has doubts."""
    if effect.doubts or math.isnan(effect.low) or math.isnan(effect.high):
        return "open"
    if not costs_nothing and -delta < effect.low and effect.high < delta:
        return "no difference that matters"
    bar = -delta if costs_nothing else 0.0
    if effect.low > bar:
        return "holds"
    return "does not hold" if effect.high < bar else "open"


def mean_effect(by_seed: pd.Series, level: float, unit: str) -> Effect:
    """The mean of one value per seed, with its interval."""
    mean, sd, num_seeds = float(by_seed.mean()), float(by_seed.std(ddof=1)), len(by_seed)
    half = half_interval(sd, num_seeds, level)
    return Effect(mean, mean - half, mean + half, unit, num_seeds, num_seeds, level, sd)


def ranked(effects_at: Callable[[float], Sequence[Effect]], level: float, rank: int) -> tuple[Effect, list[Effect]]:
    """The effect of this rank (0 is the smallest), with an interval at 1 - `level`; then the list of all effects.

    `effects_at` gives the effects with their intervals at a level. Let θ be the true effect of rank r of n. If the lower end of
    rank r is above θ, then so are n - r lower ends. At most n - r - 1 true effects are above θ, so one of the other r + 1 lower
    ends is wrong: Bonferroni over r + 1. In the same way, the upper end needs a correction over n - r. So the smallest effect
    needs none for its lower end: to show that all effects are positive, show it of each.
    """
    num = len(effects_at(level))
    lower, upper = level / (rank + 1), level / (num - rank)
    pairs = zip(effects_at(lower), effects_at(upper), strict=True)
    parts = [replace(low, high=high.high, level=min(lower, upper)) for low, high in pairs]
    chosen = sorted(parts, key=lambda part: part.effect)[rank]
    # An effect without an interval may be anything.
    lows = sorted(-math.inf if math.isnan(part.low) else part.low for part in parts)
    highs = sorted(math.inf if math.isnan(part.high) else part.high for part in parts)
    return replace(chosen, low=lows[rank], high=highs[rank], rank=rank), parts


@dataclass(frozen=True)
class Forecast:
    num_seeds: int
    word: Word  # the most probable verdict then


def seeds_to_decide(effect: Effect, delta: float, costs_nothing: bool = False) -> Forecast | None:
    """How many seeds would decide with a probability of about 80%, if the estimates are right.

    None if MAX_SEEDS are too few, or if a spread is unknown. Of a `ranked` effect, all parts count, as if they were independent.
    """
    parts = [effect] if effect.rank is None or not effect.parts else [part for _, part in effect.parts]
    if any(math.isnan(part.sd) or math.isnan(part.level) for part in parts):
        return None
    draws = np.random.default_rng(0).standard_normal((_DRAWS, len(parts)))
    means, sds = (np.array([getattr(part, name) for part in parts]) for name in ("effect", "sd"))
    bar = -delta if costs_nothing else 0.0

    def words(num: int) -> dict[Word, float]:
        """The probability of each verdict with this number of seeds."""
        errors = np.maximum(sds, 1e-12) / math.sqrt(num)
        found = means + draws * errors
        half = np.array([float(critical_t(part.level, num - 1)) for part in parts]) * errors
        low, high = (np.sort(ends, axis=1)[:, effect.rank or 0] for ends in (found - half, found + half))
        is_small = (low > -delta) & (high < delta) & (not costs_nothing)
        return {
            "no difference that matters": float(is_small.mean()),
            "holds": float(((low > bar) & ~is_small).mean()),
            "does not hold": float(((high < bar) & ~is_small).mean()),
        }

    nums = range(3, MAX_SEEDS + 1)
    i = bisect.bisect_left(nums, POWER, key=lambda num: sum(words(num).values()))
    if i == len(nums):
        return None
    found = words(nums[i])
    return Forecast(nums[i], max(found, key=lambda word: found[word]))
