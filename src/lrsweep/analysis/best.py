"""The two questions of the documents: which range is the most accurate, and which rate is the best bargain.

Rates are chosen on validation accuracy and reported on test accuracy: choosing on the test set would flatter the choice.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Best:
    """Answers for one arm. Accuracies are means over seeds; seconds and epochs medians."""

    arm: str
    num_seeds: int
    best: pd.Series  # the summary's row of the highest validation accuracy
    tolerance: float  # validation accuracy; rates within it of the best are tied with it
    low: float  # learning rates: the range of tied rates around the best, without a gap
    high: float
    plateau: pd.DataFrame  # the summary's rows of that range
    bargain: pd.Series  # the plateau's row of the least time

    @property
    def time_saved(self) -> float:
        """The share of the best rate's time that the bargain saves."""
        return 1 - float(self.bargain["seconds_median"] / self.best["seconds_median"])


def find_best(summary: pd.DataFrame, arm: str, num_valid: int, num_seeds: int) -> Best | None:
    """The answers, or None where no run has an accuracy.

    Two rates count as tied within one standard error of the best: what `num_seeds` validation sets of `num_valid` images can
    resolve (binomial), or the spread over seeds if that is larger.
    """
    rows = summary[summary["arm"] == arm].reset_index(drop=True)
    if rows["valid_mean"].isna().all():
        return None
    top = int(np.nanargmax(rows["valid_mean"].to_numpy()))  # the smaller rate of two equal ones
    best = rows.iloc[top]
    tolerance = _standard_error(best, num_valid, num_seeds)
    tied = (rows["valid_mean"] >= best["valid_mean"] - tolerance).tolist()  # never where there is no accuracy: a gap
    first = last = top
    while first > 0 and tied[first - 1]:
        first -= 1
    while last < len(rows) - 1 and tied[last + 1]:
        last += 1
    plateau = rows.iloc[first : last + 1]
    return Best(
        arm=arm,
        num_seeds=num_seeds,
        best=best,
        tolerance=tolerance,
        low=float(plateau["lr"].iloc[0]),
        high=float(plateau["lr"].iloc[-1]),
        plateau=plateau,
        bargain=plateau.iloc[int(plateau["seconds_median"].to_numpy().argmin())],
    )


def _standard_error(best: pd.Series, num_valid: int, num_seeds: int) -> float:
    accuracy = float(best["valid_mean"])
    binomial = math.sqrt(accuracy * (1 - accuracy) / (num_valid * num_seeds))
    spread = float(best["valid_sd"]) / math.sqrt(num_seeds) if num_seeds > 1 else 0.0
    return max(binomial, spread)
