"""Rules that read a learning rate off a range test, and their score against a sweep.

Four rules suggest a learning rate. Two suggest the ends of the range for a cyclic schedule, after Smith.

A rule takes ascending rates and the smoothed loss at each step. Scaling or shifting the losses does not change its answer. It
returns None if the curve gives no answer to trust: the model never learned (`has_learned`), or the feature that the rule looks
for lies at the beginning or at the end of the curve. As in fastai, no rule uses the first tenth of the steps, where the moving
average covers only a few of them.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.records import RangeTest

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Rule = Callable[[Array, Array], float | None]

_MIN_WARM_UP = 5  # steps
_MIN_FALL = 5.0  # standard deviations of the loss in the first tenth of the steps
_SLIDE_DECADES = 1.2  # fastai: 15 of 100 steps over 8 decades
_SLIDE_TOLERANCE = 0.03  # fraction of the whole fall, per decade; about fastai's 0.005 per step for a fall of 2
_FALL_BEGUN = 0.1  # fraction of the whole fall


def _num_warm_up(losses: Array) -> int:
    return max(_MIN_WARM_UP, len(losses) // 10)


def has_learned(losses: Array) -> bool:
    """Does the loss fall below its minimum in the first tenth of the steps, by more than five standard deviations of that tenth?

    The rates of the first tenth are too small to learn, so its loss shows only noise. Of curves that are noise alone, with 100
    steps or more, fewer than 1% pass. A curve that already learns in its first tenth fails too: its rates start too high to
    show where learning begins.
    """
    num_first = _num_warm_up(losses)
    if len(losses) <= num_first:
        return False
    first = losses[:num_first]
    return bool(first.min() - losses.min() > _MIN_FALL * first.std())


def steepest(rates: Array, losses: Array) -> float | None:
    """Where the loss falls fastest per decade. None if that is at an end of the curve."""
    if not has_learned(losses):
        return None
    first, last = _num_warm_up(losses), len(losses) - 1
    index = first + int(_slopes(rates, losses)[first:].argmin())
    return float(rates[index]) if first < index < last else None


def minimum_tenth(rates: Array, losses: Array) -> float | None:
    """A tenth of the rate with the lowest loss. None if the loss still falls at the end, or if that rate is below those tried."""
    if not has_learned(losses):
        return None
    index = int(losses.argmin())
    rate = float(rates[index]) / 10
    return rate if index < len(losses) - 1 and rate >= rates[0] else None


def valley(rates: Array, losses: Array) -> float | None:
    """The middle of the longest decreasing subsequence, as in fastai. None if it reaches the end of the curve."""
    if not has_learned(losses):
        return None
    descent = longest_descent(losses)
    middle = descent[len(descent) // 2]
    return float(rates[middle]) if descent[-1] < len(losses) - 1 and middle >= _num_warm_up(losses) else None


def slide(rates: Array, losses: Array) -> float | None:
    """The lower end of an interval of 1.2 decades that moves down from the end of the curve, as in fastai.

    It stops where the slope of the loss at its upper end no longer exceeds the slope at its lower end. None if this
    already holds at the end of the curve, or holds nowhere.
    """
    if not has_learned(losses):
        return None
    slopes, tolerance = _slopes(rates, losses), _SLIDE_TOLERANCE * float(np.ptp(losses[: int(losses.argmin()) + 1]))
    last = len(losses) - 1
    for upper in range(last, 0, -1):
        lower = int(np.searchsorted(rates, rates[upper] / 10**_SLIDE_DECADES, side="right")) - 1
        if lower < _num_warm_up(losses):
            return None
        if slopes[upper] - slopes[lower] <= tolerance:
            return float(rates[lower]) if upper < last else None
    return None


def cycle_low(rates: Array, losses: Array) -> float | None:
    """Where the loss begins to fall: from this rate to the minimum, the loss has fallen by at least a tenth of the whole fall.

    None if that already holds after the first tenth of the steps, or if the minimum is at the end of the curve.
    """
    if cycle_high(rates, losses) is None:
        return None
    first, lowest = _num_warm_up(losses), int(losses.argmin())
    start = float(losses[:first].mean())
    above = np.flatnonzero(losses[first:lowest] > start - _FALL_BEGUN * (start - float(losses[lowest])))
    return float(rates[first + int(above[-1]) + 1]) if len(above) else None


def cycle_high(rates: Array, losses: Array) -> float | None:
    """Where the loss stops falling: its minimum. None if that is at the end of the curve."""
    lowest = int(losses.argmin()) if has_learned(losses) else len(losses) - 1
    return float(rates[lowest]) if lowest < len(losses) - 1 else None


RULES: dict[str, Rule] = {
    "steepest": steepest,
    "minimum/10": minimum_tenth,
    "valley": valley,
    "slide": slide,
    "cycle low": cycle_low,
    "cycle high": cycle_high,
}


def _slopes(rates: Array, losses: Array) -> Array:
    """Loss per decade."""
    slopes: Array = np.gradient(losses, np.log10(rates))
    return slopes


def longest_descent(losses: Array) -> list[int]:
    """The indices of a longest strictly decreasing subsequence, by patience sorting."""
    last_losses: list[float] = []  # for each length, minus the highest last loss of any descent so far, so that the list ascends
    last_indices: list[int] = []
    previous: list[int] = []  # for each index, the one before it in its descent; -1 at the start
    for index, loss in enumerate(losses.tolist()):
        place = bisect_left(last_losses, -loss)
        previous.append(last_indices[place - 1] if place else -1)
        last_losses[place : place + 1], last_indices[place : place + 1] = [-loss], [index]
    descent = [last_indices[-1]]
    while previous[descent[-1]] >= 0:
        descent.append(previous[descent[-1]])
    return descent[::-1]


def suggest(tests: Sequence[RangeTest]) -> pd.DataFrame:
    """One row per rule and seed: rule, seed, lr (NaN if there is no suggestion)."""
    rows = [
        {"rule": name, "seed": test.seed, "lr": rule(np.array(test.rates), np.array(test.smoothed))}
        for name, rule in RULES.items()
        for test in tests
    ]
    return pd.DataFrame(rows, columns=["rule", "seed", "lr"]).astype({"lr": "float64"})


def reason_for_none(test: RangeTest) -> str:
    """Why no rule suggests a rate for this curve, and which setting to change."""
    num_steps, losses = len(test.rates), np.array(test.smoothed)
    num_first = _num_warm_up(losses)
    if num_steps <= 2 * num_first and test.end != "high":
        how = "rose steeply" if test.end == "loss_rose" else "became infinite or NaN"
        return f"the loss {how} after step {num_steps}, at a rate of {test.rates[-1]:.1e}; lower find.high"
    if not has_learned(losses):
        return (
            "the loss does not fall clearly after the first tenth of the steps, which ends at a rate of "
            f"{test.rates[num_first]:.1e}; lower find.high if it fell before that, otherwise raise find.high or find.num_steps"
        )
    return f"the loss still falls at the last rate, {test.rates[-1]:.1e}; raise find.high"


def combine(suggestions: pd.DataFrame) -> pd.DataFrame:
    """One row per rule:

    - rule
    - lr: geometric median of the suggestions; NaN if fewer than half of the seeds gave one
    - spread_decades: from the lowest to the highest suggestion
    - num_given, num_seeds: seeds with a suggestion, and all seeds
    """
    return pd.DataFrame([_combine(str(rule), rows["lr"]) for rule, rows in suggestions.groupby("rule", sort=False)])


def _combine(rule: str, lr: pd.Series) -> dict[str, object]:
    exponents = np.log10(lr.dropna()).tolist()
    is_given = bool(exponents) and 2 * len(exponents) >= len(lr)
    return {
        "rule": rule,
        "lr": 10 ** median(exponents) if is_given else math.nan,
        "spread_decades": max(exponents) - min(exponents) if len(exponents) > 1 else math.nan,
        "num_given": len(exponents),
        "num_seeds": len(lr),
    }


def score(suggestions: pd.DataFrame, best: Best | None) -> pd.DataFrame:
    """Add the columns shortfall, shortfall_low, shortfall_high and verdict, from the nearest rate of the sweep.

    NaN without a suggestion or a sweep, and for a suggestion outside the sweep.
    """
    scores = pd.DataFrame([_nearest(lr, best) for lr in suggestions["lr"].tolist()], index=suggestions.index)
    columns = ["shortfall", "shortfall_low", "shortfall_high", "verdict"]
    return suggestions.join(scores.reindex(columns=columns).astype(dict.fromkeys(columns[:3], float)))


def _nearest(lr: float, best: Best | None) -> dict[str, object]:
    if best is None or not best.rows["lr"].min() <= lr <= best.rows["lr"].max():  # also true if lr is NaN
        return {}
    nearest = int(np.abs(np.log10(best.rows["lr"].to_numpy(dtype=float)) - math.log10(lr)).argmin())
    return {str(name): value for name, value in best.rows.iloc[nearest].items()}
