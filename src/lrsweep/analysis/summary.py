"""One row a learning rate: what the runs of all seeds came to."""

import numpy as np
import pandas as pd
from scipy import stats

from lrsweep.storage import tables

BUSY_FROM = 1.1  # wall time over CPU time, in the quarter of the runs with the most
CHANCE_LEVEL = 0.01  # of a binomial test: a larger p-value means that luck would do as well
CONFIDENCE = 0.95  # of every interval


def with_chance(runs: pd.DataFrame, class_counts: pd.DataFrame) -> pd.DataFrame:
    """`runs` with `learned`: is the best validation accuracy more than the largest class and luck would give?

    A one-sided binomial test at CHANCE_LEVEL against always naming the split's largest class. Runs without a validation
    accuracy have not learned.
    """
    valid = (
        class_counts[class_counts["split"] == "valid"].set_index(tables.DRAWN_BY).drop(columns="split").astype(float)
    )  # no splits are no numbers
    num_images = valid.sum(axis="columns")
    share = valid.max(axis="columns") / num_images
    needed = pd.Series(stats.binom.isf(CHANCE_LEVEL, num_images, share) / num_images, index=valid.index, name="needed")
    return runs.assign(learned=(runs["valid_accuracy"] > runs.join(needed, on=tables.DRAWN_BY)["needed"]).to_numpy())


def with_arms(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with `arm`: what is compared at every learning rate. The loss, and each other setting that differs in the study.

    Runs of one arm differ in nothing but learning rate and seed, so that means over seeds mean something.
    """
    settings = [name for name in runs.columns if "." in name]
    varying = [name for name in settings if (runs[name] != runs[name].iloc[0]).any()]
    arms = runs["loss"].astype(str)
    for name in varying:
        arms = arms + f", {name}=" + runs[name].astype(str)
    return runs.assign(arm=arms)


def busyness(runs: pd.DataFrame) -> float:
    """Wall time over CPU time, reached by a quarter of the runs on a CPU; 1 on a machine with nothing else to do.

    Not the median, which would be 1 where all of some seeds were disturbed. NaN where no run was on a CPU: on a GPU the two
    say different things.
    """
    on_cpu = runs[runs["device"] == "cpu"]
    return float((on_cpu["wall_seconds"] / on_cpu["cpu_seconds"]).quantile(0.75))


def with_seconds(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with `seconds`, the time that rates are compared by, and `time`, which that is.

    "wall": wall time, as the documents ask. "cpu": the machine was busy with other work; wall time would compare neighbours of
    the moment, not learning rates, and the CPU time of the same runs takes its place. "calibrated": runs that were trained
    together, see records.py. "mixed": measured and calibrated ones, which a text must say.
    """
    timings = set(runs.loc[runs["status"] != "failed", "timing"])
    is_on_cpu = runs["device"].dropna().eq("cpu").all()
    if "calibrated" in timings:
        time = "mixed" if "measured" in timings else "calibrated"
    else:
        time = "cpu" if is_on_cpu and busyness(runs) > BUSY_FROM else "wall"
    return runs.assign(seconds=runs["cpu_seconds" if time == "cpu" else "wall_seconds"], time=time)


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an arm and learning rate, ascending: counts by status, means and spreads over seeds, median costs.

    Accuracies are of all runs that have one: a diverged run keeps what its best epoch gave. Standard deviations are of the
    sample; `valid_low` to `valid_high` is the mean's t interval, `test_…` likewise (NaN for one seed). `bad` is the share of
    measured runs that diverged or stayed at chance, `bad_low` to `bad_high` its Wilson interval.
    """
    measured = runs["status"] != "failed"  # a failed run has measured nothing, not 0 epochs
    is_bad = measured & ((runs["status"] == "diverged") | ~runs["learned"])
    told = runs.assign(epochs=runs["epochs"].where(measured), measured=measured, is_bad=is_bad)
    table = told.groupby(["arm", "lr"], sort=True).agg(
        num_runs=("run_id", "size"),
        valid_mean=("valid_accuracy", "mean"),
        valid_sd=("valid_accuracy", "std"),
        test_mean=("test_accuracy", "mean"),
        test_sd=("test_accuracy", "std"),
        epochs_median=("epochs", "median"),
        seconds_median=("seconds", "median"),
        wall_median=("wall_seconds", "median"),
        time=("time", "first"),
        num_scored=("valid_accuracy", "count"),
        num_learned=("learned", "sum"),
        num_measured=("measured", "sum"),
        num_bad=("is_bad", "sum"),
    )
    for status in ("ok", "diverged", "failed"):
        is_status = runs["status"] == status
        table[f"num_{status}"] = is_status.groupby([runs["arm"], runs["lr"]]).sum()
    for name in ("valid", "test"):
        half = half_interval(table[f"{name}_sd"], table["num_scored"])
        table[f"{name}_low"], table[f"{name}_high"] = table[f"{name}_mean"] - half, table[f"{name}_mean"] + half
    table["bad"] = table["num_bad"] / table["num_measured"]
    intervals = [share_interval(bad, of) for bad, of in zip(table["num_bad"], table["num_measured"], strict=True)]
    table["bad_low"], table["bad_high"] = np.array(intervals).reshape(-1, 2).T
    return table.reset_index()


def half_interval(sd: pd.Series, num: pd.Series) -> pd.Series:
    """Half a mean's interval, by Student's t: at few seeds a percentile bootstrap covers far less than it says."""
    return (sd / num**0.5).mul(stats.t.isf((1 - CONFIDENCE) / 2, num - 1))  # NaN where num is 1


def share_interval(num: int, of: int) -> tuple[float, float]:
    """Wilson's, which keeps its promise for none of few as well."""
    if not of:
        return np.nan, np.nan
    interval = stats.binomtest(int(num), int(of)).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
