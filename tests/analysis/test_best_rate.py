"""lrsweep.analysis.best_rate: the range of the highest accuracy, the bargain in it, and the front."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.plateau import find_plateau

MakeRuns = Callable[..., pd.DataFrame]

NAN = math.nan
RATES = [0.001 * 2.0**i for i in range(9)]
VALID = [0.5, 0.958, 0.96, 0.959, 0.5]  # of 5,000 images: one standard error of 0.96 is 0.0028


def best_of(runs: pd.DataFrame, **keywords: Any) -> Best:
    best = find_best(runs, **keywords)
    assert best is not None
    return best


def noise_of(num_seeds: int, num_rates: int, sd: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Noise whose means over seeds are 0."""
    noise = sd * np.random.default_rng(0).standard_normal((num_seeds, num_rates))
    return noise - noise.mean(axis=0)


# The range is the plateau's.


def test_the_rows_are_the_summarys_of_the_range_and_the_best_is_one_of_them(make_runs: MakeRuns) -> None:
    best = best_of(make_runs([VALID], test_accuracy=[0.1, 0.2, 0.3, 0.4, 0.5]))
    assert best.rows["lr"].tolist() == RATES[1:4]
    assert (best.low, best.high) == (best.plateau.low, best.plateau.high) == (RATES[1], RATES[3])
    assert (best.best["lr"], best.best["valid_mean"], best.best["test_mean"]) == (RATES[2], 0.96, 0.3)
    assert (best.arm, best.num_seeds) == ("cross_entropy", 1)


def test_rates_are_chosen_on_validation_although_the_test_set_says_otherwise(make_runs: MakeRuns) -> None:
    best = best_of(make_runs([[0.5, 0.9, 0.7]], test_accuracy=[0.6, 0.7, 0.99]))
    assert (best.best["lr"], best.low, best.high) == (RATES[1],) * 3
    assert (best.best["test_mean"], best.trade_off["lr"], best.front["lr"].tolist()) == (0.7, RATES[1], [RATES[1]])


def test_seeds_that_lie_apart_widen_the_range(make_runs: MakeRuns) -> None:
    means = np.array([0.85, 0.9, 0.5])
    assert best_of(make_runs(means + noise_of(4, 3, sd=0.001))).low == RATES[1]
    assert best_of(make_runs(means + noise_of(4, 3, sd=0.1))).low == RATES[0]


def test_the_band_of_few_seeds_is_of_the_validation_sets_own_size(make_runs: MakeRuns) -> None:
    runs = make_runs([[0.5, 0.897, 0.9, 0.5]])  # one standard error of 0.9 is 0.0042 of 5,000 images, and 0.0021 of 20,000
    assert best_of(runs).low == RATES[1]
    assert best_of(runs.assign(**{"data.num_valid": 20_000})).low == RATES[2]


def test_a_seed_that_lacks_a_run_moves_no_number(make_runs: MakeRuns) -> None:
    whole = [[0.5, 0.96, 0.95], [0.5, 0.97, 0.95], [0.5, 0.96, 0.94]]
    status_SR = [["ok"] * 3] * 3 + [["ok", "failed", "ok"]]
    best = best_of(make_runs([*whole, [0.9, 0.9, 0.999]], status=status_SR, seconds=[[10.0] * 3] * 3 + [[1.0] * 3]))
    expected = best_of(make_runs(whole))
    assert best.num_seeds == 3
    pd.testing.assert_series_equal(best.best, expected.best)
    pd.testing.assert_frame_equal(best.rows, expected.rows)
    assert not best.is_conclusive


@pytest.mark.parametrize(
    ("accuracy_SR", "num_missing", "is_conclusive"),
    [
        ([[0.5, 0.96, 0.5]] * 3, 0, True),
        ([[0.5, 0.96, 0.5]] * 3, 1, False),
        ([[0.5, 0.96, 0.5]] * 2, 0, False),
        ([[0.96, 0.5, 0.5]] * 3, 0, False),
    ],
    ids=["nothing doubted", "runs missing", "few seeds", "at the grid's end"],
)
def test_an_answer_is_conclusive_where_nothing_is_doubted(
    make_runs: MakeRuns, accuracy_SR: list[list[float]], num_missing: int, is_conclusive: bool
) -> None:
    assert best_of(make_runs(accuracy_SR), num_missing=num_missing).is_conclusive == is_conclusive


# The bargain.


@pytest.mark.parametrize(
    ("seconds", "best_trade_off", "time_saved"),
    [
        ([1.0, 50.0, 40.0, 30.0, 1.0], 3, 0.25),
        ([1.0, 30.0, 40.0, 50.0, 1.0], 1, 0.25),
        ([1.0, 50.0, 40.0, 60.0, 1.0], 2, 0.0),
        ([1.0, 20.0, 40.0, 20.0, 1.0], 1, 0.5),
    ],
    ids=["above the best rate", "below it", "the best rate itself", "of equals the smallest rate"],
)
def test_the_bargain_is_the_fastest_of_the_range(
    make_runs: MakeRuns, seconds: list[float], best_trade_off: int, time_saved: float
) -> None:
    """Of one seed, one standard error is the band that made the range."""
    best = best_of(make_runs([VALID], seconds=seconds))
    assert best.trade_off["lr"] == RATES[best_trade_off]
    assert best.time_saved == pytest.approx(time_saved)


