"""The contrasts that test the claims. Each takes tables and returns an effect with its confidence interval.

The sign of an effect is chosen so that a larger effect favours the claim. `difference` covers most claims: a paired comparison of
columns (block_design.py) by Student's t. `balance`, `blank` and `shape` state facts that have no interval of their own here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from lrsweep.analysis.acting import share_that_acted
from lrsweep.analysis.block_design import METRICS, OVER_RATES, BlockDesign, Column
from lrsweep.analysis.edges import Edge, learning_edges
from lrsweep.analysis.explanations import check_patience
from lrsweep.analysis.shortfall import LEVEL, MIN_SEEDS, compare_with_best
from lrsweep.analysis.study import NoSuchRuns, Study, described, power
from lrsweep.analysis.verdicts import Effect, half_interval
from lrsweep.config import ScheduleConfig
from lrsweep.training.schedules import Pace, lr_at

Arm = Mapping[str, Any]  # settings that select the arm; optionally `at`, see BlockDesign.column, and `study`, if it is another
Reduce = Literal["mean", "all", "any", "most", "slope"]


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
        """The rates shown to lose less than δ, on fresh seeds if there are any; only the best rate if none is shown to."""
        for source in (f"{name}/confirm", name):
            study = self.read(source)
            try:
                rates = compared_with_best(study, settings) if study is not None else None
            except NoSuchRuns:
                continue  # this arm has no fresh seeds
            if rates is not None and (good := rates.loc[rates["verdict"] == "good", "lr"].tolist()):
                return [float(lr) for lr in good]
        study = self.study(name)
        return [study.choose(study.find_arm(settings)).lr]


def compared_with_best(study: Study, settings: Mapping[str, Any]) -> pd.DataFrame:
    """What each rate of an arm loses in test accuracy; see compare_with_best."""
    runs = study.runs_of(settings)
    measured = runs[runs["status"] != "failed"]
    accuracy, learned = (measured.pivot(index="seed", columns="lr", values=name) for name in ("test_accuracy", "learned"))
    return compare_with_best(accuracy, learned)


def difference(
    evidence: Evidence,
    level: float,
    *,
    study: str,
    metric: str,
    arms: Sequence[Arm],
    against: Sequence[Arm] = (),
    reduce: Reduce = "mean",
    direction: Literal["more", "less"] = "more",
    over: str = "",
) -> Effect:
    """Compare `arms` with `against` in one metric, paired by seed.

    `reduce` combines several arms into one effect, with intervals that hold together at 1 - `level`:

    - mean: difference between the means of both sides; without `against`, the mean of the arms
    - all: smallest difference over all pairs within a study (is every arm better?)
    - any: largest difference over all pairs (is at least one arm better?)
    - most: the median difference, or with an even number of pairs the one below (are more than half of the arms better?)
    - slope: change of the metric from the smallest to the largest value of the setting `over`, by a straight line on its logarithm

    An arm that never acted is left out of several, and is a doubt if it is the only one.
    """
    sign = -1.0 if direction == "less" else 1.0
    ups, idle = _without_idle(_columns(evidence, study, metric, arms, against), metric)
    downs, idle_downs = _without_idle(_columns(evidence, study, metric, against, against), metric)
    parts: list[tuple[str, Effect]]
    match reduce:
        case "slope":
            x = np.log10([float(up.column.runs[over].iloc[0]) for up in ups])
            weights = sign * (x - x.mean()) / ((x - x.mean()) ** 2).sum() * np.ptp(x)
            parts = [("", _linear(list(zip(weights, ups, strict=True)), level, metric))]
        case "mean":
            weighted = [(sign / len(ups), up) for up in ups] + [(-sign / len(downs), down) for down in downs]
            parts = [("", _linear(weighted, level, metric))]
        case _:
            pairs = [(up, down) for up in ups for down in downs if up.study is down.study]
            share = level / len(pairs)  # Bonferroni
            parts = [(f"{up.name} against {down.name}", _linear([(sign, up), (-sign, down)], share, metric)) for up, down in pairs]
    rank = {"any": len(parts) - 1, "most": (len(parts) - 1) // 2}.get(reduce, 0)
    chosen = sorted((part for _, part in parts), key=lambda part: part.effect)[rank]
    sides = [*ups, *downs]
    notes = [side.column.caveat for side in sides] + [f"left out, because it never acted: {name}" for name in idle + idle_downs]
    return replace(
        chosen,
        low=sorted(part.low for _, part in parts)[rank],
        high=sorted(part.high for _, part in parts)[rank],
        num_runs=pd.concat([side.column.runs["run_id"] for side in sides]).nunique(),
        detail="; ".join(dict.fromkeys(side.text for side in sides)),
        parts=tuple(parts) if len(parts) > 1 else (),
        doubts=_doubts([side.study for side in sides], chosen.num_seeds)
        + tuple(f"{side.name} acted in {side.acted:.0%} of its runs" for side in sides if side.acted < ACTED),
        caveats=tuple(dict.fromkeys(note for note in notes if note)),
    )


ACTED = 0.5  # an arm acted if its schedule moved the rate in at least this share of its runs


@dataclass(frozen=True)
class _Side:
    """One arm of a comparison."""

    study: Study
    column: Column
    text: str  # its mean, in words
    acted: float  # share of its runs

    @property
    def name(self) -> str:
        return self.study.called(self.column.arm)


def _columns(evidence: Evidence, name: str, metric: str, arms: Sequence[Arm], against: Sequence[Arm]) -> list[_Side]:
    sides = []
    for arm in arms:
        own = arm.get("study", name)
        study = evidence.study(own)
        references = tuple(study.find_arm(_settings(other)) for other in against if other.get("study", name) == own)
        at = arm.get("at", "best")
        good = evidence.good_rates(own, _settings(arm)) if at == "good" else ()
        column = BlockDesign(study, metric, references).column(study.find_arm(_settings(arm)), at, good)
        mean = shown(float(column.by_seed.mean()), METRICS[metric])
        acted = 1.0 if metric in OVER_RATES else share_that_acted(study, column.runs)
        sides.append(_Side(study, column, f"{study.called(column.arm)} {column.rates_text}: {mean}", acted))
    return sides


def _without_idle(sides: list[_Side], metric: str) -> tuple[list[_Side], list[str]]:
    acting = [side for side in sides if side.acted >= ACTED]
    if not acting:
        return sides, []
    return acting, [side.name for side in sides if side.acted < ACTED]


def _settings(arm: Arm) -> dict[str, Any]:
    return {name: value for name, value in arm.items() if name not in ("at", "study")}


def _linear(weighted: Sequence[tuple[float, _Side]], level: float, metric: str) -> Effect:
    """Σ weight × column, with the interval of a mean over the seeds."""
    columns = [weight * side.column.by_seed for weight, side in weighted]
    by_seed = pd.concat(columns, axis="columns").dropna().sum(axis="columns")
    return mean_effect(by_seed, level, METRICS[metric])


def mean_effect(by_seed: pd.Series, level: float, unit: str) -> Effect:
    """The mean of one value per seed, with its interval."""
    mean, sd, num_seeds = float(by_seed.mean()), float(by_seed.std(ddof=1)), len(by_seed)
    half = half_interval(sd, num_seeds, level)
    return Effect(mean, mean - half, mean + half, unit, num_seeds, num_seeds, level, sd)


def shown(value: float, unit: str) -> str:
    """A mean (not a difference) as text in its unit."""
    match unit:
        case "accuracy" | "share":
            return f"{value:.2%}"
        case "factor":
            return f"{10**value:.3g}"
        case _:
            return f"{value:.3g}"


def _doubts(studies: Sequence[Study], num_seeds: int) -> tuple[str, ...]:
    missing = {study.name: study for study in studies if study.num_missing}
    doubts = [f"{_num_done(study)} of {_num_done(study) + study.num_missing} runs of {study.name}" for study in missing.values()]
    if num_seeds < MIN_SEEDS:
        doubts.append(f"{num_seeds} seed{'' if num_seeds == 1 else 's'}; at least {MIN_SEEDS} are needed")
    return tuple(doubts)


def _num_done(study: Study) -> int:
    return len(study.measured)  # failed runs count as missing


def edge(
    evidence: Evidence,
    level: float,
    *,
    study: str,
    arms: Sequence[Arm],
    side: Literal["start", "end"],
    at: float | None = None,
    among: tuple[float, float] = (-math.inf, math.inf),
) -> Effect:
    """How far the edge of learning, where half of the seeds learn, lies above 10^`at` (start) or below it (end), in decades.

    Without `at`, it is the last rate tried. Of several arms, the one for which the effect is largest, with intervals that hold
    together. Only rates with exponents in `among` are used.
    """
    stored = evidence.study(study)
    parts: list[tuple[str, Effect]] = []
    num_runs = 0
    for arm in arms:
        runs = stored.runs_of(_settings(arm))
        runs = runs[np.log10(runs["lr"]).between(among[0] - 1e-6, among[1] + 1e-6)]
        found = getattr(learning_edges(runs, level / len(arms)), side)
        if found is None:
            raise NoSuchRuns(f"no rates of {stored.called(stored.find_arm(_settings(arm)))} on both sides of the edge of learning")
        limit = math.log10(float(runs["lr"].max() if side == "end" else runs["lr"].min())) if at is None else at
        effect = _above(found, limit, level / len(arms))
        parts.append((stored.called(stored.find_arm(_settings(arm))), effect if side == "start" else _negative(effect)))
        num_runs += len(runs)
    best = max((part for _, part in parts), key=lambda part: part.effect)
    return replace(
        best,
        low=max(part.low for _, part in parts),
        high=max(part.high for _, part in parts),
        num_runs=num_runs,
        detail="; ".join(f"{name}: {part.detail}" for name, part in parts),
        parts=tuple(parts) if len(parts) > 1 else (),
        doubts=_doubts([stored], best.num_seeds),
    )


def _above(found: Edge, limit: float, level: float) -> Effect:
    middle, low, high = (math.log10(lr) for lr in (found.lr, found.low, found.high))
    sd = (high - middle) * math.sqrt(found.num_seeds) / float(stats.t.isf(level / 2, found.num_seeds - 1))
    text = f"half of the seeds learn at {power(found.lr)}"
    return Effect(middle - limit, low - limit, high - limit, "decades", found.num_seeds, 0, level, sd, text)


def _negative(effect: Effect) -> Effect:
    return replace(effect, effect=-effect.effect, low=-effect.high, high=-effect.low)


def share(evidence: Evidence, level: float, *, study: str, of: str, arm: Arm | None = None, among: str = "") -> Effect:
    """The share of an arm's runs that meet the condition `of`, see `_conditions`, with Clopper and Pearson's exact interval.

    Counts only runs that meet the condition `among`, at rates within the range of exponents `arm["at"]`. Both are optional. Runs
    count as independent, which those of one seed are not quite, so the interval is a little too narrow.
    """
    chosen = dict(arm or {})
    stored = evidence.study(study)
    runs = stored.runs_of(_settings(chosen))
    runs = runs[runs["status"] != "failed"]
    if "at" in chosen:
        low, high = chosen["at"]
        runs = runs[np.log10(runs["lr"]).between(low - 1e-6, high + 1e-6)]
    holds = _conditions(stored, runs)
    if among:
        holds = holds[holds[among]]
    num, num_runs, num_seeds = int(holds[of].sum()), len(holds), int(runs.loc[holds.index, "seed"].nunique())
    if not num_runs:
        raise NoSuchRuns(f"no runs of {described(chosen)}" + (f" that are {among}" if among else ""))
    interval = stats.binomtest(num, num_runs).proportion_ci(1 - level, method="exact")
    low, high = float(interval.low), float(interval.high)
    return Effect(num / num_runs, low, high, "share", num_seeds, num_runs, level, detail=f"{num} of {num_runs} runs")


def _conditions(study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run, one column for each condition that `share` can count."""
    patience = check_patience(runs, study.curves).set_index("run_id")
    ids = runs["run_id"]
    return pd.DataFrame(
        {
            "learned": runs["learned"],
            "bad": ~runs["learned"] | (runs["status"] == "diverged"),
            "stopped by patience": ids.isin(patience.index[patience["confirmed"]]),
            "stopped at once": ids.isin(patience.index[patience["confirmed"] & patience["at_once"]]),
            "still improving": ids.isin(patience.index[patience["still_improving"]]),
        }
    )


