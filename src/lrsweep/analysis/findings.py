"""A study, read and analysed once: what every figure and text of its report is made from."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.confirmation import Confirmation, confirm
from lrsweep.analysis.explanations import Small, VerySmall, check_patience, explain_small, explain_very_small
from lrsweep.analysis.fixed_budget import Sensitivity, analyse_budget
from lrsweep.analysis.summary import summarise, with_arms, with_chance, with_seconds
from lrsweep.analysis.time_to_target import median_to_target, target_below, time_to_target
from lrsweep.records import RunRecord
from lrsweep.storage import files, store, tables

CONFIRM, BUDGET = "confirm", "budget"  # studies inside a study's folder, which its report quotes
SAVING_FROM = 0.05  # a smaller share of the time is no saving to speak of


@dataclass(frozen=True)
class Findings:
    """What the conclusions are written from."""

    best: Best
    very_small: VerySmall | None
    small: Small | None
    confirmation: Confirmation | None = None
    sensitivity: Sensitivity | None = None


@dataclass(frozen=True)
class Target:
    """How long until a validation accuracy of `accuracy`: a row a run of an epoch or more; a row a rate, of all runs."""

    accuracy: float
    times: pd.DataFrame
    medians: pd.DataFrame


@dataclass(frozen=True)
class Analysis:
    """`findings` are by arm, the main one first; arms of which no rate was scored are missing."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    class_counts: pd.DataFrame
    summary: pd.DataFrame
    findings: dict[str, Findings]
    target: Target | None  # of the main arm
    expected: set[str] | None  # the run_ids that the last sweep was to leave
    quoted: dict[str, pd.DataFrame] = field(default_factory=dict)  # runs of the studies in its folder that the main arm quotes

    @property
    def main(self) -> Findings | None:
        return next(iter(self.findings.values()), None)

    def of_arm(self, arm: str) -> pd.DataFrame:
        return self.runs[self.runs["arm"] == arm]


def analyse(folder: Path, delta: float | None = None) -> Analysis:
    """StoreError where the study has no records. `delta`: what the bargain may lack; None: one standard error."""
    records = store.read(folder)
    if not records:
        raise files.StoreError(f"{folder} holds no records to report; make some with lrsweep study=…")
    class_counts = tables.class_counts_frame(records)
    runs = _to_runs(records)
    curves = tables.curves_frame(records).merge(runs[["run_id", "arm"]], on="run_id")
    expected = store.read_expected(folder)
    num_missing = len(expected - set(runs["run_id"])) if expected else 0
    patience = check_patience(runs, curves)
    inside = {name: store.read(folder / name) for name in (CONFIRM, BUDGET)}
    findings: dict[str, Findings] = {}
    for arm in _plainest_first(runs):
        of_arm = runs[runs["arm"] == arm]
        best = find_best(of_arm, num_missing, delta)
        if best is not None:
            is_main = not findings
            findings[arm] = Findings(
                best,
                explain_very_small(of_arm, patience),
                explain_small(of_arm, patience, best),
                confirmation=_confirmation(inside[CONFIRM], best, of_arm) if is_main else None,
                sensitivity=_sensitivity(inside[BUDGET], of_arm) if is_main else None,
            )
    main = next(iter(findings.values()), None)
    target = None if main is None else _target(runs[runs["arm"] == main.best.arm], curves, main.best)
    used = {CONFIRM: main and main.confirmation, BUDGET: main and main.sensitivity}
    quoted = {name: _to_runs(inside[name]) for name, found in used.items() if found}
    return Analysis(runs, curves, class_counts, summarise(runs), findings, target, expected, quoted)


def _plainest_first(runs: pd.DataFrame) -> list[str]:
    """The arms, by how many of their settings are not the defaults: the documents' own answers first."""
    first = runs.drop_duplicates("arm").rename(columns={"loss": "loss.name"})
    names = [name for name in tables.DEFAULT_SETTINGS if name in first and name not in ("optimizer.lr", "seed")]
    changes = (first[names] != pd.Series(tables.DEFAULT_SETTINGS)[names]).sum(axis="columns")
    return first.assign(changes=changes).sort_values(["changes", "arm"])["arm"].tolist()


def _to_runs(records: list[RunRecord]) -> pd.DataFrame:
    return with_arms(with_seconds(with_chance(tables.to_frame(records), tables.class_counts_frame(records))))


def _confirmation(records: list[RunRecord], best: Best, of_arm: pd.DataFrame) -> Confirmation | None:
    fresh = _like(of_arm, _to_runs(records)) if records else pd.DataFrame(columns=["seed"])
    fresh = fresh[~fresh["seed"].isin(of_arm["seed"])]  # a seed that chose cannot confirm
    return None if fresh.empty else confirm(best, fresh)


def _sensitivity(records: list[RunRecord], of_arm: pd.DataFrame) -> Sensitivity | None:
    same = _like(of_arm, _to_runs(records), but=("training.max_epochs", "training.patience")) if records else pd.DataFrame()
    return None if same.empty else analyse_budget(same, tables.curves_frame(records))


def _like(of_arm: pd.DataFrame, runs: pd.DataFrame, but: tuple[str, ...] = ()) -> pd.DataFrame:
    """Those of `runs` with the settings of an arm, called by its name."""
    settings = [name for name in of_arm.columns if (name == "loss" or "." in name) and name not in but]
    return runs[(runs[settings] == of_arm[settings].iloc[0]).all(axis="columns")].assign(arm=of_arm["arm"].iloc[0])


def _target(of_arm: pd.DataFrame, curves: pd.DataFrame, best: Best) -> Target:
    accuracy = target_below(float(best.best["valid_mean"]))
    times = time_to_target(of_arm, curves, accuracy)
    return Target(accuracy, times[times["epochs_to_target"] > 0], median_to_target(times))
