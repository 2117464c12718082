"""The rules on curves with a known answer, with and without noise, and their score against a sweep."""

import math
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import make_runs

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.suggestions import RULES, Array, combine, has_learned, longest_descent, reason_for_none, score, suggest
from lrsweep.records import RangeTest, RangeTestEnd

NUM_STEPS = 401
EXPONENTS = np.linspace(-7, 1, NUM_STEPS)
RATES: Array = 10**EXPONENTS
STEP = 0.02  # decades


def dip(at: float, width: float = 0.2, depth: float = 2.0) -> Array:
    """A smooth fall from 2.3, a logistic function that is steepest at 10^at."""
    return 2.3 - depth / (1 + np.exp(-(EXPONENTS - at) / width))


def rise(at: float) -> Array:
    """Negligible before 10^at, then faster and faster."""
    return np.exp2((EXPONENTS - at) / 0.2)


VALLEY = dip(-3) + rise(0.5)
LINEAR = np.interp(EXPONENTS, [-7, -4, -2, 1], [2.3, 2.3, 0.3, 5.0])  # flat to 10^-4, straight down to 10^-2, then up


def smoothed(losses: Array, smoothing: float = 0.98) -> Array:
    """Along the first axis."""
    averages: Array = pd.DataFrame(losses).ewm(alpha=1 - smoothing).mean().to_numpy().reshape(losses.shape)
    return averages


def exponent(lr: float | None) -> float:
    assert lr is not None
    return math.log10(lr)


@pytest.mark.parametrize(
    ("rule", "losses", "expected", "num_steps"),
    [
        ("steepest", VALLEY, -3, 1),
        ("steepest", dip(-3), -3, 1),  # this rule does not need the loss to rise again
        ("minimum/10", np.minimum(2.3, (EXPONENTS + 2) ** 2), -3, 1),
        ("valley", LINEAR, -3, 2),
        # The loss falls straight to 10^-2 and then rises as a parabola, so the upper end of the interval stops there.
        ("slide", np.interp(EXPONENTS, [-7, -5, -2, 1], [3.3, 3.3, 0.3, 0.3]) + np.maximum(0, EXPONENTS + 2) ** 2, -3.2, 2),
        ("cycle low", LINEAR, -3.8, 1),  # a tenth of the fall is done there
        ("cycle low", np.interp(EXPONENTS, [-7, -5, -4.5, -4, -2, 1], [2.3, 2.3, 1.3, 2.3, 0.3, 5.0]), -3.8, 1),  # a fall undone
        ("cycle high", LINEAR, -2, 1),
    ],
)
def test_a_rule_finds_the_known_answer(rule: str, losses: Array, expected: float, num_steps: int) -> None:
    assert exponent(RULES[rule](RATES, losses)) == pytest.approx(expected, abs=num_steps * STEP)


NO_ANSWER = {
    "flat": np.full(NUM_STEPS, 2.3),
    "diverging from the start": 2.3 + np.exp((EXPONENTS + 7) / 2),
    "noise": 2.3 + np.random.default_rng(0).normal(0, 0.1, NUM_STEPS),
    "smoothed noise": smoothed(2.3 + np.random.default_rng(1).normal(0, 0.1, NUM_STEPS)),
    "still falling at the end": dip(1.0),
    "too short": VALLEY[:4],
    "one step": VALLEY[:1],
    "no steps": VALLEY[:0],
}


@pytest.mark.parametrize("curve", NO_ANSWER)
def test_a_curve_without_an_answer_gives_no_suggestion(curve: str) -> None:
    losses = NO_ANSWER[curve]
    assert [rule(RATES[: len(losses)], losses) for rule in RULES.values()] == [None] * len(RULES)


@pytest.mark.parametrize(
    ("losses", "end", "reason"),
    [
        (NO_ANSWER["noise"], "high", "the loss does not fall clearly after the first tenth of the steps"),
        (NO_ANSWER["too short"], "loss_rose", "the loss rose steeply after step 4, at a rate of 1.1e-07; lower find.high"),
        (NO_ANSWER["one step"], "not_finite", "the loss became infinite or NaN after step 1"),
        (dip(1.0), "high", "the loss still falls at the last rate, 1.0e+01; raise find.high"),
    ],
)
def test_a_curve_without_an_answer_says_why(losses: Array, end: RangeTestEnd, reason: str) -> None:
    curve = tuple(losses.tolist())
    test = RangeTest(seed=0, rates=tuple(RATES[: len(curve)].tolist()), losses=curve, smoothed=curve, end=end)
    assert reason_for_none(test).startswith(reason)


@pytest.mark.parametrize(
    ("rule", "losses"),
    [
        ("valley", 2.3 - np.clip((EXPONENTS + 6.5) / 0.5, 0, 1) ** 8 + np.maximum(0, EXPONENTS + 6)),
        ("slide", np.minimum(7.5**2, (EXPONENTS - 1) ** 2)),
    ],
)
def test_an_answer_in_the_first_tenth_of_the_steps_is_not_suggested(rule: str, losses: Array) -> None:
    """Both curves begin to fall at 10^-6.5. The first tenth ends at 10^-6.2."""
    assert has_learned(losses)
    assert RULES[rule](RATES, losses) is None


def test_only_the_steepest_point_needs_no_rise_at_the_end() -> None:
    others = [rule for name, rule in RULES.items() if name != "steepest"]
    assert [rule(RATES, dip(-3)) for rule in others] == [None] * len(others)


