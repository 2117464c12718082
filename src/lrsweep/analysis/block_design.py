"""One metric of a study, in columns. A column is an arm at one or more learning rates, with one value per seed.

Runs of one seed share data split, initial weights and batch order, so columns are compared within each seed. Each arm is judged
at its own best rate, chosen by mean validation accuracy (see Study.choose), unless a claim names other rates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.edges import upper_edges
from lrsweep.analysis.metrics import OVER_RATES, target_below, value_per_run
from lrsweep.analysis.optimum import optima
from lrsweep.analysis.phrases import Phrase, joined
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.sensitivity import usable_decades
from lrsweep.analysis.shortfall import residuals, similar_spread
from lrsweep.analysis.study import Choice, NoSuchRuns, Study
from lrsweep.analysis.summary import kept_learning

NEAR = 0.01  # a rate takes part in the pooled variance if its validation accuracy is at most this far below its arm's best
WINDOW = 0.5  # decades on either side of an arm's best rate, for `loss_nearby`


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
                ends = "at {low} and {high}" if len(rates) == 2 else "from {low} to {high}"
                text = Phrase(ends, low=decimal_rate(rates[0]), high=decimal_rate(rates[-1]))
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
        if at == "best" and self.study.tuning is not None:
            caveat = joined(filter(None, [caveat, *self._failures(arm, runs)]))
        return Column(arm, values, text, runs, caveat)

    def _failures(self, arm: str, runs: pd.DataFrame) -> list[Phrase]:
        """Remarks on runs that failed although the rate was tuned. An arm of which no run learns needs none."""
        if not kept_learning(runs).any():
            return []
        diverged = runs["status"] == "diverged"
        remarks = (
            ("{arm} diverged on {num} of {total} fresh seeds at the rate that it was tuned to", int(diverged.sum())),
            (
                "{arm} failed to learn on {num} of {total} fresh seeds at the rate that it was tuned to",
                int((~runs["learned"] & ~diverged).sum()),
            ),
        )
        return [Phrase(text, arm=self.study.called(arm), num=num, total=len(runs)) for text, num in remarks if num]

    @staticmethod
    def _close_to(rates: Sequence[float], wanted: Sequence[float]) -> list[float]:
        return [lr for lr in rates if any(math.isclose(lr, other, rel_tol=1e-6) for other in wanted)]

    def _over_rates(self, arm: str) -> Column:
        runs = self.study.measured[self.study.measured["arm"] == arm]
        choice = self.study.choose(arm)
        called = self.study.called(arm)
        if self.metric == "loss_nearby":
            return self._loss_nearby(arm, choice)
        if self.metric == "optimum":
            found, text = optima(self.by_rate(arm)), Phrase("at the top of its curve")
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
        return self.study.table(value_per_run(self.study, self.metric, lambda: self.target))

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

    def _loss_nearby(self, arm: str, choice: Choice) -> Column:
        inside = [lr for lr in choice.rates if abs(math.log10(lr / choice.lr)) <= WINDOW + 1e-6]
        by_rate = self.by_rate(arm)
        loss = by_rate[choice.lr] - by_rate[inside].mean(axis="columns")
        text = Phrase("around {rate}", rate=decimal_rate(choice.lr))
        return Column(arm, loss, text, self.study.runs[self.study.runs["arm"] == arm])
