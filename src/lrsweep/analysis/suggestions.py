"""What a range test suggests: rules, each from (rates, losses) to a rate or to none, and their score against a sweep.

Four rules name a rate; two the ends of the range for a rate that cycles, as Smith reads them off the same test.

`losses` are smoothed, one a step, at ascending rates. Every rule looks at shape only: losses times or plus a constant give
the same answer. None means that the curve gives no answer to trust: it never learned (`has_learned`), or what the rule looks
for lies where the curve begins or is cut off. The first tenth of the steps is never part of an answer, as in fastai: the
moving average has hardly anything to average yet.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import pandas as pd

from lrsweep.analysis.plateau import Plateau
from lrsweep.records import RangeTest

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Rule = Callable[[Array, Array], float | None]

_LEAST_SETTLING = 5  # steps
_NOISES = 5.0  # the loss must fall by more than so many standard deviations of its first tenth
_SLIDE_DECADES = 1.2  # fastai's 15 of 100 steps over 8 decades
_BEGUN = 0.1  # share of the whole fall
_SLIDE_TOLERANCE = 0.03  # share of the whole fall per decade: about fastai's 0.005 a step for a fall by 2


def _num_settling(losses: Array) -> int:
    return max(_LEAST_SETTLING, len(losses) // 10)


def has_learned(losses: Array) -> bool:
    """Does the loss fall, below all of its first tenth, by more than five standard deviations of that tenth?

    In the first tenth the rates are too small to learn, so what moves is noise; and the average is at its noisiest. Of curves of
    100 steps or more that are noise alone, fewer than 1 % pass (tests/analysis/test_suggest.py). A curve that already learns in
    its first tenth fails as well: its range begins too high to show where learning begins.
    """
    num_first = _num_settling(losses)
    if len(losses) <= num_first:
        return False
    first = losses[:num_first]
    return bool(first.min() - losses.min() > _NOISES * first.std())


def steepest(rates: Array, losses: Array) -> float | None:
    """Where the loss falls the fastest against the logarithm of the rate. None at either end of the curve."""
    if not has_learned(losses):
        return None
    first, last = _num_settling(losses), len(losses) - 1
    index = first + int(_slopes(rates, losses)[first:].argmin())
    return float(rates[index]) if first < index < last else None


def minimum_tenth(rates: Array, losses: Array) -> float | None:
    """A tenth of the rate with the lowest loss. None where the loss still falls as the curve ends, or a tenth was not tried."""
    if not has_learned(losses):
        return None
    index = int(losses.argmin())
    rate = float(rates[index]) / 10
    return rate if index < len(losses) - 1 and rate >= rates[0] else None


def valley(rates: Array, losses: Array) -> float | None:
    """The middle of the longest decreasing subsequence, after fastai's `valley`. None where it reaches the curve's end."""
    if not has_learned(losses):
        return None
    descent = longest_descent(losses)
    middle = descent[len(descent) // 2]
    return float(rates[middle]) if descent[-1] < len(losses) - 1 and middle >= _num_settling(losses) else None


def slide(rates: Array, losses: Array) -> float | None:
    """After fastai's `slide`: an interval of 1.2 decades moves down from the curve's end until the loss no longer rises
    faster (falls slower) at its upper end than at its lower one, which is the answer.

    None where that is so at the curve's end already (the loss does not rise there, or not faster and faster), or nowhere.
    """
    if not has_learned(losses):
        return None
    slopes, tolerance = _slopes(rates, losses), _SLIDE_TOLERANCE * float(np.ptp(losses[: int(losses.argmin()) + 1]))
    last = len(losses) - 1
    for upper in range(last, 0, -1):
        lower = int(np.searchsorted(rates, rates[upper] / 10**_SLIDE_DECADES, side="right")) - 1
        if lower < _num_settling(losses):
            return None
        if slopes[upper] - slopes[lower] <= tolerance:
            return float(rates[lower]) if upper < last else None
    return None


def cycle_low(rates: Array, losses: Array) -> float | None:
    """Where the loss begins to fall: from here to its minimum it stays below the first tenth of its whole fall.

    None where that is so at the end of the settling steps already, and where the minimum is the curve's end.
    """
    if cycle_high(rates, losses) is None:
        return None
    first, lowest = _num_settling(losses), int(losses.argmin())
    start = float(losses[:first].mean())
    above = np.flatnonzero(losses[first:lowest] > start - _BEGUN * (start - float(losses[lowest])))
    return float(rates[first + int(above[-1]) + 1]) if len(above) else None


def cycle_high(rates: Array, losses: Array) -> float | None:
    """Where the loss ends to fall: its minimum. None where that is the curve's end."""
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
    """The indices of a longest strictly decreasing subsequence. Patience sorting."""
    ends: list[float] = []  # the least steep end of a descent of each length, negated: ascending
    ends_at: list[int] = []
    before: list[int] = []  # of each step, the step before it in its descent
    for index, loss in enumerate(losses.tolist()):
        place = bisect_left(ends, -loss)
        before.append(ends_at[place - 1] if place else -1)
        ends[place : place + 1], ends_at[place : place + 1] = [-loss], [index]
    descent = [ends_at[-1]]
    while before[descent[-1]] >= 0:
        descent.append(before[descent[-1]])
    return descent[::-1]


def suggest(tests: Sequence[RangeTest]) -> pd.DataFrame:
    """One row a rule and seed: rule, seed, lr (NaN: no suggestion)."""
    rows = [
        {"rule": name, "seed": test.seed, "lr": rule(np.array(test.rates), np.array(test.smoothed))}
        for name, rule in RULES.items()
        for test in tests
    ]
    return pd.DataFrame(rows, columns=["rule", "seed", "lr"]).astype({"lr": "float64"})


def combine(suggestions: pd.DataFrame) -> pd.DataFrame:
    """One row a rule: lr, the median over the seeds that gave one; spread_decades, from the lowest to the highest of them;
    num_given of num_seeds. No suggestion (NaN) where fewer than half of the seeds gave one.
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


def score(suggestions: pd.DataFrame, plateau: Plateau | None) -> pd.DataFrame:
    """`suggestions` with decades_off, from the sweep's best range (0 inside, negative below), and shortfall, the validation
    accuracy that the sweep's nearest rate lacks to the best. NaN: not measured.
    """
    scores = [_score(lr, plateau) if plateau else (math.nan, math.nan) for lr in suggestions["lr"].tolist()]
    decades_off, shortfall = zip(*scores, strict=True)
    return suggestions.assign(decades_off=decades_off, shortfall=shortfall)


def _score(lr: float, plateau: Plateau) -> tuple[float, float]:
    if math.isnan(lr):
        return math.nan, math.nan
    decades_off = min(0.0, math.log10(lr / plateau.low)) + max(0.0, math.log10(lr / plateau.high))
    swept = plateau.rates
    if not swept["lr"].min() <= lr <= swept["lr"].max():
        return decades_off, math.nan  # the sweep says nothing of a rate beyond its grid
    nearest = (np.log10(swept["lr"]) - math.log10(lr)).abs().idxmin()
    return decades_off, float(swept.loc[nearest, "shortfall"])
