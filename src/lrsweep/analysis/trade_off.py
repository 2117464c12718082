"""Accuracy against time: the Pareto front of the rates, its knee, and the fastest rate close to the best."""

import warnings

import numpy as np
import pandas as pd
from kneed import KneeLocator


def pareto_front(summary: pd.DataFrame) -> pd.Series:
    """Which rates are on the Pareto front of mean validation accuracy and median seconds.

    Only rates that learned on every seed count. One is on the front if no other is at least as accurate and at least as fast,
    and better in one of the two.
    """
    learned = (summary["num_bad"] == 0) & summary["valid_mean"].notna() & summary["seconds_median"].notna()
    accuracy = summary["valid_mean"].where(learned).to_numpy()
    seconds = summary["seconds_median"].where(learned).to_numpy()
    better_or_equal = (accuracy[:, None] >= accuracy) & (seconds[:, None] <= seconds)
    strictly_better = (accuracy[:, None] > accuracy) | (seconds[:, None] < seconds)
    is_dominated = pd.Series((better_or_equal & strictly_better).any(axis=0), index=summary.index)
    return learned & ~is_dominated


def find_knee(front: pd.DataFrame) -> float | None:
    """The learning rate at which the Pareto front turns from steep to flat (Kneedle); None if it has no knee.

    `front` are the summary's rows on the front.
    """
    points = front.sort_values("seconds_median")
    if len(points) < 3:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KneeLocator warns if there is no knee
        knee = KneeLocator(points["seconds_median"], points["valid_mean"], curve="concave", direction="increasing").knee
    return None if knee is None else float(points.loc[points["seconds_median"] == knee, "lr"].iloc[0])


def find_best_trade_off(rows: pd.DataFrame, delta: float) -> int:
    """Position in `rows` of the fastest rate within `delta` of the highest validation accuracy."""
    return int(np.nanargmin(rows["seconds_median"].where(is_near(rows, delta)).to_numpy()))


def is_near(rows: pd.DataFrame, delta: float) -> pd.Series:
    """Which of `rows` lie within `delta` of the highest validation accuracy."""
    return rows["valid_mean"].ge(rows["valid_mean"].max() - delta)
