"""The documents' two questions: which learning rates lose nothing that matters, and which of them is the cheapest?

The best rate is chosen on validation accuracy. What each rate loses is measured on the test set (see shortfall.py).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from lrsweep.analysis.rates import rate_names
from lrsweep.analysis.shortfall import DELTA, MIN_SEEDS, Verdict, compare_with_best, seeds_needed
from lrsweep.analysis.summary import chance, half_interval, kept_learning, summarise

Doubt = Literal["no_rate_dependable", "at_lower_end", "at_upper_end", "runs_missing", "few_seeds", "cut_short"]


@dataclass(frozen=True)
class TradeOff:
    """The cheapest of the good rates by one measure: epochs, or seconds."""

    row: pd.Series  # of Best.rows
    saved: float  # fraction of the best rate's epochs or seconds that this rate saves; geometric mean, paired by seed
    saved_low: float  # confidence interval; NaN with fewer than MIN_SEEDS seeds in common
    saved_high: float


@dataclass(frozen=True)
class Best:
    """The answers for one arm.

    `rows` has one row per rate, with the columns of `summarise` and `compare_with_best`. The interval of the shortfall is called
    shortfall_low and shortfall_high; num_kept_learning counts the runs that learned and did not diverge later.
    """

    arm: str
    rows: pd.DataFrame
    delta: float  # a rate is good if it is shown to lose less test accuracy than this
    best: pd.Series  # the row with the highest validation accuracy among the dependable rates
    trade_off: TradeOff | None  # the good rate with the fewest epochs, see `cheapest`; None if no rate is good
    fastest: TradeOff | None  # the good rate with the least time, of those with MIN_SEEDS timed runs or more; None if no rate is
    num_seeds: int
    seeds_needed: int | None  # about how many seeds would show a rate to be good; None if one is, or this cannot be known
    doubts: tuple[Doubt, ...]
    tried: tuple[float, ...]  # the rates of the study, ascending; fresh seeds run only some of them

    @cached_property
    def names(self) -> dict[float, str]:
        """A text for each rate of `rows`, see `rate_names`."""
        return rate_names(self.rows["lr"])

    @property
    def good(self) -> pd.DataFrame:
        return self.rows[self.rows["verdict"] == "good"]

    @property
    def good_cost_the_same(self) -> bool:
        """Whether there are several good rates, and all take the same number of epochs."""
        return len(self.good) > 1 and self.good["epochs_mean"].min() == self.good["epochs_mean"].max()

    @property
    def undecided(self) -> pd.DataFrame:
        return self.rows[self.rows["verdict"] == "undecided"]

    @property
    def has_intervals(self) -> bool:
        """Whether the shortfalls have intervals, which hold for all rates at once."""
        return bool(self.rows["shortfall_low"].notna().any())

    def stretches(self, verdict: Verdict) -> list[tuple[float, float]]:
        """The lowest and the highest rate of each unbroken stretch of rates with this verdict.

        A rate of the study that has no run here breaks a stretch.
        """
        has_verdict = self.rows.set_index("lr")["verdict"].reindex(self.tried) == verdict
        stretch = (has_verdict != has_verdict.shift()).cumsum()[has_verdict]
        rates = pd.Series(stretch.index, index=stretch.index, dtype=float).groupby(stretch)
        return list(zip(rates.min(), rates.max(), strict=True))


def find_best(runs: pd.DataFrame, num_missing: int = 0, delta: float | None = None, tried: tuple[float, ...] = ()) -> Best | None:
    """The answers for the `runs` of one arm; None if no run was scored.

    `num_missing` is the number of planned runs that are not in `runs`. If `runs` are fresh runs, `tried` has all rates of the
    study.
    """
    delta = DELTA if delta is None else delta
    measured = runs[runs["status"] != "failed"]
    accuracy_SR, learned_SR = (
        measured.assign(learned=kept_learning(measured)).pivot(index="seed", columns="lr", values=name)
        for name in ("test_accuracy", "learned")
    )
    if accuracy_SR.isna().all(axis=None):
        return None
    has_run = measured.pivot(index="seed", columns="lr", values="status").notna()
    accuracy_SR = accuracy_SR.mask(accuracy_SR.isna() & has_run, chance(runs))
    compared = compare_with_best(accuracy_SR, learned_SR, delta, resolution=1 / float(runs["data.num_test"].iloc[0]))
    names = {"low": "shortfall_low", "high": "shortfall_high", "num_learned": "num_kept_learning"}
    columns = ["lr", "num_kept_learning", "dependable", "shortfall", "shortfall_low", "shortfall_high", "verdict"]
    rows = summarise(runs).merge(compared.rename(columns=names)[columns], on="lr")
    num_seeds = int(rows["num_measured"].max())
    best = rows.iloc[_most_accurate(measured, rows)]
    good = rows[rows["verdict"] == "good"]
    has_ends = len(rows) > 1 and rows["num_learned"].any()
    doubts = {
        "no_rate_dependable": not rows["dependable"].any(),
        "at_lower_end": has_ends and (rows["verdict"].iloc[0] == "good" or best["lr"] == rows["lr"].iloc[0]),
        "at_upper_end": has_ends and (rows["verdict"].iloc[-1] == "good" or best["lr"] == rows["lr"].iloc[-1]),
        "runs_missing": num_missing > 0 or len(measured) < runs["lr"].nunique() * runs["seed"].nunique(),
        "few_seeds": num_seeds < MIN_SEEDS,
        "cut_short": _is_cut_short(measured),
    }
    return Best(
        arm=str(runs["arm"].iloc[0]),
        rows=rows,
        delta=delta,
        best=best,
        trade_off=_cheapest(measured, good, float(best["lr"]), "epochs"),
        fastest=_cheapest(measured, good[good["num_timed"] >= MIN_SEEDS], float(best["lr"]), "seconds"),
        num_seeds=num_seeds,
        seeds_needed=seeds_needed(accuracy_SR, compared, delta) if good.empty else None,
        doubts=tuple(doubt for doubt, holds in doubts.items() if holds),  # type: ignore[misc]  # the keys are Doubts
        tried=tuple(sorted({*tried, *rows["lr"]})),
    )


def _is_cut_short(measured: pd.DataFrame) -> bool:
    """Did most runs reach the limit of epochs, although early stopping could have ended them before?"""
    patience = pd.to_numeric(measured["training.patience"], errors="coerce")  # NaN without early stopping
    was_cut = (measured["stop_reason"] == "max_epochs") & (patience < measured["training.max_epochs"])
    return bool(was_cut.mean() > 0.5)


def _most_accurate(measured: pd.DataFrame, rows: pd.DataFrame) -> int:
    """The index of the dependable rate with the highest validation accuracy on the seeds that such rates share.

    Rates with less than half of the runs are left out, because they would leave few shared seeds.
    """
    is_candidate = rows["dependable"] if rows["dependable"].any() else rows["valid_mean"].notna()
    is_candidate = is_candidate & (rows["num_measured"] > rows.loc[is_candidate, "num_measured"].max() / 2)
    candidates = np.flatnonzero(is_candidate)
    valid_SR = measured.pivot(index="seed", columns="lr", values="valid_accuracy")[rows["lr"].iloc[candidates]]
    shared = valid_SR.dropna()
    return int(candidates[np.nanargmax((shared if len(shared) else valid_SR).mean().to_numpy())])


def cheapest(good: pd.DataFrame, cost: str = "epochs") -> pd.Series:
    """The rate with the lowest mean of `cost`; of several, the one with the highest validation accuracy."""
    return good.sort_values([f"{cost}_mean", "valid_mean"], ascending=[True, False], kind="stable").iloc[0]


def _cheapest(measured: pd.DataFrame, good: pd.DataFrame, best_lr: float, cost: str) -> TradeOff | None:
    """The good rate with the lowest mean of `cost`, compared with the best rate on the seeds that they share."""
    if good[f"{cost}_mean"].isna().all():
        return None
    row = cheapest(good, cost)
    cost_SR = measured.pivot(index="seed", columns="lr", values=cost)  # a good rate has no run of 0 epochs
    ratios = np.log(cost_SR[row["lr"]] / cost_SR[best_lr]).dropna()
    half = half_interval(ratios.std(), len(ratios))
    mean = float(ratios.mean())
    return TradeOff(row, 1 - math.exp(mean), 1 - math.exp(mean + half), 1 - math.exp(mean - half))
