"""Which learning rates are tied with the best one? Paired by seed and corrected for multiple comparisons.

Rates are compared by validation accuracy. A rate must first be dependable: it learned on every seed, and its variance between
seeds is not far larger than that of the other rates (an F test). A dependable rate is tied with the best one if a step-down
studentized range test (Tukey's, with seeds as blocks) cannot tell the two apart. The range test compares all pairs, so it
corrects for choosing the best rate after seeing the results. Both tests share LEVEL: a rate as good as the best is left out with
at most that probability.

Fewer than MIN_SEEDS seeds are too few to estimate the variance. Then rates within one binomial standard error of the best, given
the number of validation images, count as tied. That is indicative only.

Shapes: S seeds, R rates.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05
SPREAD_LEVEL = 0.005  # the F test's share of LEVEL; the range test gets the rest
MIN_SEEDS = 3
NUM_RESAMPLES = 10_000

Doubt = Literal["no_rate_dependable", "at_lower_end", "at_upper_end", "runs_missing", "few_seeds"]
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Plateau:
    """The range of rates around the best one that are tied with it.

    `rates` has one row per rate, ascending:

    - lr
    - mean: validation accuracy, over the seeds used
    - shortfall: the best rate's mean minus this one's
    - learned: whether every seed learned
    - dependable, tied, in_range
    - wins: share of bootstrap resamples of the seeds in which it has the highest mean
    """

    rates: pd.DataFrame
    seeds: tuple[int, ...]  # seeds with a run at every rate
    best_lr: float
    low: float  # the range: the unbroken stretch of tied rates around the best
    high: float
    learning_low: float  # the unbroken stretch of rates around the best at which every run learned
    learning_high: float
    standard_error: float  # of the best rate's mean
    doubts: tuple[Doubt, ...]  # why the range is not conclusive; with "few_seeds" alone it is indicative

    @property
    def num_decades(self) -> float:
        return math.log10(self.high / self.low)

    @property
    def is_tested(self) -> bool:
        return len(self.seeds) >= MIN_SEEDS


def find_plateau(runs: pd.DataFrame, num_valid: int, num_missing: int = 0) -> Plateau | None:
    """`runs` of one arm, from `with_chance`. None if no rate was scored on every seed.

    `num_valid` is the number of validation images, `num_missing` the number of planned runs that are not in `runs`.
    """
    measured = runs[runs["status"] != "failed"]
    if measured.empty:
        return None
    accuracy_SR, learned_SR = _complete_seeds(measured)
    rates = pd.DataFrame({"lr": accuracy_SR.columns, "mean": accuracy_SR.mean(skipna=False).to_numpy()})
    rates["learned"] = learned_SR.all().to_numpy()
    rates["dependable"] = dependable(accuracy_SR.to_numpy(), rates["learned"].to_numpy())
    candidates = rates["dependable"] if rates["dependable"].any() else rates["mean"].notna()
    if not candidates.any():
        return None
    best = int(np.nanargmax(rates["mean"].where(candidates).to_numpy()))  # the smallest rate, if several are equal
    rates["shortfall"] = rates["mean"].iloc[best] - rates["mean"]

    accuracy_SC = accuracy_SR.to_numpy()[:, candidates.to_numpy()]
    is_tied, standard_error = tied_with_best(accuracy_SC, num_valid)
    rates["tied"] = False
    rates.loc[candidates, "tied"] = is_tied
    rates["wins"] = 0.0
    rates.loc[candidates, "wins"] = _wins(accuracy_SC)
    first, last = _stretch_around(best, rates["tied"].tolist())
    rates["in_range"] = rates.index.to_series().between(first, last)
    learned_first, learned_last = _stretch_around(best, rates["learned"].tolist())
    lr = rates["lr"].to_numpy()
    doubts = {
        "no_rate_dependable": not rates["dependable"].any(),
        "at_lower_end": first == 0,
        "at_upper_end": last == len(rates) - 1,
        "runs_missing": num_missing > 0 or len(measured) < runs["lr"].nunique() * runs["seed"].nunique(),
        "few_seeds": len(accuracy_SR) < MIN_SEEDS,
    }
    return Plateau(
        rates=rates,
        seeds=tuple(int(seed) for seed in accuracy_SR.index),
        best_lr=float(lr[best]),
        low=float(lr[first]),
        high=float(lr[last]),
        learning_low=float(lr[learned_first]),
        learning_high=float(lr[learned_last]),
        standard_error=standard_error,
        doubts=tuple(doubt for doubt, holds in doubts.items() if holds),  # type: ignore[misc]  # the keys are Doubts
    )


def _complete_seeds(measured: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Validation accuracy and `learned` as seeds × rates, for the seeds that have a run at every rate.

    If no seed has a run at every rate, only the seed with the most rates is used, because seeds that lack different rates cannot
    be paired.
    """
    accuracy = measured.pivot(index="seed", columns="lr", values="valid_accuracy")
    learned = measured.assign(learned=measured["learned"] & (measured["status"] != "diverged"))
    learned_SR = learned.pivot(index="seed", columns="lr", values="learned")
    num_rates = learned_SR.notna().sum(axis="columns")
    seeds = num_rates[num_rates == num_rates.max()].index
    if num_rates.max() < len(learned_SR.columns):
        seeds = seeds[:1]
    used = learned_SR.loc[seeds].dropna(axis="columns")
    return accuracy.loc[seeds, used.columns], used.astype(bool)


