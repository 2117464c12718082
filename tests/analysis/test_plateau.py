"""Which rates are tied with the best: simulations with a known answer, and independent computations of both tests."""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_runs import centred_noise, make_runs
from scipy import stats

from lrsweep.analysis.plateau import (
    LEVEL,
    MIN_SEEDS,
    NUM_RESAMPLES,
    SPREAD_LEVEL,
    Plateau,
    dependable,
    find_plateau,
    tied_with_best,
)

Array = np.ndarray[Any, np.dtype[np.float64]]

NAN = math.nan
RANGE_LEVEL = LEVEL - SPREAD_LEVEL
NUM_VALID = 5000


def plateau_of(accuracy_SR: Any, num_valid: int = NUM_VALID, num_missing: int = 0, **columns: Any) -> Plateau:
    plateau = find_plateau(make_runs(accuracy_SR, **columns), num_valid, num_missing)
    assert plateau is not None
    return plateau


def noise_of(rng: np.random.Generator, num_seeds: int, num_rates: int, sd: float = 0.002) -> Array:
    return sd * rng.standard_normal((num_seeds, num_rates))


def dependable_of(accuracy_SR: Array) -> Array:
    """Which rates are dependable if every run learned."""
    return dependable(accuracy_SR, np.ones(accuracy_SR.shape[1], dtype=bool))


def tied_of(accuracy_SR: Array) -> Array:
    """The tied rates if every run learned, without tables: fast enough for thousands of simulated studies."""
    chosen = dependable_of(accuracy_SR)
    tied = np.zeros_like(chosen)
    tied[chosen] = tied_with_best(accuracy_SR[:, chosen], NUM_VALID)[0]
    return tied


@functools.cache
def critical_value(num_rates: int, df: int) -> float:
    return float(stats.studentized_range.isf(RANGE_LEVEL, num_rates, df))


@pytest.fixture(scope="module")
def fast_range() -> Iterator[None]:
    """Compare with cached critical values instead of integrating probabilities: the verdict is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats.studentized_range, "sf", lambda q, k, df: 0.0 if q > critical_value(k, df) else 1.0)
        yield


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_find_plateau_gives_the_verdicts_that_are_simulated_below(num_seeds: int) -> None:
    """The expected verdicts integrate the probabilities of the range test, instead of taking its shortcut."""
    rng = np.random.default_rng(0)
    for _ in range(6):
        accuracy_SR = 0.95 - rng.choice([0.0, 0.002, 0.004, 0.02], size=6) + noise_of(rng, num_seeds, 6)
        assert plateau_of(accuracy_SR).rates["tied"].tolist() == tied_of(accuracy_SR).tolist()


# The range test.


def two_way(accuracy_SR: Array) -> tuple[float, int]:
    """Residual mean square and degrees of freedom of the two-way layout, by least squares on indicator variables."""
    num_seeds, num_rates = accuracy_SR.shape
    seed, rate = (index.ravel() for index in np.indices(accuracy_SR.shape))
    design = np.hstack([np.eye(num_rates)[rate], np.eye(num_seeds)[seed]])
    _, squares, rank, _ = np.linalg.lstsq(design[:, :-1], accuracy_SR.ravel())
    df = accuracy_SR.size - int(rank)
    return float(squares[0]) / df, df


def range_differs(accuracy_SR: Array) -> bool:
    return not tied_with_best(accuracy_SR, NUM_VALID)[0].all()


def test_the_range_test_is_tukeys_with_seeds_as_blocks() -> None:
    """The shortcuts by Student's t must agree with the integral. The effects are drawn so that both verdicts are common."""
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(80):
        num_seeds, num_rates = int(rng.integers(3, 8)), int(rng.integers(2, 9))
        accuracy_SR = 0.9 + noise_of(rng, num_seeds, num_rates) + rng.uniform(0, 0.005) * rng.standard_normal(num_rates)
        mean_square, df = two_way(accuracy_SR)
        statistic = np.ptp(accuracy_SR.mean(axis=0)) / math.sqrt(mean_square / num_seeds)
        verdicts.append(bool(stats.studentized_range.sf(statistic, num_rates, df) < RANGE_LEVEL))
        assert range_differs(accuracy_SR) == verdicts[-1]
    assert 20 <= sum(verdicts) <= 60


