"""The contrasts that test the claims. Each takes tables and returns an effect with its confidence interval.

The sign of an effect is chosen so that a larger effect favours the claim. `difference` covers most claims: a linear contrast of
a block design (block_design.py), tested by Student's t. `share` and `suggestions` are exact binomial tests. `blank`, `balance`
and `shape` state facts, without a test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from lrsweep.analysis.best_rate import find_best
from lrsweep.analysis.block_design import METRICS, BlockDesign, Column
from lrsweep.analysis.explanations import check_patience
from lrsweep.analysis.plateau import MIN_SEEDS
from lrsweep.analysis.study import NoSuchRuns, Study, described, power
from lrsweep.config import ScheduleConfig
from lrsweep.training.schedules import Pace, lr_at

Arm = dict[str, Any]  # settings that select the arm, and optionally `at`, see BlockDesign.column
Reduce = Literal["mean", "all", "any", "slope"]


@dataclass(frozen=True)
class Effect:
    effect: float
    low: float  # confidence interval; NaN if there are too few seeds
    high: float
    unit: str  # accuracy | nats | factor (log10) | decades | slope | share, and without an interval: answer | number | bound
    num_seeds: int
    num_runs: int
    p_value: float = math.nan  # two-sided, of the hypothesis that the effect equals `beyond`
    detail: str = ""  # the values compared, as text
    # How far the ends of the interval might move if arms with their best rate at the edge of the grid were tried beyond it.
    reach_low: float = 0.0
    reach_high: float = 0.0
    doubts: tuple[str, ...] = ()  # reasons why no verdict can be based on this effect


def difference(
    study: Study,
    level: float,
    *,
    metric: str,
    arms: Sequence[Arm],
    against: Sequence[Arm] = (),
    reduce: Reduce = "mean",
    direction: Literal["more", "less"] = "more",
    over: str = "",
    beyond: float = 0.0,
) -> Effect:
    """Compare `arms` with `against` in one metric, paired by seed, with simultaneous confidence intervals at 1 - `level`.

    `reduce` combines several arms into one effect:

    - mean: difference between the means of both sides; without `against`, the mean of the arms
    - all: smallest difference over all pairs (is every arm better?)
    - any: largest difference over all pairs (is at least one arm better?)
    - slope: slope of `arms` on log10 of the setting `over`
    """
    references = tuple(study.find_arm(_settings(arm)) for arm in against)
    design = BlockDesign(study, metric, references)
    ups = [design.column(study.find_arm(_settings(arm)), arm.get("at", "best")) for arm in arms]
    downs = [design.column(name, arm.get("at", "best")) for name, arm in zip(references, against, strict=True)]
    sign = -1.0 if direction == "less" else 1.0
    weighted: list[list[tuple[float, Column]]]
    match reduce:
        case "slope":
            x = np.log10([float(study.runs_of(_settings(arm))[over].iloc[0]) for arm in arms])
            weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
            weighted = [list(zip(sign * weights, ups, strict=True))]
        case "mean":
            weighted = [[(sign / len(ups), up) for up in ups] + [(-sign / len(downs), down) for down in downs]]
        case _:
            weighted = [[(sign, up), (-sign, down)] for up, down in product(ups, downs)]
    effects = [_linear(design, contrast, level / len(weighted), beyond) for contrast in weighted]  # Bonferroni over the pairs
    pick = max if reduce == "any" else min
    chosen = pick(effects, key=lambda effect: effect.effect)
    columns = [*ups, *downs]
    return replace(
        chosen,
        low=pick(effect.low for effect in effects),
        high=pick(effect.high for effect in effects),
        reach_low=max(effect.reach_low for effect in effects),
        reach_high=max(effect.reach_high for effect in effects),
        p_value=float(np.minimum(1.0, chosen.p_value * len(effects))),  # NaN stays NaN
        # Runs at all rates count, because all were used to choose the best rate.
        num_runs=int(study.runs["arm"].isin({column.arm for column in columns}).sum()),
        unit="slope" if reduce == "slope" else METRICS[metric],
        detail="; ".join(dict.fromkeys(_column_text(column, design) for column in columns)),
        doubts=_doubts(study, chosen.num_seeds),
    )


def _linear(design: BlockDesign, contrast: list[tuple[float, Column]], level: float, beyond: float) -> Effect:
    """Σ weight × column. Uses the study's pooled variance if it includes all columns, otherwise the variance over seeds."""
    weighted = pd.concat([weight * column.by_seed for weight, column in contrast], axis="columns").dropna()
    by_seed = weighted.sum(axis="columns").to_numpy(dtype=float)
    num_seeds = len(by_seed)
    effect = float(by_seed.mean()) if num_seeds else math.nan
    variance, df, pooled_columns = design.pooled
    is_balanced = math.isclose(sum(weight for weight, _ in contrast), 0.0, abs_tol=1e-9)  # seed effects cancel
    if is_balanced and all((column.arm, column.lr) in pooled_columns for _, column in contrast):
        standard_error = math.sqrt(variance * sum(weight**2 for weight, _ in contrast) / max(num_seeds, 1))
    else:
        df = num_seeds - 1
        standard_error = float(by_seed.std(ddof=1)) / math.sqrt(num_seeds) if df > 0 else math.nan
    half, p_value = _t_interval(effect - beyond, standard_error, df, level)
    half = max(half, sum(abs(weight) * column.resolution for weight, column in contrast))  # NaN stays NaN
    reaches = [(weight, column.reach if weight > 0 else column.reach[::-1]) for weight, column in contrast if weight]
    reach_low, reach_high = (sum(abs(weight) * reach[i] for weight, reach in reaches) for i in (0, 1))
    return Effect(effect, effect - half, effect + half, "", num_seeds, 0, p_value, "", reach_low, reach_high)


