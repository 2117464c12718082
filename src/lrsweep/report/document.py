"""The report's own parts as Markdown: head, tables, the data, the machine. Every number comes from its arguments."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from lrsweep.analysis.summary import busyness
from lrsweep.report.conclusions import TIME_EN, Findings, counted, lr_text, percent, seeds_text


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])


def rates_table(summary: pd.DataFrame) -> str:
    """All rates of one arm: a row each."""
    header = [
        "learning rate",
        "runs",
        "validation accuracy",
        "test accuracy",
        "epochs",
        f"{TIME_EN[summary['time'].iloc[0]]} (s)",
        "remarks",
    ]
    return markdown_table(header, (_rate_row(row) for _, row in summary.iterrows()))


def _rate_row(row: pd.Series) -> list[str]:
    remarks = [f"{row[f'num_{status}']} {status}" for status in ("diverged", "failed") if row[f"num_{status}"]]
    if num_at_chance := row["num_scored"] - row["num_learned"]:
        remarks.append("at chance" if num_at_chance == row["num_runs"] else f"{num_at_chance} at chance")
    return [
        lr_text(row["lr"]),
        str(row["num_runs"]),
        _mean_and_sd(row["valid_mean"], row["valid_sd"]),
        _mean_and_sd(row["test_mean"], row["test_sd"]),
        _number(row["epochs_median"], "g"),
        _number(row["seconds_median"], ".1f"),
        ", ".join(remarks),
    ]


def _mean_and_sd(mean: float, sd: float) -> str:
    if math.isnan(mean):
        return "not scored"
    return percent(mean) + ("" if math.isnan(sd) else f" ± {sd * 100:.2f}")


def _number(value: float, form: str) -> str:
    return "not measured" if math.isnan(value) else format(value, form)


def class_counts_table(counts: pd.DataFrame) -> str:
    """Images of each class; the documents argue from them that accuracy is a fair metric."""
    digits = [str(digit) for digit in range(10)]
    rows = []
    for _, row in counts.iterrows():
        classes = row[digits].astype(int)
        ratio = classes.max() / classes.min() if classes.min() else math.inf
        rows.append([row["split"], str(row["seed"]), *map(str, classes), f"{ratio:.2f}"])
    return markdown_table(["split", "seed", *digits, "largest / smallest"], rows)


def head(study: str, runs: pd.DataFrame, main: Findings | None, expected: set[str] | None = None) -> str:
    """Title, the answer in three lines, and how complete and how sure it is. `expected`: the last sweep's runs."""
    lines = [f"# {study}: which learning rate?", ""]
    if main is None:
        lines += ["No run of this study has an accuracy yet.", ""]
    else:
        best = main.best
        lines += [
            f"* **Most accurate:** {lr_text(best.low)} to {lr_text(best.high)}, "
            f"test accuracy {percent(best.plateau['test_mean'].mean())} on average ({seeds_text(best)})",
            f"* **Best trade-off:** {lr_text(best.bargain['lr'])}, test accuracy {percent(best.bargain['test_mean'])} "
            f"in {best.bargain['seconds_median']:.0f} s of {TIME_EN[best.best['time']]} ({seeds_text(best)})",
        ]
    lines.append(f"* **Runs:** {completeness(runs, expected)}")
    if (runs["time"] == "cpu").any():
        lines.append(
            f"* **Times:** the machine was busy with other work (wall time is {busyness(runs):.2f} times CPU time in the median "
            "run), so that times here are CPU times. The wall times are in runs.csv."
        )
    return "\n".join(lines)


def completeness(runs: pd.DataFrame, expected: set[str] | None = None) -> str:
    """How many runs are there and what became of them; how many the last sweep has still to make, where it said so."""
    told = ", ".join(f"{(runs['status'] == status).sum()} {status}" for status in ("ok", "diverged", "failed"))
    rates, seeds = counted(runs["lr"].nunique(), "learning rate"), counted(runs["seed"].nunique(), "seed")
    there = f"{len(runs)} ({rates}, up to {seeds}): {told}"
    if expected is None:
        return there
    missing = len(expected - set(runs["run_id"]))
    return there + (
        f". The last sweep is complete ({len(expected)})" if not missing else f". **{missing} of {len(expected)} missing**"
    )


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


def environment_section(runs: pd.DataFrame) -> str:
    """Where the runs ran. More than one value of a thing is named as such: its times are not comparable."""

    def told(column: str) -> str:
        values = runs[column].dropna().unique()
        return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values) or "not recorded"

    peak = runs["peak_memory_bytes"].max()
    rows = [
        ["device", f"{told('device')} ({told('device_name')}, {told('cores')} cores)"],
        ["workers × threads", f"{told('workers')} × {told('threads')}"],
        ["engine, timing", f"{told('engine')}, {told('timing')}"],
        [
            "wall time / CPU time",
            _number(busyness(runs), ".2f") + " (median of the runs on a CPU; well above 1: the machine was busy with other work)",
        ],
        ["peak memory of a worker", "not recorded" if pd.isna(peak) else f"{peak / 1e9:.2f} GB"],
        ["commit", told("git_commit") + (" (with uncommitted changes)" if (runs["git_dirty"] == True).any() else "")],  # noqa: E712
    ]
    return "## Where it ran\n\n" + markdown_table(["what", "value"], rows)
