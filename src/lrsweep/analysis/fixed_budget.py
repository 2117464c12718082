"""Early stopping gives each learning rate its own budget. What would a fixed long one, or another patience, have given?

Asked of a study on the same grid that no patience ended: its curves are replayed, since a patience only says where to cut them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lrsweep.analysis.best_rate import Best, find_best

PATIENCES = (5, 10, 20, 40)


@dataclass(frozen=True)
class Sensitivity:
    """`rows`: a row a rate: num_runs, full (mean of the best validation accuracy within the whole budget), test_full, and
    for each patience p: `valid_p`, `epochs_p` (means of what it would have given) and `cut_p` (the share of runs it ends early).
    """

    rows: pd.DataFrame
    epochs: int  # the budget
    num_seeds: int
    best: Best  # the answer with the whole budget


def stopped_at(valid_accuracy: np.ndarray[tuple[int], np.dtype[np.float64]], patience: int) -> int:
    """How many epochs of a curve early stopping would have trained; all of them where patience never runs out."""
    records = np.fmax.accumulate(np.concatenate([[-np.inf], valid_accuracy[:-1]])) < valid_accuracy
    epochs = np.arange(1, len(valid_accuracy) + 1)
    last_record = np.maximum.accumulate(np.where(records, epochs, 0))
    over = np.flatnonzero(epochs - last_record >= patience)
    return int(over[0]) + 1 if len(over) else len(valid_accuracy)


def analyse_budget(runs: pd.DataFrame, curves: pd.DataFrame) -> Sensitivity | None:
    """`runs` of one arm. None where not all had one and the same budget, but for runs that diverged."""
    best = find_best(runs)
    whole = runs[runs["stop_reason"] == "max_epochs"]
    others_diverged = (runs.loc[runs["stop_reason"] != "max_epochs", "status"] == "diverged").all()
    if best is None or not others_diverged or len(budgets := set(whole["epochs"])) != 1:
        return None
    replayed = _replay(curves[curves["run_id"].isin(whole["run_id"])])
    by_rate = replayed.groupby("lr")
    table = by_rate.mean().assign(num_runs=by_rate.size(), test_full=whole.groupby("lr")["test_accuracy"].mean())
    return Sensitivity(table.reset_index(), int(budgets.pop()), best.num_seeds, best)


def _replay(curves: pd.DataFrame) -> pd.DataFrame:
    """One row a run: what the whole budget gave, and what each patience would have."""
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
