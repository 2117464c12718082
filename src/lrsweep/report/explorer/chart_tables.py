"""The data of the interactive chart: rows of rounded numbers, small enough to embed in the page."""

import math
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.best_rate import Best, cheapest
from lrsweep.report.texts.language import say
from lrsweep.report.texts.wording import counted, number, percent, points, points_interval, seeds_text

MAX_POINTS = 60  # per curve; the chart is too narrow to show more
LOSSES = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05)  # of test accuracy; the positions of the slider


def allowed_losses(delta: float) -> list[float]:
    """The accuracies that a rate may lose, one per slider position, and delta among them."""
    return sorted({*LOSSES, delta})


def choices(best: Best, names: dict[float, str], *, is_fresh: bool) -> list[dict[str, Any]]:
    """One row per slider position: the rate to use if a rate may lose so much accuracy, and why, in words.

    It is the rate with the fewest epochs among those that are shown to lose less than that, as in the report's answer, which
    allows `best.delta`. Where none is shown to, it is the rate with the highest validation accuracy, and `shown` is false.
    """
    rows = best.rows
    seeds = counted(best.num_seeds, "fresh seed") if is_fresh else seeds_text(best.num_seeds)
    choices = []
    for position, loss in enumerate(allowed_losses(best.delta)):
        good = rows[(rows["num_learned"] == rows["num_measured"]) & (rows["shortfall_high"] < loss)]
        row = cheapest(good) if len(good) else best.best
        allowed = say("{value} points", value=f"{loss * 100:g}") + (" (δ)" if loss == best.delta else "")
        shown = {"rates": counted(len(good), "rate"), "loss": allowed, "seeds": seeds}
        why = say("It takes the fewest epochs of {rates} shown to lose less than {loss} on {seeds}.", **shown)
        if len(good) == 1:
            why = say("It is the only rate shown to lose less than {loss} on {seeds}.", **shown)
        elif len(good) and good["epochs_mean"].min() == good["epochs_mean"].max():
            why = say("Of {rates} shown to lose less than {loss} on {seeds}, it has the highest validation accuracy.", **shown)
        elif not len(good):
            why = say("No rate is shown to lose less than {loss} on {seeds}.", **shown)
        numbers = say(
            "It reaches {test} on test and takes {epochs} epochs (means).",
            test=percent(row["test_mean"]),
            epochs=number(row["epochs_mean"], ".1f"),
        )
        if not math.isnan(row["shortfall"]):
            lost = say("{value} points", value=points(row["shortfall"]))
            lost += points_interval(row["shortfall_low"], row["shortfall_high"])
            numbers = f"{say('It loses {lost} of accuracy.', lost=lost)} {numbers}"
        name = names[row["lr"]]
        choices.append(
            {
                "position": position,
                "lr": row["lr"],
                "valid": _rounded(row["valid_mean"], 6),
                "shown": bool(len(good)),
                "allowed": say("A rate may lose {loss}.", loss=allowed),
                "choice": say("★ Use {rate}.", rate=name) if len(good) else say("○ Perhaps {rate}.", rate=name),
                "why": f"{why} {numbers}",
            }
        )
    return choices


def means(runs: pd.DataFrame, names: dict[float, str]) -> list[dict[str, Any]]:
    """The mean validation accuracy of each rate, ascending; None if no run was validated."""
    table = runs[runs["status"] != "failed"].groupby("lr", sort=True)["valid_accuracy"].mean()
    return json_rows(table.rename("valid").reset_index().assign(rate=lambda rows: rows["lr"].map(names)), digits=6)


def thin_curve(accuracies: list[float], max_points: int = MAX_POINTS) -> list[int]:
    """Indices of at most `max_points` (at least 3) points of a curve: the first, best and last one, the others evenly spread."""
    last = len(accuracies) - 1
    # max_points - 1, because the best point is added below.
    kept = range(last + 1) if last < max_points else np.linspace(0, last, max_points - 1).round().astype(int).tolist()
    return sorted({*kept, int(np.argmax(accuracies))})


def run_rows(runs: pd.DataFrame, curves: pd.DataFrame, names: dict[float, str]) -> list[dict[str, Any]]:
    """One row per run that did not fail, with its tooltip's values and its curve as lists.

    The lists are epochs `e`, accuracies `v` and losses `l`. They take a third of the space of one row per epoch.
    """
    shown = runs[runs["status"] != "failed"].sort_values(["lr", "seed"])
    learned_or_diverged = (shown["status"] == "diverged") | shown["learned"]
    table = pd.DataFrame(
        {
            "rate": shown["lr"].map(names),
            "seed": shown["seed"],
            "status": shown["status"].where(learned_or_diverged, "at chance"),
            "valid": shown["valid_accuracy"],
            "test": shown["test_accuracy"],
            "epochs": shown["epochs"],
            "seconds": shown["seconds"],
        }
    )
    scored = curves[np.isfinite(curves["valid_accuracy"])].sort_values("epoch")
    by_run: dict[str, list[tuple[int, float, float]]] = {}
    for run_id, *point in zip(*(scored[name] for name in ("run_id", "epoch", "valid_accuracy", "valid_loss")), strict=True):
        by_run.setdefault(run_id, []).append(tuple(point))
    rows = zip(shown["run_id"], shown["lr"], json_rows(table, digits=4), strict=True)
    return [{"id": run_id, "lr": lr} | row | _curve(by_run.get(run_id, [])) for run_id, lr, row in rows]


def _curve(curve: list[tuple[int, float, float]]) -> dict[str, Any]:
    if not curve:
        return {"e": [], "v": [], "l": [], "best": None}
    epochs, accuracies, losses = map(list, zip(*curve, strict=True))
    kept = thin_curve(accuracies)
    return {
        "e": [epochs[i] for i in kept],
        "v": [_rounded(accuracies[i], 4) for i in kept],
        "l": [_rounded(losses[i], 4) for i in kept],
        "best": epochs[int(np.argmax(accuracies))],
    }


def json_rows(table: pd.DataFrame, digits: int) -> list[dict[str, Any]]:
    """Rows for JSON: numbers rounded to `digits` significant digits, None for NaN and infinity."""
    return [{str(name): _rounded(value, digits) for name, value in row.items()} for row in table.to_dict("records")]


def _rounded(value: Any, digits: int) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