@pytest.mark.parametrize(("num_seeds", "num_rates"), [(3, 2), (3, 6), (5, 3), (5, 10), (10, 4)])
def test_the_range_test_changes_its_verdict_at_the_critical_value(num_seeds: int, num_rates: int) -> None:
    noise = noise_of(np.random.default_rng(2), num_seeds, num_rates)
    residuals = noise - noise.mean(axis=0)
    mean_square, df = two_way(residuals)
    critical = critical_value(num_rates, df) * math.sqrt(mean_square / num_seeds)
    assert not range_differs(residuals + np.linspace(0.9 - 0.99 * critical, 0.9, num_rates))
    assert range_differs(residuals + np.linspace(0.9 - 1.01 * critical, 0.9, num_rates))


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_for_two_rates_the_range_test_is_the_paired_t_test(num_seeds: int) -> None:
    rng = np.random.default_rng(3)
    verdicts = set()
    for _ in range(60):
        accuracy_S2 = 0.9 + noise_of(rng, num_seeds, 2) + 0.02 * rng.standard_normal((num_seeds, 1)) + [0, rng.uniform(0, 0.006)]
        p_value = stats.ttest_rel(accuracy_S2[:, 0], accuracy_S2[:, 1]).pvalue
        assert range_differs(accuracy_S2) == (p_value < RANGE_LEVEL)
        verdicts.add(bool(p_value < RANGE_LEVEL))
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    ("accuracy_SR", "differs"),
    [([[0.9, 0.9]] * 3, False), ([[0.9, 0.8]] * 3, True), ([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]], False)],
    ids=["all equal", "the same difference on every seed", "seeds differ, rates do not"],
)
def test_without_residual_variance_any_difference_counts(accuracy_SR: list[list[float]], differs: bool) -> None:
    assert range_differs(np.array(accuracy_SR)) == differs


@pytest.mark.parametrize(("num_seeds", "num_rates"), [(3, 2), (3, 5), (6, 4)])
def test_the_standard_error_is_from_the_residuals_of_the_tied_rates(num_seeds: int, num_rates: int) -> None:
    accuracy_SR = 0.9 + noise_of(np.random.default_rng(4), num_seeds, num_rates)
    tied, standard_error = tied_with_best(accuracy_SR, NUM_VALID)
    assert tied.all()
    assert standard_error == pytest.approx(math.sqrt(two_way(accuracy_SR)[0] / num_seeds))


def test_the_standard_error_of_a_single_rate_is_from_its_own_variance() -> None:
    plateau = plateau_of([[0.90, 0.1], [0.92, 0.1], [0.94, 0.1]], learned=[True, False])
    assert plateau.standard_error == pytest.approx(0.02 / math.sqrt(3))


# The promise: a rate as good as the best is left out with a probability of at most LEVEL.

CURVE = [0.90, 0.955, 0.958, 0.960, 0.960, 0.960, 0.958, 0.953, 0.93]  # three rates are truly tied


def at_most(level: float, num: int) -> int:
    """A count of events with probability `level` that is exceeded once in a thousand simulations."""
    return int(stats.binom.ppf(0.999, num, level))


@pytest.mark.usefixtures("fast_range")
@pytest.mark.parametrize("num_seeds", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 10))])
@pytest.mark.parametrize(
    ("means", "seed_sd"),
    [
        ([0.96] * 3, 0.0),
        ([0.96] * 10, 0.0),
        (CURVE, 0.0),
        (CURVE, 0.02),
        ([0.96, 0.96, 0.9, 0.8, 0.7, 0.6], 0.0),
        ([0.96, *[0.957] * 7], 0.0),
    ],
    ids=["3 equal", "10 equal", "a curve", "a curve and uneven seeds", "2 tied among far worse ones", "one barely better"],
)
def test_a_truly_tied_rate_is_left_out_no_more_often_than_the_level(num_seeds: int, means: list[float], seed_sd: float) -> None:
    num_studies = 600
    rng = np.random.default_rng([5, num_seeds, len(means)])
    is_best = np.array(means) == max(means)
    wrong = 0
    for _ in range(num_studies):
        seeds = seed_sd * rng.standard_normal((num_seeds, 1))
        wrong += not tied_of(means + noise_of(rng, num_seeds, len(means)) + seeds)[is_best].all()
    assert wrong <= at_most(LEVEL, num_studies)


