"""lrsweep.analysis.plateau: which rates are tied with the best, held against simulations whose answer is known."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from lrsweep.analysis import plateau
from lrsweep.analysis.plateau import LEVEL, MIN_SEEDS, Plateau, find_plateau

MakeRuns = Callable[..., pd.DataFrame]
Array = np.ndarray[Any, np.dtype[np.float64]]

NAN = math.nan
RANGE_LEVEL = LEVEL - plateau._SPREAD_LEVEL
NUM_VALID = 5000


def plateau_of(runs: pd.DataFrame, **keywords: int) -> Plateau:
    found = find_plateau(runs, **({"num_valid": NUM_VALID} | keywords))
    assert found is not None
    return found


def tied_of(runs: pd.DataFrame) -> list[bool]:
    return plateau_of(runs).rates["tied"].tolist()


def noise_of(rng: np.random.Generator, num_seeds: int, num_rates: int, sd: float = 0.002) -> Array:
    return sd * rng.standard_normal((num_seeds, num_rates))


# Critical values instead of probabilities: the same verdict, and simulations can have thousands of repetitions.


@functools.cache
def critical_value(num_rates: int, df: int) -> float:
    return float(stats.studentized_range.isf(RANGE_LEVEL, num_rates, df))


@pytest.fixture(scope="module")
def fast_range() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats.studentized_range, "sf", lambda q, k, df: 0.0 if q > critical_value(k, df) else 1.0)
        yield


def tied_by_simulation(accuracy_SR: Array) -> Array:
    """What find_plateau calls tied where every run has learned, without its tables: fast enough for thousands of studies."""
    dependable = plateau.dependable(accuracy_SR, np.ones(accuracy_SR.shape[1], dtype=bool))
    tied = np.zeros_like(dependable)
    tied[dependable] = plateau._tied_with_best(accuracy_SR[:, dependable], NUM_VALID)[0]
    return tied


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_the_simulations_ask_what_find_plateau_answers(make_runs: MakeRuns, num_seeds: int) -> None:
    """Without critical values too: here the probabilities are integrated."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        means = 0.95 - rng.choice([0.0, 0.002, 0.004, 0.02], size=6)
        accuracy_SR = means + noise_of(rng, num_seeds, 6)
        assert tied_of(make_runs(accuracy_SR)) == tied_by_simulation(accuracy_SR).tolist()


# The range test.


def two_way(accuracy_SR: Array) -> tuple[float, int]:
    """Mean square and degrees of freedom of what rates and seeds leave unexplained, by least squares on their indicators."""
    num_seeds, num_rates = accuracy_SR.shape
    of_seed, of_rate = (index.ravel() for index in np.indices(accuracy_SR.shape))
    design = np.hstack([np.eye(num_rates)[of_rate], np.eye(num_seeds)[of_seed]])
    _, squares, rank, _ = np.linalg.lstsq(design[:, :-1], accuracy_SR.ravel())
    df = accuracy_SR.size - int(rank)
    return float(squares[0]) / df, df


def plain_verdict(accuracy_SR: Array) -> bool:
    """Tukey's range test with seeds as blocks, without any shortcut."""
    mean_square, df = two_way(accuracy_SR)
    gap = np.ptp(accuracy_SR.mean(axis=0))
    statistic = gap / math.sqrt(mean_square / len(accuracy_SR))
    return bool(stats.studentized_range.sf(statistic, accuracy_SR.shape[1], df) < RANGE_LEVEL)


def test_the_range_test_is_tukeys_with_seeds_as_blocks() -> None:
    """Shortcuts by Student's t must give the verdict of the integral; effects are drawn so that it goes either way."""
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(150):
        num_seeds, num_rates = int(rng.integers(3, 8)), int(rng.integers(2, 9))
        accuracy_SR = 0.9 + noise_of(rng, num_seeds, num_rates) + rng.uniform(0, 0.005) * rng.standard_normal(num_rates)
        verdicts.append(plain_verdict(accuracy_SR))
        assert plateau._range_differs(accuracy_SR) == verdicts[-1]
    assert 30 <= sum(verdicts) <= 120


