"""Contrasts that state facts: the blanks of document 003, a bound by arithmetic, and the shapes of schedules.

Their answers have no interval, or one that holds by itself, so they need no share of the audit's level.
"""

import math
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from lrsweep.analysis.block_design import BlockDesign
from lrsweep.analysis.evidence import Evidence, compared_with_best, doubts_about, most_accurate
from lrsweep.analysis.shortfall import LEVEL
from lrsweep.analysis.study import NoSuchRuns, power
from lrsweep.analysis.verdicts import Effect, mean_effect
from lrsweep.config import ScheduleConfig
from lrsweep.training.schedules import Pace, lr_at


def blank(
    evidence: Evidence,
    level: float,
    *,
    study: str,
    answer: Literal["range", "trade-off"],
    by: Literal["epochs", "seconds"] = "epochs",
) -> Effect:
    """Fill in one of the documents' "???" with rates shown to lose less than δ against the best.

    The effect is minus the shortfall of the rate that fills the blank: any of the range, or the one with the fewest epochs or
    seconds. Its interval is that of the report: simultaneous over the rates at LEVEL, whatever `level` is.
    """
    stored = evidence.study(study)
    rates = compared_with_best(stored, {})
    runs = stored.runs_of({})
    good = rates[rates["verdict"] == "good"]
    candidates = good if len(good) else rates[rates["dependable"]]
    if candidates["high"].isna().all():
        raise NoSuchRuns("no rate learned on at least two seeds")
    cost = runs.pivot(index="seed", columns="lr", values=by).astype(float)
    cost_SR = pd.DataFrame(np.log10(cost.where(cost > 0)))  # a run that diverged at once has 0 epochs
    is_cheapest = answer == "trade-off" and len(good) > 0
    order = candidates["lr"].map(cost_SR.mean()) if is_cheapest else candidates["high"]
    row = candidates.iloc[int(order.argmin())]
    best_lr = most_accurate(rates)
    is_at_edge = best_lr in (rates["lr"].iloc[0], rates["lr"].iloc[-1])
    edge_text = f"the most accurate rate, {power(best_lr)}, is at an edge of the {len(rates)} rates of {study}"
    pair_level = LEVEL / max(1, int(rates["mean"].notna().sum()) - 1)
    detail = _classes_text(rates)
    if is_cheapest:
        detail = f"{_cost_text(cost_SR, float(row['lr']), best_lr, by)}; {detail}"
    num_seeds = int(row["num_seeds"])
    sd = (row["high"] - row["shortfall"]) * math.sqrt(num_seeds) / float(stats.t.isf(pair_level / 2, max(1, num_seeds - 1)))
    return Effect(
        -float(row["shortfall"]), -float(row["high"]), -float(row["low"]), "accuracy", num_seeds, len(runs),
        pair_level, sd, detail, doubts=doubts_about([stored], num_seeds), caveats=(edge_text,) if is_at_edge else (),
    )  # fmt: skip


def _cost_text(cost_SR: pd.DataFrame, lr: float, best_lr: float, unit: str) -> str:
    """How long a rate trains, and its ratio to the most accurate rate. `cost_SR` are logarithms."""
    own = f"{power(lr)} trains for {10 ** cost_SR[lr].mean():.0f} {unit}"
    if lr == best_lr:
        return f"{own}, and is the most accurate rate too"
    ratio = mean_effect((cost_SR[lr] - cost_SR[best_lr]).dropna(), LEVEL, "factor")
    low, middle, high = (f"×{10**value:.2f}" for value in (ratio.low, ratio.effect, ratio.high))
    return f"{own}, {middle} (95 %: {low} to {high}) those of the most accurate rate, {power(best_lr)}"


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
