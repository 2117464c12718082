"""The data of the interactive chart: rows of rounded numbers, small enough to embed in the page."""

import math
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.report.texts.wording import lr_text

MAX_POINTS = 60  # per curve; the chart is too narrow to show more
STEPS_PER_DECADE = 10  # slider positions per factor of ten in price


def rates_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per learning rate, ascending: lr, rate (its text), valid and test (mean accuracies), epochs (mean), learned.

    `learned` is true if any run of the rate learned. Only such a rate can be the best trade-off.
    """
    measured = runs[runs["status"] != "failed"]
    table = measured.groupby("lr", sort=True).agg(
        valid=("valid_accuracy", "mean"),
        test=("test_accuracy", "mean"),
        epochs=("epochs", "mean"),
        learned=("learned", "any"),
    )
    return table.reset_index().assign(rate=lambda rates: rates["lr"].map(lr_text))


def price_range(rates: pd.DataFrame) -> tuple[float, int]:
    """The slider's range: the exponent of its lowest price above zero (percentage points per epoch), and its number of steps.

    The range starts just below the lowest price at which the best trade-off changes, and ends just above the highest.
    """
    learned = rates[rates["learned"]]
    exponents = np.round(np.arange(-6, 4, 1 / STEPS_PER_DECADE), 6)
    scores = learned["valid"].to_numpy() - 10.0 ** exponents[:, None] / 100 * learned["epochs"].to_numpy()
    changes = np.flatnonzero(np.diff(scores.argmax(axis=1)))
    if not len(changes):
        return -3.0, 3 * STEPS_PER_DECADE + 1  # the most accurate rate also takes the fewest epochs: any range will do
    first, last = max(0, changes[0] - 3), min(len(exponents) - 1, changes[-1] + 4)
    return float(exponents[first]), int(last - first + 1)


def thin_curve(accuracies: list[float], max_points: int = MAX_POINTS) -> list[int]:
    """Indices of at most `max_points` (at least 3) points of a curve: the first, best and last one, the others evenly spread."""
    last = len(accuracies) - 1
    # max_points - 1, because the best point is added below.
    kept = range(last + 1) if last < max_points else np.linspace(0, last, max_points - 1).round().astype(int).tolist()
    return sorted({*kept, int(np.argmax(accuracies))})


def run_rows(runs: pd.DataFrame, curves: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per run that did not fail, with its tooltip's values and its curve as two lists: epochs `e`, accuracies `v`.

    Lists take a third of the space of one row per epoch.
    """
    shown = runs[runs["status"] != "failed"].sort_values(["lr", "seed"])
    learned_or_diverged = (shown["status"] == "diverged") | shown["learned"]
    table = pd.DataFrame(
        {
            "lr": shown["lr"],
            "rate": shown["lr"].map(lr_text),
            "seed": shown["seed"],
            "status": shown["status"].where(learned_or_diverged, "at chance"),
            "valid": shown["valid_accuracy"],
            "test": shown["test_accuracy"],
            "epochs": shown["epochs"],
            "seconds": shown["seconds"],
        }
    )
    scored = curves[np.isfinite(curves["valid_accuracy"])].sort_values("epoch")
    by_run: dict[str, list[tuple[int, float]]] = {}
    for run_id, epoch, accuracy in zip(scored["run_id"], scored["epoch"], scored["valid_accuracy"], strict=True):
        by_run.setdefault(run_id, []).append((epoch, accuracy))
    rows = zip(shown["run_id"], json_rows(table, digits=4), strict=True)
    return [row | _curve(by_run.get(run_id, [])) for run_id, row in rows]


def _curve(points: list[tuple[int, float]]) -> dict[str, Any]:
    if not points:
        return {"e": [], "v": [], "best": None}
    epochs, accuracies = map(list, zip(*points, strict=True))
    kept = thin_curve(accuracies)
    return {
        "e": [epochs[i] for i in kept],
        "v": [_rounded(accuracies[i], 4) for i in kept],
        "best": epochs[int(np.argmax(accuracies))],
    }


def json_rows(table: pd.DataFrame, digits: int) -> list[dict[str, Any]]:
    """Rows for JSON: numbers rounded to `digits` significant digits, None for NaN and infinity."""
    return [{str(name): _rounded(value, digits) for name, value in row.items()} for row in table.to_dict("records")]


def _rounded(value: Any, digits: int) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