@pytest.mark.parametrize(("num_seeds", "num_rates"), [(3, 2), (3, 6), (5, 3), (5, 10), (10, 4)])
@pytest.mark.parametrize(("factor", "differs"), [(0.99, False), (1.01, True)], ids=["just within", "just outside"])
def test_the_range_test_turns_at_the_critical_value(num_seeds: int, num_rates: int, factor: float, differs: bool) -> None:
    noise = noise_of(np.random.default_rng(2), num_seeds, num_rates)
    residuals = noise - noise.mean(axis=0)
    mean_square, df = two_way(residuals)
    critical = critical_value(num_rates, df) * math.sqrt(mean_square / num_seeds)
    means = np.linspace(0.9 - factor * critical, 0.9, num_rates)
    assert plateau._range_differs(residuals + means) == differs


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_of_two_rates_the_range_test_is_the_paired_t_test(num_seeds: int) -> None:
    rng = np.random.default_rng(3)
    verdicts = set()
    for _ in range(60):
        accuracy_S2 = 0.9 + noise_of(rng, num_seeds, 2) + 0.02 * rng.standard_normal((num_seeds, 1)) + [0, rng.uniform(0, 0.006)]
        p_value = stats.ttest_rel(accuracy_S2[:, 0], accuracy_S2[:, 1]).pvalue
        assert plateau._range_differs(accuracy_S2) == (p_value < RANGE_LEVEL)
        verdicts.add(bool(p_value < RANGE_LEVEL))
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    ("accuracy_SR", "differs"),
    [([[0.9, 0.9]] * 3, False), ([[0.9, 0.8]] * 3, True), ([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]], False)],
    ids=["all equal", "every seed says the same", "seeds differ, rates do not"],
)
def test_seeds_that_agree_exactly_need_no_distribution(accuracy_SR: list[list[float]], differs: bool) -> None:
    assert plateau._range_differs(np.array(accuracy_SR)) == differs


@pytest.mark.parametrize(("num_seeds", "num_rates"), [(3, 2), (3, 5), (6, 4)])
def test_the_standard_error_is_of_the_two_way_residuals(num_seeds: int, num_rates: int) -> None:
    accuracy_SR = 0.9 + noise_of(np.random.default_rng(4), num_seeds, num_rates)
    expected = math.sqrt(two_way(accuracy_SR)[0] / num_seeds)
    assert plateau._standard_error(accuracy_SR) == pytest.approx(expected)


def test_the_standard_error_of_a_single_rate_is_its_spreads(make_runs: MakeRuns) -> None:
    found = plateau_of(make_runs([[0.90, 0.1], [0.92, 0.1], [0.94, 0.1]], learned=[True, False]))
    assert found.standard_error == pytest.approx(0.02 / math.sqrt(3))


# The promise: a rate as good as the best is left out with a probability of at most LEVEL.

CURVE = [0.90, 0.955, 0.958, 0.960, 0.960, 0.960, 0.958, 0.953, 0.93]  # three rates are truly tied


def at_most(level: float, num: int) -> int:
    """A count that events of this probability exceed once in a thousand simulations."""
    return int(stats.binom.ppf(0.999, num, level))


@pytest.mark.usefixtures("fast_range")
@pytest.mark.parametrize("num_seeds", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 10))])
@pytest.mark.parametrize(
    ("means", "seed_sd"),
    [
        ([0.96] * 3, 0.0),
        ([0.96] * 6, 0.0),
        ([0.96] * 10, 0.0),
        (CURVE, 0.0),
        (CURVE, 0.02),
        ([0.96, 0.96, 0.9, 0.8, 0.7, 0.6], 0.0),
        ([0.96, *[0.957] * 7], 0.0),
    ],
    ids=[
        *("3 equal", "6 equal", "10 equal", "a curve", "a curve and uneven seeds"),
        *("2 tied among far worse ones", "one barely better than the others"),
    ],
)
def test_a_truly_tied_rate_is_left_out_no_more_often_than_the_level(num_seeds: int, means: list[float], seed_sd: float) -> None:
    num_studies = 600
    rng = np.random.default_rng([5, num_seeds, len(means)])
    is_best = np.array(means) == max(means)
    wrong = 0
    for _ in range(num_studies):
        seeds = seed_sd * rng.standard_normal((num_seeds, 1))
        wrong += not tied_by_simulation(means + noise_of(rng, num_seeds, len(means)) + seeds)[is_best].all()
    assert wrong <= at_most(LEVEL, num_studies)


