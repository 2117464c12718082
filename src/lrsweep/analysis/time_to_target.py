"""How long until a target: the epochs and seconds in which a run first reaches a validation accuracy."""

import math

import numpy as np
import pandas as pd


def target_below(accuracy: float) -> float:
    """The highest whole percent that is at least one percentage point below `accuracy`; at least 1 %."""
    return max(1, math.floor(round(accuracy * 100, 6) - 1)) / 100


def time_to_target(runs: pd.DataFrame, curves: pd.DataFrame, target: float) -> pd.DataFrame:
    """One row a run that did not fail: run_id, lr, seed, reached, epochs_to_target, seconds_to_target.

    A run that ended before is censored: `reached` is False, and its times are those it was watched for; 0 where it diverged
    in its first epoch. Seconds are the run's own, shared out evenly over the epochs it was trained for, among them the one
    that it diverged in, which has no accuracy.
    """
    hits = curves[curves["valid_accuracy"] >= target].groupby("run_id")["epoch"].min()
    measured = runs[runs["status"] != "failed"]
    first = measured["run_id"].map(hits)
    watched = first.fillna(measured["epochs"])
    num_trained = measured["epochs"] + (measured["status"] == "diverged")
    return measured[["run_id", "lr", "seed"]].assign(
        reached=first.notna(), epochs_to_target=watched, seconds_to_target=measured["seconds"] * watched / num_trained
    )


def median_to_target(times: pd.DataFrame) -> pd.DataFrame:
    """One row a rate: num_runs, num_reached, and the median times; NaN where half of the runs or more are censored.

    A censored run counts as longer than any other; so the median is exact wherever it is given.
    """
    table = times.groupby("lr").agg(num_runs=("run_id", "size"), num_reached=("reached", "sum"))
    for name in ("epochs_to_target", "seconds_to_target"):
        median = times[name].where(times["reached"], np.inf).groupby(times["lr"]).median()
        table[name] = median.replace(np.inf, np.nan)
    return table.reset_index()
