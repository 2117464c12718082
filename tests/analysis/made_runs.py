"""Tables of runs, made without training: each test chooses the accuracies."""

from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.study import Study
from lrsweep.storage.tables import DEFAULT_SETTINGS

NUM_EPOCHS = 20
RATES = [0.001 * 2.0**i for i in range(9)]
HALF_DECADES = [10**-3.0, 10**-2.5, 10**-2.0, 10**-1.5]


def make_runs(accuracy_SR: Any, *, first_seed: int = 0, **columns: Any) -> pd.DataFrame:
    """The runs of one arm as the analysis gets them, one per entry of accuracy_SR (S seeds, R rates). NaN: diverged at once.

    A keyword sets a column: one value, one value per rate, or a table shaped like accuracy_SR. Rates double from 0.001.
    """
    accuracy = np.asarray(accuracy_SR, dtype=float)
    num_seeds, num_rates = accuracy.shape
    defaults = {
        "lr": 0.001 * 2.0 ** np.arange(num_rates),
        "status": np.where(np.isnan(accuracy), "diverged", "ok"),
        "valid_accuracy": accuracy,
        "test_accuracy": accuracy,
        "best_test_accuracy": accuracy,
        "learned": ~np.isnan(accuracy),
        "epochs": NUM_EPOCHS,
        "stop_reason": "patience",
        "training.patience": "5",
        "training.max_epochs": 1000,
        "seconds": 10.0,
        "wall_seconds": 10.0,
    }
    table = {name: np.broadcast_to(np.asarray(values), accuracy.shape).ravel() for name, values in (defaults | columns).items()}
    runs = pd.DataFrame(table).assign(
        seed=np.repeat(first_seed + np.arange(num_seeds), num_rates),
        run_id=[f"run{first_seed * num_rates + i}" for i in range(num_seeds * num_rates)],
        arm="cross_entropy",
        **{"data.num_valid": 5000, "data.num_test": 10_000, "data.num_classes": 10},
    )
    failed = runs["status"] == "failed"
    runs.loc[failed, ["valid_accuracy", "test_accuracy", "seconds"]] = np.nan
    runs["learned"] &= ~failed
    runs["epochs"] = runs["epochs"].mask(failed, 0)
    return runs


def study_of(**accuracies: list[list[float]]) -> Study:
    """One arm per optimizer, with accuracies of seeds × (up to four) HALF_DECADES."""
    settings = {name: value for name, value in DEFAULT_SETTINGS.items() if name not in ("optimizer.lr", "seed", "loss.name")}
    tables = []
    for name, accuracy_SR in accuracies.items():
        runs = make_runs(accuracy_SR, lr=HALF_DECADES[: len(accuracy_SR[0])])
        tables.append(runs.assign(**settings | {"optimizer.name": name}, arm=name, loss="cross_entropy"))
    return Study("made", pd.concat(tables, ignore_index=True), pd.DataFrame(), pd.DataFrame())