@pytest.mark.usefixtures("fast_range")
def test_the_level_is_used() -> None:
    """A test that never leaves a rate out would keep the promise as well."""
    rng = np.random.default_rng(6)
    wrong = sum(not tied_by_simulation(0.96 + noise_of(rng, 5, 6)).all() for _ in range(2000))
    assert wrong >= stats.binom.ppf(0.001, 2000, 0.8 * LEVEL)


@pytest.mark.usefixtures("fast_range")
@pytest.mark.parametrize("seed_sd", [0.0, 0.02], ids=["even seeds", "uneven seeds"])
@pytest.mark.parametrize(("standard_errors", "power"), [(6.0, 0.8), (8.0, 0.97)])
def test_a_worse_rate_is_left_out(seed_sd: float, standard_errors: float, power: float) -> None:
    """5 seeds, 8 rates, of which one is worse by so many standard errors of a mean."""
    num_studies = 300
    rng = np.random.default_rng(7)
    means = np.full(8, 0.96)
    means[3] -= standard_errors * 0.002 / math.sqrt(5)
    left_out = 0
    for _ in range(num_studies):
        left_out += not tied_by_simulation(means + noise_of(rng, 5, 8) + seed_sd * rng.standard_normal((5, 1)))[3]
    assert left_out >= power * num_studies


@pytest.mark.usefixtures("fast_range")
@given(
    accuracy_SR=st.tuples(st.integers(3, 6), st.integers(2, 7)).flatmap(
        lambda shape: arrays(float, shape, elements=st.floats(0, 1))
    ),
    offset=st.floats(-1, 1),
)
@settings(max_examples=60)
def test_what_a_seed_adds_to_all_rates_changes_no_verdict(accuracy_SR: Array, offset: float) -> None:
    """Multiples of 1/256, so that adding is exact and equal accuracies remain equal."""
    grid = np.round(accuracy_SR * 256) / 256
    offsets = np.round(offset * 256) / 256 * np.arange(len(grid))[:, None]
    assert tied_by_simulation(grid + offsets).tolist() == tied_by_simulation(grid).tolist()


def test_seeds_that_differ_far_more_than_rates_do_not_blur_them(make_runs: MakeRuns) -> None:
    accuracy_SR = 0.96 - np.array([0.01, 0.0, 0.01]) + noise_of(np.random.default_rng(8), 5, 3, sd=0.001)
    apart = accuracy_SR - [[0.0], [0.1], [0.2], [0.3], [0.4]]
    assert tied_of(make_runs(accuracy_SR)) == tied_of(make_runs(apart)) == [False, True, False]


def centred_noise(num_rates: int) -> tuple[Array, Callable[[int], float]]:
    """Noise of 10 seeds whose means over seeds are 0, and the gap that is just significant among the first so many rates."""
    noise = noise_of(np.random.default_rng(9), 10, num_rates)
    noise -= noise.mean(axis=0)

    def significant(num: int) -> float:
        mean_square, df = two_way(noise[:, :num])
        return critical_value(num, df) * math.sqrt(mean_square / 10)

    return noise, significant


@pytest.mark.usefixtures("fast_range")
def test_once_the_far_worse_rates_are_left_out_they_cost_no_comparisons() -> None:
    """A step-down: the gap is too small among seven rates and large enough between two."""
    noise, significant = centred_noise(7)
    gap = (significant(2) + significant(7)) / 2
    assert significant(2) < significant(7)
    means = [0.96, 0.96 - gap, 0.8, 0.79, 0.78, 0.77, 0.76]
    assert tied_by_simulation(noise + means).tolist() == [True, *[False] * 6]


@pytest.mark.usefixtures("fast_range")
def test_rates_of_which_none_can_be_told_to_be_worse_are_all_tied() -> None:
    """The gap would be large enough between two, but the best of three was picked because it looked best."""
    noise, significant = centred_noise(3)
    gap = (significant(2) + significant(3)) / 2
    assert significant(2) < significant(3)
    assert tied_by_simulation(noise + np.array([0.96, 0.96 - gap / 2, 0.96 - gap])).all()


