"""Read and analyse a study once; its report is written from the result."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.confirmation import confirm
from lrsweep.analysis.edges import Edges, learning_edges
from lrsweep.analysis.explanations import Small, VerySmall, check_patience, explain_small, explain_very_small
from lrsweep.analysis.fixed_budget import Sensitivity, analyse_budget
from lrsweep.analysis.shortfall import MIN_SEEDS
from lrsweep.analysis.summary import summarise, with_arms, with_chance, with_seconds
from lrsweep.config import WITHOUT_EFFECT
from lrsweep.config.targets import TARGETS
from lrsweep.records import RunRecord
from lrsweep.storage import files, store, tables

CONFIRM, BUDGET = "confirm", "budget"  # subfolders with studies that the report quotes


@dataclass(frozen=True)
class Findings:
    """The results of one arm.

    - best: what each rate loses, the best rate, and the best trade-off of accuracy and cost, from the study's own seeds
    - edges: where learning starts and ends
    - is_documents: are these the documents' network and data? Only then does a report hold their claims against the runs
    - very_small, small: the runs below 1e-5 and from 1e-5 to 1e-4; None if there are none, or if they are not the documents'
    - confirmation: like `best`, but from fresh seeds alone; None if the best rate has no fresh runs, or none was scored
    - num_fresh_diverged: the number of fresh runs that did not fail, if all of them diverged before they were scored
    - sensitivity: the effect of early stopping, from runs with a fixed budget; None if there are none
    """

    best: Best
    edges: Edges
    very_small: VerySmall | None
    small: Small | None
    is_documents: bool = True
    confirmation: Best | None = None
    num_fresh_diverged: int = 0
    sensitivity: Sensitivity | None = None

    @property
    def headline(self) -> Best:
        """The answers to quote: from fresh seeds if several rates ran on enough of them, else from the study's own seeds.

        As long as fresh runs are missing, there must be at least as many fresh seeds as seeds of the study.
        """
        fresh = self.confirmation
        if fresh is None or len(fresh.rows) < 2:
            return self.best
        enough = max(MIN_SEEDS, self.best.num_seeds) if "runs_missing" in fresh.doubts else MIN_SEEDS
        return fresh if fresh.num_seeds >= enough else self.best


@dataclass(frozen=True)
class Analysis:
    """A study, analysed. An arm is a loss together with every other setting that varies in the study, except rate and seed.

    - runs: one row per run: settings, results and machine; `arm`; `learned`, whether it beat chance; `seconds`, its wall time if
      that can be compared (see `with_seconds`)
    - curves: one row per epoch of every run
    - class_counts: images per class, one row per data split
    - summary: one row per arm and learning rate, see `summarise`
    - findings: arm → results, the main arm first; arms without a scored rate are left out
    - expected: run_ids of all runs that the last sweep planned; None if it was not recorded
    - num_fresh_planned, num_fresh_missing: runs that the last lrsweep-confirm planned, and how many of them are missing or failed
    - quoted: "confirm" or "budget" → runs of that subfolder, if the findings use them
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    class_counts: pd.DataFrame
    summary: pd.DataFrame
    findings: dict[str, Findings]
    expected: set[str] | None
    quoted: dict[str, pd.DataFrame] = field(default_factory=dict)
    num_fresh_planned: int = 0
    num_fresh_missing: int = 0

    @property
    def main(self) -> Findings | None:
        """The results of the main arm: the one with the fewest settings that differ from the defaults."""
        return next(iter(self.findings.values()), None)

    @property
    def main_runs(self) -> pd.DataFrame:
        """The runs of the main arm; all runs if no arm was scored."""
        return self.runs if self.main is None else self.of_arm(self.main.best.arm)

    def of_arm(self, arm: str) -> pd.DataFrame:
        """The rows of `runs` for one arm."""
        return self.runs[self.runs["arm"] == arm]


