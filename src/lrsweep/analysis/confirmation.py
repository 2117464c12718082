"""The winner's curse: the best of many noisy points looks better than it is. So the finalists run again, on fresh seeds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.summary import half_interval, summarise

FIRST_FRESH_SEED = 1_000  # far above the seeds of any study


@dataclass(frozen=True)
class Confirmation:
    """`rows`: the fresh runs' summary, a row a finalist, with `study_valid_mean` and `optimism` (that less the fresh mean)."""

    rows: pd.DataFrame
    num_seeds: int
    best: pd.Series  # the fresh row of the study's best rate
    trade_off: pd.Series
    cost: float  # the best's fresh test accuracy less the bargain's, paired by seed; 0 where they are one rate
    cost_low: float
    cost_high: float

    @property
    def winner(self) -> pd.Series:
        """The fresh row of the highest validation accuracy: is it the rate that the study picked?"""
        return self.rows.iloc[int(np.nanargmax(self.rows["valid_mean"].to_numpy()))]


def finalists(best: Best) -> list[float]:
    """The rates that a conclusion names: the range's ends, the best and the bargain."""
    return sorted({best.low, float(best.trade_off["lr"]), float(best.best["lr"]), best.high})


def confirm(best: Best, fresh: pd.DataFrame) -> Confirmation | None:
    """`fresh`: runs of the same arm on seeds that chose nothing; None where they lack one of the rates the conclusion names."""
    rows = summarise(fresh[fresh["lr"].isin(finalists(best))])
    named = [float(best.best["lr"]), float(best.trade_off["lr"])]
    if not set(named) <= set(rows.loc[rows["num_scored"] > 0, "lr"]):
        return None
    study = best.plateau.rates.set_index("lr")["mean"]
    rows["study_valid_mean"] = rows["lr"].map(study)
    rows["optimism"] = rows["study_valid_mean"] - rows["valid_mean"]
    of_best, of_best_trade_off = (rows[rows["lr"] == lr].iloc[0] for lr in named)
    cost, low, high = _paired(fresh, *named)
    num_seeds = int(rows["num_scored"].min())
    return Confirmation(rows, num_seeds, of_best, of_best_trade_off, cost, low, high)


def _paired(fresh: pd.DataFrame, one: float, other: float) -> tuple[float, float, float]:
    """Mean difference in test accuracy over the seeds that both rates have, and its t interval."""
    by_seed = fresh.pivot(index="seed", columns="lr", values="test_accuracy")
    differences = (by_seed[one] - by_seed[other]).dropna()
    mean = float(differences.mean())
    half = float(half_interval(pd.Series([differences.std()]), pd.Series([len(differences)])).iloc[0])
    return mean, mean - half, mean + half