# Dependable: learned on every seed, and not far more variable than the others.


def test_a_rate_that_did_not_learn_on_one_seed_is_not_tied_although_its_mean_is_the_highest(make_runs: MakeRuns) -> None:
    accuracy_SR = [[0.90, 0.99, 0.90], [0.91, 0.99, 0.91], [0.90, 0.99, 0.91]]
    learned_SR = [[True, True, True], [True, False, True], [True, True, True]]
    found = plateau_of(make_runs(accuracy_SR, learned=learned_SR))
    assert found.rates["learned"].tolist() == found.rates["dependable"].tolist() == [True, False, True]
    assert found.rates["tied"].tolist() == [True, False, True]
    assert found.rates["wins"].tolist()[1] == 0
    assert found.best_lr == found.low == found.high == 0.004  # the range does not reach over a rate that may fail


def test_a_diverged_run_has_not_learned_although_its_best_epoch_had(make_runs: MakeRuns) -> None:
    status_SR = [["ok", "ok"], ["ok", "diverged"], ["ok", "ok"]]
    found = plateau_of(make_runs([[0.90, 0.95], [0.91, 0.95], [0.90, 0.96]], status=status_SR, learned=True))
    assert found.rates["dependable"].tolist() == [True, False]
    assert found.best_lr == 0.001


def test_where_no_rate_is_dependable_the_best_is_one_of_those_with_an_accuracy_and_that_is_said(make_runs: MakeRuns) -> None:
    learned_SR = [[False, True, True, False]] * 2 + [[False, False, False, False]]
    accuracy_SR = [[0.1, 0.8, 0.9, NAN], [0.1, 0.8, 0.9, NAN], [0.1, 0.2, 0.1, NAN]]
    found = plateau_of(make_runs(accuracy_SR, learned=learned_SR))
    assert found.doubts[0] == "no_rate_dependable"
    assert found.best_lr == 0.004
    assert not found.rates["dependable"].any()


def wild(accuracy_SR: Array, rate: int, drop: float = 0.3) -> Array:
    changed = accuracy_SR.copy()
    changed[0, rate] -= drop
    return changed


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize("rate", [0, 2, 5])
def test_a_wild_seed_at_one_rate_does_not_hide_what_the_others_say(make_runs: MakeRuns, num_seeds: int, rate: int) -> None:
    """Left in, its 0.3 would swell the error of all, and a rate that is worse by twenty standard errors would be tied."""
    means = np.array([0.96, 0.94, 0.96, 0.96, 0.94, 0.96])
    accuracy_SR = means + noise_of(np.random.default_rng(10), num_seeds, 6)
    found = plateau_of(make_runs(wild(accuracy_SR, rate))).rates
    expected = means == 0.96
    expected[rate] = False
    assert found["dependable"].tolist() == [i != rate for i in range(6)]
    assert found["tied"].tolist() == expected.tolist()
    assert plateau._tied_with_best(wild(accuracy_SR, rate), NUM_VALID)[0].all()  # the masking that is prevented


@pytest.mark.slow
@pytest.mark.parametrize(("num_seeds", "num_rates"), [(3, 3), (3, 8), (5, 3), (5, 8), (10, 3), (10, 8)])
@pytest.mark.parametrize("spread", [0.0, 0.05], ids=["equal means", "means apart"])
def test_of_rates_that_vary_alike_one_is_called_undependable_no_more_often_than_its_level(
    num_seeds: int, num_rates: int, spread: float
) -> None:
    """Whatever their means, and for few rates too."""
    num_studies = 2000
    rng = np.random.default_rng([11, num_seeds, num_rates])
    learned_R = np.ones(num_rates, dtype=bool)
    means = spread * np.arange(num_rates)
    called = sum(not plateau.dependable(means + noise_of(rng, num_seeds, num_rates), learned_R).all() for _ in range(num_studies))
    assert called <= at_most(plateau._SPREAD_LEVEL, num_studies)
    assert called >= 1


