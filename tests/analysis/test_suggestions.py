"""lrsweep.analysis.suggestions: the rules on curves whose answer is known, and what they make of noise."""

import math
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.analysis.plateau import Plateau
from lrsweep.analysis.suggestions import RULES, Array, combine, has_learned, longest_descent, score, suggest
from lrsweep.records import RangeTest

NUM_STEPS = 401
EXPONENTS = np.linspace(-7, 1, NUM_STEPS)  # 0.02 decades a step
RATES: Array = 10**EXPONENTS
STEP = 0.02


def dip(at: float, width: float = 0.2, depth: float = 2.0) -> Array:
    """A smooth fall from 2.3, the steepest at 10^at: the logistic function's steepest point is its middle."""
    return 2.3 - depth / (1 + np.exp(-(EXPONENTS - at) / width))


def rise(at: float) -> Array:
    """None to speak of before 10^at, then faster and faster."""
    return np.exp2((EXPONENTS - at) / 0.2)


VALLEY = dip(-3) + rise(0.5)


def smoothed(losses: Array, smoothing: float = 0.98) -> Array:
    """Along the first axis."""
    averages: Array = pd.DataFrame(losses).ewm(alpha=1 - smoothing).mean().to_numpy().reshape(losses.shape)
    return averages


def exponent(lr: float | None) -> float:
    assert lr is not None
    return math.log10(lr)


def test_steepest_is_where_the_curve_was_made_the_steepest() -> None:
    assert exponent(RULES["steepest"](RATES, VALLEY)) == pytest.approx(-3, abs=STEP)


def test_a_tenth_of_the_minimum() -> None:
    parabola = np.minimum(2.3, (EXPONENTS + 2) ** 2)
    assert exponent(RULES["minimum/10"](RATES, parabola)) == pytest.approx(-3, abs=STEP)


def test_the_valley_is_the_middle_of_the_descent() -> None:
    """From flat at 10^-4 straight down to 10^-2, then up."""
    losses = np.interp(EXPONENTS, [-7, -4, -2, 1], [2.3, 2.3, 0.3, 5.0])
    assert exponent(RULES["valley"](RATES, losses)) == pytest.approx(-3, abs=2 * STEP)


def test_slide_is_an_interval_below_where_both_ends_are_as_steep() -> None:
    """The loss falls straight until 10^-2 and rises as a parabola after it: there the interval's upper end comes to lie."""
    losses = np.interp(EXPONENTS, [-7, -5, -2, 1], [3.3, 3.3, 0.3, 0.3]) + np.maximum(0, EXPONENTS + 2) ** 2
    assert exponent(RULES["slide"](RATES, losses)) == pytest.approx(-2 - 1.2, abs=2 * STEP)


def test_the_range_to_cycle_in_is_from_where_the_loss_begins_to_fall_to_where_it_ends_to() -> None:
    """From flat at 10^-4 straight down to 10^-2: a tenth of the fall is done at 10^-3.8."""
    losses = np.interp(EXPONENTS, [-7, -4, -2, 1], [2.3, 2.3, 0.3, 5.0])
    assert exponent(RULES["cycle low"](RATES, losses)) == pytest.approx(-3.8, abs=STEP)
    assert exponent(RULES["cycle high"](RATES, losses)) == pytest.approx(-2, abs=STEP)


def test_a_fall_that_is_taken_back_is_not_where_the_loss_begins_to_fall() -> None:
    losses = np.interp(EXPONENTS, [-7, -5, -4.5, -4, -2, 1], [2.3, 2.3, 1.3, 2.3, 0.3, 5.0])
    assert exponent(RULES["cycle low"](RATES, losses)) == pytest.approx(-3.8, abs=STEP)


