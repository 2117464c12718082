"""The title and the answer box at the top of a report: which rate, how certain, how complete, at what cost."""

import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.confirmation import Confirmation
from lrsweep.analysis.findings import Analysis, Findings
from lrsweep.analysis.summary import busyness
from lrsweep.report.texts.conclusions_en import certainty_en
from lrsweep.report.texts.markdown_tables import uncommitted_text, values_of
from lrsweep.report.texts.wording import (
    TIMES_EN,
    counted,
    escaped,
    interval,
    lr_text,
    number,
    percent,
    percents,
    points,
    rates_text,
    seconds_text,
    seeds_text,
)

_MIN_SEEDS_TO_RESAMPLE = 10  # with fewer seeds, shares of resamples look more certain than they are


def title_and_answer(study: str, tables: Analysis) -> str:
    """The title and the answer box, with one line per question."""
    runs, main = tables.runs, tables.main
    lines = [f"# {escaped(study)}: which learning rate?", ""]
    if main is None:
        lines += ["* No rate of this study was scored on every seed yet."]
    else:
        lines += [*_answer(main), f"* **What ran:** {_what_ran(runs[runs['arm'] == main.best.arm].iloc[0])}"]
    lines.append(f"* **How complete:** {completeness(runs, tables.expected)}")
    lines.append(f"* **What it cost:** {_cost(runs)}")
    lines.append(f"* **Where:** {_machine(runs)}")
    if (runs["time"] == "cpu").any():
        lines.append(
            f"* **Times:** the machine was busy with other work (wall time is at least {busyness(runs):.2f} times CPU time in a "
            "quarter of the runs), so that times here are CPU times. The table of rates has the wall times as well."
        )
    if runs["time"].isin(["calibrated", "mixed"]).any():
        lines.append(
            "* **Times:** runs that were trained together have no wall time of their own; theirs is calibrated, epochs × the "
            "median epoch of a run alone on that device. The column `timing` of runs.csv says which."
        )
    return "\n".join(lines)


def _what_ran(run: pd.Series) -> str:
    """For readers who have never seen the project. All runs of an arm share these settings."""
    patience = run["training.patience"]
    ends = f"stopped after {run['training.max_epochs']} epochs" + (
        "" if patience == "null" else f", or {patience} without a record in validation accuracy"
    )
    return (
        f"a small convolutional network on MNIST ({run['data.num_train']:,} images to train, {run['data.num_valid']:,} to "
        f"validate, {run['data.num_test']:,} to test) with {escaped(run['optimizer.name'])}, batch size "
        f"{run['training.batch_size']}, {ends}. *The document* is the text that designed this experiment; 5-2, 5-3: its sections"
    )


def _cost(runs: pd.DataFrame) -> str:
    measured = runs[runs["status"] != "failed"]
    hours, median = measured["seconds"].sum() / 3600, measured["seconds"].median()
    total = f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
    return f"{total} of {TIMES_EN[runs['time'].iloc[0]]} for these runs, {number(median, '.0f')} s the median one"


def _answer(main: Findings) -> list[str]:
    best = main.best
    return [
        f"* **Best range:** {rates_text(best.low, best.high)}, test accuracy {percents(best.rows['test_mean'])}",
        f"* **Best trade-off:** {lr_text(best.trade_off['lr'])}, test accuracy {percent(best.trade_off['test_mean'])} in "
        f"{seconds_text(best.trade_off['seconds_median'])} s of {TIMES_EN[best.best['time']]} "
        f"(median); {_trade_off_reason(best)}",
        f"* **Learning begins and ends:** {_where_it_learns(best)}",
        f"* **How sure:** {_how_sure(best)}",
        f"* **On fresh seeds:** {_fresh(main.confirmation) if main.confirmation else 'not measured (`make confirm`)'}",
    ]


def _where_it_learns(best: Best) -> str:
    low, high, rates = best.plateau.learning_low, best.plateau.learning_high, best.plateau.rates
    if not rates.loc[rates["lr"] == best.plateau.best_lr, "learned"].all():
        return "not at the most accurate rate, where some seed did not learn"
    tried = rates["lr"]
    is_all = low == tried.min() and high == tried.max()
    return f"every seed learns at every rate from {rates_text(low, high)}{', all that was tried' if is_all else ''}"


def _trade_off_reason(best: Best) -> str:
    within = f"within {points(best.delta)} percentage points of the best"
    return f"no other rate of the range is {within}" if best.num_near == 1 else f"the fastest of the range {within}"


def _how_sure(best: Best) -> str:
    plateau = best.plateau
    text = f"{certainty_en(best)}; {seeds_text(best.num_seeds)}"
    if not plateau.is_tested:
        return text
    standard_error = points(plateau.standard_error)
    text += f". Standard error of the best rate's mean (spread pooled over the rates): {standard_error} percentage points"
    if best.low < best.high:
        text += ". The test does not tell the other rates of the range from it"
    if best.num_seeds < _MIN_SEEDS_TO_RESAMPLE:
        return text
    wins = plateau.rates.set_index("lr")["wins"]
    return (
        f"{text}. Resampling the seeds, the best is inside the range in {wins.loc[best.low : best.high].sum():.0%} of cases, and "
        f"is {lr_text(plateau.best_lr)} in {wins.loc[plateau.best_lr]:.0%}"
    )


def _fresh(fresh: Confirmation) -> str:
    finalists = [
        f"{lr_text(row['lr'])} {percent(row['test_mean'])}{interval(row['test_low'], row['test_high'])}"
        for _, row in fresh.rows.iterrows()
    ]
    return f"test accuracy {', '.join(finalists)}; {seeds_text(fresh.num_seeds)} that chose nothing"


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
