"""Which learning rates are tied with the best: paired by seed, corrected for many comparisons.

Rates are chosen on validation accuracy. A rate can be tied only if it is dependable: it learned on every seed, and its
accuracy does not vary from seed to seed far more than that of the others (an F test). Of the dependable rates,
those are tied that a step-down studentized range test (Tukey's, with seeds as blocks) cannot tell from the best. The two
tests share LEVEL, so that a rate which is as good as the best is left out with at most that probability. The range test covers
every pair of rates, so it allows for the best having been picked because it looked best.

Fewer than MIN_SEEDS seeds have no spread to judge by. Then those are tied that lie within one binomial standard error of so
many validation images: indicative only.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05
_SPREAD_LEVEL = 0.005  # of LEVEL, for the test of spreads; the range test has the rest
MIN_SEEDS = 3
NUM_RESAMPLES = 10_000

Doubt = Literal["no_rate_dependable", "at_lower_end", "at_upper_end", "runs_missing", "few_seeds"]
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Plateau:
    """`rates`: a row a rate, ascending: lr, mean (validation accuracy over the seeds used), shortfall (the best's mean less
    that), learned (on every seed), dependable, tied, in_range, wins (share of bootstrap resamples of seeds that it is best in).
    """

    rates: pd.DataFrame
    seeds: tuple[int, ...]  # those with a run at every rate
    best_lr: float
    low: float  # the range: tied rates around the best, without a gap
    high: float
    learning_low: float  # the rates around the best at which every run learned, without a gap
    learning_high: float
    standard_error: float  # of the best's mean
    doubts: tuple[Doubt, ...]  # why the range is not conclusive; "few_seeds" alone: indicative

    @property
    def num_decades(self) -> float:
        return math.log10(self.high / self.low)

    @property
    def is_tested(self) -> bool:
        return len(self.seeds) >= MIN_SEEDS


def find_plateau(runs: pd.DataFrame, num_valid: int, num_missing: int = 0) -> Plateau | None:
    """`runs` of one arm with `learned`; `num_missing`: runs still to be made. None where no rate was scored on every seed."""
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
    best = int(np.nanargmax(rates["mean"].where(candidates).to_numpy()))  # the smaller rate of two equal ones
    rates["shortfall"] = rates["mean"].iloc[best] - rates["mean"]

    chosen = accuracy_SR.to_numpy()[:, candidates.to_numpy()]
    is_tied, standard_error = _tied_with_best(chosen, num_valid)
    rates["tied"] = False
    rates.loc[candidates, "tied"] = is_tied
    rates["wins"] = 0.0
    rates.loc[candidates, "wins"] = _wins(chosen)
    first, last = _run_around(best, rates["tied"].tolist())
    rates["in_range"] = rates.index.to_series().between(first, last)
    learned_first, learned_last = _run_around(best, rates["learned"].tolist())
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
    """Validation accuracy and `learned`, a row a seed that has a run at every rate; where there is none, of the fullest seed."""
    accuracy = measured.pivot(index="seed", columns="lr", values="valid_accuracy")
    learned = measured.assign(learned=measured["learned"] & (measured["status"] != "diverged"))
    learned_SR = learned.pivot(index="seed", columns="lr", values="learned")
    num_rates = learned_SR.notna().sum(axis="columns")
    fullest = num_rates[num_rates == num_rates.max()].index
    if num_rates.max() < len(learned_SR.columns):
        fullest = fullest[:1]  # two seeds that lack different rates cannot be paired
    used = learned_SR.loc[fullest].dropna(axis="columns")
    return accuracy.loc[fullest, used.columns], used.astype(bool)


def dependable(accuracy_SR: Array, learned_R: Array) -> Array:
    """Learned on every seed; and, where that can be told, not far more variable than the other rates."""
    kept = learned_R.copy()
    while len(accuracy_SR) >= MIN_SEEDS and kept.sum() > 2:
        chosen = np.flatnonzero(kept)
        widest, p_value = _widest(accuracy_SR[:, chosen])
        if p_value >= _SPREAD_LEVEL:
            break
        kept[chosen[widest]] = False
    return kept


def _widest(accuracy_SR: Array) -> tuple[int, float]:
    """The rate that varies most against the mean of the others, and how likely chance is to make one of them vary so.

    Where all vary alike, a rate's own part of the residuals is independent of what the others leave among themselves, and
    their ratio has an F distribution: for any number of rates and whatever their means, which Cochran's C lacks here.
    """
    num_seeds, num_rates = accuracy_SR.shape
    squares_R = (residuals(accuracy_SR) ** 2).sum(axis=0)
    own_R = squares_R * num_rates / (num_rates - 1)
    widest = int(own_R.argmax())
    others = max((squares_R.sum() - own_R[widest]) / (num_rates - 2), 1e-24)  # not 0 where the others do not vary at all
    p_value = stats.f.sf(own_R[widest] / others, num_seeds - 1, (num_seeds - 1) * (num_rates - 2))
    return widest, min(1.0, num_rates * float(p_value))


def _tied_with_best(accuracy_SR: Array, num_valid: int) -> tuple[Array, float]:
    """Which columns are tied with the best one, and the standard error of the best's mean."""
    means = accuracy_SR.mean(axis=0)
    if len(accuracy_SR) < MIN_SEEDS:
        best = means.max()
        standard_error = math.sqrt(best * (1 - best) / (num_valid * len(accuracy_SR)))
        return means >= best - standard_error, standard_error
    downward = means.argsort()[::-1]
    num_tied = len(means)
    while num_tied > 1 and _range_differs(accuracy_SR[:, downward[:num_tied]]):
        num_tied -= 1
    tied = means >= means[downward[num_tied - 1]]  # equals share a verdict
    return tied, _standard_error(accuracy_SR[:, tied])


