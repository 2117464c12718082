"""The metrics that claims compare, and the value of each for every run."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from lrsweep.analysis.acting import schedule_of
from lrsweep.analysis.fixed_budget import stopped_at
from lrsweep.analysis.phrases import Phrase
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.summary import chance
from lrsweep.training.schedules import batch_size_at

EARLY = 5  # epochs, for `highest_loss`
PATIENCES = {"lost_to_patience": 5, "lost_to_patience_10": 10, "lost_to_patience_20": 20}  # 5 is the documents' value
OVER_RATES = ("optimum", "upper_edge", "usable_decades", "loss_nearby")  # metrics that need several rates of an arm

METRICS = {  # metric → unit
    "test_accuracy": "accuracy",  # of the epoch that training.score names
    "best_test_accuracy": "accuracy",  # of the epoch with the highest validation accuracy
    "valid_accuracy": "accuracy",
    "deviation": "accuracy",  # distance of a run's test accuracy from the mean over the seeds
    "imbalance": "accuracy",  # test accuracy minus balanced test accuracy, the mean over the classes
    "gap": "accuracy",  # training accuracy at the scored epoch minus test accuracy
    "loss_nearby": "accuracy",  # test accuracy at the arm's best rate minus its mean within WINDOW of that rate
    **dict.fromkeys(PATIENCES, "accuracy"),  # best validation accuracy of the curve minus the best before that patience ends
    "learned": "accuracy",  # 1 if validation accuracy is above chance, else 0; differences are percentage points, too
    "train_loss": "nats",  # in the last epoch
    "highest_loss": "nats",  # of a single step, in the first EARLY epochs
    "late_fall": "share",  # how much of the fall of log(training loss) came in the second half of the epochs
    "epochs": "factor",  # log10
    "epochs_to_target": "factor",  # log10
    "epochs_to_equal": "factor",  # log10; the target is the reference's own accuracy, not a point below
    "updates": "factor",  # log10 of the number of optimizer steps
    "seconds": "factor",  # log10
    "seconds_per_epoch": "factor",  # log10
    "peak_memory": "factor",  # log10 of the GB that the run's process used, PyTorch included
    "optimum": "decades",  # log10 of each seed's best rate, see optima
    "upper_edge": "decades",  # log10 of the rate above which a seed fails to learn
    "usable_decades": "decades",  # width of the range of rates within one percentage point of the arm's best
}


def value_per_run(study: Study, metric: str, target: Callable[[], float]) -> pd.Series:
    """A metric of every measured run, except those in OVER_RATES. `target` is the accuracy to reach, for `epochs_to_…`."""
    runs = study.measured
    guessing = chance(study.runs)
    match metric:
        case "valid_accuracy":
            return runs["valid_accuracy"].fillna(guessing)
        case "best_test_accuracy":
            return _recorded(runs, metric).mask(runs["valid_accuracy"].isna(), guessing)
        case "imbalance":
            return runs["test_accuracy"] - _recorded(runs, "balanced_test_accuracy")
        case "gap":
            return _at_scored_epoch(study, "train_accuracy") - runs["test_accuracy"]
        case "learned":
            return runs["learned"].astype(float)
        case "train_loss":
            return _per_curve(study, "train_loss", lambda loss: loss.iloc[-1])
        case "highest_loss":
            _recorded(study.curves, metric)
            return _per_curve(study, "highest_loss", lambda loss: loss.iloc[:EARLY].max())
        case "late_fall":
            return _per_curve(study, "train_loss", _late_fall)
        case "lost_to_patience" | "lost_to_patience_10" | "lost_to_patience_20":
            return _per_curve(study, "valid_accuracy", lambda curve: _lost_to_patience(curve, PATIENCES[metric]))
        case "seconds" | "epochs":
            return _log10(runs[metric])
        case "epochs_to_target" | "epochs_to_equal":
            goal, curves_of_run = target(), dict(list(study.curves.sort_values("epoch").groupby("run_id")))
            epochs = [_epochs_to(goal, curves_of_run.get(run_id), guessing) for run_id in runs["run_id"]]
            return _log10(pd.Series(epochs, index=runs.index))
        case "updates":
            return _log10(pd.Series([_num_updates(run) for _, run in runs.iterrows()], index=runs.index, dtype=float))
        case "seconds_per_epoch":
            return _log10(runs["seconds"] / runs["epochs"])
        case "peak_memory":
            return _log10(runs["peak_memory_bytes"] / 1e9)
        case _:
            return runs["test_accuracy"].fillna(guessing)


def target_below(accuracy: float) -> float:
    """The highest whole percent that is at least one percentage point below `accuracy`, but no less than 1%."""
    return max(1, math.floor(round(accuracy * 100, 6) - 1)) / 100


def _recorded(table: pd.DataFrame, metric: str) -> pd.Series:
    """The metric's column. The oldest records lack it."""
    if metric not in table or table[metric].isna().all():
        raise NoSuchRuns(Phrase("{metric} is not in these records", metric=metric))
    return table[metric]