def blank(
    evidence: Evidence, level: float, *, study: str, answer: Literal["range", "trade-off"], arm: Arm | None = None
) -> Effect:
    """Fill in one of the documents' "???" with rates shown to lose less than δ against the best.

    The effect is minus the shortfall of the rate that fills the blank: any of the range, or the one that trains for the fewest
    epochs. Its interval is that of the report: simultaneous over the rates at LEVEL, whatever `level` is.
    """
    stored = evidence.study(study)
    settings = _settings(arm or {})
    rates = compared_with_best(stored, settings)
    runs = stored.runs_of(settings)
    good = rates[rates["verdict"] == "good"]
    candidates = good if len(good) else rates[rates["dependable"]]
    if candidates["high"].isna().all():
        raise NoSuchRuns("no rate learned on at least two seeds")
    epochs = np.log10(runs.pivot(index="seed", columns="lr", values="epochs").astype(float))
    cheapest = answer == "trade-off" and len(good) > 0
    row = candidates.loc[(candidates["lr"].map(epochs.mean()) if cheapest else candidates["high"]).idxmin()]
    pair_level = LEVEL / max(1, int(rates["mean"].notna().sum()) - 1)
    detail = _classes_text(rates)
    if cheapest:
        best_lr = rates.loc[rates["mean"].where(rates["dependable"]).idxmax(), "lr"]
        ratio = mean_effect(epochs[row["lr"]] - epochs[best_lr], LEVEL, "factor")
        compared = f", ×{10**ratio.effect:.2f} [×{10**ratio.low:.2f} to ×{10**ratio.high:.2f}] those of {power(best_lr)}"
        num_epochs = 10 ** float(epochs[row["lr"]].mean())
        own = f"{power(row['lr'])} with {num_epochs:.0f} epochs{compared if best_lr != row['lr'] else ', the most accurate rate too'}"
        detail = f"{own}; {detail}"
    num_seeds = int(row["num_seeds"])
    sd = (row["high"] - row["shortfall"]) * math.sqrt(num_seeds) / float(stats.t.isf(pair_level / 2, max(1, num_seeds - 1)))
    return Effect(
        -float(row["shortfall"]), -float(row["high"]), -float(row["low"]), "accuracy", num_seeds, len(runs),
        pair_level, sd, detail, doubts=_doubts([stored], num_seeds),
    )  # fmt: skip


