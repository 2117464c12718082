"""The stored runs that the claims are judged by, and which of their rates are good."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrsweep.analysis.shortfall import MIN_SEEDS, compare_with_best
from lrsweep.analysis.study import NoSuchRuns, Study


@dataclass(frozen=True)
class Evidence:
    """All stored runs, by the name of their study."""

    read: Callable[[str], Study | None]  # None if it has no runs
    suggestions: Callable[[str], pd.DataFrame]  # study folder of range tests → rule, seed, lr

    def study(self, name: str) -> Study:
        if (study := self.read(name)) is None:
            raise NoSuchRuns("not measured yet")
        return study

    def good_rates(self, name: str, settings: Mapping[str, Any]) -> list[float]:
        """The rates shown to lose less than δ; only the best rate if none is shown to."""
        rates = self._rates(name, settings)
        good = [] if rates is None else rates.loc[rates["verdict"] == "good", "lr"].tolist()
        return [float(lr) for lr in good] or [self.best_rate(name, settings)]

    def best_rate(self, name: str, settings: Mapping[str, Any]) -> float:
        """The most accurate rate on fresh seeds, if there are any; else the rate that the study chooses."""
        rates = self._rates(name, settings)
        if rates is not None:
            return most_accurate(rates)
        study = self.study(name)
        return study.choose(study.find_arm(settings)).lr

    def _rates(self, name: str, settings: Mapping[str, Any]) -> pd.DataFrame | None:
        """What each rate of an arm loses, on fresh seeds. None if the arm has none."""
        study = self.read(f"{name}/confirm")
        try:
            rates = compared_with_best(study, settings) if study is not None else None
        except NoSuchRuns:
            return None
        return rates if rates is not None and rates["dependable"].any() else None


def most_accurate(rates: pd.DataFrame) -> float:
    """The rate with the highest mean of those that are dependable; see compare_with_best."""
    dependable = rates[rates["dependable"]]
    return float(dependable["lr"].iloc[int(dependable["mean"].argmax())])


def compared_with_best(study: Study, settings: Mapping[str, Any]) -> pd.DataFrame:
    """What each rate of an arm loses in test accuracy; see compare_with_best."""
    runs = study.runs_of(settings)
    measured = runs[runs["status"] != "failed"]
    accuracy, learned = (measured.pivot(index="seed", columns="lr", values=name) for name in ("test_accuracy", "learned"))
    return compare_with_best(accuracy, learned)


def settings_of(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arm.items() if name not in ("at", "study")}


def doubts_about(studies: Sequence[Study], num_seeds: int) -> tuple[str, ...]:
    missing = {study.name: study for study in studies if study.num_missing}
    doubts = [f"{_num_done(study)} of {_num_done(study) + study.num_missing} runs of {study.name}" for study in missing.values()]
    if num_seeds < MIN_SEEDS:
        doubts.append(f"{num_seeds} seed{'' if num_seeds == 1 else 's'}; at least {MIN_SEEDS} are needed")
    return tuple(doubts)


def _num_done(study: Study) -> int:
    return len(study.measured)  # failed runs count as missing