@pytest.mark.usefixtures("fast_range")
def test_the_level_is_used_up() -> None:
    """A test that never leaves a rate out would keep the promise too."""
    rng = np.random.default_rng(6)
    wrong = sum(not tied_of(0.96 + noise_of(rng, 5, 6)).all() for _ in range(2000))
    assert wrong >= stats.binom.ppf(0.001, 2000, 0.8 * LEVEL)


@pytest.mark.usefixtures("fast_range")
@pytest.mark.parametrize("seed_sd", [0.0, 0.02], ids=["even seeds", "uneven seeds"])
@pytest.mark.parametrize(("standard_errors", "power"), [(6.0, 0.8), (8.0, 0.97)])
def test_a_worse_rate_is_left_out(seed_sd: float, standard_errors: float, power: float) -> None:
    """5 seeds and 8 rates, one of which is worse by this many standard errors of a mean."""
    num_studies = 300
    rng = np.random.default_rng(7)
    means = np.full(8, 0.96)
    means[3] -= standard_errors * 0.002 / math.sqrt(5)
    left_out = 0
    for _ in range(num_studies):
        left_out += not tied_of(means + noise_of(rng, 5, 8) + seed_sd * rng.standard_normal((5, 1)))[3]
    assert left_out >= power * num_studies


@pytest.mark.usefixtures("fast_range")
@given(
    accuracy_SR=st.tuples(st.integers(3, 6), st.integers(2, 7)).flatmap(
        lambda shape: arrays(float, shape, elements=st.floats(0, 1))
    ),
    offset=st.floats(-1, 1),
)
@settings(max_examples=60)
def test_an_offset_per_seed_changes_no_verdict(accuracy_SR: Array, offset: float) -> None:
    """In multiples of 1/256, so that sums are exact and equal accuracies stay equal."""
    grid = np.round(accuracy_SR * 256) / 256
    offsets = np.round(offset * 256) / 256 * np.arange(len(grid))[:, None]
    assert tied_of(grid + offsets).tolist() == tied_of(grid).tolist()


@pytest.mark.usefixtures("fast_range")
def test_the_gap_needed_depends_on_the_number_of_rates_not_yet_left_out() -> None:
    """The best of several rates looked best by chance; rates that are left out make no more comparisons (a step-down test)."""
    noise = noise_of(np.random.default_rng(9), 10, 7)
    noise -= noise.mean(axis=0)

    def significant_gap(num_rates: int) -> float:
        mean_square, df = two_way(noise[:, :num_rates])
        return critical_value(num_rates, df) * math.sqrt(mean_square / 10)

    assert significant_gap(2) < significant_gap(3) < significant_gap(7)
    gap = (significant_gap(2) + significant_gap(3)) / 2  # significant between two rates, but not between the extremes of three
    assert tied_of(noise[:, :3] + np.array([0.96, 0.96 - gap / 2, 0.96 - gap])).all()
    gap = (significant_gap(2) + significant_gap(7)) / 2
    means = [0.96, 0.96 - gap, 0.8, 0.79, 0.78, 0.77, 0.76]
    assert tied_of(noise + means).tolist() == [True, *[False] * 6]


# Dependable: learned on every seed, and not far more variable than the others.


def test_a_rate_that_did_not_learn_on_one_seed_is_a_gap_in_the_range_even_with_the_highest_mean() -> None:
    learned_SR = [[True, True, True], [True, False, True], [True, True, True]]
    plateau = plateau_of([[0.90, 0.99, 0.90], [0.91, 0.99, 0.91], [0.89, 0.99, 0.92]], learned=learned_SR)
    for column in ("learned", "dependable", "tied"):
        assert plateau.rates[column].tolist() == [True, False, True]
    assert plateau.rates["wins"].tolist()[1] == 0
    assert plateau.best_lr == plateau.low == plateau.high == 0.004
    assert plateau.rates["mean"].tolist() == pytest.approx([0.90, 0.99, 0.91])
    assert plateau.rates["shortfall"].tolist() == pytest.approx([0.01, -0.08, 0])


