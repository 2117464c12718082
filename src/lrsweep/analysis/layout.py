"""A study as a layout of seeds × columns: what each arm came to at the rate that it is judged by.

A column is an arm at a rate. Each arm is judged at its own best rate, chosen on mean validation accuracy over the seeds, unless
a claim names the rates. Seeds are blocks: they share split, initial weights and batch order across columns, so that what is
common to all of a seed's runs cancels in every contrast.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.budget import stopped_at
from lrsweep.analysis.plateau import Plateau, dependable, find_plateau, residuals
from lrsweep.analysis.target import target_below
from lrsweep.store import DEFAULT_SETTINGS

CHANCE = 0.1  # accuracy of a run that diverged before it had one: always naming one digit
NEAR = 0.01  # validation accuracy that a rate may lack against its arm's best, to take part in the pooled spread
WINDOW = 0.5  # decades to either side of an arm's best rate, over which `shortfall` is a mean
EARLY = 5  # epochs that `roughness` looks at
PATIENCE = 5  # epochs: the documents'

METRICS = {  # name → unit
    "test_accuracy": "accuracy",
    "gap": "accuracy",  # training accuracy of the best epoch, less test accuracy
    "shortfall": "accuracy",  # test accuracy at an arm's best rate, less its mean within WINDOW of that rate
    "lost_to_patience": "accuracy",  # best validation accuracy of the whole budget, less what PATIENCE would have given
    "train_loss": "nats",  # of the last epoch
    "roughness": "nats",  # all rises of the training loss from one epoch to the next, within the first EARLY
    "epochs_to_target": "factor",
    "seconds": "factor",
    "best_rate": "decades",  # each seed's own
}


class NoSuchRuns(LookupError):
    """What a claim asks for is not in the study. The message says what."""


@dataclass(frozen=True)
class Study:
    """A study's tables: `runs` as `with_chance`, `with_seconds`, `with_arms` leave them; `num_missing`: runs still to be made."""

    name: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    class_counts: pd.DataFrame
    num_missing: int = 0

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
        return self._names[arm]

    @cached_property
    def _arms(self) -> pd.DataFrame:
        """A row of settings an arm."""
        first = self.runs.drop_duplicates("arm").set_index("arm").rename(columns={"loss": "loss.name"})
        return first[[name for name in DEFAULT_SETTINGS if name in first]]

    @cached_property
    def _varying(self) -> list[str]:
        return [str(name) for name in self._arms if self._arms[name].nunique() > 1]

    @cached_property
    def _names(self) -> dict[str, str]:
        return {str(arm): _in_short(row[self._varying]) for arm, row in self._arms.iterrows()}


def _in_short(settings: pd.Series) -> str:
    """A group's choice by its name alone; the other settings that are not the defaults by theirs."""
    groups = [str(value) for name, value in settings.items() if str(name).endswith((".name", ".activation", ".layerwise"))]
    others = {name: value for name, value in settings.items() if not str(name).endswith((".name", ".activation", ".layerwise"))}
    changed = [f"{str(name).split('.')[1]}={_cut(value)}" for name, value in others.items() if value != DEFAULT_SETTINGS[str(name)]]
    return ", ".join(groups + changed) or "base"


