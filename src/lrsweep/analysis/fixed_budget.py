"""Early stopping gives each learning rate a different number of epochs. What would a fixed long budget have given?

Uses runs of the same grid without early stopping. Cutting their curves where a patience would have stopped them gives the runs
with that patience, because early stopping changes nothing else.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lrsweep.analysis.best_rate import Best, find_best

PATIENCES = (5, 10, 20, 40)


@dataclass(frozen=True)
class Sensitivity:
    """`rows` has one row per rate; all columns but lr and num_runs are means over the runs:

    - lr, num_runs
    - full: best validation accuracy within the whole budget
    - valid_p, epochs_p, cut_p, for each patience p: best validation accuracy, epochs trained, and share of runs stopped early
    """

    rows: pd.DataFrame
    epochs: int  # the budget
    best: Best  # the answers with the whole budget


def stopped_at(valid_accuracy: np.ndarray[tuple[int], np.dtype[np.float64]], patience: int) -> int:
    """How many epochs of a curve early stopping would have trained; all of them if it would not have stopped."""
    is_improvement = np.fmax.accumulate(np.concatenate([[-np.inf], valid_accuracy[:-1]])) < valid_accuracy
    epochs = np.arange(1, len(valid_accuracy) + 1)
    last_improvement = np.maximum.accumulate(np.where(is_improvement, epochs, 0))
    stops = np.flatnonzero(epochs - last_improvement >= patience)
    return int(stops[0]) + 1 if len(stops) else len(valid_accuracy)


def analyse_budget(runs: pd.DataFrame, curves: pd.DataFrame, delta: float | None = None) -> Sensitivity | None:
    """`runs` of one arm. None unless all runs that did not diverge used up the same budget and validated every epoch."""
    best = find_best(runs, delta=delta)
    whole = runs[runs["stop_reason"] == "max_epochs"]
    others_diverged = (runs.loc[runs["stop_reason"] != "max_epochs", "status"] == "diverged").all()
    if best is None or not others_diverged or len(budgets := set(whole["epochs"])) != 1:
        return None
    whole_curves = curves[curves["run_id"].isin(whole["run_id"])]
    if whole_curves["valid_accuracy"].isna().any():
        return None
    by_rate = _replay(whole_curves).groupby("lr")
    return Sensitivity(by_rate.mean().assign(num_runs=by_rate.size()).reset_index(), int(budgets.pop()), best)


def _replay(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per run, with the columns of `Sensitivity.rows`."""
    rows = []
    for _, curve in curves.sort_values("epoch").groupby("run_id"):
        valid = curve["valid_accuracy"].to_numpy()
        row = {"lr": curve["lr"].iloc[0], "full": valid.max()}
        for patience in PATIENCES:
            epochs = stopped_at(valid, patience)
            row |= {f"valid_{patience}": valid[:epochs].max(), f"epochs_{patience}": epochs}
            row[f"cut_{patience}"] = epochs < len(valid)
        rows.append(row)
    return pd.DataFrame(rows).astype(float)
