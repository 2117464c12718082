"""The answer box at the top of a report, as Markdown: which rate, why, how sure, how complete, where."""

import pandas as pd

from lrsweep.analysis.best import Best
from lrsweep.analysis.confirm import Confirmation
from lrsweep.analysis.summary import busyness
from lrsweep.report.conclusions_en import certainty_en
from lrsweep.report.document import uncommitted, values_of
from lrsweep.report.findings import Findings, Tables
from lrsweep.report.wording import (
    TIMES_EN,
    counted,
    escaped,
    interval,
    lr_text,
    percent,
    percents,
    points,
    rates_text,
    seconds_text,
    seeds_text,
)


def head(study: str, tables: Tables) -> str:
    """The title, and the answer: a line a question."""
    runs, main = tables.runs, tables.main
    lines = [f"# {escaped(study)}: which learning rate?", ""]
    if main is None:
        lines += ["* No rate of this study was scored on every seed yet."]
    else:
        lines += _answer(main)
    lines.append(f"* **How complete:** {completeness(runs, tables.expected)}")
    lines.append(f"* **Where:** {_machine(runs)}")
    if (runs["time"] == "cpu").any():
        lines.append(
            f"* **Times:** the machine was busy with other work (wall time is {busyness(runs):.2f} times CPU time in the median "
            "run), so that times here are CPU times. The wall times are in runs.csv."
        )
    if runs["time"].isin(["calibrated", "mixed"]).any():
        lines.append(
            "* **Times:** runs that were trained together have no wall time of their own; theirs is calibrated, epochs × the "
            "median epoch of a run alone on that device. The column `timing` of runs.csv says which."
        )
    return "\n".join(lines)


def _answer(main: Findings) -> list[str]:
    best = main.best
    return [
        f"* **Best range:** {rates_text(best.low, best.high)}, test accuracy {percents(best.rows['test_mean'])}",
        f"* **Best trade-off:** {lr_text(best.bargain['lr'])}, test accuracy {percent(best.bargain['test_mean'])} in "
        f"{seconds_text(best.bargain['seconds_median'])} s of {TIMES_EN[best.best['time']]} (median); the fastest of the range "
        f"within {points(best.delta)} percentage points of the best",
        f"* **Learning begins and ends:** on every seed a run learns from "
        f"{rates_text(best.plateau.learning_low, best.plateau.learning_high)}",
        f"* **How sure:** {_how_sure(best)}",
        f"* **On fresh seeds:** {_fresh(main.confirmation) if main.confirmation else 'not measured (`make confirm`)'}",
    ]


def _how_sure(best: Best) -> str:
    plateau = best.plateau
    told = f"{certainty_en(best)}; {seeds_text(best.num_seeds)}"
    if not plateau.is_tested:
        return told
    wins = plateau.rates.set_index("lr")["wins"]
    return (
        f"{told}. Standard error of the best rate's mean: {points(plateau.standard_error)} percentage points. Resampling the "
        f"seeds, the best is inside the range in {wins.loc[best.low : best.high].sum():.0%} of cases, and is "
        f"{lr_text(plateau.best_lr)} in {wins.loc[plateau.best_lr]:.0%}"
    )


def _fresh(fresh: Confirmation) -> str:
    rows = [fresh.best] if fresh.best["lr"] == fresh.bargain["lr"] else [fresh.best, fresh.bargain]
    told = [f"{lr_text(row['lr'])} {percent(row['test_mean'])}{interval(row['test_low'], row['test_high'])}" for row in rows]
    return f"test accuracy {', '.join(told)}; {seeds_text(fresh.num_seeds)} that chose nothing"


def completeness(runs: pd.DataFrame, expected: set[str] | None = None) -> str:
    """How many runs are there and what became of them; how many the last sweep has still to make, where it said so."""
    told = ", ".join(f"{(runs['status'] == status).sum()} {status}" for status in ("ok", "diverged", "failed"))
    by_arm = runs.groupby("arm")
    grids = [
        f"{counted(of_arm['lr'].nunique(), 'learning rate')} × {counted(of_arm['seed'].nunique(), 'seed')} ({escaped(arm)})"
        for arm, of_arm in by_arm
    ]
    there = f"{counted(len(runs), 'run')} of {' and '.join(grids)}: {told}"
    if expected is None:
        return there
    missing = len(expected - set(runs["run_id"]))
    return there + (
        f". The last sweep is complete ({len(expected)})" if not missing else f". **{missing} of {len(expected)} missing**"
    )


def _machine(runs: pd.DataFrame) -> str:
    commits = ", ".join(sorted(escaped(str(commit)[:7]) for commit in runs["git_commit"].dropna().unique())) or "not recorded"
    return f"{values_of(runs, 'device_name')}, {values_of(runs, 'cores')} cores; commit {commits}{uncommitted(runs)}"
