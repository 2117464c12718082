"""What the suggestions of a range test lose, and whether its ends bracket the best rate."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_study import RATES, evidence_of, make_study

from lrsweep.analysis.range_test_contrasts import bracket, finder
from lrsweep.analysis.study import NoSuchRuns
from lrsweep.analysis.verdicts import judge

STUDY = make_study(np.array([0.95, 0.98, 0.90]) + np.zeros((4, 1, 1)))  # at 10^-3, 10^-2.5 and 10^-2


def given(**exponents: list[float]) -> pd.DataFrame:
    rows = [(rule, seed, 10**exponent) for rule, own in exponents.items() for seed, exponent in enumerate(own)]
    return pd.DataFrame(rows, columns=["rule", "seed", "lr"])


def found(tables: dict[str, pd.DataFrame], **settings: Any) -> Any:
    defaults = {"study": "made", "finders": list(tables), "rules": ["valley", "slide"], "rule": "valley", "length": "find/100"}
    return finder(evidence_of(STUDY, suggestions=tables), 0.05, **defaults | settings)


def test_a_suggestion_loses_as_much_as_the_sweep_at_that_rate() -> None:
    effect = found({"find/100": given(valley=[-2.5, -2.5, -2.5, -2.5], slide=[-2.75, -2.75, -2.25, -9.0])})
    assert effect.effect == pytest.approx(0.0, abs=1e-9)
    losses = [0.015, 0.015, 0.04]  # interpolated between two rates; what is lost at a rate below all of them is unknown
    slide = "slide, 100 steps; on 1 of 4 seeds, the suggestion lies outside of the rates that ran"
    assert dict(effect.parts)[slide].effect == pytest.approx(-np.mean(losses))


def test_the_rule_and_length_that_lose_the_least_are_recommended() -> None:
    far, near = [-2.9] * 4, [-2.45] * 4
    effect = found({"find/100": given(valley=far, slide=far), "find/300": given(valley=far, slide=near)})
    assert effect.effect == pytest.approx(-0.024)
    assert effect.detail == "the least is lost by slide, 300 steps: 0.80 ± 0.00 points"
    assert judge(effect, 0.002, costs_nothing=True) == "does not hold"


@pytest.mark.parametrize(
    ("suggestion", "note", "verdict"),
    [
        (math.nan, "on 1 of 4 seeds, there is no suggestion", "holds"),  # where it suggests a rate, nothing is lost
        (-1.9, "on 1 of 4 seeds, the suggestion lies outside of the rates that ran", "open"),
    ],
)
def test_a_rule_that_does_not_always_suggest_a_rate_that_ran_says_so_and_is_not_recommended(
    suggestion: float, note: str, verdict: str
) -> None:
    effect = found({"find/100": given(valley=[-2.5, -2.5, -2.5, suggestion], slide=[-2.4] * 4)})
    assert [name for name, _ in effect.parts] == [f"valley, 100 steps; {note}", "slide, 100 steps"]
    assert note in (*effect.doubts, *effect.caveats)
    assert effect.detail.startswith("the least is lost by slide")
    assert judge(effect, 0.002, costs_nothing=True) == verdict


def test_a_rule_that_suggests_a_rate_on_fewer_than_half_of_the_seeds_decides_nothing() -> None:
    study = make_study(np.array([0.95, 0.98, 0.90]) + np.zeros((8, 1, 1)))
    for num_silent, verdict in ((4, "holds"), (5, "open")):
        tables = {"find/100": given(valley=[-2.5] * (8 - num_silent) + [math.nan] * num_silent)}
        settings = {"study": "made", "finders": ["find/100"], "rules": ["valley"], "rule": "valley", "length": "find/100"}
        effect = finder(evidence_of(study, suggestions=tables), 0.05, **settings)  # type: ignore[arg-type]
        assert judge(effect, 0.002, costs_nothing=True) == verdict


def test_without_range_tests_nothing_was_measured() -> None:
    with pytest.raises(NoSuchRuns, match="not measured yet"):
        found({}, finders=["find/100"])
    with pytest.raises(NoSuchRuns, match="not measured yet"):
        bracket(evidence_of(STUDY), 0.05, study="made", finders=["find/100"], low="low", high="high")


@pytest.mark.parametrize(
    ("lows", "highs", "margin"),
    [
        ([-3.0, -3.1, -2.9, -3.0], [-1.0] * 4, 0.5),  # the nearer end counts
        ([-3.5] * 4, [-2.3, -2.4, -2.2, -2.3], 0.2),
        ([-3.5] * 4, [-2.7, -2.6, -2.8, -2.7], -0.2),
    ],
)
def test_the_margin_of_a_range_is_the_distance_to_its_nearer_end(lows: list[float], highs: list[float], margin: float) -> None:
    tables = {"find/300": given(low=lows, high=highs)}
    effect = bracket(evidence_of(STUDY, suggestions=tables), 0.05, study="made", finders=["find/300"], low="low", high="high")
    assert effect.effect == pytest.approx(margin)
    num_inside = 4 if margin > 0 else 0
    assert effect.parts[0][0].endswith(f"the best rate is inside on {num_inside} of 4 seeds")
    assert judge(effect, 0.0) == ("holds" if margin > 0 else "does not hold")


def test_a_range_says_how_often_its_upper_end_fails() -> None:
    study = make_study(np.array([0.95, 0.98, 0.90, 0.1]) + np.zeros((4, 1, 1)), rates=[1e-3, 10**-2.5, 1e-2, 10**-1.5])
    tables = {"find/300": given(low=[-3.5] * 4, high=[-2.3, -1.4, -1.6, -2.3])}  # the edge is at 10^-1.75
    effect = bracket(evidence_of(study, suggestions=tables), 0.05, study="made", finders=["find/300"], low="low", high="high")
    assert effect.detail == "the best rate is 0.0032; in 2 of 4 tests, at least half of the seeds fail at the upper rate"


def test_the_best_of_several_lengths_counts() -> None:
    tables = {"find/100": given(low=[-2.0] * 4, high=[-1.0] * 4), "find/300": given(low=[-3.0] * 4, high=[-1.0] * 4)}
    effect = bracket(evidence_of(STUDY, suggestions=tables), 0.05, study="made", finders=list(tables), low="low", high="high")
    assert effect.effect == pytest.approx(math.log10(RATES[1]) + 3.0)
    assert len(effect.parts) == 2


def test_a_range_test_without_a_suggestion_is_named_and_gives_no_number() -> None:
    ends = given(low=[-3.0] * 4, high=[-2.0] * 4)
    none = given(low=[math.nan] * 4, high=[-2.0] * 4)
    settings: dict[str, Any] = {"study": "made", "low": "low", "high": "high"}
    both = {"find/100": none, "find/300": ends}
    effect = bracket(evidence_of(STUDY, suggestions=both), 0.05, finders=list(both), **settings)
    assert effect.effect == pytest.approx(0.5)
    assert effect.detail == "the best rate is 0.0032; 100 steps: no seed has both suggestions"
    with pytest.raises(NoSuchRuns, match="100 steps: no seed has both suggestions"):
        bracket(evidence_of(STUDY, suggestions={"find/100": none}), 0.05, finders=["find/100"], **settings)
    with pytest.raises(NoSuchRuns, match="valley, 100 steps: no seed has both a suggestion and a run of made"):
        found({"find/100": given(valley=[math.nan] * 4, slide=[-2.5] * 4)})
