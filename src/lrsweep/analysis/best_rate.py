"""The documents' two questions: which range of learning rates is the most accurate, and which rate is the best trade-off?

Rates are chosen on validation accuracy and reported on test accuracy, so that the choice does not bias the reported number.
"""

from dataclasses import dataclass

import pandas as pd

from lrsweep.analysis.plateau import Plateau, find_plateau
from lrsweep.analysis.summary import summarise
from lrsweep.analysis.trade_off import find_best_trade_off, find_knee, is_near, pareto_front


@dataclass(frozen=True)
class Best:
    """The answers for one arm. Rows are from `summarise`, over the seeds that have a run at every rate."""

    arm: str
    plateau: Plateau
    best: pd.Series  # row with the highest validation accuracy
    rows: pd.DataFrame  # rows of the best range
    delta: float  # how much validation accuracy the best trade-off may give up compared with the best rate
    trade_off: pd.Series  # the fastest of `rows` within delta of the best
    front: pd.DataFrame  # rows on the Pareto front of accuracy and time, the fastest first
    knee_lr: float | None  # knee of the front; None if there is no knee

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
        """How many rates of the range lie within delta of the best rate, itself included. If only 1, time plays no part."""
        return int(is_near(self.rows, self.delta).sum())

    @property
    def time_saved(self) -> float:
        """Fraction of the best rate's time that the best trade-off saves."""
        return 1 - float(self.trade_off["seconds_median"] / self.best["seconds_median"])

    @property
    def is_knee_in_range(self) -> bool | None:
        """None if there is no knee."""
        return None if self.knee_lr is None else self.low <= self.knee_lr <= self.high


def find_best(runs: pd.DataFrame, num_missing: int = 0, delta: float | None = None) -> Best | None:
    """The answers for the `runs` of one arm; None if no rate was scored on every seed.

    `delta` is one standard error of the best rate's mean by default.
    """
    plateau = find_plateau(runs, int(runs["data.num_valid"].iloc[0]), num_missing)
    if plateau is None:
        return None
    summary = summarise(runs[runs["seed"].isin(plateau.seeds)])
    rows = summary[summary["lr"].between(plateau.low, plateau.high) & summary["valid_mean"].notna()]
    if delta is None:
        delta = plateau.standard_error
    front = summary[pareto_front(summary)].sort_values("seconds_median")
    return Best(
        arm=str(runs["arm"].iloc[0]),
        plateau=plateau,
        best=summary[summary["lr"] == plateau.best_lr].iloc[0],
        rows=rows,
        delta=delta,
        trade_off=rows.iloc[find_best_trade_off(rows, delta)],
        front=front,
        knee_lr=find_knee(front),
    )
