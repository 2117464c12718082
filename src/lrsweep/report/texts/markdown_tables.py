"""The tables of a report as Markdown: rates, runs, fresh seeds, fixed budget, data, machine."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.confirmation import Confirmation
from lrsweep.analysis.fixed_budget import PATIENCES, Sensitivity
from lrsweep.analysis.plateau import Plateau
from lrsweep.analysis.summary import busyness
from lrsweep.report.texts.conclusions_en import certainty_en
from lrsweep.report.texts.wording import (
    TIMES_EN,
    counted,
    escaped,
    lr_text,
    number,
    percent,
    points,
    rates_text,
    seeds_text,
    shell_block,
)
from lrsweep.storage.tables import DRAWN_BY

NUM_SLOWEST = 5


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The cells are Markdown: text from configs and machines must have gone through `escaped`."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def rates_table(summary: pd.DataFrame, plateau: Plateau | None = None) -> str:
    """One row per rate of one arm."""
    time = summary["time"].iloc[0]
    times = [f"{TIMES_EN[time]} (s)", *(["wall time, disturbed (s)"] if time == "cpu" else [])]
    header = ["learning rate", "runs", "validation accuracy", "test accuracy", "epochs", *times, "remarks"]
    remarks = {} if plateau is None else _plateau_remarks(plateau)
    return markdown_table(header, (_rate_row(row, remarks.get(row["lr"], [])) for _, row in summary.iterrows()))


def _plateau_remarks(plateau: Plateau) -> dict[float, list[str]]:
    """The remarks about each learning rate, by rate."""
    remarks: dict[float, list[str]] = {}
    for _, rate in plateau.rates.iterrows():
        rate_remarks = remarks[rate["lr"]] = []
        if rate["tied"]:
            rate_remarks.append("best range" if rate["in_range"] else "tied with the best")
        if plateau.is_tested and rate["wins"] > 0:
            rate_remarks.append(f"wins {rate['wins']:.1%}")
        if rate["learned"] and not rate["dependable"]:
            rate_remarks.append("varies too much between seeds")
    return remarks


def _rate_row(row: pd.Series, plateau_remarks: list[str]) -> list[str]:
    remarks = [f"{row[f'num_{status}']} {status}" for status in ("diverged", "failed") if row[f"num_{status}"]]
    num_at_chance = row["num_scored"] - row["num_learned"]
    is_mixed = 0 < num_at_chance < row["num_scored"]  # a t interval over runs with and without learning means nothing
    if num_at_chance:
        remarks.append("at chance" if num_at_chance == row["num_runs"] else f"{num_at_chance} at chance")
    return [
        lr_text(row["lr"]),
        str(row["num_runs"]),
        _mean_and_half(row["valid_mean"], math.nan if is_mixed else row["valid_high"]),
        _mean_and_half(row["test_mean"], math.nan if is_mixed else row["test_high"]),
        number(row["epochs_median"], "g"),
        number(row["seconds_median"], ".1f"),
        *([number(row["wall_median"], ".1f")] if row["time"] == "cpu" else []),
        ", ".join(remarks + plateau_remarks),
    ]


def _mean_and_half(mean: float, high: float) -> str:
    """A mean and the half-width of its 95 % interval."""
    if math.isnan(mean):
        return "not scored"
    return percent(mean) + ("" if math.isnan(high) else f" ± {points(high - mean)}")


def seeds_table(runs: pd.DataFrame) -> str:
    """Test accuracy of every run of one arm: one row per rate, one column per seed. × marks a diverged run, – a missing one."""
    runs = runs.assign(cell=[_run_cell(run) for run in runs.to_dict("records")])
    cells = runs.pivot(index="lr", columns="seed", values="cell").fillna("–")
    header = ["learning rate", *(f"seed {escaped(seed)}" for seed in cells.columns)]
    return markdown_table(header, ([lr_text(float(lr)), *row] for lr, row in zip(cells.index, cells.to_numpy(), strict=True)))


def _run_cell(run: dict[Any, Any]) -> str:
    if run["status"] == "failed":
        return "failed"
    mark = " ×" if run["status"] == "diverged" else ""
    return ("not scored" if math.isnan(run["test_accuracy"]) else percent(run["test_accuracy"])) + mark


def confirmation_table(fresh: Confirmation) -> str:
    """The finalists' accuracies in the study and on fresh seeds."""
    header = ["learning rate", "runs", "validation, study", "validation, fresh", "study less fresh", "test, fresh", "epochs"]
    rows = (
        [
            lr_text(row["lr"]),
            str(row["num_runs"]),
            percent(row["study_valid_mean"]),
            _mean_and_half(row["valid_mean"], row["valid_high"]),
            number(row["optimism"] * 100, "+.2f"),
            _mean_and_half(row["test_mean"], row["test_high"]),
            number(row["epochs_median"], "g"),
        ]
        for _, row in fresh.rows.iterrows()
    )
    return markdown_table(header, rows)


def sensitivity_section(fixed: Sensitivity, best: Best) -> str:
    """The same rates with a fixed budget instead of early stopping, and with other patiences."""
    header = ["learning rate", *(f"patience {p} (epochs)" for p in PATIENCES), f"{fixed.epochs} epochs, the best"]
    rows = (
        [
            lr_text(row["lr"]),
            *(f"{percent(row[f'valid_{p}'])} ({row[f'epochs_{p}']:.0f}{'' if row[f'cut_{p}'] else '+'})" for p in PATIENCES),
            percent(row["full"]),
        ]
        for _, row in fixed.rows.iterrows()
    )
    other = fixed.best
    return (
        "## Does early stopping decide it?\n\n"
        f"Early stopping gives each rate its own budget. Here each had the same, {fixed.epochs} epochs, and its best epoch was "
        f"picked in retrospect ({seeds_text(fixed.num_seeds)}, {counted(len(fixed.rows), 'rate')}). The best range is then "
        f"{rates_text(other.low, other.high)} ({certainty_en(other)}); with early stopping it is "
        f"{rates_text(best.low, best.high)}. {_best_rates_compared(fixed, best)}\n\n"
        "Validation accuracy, and the epochs that each patience would have "
        f"trained, by replaying the curves; +: patience did not run out.\n\n{markdown_table(header, rows)}"
    )


