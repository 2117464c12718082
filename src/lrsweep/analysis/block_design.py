"""One metric of a study, in columns. A column is an arm at one or more learning rates, with one value per seed.

Runs of one seed share data split, initial weights and batch order, so columns are compared within each seed. Each arm is judged
at its own best rate, chosen by mean validation accuracy (see Study.choose), unless a claim names other rates.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.acting import schedule_of
from lrsweep.analysis.edges import upper_edges
from lrsweep.analysis.fixed_budget import stopped_at
from lrsweep.analysis.optimum import optima
from lrsweep.analysis.phrases import Phrase, joined
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.sensitivity import usable_decades
from lrsweep.analysis.shortfall import residuals, similar_spread
from lrsweep.analysis.study import Choice, NoSuchRuns, Study
from lrsweep.analysis.summary import chance
from lrsweep.analysis.time_to_target import target_below
from lrsweep.training.schedules import batch_size_at

NEAR = 0.01  # a rate takes part in the pooled variance if its validation accuracy is at most this far below its arm's best
WINDOW = 0.5  # decades on either side of an arm's best rate, for `shortfall`
EARLY = 5  # epochs, for `highest_loss`
PATIENCES = {"lost_to_patience": 5, "lost_to_patience_10": 10, "lost_to_patience_20": 20}  # 5 is the documents' value
OVER_RATES = ("optimum", "upper_edge", "usable_decades", "shortfall")  # metrics that need several rates of an arm

METRICS = {  # metric → unit
    "test_accuracy": "accuracy",  # of the epoch that training.score names
    "best_test_accuracy": "accuracy",  # of the epoch with the highest validation accuracy
    "last_test_accuracy": "accuracy",
    "valid_accuracy": "accuracy",
    "deviation": "accuracy",  # distance of a run's test accuracy from the mean over the seeds
    "gap": "accuracy",  # training accuracy at the scored epoch minus test accuracy
    "shortfall": "accuracy",  # test accuracy at the arm's best rate minus its mean within WINDOW of that rate
    **dict.fromkeys(PATIENCES, "accuracy"),  # best validation accuracy of the curve minus the best before that patience ends
    "train_loss": "nats",  # in the last epoch
    "highest_loss": "nats",  # of a single step, in the first EARLY epochs
    "late_fall": "share",  # how much of the fall of log(training loss) came in the second half of the epochs
    "epochs": "factor",  # log10
    "epochs_to_target": "factor",  # log10
    "epochs_to_equal": "factor",  # log10; the target is the reference's own accuracy, not a point below
    "updates": "factor",  # log10 of the number of optimizer steps
    "seconds": "factor",  # log10
    "seconds_per_epoch": "factor",  # log10
    "peak_memory": "factor",  # log10 of the GB that the run's process used, PyTorch included
    "optimum": "decades",  # log10 of each seed's best rate, see optima
    "upper_edge": "decades",  # log10 of the rate above which a seed fails to learn
    "usable_decades": "decades",  # width of the range of rates within one percentage point of the arm's best
}


@dataclass(frozen=True)
class Column:
    """One arm at the rates where it is judged."""

    arm: str
    by_seed: pd.Series  # the metric, one value per seed
    rates_text: str
    runs: pd.DataFrame  # the runs behind the values
    caveat: str = ""


@dataclass(frozen=True)
class BlockDesign:
    """One metric of one study. `reference` names the arms whose accuracy is the target of a metric `epochs_to_…`."""

    study: Study
    metric: str
    reference: tuple[str, ...] = ()

    def column(self, arm: str, at: Any = "best", good: Sequence[float] = ()) -> Column:
        """`at` is "best", "good" (the mean over the rates `good`), "all", an exponent, or a range of exponents [low, high]."""
        if self.metric in OVER_RATES:
            return self._over_rates(arm)
        by_rate = self.by_rate(arm)
        rates = [float(lr) for lr in by_rate.columns]
        caveat = ""
        match at:
            case "best":
                choice = self.study.choose(arm)
                rates, text = self._close_to(rates, [choice.lr]), Phrase("at {rate}", rate=decimal_rate(choice.lr))
                if choice.is_at_edge and len(choice.rates) > 1:
                    edge = "{rate}, the lowest tried" if choice.is_lowest else "{rate}, the highest tried"
                    rate = Phrase(edge, rate=decimal_rate(choice.lr))
                    text, called = Phrase("at {rate}", rate=rate), self.study.called(arm)
                    caveat = Phrase("the best rate of {arm} is {rate}: a better one may lie beyond", arm=called, rate=rate)
            case "good":
                rates = self._close_to(rates, good)
                text = Phrase("at the good rates, {low} to {high}", low=decimal_rate(good[0]), high=decimal_rate(good[-1]))
                if len(good) == 1:
                    text = Phrase("at {rate}", rate=decimal_rate(good[0]))
            case "all":
                text = Phrase("from {low} to {high}", low=decimal_rate(rates[0]), high=decimal_rate(rates[-1]))
            case [low, high]:
                rates = [lr for lr in rates if low - 1e-6 <= math.log10(lr) <= high + 1e-6]
                text = Phrase("from {low} to {high}", low=decimal_rate(10**low), high=decimal_rate(10**high))
            case _:
                rates, text = self._close_to(rates, [10 ** float(at)]), Phrase("at {rate}", rate=decimal_rate(10 ** float(at)))
        if not rates:
            raise NoSuchRuns(Phrase("no runs {rates} of {arm}", rates=text, arm=self.study.called(arm)))
        values = by_rate[rates].mean(axis="columns", skipna=False)
        if self.metric == "deviation":
            values = (values - values.mean()).abs()
        runs = self.study.measured
        runs = runs[(runs["arm"] == arm) & runs["lr"].isin(rates)]
        if at == "best" and self.study.tuning is not None and 0 < (num := int((~runs["learned"]).sum())) < len(runs):
            unstable = "{arm} failed to learn on {num} of {total} fresh seeds at the rate that it was tuned to"
            caveat = joined(filter(None, [caveat, Phrase(unstable, arm=self.study.called(arm), num=num, total=len(runs))]))
        return Column(arm, values, text, runs, caveat)

    @staticmethod
    def _close_to(rates: Sequence[float], wanted: Sequence[float]) -> list[float]:
        return [lr for lr in rates if any(math.isclose(lr, other, rel_tol=1e-6) for other in wanted)]

    def _over_rates(self, arm: str) -> Column:
        runs = self.study.measured[self.study.measured["arm"] == arm]
        choice = self.study.choose(arm)
        called = self.study.called(arm)
        if self.metric == "shortfall":
            return self._shortfall(arm, choice)
        if self.metric == "optimum":
            found, text = optima(self.by_rate(arm)), Phrase("best rate")
        elif self.metric == "upper_edge":
            found, text = upper_edges(runs), Phrase("learns up to")
        else:
            found, text = usable_decades(runs, choice.lr), Phrase("around {rate}", rate=decimal_rate(choice.lr))
        num_cut = int(found["is_cut"].sum())
        cut = "for {arm}, {num} of {total} seeds reach an end of the rates tried"
        caveat = Phrase(cut, arm=called, num=num_cut, total=len(found)) if num_cut else ""
        return Column(arm, found.set_index("seed").iloc[:, 0], text, runs, caveat)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The metric of every run, seeds × (arm, lr)."""
        return self.study.table(self._value_per_run())

    def by_rate(self, arm: str) -> pd.DataFrame:
        """The metric of an arm's runs, seeds × lr. Raises NoSuchRuns if all of them failed."""
        if arm not in self.table:
            raise NoSuchRuns(Phrase("all runs of {arm} failed", arm=self.study.called(arm)))
        return pd.DataFrame(self.table[arm])

    @cached_property
    def pooled(self) -> tuple[float, int, set[tuple[str, float]]]:
        """Residual variance of the two-way layout (seeds + columns), its degrees of freedom, and the columns that it uses.

        It uses the columns within NEAR of their arm's best, except those that vary far more than the others.
        """
        means = self.study.valid.mean(skipna=False)
        near = self.table.loc[:, means >= means.groupby(level="arm").transform("max") - NEAR].dropna(axis="columns")
        if near.shape[0] < 2 or near.shape[1] < 2:
            return math.nan, 0, set()
        kept = near.loc[:, similar_spread(near.to_numpy(dtype=float), np.ones(near.shape[1], dtype=bool))]
        df = (kept.shape[0] - 1) * (kept.shape[1] - 1)
        variance = float((residuals(kept.to_numpy(dtype=float)) ** 2).sum()) / df if df else math.nan
        return variance, df, {(str(column[0]), float(column[1])) for column in kept.columns}

    @cached_property
    def target(self) -> float:
        """The validation accuracy to reach: that of the weakest reference arm at its best rate, or about a point below."""
        valid = BlockDesign(self.study, "valid_accuracy")
        accuracy = min(float(valid.column(arm).by_seed.mean()) for arm in self.reference)
        return accuracy if self.metric == "epochs_to_equal" else target_below(accuracy)

    def _shortfall(self, arm: str, choice: Choice) -> Column:
        inside = [lr for lr in choice.rates if abs(math.log10(lr / choice.lr)) <= WINDOW + 1e-6]
        by_rate = self.by_rate(arm)
        shortfall = by_rate[choice.lr] - by_rate[inside].mean(axis="columns")
        text = Phrase("around {rate}", rate=decimal_rate(choice.lr))
        return Column(arm, shortfall, text, self.study.runs[self.study.runs["arm"] == arm])

    def _value_per_run(self) -> pd.Series:
        runs, curves = self.study.measured, self.study.curves
        guessing = chance(self.study.runs)
        match self.metric:
            case "valid_accuracy":
                return runs["valid_accuracy"].fillna(guessing)
            case "best_test_accuracy" | "last_test_accuracy":
                return self._recorded(runs).fillna(guessing)
            case "seconds":
                return _log10(runs["seconds"])
            case "gap":
                return self._at_scored_epoch("train_accuracy") - runs["test_accuracy"]
            case "train_loss":
                return self._per_curve("train_loss", lambda loss: loss.iloc[-1])
            case "highest_loss":
                return self._per_curve("highest_loss", lambda loss: loss.iloc[:EARLY].max())
            case "late_fall":
                return self._per_curve("train_loss", _late_fall)
            case "lost_to_patience" | "lost_to_patience_10" | "lost_to_patience_20":
                patience = PATIENCES[self.metric]
                return self._per_curve("valid_accuracy", lambda curve: _lost_to_patience(curve, patience))
            case "epochs":
                return _log10(runs["epochs"])
            case "epochs_to_target" | "epochs_to_equal":
                curves_of_run = dict(list(curves.sort_values("epoch").groupby("run_id")))
                epochs = [_epochs_to(self.target, curves_of_run.get(run_id), guessing) for run_id in runs["run_id"]]
                return _log10(pd.Series(epochs, index=runs.index))
            case "updates":
                return _log10(pd.Series([_num_updates(run) for _, run in runs.iterrows()], index=runs.index, dtype=float))
            case "seconds_per_epoch":
                return _log10(runs["seconds"] / runs["epochs"])
            case "peak_memory":
                return _log10(runs["peak_memory_bytes"] / 1e9)
            case _:
                return runs["test_accuracy"].fillna(guessing)

    def _recorded(self, table: pd.DataFrame) -> pd.Series:
        """The metric's column, which older records do not have."""
        if self.metric not in table or table[self.metric].isna().all():
            raise NoSuchRuns(Phrase("{metric} is not in these records", metric=self.metric))
        return table[self.metric]

    def _at_scored_epoch(self, name: str) -> pd.Series:
        runs, curves = self.study.measured, self.study.curves
        epoch = runs["best_epoch"]
        if "training.score" in runs:
            epoch = epoch.mask(runs["training.score"] == "last", runs["epochs"])
        by_run = curves.assign(scored=curves["run_id"].map(epoch.set_axis(runs["run_id"])))
        return runs["run_id"].map(by_run[by_run["epoch"] == by_run["scored"]].set_index("run_id")[name])

    def _per_curve(self, name: str, reduce: Callable[[pd.Series], float]) -> pd.Series:
        if name == "highest_loss":
            self._recorded(self.study.curves)
        by_run = self.study.curves.sort_values("epoch").groupby("run_id")[name]
        return self.study.measured["run_id"].map(by_run.apply(reduce))


