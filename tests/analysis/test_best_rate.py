"""The best range, the best trade-off within it, and the Pareto front."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_runs import RATES, centred_noise, make_runs

from lrsweep.analysis.best_rate import Best, find_best

NAN = math.nan
VALID = [0.5, 0.958, 0.96, 0.959, 0.5]  # with 5,000 images one standard error of 0.96 is 0.0028


def best_of(runs: pd.DataFrame, **keywords: Any) -> Best:
    best = find_best(runs, **keywords)
    assert best is not None
    return best


def test_the_range_is_the_plateau_with_its_rows_of_the_summary() -> None:
    best = best_of(make_runs([VALID], test_accuracy=[0.1, 0.2, 0.3, 0.4, 0.5]))
    assert best.rows["lr"].tolist() == RATES[1:4]
    assert (best.low, best.high) == (best.plateau.low, best.plateau.high) == (RATES[1], RATES[3])
    assert (best.best["lr"], best.best["valid_mean"], best.best["test_mean"]) == (RATES[2], 0.96, 0.3)
    assert (best.arm, best.num_seeds) == ("cross_entropy", 1)


def test_rates_are_chosen_by_validation_accuracy_even_if_test_accuracy_disagrees() -> None:
    best = best_of(make_runs([[0.5, 0.9, 0.7]], test_accuracy=[0.6, 0.7, 0.99]))
    assert (best.best["lr"], best.low, best.high) == (RATES[1],) * 3
    assert (best.best["test_mean"], best.trade_off["lr"], best.front["lr"].tolist()) == (0.7, RATES[1], [RATES[1]])


def test_more_validation_images_narrow_the_range_of_a_single_seed() -> None:
    runs = make_runs([[0.5, 0.897, 0.9, 0.5]])  # one standard error of 0.9 is 0.0042 with 5,000 images, 0.0021 with 20,000
    assert best_of(runs).low == RATES[1]
    assert best_of(runs.assign(**{"data.num_valid": 20_000})).low == RATES[2]


def test_a_seed_that_lacks_a_run_changes_no_number_but_the_answer_is_not_conclusive() -> None:
    complete = [[0.5, 0.96, 0.95], [0.5, 0.97, 0.95], [0.5, 0.96, 0.94]]
    status_SR = [["ok"] * 3] * 3 + [["ok", "failed", "ok"]]
    best = best_of(make_runs([*complete, [0.9, 0.9, 0.999]], status=status_SR, seconds=[[10.0] * 3] * 3 + [[1.0] * 3]))
    expected = best_of(make_runs(complete))
    assert best.num_seeds == 3
    pd.testing.assert_series_equal(best.best, expected.best)
    pd.testing.assert_frame_equal(best.rows, expected.rows)
    assert expected.is_conclusive
    assert not best.is_conclusive
    assert not best_of(make_runs(complete), num_missing=1).is_conclusive


@pytest.mark.parametrize(
    ("seconds", "best_trade_off", "time_saved"),
    [
        ([1.0, 50.0, 40.0, 30.0, 1.0], 3, 0.25),
        ([1.0, 30.0, 40.0, 50.0, 1.0], 1, 0.25),
        ([1.0, 50.0, 40.0, 60.0, 1.0], 2, 0.0),
        ([1.0, 20.0, 40.0, 20.0, 1.0], 1, 0.5),
    ],
    ids=["above the best rate", "below the best rate", "the best rate itself", "the smallest of equally fast rates"],
)
def test_the_best_trade_off_is_the_fastest_rate_of_the_range(
    seconds: list[float], best_trade_off: int, time_saved: float
) -> None:
    """With a single seed, the range is all within delta. Large deltas do not reach beyond it."""
    for delta in (None, 1.0):
        best = best_of(make_runs([VALID], seconds=seconds), delta=delta)
        assert best.trade_off["lr"] == RATES[best_trade_off]
        assert best.time_saved == pytest.approx(time_saved)


@pytest.mark.parametrize(
    ("delta", "best_trade_off"), [(None, 3), (0.0, 2), (0.0015, 3), (0.0025, 1)], ids=["default", "none", "small", "larger"]
)
def test_the_best_trade_off_may_lose_delta_which_is_one_standard_error_by_default(
    delta: float | None, best_trade_off: int
) -> None:
    runs = make_runs(np.array(VALID) + centred_noise(4, 5, sd=0.0025), seconds=[1.0, 10.0, 40.0, 20.0, 1.0])
    best = best_of(runs, delta=delta)
    assert best.rows["lr"].tolist() == RATES[1:4]
    assert best.trade_off["lr"] == RATES[best_trade_off]
    assert best.delta == (best.plateau.standard_error if delta is None else delta)
    assert 0.001 < best.plateau.standard_error < 0.002


def test_the_front_holds_rates_that_learned_the_fastest_first() -> None:
    seconds = [9.0, 5.0, 4.0, 2.0, 3.0, 1.0]
    best = best_of(make_runs([[0.5, 0.96, 0.95, 0.8, 0.7, 0.6]], seconds=seconds, learned=[True, True, True, True, True, False]))
    assert best.front["lr"].tolist() == [RATES[3], RATES[2], RATES[1]]


@pytest.mark.parametrize(
    ("valid", "knee", "is_in_range"),
    [([0.5, 0.73, 0.96, 0.961, 0.962], 2, True), ([0.5, 0.9, 0.91, 0.92, 0.93], 1, False), ([0.962], None, None)],
    ids=["inside", "outside", "no knee"],
)
def test_the_knee_may_lie_outside_the_range(valid: list[float], knee: int | None, is_in_range: bool | None) -> None:
    best = best_of(make_runs([valid], seconds=np.arange(1.0, len(valid) + 1)))
    assert best.knee_lr == (None if knee is None else RATES[knee])
    assert best.is_knee_in_range is is_in_range


def test_without_a_scored_rate_there_is_no_answer() -> None:
    assert find_best(make_runs([[NAN, NAN]])) is None
    assert find_best(make_runs([[0.9, 0.9]], status="failed")) is None