def _at_scored_epoch(study: Study, name: str) -> pd.Series:
    runs, curves = study.measured, study.curves
    epoch = runs["best_epoch"].mask(runs["training.score"] == "last", runs["epochs"])
    by_run = curves.assign(scored=curves["run_id"].map(epoch.set_axis(runs["run_id"])))
    return runs["run_id"].map(by_run[by_run["epoch"] == by_run["scored"]].set_index("run_id")[name])


def _per_curve(study: Study, name: str, reduce: Callable[[pd.Series], float]) -> pd.Series:
    by_run = study.curves.sort_values("epoch").groupby("run_id")[name]
    return study.measured["run_id"].map(by_run.apply(reduce))


def _log10(values: pd.Series) -> pd.Series:
    """NaN for a run that diverged before its first epoch ended."""
    positive = values.astype(float).where((values > 0) & np.isfinite(values))
    return pd.Series(np.log10(positive.to_numpy(dtype=float)), index=values.index)


def _lost_to_patience(valid_accuracy: pd.Series, patience: int) -> float:
    curve = valid_accuracy.to_numpy(dtype=float)
    if np.isnan(curve).all():  # diverged before the first validation
        return math.nan
    return float(np.nanmax(curve) - np.nanmax(curve[: stopped_at(curve, patience)]))


def _late_fall(train_loss: pd.Series) -> float:
    """About ½ if the logarithm of the loss falls steadily, 0 if it stopped falling halfway or never fell."""
    loss = train_loss.iloc[[0, len(train_loss) // 2, -1]].clip(lower=1e-12)  # it may be 0
    first, middle, last = np.log(loss.to_numpy(dtype=float))
    return float((middle - last) / (first - last)) if first > last else 0.0


def _epochs_to(target: float, curve: pd.DataFrame | None, start: float) -> float:
    """The epoch at which the validation accuracy, which begins at `start`, first reaches the target; linear between epochs.

    A run that never reached the target gets its number of epochs plus one.
    """
    if curve is None:
        return 1.0
    scored = curve.dropna(subset="valid_accuracy")
    epochs = np.concatenate([[0.0], scored["epoch"].to_numpy(dtype=float)])
    accuracy = np.concatenate([[start], scored["valid_accuracy"].to_numpy(dtype=float)])
    reached = np.flatnonzero(accuracy[1:] >= target)
    if not len(reached):
        return float(curve["epoch"].iloc[-1]) + 1
    (start, end), (before, after) = epochs[reached[0] :][:2], accuracy[reached[0] :][:2]
    share = (target - before) / (after - before) if before < target else 0.0  # a target may lie below chance
    return float(start + max(share, 0.01) * (end - start))


def _num_updates(run: pd.Series) -> int:
    schedule, batch_size = schedule_of(run), int(run["training.batch_size"])
    sizes = [batch_size_at(schedule, batch_size, epoch) for epoch in range(int(run["epochs"]))]
    return sum(math.ceil(run["data.num_train"] / size) for size in sizes)