def analyse(folder: Path, delta: float | None = None) -> Analysis:
    """Analyse the study in `folder`. Raises StoreError if it has no records.

    `delta` is the smallest difference in test accuracy that matters; see `find_best`. None: the study's own, see `study.delta`.
    """
    delta = store.read_delta(folder) if delta is None else delta
    records = store.read(folder)
    if not records:
        files_of_others = [*folder.parent.glob("*/runs/*.json"), *folder.parent.glob("*/runs.jsonl.gz")]
        others = sorted({path.relative_to(folder.parent).parts[0] for path in files_of_others})
        instead = f"name a study that has some: {', '.join(others)}" if others else "run lrsweep study=… first"
        raise files.StoreError(f"{folder} holds no records to report; {instead}")
    runs = to_runs(records)
    curves = tables.curves_frame(records).merge(runs[["run_id", "arm"]], on="run_id")
    expected = store.read_expected(folder)
    num_missing = len(expected - set(runs["run_id"])) if expected else 0
    patience = check_patience(runs, curves)
    subfolders = {name: store.read(folder / name) for name in (CONFIRM, BUDGET)}
    runs_in = {name: to_runs(records) for name, records in subfolders.items() if records}
    fresh_planned = store.read_expected(folder / CONFIRM) or set()
    num_fresh_missing = len(fresh_planned - {record.run_id for record in subfolders[CONFIRM] if record.is_done})
    findings: dict[str, Findings] = {}
    for arm in _arms_by_num_changes(runs):
        arm_runs = runs[runs["arm"] == arm]
        best = find_best(arm_runs, num_missing, delta)
        if best is not None:
            fresh = fresh_runs(arm_runs, runs_in[CONFIRM]) if CONFIRM in runs_in else runs[:0]
            fresh_ran = fresh[fresh["status"] != "failed"]
            is_main, is_documents = not findings, bool((arm_runs[list(TARGETS)] == "null").all(axis=None))
            findings[arm] = Findings(
                best,
                learning_edges(arm_runs),
                explain_very_small(arm_runs, patience) if is_documents else None,
                explain_small(arm_runs, patience, best) if is_documents else None,
                is_documents=is_documents,
                confirmation=None if fresh.empty else confirm(best, fresh, num_fresh_missing),
                num_fresh_diverged=len(fresh_ran) if fresh_ran["test_accuracy"].isna().all() else 0,
                sensitivity=_sensitivity(subfolders[BUDGET], best, arm_runs) if is_main else None,
            )
    is_quoted = {
        CONFIRM: any(found.confirmation for found in findings.values()),
        BUDGET: any(found.sensitivity for found in findings.values()),
    }
    quoted = {name: runs_in[name] for name in runs_in if is_quoted[name]}
    return Analysis(
        runs,
        curves,
        tables.class_counts_frame(records),
        summarise(runs),
        findings,
        expected,
        quoted,
        len(fresh_planned),
        num_fresh_missing,
    )


def _arms_by_num_changes(runs: pd.DataFrame) -> list[str]:
    """All arms, sorted by how many of their settings differ from the defaults."""
    first = runs.drop_duplicates("arm").rename(columns={"loss": "loss.name"})
    names = [name for name in tables.DEFAULT_SETTINGS if name in first and name not in ("optimizer.lr", "seed")]
    num_changes = (first[names] != pd.Series(tables.DEFAULT_SETTINGS)[names]).sum(axis="columns")
    return first.assign(num_changes=num_changes).sort_values(["num_changes", "arm"])["arm"].tolist()


def to_runs(records: list[RunRecord]) -> pd.DataFrame:
    """See Analysis.runs."""
    return with_arms(with_seconds(with_chance(tables.to_frame(records), tables.class_counts_frame(records))))


def fresh_runs(arm_runs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of `runs` that have the settings of an arm and fresh seeds, with the arm's name."""
    fresh = _with_settings_of(arm_runs, runs)
    return fresh[~fresh["seed"].isin(arm_runs["seed"])]  # a seed that helped to choose cannot confirm the choice


def _sensitivity(records: list[RunRecord], best: Best, arm_runs: pd.DataFrame) -> Sensitivity | None:
    if not records:
        return None
    runs = _with_settings_of(arm_runs, to_runs(records), ignored=("training.max_epochs", "training.patience"))
    return None if runs.empty else analyse_budget(runs, tables.curves_frame(records), best.delta)


def _with_settings_of(arm_runs: pd.DataFrame, runs: pd.DataFrame, ignored: tuple[str, ...] = ()) -> pd.DataFrame:
    """The rows of `runs` that have the settings of an arm, with the arm's name."""
    settings = [name for name in arm_runs.columns if (name == "loss" or "." in name) and name not in (*ignored, *WITHOUT_EFFECT)]
    own = arm_runs[settings].iloc[0]
    return runs[(runs.reindex(columns=settings) == own).all(axis="columns")].assign(arm=arm_runs["arm"].iloc[0])