def test_a_diverged_run_has_not_learned_even_if_its_best_epoch_had() -> None:
    status_SR = [["ok", "ok"], ["ok", "diverged"], ["ok", "ok"]]
    plateau = plateau_of([[0.90, 0.95], [0.91, 0.95], [0.90, 0.96]], status=status_SR, learned=True)
    assert plateau.rates["dependable"].tolist() == [True, False]
    assert plateau.best_lr == 0.001


def test_if_no_rate_is_dependable_the_best_of_all_is_chosen_with_a_doubt() -> None:
    learned_SR = [[False, True, True, False]] * 2 + [[False, False, False, False]]
    plateau = plateau_of([[0.1, 0.8, 0.9, NAN], [0.1, 0.8, 0.9, NAN], [0.1, 0.2, 0.1, NAN]], learned=learned_SR)
    assert plateau.doubts[0] == "no_rate_dependable"
    assert plateau.best_lr == 0.004
    assert not plateau.rates["dependable"].any()


@pytest.mark.parametrize("num_seeds", [3, 10])
@pytest.mark.parametrize("rate", [0, 2])
def test_an_outlier_at_one_rate_does_not_mask_differences_between_the_others(num_seeds: int, rate: int) -> None:
    """If the outlier were not left out, it would inflate the pooled variance, and rates that are worse by 0.02 would be tied."""
    means = np.array([0.96, 0.94, 0.96, 0.96, 0.94, 0.96])
    accuracy_SR = means + noise_of(np.random.default_rng(10), num_seeds, 6)
    accuracy_SR[0, rate] -= 0.3
    rates = plateau_of(accuracy_SR).rates
    expected = means == 0.96
    expected[rate] = False
    assert rates["dependable"].tolist() == [i != rate for i in range(6)]
    assert rates["tied"].tolist() == expected.tolist()
    assert tied_with_best(accuracy_SR, NUM_VALID)[0].all()


@pytest.mark.slow
@pytest.mark.parametrize(("num_seeds", "num_rates"), [(3, 3), (3, 8), (5, 3), (5, 8), (10, 3), (10, 8)])
@pytest.mark.parametrize("spread", [0.0, 0.05], ids=["equal means", "different means"])
def test_a_rate_that_varies_like_the_others_is_rejected_no_more_often_than_the_level(
    num_seeds: int, num_rates: int, spread: float
) -> None:
    num_studies = 2000
    rng = np.random.default_rng([11, num_seeds, num_rates])
    means = spread * np.arange(num_rates)
    rejected = sum(not dependable_of(means + noise_of(rng, num_seeds, num_rates)).all() for _ in range(num_studies))
    assert 1 <= rejected <= at_most(SPREAD_LEVEL, num_studies)


def test_a_rate_that_varies_ten_times_as_much_is_rejected() -> None:
    rng = np.random.default_rng(12)
    sds = np.array([0.002] * 7 + [0.02])
    are_dependable = np.array([dependable_of(sds * rng.standard_normal((5, 8))) for _ in range(200)])
    assert np.mean(~are_dependable[:, 7]) >= 0.9
    assert np.mean(are_dependable[:, :7].all(axis=1)) >= 0.98


def test_the_variance_test_is_an_f_test_of_a_rate_against_the_mean_of_the_others() -> None:
    """The variance of each rate's contrast with the mean of the others, divided by the others' residual mean square."""
    rng = np.random.default_rng(13)
    verdicts = []
    for _ in range(60):
        num_seeds, num_rates = int(rng.integers(3, 8)), int(rng.integers(3, 9))
        accuracy_SR = noise_of(rng, num_seeds, num_rates)
        accuracy_SR[:, 0] *= rng.uniform(1, 6)
        p_values = []
        for rate in range(num_rates):
            others = np.delete(accuracy_SR, rate, axis=1)
            contrast = (accuracy_SR[:, rate] - others.mean(axis=1)).var(ddof=1) / (1 + 1 / (num_rates - 1))
            mean_square, df = two_way(others)
            p_values.append(stats.f.sf(contrast / mean_square, num_seeds - 1, df))
        verdicts.append(num_rates * min(p_values) < SPREAD_LEVEL)
        are_dependable = dependable_of(accuracy_SR)
        assert are_dependable.all() != verdicts[-1]
        assert are_dependable.all() or not are_dependable[np.argmin(p_values)]
    assert 15 <= sum(verdicts) <= 45


