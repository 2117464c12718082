"""What the explorer's chart is drawn from: rows of plain numbers, few and short enough to travel inside a page."""

import math
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.report.texts.wording import lr_text

MAX_POINTS = 60  # of a run's curve: more than a chart of this width can show
STEPS_PER_DECADE = 10  # of the slider


def rates_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a learning rate, ascending: lr, rate (its text), valid and test (mean accuracies), seconds (median), learned.

    `learned`: has any of its runs? Only such a rate can be a best_trade_off: where nothing is learned, no second is well saved.
    """
    measured = runs[runs["status"] != "failed"]
    table = measured.groupby("lr", sort=True).agg(
        valid=("valid_accuracy", "mean"),
        test=("test_accuracy", "mean"),
        seconds=("seconds", "median"),
        learned=("learned", "any"),
    )
    return table.reset_index().assign(rate=lambda rates: rates["lr"].map(lr_text))


def price_range(rates: pd.DataFrame) -> tuple[float, int]:
    """The slider: the exponent of its lowest price above nothing (percentage points a second), and how many steps it has.

    From just below the lowest price at which the best trade-off changes to just above the highest: every part of the way says
    something.
    """
    learned = rates[rates["learned"]]
    exponents = np.round(np.arange(-6, 4, 1 / STEPS_PER_DECADE), 6)
    scores = learned["valid"].to_numpy() - 10.0 ** exponents[:, None] / 100 * learned["seconds"].to_numpy()
    changes = np.flatnonzero(np.diff(scores.argmax(axis=1)))
    if not len(changes):
        return -3.0, 3 * STEPS_PER_DECADE + 1  # the most accurate rate is the fastest, too: any range will do
    first, last = max(0, changes[0] - 3), min(len(exponents) - 1, changes[-1] + 4)
    return float(exponents[first]), int(last - first + 1)


def thin(accuracies: list[float], max_points: int = MAX_POINTS) -> list[int]:
    """Which points of a curve to keep, at most `max_points` (3 or more): first, best and last, the others evenly spread."""
    last = len(accuracies) - 1
    # One place is left for the best.
    kept = range(last + 1) if last < max_points else np.linspace(0, last, max_points - 1).round().astype(int).tolist()
    return sorted({*kept, int(np.argmax(accuracies))})


def run_rows(runs: pd.DataFrame, curves: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a run that did not fail: what its tooltip says, and its curve as two lists, epochs `e` and accuracies `v`.

    A list in a row takes a third of the room that a row for every epoch would.
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
    rows = zip(shown["run_id"], records(table, digits=4), strict=True)
    return [row | _curve(by_run.get(run_id, [])) for run_id, row in rows]


def _curve(points: list[tuple[int, float]]) -> dict[str, Any]:
    if not points:
        return {"e": [], "v": [], "best": None}
    epochs, accuracies = map(list, zip(*points, strict=True))
    kept = thin(accuracies)
    return {
        "e": [epochs[i] for i in kept],
        "v": [_rounded(accuracies[i], 4) for i in kept],
        "best": epochs[int(np.argmax(accuracies))],
    }


def records(table: pd.DataFrame, digits: int) -> list[dict[str, Any]]:
    """Rows as JSON has them: numbers of so many significant digits, None for what is not finite."""
    return [{str(name): _rounded(value, digits) for name, value in row.items()} for row in table.to_dict("records")]


def _rounded(value: Any, digits: int) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
