"""The documents' explanations (003, section 5-3), each held against the recorded curves."""

from dataclasses import dataclass

import pandas as pd

from lrsweep.analysis.best_rate import Best

VERY_SMALL = 1e-5  # "below 1e-5 nothing is learned at all"
SMALL = 1e-4  # "from 1e-5 to 1e-4 training is very long and ends below the optimum"


@dataclass(frozen=True)
class VerySmall:
    """Runs below VERY_SMALL: the document says that nothing is learned, because validation sets no record for 5 epochs."""

    num_runs: int
    num_learned: int  # above chance on the validation set, see summary.with_chance
    learned_from: float | None  # the smallest rate with a run that learned
    num_out_of_patience: int  # ended because validation set no record, as the curve itself shows
    num_stopped_at_once: int  # ... and never improved on the first epoch, as the document explains it
    highest_test_accuracy: float


@dataclass(frozen=True)
class Small:
    """Runs from VERY_SMALL to SMALL: the document says long, lower, and stopped while still (slowly) improving."""

    num_runs: int
    time_ratio: float  # median seconds, over the plateau's
    epochs_ratio: float
    test_shortfall: float  # the plateau's mean test accuracy, less theirs
    num_out_of_patience: int
    num_still_improving: int  # ... of them: the validation loss set a record in the epochs that patience ran out in


def check_patience(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """One row a run that stopped by patience: does its curve say the same, by another way than the engine's?

    `confirmed`: no epoch after the best one reaches a higher validation accuracy, exactly `patience` epochs follow it, and it
    is the first of its value. `at_once`: the best epoch is the first. `still_improving`: the lowest validation loss lies in
    those last epochs.
    """
    patience = runs[runs["stop_reason"] == "patience"].set_index("run_id")["training.patience"]
    of_these = curves[curves["run_id"].isin(patience.index)].sort_values(["run_id", "epoch"], ignore_index=True)
    by_run = of_these.groupby("run_id")
    epoch = by_run.cumcount() + 1
    best_epoch = epoch[by_run["valid_accuracy"].idxmax()].to_numpy()  # the first of equal ones
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
    """`runs` of one arm; None where it has no run below VERY_SMALL that did not fail."""
    few = runs[(runs["lr"] < VERY_SMALL) & (runs["status"] != "failed")]
    if few.empty:
        return None
    stopped = patience[patience["run_id"].isin(few["run_id"]) & patience["confirmed"]]
    learned = few[few["learned"]]
    return VerySmall(
        num_runs=len(few),
        num_learned=len(learned),
        learned_from=float(learned["lr"].min()) if len(learned) else None,
        num_out_of_patience=len(stopped),
        num_stopped_at_once=int(stopped["at_once"].sum()),
        highest_test_accuracy=float(few["test_accuracy"].max()),
    )


def explain_small(runs: pd.DataFrame, patience: pd.DataFrame, best: Best) -> Small | None:
    """`runs` of the arm that `best` is of; None where all from VERY_SMALL to SMALL, below the plateau, failed."""
    measured = runs[runs["status"] != "failed"]
    slow = measured[measured["lr"].between(VERY_SMALL, SMALL) & (measured["lr"] < best.low)]
    plateau = measured[measured["lr"].between(best.low, best.high)]
    if slow.empty:
        return None
    stopped = patience[patience["run_id"].isin(slow["run_id"]) & patience["confirmed"]]
    return Small(
        num_runs=len(slow),
        time_ratio=float(slow["seconds"].median() / plateau["seconds"].median()),
        epochs_ratio=float(slow["epochs"].median() / plateau["epochs"].median()),
        test_shortfall=float(plateau["test_accuracy"].mean() - slow["test_accuracy"].mean()),
        num_out_of_patience=len(stopped),
        num_still_improving=int(stopped["still_improving"].sum()),
    )