def _classes_text(rates: pd.DataFrame) -> str:
    texts = []
    for verdict in ("good", "undecided", "worse"):
        exponents = [f"{math.log10(lr):.3g}" for lr in rates.loc[rates["verdict"] == verdict, "lr"]]
        named = ", ".join(f"10^{exponent}" for exponent in exponents) if len(exponents) <= 11 else f"{len(exponents)} rates"
        texts.append(f"{verdict}: {named or 'none'}")
    return "; ".join(texts)


def balance(evidence: Evidence, level: float, *, study: str) -> Effect:
    """An upper bound on the difference between balanced accuracy and accuracy at the best rate.

    With class shares p and class errors e, the error is Σ p·e and the balanced error Σ e / 10. So their ratio lies between
    1 / (10 max p) and 1 / (10 min p), whatever the class errors are.
    """
    stored = evidence.study(study)
    column = BlockDesign(stored, "test_accuracy").column(stored.find_arm({}))
    classes = [str(digit) for digit in range(10)]
    counts = stored.class_counts[classes].astype(float)
    test = counts[stored.class_counts["split"] == "test"]
    if test.empty:
        raise NoSuchRuns("no class counts of the test images")
    shares = test.div(test.sum(axis="columns"), axis="index")
    error = 1 - float(column.by_seed.mean())
    bound = error * max(float((0.1 / shares).max().max()) - 1, 1 - float((0.1 / shares).min().min()))
    ratio = float((counts.max(axis="columns") / counts.min(axis="columns")).max())
    detail = (
        f"test classes are {shares.min().min():.2%} to {shares.max().max():.2%} of the images; in no split is the largest more "
        f"than {ratio:.2f} times the smallest. At {1 - error:.2%} accuracy, balanced accuracy is at most "
        f"{bound * 100:.2f} points away, whichever classes the errors are in"
    )
    return Effect(-bound, -bound, 0.0, "accuracy", len(column.by_seed), len(column.runs), detail=detail)


