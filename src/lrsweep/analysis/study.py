"""A study's tables and arms: find the arm that a claim means, name it, and choose its learning rate."""

import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from lrsweep.analysis.phrases import Phrase
from lrsweep.analysis.summary import kept_learning
from lrsweep.config import WITHOUT_EFFECT
from lrsweep.storage.tables import DEFAULT_SETTINGS, with_short_paths

_BY_VALUE = (".name", ".activation", ".layerwise")  # settings that an arm's short name gives by value only


class NoSuchRuns(LookupError):
    """The study lacks the runs that a claim needs; the message says which."""


@dataclass(frozen=True)
class Choice:
    """An arm's best rate among those tried."""

    lr: float
    rates: tuple[float, ...]  # ascending
    valid_accuracy: float  # at `lr`, the mean over the seeds

    @property
    def is_lowest(self) -> bool:
        return self.lr == self.rates[0]

    @property
    def is_at_edge(self) -> bool:
        return self.lr in (self.rates[0], self.rates[-1])


@dataclass(frozen=True)
class Study:
    """The tables of one study. `runs` has the columns that `with_chance`, `with_seconds` and `with_arms` add.

    - num_missing: planned runs without a result: not run yet, or failed
    - tuning: the study that chose the rates, if these are fresh runs
    """

    name: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    class_counts: pd.DataFrame
    num_missing: int = 0
    tuning: "Study | None" = None

    @cached_property
    def measured(self) -> pd.DataFrame:
        return self.runs[self.runs["status"] != "failed"]

    def table(self, values: pd.Series) -> pd.DataFrame:
        """Reshape one value per run, in the order of `measured`, to seeds × (arm, lr)."""
        runs = self.measured[["seed", "arm", "lr"]].assign(value=values)
        return runs.pivot(index="seed", columns=["arm", "lr"], values="value").sort_index(axis="columns")

    @cached_property
    def valid(self) -> pd.DataFrame:
        """Validation accuracy, seeds × (arm, lr)."""
        return self.table(self.measured["valid_accuracy"])

    def runs_of(self, settings: Mapping[str, Any]) -> pd.DataFrame:
        """The runs of the arm with these settings, see `find_arm`."""
        return self.runs[self.runs["arm"] == self.find_arm(settings)]

    def find_arm(self, settings: Mapping[str, Any]) -> str:
        """The arm with these settings. If there are several, the one with defaults for all others.

        The value "not null" stands for any value but "null". Of a list of values, the one with the highest validation accuracy
        counts, each at its best rate (see `choose`).
        """
        arms = self._arms
        tried = {name: value if isinstance(value, list) else [value] for name, value in settings.items()}
        for name, values in tried.items():
            if name not in arms:
                raise self._lacks(settings)
            arms = arms[arms[name] != "null"] if values == ["not null"] else arms[arms[name].isin(values)]
        if len(arms) > 1:
            others = [name for name in self._varying if name not in settings]
            arms = arms[(arms[others] == pd.Series(DEFAULT_SETTINGS)[others]).all(axis="columns")]
        if len(arms) != math.prod(map(len, tried.values())):
            raise self._lacks(settings)
        names = [str(arm) for arm in arms.index]
        return names[0] if len(names) == 1 else max(names, key=lambda arm: self.choose(arm).valid_accuracy)

    def _lacks(self, settings: Mapping[str, Any]) -> NoSuchRuns:
        return NoSuchRuns(Phrase("no runs of {arm} in {study}", arm=described(settings), study=self.name))

    def called(self, arm: str) -> str:
        """An arm's short name: of the settings that tell arms apart, those that differ from the defaults."""
        return self._names[arm]

    def choose(self, arm: str) -> Choice:
        """The rate with the highest mean validation accuracy among rates that learned on every seed; among all if none did.

        Rates with at most half as many scored runs as another are left out, and means are over the seeds that the others share.
        If `tuning` is set, its runs choose the rate. Raises NoSuchRuns if no run was scored.
        """
        if self.tuning is not None:
            return self.tuning.choose(self._arm_of_tuning(arm))
        choice = self._choices.get(arm)
        if choice is None:
            raise NoSuchRuns(Phrase("no run of {arm} was scored", arm=self.called(arm)))
        return choice

    def _arm_of_tuning(self, arm: str) -> str:
        assert self.tuning is not None
        own = dict(self._arms.loc[[arm]].iloc[0])
        same = [name for name, settings in self.tuning._arms.iterrows() if dict(settings) == own]
        if len(same) != 1:
            message = "no runs of {arm} in {study}, so its rate is not chosen yet"
            raise NoSuchRuns(Phrase(message, arm=self.called(arm), study=self.tuning.name))
        return str(same[0])

    @cached_property
    def _choices(self) -> dict[str, Choice | None]:
        return {str(arm): _choose(runs) for arm, runs in self.measured.groupby("arm", sort=False)}

    @cached_property
    def _arms(self) -> pd.DataFrame:
        """One row of settings per arm, without the seed."""
        first = self.runs.drop_duplicates("arm").set_index("arm").rename(columns={"loss": "loss.name"})
        return first[[name for name in DEFAULT_SETTINGS if name in first and name not in ("seed", *WITHOUT_EFFECT)]]

    @cached_property
    def _names(self) -> dict[str, str]:
        settings = with_short_paths(self._arms[self._varying]).to_dict("index")
        fields = Counter(map(_field, self._varying))
        for longest in (20, sys.maxsize):  # long values are cut, unless two arms would get the same name
            names = {str(arm): _short_name(own, fields, longest) for arm, own in settings.items()}
            if len({*names.values()}) == len(names):
                break
        return names

    @cached_property
    def _varying(self) -> list[str]:
        """The settings that tell arms apart. How often runs were validated counts only if nothing else does."""
        varying = [str(name) for name in self._arms if (self._arms[name] != self._arms[name].iloc[0]).any()]
        others = [name for name in varying if name != "training.validate_every"]
        return others if others and not self._arms.duplicated(others).any() else varying