def test_a_rate_that_varies_ten_times_as_much_is_called_undependable() -> None:
    rng = np.random.default_rng(12)
    sds = np.array([0.002] * 7 + [0.02])
    found = [plateau.dependable(sds * rng.standard_normal((5, 8)), np.ones(8, dtype=bool)) for _ in range(200)]
    assert np.mean([not dependable[7] for dependable in found]) >= 0.9
    assert np.mean([dependable[:7].all() for dependable in found]) >= 0.98


@pytest.mark.parametrize(("num_seeds", "num_rates"), [(3, 3), (4, 6), (10, 10)])
def test_the_spread_test_compares_a_rate_with_the_mean_of_the_others_by_an_f_test(num_seeds: int, num_rates: int) -> None:
    """Worked out again: each rate's contrast with the mean of the others, over the others' own two-way residuals."""
    accuracy_SR = noise_of(np.random.default_rng(13), num_seeds, num_rates)
    p_values = []
    for rate in range(num_rates):
        others = np.delete(accuracy_SR, rate, axis=1)
        contrast = (accuracy_SR[:, rate] - others.mean(axis=1)).var(ddof=1) / (1 + 1 / (num_rates - 1))
        mean_square, df = two_way(others)
        p_values.append(stats.f.sf(contrast / mean_square, num_seeds - 1, df))
    widest, p_value = plateau._widest(accuracy_SR)
    assert widest == int(np.argmin(p_values))
    assert p_value == pytest.approx(min(1.0, num_rates * min(p_values)))


@pytest.mark.parametrize(
    ("accuracy_SR", "dependable"),
    [
        ([[0.9, 0.9, 0.9]] * 3, [True] * 3),
        ([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.7, 0.6, 0.5]], [True] * 3),
        ([[0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.9, 0.9, 0.5]], [True, True, False]),
        ([[0.9, 0.9], [0.9, 0.9], [0.9, 0.1]], [True] * 2),
        ([[0.9, 0.9, 0.9], [0.9, 0.9, 0.1]], [True] * 3),
    ],
    ids=["nothing varies", "only seeds differ", "one alone varies", "of two it cannot be said which", "two seeds cannot tell"],
)
def test_spreads_at_their_limits(accuracy_SR: list[list[float]], dependable: list[bool]) -> None:
    accuracies = np.array(accuracy_SR)
    assert plateau.dependable(accuracies, np.ones(accuracies.shape[1], dtype=bool)).tolist() == dependable


# Which runs are used, and what is doubted.

FEW = ("at_lower_end", "runs_missing", "few_seeds")  # rates 2 and 3 of the first seed remain
THREE = [[0.90, 0.96, 0.90], [0.91, 0.95, 0.91], [0.90, 0.96, 0.91]]


@pytest.mark.parametrize(
    ("accuracy_SR", "columns", "num_missing", "doubts"),
    [
        (THREE, {}, 0, ()),
        (THREE, {}, 1, ("runs_missing",)),
        (THREE, {"status": [["ok"] * 3, ["ok"] * 3, ["ok", "failed", "ok"]]}, 0, ("runs_missing", "few_seeds")),
        (THREE, {"status": ["ok", "ok", "failed"]}, 0, ("at_upper_end", "runs_missing")),
        (THREE[:1], {"status": ["ok", "ok", "failed"]}, 0, ("at_upper_end", "runs_missing", "few_seeds")),
        (THREE[:2], {"status": [["failed", "ok", "ok"], ["ok", "ok", "failed"]]}, 0, FEW),
        (THREE[:2], {}, 0, ("few_seeds",)),
        (THREE[:1], {}, 0, ("few_seeds",)),
        ([row[::-1][1:] for row in THREE], {}, 0, ("at_lower_end",)),
        ([row[:2] for row in THREE], {}, 0, ("at_upper_end",)),
        ([[0.9], [0.9], [0.91]], {}, 0, ("at_lower_end", "at_upper_end")),
        (THREE, {"learned": False}, 0, ("no_rate_dependable",)),
    ],
    ids=[
        *("nothing", "a run still to be made", "a run failed", "a rate failed", "a rate failed on the only seed"),
        *("each seed failed elsewhere", "two seeds", "one seed"),
        *("best at the lower end", "best at the upper end", "a single rate", "nothing learned"),
    ],
)
def test_what_is_doubted(
    make_runs: MakeRuns, accuracy_SR: list[list[float]], columns: dict[str, Any], num_missing: int, doubts: tuple[str, ...]
) -> None:
    found = plateau_of(make_runs(accuracy_SR, **columns), num_missing=num_missing)
    assert found.doubts == doubts


