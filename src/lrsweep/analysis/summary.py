"""One row a learning rate: what the runs of all seeds came to."""

import numpy as np
import pandas as pd
from scipy import stats

BUSY_FROM = 1.1  # wall time over CPU time of the median run
CHANCE_LEVEL = 0.01  # of a binomial test: a larger p-value means that luck would do as well


def with_chance(runs: pd.DataFrame, class_counts: pd.DataFrame) -> pd.DataFrame:
    """`runs` with `learned`: is the best validation accuracy more than the largest class and luck would give?

    A one-sided binomial test at CHANCE_LEVEL against always naming the split's largest class. Runs without a validation
    accuracy have not learned.
    """
    valid = class_counts[class_counts["split"] == "valid"].set_index("seed").drop(columns="split")
    num_images = valid.sum(axis="columns")
    share = valid.max(axis="columns") / num_images
    needed = {seed: stats.binom.isf(CHANCE_LEVEL, num_images[seed], share[seed]) / num_images[seed] for seed in valid.index}
    return runs.assign(learned=runs["valid_accuracy"] > runs["seed"].map(needed))


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
    """Wall time over CPU time of the median run; 1 on a machine with nothing else to do. NaN where no run was on a CPU.

    On a GPU the two say different things.
    """
    on_cpu = runs[runs["device"] == "cpu"]
    return float((on_cpu["wall_seconds"] / on_cpu["cpu_seconds"]).median())


def with_seconds(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with `seconds`, the time that rates are compared by, and `time`, which that is: "wall" or "cpu".

    Wall time, as the documents ask, unless the machine was busy with other work: then it would compare neighbours of the
    moment, not learning rates, and the CPU time of the same runs takes its place.
    """
    is_on_cpu = runs["device"].dropna().eq("cpu").all()
    time = "cpu" if is_on_cpu and busyness(runs) > BUSY_FROM else "wall"
    return runs.assign(seconds=runs[f"{time}_seconds"], time=time)


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an arm and learning rate, ascending: counts by status, means and spreads over seeds, median costs.

    Accuracies are of all runs that have one: a diverged run keeps what its best epoch gave. Standard deviations are of the
    sample (NaN for one seed).
    """
    epochs = runs["epochs"].where(runs["status"] != "failed")  # a failed run has measured nothing, not 0 epochs
    groups = runs.assign(epochs=epochs).groupby(["arm", "lr"], sort=True)
    table = groups.agg(
        num_runs=("run_id", "size"),
        valid_mean=("valid_accuracy", "mean"),
        valid_sd=("valid_accuracy", "std"),
        test_mean=("test_accuracy", "mean"),
        test_sd=("test_accuracy", "std"),
        epochs_median=("epochs", "median"),
        seconds_median=("seconds", "median"),
        time=("time", "first"),
        num_scored=("valid_accuracy", "count"),
        num_learned=("learned", "sum"),
    )
    for status in ("ok", "diverged", "failed"):
        is_status = runs["status"] == status
        table[f"num_{status}"] = is_status.groupby([runs["arm"], runs["lr"]]).sum()
    return table.reset_index()


def fewest_seeds(summary: pd.DataFrame, arm: str) -> int:
    """How many seeds every rate of an arm that has an accuracy was scored on: what a conclusion may claim. 0: none."""
    scored = summary.loc[(summary["arm"] == arm) & (summary["num_scored"] > 0), "num_scored"]
    return int(scored.min()) if len(scored) else 0


def pareto_front(summary: pd.DataFrame) -> pd.Series:
    """True where no other rate is both at least as accurate (mean test accuracy) and at least as fast, and better in one."""
    accuracy, seconds = summary["test_mean"].to_numpy(), summary["seconds_median"].to_numpy()
    better_or_equal = (accuracy[:, None] >= accuracy) & (seconds[:, None] <= seconds)
    strictly = (accuracy[:, None] > accuracy) | (seconds[:, None] < seconds)
    known = np.isfinite(accuracy) & np.isfinite(seconds)
    return pd.Series(known & ~(better_or_equal & strictly).any(axis=0), index=summary.index)