NUM_EPOCHS, EPOCH_STEPS = 10, 94  # the documents' 3,000 images in batches of 32 make 94 steps


def shape(evidence: Evidence, level: float, *, schedule: dict[str, Any], shows: str, low: float, high: float) -> Effect:
    """A property of a schedule's formula, computed without a run, and whether it lies in [low, high] as the document says."""
    config = ScheduleConfig(**schedule)
    rates = np.array([lr_at(config, 1.0, step, Pace(EPOCH_STEPS, NUM_EPOCHS)) for step in range(EPOCH_STEPS * NUM_EPOCHS)])
    value = _SHAPES[shows](rates, round(config.every * EPOCH_STEPS))
    is_so = low - 1e-9 <= value <= high + 1e-9
    expected = f"{low:g}" if high - low < 1e-3 else f"{low:g} to {high:g}"
    detail = f"{shows}: {value:.4g}; the document says {expected}, so the program's formula {'agrees' if is_so else 'differs'}"
    return Effect(value, value, value, "number", 0, 0, detail=detail, doubts=() if is_so else ("the formula differs",))


_SHAPES = {
    "share of the steps that rise": lambda rates, every: float((np.diff(rates) > 0).mean()),
    "steps that change their slope": lambda rates, every: float((np.abs(np.diff(rates, 2)) > 1e-9).sum()),
    "last rate over the lowest": lambda rates, every: float(rates[-1] / rates.min()) if rates.min() else float(rates[-1] == 0),
    "rate over the rate s steps later": lambda rates, every: float((rates[:-every] / rates[every:]).max()),
}