def _best_rates_compared(fixed: Sensitivity, best: Best) -> str:
    num_open = int((fixed.rows[f"cut_{PATIENCES[0]}"] < 1).sum())
    lr = float(fixed.best.best["lr"])
    comparison = "The best rate is the same" if lr == float(best.best["lr"]) else f"The best rate is another, {lr_text(lr)}"
    if not num_open:
        return f"{comparison}."
    return (
        f"{comparison}. At {counted(num_open, 'rate')} of {len(fixed.rows)} a patience of {PATIENCES[0]} did not run out within "
        f"{fixed.epochs} epochs: of those, this budget cannot tell what early stopping decides."
    )


def slowest_section(runs: pd.DataFrame) -> str:
    """The slowest runs, and all failed runs with their errors."""
    slowest = runs.sort_values("seconds", ascending=False).head(NUM_SLOWEST)
    header = ["learning rate", "seed", "arm", "status", "epochs", TIMES_EN[runs["time"].iloc[0]] + " (s)"]
    rows = (
        [
            lr_text(r["lr"]),
            escaped(r["seed"]),
            escaped(r["arm"]),
            escaped(r["status"]),
            str(r["epochs"]),
            number(r["seconds"], ".0f"),
        ]
        for _, r in slowest.iterrows()
    )
    failed = runs[runs["status"] == "failed"]
    failures = [f"* {lr_text(run['lr'])}, seed {escaped(run['seed'])}: {escaped(run['error'])}" for _, run in failed.iterrows()]
    return "\n\n".join(
        [
            "## Slowest and failed runs",
            markdown_table(header, rows),
            "\n".join(["Failed:", "", *failures]) if failures else "No run failed.",
        ]
    )


def class_counts_table(counts: pd.DataFrame) -> str:
    """Images per class in each split."""
    digits = [str(digit) for digit in range(10)]
    drawn_by = [name for name in DRAWN_BY if name == "seed" or len(set(counts[name])) > 1]
    rows = []
    for row in counts.to_dict("records"):
        used = [int(row[digit]) for digit in _classes_of(row)]
        ratio = max(used) / min(used) if min(used) else math.inf
        cells = [row["split"], *(row[name] for name in drawn_by), *(int(row[digit]) for digit in digits)]
        rows.append([*map(escaped, cells), f"{ratio:.2f}"])
    return markdown_table(["split", *drawn_by, *digits, "largest / smallest"], rows)


def data_section(class_counts: pd.DataFrame) -> str:
    if class_counts.empty:
        return "## The data\n\nNot recorded."
    judgement = "With classes this even, accuracy is a fair measure."
    if not _is_even(class_counts):
        judgement = "The classes are uneven: read accuracies with care."
    return f"## The data\n\nImages of each class in each split. {judgement}\n\n{class_counts_table(class_counts)}"


def _is_even(class_counts: pd.DataFrame) -> bool:
    """True if no split has a class that is 5/3 times as large as the average one. Of ten classes, that is a share of 1/6."""
    counts = ([row[digit] for digit in _classes_of(row)] for row in class_counts.to_dict("records"))
    return all(max(used) / sum(used) < 5 / 3 / len(used) for used in counts)


def _classes_of(split: dict[Any, Any]) -> list[str]:
    """The digits that the split may hold, as column names."""
    return [str(digit) for digit in json.loads(split["data.classes"]) or range(10)]


def environment_section(runs: pd.DataFrame, command: str) -> str:
    """The machine of the runs, and the command that repeats them."""
    peak = runs["peak_memory_bytes"].max()
    rows = [
        ["device", f"{values_of(runs, 'device')} ({values_of(runs, 'device_name')}, {values_of(runs, 'cores')} cores)"],
        ["workers × threads", f"{values_of(runs, 'workers')} × {values_of(runs, 'threads')}"],
        ["engine, timing, precision", ", ".join(values_of(runs, column) for column in ("engine", "timing", "precision"))],
        [
            "wall time / CPU time",
            number(busyness(runs), ".2f") + " (a quarter of the CPU runs reach it; well above 1: other work beside)",
        ],
        ["peak memory of a worker", "not recorded" if pd.isna(peak) else f"{peak / 1e9:.2f} GB"],
        ["commit", values_of(runs, "git_commit") + uncommitted_text(runs)],
    ]
    again = f"All of it again:\n\n{shell_block(command)}"
    return "\n\n".join(["## Where it ran", markdown_table(["what", "value"], rows), again])


def uncommitted_text(runs: pd.DataFrame) -> str:
    """How many runs were made from uncommitted files, in brackets; nothing if there are none."""
    num_dirty = int((runs["git_dirty"] == True).sum())  # noqa: E712  # it may be None
    return f" ({num_dirty} of {counted(len(runs), 'run')} with uncommitted files)" if num_dirty else ""


def values_of(runs: pd.DataFrame, column: str) -> str:
    """All distinct values of a column, separated by commas."""
    values = runs[column].dropna().unique()
    return ", ".join(f"{value:g}" if isinstance(value, float) else escaped(value) for value in values) or "not recorded"