@pytest.mark.parametrize(
    ("accuracy_SR", "expected"),
    [
        ([[0.9, 0.9, 0.9]] * 3, [True] * 3),
        ([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.7, 0.6, 0.5]], [True] * 3),
        ([[0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.9, 0.9, 0.5]], [True, True, False]),
        ([[0.9, 0.9], [0.9, 0.9], [0.9, 0.1]], [True] * 2),
        ([[0.9, 0.9, 0.9], [0.9, 0.9, 0.1]], [True] * 3),
    ],
    ids=["no variance", "only seeds differ", "one rate varies", "two rates: it could be either", "two seeds are too few"],
)
def test_extreme_variances(accuracy_SR: list[list[float]], expected: list[bool]) -> None:
    assert dependable_of(np.array(accuracy_SR)).tolist() == expected


# Which runs are used, and when the range is in doubt.

THREE = [[0.90, 0.96, 0.90], [0.91, 0.95, 0.91], [0.90, 0.96, 0.91]]


@pytest.mark.parametrize(
    ("accuracy_SR", "columns", "num_missing", "doubts"),
    [
        (THREE, {}, 0, ()),
        (THREE, {}, 1, ("runs_missing",)),
        (THREE, {"status": [["ok"] * 3, ["ok"] * 3, ["ok", "failed", "ok"]]}, 0, ("runs_missing", "few_seeds")),
        (THREE, {"status": ["ok", "ok", "failed"]}, 0, ("at_upper_end", "runs_missing")),
        (THREE[:1], {"status": ["ok", "ok", "failed"]}, 0, ("at_upper_end", "runs_missing", "few_seeds")),
        (THREE[:2], {}, 0, ("few_seeds",)),
        (THREE[:1], {}, 0, ("few_seeds",)),
        ([row[::-1][1:] for row in THREE], {}, 0, ("at_lower_end",)),
        ([row[:2] for row in THREE], {}, 0, ("at_upper_end",)),
        ([[0.9], [0.9], [0.91]], {}, 0, ("at_lower_end", "at_upper_end")),
        (THREE, {"learned": False}, 0, ("no_rate_dependable",)),
    ],
    ids=[
        *("none", "a planned run is missing", "a run failed", "a rate failed", "a rate failed on the only seed"),
        *("two seeds", "one seed", "best at the lower end", "best at the upper end", "a single rate", "nothing learned"),
    ],
)
def test_doubts(accuracy_SR: list[list[float]], columns: dict[str, Any], num_missing: int, doubts: tuple[str, ...]) -> None:
    plateau = plateau_of(accuracy_SR, num_missing=num_missing, **columns)
    assert plateau.doubts == doubts
    assert plateau.is_tested == ("few_seeds" not in doubts)


def test_a_range_that_reaches_the_end_of_the_grid_is_in_doubt_even_if_the_best_rate_does_not() -> None:
    plateau = plateau_of(np.array([0.9598, 0.96, 0.9, 0.9]) + centred_noise(3, 4, sd=0.002))
    assert (plateau.low, plateau.best_lr) == (0.001, 0.002)
    assert plateau.doubts == ("at_lower_end",)


def test_a_seed_that_lacks_a_run_is_left_out() -> None:
    runs = make_runs([*THREE, [0.99, 0.5, 0.99]], status=[["ok"] * 3] * 3 + [["ok", "failed", "ok"]])
    for incomplete in (runs, runs[runs["status"] != "failed"]):
        plateau = find_plateau(incomplete, NUM_VALID)
        assert plateau is not None
        assert plateau.seeds == (0, 1, 2)
        assert plateau.doubts == ("runs_missing",)
        pd.testing.assert_frame_equal(plateau.rates, plateau_of(THREE).rates)


def test_if_no_seed_is_complete_the_one_with_the_most_rates_is_used() -> None:
    status_SR = [["failed", "failed", "ok", "ok"], ["ok", "ok", "ok", "failed"], ["failed", "ok", "ok", "ok"]]
    plateau = plateau_of([[0.9, 0.9, 0.9, 0.9], [0.8, 0.9, 0.7, 0.9], [0.9, 0.9, 0.9, 0.9]], status=status_SR)
    assert plateau.seeds == (1,)
    assert plateau.rates["lr"].tolist() == [0.001, 0.002, 0.004]
    assert plateau.best_lr == 0.002


