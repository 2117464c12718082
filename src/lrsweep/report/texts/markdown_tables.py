"""The tables of a report as Markdown: rates, runs, fresh seeds, data, machine."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from lrsweep.analysis.summary import BUSY_FROM
from lrsweep.report.texts.language import say, word
from lrsweep.report.texts.wording import (
    between,
    code_block,
    counted,
    escaped,
    fold,
    lr_text,
    number,
    percent,
    points,
)
from lrsweep.storage.tables import DRAWN_BY, class_columns

NUM_LONGEST = 5


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The cells are Markdown: text from configs and machines must have gone through `escaped`."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def rates_table(rows: pd.DataFrame, optimism: pd.Series | None = None) -> str:
    """One row per rate of one arm. `rows` is `Best.rows`; `optimism` adds a column, see `confirmation.optimism`.

    If all rates have as many runs, a sentence above the table says it instead of a column.
    """
    is_timed, is_even = bool(rows["num_timed"].any()), len(set(rows["num_runs"])) == 1
    header = [say("learning rate"), *[say("runs")] * (not is_even), say("loses (points)"), say("class"), say("test accuracy")]
    header += [say("validation accuracy"), say("epochs"), *[say("seconds")] * is_timed]
    header += [say("study\u00a0minus fresh")] * (optimism is not None)
    table = []
    for _, row in rows.iterrows():
        rate, *cells = _rate_cells(row) + [_seconds_cell(row)] * is_timed
        if optimism is not None:
            cells.append(number(optimism.get(row["lr"], math.nan) * 100, "+z.2f"))
        table.append([rate, *[str(row["num_runs"])] * (not is_even), *cells])
    count = f"{say('{runs} at each rate.', runs=counted(int(rows['num_runs'].iloc[0]), 'run'))}\n\n" if is_even else ""
    return count + markdown_table(header, table)


def _rate_cells(row: pd.Series) -> list[str]:
    is_mixed = 0 < row["num_learned"] < row["num_scored"]  # a t interval would then be meaningless
    return [
        lr_text(row["lr"]),
        say("not measured") if math.isnan(row["shortfall"]) else f"{row['shortfall'] * 100:.2f}{shortfall_interval(row)}",
        ", ".join([f"**{say('good')}**" if row["verdict"] == "good" else word(row["verdict"]), *_remarks(row)]),
        _mean_and_half(row["test_mean"], math.nan if is_mixed else row["test_high"]),
        _mean_and_half(row["valid_mean"], math.nan if is_mixed else row["valid_high"]),
        number(row["epochs_mean"], ".1f") + _half(row["epochs_mean"], row["epochs_high"], ".1f"),
    ]


def shortfall_interval(row: pd.Series) -> str:
    low, high = row["shortfall_low"], row["shortfall_high"]
    return "" if math.isnan(low) else f" ({between(f'{low * 100:.2f}', f'{high * 100:.2f}')})"


def _seconds_cell(row: pd.Series) -> str:
    if not row["num_timed"]:
        return "–"
    form = ".0f" if row["seconds_mean"] >= 10 else ".2g"
    seconds = f"{row['seconds_mean']:{form}}{_half(row['seconds_mean'], row['seconds_high'], form)}"
    return f"{seconds} ({_of(row['num_timed'], row['num_measured'])})"


def _of(num: int, total: int) -> str:
    return say("{num} of {total}", num=num, total=total)


def _half(mean: float, high: float, form: str) -> str:
    return "" if math.isnan(high) else f" ± {high - mean:{form}}"


def _remarks(row: pd.Series) -> list[str]:
    statuses = {"diverged": "{num} diverged", "failed": "{num} failed"}
    remarks = [say(text, num=row[f"num_{status}"]) for status, text in statuses.items() if row[f"num_{status}"]]
    num_at_chance = row["num_scored"] - row["num_learned"]
    if num_at_chance:
        remarks.append(say("at chance") if num_at_chance == row["num_runs"] else say("{num} at chance", num=num_at_chance))
    if row["num_learned"] == row["num_ok"] == row["num_measured"] and not row["dependable"]:
        remarks.append(say("varies too much"))
    return remarks


def _mean_and_half(mean: float, high: float) -> str:
    """A mean and the half-width of its 95% interval."""
    if math.isnan(mean):
        return say("not scored")
    return percent(mean) + ("" if math.isnan(high) else f" ± {points(high - mean)}")


def seeds_table(runs: pd.DataFrame) -> str:
    """Test accuracy of every run of one arm: one row per rate, one column per seed. × marks a diverged run, – a missing one."""
    runs = runs.assign(cell=[_run_cell(run) for run in runs.to_dict("records")])
    cells = runs.pivot(index="lr", columns="seed", values="cell").fillna("–")
    header = [say("learning rate"), *(say("seed {seed}", seed=escaped(seed)) for seed in cells.columns)]
    return markdown_table(header, ([lr_text(float(lr)), *row] for lr, row in zip(cells.index, cells.to_numpy(), strict=True)))


def _run_cell(run: dict[Any, Any]) -> str:
    if run["status"] == "failed":
        return say("failed")
    return percent(run["test_accuracy"]) + (" ×" if run["status"] == "diverged" else "")


def longest_section(runs: pd.DataFrame) -> str:
    """The runs with the most epochs, and all failed runs with their errors."""
    longest = runs.sort_values("epochs", ascending=False, kind="stable").head(NUM_LONGEST)
    header = [say(name) for name in ("learning rate", "seed", "arm", "status", "epochs", "seconds")]
    rows = (
        [
            lr_text(r["lr"]),
            escaped(r["seed"]),
            escaped(r["arm"]),
            escaped(word(r["status"])),
            str(r["epochs"]),
            "–" if math.isnan(r["seconds"]) else f"{r['seconds']:.0f}",
        ]
        for _, r in longest.iterrows()
    )
    failures = []
    for error, failed in runs[runs["status"] == "failed"].groupby("error", sort=False, dropna=False):
        first = failed.iloc[0]
        rate, seed, why = lr_text(first["lr"]), escaped(first["seed"]), escaped(error)
        others = say(" The same error ended {runs} more.", runs=counted(len(failed) - 1, "run")) if len(failed) > 1 else ""
        failures.append(say("* {rate}, seed {seed}: {error}", rate=rate, seed=seed, error=why) + others)
    return "\n\n".join(
        [
            f"## {say('Longest and failed runs')}",
            "\n".join([say("Failed:"), "", *failures]) if failures else say("No run failed."),
            fold(say("The longest runs"), markdown_table(header, rows)),
        ]
    )


def class_counts_table(counts: pd.DataFrame) -> str:
    """Images per class in each split."""
    digits = class_columns(counts)
    drawn_by = [name for name in DRAWN_BY if name == "seed" or len(set(counts[name])) > 1]
    rows = []
    for row in counts.to_dict("records"):
        used = [int(count) for count in _counts_of(row, digits)]
        ratio = f"{max(used) / min(used):.2f}" if min(used) else "–"
        cells = [
            word(str(row["split"])),
            *(row[name] for name in drawn_by),
            *("" if pd.isna(row[digit]) else int(row[digit]) for digit in digits),
        ]
        rows.append([*map(escaped, cells), ratio])
    drawn = [say("seed") if name == "seed" else name for name in drawn_by]
    return markdown_table([say("split"), *drawn, *digits, say("largest / smallest")], rows)


def data_section(class_counts: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Images per class. If the classes are uneven, also the scores that tell more than accuracy; `runs` are those of one arm."""
    if class_counts.empty:
        return f"## {say('The data')}\n\n{say('Not recorded.')}"
    judgement = say("With classes this even, accuracy is a fair measure.")
    if not _is_even(class_counts):
        judgement = say("The classes are uneven: read accuracies with care.")
    counts = say("Images of each class in each split. {judgement}", judgement=judgement)
    parts = [f"## {say('The data')}", counts, fold(say("The counts"), class_counts_table(class_counts))]
    if not _is_even(class_counts) and runs["balanced_test_accuracy"].notna().any():
        parts += [
            say("Balanced accuracy is the mean of the accuracies of all classes. Means over the seeds:"),
            _balance_table(runs),
        ]
    return "\n\n".join(parts)


