"""Which runs of a study to repeat on fresh seeds: each arm at its best rate."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.study import Choice, NoSuchRuns, Study


@dataclass(frozen=True)
class FreshRuns:
    """`rates` maps each arm to the rates to run. The other fields are texts for the user.

    - left_out: why an arm has no rates
    - at_edge: arms whose best rate is the lowest or the highest that was tried
    """

    rates: dict[str, list[float]]
    left_out: list[str]
    at_edge: list[str]


def plan_fresh_runs(study: Study, decades: float, also: Iterable[Mapping[str, Any]] = ()) -> FreshRuns:
    """Each arm at its best rate and at the study's other rates within `decades` of it.

    `also` adds runs: each entry has the settings of an arm, and the exponent of a rate as `at`.
    """
    rates: dict[str, list[float]] = {}
    left_out, at_edge = [], []
    for arm in sorted(map(str, study.runs["arm"].unique()), key=study.called):
        try:
            choice = study.choose(arm)
        except NoSuchRuns as missing:
            left_out.append(str(missing))
            continue
        rates[arm] = [lr for lr in choice.rates if abs(math.log10(lr / choice.lr)) <= decades + 1e-6]
        if choice.is_at_edge:
            at_edge.append(_edge_text(study.called(arm), choice))
    for settings in also:
        try:
            arm = study.find_arm({name: value for name, value in settings.items() if name != "at"})
        except NoSuchRuns as missing:
            left_out.append(str(missing))
            continue
        rates[arm] = sorted({*rates.get(arm, []), 10 ** float(settings["at"])})
    return FreshRuns(rates, list(dict.fromkeys(left_out)), at_edge)


def _edge_text(arm: str, choice: Choice) -> str:
    if len(choice.rates) == 1:
        return f"{arm} was tried at one rate only, {decimal_rate(choice.lr)}"
    side, other = ("lowest", "lower") if choice.is_lowest else ("highest", "higher")
    return f"the best rate of {arm}, {decimal_rate(choice.lr)}, is the {side} that was tried; a {other} one may be better"
