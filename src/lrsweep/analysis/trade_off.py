"""Accuracy against time: the front of rates that no other beats in both, its knee, and the bargain near the best."""

import warnings

import numpy as np
import pandas as pd
from kneed import KneeLocator


def pareto_front(summary: pd.DataFrame) -> pd.Series:
    """True where a rate learned on every seed and no other such is as accurate and as fast, and better in one.

    By mean validation accuracy and median seconds: the front is there to choose from, and the test set is not.
    """
    learned = (summary["num_bad"] == 0) & summary["valid_mean"].notna() & summary["seconds_median"].notna()
    accuracy = summary["valid_mean"].where(learned).to_numpy()
    seconds = summary["seconds_median"].where(learned).to_numpy()
    better_or_equal = (accuracy[:, None] >= accuracy) & (seconds[:, None] <= seconds)
    strictly = (accuracy[:, None] > accuracy) | (seconds[:, None] < seconds)
    is_beaten = pd.Series((better_or_equal & strictly).any(axis=0), index=summary.index)
    return learned & ~is_beaten


def find_knee(front: pd.DataFrame) -> float | None:
    """The learning rate at which the front turns from steep to flat (Kneedle); None where it has no knee.

    `front`: the summary's rows on the Pareto front.
    """
    points = front.sort_values("seconds_median")
    if len(points) < 3:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it finds no knee, which is an answer
        knee = KneeLocator(points["seconds_median"], points["valid_mean"], curve="concave", direction="increasing").knee
    return None if knee is None else float(points.loc[points["seconds_median"] == knee, "lr"].iloc[0])


def find_best_trade_off(rows: pd.DataFrame, delta: float) -> int:
    """Which of `rows` takes the least time of those within `delta` of the highest validation accuracy: its position."""
    return int(np.nanargmin(rows["seconds_median"].where(is_near(rows, delta)).to_numpy()))


def is_near(rows: pd.DataFrame, delta: float) -> pd.Series:
    """Which of `rows` lie within `delta` of the highest validation accuracy."""
    return rows["valid_mean"].ge(rows["valid_mean"].max() - delta)
