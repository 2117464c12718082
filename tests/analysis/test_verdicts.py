"""The rule of the five verdicts: a table of cases, and its error rates in simulations with a known answer."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lrsweep.analysis.verdicts import (
    DELTA,
    Effect,
    Word,
    half_interval,
    judge,
    mean_effect,
    ranked,
    seeds_to_decide,
)

LEVEL = 0.05
SD = 0.002  # of a difference between two arms on one seed


def effect_of(low: float, high: float) -> Effect:
    return Effect((low + high) / 2, low, high, "accuracy", 20, 40)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.001, 0.02, "holds"),
        (-0.02, -0.001, "does not hold"),
        (-0.001, 0.02, "open"),
        (0.0, 0.02, "open"),  # the claim says: above 0
        (-0.0019, 0.0019, "no difference that matters"),
        (0.0005, 0.0019, "no difference that matters"),  # whatever its sign
        (-0.0019, -0.0005, "no difference that matters"),
        (0.0005, 0.002, "holds"),  # the interval is not wholly below delta
        (-0.001, 0.0021, "open"),
        (-math.inf, math.inf, "open"),
        (math.nan, math.nan, "open"),
    ],
)
def test_the_interval_decides(low: float, high: float, word: Word) -> None:
    assert judge(effect_of(low, high), 0.002) == word


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.0019, 0.02, "holds"),
        (-0.0019, -0.0001, "holds"),  # there is a cost, but it is below delta
        (-0.02, -0.0021, "does not hold"),
        (-0.0021, 0.02, "open"),
        (0.001, 0.02, "holds"),
        (-math.inf, -0.003, "does not hold"),
        (math.nan, math.nan, "open"),
    ],
)
def test_a_claim_that_something_costs_nothing_is_judged_against_minus_delta(low: float, high: float, word: Word) -> None:
    assert judge(effect_of(low, high), 0.002, costs_nothing=True) == word


def test_with_a_delta_of_zero_only_the_sign_counts() -> None:
    assert [judge(effect_of(*ends), 0.0) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))] == [
        "holds",
        "does not hold",
        "open",
    ]


def test_an_effect_with_doubts_is_open() -> None:
    assert judge(replace(effect_of(0.1, 0.2), doubts=("18 of 24 runs",)), 0.002) == "open"


def test_the_smallest_differences_that_matter() -> None:
    assert {unit: round(delta, 4) for unit, delta in DELTA.items()} == {"accuracy": 0.002, "factor": 0.0969, "decades": 0.5}


def words_of(truth: float, num_seeds: int, sd: float = SD, costs_nothing: bool = False) -> list[Word]:
    """The verdicts of 2,000 studies in which an arm is better by `truth`."""
    draws = np.random.default_rng(num_seeds).normal(truth, sd, (2_000, num_seeds))
    means, sds = draws.mean(axis=1), draws.std(axis=1, ddof=1)
    halves = sds * half_interval(1.0, num_seeds, LEVEL)
    return [
        judge(Effect(mean, mean - half, mean + half, "accuracy", num_seeds, 0), 0.002, costs_nothing)
        for mean, half in zip(means, halves, strict=True)
    ]


def is_rare(words: list[Word], wrong: Callable[[Word], bool], rate: float) -> bool:
    """True if wrong verdicts are no more frequent than `rate`, with an allowance for the chance of a simulation."""
    return sum(map(wrong, words)) <= stats.binom.isf(1e-3, len(words), rate)


@pytest.mark.parametrize("num_seeds", [5, 10, 20])
@pytest.mark.parametrize("sd", [0.0005, SD, 0.01])
def test_without_a_difference_a_claim_is_decided_either_way_no_more_often_than_the_level(num_seeds: int, sd: float) -> None:
    words = words_of(0.0, num_seeds, sd)
    assert is_rare(words, lambda word: word == "holds", LEVEL / 2)
    assert is_rare(words, lambda word: word == "does not hold", LEVEL / 2)


@pytest.mark.parametrize("num_seeds", [5, 10, 20])
@pytest.mark.parametrize("truth", [0.002, -0.002])
@pytest.mark.parametrize("sd", [0.0005, SD, 0.01])
def test_a_difference_of_exactly_delta_is_called_too_small_no_more_often_than_the_level(
    num_seeds: int, truth: float, sd: float
) -> None:
    assert is_rare(words_of(truth, num_seeds, sd), lambda word: word == "no difference that matters", LEVEL / 2)


@pytest.mark.parametrize("num_seeds", [5, 10, 20])
@pytest.mark.parametrize("truth", [-0.003, 0.003])
def test_a_difference_is_rarely_called_the_opposite(num_seeds: int, truth: float) -> None:
    wrong = "holds" if truth < 0 else "does not hold"
    assert is_rare(words_of(truth, num_seeds), lambda word: word == wrong, LEVEL / 2)


@pytest.mark.parametrize("num_seeds", [5, 10, 20])
def test_a_cost_of_exactly_delta_is_found_or_denied_no_more_often_than_the_level(num_seeds: int) -> None:
    words = words_of(-0.002, num_seeds, costs_nothing=True)
    assert is_rare(words, lambda word: word == "holds", LEVEL / 2)
    assert is_rare(words, lambda word: word == "does not hold", LEVEL / 2)


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("truths", [(0.0, 0.0, 0.0), (0.0, 0.0, 0.01), (-0.01, 0.0, 0.0), (-0.01, 0.0, 0.01)])
def test_the_interval_of_a_ranked_effect_misses_the_truth_no_more_often_than_its_level(
    rank: int, truths: tuple[float, ...]
) -> None:
    """The smallest, the middle and the largest of three effects, each measured on 5 seeds."""
    truth, num, rng = sorted(truths)[rank], 250, np.random.default_rng(1)
    too_high = too_low = 0
    for _ in range(num):
        draws = [pd.Series(mean + rng.normal(0, SD, 5)) for mean in truths]
        effect, _ = ranked(lambda level, draws=draws: [mean_effect(draw, level, "accuracy") for draw in draws], LEVEL, rank)
        too_high += effect.low > truth
        too_low += effect.high < truth
    assert max(too_high, too_low) <= stats.binom.isf(1e-3, num, LEVEL / 2)


def test_the_lower_end_of_the_smallest_effect_needs_no_correction_for_several_effects() -> None:
    draws = [pd.Series(np.random.default_rng(i).normal(0.01, SD, 10)) for i in range(7)]
    effect, parts = ranked(lambda level: [mean_effect(draw, level, "accuracy") for draw in draws], LEVEL, 0)
    assert effect.low == min(mean_effect(draw, LEVEL, "accuracy").low for draw in draws)
    assert effect.high == min(mean_effect(draw, LEVEL / 7, "accuracy").high for draw in draws)
    assert len(parts) == 7


def test_an_effect_without_an_interval_still_counts_as_one_of_several() -> None:
    one, two = pd.Series([0.01]), pd.Series([0.02, 0.021, 0.019])
    largest, _ = ranked(lambda level: [mean_effect(draw, level, "accuracy") for draw in (one, two)], LEVEL, 1)
    assert largest.low == mean_effect(two, LEVEL / 2, "accuracy").low
    assert largest.high == math.inf


def test_one_seed_has_no_interval() -> None:
    assert math.isnan(mean_effect(pd.Series([0.01]), LEVEL, "accuracy").low)


@pytest.mark.parametrize(
    ("truth", "costs_nothing"), [(0.003, False), (-0.0015, False), (0.0, False), (0.0, True), (-0.005, True), (0.001, False)]
)
def test_the_estimated_number_of_seeds_decides_about_four_times_in_five(truth: float, costs_nothing: bool) -> None:
    pilot = Effect(truth, -1.0, 1.0, "accuracy", 5, 10, level=LEVEL, sd=SD)
    forecast = seeds_to_decide(pilot, 0.002, costs_nothing)
    assert forecast is not None
    words = words_of(truth, forecast.num_seeds, costs_nothing=costs_nothing)
    decided = np.mean([word != "open" for word in words])
    assert 0.7 <= decided <= 0.93
    assert forecast.word == max(set(words) - {"open"}, key=words.count)
    if forecast.num_seeds > 5:
        fewer = np.mean([word != "open" for word in words_of(truth, forecast.num_seeds // 2, costs_nothing=costs_nothing)])
        assert fewer < decided - 0.1


@pytest.mark.parametrize(("rank", "word"), [(0, "no difference that matters"), (1, "holds")])
def test_the_forecast_of_a_ranked_effect_counts_the_spread_of_all_its_parts(rank: int, word: str) -> None:
    """The second of three effects has a spread so large that its own interval would need hundreds of seeds."""
    truths, sds, rng = (0.0, 0.002, 0.003), (0.001, 0.008, 0.002), np.random.default_rng(3)

    def draw(num_seeds: int) -> Effect:
        found = [pd.Series(mean + rng.normal(0, sd, num_seeds)) for mean, sd in zip(truths, sds, strict=True)]
        effect, parts = ranked(lambda level: [mean_effect(one, level, "accuracy") for one in found], LEVEL, rank)
        return replace(effect, parts=tuple((str(i), part) for i, part in enumerate(parts)))

    pilot = draw(5)
    parts = [(name, replace(part, effect=mean, sd=sd)) for (name, part), mean, sd in zip(pilot.parts, truths, sds, strict=True)]
    forecast = seeds_to_decide(replace(pilot, parts=tuple(parts)), 0.002)
    assert forecast is not None
    words = [judge(draw(forecast.num_seeds), 0.002) for _ in range(300)]
    assert 0.7 <= np.mean([each != "open" for each in words]) <= 0.93
    assert forecast.word == word == max(set(words) - {"open"}, key=words.count)


def test_no_number_of_seeds_is_named_if_hundreds_would_not_decide() -> None:
    pilot = Effect(0.0, -1.0, 1.0, "accuracy", 5, 10, level=LEVEL, sd=1.0)
    assert seeds_to_decide(pilot, 0.002) is None
    assert seeds_to_decide(replace(pilot, sd=math.nan), 0.002) is None