def _standard_error(accuracy_SR: Array) -> float:
    """Of a rate's mean, from what rates and seeds leave unexplained; of a single rate, from its spread."""
    num_seeds, num_rates = accuracy_SR.shape
    if num_rates == 1:
        return float(accuracy_SR.std(ddof=1)) / math.sqrt(num_seeds)
    return math.sqrt(float((residuals(accuracy_SR) ** 2).sum()) / ((num_seeds - 1) * (num_rates - 1)) / num_seeds)


def residuals(accuracy_SR: Array) -> Array:
    of_rates, of_seeds = accuracy_SR.mean(axis=0), accuracy_SR.mean(axis=1, keepdims=True)
    return np.asarray(accuracy_SR - of_rates - of_seeds + accuracy_SR.mean())


def _range_differs(accuracy_SR: Array) -> bool:
    """Do the rates differ: is the range of their means larger than chance would make it?"""
    num_seeds, num_rates = accuracy_SR.shape
    means = accuracy_SR.mean(axis=0)
    standard_error, gap = _standard_error(accuracy_SR), float(means.max() - means.min())
    if standard_error < 1e-12:  # all seeds say the same
        return gap > 1e-12
    level, df = LEVEL - _SPREAD_LEVEL, (num_seeds - 1) * (num_rates - 1)
    one_pair = 2 * stats.t.sf(gap / standard_error / math.sqrt(2), df)
    # The exact probability lies between that of one pair and the sum over all, and takes long to integrate.
    if one_pair * num_rates * (num_rates - 1) / 2 < level:
        return True
    return bool(one_pair < level and stats.studentized_range.sf(gap / standard_error, num_rates, df) < level)


def _wins(accuracy_SR: Array) -> Array:
    """In which share of bootstrap resamples of seeds each rate has the highest mean."""
    num_seeds, num_rates = accuracy_SR.shape
    counts = np.random.default_rng(0).multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=NUM_RESAMPLES)
    winners = (counts @ accuracy_SR).argmax(axis=1)
    return np.bincount(winners, minlength=num_rates) / NUM_RESAMPLES


def _run_around(index: int, holds: list[bool]) -> tuple[int, int]:
    """The first and last index of the run of True that holds `index`; itself alone where it is False."""
    first = last = index
    while first > 0 and holds[first - 1]:
        first -= 1
    while last < len(holds) - 1 and holds[last + 1]:
        last += 1
    return first, last
