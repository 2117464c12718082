"""lrsweep.analysis.best: the range of the highest accuracy, and the bargain in it."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.analysis.best import Best, find_best

NAN = math.nan
RATES = [10.0**exponent for exponent in range(-9, 0)]


def summary_of(
    valid: list[float], *, test: list[float] | None = None, seconds: list[float] | None = None, sd: float = NAN, arm: str = "a"
) -> pd.DataFrame:
    """A summary of the columns that find_best may look at, a row a rate from RATES."""
    return pd.DataFrame(
        {
            "arm": arm,
            "lr": RATES[: len(valid)],
            "valid_mean": valid,
            "valid_sd": sd,
            "test_mean": test or valid,
            "seconds_median": seconds or [10.0] * len(valid),
            "epochs_median": 7.0,
        }
    )


def best_of(summary: pd.DataFrame, *, num_valid: int = 10_000, num_seeds: int = 1) -> Best:
    best = find_best(summary, "a", num_valid, num_seeds)
    assert best is not None
    return best


# The range. One standard error of 0.9 on 10,000 images is 0.003.


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
def test_the_range_is_of_tied_neighbours_of_the_best(valid: list[float], top: int, first: int, last: int) -> None:
    best = best_of(summary_of(valid))
    assert best.best["lr"] == RATES[top]
    assert (best.low, best.high) == (RATES[first], RATES[last])
    assert best.plateau["lr"].tolist() == RATES[first : last + 1]


@pytest.mark.parametrize(
    ("accuracy", "num_valid", "num_seeds", "sd", "tolerance"),
    [
        (0.5, 100, 1, NAN, 0.05),
        (0.9, 10_000, 1, NAN, 0.003),
        (1.0, 10_000, 1, NAN, 0.0),
        (0.5, 100, 4, 0.01, 0.025),
        (0.5, 100, 4, 0.2, 0.1),
        (0.5, 100, 4, NAN, 0.025),
    ],
    ids=["one seed", "one seed, more images", "nothing wrong", "seeds alike", "seeds apart", "a single one of the seeds scored"],
)
def test_the_tolerance_is_the_binomial_error_or_the_seeds_own_where_larger(
    accuracy: float, num_valid: int, num_seeds: int, sd: float, tolerance: float
) -> None:
    best = best_of(summary_of([accuracy], sd=sd), num_valid=num_valid, num_seeds=num_seeds)
    assert best.tolerance == pytest.approx(tolerance)


def test_seeds_that_lie_apart_widen_the_range() -> None:
    valid = [0.85, 0.9, 0.5]
    assert best_of(summary_of(valid, sd=0.001), num_seeds=4).low == RATES[1]
    assert best_of(summary_of(valid, sd=0.2), num_seeds=4).low == RATES[0]


def test_rates_are_chosen_on_validation_although_the_test_set_says_otherwise() -> None:
    best = best_of(summary_of([0.5, 0.9, 0.7], test=[0.6, 0.7, 0.99]))
    assert (best.best["lr"], best.low, best.high) == (RATES[1],) * 3
    assert best.best["test_mean"] == 0.7


# The bargain.


@pytest.mark.parametrize(
    ("seconds", "bargain", "time_saved"),
    [
        ([1.0, 50.0, 40.0, 30.0, 1.0], 3, 0.25),
        ([1.0, 30.0, 40.0, 50.0, 1.0], 1, 0.25),
        ([1.0, 50.0, 40.0, 60.0, 1.0], 2, 0.0),
        ([1.0, 20.0, 40.0, 20.0, 1.0], 1, 0.5),
    ],
    ids=["above the best rate", "below it", "the best rate itself", "of equals the smallest rate"],
)
def test_the_bargain_is_the_fastest_of_the_range(seconds: list[float], bargain: int, time_saved: float) -> None:
    best = best_of(summary_of([0.5, 0.898, 0.9, 0.899, 0.5], seconds=seconds))
    assert best.bargain["lr"] == RATES[bargain]
    assert best.time_saved == pytest.approx(time_saved)


# Arms, and no answer.


def test_other_arms_do_not_answer() -> None:
    summary = pd.concat([summary_of([0.99] * 4, arm="another"), summary_of([0.5, 0.9, 0.5])], ignore_index=True)
    best = best_of(summary)
    assert (best.arm, best.low, best.high) == ("a", RATES[1], RATES[1])


@pytest.mark.parametrize("valid", [[], [NAN], [NAN, NAN]], ids=["no run", "one without", "two without"])
def test_without_any_accuracy_there_is_no_answer(valid: list[float]) -> None:
    assert find_best(summary_of(valid), "a", num_valid=10_000, num_seeds=1) is None


accuracies = st.sampled_from([NAN, 0.5, 0.896, 0.898, 0.899, 0.9])


@given(rows=st.lists(st.tuples(accuracies, st.floats(1, 100)), min_size=1, max_size=9))
def test_the_range_is_as_wide_as_it_may_be_and_no_wider(rows: list[tuple[float, float]]) -> None:
    valid = [accuracy for accuracy, _ in rows]
    found = find_best(summary_of(valid, seconds=[seconds for _, seconds in rows]), "a", num_valid=10_000, num_seeds=1)
    if found is None:
        assert all(math.isnan(accuracy) for accuracy in valid)
        return
    inside = [i for i in range(len(valid)) if found.low <= RATES[i] <= found.high]
    threshold = found.best["valid_mean"] - found.tolerance
    assert found.best["valid_mean"] == max(accuracy for accuracy in valid if not math.isnan(accuracy))
    assert found.low <= found.best["lr"] <= found.high
    assert all(valid[i] >= threshold for i in inside)
    outside = [i for i in (inside[0] - 1, inside[-1] + 1) if 0 <= i < len(valid)]
    assert not any(valid[i] >= threshold for i in outside)
    assert found.bargain["seconds_median"] == min(rows[i][1] for i in inside)
