"""The stored runs that the claims are judged by, and which of their rates are good."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.findings import CONFIRM, to_runs
from lrsweep.analysis.phrases import Phrase
from lrsweep.analysis.shortfall import MIN_SEEDS
from lrsweep.analysis.study import NoSuchRuns, Study, described
from lrsweep.analysis.suggestions import suggest
from lrsweep.storage import range_tests, store, tables


@dataclass(frozen=True)
class Evidence:
    """All stored runs, by the name of their study."""

    read: Callable[[str], Study | None]  # None if the study has no runs
    suggestions: Callable[[str], pd.DataFrame]  # study folder of range tests → rule, seed, lr

    def study(self, name: str) -> Study:
        if (study := self.read(name)) is None:
            raise NoSuchRuns(Phrase("not measured yet"))
        return study

    def good_rates(self, name: str, settings: Mapping[str, Any]) -> list[float]:
        """The rates that are shown to lose less than δ. If there are none, the best rate alone."""
        best = self._fresh_best(name, settings)
        good = [] if best is None else best.good["lr"].tolist()
        return [float(lr) for lr in good] or [self.best_rate(name, settings)]

    def best_rate(self, name: str, settings: Mapping[str, Any]) -> float:
        """The best rate on fresh seeds. Without fresh seeds, the best rate of the study itself."""
        best = self._fresh_best(name, settings)
        if best is not None:
            return float(best.best["lr"])
        study = self.study(name)
        return study.choose(study.find_arm(settings)).lr

    def _fresh_best(self, name: str, settings: Mapping[str, Any]) -> Best | None:
        study = self.read(f"{name.removesuffix(f'/{CONFIRM}')}/{CONFIRM}")
        try:
            return best_of(study, settings) if study is not None else None
        except NoSuchRuns:  # this arm has no fresh runs
            return None


def read_study(folder: Path, name: str) -> Study | None:
    """The runs of a study, or None if there are none. For `…/confirm`, the study in the folder above chose the rates."""
    records = store.read(folder / name)
    if not records:
        return None
    runs = to_runs(records)
    expected = store.read_expected(folder / name)
    is_done = runs["status"] != "failed"
    missing = len((expected or set()) - set(runs.loc[is_done, "run_id"])) or int((~is_done).sum())
    parent = name.removesuffix(f"/{CONFIRM}")
    tuning = read_study(folder, parent) if parent != name else None
    return Study(name, runs, tables.curves_frame(records), tables.class_counts_frame(records), missing, tuning)


def read_suggestions(folder: Path, name: str) -> pd.DataFrame:
    """The suggestions of a study's range tests, one row per rule and seed; empty if there are no range tests."""
    if not range_tests.has_range_tests(folder / name):
        return suggest(())
    return suggest(range_tests.read_range_tests(folder / name).tests)


def best_of(study: Study, settings: Mapping[str, Any]) -> Best:
    """What each rate of an arm loses, and which rate is best. Always judged by the default δ, whatever the study's own is."""
    tried = () if study.tuning is None else tuple(map(float, study.tuning.runs_of(settings)["lr"].unique()))
    best = find_best(study.runs_of(settings), study.num_missing, tried=tried)
    if best is None:
        raise NoSuchRuns(Phrase("no run of {arm} was scored", arm=described(settings)))
    return best


def settings_of(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arm.items() if name not in ("at", "study")}


def doubts_about(studies: Sequence[Study], num_seeds: int) -> tuple[str, ...]:
    with_tuning = [each for study in studies for each in (study, study.tuning) if each is not None]
    missing = {study.name: study for study in with_tuning if study.num_missing}
    doubts = [
        Phrase(
            "only {num} of {total} planned runs of {study} have finished",
            num=_num_done(study),
            total=_num_done(study) + study.num_missing,
            study=study.name,
        )
        for study in missing.values()
    ]
    if num_seeds < MIN_SEEDS:
        seeds = "{num} seed; at least {needed} are needed" if num_seeds == 1 else "{num} seeds; at least {needed} are needed"
        doubts.append(Phrase(seeds, num=num_seeds, needed=MIN_SEEDS))
    return tuple(doubts)


def _num_done(study: Study) -> int:
    return len(study.measured)  # failed runs count as missing