def test_without_a_rate_scored_on_every_seed_there_is_no_plateau() -> None:
    for accuracy_SR in ([[NAN]], [[NAN, NAN], [NAN, NAN]], [[0.9, NAN], [NAN, 0.9]]):
        assert find_plateau(make_runs(accuracy_SR), NUM_VALID) is None
    assert find_plateau(make_runs([[0.9, 0.9]], status="failed"), NUM_VALID) is None


def test_the_rates_that_learned_span_more_than_the_best_range() -> None:
    accuracy_SR = np.array([0.1, 0.5, 0.96, 0.96, 0.9, 0.3, NAN, 0.6]) + centred_noise(3, 8, sd=0.002)
    plateau = plateau_of(accuracy_SR, learned=[False, True, True, True, True, True, False, True])
    assert (plateau.learning_low, plateau.low, plateau.high, plateau.learning_high) == (0.002, 0.004, 0.008, 0.032)
    assert plateau.num_decades == pytest.approx(math.log10(2))


# Fewer than three seeds: within one binomial standard error.


@pytest.mark.parametrize(
    ("best", "num_valid", "num_seeds", "expected"),
    [(0.9, 10_000, 1, 0.003), (0.5, 100, 1, 0.05), (0.9, 10_000, 2, 0.003 / math.sqrt(2)), (1.0, 10_000, 1, 0.0)],
    ids=["one seed", "few images", "two seeds", "no errors"],
)
def test_with_fewer_than_three_seeds_rates_within_one_binomial_standard_error_are_tied(
    best: float, num_valid: int, num_seeds: int, expected: float
) -> None:
    rates = [best - 1.01 * expected - 1e-6, best - 0.99 * expected, best, best, best - 1.01 * expected - 1e-6]
    plateau = plateau_of([rates] * num_seeds, num_valid=num_valid)
    assert plateau.standard_error == pytest.approx(expected)
    assert plateau.rates["tied"].tolist() == [False, True, True, True, False]
    assert (plateau.low, plateau.high) == (0.002, 0.008)
    assert plateau.best_lr == (0.002 if expected == 0 else 0.004)  # the smallest of equal rates


@pytest.mark.parametrize(
    ("valid", "best", "first", "last"),
    [
        ([0.9], 0, 0, 0),
        ([0.5, 0.898, 0.9, 0.899, 0.5], 2, 1, 3),
        ([0.899, 0.5, 0.9, 0.898, 0.8, 0.9], 2, 2, 3),
        ([0.9, 0.898, 0.5], 0, 0, 1),
        ([0.5, 0.898, 0.9], 2, 1, 2),
        ([0.9, NAN, 0.901, NAN, 0.9], 2, 2, 2),
        ([NAN, 0.9, 0.899, NAN], 1, 1, 2),
    ],
    ids=[
        *("one rate", "ties on both sides", "a gap ends it", "at the lower end of the grid", "at the upper end"),
        *("rates without accuracy are gaps", "ends without accuracy"),
    ],
)
def test_the_range_consists_of_tied_neighbours_of_the_best(valid: list[float], best: int, first: int, last: int) -> None:
    """One standard error of 0.9 with 10,000 images is 0.003."""
    plateau = plateau_of([valid], num_valid=10_000)
    assert (plateau.best_lr, plateau.low, plateau.high) == tuple(0.001 * 2**i for i in (best, first, last))
    assert plateau.rates["in_range"].tolist() == [first <= i <= last for i in range(len(valid))]


# How often each rate wins.


@pytest.mark.parametrize("seed", range(3))
def test_wins_estimate_the_share_over_all_resamples_of_the_seeds(seed: int) -> None:
    accuracy_SR = 0.9 + noise_of(np.random.default_rng([17, seed]), 3, 4)
    expected = np.zeros(4)
    for resample in itertools.product(range(3), repeat=3):
        expected[accuracy_SR[list(resample)].mean(axis=0).argmax()] += 1 / 27
    four_standard_errors = 4 * np.sqrt(expected * (1 - expected) / NUM_RESAMPLES)
    wins = plateau_of(accuracy_SR).rates["wins"].to_numpy()
    assert np.all(np.abs(wins - expected) <= four_standard_errors + 1e-12)
    assert (expected > 0).sum() >= 2