def test_a_tenth_of_the_best_rate_is_not_suggested_if_it_was_not_tried() -> None:
    tried = RATES > 1e-3  # the minimum at 10^-2.4 is 0.6 decades above
    losses = np.interp(EXPONENTS, [-3.0, -2.6, -2.4, 1], [2.3, 2.3, 1.0, 5.0])
    assert RULES["minimum/10"](RATES[tried], losses[tried]) is None


@pytest.mark.parametrize("seed", range(5))
def test_noise_changes_a_suggestion_by_less_than_half_a_decade(seed: int) -> None:
    """Both curves are smoothed, because smoothing itself lags."""
    losses = np.interp(EXPONENTS, [-7, -4, -2, 1], [2.3, 2.3, 0.3, 0.3]) + rise(0.5)
    noisy = smoothed(losses + np.random.default_rng(seed).normal(0, 0.1, NUM_STEPS))
    for name, rule in RULES.items():
        assert exponent(rule(RATES, noisy)) == pytest.approx(exponent(rule(RATES, smoothed(losses))), abs=0.5), name


@pytest.mark.parametrize("smoothing", [0.0, 0.9, 0.98])
@pytest.mark.parametrize("num_steps", [100, 300])
def test_fewer_than_1_percent_of_curves_of_noise_count_as_learned(num_steps: int, smoothing: float) -> None:
    noise = np.random.default_rng(5).normal(2.3, 0.1, (2000, num_steps))
    averages = smoothed(noise.T, smoothing).T
    assert sum(map(has_learned, averages)) < 20


def test_a_fall_well_above_the_noise_counts_as_learned() -> None:
    """A fall of 1, with noise of 0.1 per batch."""
    noise = np.random.default_rng(6).normal(0, 0.1, (1000, NUM_STEPS))
    assert all(map(has_learned, smoothed((dip(-3, depth=1.0) + noise).T).T))


@given(factor=st.floats(0.01, 100), shift=st.floats(-100, 100), at=st.floats(-4, -2), edge=st.floats(0, 0.7))
def test_scaling_and_shifting_the_loss_changes_no_suggestion(factor: float, shift: float, at: float, edge: float) -> None:
    losses = dip(at) + rise(edge)
    for name, rule in RULES.items():
        expected, suggestion = rule(RATES, losses), rule(RATES, factor * losses + shift)
        assert (suggestion is None) == (expected is None), name
        # Rounding can move an answer by a step or two.
        assert suggestion is None or exponent(suggestion) == pytest.approx(exponent(expected), abs=2.5 * STEP), name


@given(shift=st.floats(-3, 3))
def test_scaling_the_rates_scales_the_suggestions(shift: float) -> None:
    for name, rule in RULES.items():
        assert exponent(rule(RATES * 10**shift, VALLEY)) == pytest.approx(exponent(rule(RATES, VALLEY)) + shift, abs=1e-6), name


@given(losses=st.lists(st.integers(0, 6), min_size=1, max_size=9))
def test_no_descending_subsequence_is_longer(losses: list[int]) -> None:
    descent = longest_descent(np.array(losses, dtype=float))
    values = [losses[i] for i in descent]
    assert descent == sorted(descent)
    assert all(a > b for a, b in pairwise(values))
    longer = combinations(losses, len(descent) + 1)
    assert not any(all(a > b for a, b in pairwise(chosen)) for chosen in longer)


def test_there_is_one_row_per_rule_and_seed() -> None:
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
        ([1e-3, 1e-5], 1e-4, 2.0, 2),  # the geometric mean of two
        ([1e-3, math.nan, 1e-2], 10**-2.5, 1.0, 2),
        ([1e-3, math.nan], 1e-3, math.nan, 1),  # half of the seeds
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


def sweep() -> Best:
    """Four rates on six seeds. The last one diverged on one seed."""
    accuracy_SR = np.array([0.78, 0.97, 0.98, 0.9]) + 0.0001 * np.random.default_rng(0).standard_normal((6, 4))
    accuracy_SR[0, 3] = np.nan
    best = find_best(make_runs(accuracy_SR, lr=[1e-4, 1e-3, 1e-2, 1e-1]))
    assert best is not None
    return best


@pytest.mark.parametrize(
    ("lr", "nearest"),
    [(1e-3, 1), (2e-3, 1), (8e-3, 2), (1e-4, 0), (9e-2, 3)],
    ids=["a rate of the sweep", "nearest in decades", "above", "the lowest", "the highest"],
)
def test_a_suggestion_has_the_shortfall_and_the_class_of_the_nearest_rate(lr: float, nearest: int) -> None:
    best = sweep()
    (row,) = score(pd.DataFrame({"lr": [lr]}), best).to_dict("records")
    expected = best.rows.iloc[nearest]
    for name in ("shortfall", "shortfall_low", "shortfall_high"):
        assert row[name] == pytest.approx(expected[name], nan_ok=True)
    assert row["verdict"] == ["worse", "worse", "good", "worse"][nearest]


@pytest.mark.parametrize("lr", [1e-5, 1.0, math.nan], ids=["below the sweep", "above the sweep", "no suggestion"])
def test_outside_the_sweep_there_is_no_score(lr: float) -> None:
    (row,) = score(pd.DataFrame({"lr": [lr]}), sweep()).to_dict("records")
    assert pd.isna([row["shortfall"], row["shortfall_low"], row["shortfall_high"], row["verdict"]]).all()


def test_without_a_sweep_there_is_no_score() -> None:
    (row,) = score(pd.DataFrame({"lr": [1e-3]}), None).to_dict("records")
    assert pd.isna([row["shortfall"], row["verdict"]]).all()
