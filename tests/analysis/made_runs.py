"""Tables of runs, made without training: each test chooses the accuracies."""

from typing import Any

import numpy as np
import pandas as pd

NUM_EPOCHS = 20
RATES = [0.001 * 2.0**i for i in range(9)]


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
        "learned": ~np.isnan(accuracy),
        "epochs": NUM_EPOCHS,
        "seconds": 10.0,
        "wall_seconds": 10.0,
    }
    table = {name: np.broadcast_to(np.asarray(values), accuracy.shape).ravel() for name, values in (defaults | columns).items()}
    runs = pd.DataFrame(table).assign(
        seed=np.repeat(first_seed + np.arange(num_seeds), num_rates),
        run_id=[f"run{first_seed * num_rates + i}" for i in range(num_seeds * num_rates)],
        arm="cross_entropy",
        **{"data.num_valid": 5000, "data.num_test": 10_000},
    )
    failed = runs["status"] == "failed"
    runs.loc[failed, ["valid_accuracy", "test_accuracy", "seconds"]] = np.nan
    runs["learned"] &= ~failed
    runs["epochs"] = runs["epochs"].mask(failed, 0)
    return runs


def centred_noise(num_seeds: int, num_rates: int, sd: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Noise with a mean of 0 over the seeds, so that the means of the rates are known."""
    noise = sd * np.random.default_rng(0).standard_normal((num_seeds, num_rates))
    return noise - noise.mean(axis=0)
