"""The contrasts that test the claims. Each takes tables and returns an effect with its confidence interval.

The sign of an effect is chosen so that a larger effect favours the claim. `difference` covers most claims: a paired comparison of
columns (block_design.py) by Student's t. facts.py has contrasts that state facts; range_test_contrasts.py judges the range test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from lrsweep.analysis.acting import share_that_acted
from lrsweep.analysis.block_design import BlockDesign, Column
from lrsweep.analysis.edges import Edge, learning_edges
from lrsweep.analysis.evidence import Evidence, doubts_about, settings_of
from lrsweep.analysis.metrics import METRICS, OVER_RATES
from lrsweep.analysis.phrases import Phrase, joined
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.student import critical_t
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.verdicts import Effect, mean_effect, ranked

Arm = Mapping[str, Any]  # settings of an arm; optionally `at` (see BlockDesign.column), and `study` if it is in another study
Reduce = Literal["mean", "all", "any", "most", "slope"]
ACTED = 0.5  # an arm acted if its schedule moved the rate in at least this share of its runs


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
    cap: float = math.inf,
) -> Effect:
    """Compare `arms` with `against` in one metric, paired by seed.

    `reduce` combines several arms into one effect, with intervals that hold together at 1 - `level`:

    - mean: difference between the means of both sides; without `against`, the mean of the arms
    - all: smallest difference over all pairs within a study (is every arm better?)
    - any: largest difference over all pairs (is at least one arm better?)
    - most: the median difference, or with an even number of pairs the one below (are more than half of the arms better?)
    - slope: change from the smallest to the largest value of the setting `over`, by a straight line on its logarithm

    With a `cap`, one failed run does not hide a difference: see `_linear`.
    Arms that did not act (see ACTED) are left out. If no arm of a side acted, they stay, and the effect gets a doubt.
    """
    sign = -1.0 if direction == "less" else 1.0
    ups, idle = _without_idle(_columns(evidence, study, metric, arms, against))
    downs, idle_downs = _without_idle(_columns(evidence, study, metric, against, against))
    names: list[str] = [""]
    weighted: list[list[tuple[float, _Side]]]
    match reduce:
        case "slope":
            x = np.log10([float(up.column.runs[over].iloc[0]) for up in ups])
            if np.ptp(x) == 0:
                raise NoSuchRuns(Phrase("only one value of {setting}", setting=over))
            weights = sign * (x - x.mean()) / ((x - x.mean()) ** 2).sum() * np.ptp(x)
            weighted = [list(zip(weights, ups, strict=True))]
        case "mean":
            weighted = [[(sign / len(ups), up) for up in ups] + [(-sign / len(downs), down) for down in downs]]
        case _:
            pairs = [(up, down) for up in ups for down in downs if up.study is down.study]
            names = [Phrase("{arm} against {other}", arm=up.study.called(up.column.arm), other=down.name) for up, down in pairs]
            weighted = [[(sign, up), (-sign, down)] for up, down in pairs]
    if not weighted:
        raise NoSuchRuns(Phrase("no two arms of the same study acted"))
    rank = {"any": len(weighted) - 1, "most": (len(weighted) - 1) // 2}.get(reduce, 0)
    chosen, parts = ranked(lambda share: [_linear(sides, share, metric, cap) for sides in weighted], level, rank)
    sides = [*ups, *downs]
    if not chosen.num_seeds:
        raise NoSuchRuns(Phrase("no seed has {metric} on both sides", metric=metric))
    notes = [side.column.caveat for side in sides] + [
        Phrase("left out, because it never acted: {arm}", arm=name) for name in idle + idle_downs
    ]
    return replace(
        chosen,
        num_runs=len(set().union(*map(_run_ids, weighted))),
        detail=joined(dict.fromkeys(_mean_texts(sides, metric))),
        parts=tuple(zip(names, parts, strict=True)) if len(parts) > 1 else (),
        doubts=doubts_about([side.study for side in sides], chosen.num_seeds)
        + tuple(
            Phrase("{arm} acted in {share} of its runs", arm=side.name, share=f"{side.acted:.0%}")
            for side in sides
            if side.acted < ACTED
        ),
        caveats=tuple(dict.fromkeys(note for note in notes if note)),
    )


@dataclass(frozen=True)
class _Side:
    """One arm of a comparison."""

    study: Study
    column: Column
    name: str
    acted: float  # share of its runs in which the schedule acted


def _columns(evidence: Evidence, name: str, metric: str, arms: Sequence[Arm], against: Sequence[Arm]) -> list[_Side]:
    sides = []
    for arm in arms:
        own = arm.get("study", name)
        study = evidence.study(own)
        references = tuple(study.find_arm(settings_of(other)) for other in against if other.get("study", name) == own)
        at = arm.get("at", "best")
        good = evidence.good_rates(own, settings_of(arm)) if at == "good" else ()
        column = BlockDesign(study, metric, references).column(study.find_arm(settings_of(arm)), at, good)
        called = study.called(column.arm) + ("" if own == name else f" ({own})")
        acted = 1.0 if metric in OVER_RATES else share_that_acted(study, column.runs)
        sides.append(_Side(study, column, called, acted))
    return sides


def _mean_texts(sides: list[_Side], metric: str) -> list[Phrase]:
    """The mean of each arm, in words, over the seeds that all arms share, or over its own seeds if there are none."""
    shared = pd.concat([side.column.by_seed for side in sides], axis="columns").dropna().index
    texts = []
    for side in sides:
        values = side.column.by_seed.reindex(shared) if len(shared) else side.column.by_seed
        mean = shown(float(values.mean()), metric)
        texts.append(Phrase("{arm} {rates}: {mean}", arm=side.name, rates=side.column.rates_text, mean=mean))
    return texts


def _without_idle(sides: list[_Side]) -> tuple[list[_Side], list[str]]:
    acting = [side for side in sides if side.acted >= ACTED]
    if not acting:
        return sides, []
    return acting, [side.name for side in sides if side.acted < ACTED]


def _by_seed(weighted: Sequence[tuple[float, _Side]]) -> pd.Series:
    """Σ weight × column, for the seeds that all sides have."""
    columns = [weight * side.column.by_seed for weight, side in weighted]
    return pd.concat(columns, axis="columns").dropna().sum(axis="columns")


def _run_ids(weighted: Sequence[tuple[float, _Side]]) -> set[str]:
    """The runs behind `_by_seed`."""
    seeds = _by_seed(weighted).index
    sides = [side.column.runs for _, side in weighted]
    return {str(name) for runs in sides for name in runs.loc[runs["seed"].isin(seeds), "run_id"]}


def _linear(weighted: Sequence[tuple[float, _Side]], level: float, metric: str, cap: float) -> Effect:
    """The mean of `_by_seed`, with its interval.

    One failed run makes the spread huge, so for the lower end a seed counts as at most `cap`, and for the upper end as at least
    -`cap`. The mean of min(x, cap) is at most that of x, so both ends stay valid for the mean, which counts every seed in full.
    """
    by_seed = _by_seed(weighted)
    lower, upper = (mean_effect(x, level, METRICS[metric]) for x in (by_seed.clip(upper=cap), by_seed.clip(lower=-cap)))
    sd = float(by_seed.clip(-cap, cap).std(ddof=1))
    return replace(lower, effect=float(by_seed.mean()), high=upper.high, sd=sd)


def shown(mean: float, metric: str) -> str:
    """The mean of a metric as text. Logarithms are converted back to numbers."""
    if metric in ("optimum", "upper_edge"):
        return decimal_rate(10**mean)
    match METRICS[metric]:
        case "accuracy" | "share":
            return f"{mean:.2%}"
        case "factor":
            number = f"{10**mean:,.0f}" if mean >= 2 else f"{10**mean:.3g}"
            return number + {"seconds": " s", "seconds_per_epoch": " s", "peak_memory": " GB"}.get(metric, "")
        case _:
            return f"{mean:.3g}"


def edge(
    evidence: Evidence,
    level: float,
    *,
    study: str,
    arms: Sequence[Arm],
    side: Literal["start", "end"],
    at: float | None = None,
) -> Effect:
    """How far the edge of learning, averaged over the seeds, lies above 10^`at` (start) or below it (end), in decades.

    Without `at`, the edge is compared with the lowest (start) or highest (end) rate tried. Of several arms, the largest effect
    counts, with intervals that hold together.
    """
    stored = evidence.study(study)
    names, tables = [], []
    for arm in arms:
        runs = stored.runs_of(settings_of(arm))
        names.append(stored.called(str(runs["arm"].iloc[0])))
        tables.append(runs)

    def effects_at(share: float) -> list[Effect]:
        return [_edge(runs, side, at, share) for runs in tables]

    best, parts = ranked(effects_at, level, len(arms) - 1)
    return replace(
        best,
        num_runs=sum(map(len, tables)),
        detail=joined(Phrase("{arm}: {edge}", arm=name, edge=part.detail) for name, part in zip(names, parts, strict=True)),
        parts=tuple(zip(names, parts, strict=True)) if len(parts) > 1 else (),
        doubts=doubts_about([stored], best.num_seeds),
    )


def _edge(runs: pd.DataFrame, side: Literal["start", "end"], at: float | None, level: float) -> Effect:
    found: Edge | None = getattr(learning_edges(runs, level), side)
    if found is None:
        raise NoSuchRuns(Phrase("no rates on both sides of the edge of learning"))
    limit = (math.log10(runs["lr"].min()) if side == "start" else math.log10(runs["lr"].max())) if at is None else at
    middle, low, high = (math.log10(lr) - limit for lr in (found.lr, found.low, found.high))
    if side == "end":
        low, middle, high = -high, -middle, -low
    sd = (high - middle) * math.sqrt(found.num_seeds) / float(critical_t(level, found.num_seeds - 1))
    text = Phrase("the mean edge of its seeds is {rate}", rate=decimal_rate(found.lr))
    return Effect(middle, low, high, "decades", found.num_seeds, len(runs), level, sd, text)