def _t_interval(distance: float, standard_error: float, df: int, level: float) -> tuple[float, float]:
    """Half the confidence interval at 1 - `level`, and the p-value for a `distance` of 0."""
    if df < 1 or math.isnan(standard_error):
        return math.nan, math.nan
    if standard_error < 1e-12:  # no variance between seeds
        return 0.0, float(abs(distance) < 1e-12)
    return float(stats.t.isf(level / 2, df)) * standard_error, float(2 * stats.t.sf(abs(distance) / standard_error, df))


def _settings(arm: Arm) -> dict[str, Any]:
    return {name: value for name, value in arm.items() if name != "at"}


def _column_text(column: Column, design: BlockDesign) -> str:
    mean = shown(float(column.by_seed.mean()), METRICS[design.metric])
    return f"{design.study.called(column.arm)} {column.rates_text}: {mean}"


def shown(value: float, unit: str) -> str:
    """A mean (not a difference) as text in its unit."""
    match unit:
        case "accuracy" | "share":
            return f"{value:.2%}"
        case "factor":
            return f"{10**value:.3g}"
        case _:
            return f"{value:.3g}"


def _doubts(study: Study, num_seeds: int) -> tuple[str, ...]:
    doubts = []
    if study.num_missing:
        num_done = len(study.measured)  # failed runs count as missing
        doubts.append(f"{num_done} of {num_done + study.num_missing} runs")
    if num_seeds < MIN_SEEDS:
        doubts.append(f"{num_seeds} seed{'' if num_seeds == 1 else 's'}; {MIN_SEEDS} at least are needed")
    return tuple(doubts)


def share(study: Study, level: float, *, of: str, arm: Arm | None = None, among: str = "", beyond: float = 0.5) -> Effect:
    """The share of an arm's runs that meet the condition `of`; see `_conditions`.

    Counts only runs that meet the condition `among`, at rates within the range of exponents `arm["at"]`. Both are optional.
    """
    chosen = dict(arm or {})
    runs = study.runs_of(_settings(chosen))
    runs = runs[runs["status"] != "failed"]
    if "at" in chosen:
        low, high = chosen["at"]
        runs = runs[np.log10(runs["lr"]).between(low - 1e-6, high + 1e-6)]
    holds = _conditions(study, runs)
    if among:
        holds = holds[holds[among]]
    num, num_runs, num_seeds = int(holds[of].sum()), len(holds), int(runs.loc[holds.index, "seed"].nunique())
    if not num_runs:
        raise NoSuchRuns(f"no runs of {described(chosen)}" + (f" that are {among}" if among else ""))
    low, high, p_value = share_tested(num, num_runs, level, beyond)
    return Effect(
        num / num_runs, low, high, "share", num_seeds, num_runs, p_value,
        f"{num} of {num_runs} runs", doubts=_doubts(study, num_seeds),
    )  # fmt: skip


def share_tested(num: int, total: int, level: float, beyond: float) -> tuple[float, float, float]:
    """Clopper and Pearson's confidence interval (low, high) for a share, and the two-sided p-value that agrees with it.

    The p-value is below `level` exactly if `beyond` lies outside the interval; scipy's own p-value agrees with none of its
    intervals. Runs are treated as independent.
    """
    interval = stats.binomtest(num, total).proportion_ci(1 - level, method="exact")
    tail = min(stats.binom.cdf(num, total, beyond), stats.binom.sf(num - 1, total, beyond))
    return float(interval.low), float(interval.high), min(1.0, 2 * float(tail))


