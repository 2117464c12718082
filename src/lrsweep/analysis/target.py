"""How long until a target: the epochs and seconds in which a run first reaches a validation accuracy."""

import math

import numpy as np
import pandas as pd


def target_below(accuracy: float) -> float:
    """The highest whole percent that is at least one percentage point below `accuracy`; at least 1 %."""
    return max(1, math.floor(round(accuracy * 100, 6) - 1)) / 100


def time_to_target(runs: pd.DataFrame, curves: pd.DataFrame, target: float) -> pd.DataFrame:
    """One row a run that has a curve: run_id, lr, seed, reached, epochs_to_target, seconds_to_target.

    A run that ended before is censored: `reached` is False, and its times are those it was watched for. Seconds are the run's
    own, shared out evenly over its epochs.
    """
    hits = curves[curves["valid_accuracy"] >= target].groupby("run_id")["epoch"].min()
    table = runs.loc[runs["epochs"] > 0, ["run_id", "lr", "seed", "epochs", "seconds"]]
    first = table["run_id"].map(hits)
    return table.assign(
        reached=first.notna(),
        epochs_to_target=first.fillna(table["epochs"]),
        seconds_to_target=table["seconds"] * first.fillna(table["epochs"]) / table["epochs"],
    ).drop(columns=["epochs", "seconds"])


def median_to_target(times: pd.DataFrame) -> pd.DataFrame:
    """One row a rate: num_runs, num_reached, and the median times; NaN where half of the runs or more are censored.

    A censored run counts as longer than any other; so the median is exact wherever it is given.
    """
    table = times.groupby("lr").agg(num_runs=("run_id", "size"), num_reached=("reached", "sum"))
    for name in ("epochs_to_target", "seconds_to_target"):
        median = times[name].where(times["reached"], np.inf).groupby(times["lr"]).median()
        table[name] = median.replace(np.inf, np.nan)
    return table.reset_index()
