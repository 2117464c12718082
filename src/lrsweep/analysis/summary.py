"""Summarise the runs of each arm and learning rate over the seeds."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from lrsweep.analysis.shortfall import MIN_SEEDS
from lrsweep.analysis.student import critical_t
from lrsweep.config import WITHOUT_EFFECT
from lrsweep.storage import tables

BUSY_FROM = 1.1  # wall time divided by CPU time: from here on, the machine was busy
CHANCE_LEVEL = 0.01  # significance level of the binomial test in `with_chance`
CONFIDENCE = 0.95  # of every interval


def chance(runs: pd.DataFrame) -> float:
    """The accuracy of guessing evenly among the classes, assumed for a run that diverged before it was scored."""
    return 1 / int(runs["data.num_classes"].max())


def with_chance(runs: pd.DataFrame, class_counts: pd.DataFrame) -> pd.DataFrame:
    """Add the column `learned`: is the validation accuracy of the scored epoch above chance?

    A one-sided binomial test against always predicting the largest class of the validation split. A run without a validation
    accuracy has not learned.
    """
    valid = class_counts[class_counts["split"] == "valid"].set_index(tables.DRAWN_BY).drop(columns="split")
    valid = valid.astype(float)  # an empty table has no numeric type
    num_images = valid.sum(axis="columns")
    largest_share = valid.max(axis="columns") / num_images
    needed = (np.ceil(special.bdtrik(1 - CHANCE_LEVEL, num_images, largest_share)) / num_images).rename("needed")
    return runs.assign(learned=(runs["valid_accuracy"] > runs.join(needed, on=tables.DRAWN_BY)["needed"]).to_numpy())


def with_arms(runs: pd.DataFrame) -> pd.DataFrame:
    """Add the column `arm`: the loss, and every other setting that varies in the study.

    Runs of one arm differ only in learning rate and seed, so they can be averaged over seeds. The names of arms have short
    paths.
    """
    settings = [name for name in runs.columns if "." in name and name not in WITHOUT_EFFECT]
    varying = [name for name in settings if (runs[name] != runs[name].iloc[0]).any()]
    arms, shown = runs["loss"].astype(str), tables.with_short_paths(runs[varying])
    for name in varying:
        arms = arms + f", {name}=" + shown[name].astype(str)
    return runs.assign(arm=arms)


def with_seconds(runs: pd.DataFrame) -> pd.DataFrame:
    """Add the column `seconds`: the wall time of runs that had the machine to themselves, NaN for the others.

    On a CPU, wall time far above CPU time means that other programs used the machine too. With several threads, CPU time
    cannot show this. Runs that were trained together, or that shared a GPU, have no wall time of their own.
    """
    was_alone = np.where(
        runs["device"] == "cpu",
        ~(pd.to_numeric(runs["threads"]) > 1) & (runs["wall_seconds"] <= BUSY_FROM * runs["cpu_seconds"]),
        ~(pd.to_numeric(runs["workers"]) > 1),
    )
    return runs.assign(seconds=runs["wall_seconds"].where(was_alone & (runs["timing"] == "measured")))


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and learning rate, ascending. A diverged run counts with its score, if it has one: see records.Outcome.

    - arm, lr, num_runs, num_ok, num_diverged, num_failed
    - num_scored, num_learned, num_measured: runs with a validation accuracy, above chance, and not failed
    - valid_mean, valid_sd, valid_low, valid_high: validation accuracy, its sample standard deviation and the confidence interval
      of the mean (NaN with fewer than MIN_SEEDS seeds)
    - test_mean, test_sd, test_low, test_high: the same for test accuracy
    - epochs_mean, epochs_low, epochs_high
    - num_timed: runs with a time, see `with_seconds`
    - seconds_mean, seconds_low, seconds_high: as if the timed runs had as many epochs as all runs on average
    """
    is_measured = runs["status"] != "failed"
    # A failed run has 0 epochs, which is not a measurement.
    epochs = runs["epochs"].where(is_measured)
    runs = runs.assign(epochs=epochs, timed_epochs=epochs.where(runs["seconds"].notna()), measured=is_measured)
    table = runs.groupby(["arm", "lr"], sort=True).agg(
        num_runs=("run_id", "size"),
        valid_mean=("valid_accuracy", "mean"),
        valid_sd=("valid_accuracy", "std"),
        test_mean=("test_accuracy", "mean"),
        test_sd=("test_accuracy", "std"),
        epochs_mean=("epochs", "mean"),
        epochs_sd=("epochs", "std"),
        seconds_mean=("seconds", "mean"),
        seconds_sd=("seconds", "std"),
        timed_epochs=("timed_epochs", "mean"),
        num_timed=("seconds", "count"),
        num_scored=("valid_accuracy", "count"),
        num_learned=("learned", "sum"),
        num_measured=("measured", "sum"),
    )
    for status in ("ok", "diverged", "failed"):
        is_status = runs["status"] == status
        table[f"num_{status}"] = is_status.groupby([runs["arm"], runs["lr"]]).sum()
    for name, num in {"valid": "num_scored", "test": "num_scored", "epochs": "num_measured", "seconds": "num_timed"}.items():
        half = half_interval(table[f"{name}_sd"], table[num])
        table[f"{name}_low"] = (table[f"{name}_mean"] - half).clip(lower=0)
        table[f"{name}_high"] = table[f"{name}_mean"] + half
    seconds = ["seconds_mean", "seconds_low", "seconds_high"]
    scale = (table["epochs_mean"] / table["timed_epochs"]).where(table["timed_epochs"] > 0, 1.0)
    table[seconds] = table[seconds].mul(scale, axis="index")
    return table.drop(columns="timed_epochs").reset_index()


def kept_learning(runs: pd.DataFrame) -> pd.Series:
    """Which runs learned and did not diverge later. With early stopping, a run that diverged may still have a score."""
    return runs["learned"] & (runs["status"] != "diverged")


def half_interval(sd: Any, num: Any, level: float = 1 - CONFIDENCE) -> Any:
    """Half the interval of a mean at 1 - `level`, by Student's t, for numbers or columns. NaN with fewer than MIN_SEEDS values.

    With few seeds, a percentile bootstrap covers far too little.
    """
    num = np.asarray(num, dtype=float)
    half = np.where(num < MIN_SEEDS, np.nan, critical_t(level, num - 1) * sd / np.sqrt(num))
    return half if half.ndim else float(half)