@pytest.mark.parametrize(
    ("delta", "best_trade_off"), [(None, 3), (0.0, 2), (0.0015, 3), (0.0025, 1)], ids=["not said", "none", "small", "larger"]
)
def test_the_bargain_may_lack_delta(make_runs: MakeRuns, delta: float | None, best_trade_off: int) -> None:
    """Not said: one standard error, which of four seeds is smaller than the range."""
    residuals = noise_of(4, 5, sd=0.0025)
    runs = make_runs(np.array(VALID) + residuals, seconds=[1.0, 10.0, 40.0, 20.0, 1.0])
    best = best_of(runs, delta=delta)
    assert best.rows["lr"].tolist() == RATES[1:4]
    assert best.trade_off["lr"] == RATES[best_trade_off]
    assert best.delta == (best.plateau.standard_error if delta is None else delta)
    assert 0.001 < best.plateau.standard_error < 0.002


def test_a_faster_rate_outside_the_range_is_no_bargain_however_large_delta(make_runs: MakeRuns) -> None:
    best = best_of(make_runs([VALID], seconds=[1.0, 50.0, 40.0, 30.0, 1.0]), delta=1.0)
    assert best.trade_off["lr"] == RATES[3]


# The front, and what Kneedle says of it.


def test_the_front_is_of_all_rates_that_learned_the_fastest_first(make_runs: MakeRuns) -> None:
    seconds = [9.0, 5.0, 4.0, 2.0, 3.0, 1.0]
    best = best_of(make_runs([[0.5, 0.96, 0.95, 0.8, 0.7, 0.6]], seconds=seconds, learned=[True, True, True, True, True, False]))
    assert best.front["lr"].tolist() == [RATES[3], RATES[2], RATES[1]]


@pytest.mark.parametrize(
    ("valid", "knee", "is_in_range"),
    [
        ([0.5, 0.73, 0.96, 0.961, 0.962], 2, True),
        ([0.5, 0.9, 0.91, 0.92, 0.93], 1, False),
        ([0.962], None, None),
    ],
    ids=["they agree", "they disagree", "no knee"],
)
def test_the_knee_is_held_against_the_range(
    make_runs: MakeRuns, valid: list[float], knee: int | None, is_in_range: bool | None
) -> None:
    best = best_of(make_runs([valid], seconds=np.arange(1.0, len(valid) + 1)))
    assert best.knee_lr == (None if knee is None else RATES[knee])
    assert best.is_knee_in_range is is_in_range


# No answer, and any answer.


@pytest.mark.parametrize("valid", [[NAN], [NAN, NAN]], ids=["one", "two"])
def test_without_any_accuracy_there_is_no_answer(make_runs: MakeRuns, valid: list[float]) -> None:
    assert find_best(make_runs([valid])) is None


def test_of_failed_runs_there_is_no_answer(make_runs: MakeRuns) -> None:
    assert find_best(make_runs([[0.9, 0.9]], status="failed")) is None


run = st.tuples(
    st.sampled_from(["ok", "ok", "ok", "diverged", "failed"]),
    st.sampled_from([NAN, 0.5, 0.896, 0.898, 0.899, 0.9]),
    st.floats(1, 100),
)


@given(rows=st.lists(run, min_size=1, max_size=9))
@settings(max_examples=40)
def test_the_range_of_a_seed_is_as_wide_as_it_may_be_and_no_wider(
    make_runs: MakeRuns, rows: list[tuple[str, float, float]]
) -> None:
    status, valid, seconds = (list(column) for column in zip(*rows, strict=True))
    runs = make_runs(
        [valid],
        status=["diverged" if math.isnan(a) and s == "ok" else s for s, a in zip(status, valid, strict=True)],
        seconds=seconds,
    )
    found = find_best(runs)
    plateau = find_plateau(runs, 5000)
    assert (found is None) == (plateau is None)
    if found is None:
        assert runs["valid_accuracy"].isna().all()
        return
    scored = runs[runs["valid_accuracy"].notna()]
    able = scored[scored["status"] == "ok"] if (scored["status"] == "ok").any() else scored
    assert found.best["valid_mean"] == able["valid_accuracy"].max()
    threshold = found.best["valid_mean"] - found.delta
    measured = runs[runs["status"] != "failed"].reset_index()
    tied = measured["lr"].isin(able["lr"]) & (measured["valid_accuracy"] >= threshold)
    inside = measured["lr"].between(found.low, found.high)
    assert found.low <= found.best["lr"] <= found.high
    assert tied[inside].all()
    outside = [i for i in (inside.idxmax() - 1, inside[::-1].idxmax() + 1) if 0 <= i < len(measured)]
    assert not tied[outside].any()
    assert found.trade_off["seconds_median"] == measured.loc[inside, "seconds"].min()
