"""The documents' explanations (003, section 5-3), checked against the recorded curves."""

import math
from dataclasses import dataclass

import pandas as pd

from lrsweep.analysis.best_rate import Best

VERY_SMALL = 1e-5  # "below 1e-5 nothing is learned at all"
SMALL = 1e-4  # "from 1e-5 to 1e-4 training is very long and ends below the optimum"


@dataclass(frozen=True)
class VerySmall:
    """Runs below VERY_SMALL. The document: nothing is learned, because validation does not improve for 5 epochs."""

    num_runs: int
    num_learned: int  # above chance on the validation set, see summary.with_chance
    learned_from: float | None  # the smallest rate with a run that learned
    num_out_of_patience: int  # stopped early, and the curve confirms it
    num_stopped_at_once: int  # of those: never improved on the first epoch, which is the document's explanation
    highest_test_accuracy: float


@dataclass(frozen=True)
class Small:
    """Runs from VERY_SMALL to SMALL. The document says: they take long, end lower, and are stopped while still improving slowly.

    The reference are the good rates, or the best rate if none is good.
    """

    num_runs: int
    epochs_ratio: float  # median epochs divided by those of the reference; NaN if these diverged in their first epoch
    test_shortfall: float  # mean test accuracy of the reference minus theirs
    num_out_of_patience: int  # stopped early, and the curve confirms it
    num_still_improving: int  # of those: the validation loss reached a new minimum after the best epoch


def check_patience(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Check early stopping against the curves, independently of the engine. One row per run with the stop reason "patience".

    - run_id
    - confirmed: exactly `patience` epochs follow the first epoch with the highest validation accuracy
    - at_once: that epoch is the first
    - still_improving: the lowest validation loss comes after that epoch
    """
    patience = runs[runs["stop_reason"] == "patience"].set_index("run_id")["training.patience"]
    stopped = curves[curves["run_id"].isin(patience.index)].sort_values(["run_id", "epoch"], ignore_index=True)
    by_run = stopped.groupby("run_id")
    epoch = by_run.cumcount() + 1
    best_epoch = epoch[by_run["valid_accuracy"].idxmax()].to_numpy()  # idxmax takes the first of equal values
    lowest_loss_epoch = epoch[by_run["valid_loss"].idxmin()].to_numpy()
    num_epochs = by_run.size()
    return pd.DataFrame(
        {
            "run_id": num_epochs.index,
            "confirmed": num_epochs.to_numpy() - best_epoch == patience[num_epochs.index].to_numpy(),
            "at_once": best_epoch == 1,
            "still_improving": lowest_loss_epoch > best_epoch,
        }
    )


def explain_very_small(runs: pd.DataFrame, patience: pd.DataFrame) -> VerySmall | None:
    """`runs` of one arm, `patience` from `check_patience`. None if no run below VERY_SMALL was measured."""
    very_small = runs[(runs["lr"] < VERY_SMALL) & (runs["status"] != "failed")]
    if very_small.empty:
        return None
    stopped = patience[patience["run_id"].isin(very_small["run_id"]) & patience["confirmed"]]
    learned = very_small[very_small["learned"]]
    return VerySmall(
        num_runs=len(very_small),
        num_learned=len(learned),
        learned_from=float(learned["lr"].min()) if len(learned) else None,
        num_out_of_patience=len(stopped),
        num_stopped_at_once=int(stopped["at_once"].sum()),
        highest_test_accuracy=float(very_small["test_accuracy"].max()),
    )


def explain_small(runs: pd.DataFrame, patience: pd.DataFrame, best: Best) -> Small | None:
    """`runs` of the arm of `best`. None if no run from VERY_SMALL to SMALL was measured, or the reference lies there itself."""
    measured = runs[runs["status"] != "failed"]
    small = measured[measured["lr"].between(VERY_SMALL, SMALL)]
    rates = set(best.good["lr"]) or {best.best["lr"]}
    reference = measured[measured["lr"].isin(rates)]
    if small.empty or min(rates) <= SMALL:
        return None
    stopped = patience[patience["run_id"].isin(small["run_id"]) & patience["confirmed"]]
    return Small(
        num_runs=len(small),
        epochs_ratio=float(small["epochs"].median() / (reference["epochs"].median() or math.nan)),
        test_shortfall=float(reference["test_accuracy"].mean() - small["test_accuracy"].mean()),
        num_out_of_patience=len(stopped),
        num_still_improving=int(stopped["still_improving"].sum()),
    )
