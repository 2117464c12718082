"""Simulate studies whose answer is known and count the rates classed wrongly. Prints the table of docs/statistics.md.

    python scripts/error_rates.py [number of studies]

Every study has 13 rates. An error counts once per study, however many rates are classed wrongly.
"""

import sys
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.shortfall import DELTA, compare_with_best

Array = np.ndarray[Any, np.dtype[np.float64]]

SEEDS = (3, 5, 10, 20)
NUM_STUDIES = 200
NUM_RATES = 13
X = np.linspace(-1, 1, NUM_RATES)
BEST = NUM_RATES // 2  # truly the best rate on every curve, or as good as the best
CURVES = {  # true mean accuracy minus that of the best rate
    "a smooth peak": -0.006 * np.abs(X) ** 3,
    "all equal": np.zeros(NUM_RATES),
    "some lose slightly more than delta": np.where(np.abs(X) > 0.5, -0.00201, 0.0),
    "some lose slightly less than delta": np.where(np.abs(X) > 0.5, -0.00199, 0.0),
    "all but one lose slightly more than delta": np.where(np.arange(NUM_RATES) == BEST, 0.0, -0.00201),
    "all but one lose half a point": np.where(np.arange(NUM_RATES) == BEST, 0.0, -0.005),
}
WIDE_BEST = "4 times as large at the best rate"
NOISES = {  # the spread of each rate between seeds, relative to SD; and the correlation of neighbouring rates
    "even": (np.ones(NUM_RATES), 0.0),
    "neighbours correlated at 0.9": (np.ones(NUM_RATES), 0.9),
    "growing with the rate to 3 times": (np.linspace(1, 3, NUM_RATES), 0.0),
    "growing to both ends to 7 times, correlated at 0.6": (np.exp(2 * X**2), 0.6),
    WIDE_BEST: (np.where(np.arange(NUM_RATES) == BEST, 4.0, 1.0), 0.0),
}
SD = 0.0015  # of a run; the reference study has about 0.001


def simulated(rng: np.random.Generator, num_seeds: int, mean_R: Array, sd_R: Array, correlation: float) -> Array:
    """Accuracies with a seed effect. The noise of neighbouring rates has this correlation; that of distant rates has less."""
    distance = np.abs(np.subtract.outer(np.arange(len(mean_R)), np.arange(len(mean_R))))
    noise_SR = rng.standard_normal((num_seeds, len(mean_R))) @ np.linalg.cholesky(correlation**distance).T
    return np.asarray(0.98 + mean_R + 0.002 * rng.standard_normal((num_seeds, 1)) + noise_SR * sd_R)


def errors(curve: str, noise: str, num_seeds: int, num_studies: int) -> dict[str, float]:
    """The share of studies with each kind of error. `found`: of rates that lose less than delta / 2, the share classed good."""
    mean_R, (spread_R, correlation) = CURVES[curve], NOISES[noise]
    true_R = mean_R.max() - mean_R
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(num_studies):
        table = pd.DataFrame(simulated(rng, num_seeds, mean_R, SD * spread_R, correlation), columns=10.0**X)
        rates = compare_with_best(table, table.notna())
        low, high, verdict = rates["low"].to_numpy(), rates["high"].to_numpy(), rates["verdict"].to_numpy()
        rows.append(
            {
                "false good": bool(((verdict == "good") & (true_R > DELTA)).any()),
                "false worse": bool(((verdict == "worse") & (true_R < DELTA)).any()),
                "best lost": bool(verdict[BEST] == "worse" or low[BEST] > 0),
                "missed": bool(((low > true_R + 1e-12) | (high < true_R - 1e-12)).any()),
                "found": float((verdict[true_R < DELTA / 2] == "good").mean()),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def main() -> None:
    num_studies = int(sys.argv[1]) if len(sys.argv) > 1 else NUM_STUDIES
    kinds = ("false good", "false worse", "best lost", "missed")
    header = ["noise", "seeds", "a rate wrongly good", "a rate wrongly worse", "the best rate lost", "an interval missed"]
    print(f"| {' | '.join(header)} | good rates found |\n|---|---|---|---|---|---|---|")
    for noise in NOISES:
        for num_seeds in SEEDS:
            found = {curve: errors(curve, noise, num_seeds, num_studies) for curve in CURVES}
            cells = [f"{max(row[name] for row in found.values()):.1%}" for name in kinds]
            print(f"| {noise} | {num_seeds} | {' | '.join(cells)} | {found['all equal']['found']:.0%} |", flush=True)


if __name__ == "__main__":
    main()