def test_a_range_that_touches_an_end_is_doubted_although_the_best_does_not(make_runs: MakeRuns) -> None:
    noise = noise_of(np.random.default_rng(14), 3, 4)
    found = plateau_of(make_runs(noise - noise.mean(axis=0) + [0.9, 0.9, 0.9599, 0.96 - 0.0002][::-1]))
    assert (found.low, found.best_lr) == (0.001, 0.002)
    assert found.doubts == ("at_lower_end",)


def test_a_seed_that_lacks_a_run_is_left_out(make_runs: MakeRuns) -> None:
    runs = make_runs([*THREE, [0.99, 0.5, 0.99]], status=[["ok"] * 3] * 3 + [["ok", "failed", "ok"]])
    found = plateau_of(runs)
    assert found.seeds == (0, 1, 2)
    whole = plateau_of(make_runs(THREE)).rates
    pd.testing.assert_frame_equal(found.rates, whole)
    not_made = runs[runs["status"] != "failed"]
    pd.testing.assert_frame_equal(plateau_of(not_made).rates, whole)
    assert "runs_missing" in plateau_of(not_made).doubts


def test_seeds_that_lack_different_rates_cannot_be_paired_and_one_of_the_fullest_answers(make_runs: MakeRuns) -> None:
    status_SR = [["failed", "failed", "ok", "ok"], ["ok", "ok", "ok", "failed"], ["failed", "ok", "ok", "ok"]]
    found = plateau_of(make_runs([[0.9, 0.9, 0.9, 0.9], [0.8, 0.9, 0.7, 0.9], [0.9, 0.9, 0.9, 0.9]], status=status_SR))
    assert found.seeds == (1,)
    assert found.rates["lr"].tolist() == [0.001, 0.002, 0.004]
    assert found.best_lr == 0.002


@pytest.mark.parametrize(
    "accuracy_SR", [[[NAN]], [[NAN, NAN], [NAN, NAN]], [[0.9, NAN], [NAN, 0.9]]], ids=["one", "all", "none on every seed"]
)
def test_without_an_accuracy_on_every_seed_there_is_no_plateau(make_runs: MakeRuns, accuracy_SR: list[list[float]]) -> None:
    assert find_plateau(make_runs(accuracy_SR), NUM_VALID) is None


def test_of_failed_runs_there_is_no_plateau(make_runs: MakeRuns) -> None:
    assert find_plateau(make_runs([[0.9, 0.9]], status="failed"), NUM_VALID) is None


def test_the_rates_that_learned_are_told_apart_from_those_that_are_best(make_runs: MakeRuns) -> None:
    accuracy_SR = np.tile([0.1, 0.5, 0.9, 0.96, 0.9, 0.3, NAN, 0.6], (3, 1)) + noise_of(np.random.default_rng(15), 3, 8)
    learned = [False, True, True, True, True, True, False, True]
    found = plateau_of(make_runs(accuracy_SR, learned=learned))
    assert (found.learning_low, found.low, found.high, found.learning_high) == (0.002, 0.008, 0.008, 0.032)


def test_a_range_is_measured_in_decades(make_runs: MakeRuns) -> None:
    rates = [1e-4, 1e-3, 1e-2, 1e-1]
    accuracy_SR = np.array([0.5, 0.96, 0.96, 0.5]) + noise_of(np.random.default_rng(16), 3, 4)
    assert plateau_of(make_runs(accuracy_SR, lr=rates)).num_decades == pytest.approx(1)


def test_shortfalls_are_of_the_best_dependable_rate(make_runs: MakeRuns) -> None:
    found = plateau_of(make_runs([[0.90, 0.99, 0.94], [0.92, 0.99, 0.95], [0.91, 0.99, 0.96]], learned=[True, False, True]))
    assert found.rates["mean"].tolist() == pytest.approx([0.91, 0.99, 0.95])
    assert found.rates["shortfall"].tolist() == pytest.approx([0.04, -0.04, 0])