NO_ANSWER = {
    "flat": np.full(NUM_STEPS, 2.3),
    "diverging from the start": 2.3 + np.exp((EXPONENTS + 7) / 2),
    "noise": 2.3 + np.random.default_rng(0).normal(0, 0.1, NUM_STEPS),
    "smoothed noise": smoothed(2.3 + np.random.default_rng(1).normal(0, 0.1, NUM_STEPS)),
    "too short": VALLEY[:4],
    "one step": VALLEY[:1],
    "none": VALLEY[:0],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("curve", NO_ANSWER)
def test_a_curve_that_never_learned_suggests_nothing(rule: str, curve: str) -> None:
    losses = NO_ANSWER[curve]
    assert RULES[rule](RATES[: len(losses)], losses) is None


@pytest.mark.parametrize("rule", RULES)
def test_a_fall_that_the_range_cuts_off_suggests_nothing(rule: str) -> None:
    assert RULES[rule](RATES, dip(1.0)) is None


def test_the_steepest_point_can_be_trusted_where_the_loss_does_not_rise_again() -> None:
    assert exponent(RULES["steepest"](RATES, dip(-3))) == pytest.approx(-3, abs=STEP)
    others = [rule for rule in RULES if rule != "steepest"]
    assert [RULES[rule](RATES, dip(-3)) for rule in others] == [None] * len(others)


def test_a_tenth_that_was_not_tried_is_not_suggested() -> None:
    near = RATES > 1e-3  # 0.6 decades of the curve are left of its minimum at 10^-2.4
    losses = np.interp(EXPONENTS, [-3.0, -2.6, -2.4, 1], [2.3, 2.3, 1.0, 5.0])
    assert RULES["minimum/10"](RATES[near], losses[near]) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_rules_find_a_noisy_curve_as_they_find_it_without_noise(seed: int) -> None:
    """Noise of 0.1 a batch, on a loss that falls straight by 2; smoothed both times, as smoothing itself lags."""
    losses = np.interp(EXPONENTS, [-7, -4, -2, 1], [2.3, 2.3, 0.3, 0.3]) + rise(0.5)
    noisy = smoothed(losses + np.random.default_rng(seed).normal(0, 0.1, NUM_STEPS))
    for name, rule in RULES.items():
        assert exponent(rule(RATES, noisy)) == pytest.approx(exponent(rule(RATES, smoothed(losses))), abs=0.5), name


@pytest.mark.parametrize("smoothing", [0.0, 0.9, 0.98])
@pytest.mark.parametrize("num_steps", [100, 300])
def test_noise_hardly_ever_looks_like_learning(num_steps: int, smoothing: float) -> None:
    """Fewer than 1 % of 2,000 curves of noise alone."""
    noise = np.random.default_rng(5).normal(2.3, 0.1, (2000, num_steps))
    averages = smoothed(noise.T, smoothing).T
    assert sum(map(has_learned, averages)) < 20


def test_a_fall_well_above_the_noise_is_seen() -> None:
    """1,000 curves: noise of 0.1 a batch, and a fall by 1."""
    noise = np.random.default_rng(6).normal(0, 0.1, (1000, NUM_STEPS))
    assert all(map(has_learned, smoothed((dip(-3, depth=1.0) + noise).T).T))


@given(
    factor=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
    at=st.floats(-4, -2),
    edge=st.floats(0, 0.7),
)
def test_a_loss_in_other_units_gives_the_same_answers(factor: float, shift: float, at: float, edge: float) -> None:
    losses = dip(at) + rise(edge)
    for name, rule in RULES.items():
        expected, found = rule(RATES, losses), rule(RATES, factor * losses + shift)
        assert (found is None) == (expected is None), name
        # Equal neighbours may part by rounding: a step or two of 0.02 decades.
        assert found is None or exponent(found) == pytest.approx(exponent(expected), abs=2.5 * STEP), name


@given(shift=st.floats(-3, 3))
def test_rates_in_other_units_give_answers_in_these_units(shift: float) -> None:
    for name, rule in RULES.items():
        assert exponent(rule(RATES * 10**shift, VALLEY)) == pytest.approx(exponent(rule(RATES, VALLEY)) + shift, abs=1e-6), name


@given(losses=st.lists(st.integers(0, 6), min_size=1, max_size=9))
def test_the_longest_descent_is_one_and_none_is_longer(losses: list[int]) -> None:
    """Against all subsequences."""
    found = longest_descent(np.array(losses, dtype=float))
    values = [losses[i] for i in found]
    assert found == sorted(found)
    assert all(a > b for a, b in pairwise(values))
    longer = combinations(losses, len(found) + 1)
    assert not any(all(a > b for a, b in pairwise(chosen)) for chosen in longer)


# Over seeds.


def test_each_rule_is_asked_for_each_seed() -> None:
    curve = tuple(VALLEY.tolist())
    tests = [
        RangeTest(seed=seed, rates=tuple(RATES.tolist()), losses=curve, smoothed=losses, end="high")
        for seed, losses in ((3, curve), (4, (2.3,) * NUM_STEPS))
    ]
    table = suggest(tests)
    assert table[["rule", "seed"]].to_numpy().tolist() == [[rule, seed] for rule in RULES for seed in (3, 4)]
    assert table.groupby("seed")["lr"].count().tolist() == [len(RULES), 0]


@pytest.mark.parametrize(
    ("rates", "lr", "spread", "num_given"),
    [
        ([1e-3, 1e-4, 1e-2], 1e-3, 2.0, 3),
        ([1e-3, 1e-5], 1e-4, 2.0, 2),  # between two, as a ratio
        ([1e-3, math.nan, 1e-2], 10**-2.5, 1.0, 2),
        ([1e-3, math.nan], 1e-3, math.nan, 1),  # half of them, of which one has no spread
        ([1e-3, math.nan, math.nan], math.nan, math.nan, 1),  # fewer than half
        ([math.nan], math.nan, math.nan, 0),
    ],
)
def test_seeds_are_combined_by_their_median(rates: list[float], lr: float, spread: float, num_given: int) -> None:
    table = pd.DataFrame({"rule": "valley", "seed": range(len(rates)), "lr": rates})
    (row,) = combine(table).to_dict("records")
    assert row["lr"] == pytest.approx(lr, nan_ok=True)
    assert row["spread_decades"] == pytest.approx(spread, nan_ok=True)
    assert (row["rule"], row["num_given"], row["num_seeds"]) == ("valley", num_given, len(rates))


# Against a sweep.

SWEPT = pd.DataFrame({"lr": [1e-4, 1e-3, 1e-2, 1e-1], "shortfall": [0.2, 0.01, 0.0, math.nan]})
PLATEAU = Plateau(
    rates=SWEPT,
    seeds=(0, 1, 2),
    best_lr=1e-2,
    low=1e-3,
    high=1e-2,
    learning_low=1e-4,
    learning_high=1e-2,
    standard_error=0.001,
    doubts=(),
)


@pytest.mark.parametrize(
    ("lr", "decades_off", "shortfall"),
    [
        (1e-3, 0.0, 0.01),
        (2e-3, 0.0, 0.01),  # the nearest rate as a ratio: 1e-3
        (8e-3, 0.0, 0.0),
        (1e-4, -1.0, 0.2),
        (1e-1, 1.0, math.nan),  # a rate that was not scored
        (1e-5, -2.0, math.nan),  # beyond the grid
        (1.0, 2.0, math.nan),
        (math.nan, math.nan, math.nan),
    ],
)
def test_a_suggestion_is_scored_by_how_far_off_it_is(lr: float, decades_off: float, shortfall: float) -> None:
    (row,) = score(pd.DataFrame({"lr": [lr]}), PLATEAU).to_dict("records")
    assert row["decades_off"] == pytest.approx(decades_off, nan_ok=True)
    assert row["shortfall"] == pytest.approx(shortfall, nan_ok=True)


def test_without_a_sweep_nothing_is_measured() -> None:
    (row,) = score(pd.DataFrame({"lr": [1e-3]}), None).to_dict("records")
    assert math.isnan(row["decades_off"])
    assert math.isnan(row["shortfall"])
