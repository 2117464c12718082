"""A study as a design of seeds × columns: what each arm came to at the rate that it is judged by.

A column is an arm at a rate. Each arm is judged at its own best rate, chosen on mean validation accuracy over the seeds, unless
a claim names the rates. Seeds are blocks: they share split, initial weights and batch order across columns, so that what is
common to all of a seed's runs cancels in every contrast.
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

CHANCE = 0.1  # accuracy of a run that diverged before it had one: always naming one digit
NEAR = 0.01  # validation accuracy that a rate may lack against its arm's best, to take part in the pooled spread
WINDOW = 0.5  # decades to either side of an arm's best rate, over which `shortfall` is a mean
EARLY = 5  # epochs that `roughness` looks at
PATIENCE = 5  # epochs: the documents'

METRICS = {  # name → unit
    "test_accuracy": "accuracy",
    "gap": "accuracy",  # training accuracy of the best epoch, less test accuracy
    "shortfall": "accuracy",  # test accuracy at an arm's best rate, less its mean within WINDOW of that rate
    "lost_to_patience": "accuracy",  # best validation accuracy of the whole budget, less what PATIENCE would have given
    "train_loss": "nats",  # of the last epoch
    "roughness": "nats",  # all rises of the training loss from one epoch to the next, within the first EARLY
    "epochs_to_target": "factor",  # log10
    "seconds": "factor",  # log10
    "best_rate": "decades",  # log10 of each seed's own best rate
}


@dataclass(frozen=True)
class Column:
    """An arm at the rates that it is judged by."""

    arm: str
    of_seeds: pd.Series
    rates: str  # in words
    lr: float | None = None  # where it is one rate: then its spread may be pooled
    resolution: float = 0.0  # the mean is not known better than this
    reach: tuple[float, float] = (0.0, 0.0)  # how much lower, higher the mean might be beyond the edge of the rates tried


@dataclass(frozen=True)
class BlockDesign:
    """One metric of one study. `reference`: the arms that `epochs_to_target` takes its target from."""

    study: Study
    metric: str
    reference: tuple[str, ...] = ()

    def column(self, arm: str, at: Any = "best") -> Column:
        """`at`: "best", "plateau", an exponent of ten, or a range of exponents."""
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
        # Epochs are whole: half of one to either side.
        resolution = math.log10(1 + 0.5 / 10 ** float(values.mean())) if self.metric == "epochs_to_target" else 0.0
        return Column(arm, values, _at_best(choice), choice.lr, resolution, self._reach(arm, choice))

    @cached_property
    def table(self) -> pd.DataFrame:
        """Seeds × (arm, lr)."""
        return self.study.table(self._of_runs())

    @cached_property
    def pooled(self) -> tuple[float, int, set[tuple[str, float]]]:
        """Variance, degrees of freedom, and the columns that it is of: near their arm's best, and not far more variable.

        What rates and seeds leave unexplained in a two-way design.
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
        """A validation accuracy a little below the best of the reference arms: what `epochs_to_target` waits for."""
        return target_below(min(float(self.study.valid[arm, self.study.choose(arm).lr].mean()) for arm in self.reference))

    def _at(self, arm: str, rate: float) -> Column:
        near = [lr for lr in self.table[arm] if math.isclose(lr, rate, rel_tol=1e-6)]
        if not near:
            raise NoSuchRuns(f"no runs at {power(rate)} of {self.study.called(arm)}")
        return Column(arm, self.table[arm, near[0]], f"at {power(rate)}", near[0])

    def _mean_over(self, arm: str, low: float, high: float) -> Column:
        rates = [lr for lr in self.table[arm] if low / 1.0001 <= lr <= high * 1.0001]
        if not rates:
            raise NoSuchRuns(f"no runs from {power(low)} to {power(high)} of {self.study.called(arm)}")
        of_arm = pd.DataFrame(self.table[arm])
        means = of_arm[rates].mean(axis="columns", skipna=False)
        return Column(arm, means, f"from {power(rates[0])} to {power(rates[-1])}")

    def _reach(self, arm: str, choice: Choice) -> tuple[float, float]:
        """At the edge of the rates tried, one more step might change as much as the last one did: accuracy can only rise."""
        if not choice.is_at_edge:
            return 0.0, 0.0
        if choice.neighbour is None:
            return math.inf, math.inf
        change = abs(float((self.table[arm, choice.lr] - self.table[arm, choice.neighbour]).mean()))
        return (0.0 if self.metric == "test_accuracy" else change), change

    def _best_rates(self, arm: str, choice: Choice) -> Column:
        valid_SR = self.study.valid[arm].dropna(how="all").fillna(0.0)
        best = np.log10(valid_SR.columns.to_numpy(dtype=float))[valid_SR.to_numpy().argmax(axis=1)]
        rates = np.log10(choice.rates)
        half_step = float(np.diff(rates).max()) / 2 if len(rates) > 1 else math.inf
        reach = (math.inf if best.min() == rates[0] else 0.0, math.inf if best.max() == rates[-1] else 0.0)
        return Column(arm, pd.Series(best, index=valid_SR.index), "each seed's best rate", resolution=half_step, reach=reach)

    def _shortfall(self, arm: str, choice: Choice) -> Column:
        inside = [lr for lr in choice.rates if abs(math.log10(lr / choice.lr)) <= WINDOW + 1e-6]
        of_arm = pd.DataFrame(self.table[arm])
        missed = of_arm[choice.lr] - of_arm[inside].mean(axis="columns")
        unseen = math.inf if choice.is_at_edge else 0.0  # half of the window was not tried
        return Column(arm, missed, f"around {power(choice.lr)}", reach=(unseen, unseen))

    def _of_runs(self) -> pd.Series:
        runs, curves = self.study.measured, self.study.curves
        match self.metric:
            case "gap":
                best_epoch = runs.set_index("run_id")["best_epoch"]
                at_best = curves[curves["epoch"] == curves["run_id"].map(best_epoch)].set_index("run_id")
                return runs["run_id"].map(at_best["train_accuracy"]) - runs["test_accuracy"]
            case "train_loss":
                return self._of_curves("train_loss", lambda loss: loss.iloc[-1])
            case "roughness":
                return self._of_curves("train_loss", lambda loss: loss.iloc[:EARLY].diff().clip(lower=0).sum())
            case "lost_to_patience":
                return self._of_curves("valid_accuracy", _lost_to_patience)
            case "epochs_to_target":
                hits = curves[curves["valid_accuracy"] >= self.target].groupby("run_id")["epoch"].min()
                never = runs["epochs"] + 1  # counted as one epoch after the last: no more is known
                return _log10(runs["run_id"].map(hits).fillna(never))
            case "seconds":
                return _log10(runs["seconds"])
            case _:
                return runs["test_accuracy"].fillna(CHANCE)

    def _of_curves(self, name: str, value: Callable[[pd.Series], float]) -> pd.Series:
        by_run = self.study.curves.sort_values("epoch").groupby("run_id")[name]
        return self.study.measured["run_id"].map(by_run.apply(value))


def _log10(values: pd.Series) -> pd.Series:
    return pd.Series(np.log10(values.to_numpy(dtype=float)), index=values.index)


def _at_best(choice: Choice) -> str:
    edge = f", the {'lowest' if choice.is_lowest else 'highest'} tried" if choice.is_at_edge else ""
    return f"at {power(choice.lr)}{edge}"


def _lost_to_patience(valid_accuracy: pd.Series) -> float:
    curve = valid_accuracy.to_numpy(dtype=float)
    return float(np.nanmax(curve) - np.nanmax(curve[: stopped_at(curve, PATIENCE)]))