# Fewer than three seeds: a band of one binomial standard error.


@pytest.mark.parametrize(
    ("best", "num_valid", "num_seeds", "band"),
    [(0.9, 10_000, 1, 0.003), (0.5, 100, 1, 0.05), (0.9, 10_000, 2, 0.003 / math.sqrt(2)), (1.0, 10_000, 1, 0.0)],
    ids=["one seed", "few images", "two seeds", "nothing wrong"],
)
def test_the_band_is_one_binomial_standard_error(
    make_runs: MakeRuns, best: float, num_valid: int, num_seeds: int, band: float
) -> None:
    rates = [best - 1.01 * band - 1e-6, best - 0.99 * band, best, best, best - 1.01 * band - 1e-6]
    found = plateau_of(make_runs([rates] * num_seeds), num_valid=num_valid)
    assert found.standard_error == pytest.approx(band)
    assert found.rates["tied"].tolist() == [False, True, True, True, False]
    assert (found.low, found.high) == (0.002, 0.008)
    assert found.best_lr == (0.002 if band == 0 else 0.004)  # of equals, the smallest
    assert found.doubts == ("few_seeds",)
    assert not found.is_tested


def test_three_seeds_are_tested(make_runs: MakeRuns) -> None:
    assert plateau_of(make_runs(THREE)).is_tested
    assert len(THREE) == MIN_SEEDS


@pytest.mark.parametrize(
    ("valid", "top", "first", "last"),
    [
        ([0.9], 0, 0, 0),
        ([0.5, 0.9, 0.5], 1, 1, 1),
        ([0.5, 0.898, 0.9, 0.899, 0.5], 2, 1, 3),
        ([0.8969, 0.8971, 0.9, 0.8969], 2, 1, 2),
        ([0.899, 0.5, 0.9, 0.898, 0.8, 0.9], 2, 2, 3),
        ([0.9, 0.898, 0.5], 0, 0, 1),
        ([0.5, 0.898, 0.9], 2, 1, 2),
        ([0.5, 0.9, 0.9, 0.9, 0.5], 1, 1, 3),
        ([0.5, 0.9, NAN, 0.9], 1, 1, 1),
        ([0.9, NAN, 0.901, NAN, 0.9], 2, 2, 2),
        ([NAN, 0.9, 0.899, NAN], 1, 1, 2),
    ],
    ids=[
        *("one rate", "a single best", "ties on both sides", "just within and just outside", "a gap ends it"),
        *("at the grid's lower edge", "at its upper edge", "of equals the smallest rate is the best"),
        *("a rate without accuracy is a gap", "gaps on both sides", "ends without accuracy"),
    ],
)
def test_the_range_is_of_tied_neighbours_of_the_best(
    make_runs: MakeRuns, valid: list[float], top: int, first: int, last: int
) -> None:
    """One standard error of 0.9 on 10,000 images is 0.003."""
    found = plateau_of(make_runs([valid]), num_valid=10_000)
    assert (found.best_lr, found.low, found.high) == tuple(0.001 * 2**i for i in (top, first, last))
    assert found.rates["in_range"].tolist() == [first <= i <= last for i in range(len(valid))]


# How often each rate wins.


@pytest.mark.parametrize("seed", range(3))
def test_wins_are_the_share_of_all_resamples_of_seeds(make_runs: MakeRuns, seed: int) -> None:
    accuracy_SR = 0.9 + noise_of(np.random.default_rng([17, seed]), 3, 4)
    wins = np.zeros(4)
    for resample in itertools.product(range(3), repeat=3):
        wins[accuracy_SR[list(resample)].mean(axis=0).argmax()] += 1 / 27
    four_standard_errors = 4 * np.sqrt(wins * (1 - wins) / plateau.NUM_RESAMPLES)
    found = plateau_of(make_runs(accuracy_SR)).rates["wins"].to_numpy()
    assert np.all(np.abs(found - wins) <= four_standard_errors + 1e-12)
    assert (wins > 0).sum() >= 2


def test_of_one_seed_the_best_always_wins(make_runs: MakeRuns) -> None:
    assert plateau_of(make_runs([[0.8, 0.9, 0.85]])).rates["wins"].tolist() == [0, 1, 0]