def _cut(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 20 else "…" + text[-19:]


def described(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "the defaults"


@dataclass(frozen=True)
class Choice:
    """An arm's best rate, and what lies beside it where it is the first or the last of those tried."""

    lr: float
    rates: tuple[float, ...]  # tried on every seed, ascending

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
    def neighbours(self) -> tuple[float, ...]:
        i = self.rates.index(self.lr)
        return self.rates[max(0, i - 1) : i] + self.rates[i + 1 : i + 2]


@dataclass(frozen=True)
class Column:
    """An arm at the rates that it is judged by."""

    arm: str
    values: pd.Series  # by seed
    rates: str  # in words
    lr: float | None = None  # where it is one rate: then its spread may be pooled
    choice: Choice | None = None  # where that rate was chosen
    reach: tuple[float, float] = (0.0, 0.0)  # how much lower, higher the mean might be beyond the edge of the rates tried


@dataclass(frozen=True)
class Layout:
    """One metric of one study. `reference`: the arms that `epochs_to_target` takes its target from."""

    study: Study
    metric: str
    reference: tuple[str, ...] = ()

    def choose(self, arm: str) -> Choice:
        """The rate of the highest mean validation accuracy among those that learned on every seed; of all where none did."""
        runs = self._measured[self._measured["arm"] == arm]
        valid_SR = runs.pivot(index="seed", columns="lr", values="valid_accuracy")
        means = valid_SR.mean(skipna=False)
        learned = runs.pivot(index="seed", columns="lr", values="learned").fillna(False).astype(bool).all()
        scored = (means[learned] if learned.any() else means).dropna()
        if scored.empty:
            raise NoSuchRuns(f"no rate of {self.study.called(arm)} was scored on every seed")
        return Choice(float(scored.idxmax()), tuple(float(lr) for lr in means.index))

    def column(self, arm: str, at: Any = "best") -> Column:
        """`at`: "best", "plateau", an exponent of ten, or a range of exponents."""
        if at == "plateau":
            plateau = self._plateau(arm)
            return self._mean_over(arm, plateau.low, plateau.high)
        if isinstance(at, list):
            return self._mean_over(arm, 10 ** float(at[0]), 10 ** float(at[1]))
        if at != "best":
            rate = next((lr for lr in self._table("valid_accuracy")[arm] if math.isclose(lr, 10 ** float(at), rel_tol=1e-6)), None)
            if rate is None:
                raise NoSuchRuns(f"no runs at 10^{at} of {self.study.called(arm)}")
            return Column(arm, self.values[arm, rate], f"at 10^{at:g}", lr=rate)
        choice = self.choose(arm)
        if self.metric == "best_rate":
            return self._best_rates(arm, choice)
        if self.metric == "shortfall":
            return self._shortfall(arm, choice)
        return Column(arm, self.values[arm, choice.lr], _at_best(choice), lr=choice.lr, choice=choice, reach=self._reach(arm, choice))

    def grid_step(self, arm: str) -> float:
        """The widest step between neighbouring rates, in decades: no best rate is known better."""
        rates = np.log10(self.choose(arm).rates)
        return float(np.diff(rates).max()) if len(rates) > 1 else math.inf

    @cached_property
    def values(self) -> pd.DataFrame:
        """Seeds × (arm, lr)."""
        told = self._measured.assign(value=self._of_runs(self._measured))
        return told.pivot(index="seed", columns=["arm", "lr"], values="value").sort_index(axis="columns")

    @cached_property
    def pooled(self) -> tuple[float, int, set[tuple[str, float]]]:
        """Variance, degrees of freedom, and the columns that it is of: near their arm's best, and not far more variable.

        What rates and seeds leave unexplained in a two-way layout.
        """
        near = [(arm, lr) for arm in self.values.columns.unique("arm") for lr in self._near(str(arm))]
        table = self.values[near].dropna(axis="columns")
        if table.shape[0] < 2 or table.shape[1] < 2:
            return math.nan, 0, set()
        kept = table.loc[:, dependable(table.to_numpy(dtype=float), np.ones(table.shape[1], dtype=bool))]
        df = (kept.shape[0] - 1) * (kept.shape[1] - 1)
        variance = float((residuals(kept.to_numpy(dtype=float)) ** 2).sum()) / df if df else math.nan
        return variance, df, set(kept.columns)

    @cached_property
    def target(self) -> float:
        """A validation accuracy a little below the best of the reference arms: what `epochs_to_target` waits for."""
        valid = self._table("valid_accuracy")
        return target_below(min(float(valid[arm, self.choose(arm).lr].mean()) for arm in self.reference))

    def _table(self, name: str) -> pd.DataFrame:
        return self._measured.pivot(index="seed", columns=["arm", "lr"], values=name).sort_index(axis="columns")

    def _near(self, arm: str) -> list[float]:
        means = self._table("valid_accuracy")[arm].mean(skipna=False)
        return [float(lr) for lr in means[means >= means[self.choose(arm).lr] - NEAR].index]

    def _plateau(self, arm: str) -> Plateau:
        runs = self.study.runs[self.study.runs["arm"] == arm]
        plateau = find_plateau(runs, int(runs["data.num_valid"].iloc[0]))
        if plateau is None:
            raise NoSuchRuns(f"no rate of {self.study.called(arm)} was scored on every seed")
        return plateau

    def _mean_over(self, arm: str, low: float, high: float) -> Column:
        rates = [lr for lr in self.values[arm] if low / 1.0001 <= lr <= high * 1.0001]
        if not rates:
            raise NoSuchRuns(f"no runs from {low:.3g} to {high:.3g} of {self.study.called(arm)}")
        words = f"{_power(low)} to {_power(high)}"
        return Column(arm, self.values[arm][rates].mean(axis="columns", skipna=False), f"from {words}")

    def _reach(self, arm: str, choice: Choice) -> tuple[float, float]:
        """At the edge of the rates tried, one more step might change as much as the last one did: accuracy can only rise."""
        if not choice.is_at_edge:
            return 0.0, 0.0
        if len(choice.rates) < 2:
            return math.inf, math.inf
        change = abs(float((self.values[arm, choice.lr] - self.values[arm, choice.neighbours[0]]).mean()))
        return (0.0 if self.metric == "test_accuracy" else change), change

    def _best_rates(self, arm: str, choice: Choice) -> Column:
        valid_SR = self._table("valid_accuracy")[arm].fillna(0.0)
        best = pd.Series(np.log10(valid_SR.columns.to_numpy(dtype=float)[valid_SR.to_numpy().argmax(axis=1)]), index=valid_SR.index)
        rates = np.log10(choice.rates)
        lowest, highest = float(best.min()) <= rates[0], float(best.max()) >= rates[-1]
        return Column(arm, best, "each seed's best rate", choice=choice, reach=(math.inf if lowest else 0.0, math.inf if highest else 0.0))

    def _shortfall(self, arm: str, choice: Choice) -> Column:
        inside = [lr for lr in choice.rates if abs(math.log10(lr / choice.lr)) <= WINDOW + 1e-6]
        values = self.values[arm]
        unseen = math.inf if choice.is_at_edge else 0.0  # half of the window was not tried
        missed = values[choice.lr] - values[inside].mean(axis="columns")
        return Column(arm, missed, f"around {_power(choice.lr)}", choice=choice, reach=(unseen, unseen))

    def _of_runs(self, runs: pd.DataFrame) -> pd.Series:
        match self.metric:
            case "gap":
                at_best = self.study.curves.merge(runs[["run_id", "best_epoch"]], left_on=["run_id", "epoch"], right_on=["run_id", "best_epoch"])
                train = runs["run_id"].map(at_best.set_index("run_id")["train_accuracy"])
                return train - runs["test_accuracy"]
            case "train_loss":
                return runs["run_id"].map(self._curves.groupby("run_id")["train_loss"].last())
            case "roughness":
                early = self._curves[self._curves["epoch"] <= EARLY]
                return runs["run_id"].map(early.groupby("run_id")["train_loss"].apply(lambda loss: loss.diff().clip(lower=0).sum()))
            case "lost_to_patience":
                return runs["run_id"].map(self._curves.groupby("run_id")["valid_accuracy"].apply(_lost_to_patience))
            case "epochs_to_target":
                hits = self.study.curves[self.study.curves["valid_accuracy"] >= self.target].groupby("run_id")["epoch"].min()
                return np.log10(runs["run_id"].map(hits).fillna(runs["epochs"] + 1))  # never: counted as one epoch after the last
            case "seconds":
                return np.log10(runs["seconds"])
            case _:
                return runs["test_accuracy"].fillna(CHANCE)

    @property
    def _measured(self) -> pd.DataFrame:
        return self.study.runs[self.study.runs["status"] != "failed"]

    @property
    def _curves(self) -> pd.DataFrame:
        return self.study.curves.sort_values("epoch")


def _at_best(choice: Choice) -> str:
    edge = f", the {'lowest' if choice.is_lowest else 'highest'} tried" if choice.is_at_edge else ""
    return f"at {_power(choice.lr)}{edge}"


def _power(lr: float) -> str:
    return f"10^{round(math.log10(lr), 2):g}"


def _lost_to_patience(valid_accuracy: pd.Series) -> float:
    curve = valid_accuracy.to_numpy(dtype=float)
    return float(np.nanmax(curve) - np.nanmax(curve[: stopped_at(curve, PATIENCE)]))