def dependable(accuracy_SR: Array, learned_R: Array) -> Array:
    """Which rates learned and do not vary far more between seeds than the others.

    If all rates vary equally, one is left out by chance with a probability of at most SPREAD_LEVEL.
    """
    kept = learned_R.copy()
    while len(accuracy_SR) >= MIN_SEEDS and kept.sum() > 2:
        indices = np.flatnonzero(kept)
        widest, p_value = _test_widest(accuracy_SR[:, indices])
        if p_value >= SPREAD_LEVEL:
            break
        kept[indices[widest]] = False
    return kept


def _test_widest(accuracy_SR: Array) -> tuple[int, float]:
    """The rate that varies most against the mean of the others, and the p-value of its variance (Bonferroni over the rates).

    If all rates vary equally, the sum of squares of one rate against the mean of the others is independent of the residual sum of
    squares of the others. So their ratio has an F distribution, for any number of rates and any means. Cochran's C has no such
    exact distribution here, because seeds are blocks.
    """
    num_seeds, num_rates = accuracy_SR.shape
    squares_R = (residuals(accuracy_SR) ** 2).sum(axis=0)
    own_R = squares_R * num_rates / (num_rates - 1)
    widest = int(own_R.argmax())
    others = max((squares_R.sum() - own_R[widest]) / (num_rates - 2), 1e-24)  # avoids dividing by 0
    p_value = stats.f.sf(own_R[widest] / others, num_seeds - 1, (num_seeds - 1) * (num_rates - 2))
    return widest, min(1.0, num_rates * float(p_value))


def tied_with_best(accuracy_SR: Array, num_valid: int) -> tuple[Array, float]:
    """Which of these rates are tied with the best one, and the standard error of the best rate's mean."""
    means = accuracy_SR.mean(axis=0)
    if len(accuracy_SR) < MIN_SEEDS:
        best = means.max()
        standard_error = math.sqrt(best * (1 - best) / (num_valid * len(accuracy_SR)))
        return means >= best - standard_error, standard_error
    descending = means.argsort()[::-1]
    num_tied = len(means)
    while num_tied > 1 and _range_differs(accuracy_SR[:, descending[:num_tied]]):
        num_tied -= 1
    tied = means >= means[descending[num_tied - 1]]  # rates with equal means get the same verdict
    return tied, _standard_error(accuracy_SR[:, tied])


def _standard_error(accuracy_SR: Array) -> float:
    """Standard error of a mean, from the residuals of the two-way layout, or from the variance over seeds for a single rate."""
    num_seeds, num_rates = accuracy_SR.shape
    if num_rates == 1:
        return float(accuracy_SR.std(ddof=1)) / math.sqrt(num_seeds)
    return math.sqrt(float((residuals(accuracy_SR) ** 2).sum()) / ((num_seeds - 1) * (num_rates - 1)) / num_seeds)


def residuals(accuracy_SR: Array) -> Array:
    """Residuals of the two-way layout: accuracy minus the effects of rate and seed."""
    rate_means, seed_means = accuracy_SR.mean(axis=0), accuracy_SR.mean(axis=1, keepdims=True)
    return np.asarray(accuracy_SR - rate_means - seed_means + accuracy_SR.mean())


def _range_differs(accuracy_SR: Array) -> bool:
    """Is the range of the means significantly larger than chance would make it?"""
    num_seeds, num_rates = accuracy_SR.shape
    means = accuracy_SR.mean(axis=0)
    standard_error, gap = _standard_error(accuracy_SR), float(means.max() - means.min())
    if standard_error < 1e-12:  # no residual variance
        return gap > 1e-12
    level, df = LEVEL - SPREAD_LEVEL, (num_seeds - 1) * (num_rates - 1)
    one_pair = 2 * stats.t.sf(gap / standard_error / math.sqrt(2), df)
    # The exact p-value lies between that of one pair and the sum over all pairs, and is slow to integrate.
    if one_pair * num_rates * (num_rates - 1) / 2 < level:
        return True
    return bool(one_pair < level and stats.studentized_range.sf(gap / standard_error, num_rates, df) < level)


def _wins(accuracy_SR: Array) -> Array:
    """The share of bootstrap resamples of the seeds in which each rate has the highest mean."""
    num_seeds, num_rates = accuracy_SR.shape
    counts = np.random.default_rng(0).multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=NUM_RESAMPLES)
    winners = (counts @ accuracy_SR).argmax(axis=1)
    return np.bincount(winners, minlength=num_rates) / NUM_RESAMPLES


def _stretch_around(index: int, holds: list[bool]) -> tuple[int, int]:
    """First and last index of the unbroken stretch of True around `index`; `index` itself always belongs to it."""
    first = last = index
    while first > 0 and holds[first - 1]:
        first -= 1
    while last < len(holds) - 1 and holds[last + 1]:
        last += 1
    return first, last