def test_the_same_runs_in_any_order_give_the_same_answer(make_runs: MakeRuns) -> None:
    runs = make_runs(0.9 + noise_of(np.random.default_rng(18), 4, 5))
    one, other = plateau_of(runs), plateau_of(runs.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(one.rates, other.rates)


# Whatever a sweep leaves.

run = st.one_of(
    st.tuples(st.just("ok"), st.sampled_from([0.1, 0.5, 0.9, 0.91, 0.95, 1.0]), st.booleans()),
    st.tuples(st.just("diverged"), st.sampled_from([NAN, 0.1, 0.9]), st.booleans()),
    st.just(("failed", NAN, False)),
    st.none(),  # not made yet
)
studies = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(st.lists(run, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0])
)


def runs_of(make_runs: MakeRuns, study: list[list[tuple[str, float, bool] | None]]) -> pd.DataFrame:
    cells = [[cell or ("failed", NAN, False) for cell in row] for row in study]
    status, accuracy, learned = ([[cell[i] for cell in row] for row in cells] for i in range(3))
    runs = make_runs(accuracy, status=status, learned=np.array(learned) & ~np.isnan(np.array(accuracy, dtype=float)))
    return runs[[cell is not None for row in study for cell in row]]


@pytest.mark.usefixtures("fast_range")
@given(study=studies, num_missing=st.integers(0, 2))
@example(study=[[("diverged", NAN, False)] * 3] * 3, num_missing=0)
@example(study=[[("ok", 1.0, True), ("ok", 1.0, True), ("ok", 0.9, True)]] * 3, num_missing=0)
@settings(max_examples=100)
def test_any_study_has_no_plateau_or_one_that_makes_sense(
    make_runs: MakeRuns, study: list[list[tuple[str, float, bool] | None]], num_missing: int
) -> None:
    runs = runs_of(make_runs, study)
    if runs.empty:
        return
    found = find_plateau(runs, NUM_VALID, num_missing)
    scored = runs[runs["valid_accuracy"].notna()]
    if found is None:
        used = runs[runs["status"] != "failed"]
        assert used.empty or not (scored.groupby("lr").size() == used["seed"].nunique()).any()
        return
    rates = found.rates.set_index("lr")
    assert rates.index.is_monotonic_increasing
    assert found.learning_low <= found.best_lr <= found.learning_high
    assert found.low <= found.best_lr <= found.high
    assert rates["in_range"].tolist() == [found.low <= lr <= found.high for lr in rates.index]
    assert rates.loc[rates["in_range"], "tied"].all()
    outside = rates.index[[i for i in range(len(rates)) if not rates["in_range"].iloc[i] and is_next_to(rates, i)]]
    assert not rates.loc[outside, "tied"].any()
    assert (rates["learned"] | ~rates["dependable"]).all()
    assert ("no_rate_dependable" in found.doubts) == (not rates["dependable"].any())
    if rates["dependable"].any():
        assert rates.loc[rates["tied"], "dependable"].all()
    allowed = rates[rates["dependable"]] if rates["dependable"].any() else rates
    assert rates["mean"][found.best_lr] == allowed["mean"].max()
    assert rates["shortfall"][found.best_lr] == 0
    assert rates["wins"].sum() == pytest.approx(1)
    assert math.isfinite(found.standard_error)
    assert found.standard_error >= 0
    seeds = runs[runs["seed"].isin(found.seeds) & (runs["status"] != "failed")]
    assert len(seeds[seeds["lr"].isin(rates.index)]) == len(found.seeds) * len(rates)
    is_whole = len(runs[runs["status"] != "failed"]) == sum(map(len, study)) and num_missing == 0
    assert is_whole <= ("runs_missing" not in found.doubts)
    if num_missing or (runs["status"] == "failed").any():
        assert "runs_missing" in found.doubts
    assert ("few_seeds" in found.doubts) == (len(found.seeds) < MIN_SEEDS)


def is_next_to(rates: pd.DataFrame, index: int) -> bool:
    """Is this rate just outside the range?"""
    return any(rates["in_range"].iloc[i] for i in (index - 1, index + 1) if 0 <= i < len(rates))
