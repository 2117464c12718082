"""Simulate studies whose answer is known and count the rates classed wrongly. Prints the table of docs/statistics.md.

    python scripts/error_rates.py [number of studies]

Every study has 13 rates. The noise is either equal at all rates, or it grows sevenfold towards the ends of the grid and is
correlated between neighbouring rates. An error counts once per study, however many rates are classed wrongly.
"""

import sys
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.shortfall import DELTA, compare_with_best

Array = np.ndarray[Any, np.dtype[np.float64]]

SEEDS = (3, 5, 10, 20)
NUM_STUDIES = 500
X = np.linspace(-1, 1, 13)
CURVES = {  # true mean accuracy minus that of the best rate
    "a smooth peak": -0.006 * np.abs(X) ** 3,
    "all equal": np.zeros(13),
    "some lose slightly more than delta": np.where(np.abs(X) > 0.5, -0.00201, 0.0),
    "some lose slightly less than delta": np.where(np.abs(X) > 0.5, -0.00199, 0.0),
}
NOISES = {"even": (0.0, 0.0), "growing, correlated": (2.0, 0.6)}  # growth towards the ends, correlation of neighbours
SD = 0.0015  # of a run in the middle of the grid; the reference study has about 0.001


def simulated(rng: np.random.Generator, num_seeds: int, mean_R: Array, sd_R: Array, correlation: float) -> Array:
    """Accuracies with a seed effect. The noise of neighbouring rates has this correlation; that of distant rates has less."""
    distance = np.abs(np.subtract.outer(np.arange(len(mean_R)), np.arange(len(mean_R))))
    noise_SR = rng.standard_normal((num_seeds, len(mean_R))) @ np.linalg.cholesky(correlation**distance).T
    return np.asarray(0.98 + mean_R + 0.002 * rng.standard_normal((num_seeds, 1)) + noise_SR * sd_R)


def errors(curve: str, noise: str, num_seeds: int, num_studies: int) -> dict[str, float]:
    """The share of studies with each kind of error. `found`: of rates that lose less than delta / 2, the share classed good."""
    mean_R, (growth, correlation) = CURVES[curve], NOISES[noise]
    true_R = mean_R.max() - mean_R
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(num_studies):
        table = pd.DataFrame(simulated(rng, num_seeds, mean_R, SD * np.exp(growth * X**2), correlation), columns=10.0**X)
        rates = compare_with_best(table, table.notna())
        low, high, verdict = rates["low"].to_numpy(), rates["high"].to_numpy(), rates["verdict"].to_numpy()
        rows.append(
            {
                "false good": bool(((verdict == "good") & (true_R > DELTA)).any()),
                "false worse": bool(((verdict == "worse") & (true_R < DELTA)).any()),
                "missed": bool(((low > true_R + 1e-12) | (high < true_R - 1e-12)).any()),
                "found": float((verdict[true_R < DELTA / 2] == "good").mean()),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def main() -> None:
    num_studies = int(sys.argv[1]) if len(sys.argv) > 1 else NUM_STUDIES
    print("| noise | seeds | a rate wrongly good | a rate wrongly worse | an interval missed | good rates found |")
    print("|---|---|---|---|---|---|")
    for noise in NOISES:
        for num_seeds in SEEDS:
            found = {curve: errors(curve, noise, num_seeds, num_studies) for curve in CURVES}
            cells = [f"{max(row[name] for row in found.values()):.1%}" for name in ("false good", "false worse", "missed")]
            print(f"| {noise} | {num_seeds} | {' | '.join(cells)} | {found['all equal']['found']:.0%} |", flush=True)


if __name__ == "__main__":
    main()
