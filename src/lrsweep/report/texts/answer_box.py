"""The title and the answer box at the top of a report: which rates, how certain, how complete, at what cost."""

import pandas as pd

from lrsweep.analysis.findings import CONFIRM, Analysis, Findings
from lrsweep.report.texts.conclusions_en import (
    best_rate_en,
    caution_en,
    disagreement_en,
    edges_en,
    evidence_en,
    good_rates_en,
    trade_off_en,
)
from lrsweep.report.texts.markdown_tables import uncommitted_text, values_of
from lrsweep.report.texts.wording import counted, escaped, interval, lr_text, number, percent, seeds_text


def title_and_answer(study: str, tables: Analysis) -> str:
    """The title and the answer box, with one line per question."""
    runs, main = tables.runs, tables.main
    lines = [f"# {escaped(study)}: which learning rate?", ""]
    if main is None:
        lines += ["* No run of this study was scored yet."]
    else:
        lines += [*_answer(study, main), f"* **What ran:** {_what_ran(runs[runs['arm'] == main.best.arm].iloc[0])}"]
    lines.append(f"* **How complete:** {completeness(runs, tables.expected)}")
    lines.append(f"* **What it cost:** {_cost(runs)}")
    fresh = f"; fresh seeds: {_machine(tables.quoted[CONFIRM])}" if CONFIRM in tables.quoted else ""
    lines.append(f"* **Where:** {_machine(runs)}{fresh}")
    return "\n".join(lines)


def _what_ran(run: pd.Series) -> str:
    """For readers who have never seen the project. All runs of an arm share these settings."""
    patience = run["training.patience"]
    ends = f"stopped after {run['training.max_epochs']} epochs" + (
        "" if patience == "null" else f", or {patience} without improvement in validation accuracy"
    )
    return (
        f"a small convolutional network on MNIST ({run['data.num_train']:,} images to train, {run['data.num_valid']:,} to "
        f"validate, {run['data.num_test']:,} to test) with {escaped(run['optimizer.name'])}, batch size "
        f"{run['training.batch_size']}, {ends}. *The document* is the text that designed this experiment; 5-2, 5-3: its sections"
    )


def _cost(runs: pd.DataFrame) -> str:
    measured = runs[runs["status"] != "failed"]
    num_timed = int(measured["seconds"].notna().sum())
    epochs = f"{measured['epochs'].sum():,} epochs in {counted(len(measured), 'run')}"
    if not num_timed:
        return f"{epochs}; time was not measured, because no run had the machine to itself"
    return (
        f"{epochs}; median {number(measured['seconds'].median(), '.0f')} s of the {num_timed} that had the machine to themselves"
    )


def _answer(study: str, main: Findings) -> list[str]:
    best = main.headline
    is_fresh = study.endswith(f"/{CONFIRM}")  # this study's own seeds are the fresh seeds
    lines = [
        f"* **Good rates:** {good_rates_en(best)}",
        f"* **Best rate:** {best_rate_en(best)}",
        f"* **Best trade-off:** {trade_off_en(best)}",
        f"* **How sure:** {evidence_en(main)}. {caution_en(main)}".rstrip(". "),
        *([] if is_fresh else [f"* **Fresh seeds:** {_fresh(main)}"]),
        f"* **Where learning starts and ends:** {edges_en(main)}",
    ]
    return [line.removesuffix(".") for line in lines]


def _fresh(main: Findings) -> str:
    fresh = main.confirmation
    if fresh is None:
        return "none at the best rate yet (see `lrsweep-confirm --help`)"
    if disagree := disagreement_en(main):
        return disagree
    if fresh is main.headline:
        return f"the answers above are theirs; the study's own {seeds_text(main.best.num_seeds)} do not contradict them"
    row = fresh.best
    return (
        f"{lr_text(row['lr'])} reaches {percent(row['test_mean'])}{interval(row['test_low'], row['test_high'])} on "
        f"{seeds_text(fresh.num_seeds)} that did not choose it"
    )


def completeness(runs: pd.DataFrame, expected: set[str] | None = None) -> str:
    """The number of runs by status. `expected` holds the run ids of the last sweep: its missing and failed runs are counted."""
    statuses = ", ".join(f"{(runs['status'] == status).sum()} {status}" for status in ("ok", "diverged", "failed"))
    grids = [
        f"{counted(arm_runs['lr'].nunique(), 'learning rate')} × {counted(arm_runs['seed'].nunique(), 'seed')} ({escaped(arm)})"
        for arm, arm_runs in runs.groupby("arm")
    ]
    present = f"{counted(len(runs), 'run')} of {' and '.join(grids)}: {statuses}"
    if expected is None:
        return present
    missing = len(expected - set(runs["run_id"]))
    failed = int((runs["run_id"].isin(expected) & (runs["status"] == "failed")).sum())
    if missing:
        return f"{present}. **{missing} of {len(expected)} missing**"
    if failed:
        return f"{present}. **{failed} of {len(expected)} to be done again**"
    return f"{present}. The last sweep is complete ({len(expected)})"


def _machine(runs: pd.DataFrame) -> str:
    commits = ", ".join(sorted(escaped(str(commit)[:7]) for commit in runs["git_commit"].dropna().unique())) or "not recorded"
    return f"{values_of(runs, 'device_name')}, {values_of(runs, 'cores')} cores; commit {commits}{uncommitted_text(runs)}"
