"""Contrasts that judge the learning-rate range test: is the best rate between its suggestions, and what do they lose?"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lrsweep.analysis.block_design import BlockDesign
from lrsweep.analysis.contrasts import ACTED
from lrsweep.analysis.edges import learning_edges
from lrsweep.analysis.evidence import Evidence, doubts_about
from lrsweep.analysis.phrases import Phrase, joined
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.study import NoSuchRuns
from lrsweep.analysis.verdicts import Effect, mean_effect, ranked


def bracket(evidence: Evidence, level: float, *, study: str, finders: Sequence[str], low: str, high: str) -> Effect:
    """Is the best rate between the suggestions of the rules `low` and `high`? Of several range tests, the largest effect counts.

    The effect is the distance in decades from the best rate to the nearer suggestion, negative if the best rate is outside.
    """
    stored = evidence.study(study)
    best = math.log10(evidence.best_rate(study, {}))
    end = learning_edges(stored.runs_of({}), level).end
    names, margins, silent, too_high = [], [], [], []
    for name in finders:
        lr_SR = _given(evidence, name).pivot(index="seed", columns="rule", values="lr")
        ends = lr_SR[[low, high]].dropna()
        if ends.empty:
            silent.append(Phrase("{length}: no seed has both suggestions", length=_length_text(name)))
            continue
        lower, upper = (np.log10(ends[rule].to_numpy(dtype=float)) for rule in (low, high))
        too_high += [end is not None and x > math.log10(end.lr) for x in upper]
        margins.append(pd.Series(np.minimum(best - lower, upper - best), index=ends.index))
        names.append(
            Phrase(
                "{length}: from {low} to {high}, {width} decades; the best rate is inside on {num} of {total} seeds",
                length=_length_text(name),
                low=decimal_rate(10 ** lower.mean()),
                high=decimal_rate(10 ** upper.mean()),
                width=f"{(upper - lower).mean():.1f}",
                num=int((margins[-1] > 0).sum()),
                total=len(lr_SR),
            )
        )
    if not margins:
        raise NoSuchRuns(joined(silent))
    notes = [Phrase("the best rate is {rate}", rate=decimal_rate(10**best)), *silent]
    if any(too_high):
        above = "in {num} of {total} tests, at least half of the seeds fail at the upper rate"
        notes.append(Phrase(above, num=sum(too_high), total=len(too_high)))
    chosen, parts = ranked(lambda share: [mean_effect(margin, share, "decades") for margin in margins], level, len(margins) - 1)
    return replace(
        chosen,
        num_runs=sum(map(len, margins)),
        detail=joined(notes),
        parts=tuple(zip(names, parts, strict=True)),
        doubts=doubts_about([stored], chosen.num_seeds),
    )


def finder(
    evidence: Evidence, level: float, *, study: str, finders: Sequence[str], rules: Sequence[str], rule: str, length: str
) -> Effect:
    """How much test accuracy a run at the suggested rate loses against the best rate, paired by seed.

    The effect is minus this loss, for one `rule` in the range test `length`. Its parts are the effects of all rules and
    lengths, each at `level`. Accuracy is interpolated linearly between the rates of the study. What is lost at a suggestion
    below or above all of them is unknown, which leaves the effect in doubt. Seeds without a suggestion are left out, and a
    caveat counts them; if there is a suggestion on fewer than ACTED of the seeds, the effect is in doubt too.
    """
    stored = evidence.study(study)
    accuracy_SR = BlockDesign(stored, "test_accuracy").by_rate(stored.find_arm({}))
    exponents = np.log10(accuracy_SR.columns.to_numpy(dtype=float))
    best = int(np.abs(exponents - math.log10(evidence.best_rate(study, {}))).argmin())
    parts: dict[tuple[str, str], Effect] = {}
    for name in finders:
        lr_SR = _given(evidence, name).pivot(index="seed", columns="rule", values="lr")
        seeds = lr_SR.index.intersection(accuracy_SR.index)
        accuracy = accuracy_SR.loc[seeds].to_numpy(dtype=float)
        for one in rules:
            suggested = np.log10(lr_SR.loc[seeds, one].to_numpy(dtype=float))
            gain = [
                np.interp(x, exponents, own, left=np.nan, right=np.nan) - own[best]
                for x, own in zip(suggested, accuracy, strict=True)
            ]
            effect = mean_effect(pd.Series(gain, index=seeds, dtype=float).dropna(), level, "accuracy")
            num_silent = int(np.isnan(suggested).sum())
            num_outside = int(np.isnan(gain).sum()) - num_silent
            no_suggestion = "on {num} of {total} seeds, there is no suggestion"
            not_run = "on {num} of {total} seeds, the suggestion lies outside of the rates that ran"
            silent = (Phrase(no_suggestion, num=num_silent, total=len(seeds)),) * bool(num_silent)
            outside = (Phrase(not_run, num=num_outside, total=len(seeds)),) * bool(num_outside)
            if num_silent > (1 - ACTED) * len(seeds):
                parts[one, name] = replace(effect, doubts=silent + outside)
            else:
                parts[one, name] = replace(effect, caveats=silent, doubts=outside)
    if not parts[rule, length].num_seeds:
        lacks = "{finder}: no seed has both a suggestion and a run of {study}"
        raise NoSuchRuns(Phrase(lacks, finder=_finder_text(rule, length), study=study))
    given = [key for key, part in parts.items() if part.num_seeds]
    complete = [key for key in given if not (parts[key].doubts or parts[key].caveats)]
    recommended = max(complete or given, key=lambda key: parts[key].effect)
    chosen, top = parts[rule, length], parts[recommended]
    half = "" if math.isnan(top.low) else f" ± {(top.high - top.effect) * 100:.2f}"
    return replace(
        chosen,
        detail=Phrase(
            "the least is lost by {finder}: {loss} points",
            finder=_finder_text(*recommended),
            loss=f"{max(-top.effect, 0.0) * 100:.2f}{half}",
        ),
        parts=tuple((joined([_finder_text(*key), *part.caveats, *part.doubts]), part) for key, part in parts.items()),
        doubts=doubts_about([stored], chosen.num_seeds) + chosen.doubts,
    )


def _given(evidence: Evidence, name: str) -> pd.DataFrame:
    given = evidence.suggestions(name)
    if given.empty:
        raise NoSuchRuns(Phrase("not measured yet"))
    return given


def _finder_text(rule: str, name: str) -> Phrase:
    return Phrase("{rule}, {length}", rule=rule, length=_length_text(name))


def _length_text(name: str) -> Phrase:
    return Phrase("{num} steps", num=name.split("/")[-1])
