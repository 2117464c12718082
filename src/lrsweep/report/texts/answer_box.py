"""The title and the answer box at the top of a report, and the section that says what ran."""

from collections.abc import Sequence

import pandas as pd

from lrsweep.analysis.findings import CONFIRM, Analysis
from lrsweep.report.texts.decision import decision_en
from lrsweep.report.texts.markdown_tables import uncommitted_text, values_of
from lrsweep.report.texts.wording import counted, escaped, number


def title_and_answer(study: str, tables: Analysis) -> str:
    """The title and the answer box: the decision in four lines, and a warning if runs are missing."""
    main = tables.main
    lines = [f"# {escaped(study)}: which learning rate?", ""]
    if main is None:
        lines.append("* No run of this study was scored yet.")
    else:
        lines += decision_lines(decision_en(main))
        is_fresh = study.endswith(f"/{CONFIRM}")  # this study's own seeds are the fresh seeds
        if main.confirmation is None and not is_fresh:
            lines.append("* **Fresh seeds:** none at the best rate yet (see `lrsweep-confirm --help`)")
    if todo := _to_do(tables.runs, tables.expected):
        lines.append(f"* **Not finished:** {todo}.")
    return "\n".join(lines)


def decision_lines(decision: Sequence[tuple[str, str]]) -> list[str]:
    return [f"* **{question}** {answer}" for question, answer in decision]


def what_ran_section(tables: Analysis) -> str:
    """The network and data, the number of runs and whether they are complete, the cost, and the machine."""
    runs, main = tables.runs, tables.main
    lines = ["## What ran", ""]
    if main is not None:
        lines.append(f"* **Network and data:** {_what_ran(runs[runs['arm'] == main.best.arm].iloc[0])}")
    lines.append(f"* **Runs:** {completeness(runs, tables.expected)}")
    lines.append(f"* **Cost:** {_cost(runs)}")
    fresh = f"; fresh seeds: {_machine(tables.quoted[CONFIRM])}" if CONFIRM in tables.quoted else ""
    lines.append(f"* **Machine:** {_machine(runs)}{fresh}")
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
    todo = _to_do(runs, expected)
    return f"{present}. **{todo}**" if todo else f"{present}. The last sweep is complete ({len(expected)})"


def _to_do(runs: pd.DataFrame, expected: set[str] | None) -> str:
    """The runs that the last sweep still has to do. Empty if there are none, or if the sweep is unknown."""
    if not expected:
        return ""
    missing = len(expected - set(runs["run_id"]))
    failed = int((runs["run_id"].isin(expected) & (runs["status"] == "failed")).sum())
    if missing:
        return f"{missing} of {len(expected)} runs missing"
    return f"{failed} of {len(expected)} runs failed and must be done again" if failed else ""


def _machine(runs: pd.DataFrame) -> str:
    commits = ", ".join(sorted(escaped(str(commit)[:7]) for commit in runs["git_commit"].dropna().unique())) or "not recorded"
    return f"{values_of(runs, 'device_name')}, {values_of(runs, 'cores')} cores; commit {commits}{uncommitted_text(runs)}"