def test_the_order_of_the_runs_does_not_matter() -> None:
    runs = make_runs(0.9 + noise_of(np.random.default_rng(18), 4, 5))
    first, second = find_plateau(runs, NUM_VALID), find_plateau(runs.sample(frac=1, random_state=0), NUM_VALID)
    assert first is not None
    assert second is not None
    pd.testing.assert_frame_equal(first.rates, second.rates)


# Any study, complete or not.

run = st.one_of(
    st.tuples(st.just("ok"), st.sampled_from([0.1, 0.5, 0.9, 0.91, 0.95, 1.0]), st.booleans()),
    st.tuples(st.just("diverged"), st.sampled_from([NAN, 0.1, 0.9]), st.booleans()),
    st.just(("failed", NAN, False)),
    st.none(),  # not made yet
)
studies = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(st.lists(run, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0])
)


def runs_of(study: list[list[tuple[str, float, bool] | None]]) -> pd.DataFrame:
    cells = [[cell or ("failed", NAN, False) for cell in row] for row in study]
    status, accuracy, learned = ([[cell[i] for cell in row] for row in cells] for i in range(3))
    runs = make_runs(accuracy, status=status, learned=np.array(learned) & ~np.isnan(np.array(accuracy, dtype=float)))
    return runs[[cell is not None for row in study for cell in row]]


@pytest.mark.usefixtures("fast_range")
@given(study=studies, num_missing=st.integers(0, 2))
@example(study=[[("diverged", NAN, False)] * 3] * 3, num_missing=0)
@example(study=[[("ok", 1.0, True), ("ok", 1.0, True), ("ok", 0.9, True)]] * 3, num_missing=0)
@settings(max_examples=60)
def test_any_study_has_no_plateau_or_a_consistent_one(
    study: list[list[tuple[str, float, bool] | None]], num_missing: int
) -> None:
    runs = runs_of(study)
    if runs.empty:
        return
    plateau = find_plateau(runs, NUM_VALID, num_missing)
    measured = runs[runs["status"] != "failed"]
    if plateau is None:
        num_scored = runs[runs["valid_accuracy"].notna()].groupby("lr").size()
        assert measured.empty or not (num_scored == measured["seed"].nunique()).any()
        return
    rates = plateau.rates.set_index("lr")
    assert rates.index.is_monotonic_increasing
    ends = [plateau.learning_low, plateau.low, plateau.best_lr, plateau.high, plateau.learning_high]
    assert ends == sorted(ends) or not rates["dependable"].any()
    inside = rates["in_range"]
    assert inside.tolist() == [plateau.low <= lr <= plateau.high for lr in rates.index]
    assert rates.loc[inside, "tied"].all()
    next_to_range = ~inside & (inside.shift(1, fill_value=False) | inside.shift(-1, fill_value=False))
    assert not rates.loc[next_to_range, "tied"].any()
    assert (rates["learned"] | ~rates["dependable"]).all()
    assert ("no_rate_dependable" in plateau.doubts) == (not rates["dependable"].any())
    allowed = rates[rates["dependable"]] if rates["dependable"].any() else rates
    assert set(rates.index[rates["tied"]]) <= set(allowed.index)
    assert rates["mean"][plateau.best_lr] == allowed["mean"].max()
    assert rates["shortfall"][plateau.best_lr] == 0
    assert rates["wins"].sum() == pytest.approx(1)
    assert 0 <= plateau.standard_error < math.inf
    used = measured[measured["seed"].isin(plateau.seeds) & measured["lr"].isin(rates.index)]
    assert len(used) == len(plateau.seeds) * len(rates)
    if num_missing or (runs["status"] == "failed").any():
        assert "runs_missing" in plateau.doubts
    if not num_missing and len(measured) == sum(map(len, study)):
        assert "runs_missing" not in plateau.doubts
    assert ("few_seeds" in plateau.doubts) == (len(plateau.seeds) < MIN_SEEDS)