def _balance_table(runs: pd.DataFrame) -> str:
    means = runs.groupby("lr")[["test_accuracy", "balanced_test_accuracy", "test_loss"]].mean().reset_index()
    rows = [
        [
            lr_text(row["lr"]),
            *map(percent, (row["test_accuracy"], row["balanced_test_accuracy"])),
            number(row["test_loss"], ".3f"),
        ]
        for _, row in means.iterrows()
    ]
    return markdown_table([say("learning rate"), say("test accuracy"), say("balanced accuracy"), say("test loss")], rows)


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
    device, name, cores = (values_of(runs, column) for column in ("device", "device_name", "cores"))
    rows = [
        [say("device"), say("{device} ({name}, {cores} cores)", device=device, name=name, cores=cores)],
        [say("workers × threads"), f"{values_of(runs, 'workers')} × {values_of(runs, 'threads')}"],
        [say("engine, timing, precision"), ", ".join(values_of(runs, column) for column in ("engine", "timing", "precision"))],
        [say("runs with a time"), _timed_text(runs)],
        [say("peak memory of a worker"), say("not recorded") if pd.isna(peak) else f"{peak / 1e9:.2f} GB"],
        [say("commit"), values_of(runs, "git_commit") + uncommitted_text(runs)],
    ]
    table = markdown_table([say("what"), say("value")], rows)
    return "\n\n".join([f"## {say('Where it ran')}", table, say("To repeat all runs:"), code_block(command)])


def _timed_text(runs: pd.DataFrame) -> str:
    num_timed = int(runs["seconds"].notna().sum())
    return say(
        "{num} of {total} had the machine to themselves (not trained together with others; on a CPU with one thread, and a wall "
        "time of at most {busy:g} times the CPU time; on a GPU with one worker)",
        num=num_timed,
        total=len(runs),
        busy=BUSY_FROM,
    )


def uncommitted_text(runs: pd.DataFrame) -> str:
    """How many runs were made from uncommitted files, in brackets; nothing if there are none."""
    num_dirty = int((runs["git_dirty"] == True).sum())  # noqa: E712  # it may be None
    text = say(" ({num} of {runs} with uncommitted files)", num=num_dirty, runs=counted(len(runs), "run"))
    return text if num_dirty else ""


def values_of(runs: pd.DataFrame, column: str) -> str:
    """All distinct values of a column, separated by commas."""
    values = runs[column].dropna().unique()
    return ", ".join(f"{value:g}" if isinstance(value, float) else escaped(value) for value in values) or say("not recorded")
