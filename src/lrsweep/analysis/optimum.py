"""The best learning rate of each seed, read off a smooth curve instead of the noisy highest point."""

import math

import numpy as np
import pandas as pd

WINDOW = 0.75  # decades on either side of the highest point
DEPTH = 0.02  # accuracy; lower points are raised to this far below the highest, so that a cliff does not bend the curve

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def optima(accuracy_SR: pd.DataFrame) -> pd.DataFrame:
    """The top of a parabola through each seed's points near the highest one, in log10 of the rate.

    One row per seed: seed, optimum, is_cut. `is_cut` says that the highest point is at the first or last rate, so the optimum may
    lie outside the grid. Needs at least three rates; a missing accuracy counts as 0.
    """
    exponents = np.log10(accuracy_SR.columns.to_numpy(dtype=float))
    rows = []
    for seed, accuracy in accuracy_SR.fillna(0.0).iterrows():
        optimum, is_cut = _optimum(exponents, accuracy.to_numpy(dtype=float))
        rows.append({"seed": seed, "optimum": optimum, "is_cut": is_cut})
    return pd.DataFrame(rows, columns=["seed", "optimum", "is_cut"])


def _optimum(exponents: Array, accuracy: Array) -> tuple[float, bool]:
    if len(exponents) < 3:
        return math.nan, True
    highest = int(accuracy.argmax())
    near = np.abs(exponents - exponents[highest]) <= WINDOW + 1e-6
    near[max(0, highest - 1) : highest + 2] = True
    x = exponents[near] - exponents[highest]
    y = np.maximum(accuracy[near], accuracy[highest] - DEPTH)
    is_cut = highest in (0, len(exponents) - 1)
    if len(x) < 3:
        return float(exponents[highest]), is_cut
    curvature, slope, _ = np.polyfit(x, y, 2)
    if curvature >= 0:  # not a hill
        return float(exponents[highest]), is_cut
    return float(exponents[highest] + np.clip(-slope / (2 * curvature), x[0], x[-1])), is_cut
