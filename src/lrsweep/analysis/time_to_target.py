"""How many epochs runs need to reach a target validation accuracy."""

import math

import numpy as np
import pandas as pd


def target_below(accuracy: float) -> float:
    """The highest whole percent that is at least one percentage point below `accuracy`, but no less than 1 %."""
    return max(1, math.floor(round(accuracy * 100, 6) - 1)) / 100


def time_to_target(runs: pd.DataFrame, curves: pd.DataFrame, target: float) -> pd.DataFrame:
    """One row per run that did not fail: run_id, lr, seed, reached, epochs_to_target.

    A run that never reached the target is censored: `reached` is False, and epochs_to_target is the number of epochs that it
    completed.
    """
    hits = curves[curves["valid_accuracy"] >= target].groupby("run_id")["epoch"].min()
    measured = runs[runs["status"] != "failed"]
    first = measured["run_id"].map(hits)
    return measured[["run_id", "lr", "seed"]].assign(reached=first.notna(), epochs_to_target=first.fillna(measured["epochs"]))


def median_to_target(times: pd.DataFrame) -> pd.DataFrame:
    """One row per rate: lr, num_runs, num_reached, and the median of epochs_to_target.

    A censored run counts as longer than all others, so the median is NaN if half of the runs or more are censored.
    """
    table = times.groupby("lr").agg(num_runs=("run_id", "size"), num_reached=("reached", "sum"))
    median = times["epochs_to_target"].astype(float).where(times["reached"], np.inf).groupby(times["lr"]).median()
    return table.assign(epochs_to_target=median.replace(np.inf, np.nan)).reset_index()
