"""Tables of runs that no training had to make: the statistics are asked about accuracies that a test chose."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

NUM_EPOCHS = 20


@pytest.fixture(scope="session")
def make_runs() -> Callable[..., pd.DataFrame]:
    """One arm's runs, a row for each of accuracy_SR (S seeds, R rates), as `with_chance`, `with_seconds`, `with_arms` leave them.

    A keyword sets a column: one value for all runs, or a value a rate, or a table as accuracy_SR. NaN has diverged before it had
    an accuracy. Rates double from 0.001; seeds count from 0.
    """

    def make(accuracy_SR: Any, *, first_seed: int = 0, **columns: Any) -> pd.DataFrame:
        accuracy = np.asarray(accuracy_SR, dtype=float)
        num_seeds, num_rates = accuracy.shape
        ordinary = {
            "lr": 0.001 * 2.0 ** np.arange(num_rates) if "lr" not in columns else columns["lr"],
            "status": np.where(np.isnan(accuracy), "diverged", "ok"),
            "valid_accuracy": accuracy,
            "test_accuracy": accuracy,
            "learned": ~np.isnan(accuracy),
            "epochs": NUM_EPOCHS,
            "seconds": 10.0,
            "wall_seconds": 10.0,
        }
        table = {
            name: np.broadcast_to(np.asarray(values), accuracy.shape).ravel() for name, values in (ordinary | columns).items()
        }
        runs = pd.DataFrame(table).assign(
            seed=np.repeat(first_seed + np.arange(num_seeds), num_rates),
            run_id=[f"run{first_seed * num_rates + i}" for i in range(num_seeds * num_rates)],
            arm="cross_entropy",
            time="wall",
            **{"data.num_valid": 5000},
        )
        failed = runs["status"] == "failed"  # nothing measured
        runs.loc[failed, ["valid_accuracy", "test_accuracy", "seconds"]] = np.nan
        runs["learned"] &= ~failed
        runs["epochs"] = runs["epochs"].mask(failed, 0)
        return runs

    return make