def bracket(evidence: Evidence, level: float, *, study: str, finders: Sequence[str], low: str, high: str) -> Effect:
    """Do the rules `low` and `high` of a range test bracket the sweep's best rate? By how many decades, at the nearer end.

    Negative on seeds where they do not. Of several range tests, the one for which the effect is largest.
    """
    stored = evidence.study(study)
    best = math.log10(stored.choose(stored.find_arm({})).lr)
    parts = []
    for finder in finders:
        given = evidence.suggestions(finder)
        if given.empty:
            raise NoSuchRuns("not measured yet")
        exponents = np.log10(given.pivot(index="seed", columns="rule", values="lr"))
        margin = pd.concat([best - exponents[low], exponents[high] - best], axis="columns").min(axis="columns", skipna=False)
        width = float((exponents[high] - exponents[low]).mean())
        effect = mean_effect(margin.dropna(), level / len(finders), "decades")
        text = f"{finder.split('/')[-1]} steps: {exponents[low].mean():.2f} to {exponents[high].mean():.2f}, {width:.1f} decades wide"
        doubt = ("fewer than half of the seeds have both ends",) if 2 * effect.num_seeds < len(exponents) else ()
        parts.append((f"{text}; holds the best rate on {int((margin > 0).sum())} of {len(margin)} seeds", effect, doubt))
    _, chosen, doubts = max(parts, key=lambda part: part[1].effect)
    return replace(
        chosen,
        low=max(part.low for _, part, _ in parts),
        high=max(part.high for _, part, _ in parts),
        detail=f"the sweep's best rate is 10^{best:.3g}; mean exponents of the range: {'. '.join(text for text, _, _ in parts)}",
        doubts=_doubts([stored], chosen.num_seeds) + doubts,
    )


def finder(
    evidence: Evidence, level: float, *, study: str, finders: Sequence[str], rules: Sequence[str], rule: str, length: str
) -> Effect:
    """How much test accuracy a run at the suggested rate loses against the sweep's best rate, paired by seed.

    The effect, minus that loss, is that of one `rule` in the range test `length`. Its parts are those of all rules and lengths,
    at the same level each. Between two rates of the sweep, accuracy is taken to change in a straight line.
    """
    stored = evidence.study(study)
    arm = stored.find_arm({})
    best = stored.choose(arm).lr
    accuracy_SR = pd.DataFrame(BlockDesign(stored, "test_accuracy").table[arm])
    exponents = np.log10(accuracy_SR.columns.to_numpy(dtype=float))
    parts: dict[tuple[str, str], Effect] = {}
    num_given = {}
    for name in finders:
        given = evidence.suggestions(name)
        if given.empty:
            raise NoSuchRuns("not measured yet")
        for one in rules:
            lr = given[given["rule"] == one].set_index("seed")["lr"].reindex(accuracy_SR.index).dropna()
            gain = [
                float(np.interp(math.log10(rate), exponents, accuracy_SR.loc[seed])) - accuracy_SR.loc[seed, best]
                for seed, rate in lr.items()
            ]
            parts[one, name] = mean_effect(pd.Series(gain, index=lr.index, dtype=float), level, "accuracy")
            num_given[one, name] = len(lr)
    num_seeds = len(accuracy_SR)
    complete = {key: part for key, part in parts.items() if num_given[key] == num_seeds} or parts
    recommended = max(complete, key=lambda key: complete[key].effect)
    chosen, top = parts[rule, length], parts[recommended]
    half = "" if math.isnan(top.low) else f" ± {(top.high - top.effect) * 100:.2f}"
    lacking = num_seeds - num_given[rule, length]
    return replace(
        chosen,
        detail=f"the least is lost by {_finder_text(*recommended)}: {-top.effect * 100:.2f}{half} points",
        parts=tuple(
            (f"{_finder_text(*key)} ({num_given[key]} of {num_seeds} seeds with a suggestion)", part) for key, part in parts.items()
        ),
        doubts=_doubts([stored], chosen.num_seeds) + ((f"{lacking} seeds without a suggestion",) if lacking else ()),
    )


def _finder_text(rule: str, name: str) -> str:
    return f"{rule}, {name.split('/')[-1]} steps"
