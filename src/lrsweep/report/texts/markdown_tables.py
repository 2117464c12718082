"""The tables of a report as Markdown: rates, runs, other studies, data, machine. Every number comes from its arguments."""

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
    """A table of cells that are Markdown already: what is not ours in them has gone through `escaped`."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def rates_table(summary: pd.DataFrame, plateau: Plateau | None = None) -> str:
    """All rates of one arm: a row each, with what its plateau says of it."""
    time = summary["time"].iloc[0]
    times = [f"{TIMES_EN[time]} (s)", *(["wall time, disturbed (s)"] if time == "cpu" else [])]
    header = ["learning rate", "runs", "validation accuracy", "test accuracy", "epochs", *times, "remarks"]
    verdicts = {} if plateau is None else _verdicts(plateau)
    return markdown_table(header, (_rate_row(row, verdicts.get(row["lr"], [])) for _, row in summary.iterrows()))


def _verdicts(plateau: Plateau) -> dict[float, list[str]]:
    """By learning rate; a rate that no complete seed has is not among them."""
    told: dict[float, list[str]] = {}
    for _, rate in plateau.rates.iterrows():
        lines = told[rate["lr"]] = []
        if rate["tied"]:
            lines.append("best range" if rate["in_range"] else "tied with the best")
        if plateau.is_tested and rate["wins"] > 0:
            lines.append(f"wins {rate['wins']:.1%}")
        if rate["learned"] and not rate["dependable"]:
            lines.append("varies too much between seeds")
    return told


def _rate_row(row: pd.Series, verdicts: list[str]) -> list[str]:
    remarks = [f"{row[f'num_{status}']} {status}" for status in ("diverged", "failed") if row[f"num_{status}"]]
    num_at_chance = row["num_scored"] - row["num_learned"]
    is_mixed = 0 < num_at_chance < row["num_scored"]  # an interval of both kinds is of neither
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
        ", ".join(remarks + verdicts),
    ]


def _mean_and_half(mean: float, high: float) -> str:
    """A mean with half its 95 % interval."""
    if math.isnan(mean):
        return "not scored"
    return percent(mean) + ("" if math.isnan(high) else f" ± {points(high - mean)}")


def seeds_table(runs: pd.DataFrame) -> str:
    """Test accuracy of every run of one arm: a row a rate, a column a seed; × is a diverged run, – one that is not there."""
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
    """What the study said of each finalist, and what seeds that chose nothing say."""
    header = [
        "learning rate",
        "runs",
        "validation, study",
        "validation, fresh",
        "study less fresh",
        "test, fresh",
        "epochs",
    ]
    return markdown_table(
        header,
        (
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
        ),
    )


def sensitivity_section(found: Sensitivity, best: Best) -> str:
    """What a fixed budget says of the same rates, and what other patiences would have."""
    header = ["learning rate", *(f"patience {p} (epochs)" for p in PATIENCES), f"{found.epochs} epochs, the best"]
    rows = (
        [
            lr_text(row["lr"]),
            *(f"{percent(row[f'valid_{p}'])} ({row[f'epochs_{p}']:.0f}{'' if row[f'cut_{p}'] else '+'})" for p in PATIENCES),
            percent(row["full"]),
        ]
        for _, row in found.rows.iterrows()
    )
    other = found.best
    return (
        "## Does early stopping decide it?\n\n"
        f"Early stopping gives each rate its own budget. Here each had the same, {found.epochs} epochs, and its best epoch was "
        f"picked in retrospect ({seeds_text(found.num_seeds)}, {counted(len(found.rows), 'rate')}). The best range is then "
        f"{rates_text(other.low, other.high)} ({certainty_en(other)}); with early stopping it is "
        f"{rates_text(best.low, best.high)}. {_what_budget_says(found, best)}\n\n"
        "Validation accuracy, and the epochs that each patience would have "
        f"trained, by replaying the curves; +: patience did not run out.\n\n{markdown_table(header, rows)}"
    )


def _what_budget_says(found: Sensitivity, best: Best) -> str:
    num_open = int((found.rows[f"cut_{PATIENCES[0]}"] < 1).sum())
    lr = float(found.best.best["lr"])
    told = "The best rate is the same" if lr == float(best.best["lr"]) else f"The best rate is another, {lr_text(lr)}"
    if not num_open:
        return f"{told}."
    return (
        f"{told}. At {counted(num_open, 'rate')} of {len(found.rows)} a patience of {PATIENCES[0]} did not run out within "
        f"{found.epochs} epochs: of those, this budget cannot tell what early stopping decides."
    )


def slowest_section(runs: pd.DataFrame) -> str:
    """The runs that cost most, and those that failed with what they said."""
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
    told = [f"* {lr_text(run['lr'])}, seed {escaped(run['seed'])}: {escaped(run['error'])}" for _, run in failed.iterrows()]
    return "\n\n".join(
        [
            "## Slowest and failed runs",
            markdown_table(header, rows),
            "\n".join(["Failed:", "", *told]) if told else "No run failed.",
        ]
    )


def class_counts_table(counts: pd.DataFrame) -> str:
    """Images of each class; the documents argue from them that accuracy is a fair metric."""
    digits = [str(digit) for digit in range(10)]
    drawn_by = [name for name in DRAWN_BY if name == "seed" or len(set(counts[name])) > 1]
    rows = []
    for row in counts.to_dict("records"):
        classes = [int(row[digit]) for digit in digits]
        ratio = max(classes) / min(classes) if min(classes) else math.inf
        rows.append([escaped(row["split"]), *(escaped(row[name]) for name in drawn_by), *map(str, classes), f"{ratio:.2f}"])
    return markdown_table(["split", *drawn_by, *digits, "largest / smallest"], rows)


def data_section(class_counts: pd.DataFrame) -> str:
    if class_counts.empty:
        return "## The data\n\nNot recorded."
    judgement = "With classes this even, accuracy is a fair measure."
    if not _is_even(class_counts):
        judgement = "The classes are uneven: read accuracies with care."
    return f"## The data\n\nImages of each class in each split. {judgement}\n\n{class_counts_table(class_counts)}"


def _is_even(class_counts: pd.DataFrame) -> bool:
    """Always naming the largest class would be right in less than one of six cases, in every split."""
    counts = class_counts[[str(digit) for digit in range(10)]]
    return bool((counts.max(axis="columns") / counts.sum(axis="columns") < 1 / 6).all())


def environment_section(runs: pd.DataFrame, command: str) -> str:
    """Where the runs ran, and the command that makes them all again. More than one value of a thing is named as such."""
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
        ["commit", values_of(runs, "git_commit") + uncommitted(runs)],
    ]
    again = f"All of it again:\n\n{shell_block(command)}"
    return "\n\n".join(["## Where it ran", markdown_table(["what", "value"], rows), again])


def uncommitted(runs: pd.DataFrame) -> str:
    """In brackets, how many runs had changes beside their commit; nothing where none had."""
    num_dirty = int((runs["git_dirty"] == True).sum())  # noqa: E712  # it may be None
    return f" ({num_dirty} of {counted(len(runs), 'run')} with uncommitted files)" if num_dirty else ""


def values_of(runs: pd.DataFrame, column: str) -> str:
    """The values of a column; more than one is named as such."""
    values = runs[column].dropna().unique()
    return ", ".join(f"{value:g}" if isinstance(value, float) else escaped(value) for value in values) or "not recorded"