def _choose(runs: pd.DataFrame) -> Choice | None:
    valid_SR = runs.pivot(index="seed", columns="lr", values="valid_accuracy")
    learned = kept_learning(runs).groupby(runs["lr"]).all()
    candidates_SR = valid_SR.loc[:, learned] if learned.any() else valid_SR
    num_scored = candidates_SR.count()
    if not num_scored.any():
        return None
    candidates_SR = candidates_SR.loc[:, num_scored > num_scored.max() / 2]
    shared_SR = candidates_SR.dropna()
    means = (shared_SR if len(shared_SR) else candidates_SR).mean()
    best = int(means.argmax())
    return Choice(float(means.index[best]), tuple(map(float, valid_SR.columns)), float(means.iloc[best]))


def _short_name(settings: Mapping[Any, Any], fields: Counter[str], longest: int) -> str:
    """The settings that differ from the defaults. If none does, the values of those in _BY_VALUE, or the only setting.

    A setting is named by its field, or in full if several settings have this field. A longer value than `longest` is cut.
    """
    changed = [name for name, value in settings.items() if value != DEFAULT_SETTINGS[name]]
    names = changed or [name for name in settings if name.endswith(_BY_VALUE)]
    if not names and len(settings) == 1:
        names = [name for name, value in settings.items() if value != "null"]
    words = []
    for name in names:
        value = settings[name]
        field = _field(name) if fields[_field(name)] == 1 else name
        text = f"{value:g}" if isinstance(value, float) else str(value)
        short = text if len(text) <= longest else f"…{text[1 - longest :]}"
        words.append(text if name.endswith(_BY_VALUE) else field if text == "True" else f"{field}={short}")
    return ", ".join(words) or "base"


def _field(setting: str) -> str:
    return setting.partition(".")[2]


def described(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or Phrase("the defaults")
