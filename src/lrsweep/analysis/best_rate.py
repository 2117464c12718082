"""The two questions of the documents: which range is the most accurate, and which rate is the best bargain.

Rates are chosen on validation accuracy and reported on test accuracy: choosing on the test set would flatter the choice.
"""

from dataclasses import dataclass

import pandas as pd

from lrsweep.analysis.plateau import Plateau, find_plateau
from lrsweep.analysis.summary import summarise
from lrsweep.analysis.trade_off import find_best_trade_off, find_knee, is_near, pareto_front


@dataclass(frozen=True)
class Best:
    """Answers for one arm, from the seeds that have a run at every rate."""

    arm: str
    plateau: Plateau
    best: pd.Series  # the summary's row of the highest validation accuracy
    rows: pd.DataFrame  # the summary's rows of the range
    delta: float  # validation accuracy that the bargain may lack
    trade_off: pd.Series  # the row of the least time among those of `rows` within delta of the best
    front: pd.DataFrame  # the summary's rows on the Pareto front, the fastest first
    knee_lr: float | None  # the front's knee

    @property
    def low(self) -> float:
        return self.plateau.low

    @property
    def high(self) -> float:
        return self.plateau.high

    @property
    def num_seeds(self) -> int:
        return len(self.plateau.seeds)

    @property
    def is_conclusive(self) -> bool:
        return not self.plateau.doubts

    @property
    def num_near(self) -> int:
        """Rates of the range within delta of the best, itself included: of one, time had nothing to decide."""
        return int(is_near(self.rows, self.delta).sum())

    @property
    def time_saved(self) -> float:
        """The share of the best rate's time that the bargain saves."""
        return 1 - float(self.trade_off["seconds_median"] / self.best["seconds_median"])

    @property
    def is_knee_in_range(self) -> bool | None:
        """Does Kneedle point at the range as well? None where the front has no knee."""
        return None if self.knee_lr is None else self.low <= self.knee_lr <= self.high


def find_best(runs: pd.DataFrame, num_missing: int = 0, delta: float | None = None) -> Best | None:
    """`runs` of one arm; None where no run has an accuracy. `delta`: None for one standard error of the best."""
    plateau = find_plateau(runs, int(runs["data.num_valid"].iloc[0]), num_missing)
    if plateau is None:
        return None
    summary = summarise(runs[runs["seed"].isin(plateau.seeds)])
    rows = summary[summary["lr"].between(plateau.low, plateau.high) & summary["valid_mean"].notna()]
    chosen = plateau.standard_error if delta is None else delta
    front = summary[pareto_front(summary)].sort_values("seconds_median")
    return Best(
        arm=str(runs["arm"].iloc[0]),
        plateau=plateau,
        best=summary[summary["lr"] == plateau.best_lr].iloc[0],
        rows=rows,
        delta=chosen,
        trade_off=rows.iloc[find_best_trade_off(rows, chosen)],
        front=front,
        knee_lr=find_knee(front),
    )