def _conditions(study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run, one column for each condition that `share` can count."""
    patience = check_patience(runs, study.curves).set_index("run_id")
    train_loss = study.curves.sort_values("epoch").groupby("run_id")["train_loss"]
    fall = 1 - train_loss.last() / train_loss.apply(lambda loss: loss.iloc[max(0, len(loss) - 11)])
    ids = runs["run_id"]
    return pd.DataFrame(
        {
            "at chance": ~runs["learned"],
            "learned": runs["learned"],
            "bad": ~runs["learned"] | (runs["status"] == "diverged"),
            "stopped by patience": ids.isin(patience.index[patience["confirmed"]]),
            "stopped at once": ids.isin(patience.index[patience["confirmed"] & patience["at_once"]]),
            "still improving": ids.isin(patience.index[patience["still_improving"]]),
            "stuck": ids.map(fall).lt(0.01),  # the training loss fell by less than 1 % over the last ten epochs
        }
    )


def blank(study: Study, level: float, *, answer: Literal["range", "best_trade_off"], arm: Arm | None = None) -> Effect:
    """Fill in one of the documents' "???". The effect is the width of the best range, with the doubts about that range."""
    runs = study.runs_of(_settings(arm or {}))
    best = find_best(runs, study.num_missing)
    if best is None:
        raise NoSuchRuns("no rate was scored on every seed")
    detail = {
        "range": f"{power(best.low)} to {power(best.high)}, test accuracy {best.rows['test_mean'].min():.2%} to "
        f"{best.rows['test_mean'].max():.2%}",
        "best_trade_off": f"{power(best.trade_off['lr'])}, test accuracy {best.trade_off['test_mean']:.2%} in "
        f"{best.trade_off['seconds_median']:.3g} s, within {best.delta * 100:.2f} percentage points of the best",
    }[answer]
    doubts = tuple(doubt.replace("_", " ") for doubt in best.plateau.doubts)
    width = best.plateau.num_decades
    return Effect(width, width, width, "answer", best.num_seeds, len(runs), detail=detail, doubts=doubts)


def balance(study: Study, level: float) -> Effect:
    """An upper bound on the difference between balanced accuracy and accuracy at the best rate.

    With class shares p and class errors e, the error is Σ p·e and the balanced error Σ e / 10. So their ratio lies between
    1 / (10 max p) and 1 / (10 min p), whatever the class errors are.
    """
    best = find_best(study.runs_of({}))
    test = study.class_counts[study.class_counts["split"] == "test"][[str(i) for i in range(10)]].astype(float)
    if best is None or test.empty:
        raise NoSuchRuns("no class counts of a scored study")
    counts = study.class_counts[[str(i) for i in range(10)]].astype(float)
    shares = test.div(test.sum(axis="columns"), axis="index")
    error = 1 - float(best.best["test_mean"])
    bound = error * max(float((0.1 / shares).max().max()) - 1, 1 - float((0.1 / shares).min().min()))
    ratio = float((counts.max(axis="columns") / counts.min(axis="columns")).max())
    detail = (
        f"test classes are {shares.min().min():.2%} to {shares.max().max():.2%} of the images; in no split is the largest more "
        f"than {ratio:.2f} times the smallest. At {1 - error:.2%} accuracy, balanced accuracy is at most "
        f"{bound * 100:.2f} percentage points away: a bound, since no record holds it"
    )
    return Effect(-bound, -bound, -bound, "bound", best.num_seeds, len(study.runs), detail=detail)


NUM_EPOCHS, EPOCH_STEPS = 10, 94  # the documents' 3,000 images in batches of 32 make 94 steps


def shape(*, schedule: dict[str, Any], shows: str, low: float, high: float) -> Effect:
    """A property of a schedule's formula, computed without a run. The effect is how far inside [low, high] it lies."""
    config = ScheduleConfig(**schedule)
    rates = np.array([lr_at(config, 1.0, step, Pace(EPOCH_STEPS, NUM_EPOCHS)) for step in range(EPOCH_STEPS * NUM_EPOCHS)])
    value = _SHAPES[shows](rates, round(config.every * EPOCH_STEPS))
    inside = min(value - low, high - value)
    detail = f"{shows}: {value:.4g}; as claimed from {low:g} to {high:g}"
    return Effect(inside, inside, inside, "number", 0, 0, detail=detail)


_SHAPES = {
    "share of the steps that rise": lambda rates, every: float((np.diff(rates) > 0).mean()),
    "steps that change their slope": lambda rates, every: float((np.abs(np.diff(rates, 2)) > 1e-9).sum()),
    "last rate over the lowest": lambda rates, every: float(rates[-1] / rates.min()) if rates.min() else float(rates[-1] == 0),
    "rate over the rate s steps later": lambda rates, every: float((rates[:-every] / rates[every:]).max()),
}


def suggestions(table: pd.DataFrame, study: Study, level: float, *, rules: Sequence[str] = (), beyond: float = 0.5) -> Effect:
    """The share of the range tests' suggestions (`table`: rule, seed, lr) that lie in the sweep's best range."""
    plateau = study.plateau(study.find_arm({}))
    chosen = table[table["rule"].isin(rules)] if rules else table
    if chosen.empty:
        raise NoSuchRuns("no runs of the rate finder")
    half_step = 10 ** (np.diff(np.log10(plateau.rates["lr"])).min() / 2)
    is_inside = chosen["lr"].between(plateau.low / half_step, plateau.high * half_step)  # False if there is no suggestion
    num, total, num_seeds = int(is_inside.sum()), len(chosen), chosen["seed"].nunique()
    low, high, p_value = share_tested(num, total, level, beyond)
    by_rule = ", ".join(f"{rule} {int(inside.sum())} of {len(inside)}" for rule, inside in is_inside.groupby(chosen["rule"]))
    return Effect(
        num / total, low, high, "share", num_seeds, total, p_value,
        f"inside {power(plateau.low)} to {power(plateau.high)}: {by_rule}", doubts=_doubts(study, num_seeds),
    )  # fmt: skip