def _log10(values: pd.Series) -> pd.Series:
    """NaN for a run that diverged before its first epoch ended."""
    positive = values.astype(float).where((values > 0) & np.isfinite(values))
    return pd.Series(np.log10(positive.to_numpy(dtype=float)), index=values.index)


def _lost_to_patience(valid_accuracy: pd.Series, patience: int) -> float:
    curve = valid_accuracy.to_numpy(dtype=float)
    if np.isnan(curve).all():  # diverged before the first validation
        return math.nan
    return float(np.nanmax(curve) - np.nanmax(curve[: stopped_at(curve, patience)]))


def _late_fall(train_loss: pd.Series) -> float:
    """About ½ if the logarithm of the loss falls steadily, 0 if it stopped falling halfway or never fell."""
    loss = train_loss.iloc[[0, len(train_loss) // 2, -1]].clip(lower=1e-12)  # it may be 0
    first, middle, last = np.log(loss.to_numpy(dtype=float))
    return float((middle - last) / (first - last)) if first > last else 0.0


def _epochs_to(target: float, curve: pd.DataFrame | None, start: float) -> float:
    """The epoch at which the validation accuracy, which begins at `start`, first reaches the target; linear between epochs.

    A run that never reached the target gets its number of epochs plus one.
    """
    if curve is None:
        return 1.0
    scored = curve.dropna(subset="valid_accuracy")
    epochs = np.concatenate([[0.0], scored["epoch"].to_numpy(dtype=float)])
    accuracy = np.concatenate([[start], scored["valid_accuracy"].to_numpy(dtype=float)])
    reached = np.flatnonzero(accuracy[1:] >= target)
    if not len(reached):
        return float(curve["epoch"].iloc[-1]) + 1
    (start, end), (before, after) = epochs[reached[0] :][:2], accuracy[reached[0] :][:2]
    share = (target - before) / (after - before) if before < target else 0.0  # a target may lie below chance
    return float(start + max(share, 0.01) * (end - start))


def _num_updates(run: pd.Series) -> int:
    sizes = [batch_size_at(schedule_of(run), int(run["training.batch_size"]), epoch) for epoch in range(int(run["epochs"]))]
    return sum(math.ceil(run["data.num_train"] / size) for size in sizes)
