"""A study's tables and its arms: which arm a claim means, what it is called, and the rate that it is judged at."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from lrsweep.analysis.plateau import Plateau, find_plateau
from lrsweep.storage.tables import DEFAULT_SETTINGS

_BY_VALUE = (".name", ".activation", ".layerwise")  # settings that are called by their value alone


class NoSuchRuns(LookupError):
    """What a claim asks for is not in the study. The message says what."""


@dataclass(frozen=True)
class Choice:
    """An arm's best rate among those tried."""

    lr: float
    rates: tuple[float, ...]  # ascending

    @property
    def is_lowest(self) -> bool:
        return self.lr == self.rates[0]

    @property
    def is_highest(self) -> bool:
        return self.lr == self.rates[-1]

    @property
    def is_at_edge(self) -> bool:
        return self.is_lowest or self.is_highest

    @property
    def neighbour(self) -> float | None:
        """The rate beside one at the edge."""
        return None if len(self.rates) < 2 else self.rates[1 if self.is_lowest else -2]


@dataclass(frozen=True)
class Study:
    """A study's tables: `runs` as `with_chance`, `with_seconds`, `with_arms` leave them.

    `num_missing`: runs still to be made, those that failed among them.
    """

    name: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    class_counts: pd.DataFrame
    num_missing: int = 0

    @cached_property
    def measured(self) -> pd.DataFrame:
        return self.runs[self.runs["status"] != "failed"]

    def table(self, values: pd.Series) -> pd.DataFrame:
        """A value a run, in the order of `measured`, as seeds × (arm, lr)."""
        told = self.measured[["seed", "arm", "lr"]].assign(value=values)
        return told.pivot(index="seed", columns=["arm", "lr"], values="value").sort_index(axis="columns")

    @cached_property
    def valid(self) -> pd.DataFrame:
        """Validation accuracy, seeds × (arm, lr)."""
        return self.table(self.measured["valid_accuracy"])

    def of_arm(self, settings: Mapping[str, Any]) -> pd.DataFrame:
        return self.runs[self.runs["arm"] == self.find_arm(settings)]

    def find_arm(self, settings: Mapping[str, Any]) -> str:
        """The arm with these settings; of several, the one whose other settings are the defaults. "not null": any but none."""
        arms = self._arms
        for name, value in settings.items():
            if name not in arms:
                raise NoSuchRuns(f"no runs of {described(settings)}")
            arms = arms[arms[name] != "null"] if value == "not null" else arms[arms[name] == value]
        if len(arms) > 1:
            others = [name for name in self._varying if name not in settings]
            arms = arms[(arms[others] == pd.Series(DEFAULT_SETTINGS)[others]).all(axis="columns")]
        if len(arms) != 1:
            raise NoSuchRuns(f"no runs of {described(settings)}")
        return str(arms.index[0])

    def called(self, arm: str) -> str:
        """An arm in short: what it has set otherwise than by default."""
        return _in_short(dict(self._arms[self._varying].loc[[arm]].iloc[0]))

    def choose(self, arm: str) -> Choice:
        """The rate of the highest mean validation accuracy among those that learned on every seed; of all where none did.

        NoSuchRuns where no rate was scored on every seed that the arm has.
        """
        choice = self._choices[arm]
        if choice is None:
            raise NoSuchRuns(f"no rate of {self.called(arm)} was scored on every seed")
        return choice

    @cached_property
    def _choices(self) -> dict[str, Choice | None]:
        return {str(arm): _choose(runs) for arm, runs in self.measured.groupby("arm", sort=False)}

    def plateau(self, arm: str) -> Plateau:
        """NoSuchRuns as in `choose`."""
        if arm not in self._plateaus:
            runs = self.runs[self.runs["arm"] == arm]
            self._plateaus[arm] = find_plateau(runs, int(runs["data.num_valid"].iloc[0]), self.num_missing)
        if (plateau := self._plateaus[arm]) is None:
            raise NoSuchRuns(f"no rate of {self.called(arm)} was scored on every seed")
        return plateau

    @cached_property
    def _plateaus(self) -> dict[str, Plateau | None]:
        return {}

    @cached_property
    def _arms(self) -> pd.DataFrame:
        """One row of settings per arm. The seed is not one of them: the runs of an arm differ in it."""
        first = self.runs.drop_duplicates("arm").set_index("arm").rename(columns={"loss": "loss.name"})
        return first[[name for name in DEFAULT_SETTINGS if name in first and name != "seed"]]

    @cached_property
    def _varying(self) -> list[str]:
        return [str(name) for name in self._arms if (self._arms[name] != self._arms[name].iloc[0]).any()]


def _choose(runs: pd.DataFrame) -> Choice | None:
    means = runs.pivot(index="seed", columns="lr", values="valid_accuracy").mean(skipna=False)
    learned = runs.groupby("lr")["learned"].all()
    scored = (means[learned] if learned.any() else means).dropna()
    return None if scored.empty else Choice(float(scored.index[int(scored.argmax())]), tuple(float(lr) for lr in means.index))


def _in_short(settings: dict[Any, Any]) -> str:
    """What is not the default; where all is, the group's choice by its value."""
    chosen = {str(name): value for name, value in settings.items()}
    changed = [name for name, value in chosen.items() if value != DEFAULT_SETTINGS[name]]
    told = changed or [name for name in chosen if name.endswith(_BY_VALUE)]
    words = [str(chosen[name]) if name.endswith(_BY_VALUE) else f"{name.split('.')[1]}={_cut(chosen[name])}" for name in told]
    return ", ".join(words) or "base"


def _cut(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 20 else "…" + text[-19:]


def described(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "the defaults"


def power(lr: float) -> str:
    """10^-2.5"""
    return f"10^{round(math.log10(lr), 2):g}"
