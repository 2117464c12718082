"""Run the finalists again on fresh seeds. The best of many noisy results looks better than it is: the winner's curse."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.summary import half_interval, summarise

FIRST_FRESH_SEED = 1_000  # far above the seeds of any study


@dataclass(frozen=True)
class Confirmation:
    """`rows` is the summary of the fresh runs, one row per finalist, with two more columns:

    - study_valid_mean: mean validation accuracy in the study
    - optimism: study_valid_mean minus the fresh mean
    """

    rows: pd.DataFrame
    num_seeds: int
    best: pd.Series  # the fresh row of the study's best rate
    trade_off: pd.Series  # the fresh row of its best trade-off
    cost: float  # fresh test accuracy of the best rate minus the best trade-off's, paired by seed; 0 if they are the same
    cost_low: float  # confidence interval
    cost_high: float

    @property
    def winner(self) -> pd.Series:
        """The fresh row with the highest validation accuracy. It need not be the rate that the study chose."""
        return self.rows.iloc[int(np.nanargmax(self.rows["valid_mean"].to_numpy()))]


def finalists(best: Best) -> list[float]:
    """The rates that a conclusion names: both ends of the range, the best rate and the best trade-off."""
    return sorted({best.low, float(best.trade_off["lr"]), float(best.best["lr"]), best.high})


def confirm(best: Best, fresh: pd.DataFrame) -> Confirmation | None:
    """`fresh` are runs of the same arm on other seeds. None if they lack the best rate or the best trade-off."""
    rows = summarise(fresh[fresh["lr"].isin(finalists(best))])
    best_lr, trade_off_lr = float(best.best["lr"]), float(best.trade_off["lr"])
    if not {best_lr, trade_off_lr} <= set(rows.loc[rows["num_scored"] > 0, "lr"]):
        return None
    rows["study_valid_mean"] = rows["lr"].map(best.plateau.rates.set_index("lr")["mean"])
    rows["optimism"] = rows["study_valid_mean"] - rows["valid_mean"]
    cost, low, high = paired_difference(fresh, best_lr, trade_off_lr)
    return Confirmation(
        rows=rows,
        num_seeds=int(rows["num_scored"].min()),
        best=rows[rows["lr"] == best_lr].iloc[0],
        trade_off=rows[rows["lr"] == trade_off_lr].iloc[0],
        cost=cost,
        cost_low=low,
        cost_high=high,
    )


def paired_difference(runs: pd.DataFrame, lr: float, other_lr: float) -> tuple[float, float, float]:
    """Mean difference in test accuracy between two rates over the seeds they share, and its t interval."""
    by_seed = runs.pivot(index="seed", columns="lr", values="test_accuracy")
    differences = (by_seed[lr] - by_seed[other_lr]).dropna()
    mean = float(differences.mean())
    half = float(half_interval(pd.Series([differences.std()]), pd.Series([len(differences)])).iloc[0])
    return mean, mean - half, mean + half
