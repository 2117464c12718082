"""A study as a randomised block design: each seed is a block, and each column is an arm at one or more learning rates.

Runs of one seed share data split, initial weights and batch order, so differences between columns are taken within each seed.
Each arm is judged at its own best rate, chosen by mean validation accuracy over the seeds, unless a claim names other rates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.fixed_budget import stopped_at
from lrsweep.analysis.plateau import dependable, residuals
from lrsweep.analysis.study import Choice, NoSuchRuns, Study, power
from lrsweep.analysis.time_to_target import target_below

CHANCE = 0.1  # test accuracy counted for a run that diverged before it had one
NEAR = 0.01  # a rate takes part in the pooled variance if its validation accuracy is at most this far below its arm's best
WINDOW = 0.5  # decades on either side of an arm's best rate, for `shortfall`
EARLY = 5  # epochs, for `roughness`
PATIENCE = 5  # epochs; the documents' value

METRICS = {  # metric → unit
    "test_accuracy": "accuracy",
    "gap": "accuracy",  # training accuracy at the best epoch minus test accuracy
    "shortfall": "accuracy",  # test accuracy at the arm's best rate minus its mean within WINDOW of that rate
    "lost_to_patience": "accuracy",  # best validation accuracy of the whole budget minus the best within PATIENCE
    "train_loss": "nats",  # in the last epoch
    "roughness": "nats",  # sum of all rises in training loss from one epoch to the next, over the first EARLY epochs
    "epochs_to_target": "factor",  # log10
    "seconds": "factor",  # log10
    "best_rate": "decades",  # log10 of each seed's best rate
}


@dataclass(frozen=True)
class Column:
    """One arm at the rates where it is judged."""

    arm: str
    by_seed: pd.Series  # the metric, one value per seed
    rates_text: str
    lr: float | None = None  # None if there are several rates; then its variance is not pooled
    resolution: float = 0.0  # the mean is uncertain by at least ± this
    reach: tuple[float, float] = (0.0, 0.0)  # how much lower and higher the mean might be at rates beyond those tried


@dataclass(frozen=True)
class BlockDesign:
    """One metric of one study. `reference` are the arms that define the target of `epochs_to_target`."""

    study: Study
    metric: str
    reference: tuple[str, ...] = ()

    def column(self, arm: str, at: Any = "best") -> Column:
        """`at` is "best", "plateau", an exponent of ten, or a range of exponents [low, high]."""
        if at == "plateau":
            plateau = self.study.plateau(arm)
            return self._mean_over(arm, plateau.low, plateau.high)
        if isinstance(at, list):
            return self._mean_over(arm, 10 ** float(at[0]), 10 ** float(at[1]))
        if at != "best":
            return self._at(arm, 10 ** float(at))
        choice = self.study.choose(arm)
        if self.metric == "best_rate":
            return self._best_rates(arm, choice)
        if self.metric == "shortfall":
            return self._shortfall(arm, choice)
        values = self.table[arm, choice.lr]
        # Epochs are whole numbers, so the mean is uncertain by half an epoch.
        resolution = math.log10(1 + 0.5 / 10 ** float(values.mean())) if self.metric == "epochs_to_target" else 0.0
        edge = f", the {'lowest' if choice.is_lowest else 'highest'} tried" if choice.is_at_edge else ""
        return Column(arm, values, f"at {power(choice.lr)}{edge}", choice.lr, resolution, self._reach(arm, choice))

    @cached_property
    def table(self) -> pd.DataFrame:
        """The metric as seeds × (arm, lr)."""
        return self.study.table(self._value_per_run())

    @cached_property
    def pooled(self) -> tuple[float, int, set[tuple[str, float]]]:
        """Residual variance of the two-way layout (seeds + columns), its degrees of freedom, and the columns that it uses.

        It uses the columns within NEAR of their arm's best, except those that vary far more than the others.
        """
        means = self.study.valid.mean(skipna=False)
        near = self.table.loc[:, means >= means.groupby(level="arm").transform("max") - NEAR].dropna(axis="columns")
        if near.shape[0] < 2 or near.shape[1] < 2:
            return math.nan, 0, set()
        kept = near.loc[:, dependable(near.to_numpy(dtype=float), np.ones(near.shape[1], dtype=bool))]
        df = (kept.shape[0] - 1) * (kept.shape[1] - 1)
        variance = float((residuals(kept.to_numpy(dtype=float)) ** 2).sum()) / df if df else math.nan
        return variance, df, {(str(column[0]), float(column[1])) for column in kept.columns}

    @cached_property
    def target(self) -> float:
        """The validation accuracy for `epochs_to_target`: about one point below the best of the weakest reference arm."""
        return target_below(min(float(self.study.valid[arm, self.study.choose(arm).lr].mean()) for arm in self.reference))

    def _at(self, arm: str, rate: float) -> Column:
        matches = [lr for lr in self.table[arm] if math.isclose(lr, rate, rel_tol=1e-6)]
        if not matches:
            raise NoSuchRuns(f"no runs at {power(rate)} of {self.study.called(arm)}")
        return Column(arm, self.table[arm, matches[0]], f"at {power(rate)}", matches[0])

    def _mean_over(self, arm: str, low: float, high: float) -> Column:
        rates = [lr for lr in self.table[arm] if low / 1.0001 <= lr <= high * 1.0001]
        if not rates:
            raise NoSuchRuns(f"no runs from {power(low)} to {power(high)} of {self.study.called(arm)}")
        means = pd.DataFrame(self.table[arm])[rates].mean(axis="columns", skipna=False)
        return Column(arm, means, f"from {power(rates[0])} to {power(rates[-1])}")

    def _reach(self, arm: str, choice: Choice) -> tuple[float, float]:
        """If the best rate is at the edge, assume that one more step could change the metric as much as the last step did."""
        if not choice.is_at_edge:
            return 0.0, 0.0
        if choice.neighbour is None:
            return math.inf, math.inf
        change = abs(float((self.table[arm, choice.lr] - self.table[arm, choice.neighbour]).mean()))
        lower = 0.0 if self.metric == "test_accuracy" else change  # the best rate's accuracy could only be higher
        return lower, change

    def _best_rates(self, arm: str, choice: Choice) -> Column:
        valid_SR = self.study.valid[arm].dropna(how="all").fillna(0.0)
        best = np.log10(valid_SR.columns.to_numpy(dtype=float))[valid_SR.to_numpy().argmax(axis=1)]
        rates = np.log10(choice.rates)
        half_step = float(np.diff(rates).max()) / 2 if len(rates) > 1 else math.inf
        reach = (math.inf if best.min() == rates[0] else 0.0, math.inf if best.max() == rates[-1] else 0.0)
        return Column(arm, pd.Series(best, index=valid_SR.index), "each seed's best rate", resolution=half_step, reach=reach)

    def _shortfall(self, arm: str, choice: Choice) -> Column:
        inside = [lr for lr in choice.rates if abs(math.log10(lr / choice.lr)) <= WINDOW + 1e-6]
        by_rate = pd.DataFrame(self.table[arm])
        shortfall = by_rate[choice.lr] - by_rate[inside].mean(axis="columns")
        unknown = math.inf if choice.is_at_edge else 0.0  # half of the window was not tried
        return Column(arm, shortfall, f"around {power(choice.lr)}", reach=(unknown, unknown))

    def _value_per_run(self) -> pd.Series:
        runs, curves = self.study.measured, self.study.curves
        match self.metric:
            case "gap":
                best_epoch = runs.set_index("run_id")["best_epoch"]
                at_best = curves[curves["epoch"] == curves["run_id"].map(best_epoch)].set_index("run_id")
                return runs["run_id"].map(at_best["train_accuracy"]) - runs["test_accuracy"]
            case "train_loss":
                return self._per_curve("train_loss", lambda loss: loss.iloc[-1])
            case "roughness":
                return self._per_curve("train_loss", lambda loss: loss.iloc[:EARLY].diff().clip(lower=0).sum())
            case "lost_to_patience":
                return self._per_curve("valid_accuracy", _lost_to_patience)
            case "epochs_to_target":
                epochs = curves[curves["valid_accuracy"] >= self.target].groupby("run_id")["epoch"].min()
                censored = runs["epochs"] + 1  # a run that never reached the target counts as one epoch longer than it was
                return _log10(runs["run_id"].map(epochs).fillna(censored))
            case "seconds":
                return _log10(runs["seconds"])
            case _:
                return runs["test_accuracy"].fillna(CHANCE)

    def _per_curve(self, name: str, reduce: Callable[[pd.Series], float]) -> pd.Series:
        by_run = self.study.curves.sort_values("epoch").groupby("run_id")[name]
        return self.study.measured["run_id"].map(by_run.apply(reduce))


def _log10(values: pd.Series) -> pd.Series:
    return pd.Series(np.log10(values.to_numpy(dtype=float)), index=values.index)


def _lost_to_patience(valid_accuracy: pd.Series) -> float:
    curve = valid_accuracy.to_numpy(dtype=float)
    return float(np.nanmax(curve) - np.nanmax(curve[: stopped_at(curve, PATIENCE)]))
