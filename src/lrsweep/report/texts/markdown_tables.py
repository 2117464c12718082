"""The tables of a report as Markdown: rates, runs, fresh seeds, fixed budget, data, machine."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.fixed_budget import PATIENCES, Sensitivity
from lrsweep.analysis.summary import BUSY_FROM
from lrsweep.report.texts.conclusions_en import good_rates_en
from lrsweep.report.texts.wording import (
    counted,
    escaped,
    lr_text,
    number,
    percent,
    points,
    seeds_text,
    shell_block,
)
from lrsweep.storage.tables import DRAWN_BY, class_columns

NUM_LONGEST = 5


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The cells are Markdown: text from configs and machines must have gone through `escaped`."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def rates_table(rows: pd.DataFrame, optimism: pd.Series | None = None) -> str:
    """One row per rate of one arm. `rows` is `Best.rows`; `optimism` adds a column, see `confirmation.optimism`."""
    is_timed = bool(rows["num_timed"].any())
    header = ["learning rate", "runs", "loses (points)", "class", "test accuracy", "validation accuracy", "epochs"]
    header += ["seconds"] * is_timed + ["study minus fresh (points)"] * (optimism is not None) + ["remarks"]
    table = []
    for _, row in rows.iterrows():
        cells = _rate_cells(row) + [_seconds_cell(row)] * is_timed
        if optimism is not None:
            cells.append(number(optimism.get(row["lr"], math.nan) * 100, "+.2f"))
        table.append([*cells, _remarks(row)])
    return markdown_table(header, table)


def _rate_cells(row: pd.Series) -> list[str]:
    is_mixed = 0 < row["num_learned"] < row["num_scored"]  # a t interval would then be meaningless
    return [
        lr_text(row["lr"]),
        str(row["num_runs"]),
        "not measured" if math.isnan(row["shortfall"]) else f"{row['shortfall'] * 100:.2f}{_shortfall_interval(row)}",
        f"**{row['verdict']}**" if row["verdict"] == "good" else str(row["verdict"]),
        _mean_and_half(row["test_mean"], math.nan if is_mixed else row["test_high"]),
        _mean_and_half(row["valid_mean"], math.nan if is_mixed else row["valid_high"]),
        number(row["epochs_mean"], ".1f") + _half(row["epochs_mean"], row["epochs_high"], ".1f"),
    ]


def _shortfall_interval(row: pd.Series) -> str:
    low, high = row["shortfall_low"], row["shortfall_high"]
    return "" if math.isnan(low) else f" ({low * 100:.2f} to {high * 100:.2f})"


def _seconds_cell(row: pd.Series) -> str:
    if not row["num_timed"]:
        return "–"
    seconds = f"{row['seconds_mean']:.0f}{_half(row['seconds_mean'], row['seconds_high'], '.0f')}"
    return f"{seconds} ({row['num_timed']} of {row['num_measured']})"


def _half(mean: float, high: float, form: str) -> str:
    return "" if math.isnan(high) else f" ± {high - mean:{form}}"


def _remarks(row: pd.Series) -> str:
    remarks = [f"{row[f'num_{status}']} {status}" for status in ("diverged", "failed") if row[f"num_{status}"]]
    num_at_chance = row["num_scored"] - row["num_learned"]
    if num_at_chance:
        remarks.append("at chance" if num_at_chance == row["num_runs"] else f"{num_at_chance} at chance")
    if row["num_learned"] == row["num_ok"] == row["num_measured"] and not row["dependable"]:
        remarks.append("varies too much between seeds to be the best")
    return ", ".join(remarks)


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
    return (
        "## Does early stopping decide it?\n\n"
        f"Early stopping gives each rate its own budget. Here each had the same, {fixed.epochs} epochs, and its best epoch was "
        f"picked in retrospect ({seeds_text(fixed.num_seeds)}, {counted(len(fixed.rows), 'rate')}). Good rates then: "
        f"{good_rates_en(fixed.best)}. {_best_rates_compared(fixed, best)}\n\n"
        "Validation accuracy, and the epochs that each patience would have "
        f"trained, by replaying the curves; +: patience did not run out.\n\n{markdown_table(header, rows)}"
    )


def _best_rates_compared(fixed: Sensitivity, best: Best) -> str:
    num_open = int((fixed.rows[f"cut_{PATIENCES[0]}"] < 1).sum())
    lr = float(fixed.best.best["lr"])
    comparison = f"The best rate by validation accuracy is {'the same' if lr == float(best.best['lr']) else f'{lr_text(lr)}'}"
    if not num_open:
        return f"{comparison}."
    return (
        f"{comparison}. At {num_open} of {counted(len(fixed.rows), 'rate')}, a patience of {PATIENCES[0]} did not always run out "
        f"within {fixed.epochs} epochs, so this budget cannot tell what early stopping decides there."
    )


def longest_section(runs: pd.DataFrame) -> str:
    """The runs with the most epochs, and all failed runs with their errors."""
    longest = runs.sort_values("epochs", ascending=False, kind="stable").head(NUM_LONGEST)
    header = ["learning rate", "seed", "arm", "status", "epochs", "seconds"]
    rows = (
        [
            lr_text(r["lr"]),
            escaped(r["seed"]),
            escaped(r["arm"]),
            escaped(r["status"]),
            str(r["epochs"]),
            "–" if math.isnan(r["seconds"]) else f"{r['seconds']:.0f}",
        ]
        for _, r in longest.iterrows()
    )
    failed = runs[runs["status"] == "failed"]
    failures = [f"* {lr_text(run['lr'])}, seed {escaped(run['seed'])}: {escaped(run['error'])}" for _, run in failed.iterrows()]
    return "\n\n".join(
        [
            "## Longest and failed runs",
            markdown_table(header, rows),
            "\n".join(["Failed:", "", *failures]) if failures else "No run failed.",
        ]
    )


def class_counts_table(counts: pd.DataFrame) -> str:
    """Images per class in each split."""
    digits = class_columns(counts)
    drawn_by = [name for name in DRAWN_BY if name == "seed" or len(set(counts[name])) > 1]
    rows = []
    for row in counts.to_dict("records"):
        used = [int(count) for count in _counts_of(row, digits)]
        ratio = max(used) / min(used) if min(used) else math.inf
        cells = [
            row["split"],
            *(row[name] for name in drawn_by),
            *("" if pd.isna(row[digit]) else int(row[digit]) for digit in digits),
        ]
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
    """True if no split has a class 5/3 times as large as the average class. With ten classes, 5/3 means a share of 1/6."""
    counts = [_counts_of(row, class_columns(class_counts)) for row in class_counts.to_dict("records")]
    return all(max(used) / sum(used) < 5 / 3 / len(used) for used in counts)


def _counts_of(split: dict[Any, Any], classes: list[str]) -> list[float]:
    """The number of images of each class that the split may hold."""
    chosen = json.loads(split["data.classes"])
    counts = [split[name] for name in classes if chosen is None or int(name) in chosen]
    return [count for count in counts if not pd.isna(count)]


def environment_section(runs: pd.DataFrame, command: str) -> str:
    """The machine of the runs, and the command that repeats them."""
    peak = runs["peak_memory_bytes"].max()
    rows = [
        ["device", f"{values_of(runs, 'device')} ({values_of(runs, 'device_name')}, {values_of(runs, 'cores')} cores)"],
        ["workers × threads", f"{values_of(runs, 'workers')} × {values_of(runs, 'threads')}"],
        ["engine, timing, precision", ", ".join(values_of(runs, column) for column in ("engine", "timing", "precision"))],
        ["runs with a time", _timed_text(runs)],
        ["peak memory of a worker", "not recorded" if pd.isna(peak) else f"{peak / 1e9:.2f} GB"],
        ["commit", values_of(runs, "git_commit") + uncommitted_text(runs)],
    ]
    again = f"All of it again:\n\n{shell_block(command)}"
    return "\n\n".join(["## Where it ran", markdown_table(["what", "value"], rows), again])


def _timed_text(runs: pd.DataFrame) -> str:
    num_timed = int(runs["seconds"].notna().sum())
    return (
        f"{num_timed} of {len(runs)} had the machine to themselves (wall time at most {BUSY_FROM:g} times CPU time, not trained "
        "together with others)"
    )


def uncommitted_text(runs: pd.DataFrame) -> str:
    """How many runs were made from uncommitted files, in brackets; nothing if there are none."""
    num_dirty = int((runs["git_dirty"] == True).sum())  # noqa: E712  # it may be None
    return f" ({num_dirty} of {counted(len(runs), 'run')} with uncommitted files)" if num_dirty else ""


def values_of(runs: pd.DataFrame, column: str) -> str:
    """All distinct values of a column, separated by commas."""
    values = runs[column].dropna().unique()
    return ", ".join(f"{value:g}" if isinstance(value, float) else escaped(value) for value in values) or "not recorded"
