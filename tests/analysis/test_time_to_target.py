"""Epochs until a validation accuracy, on curves made by hand."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import make_runs

from lrsweep.analysis.time_to_target import median_to_target, target_below, time_to_target

NAN = math.nan


@pytest.mark.parametrize(
    ("accuracy", "target"),
    [(0.98, 0.97), (0.9899, 0.97), (0.99, 0.98), (0.57, 0.56), (0.58 - 1e-12, 0.57), (1.0, 0.99), (0.015, 0.01), (0.0, 0.01)],
)
def test_the_target_is_a_whole_percent_at_least_one_point_below_and_at_least_1_percent(accuracy: float, target: float) -> None:
    assert target_below(accuracy) == target


@given(num_correct=st.integers(100, 5000))
def test_the_target_is_the_highest_whole_percent_that_leaves_a_point(num_correct: int) -> None:
    """Computed in whole images of 5,000, which needs no rounding."""
    assert round(target_below(num_correct / 5000) * 100) == max(1, (num_correct - 50) // 50)


def curves_of(curves: list[list[float]]) -> pd.DataFrame:
    rows = [(f"run{i}", epoch, accuracy) for i, curve in enumerate(curves) for epoch, accuracy in enumerate(curve, start=1)]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "valid_accuracy"])


@pytest.mark.parametrize(
    ("curve", "reached", "epochs"),
    [
        ([0.9, 0.5, 0.5, 0.5], True, 1),
        ([0.5, 0.8, 0.7, 0.9], True, 2),
        ([0.1, 0.2, 0.3, 0.8], True, 4),
        ([0.1, 0.7, 0.7, 0.7999], False, 4),
        ([0.1], False, 1),
        ([0.8], True, 1),
        ([math.nan, 0.9], True, 2),
    ],
    ids=["first epoch", "exactly the target", "last epoch", "never", "ended early", "one epoch", "an epoch without validation"],
)
def test_a_run_reaches_its_target_in_the_first_such_epoch_or_is_censored(curve: list[float], reached: bool, epochs: int) -> None:
    runs = make_runs([[0.9]], epochs=len(curve))
    (row,) = time_to_target(runs, curves_of([curve]), 0.8).to_dict("records")
    expected = {"run_id": "run0", "lr": 0.001, "seed": 0, "reached": reached}
    assert row == expected | {"epochs_to_target": epochs}


def test_the_order_of_the_curves_does_not_matter() -> None:
    runs = make_runs([[0.9, 0.9], [0.9, 0.9]], epochs=2)
    curves = curves_of([[0.9, 0.9], [0.5, 0.9], [0.5, 0.5], [0.9, 0.5]])
    times = time_to_target(runs, curves.sample(frac=1, random_state=0), 0.8)
    assert times["seed"].tolist() == [0, 0, 1, 1]
    assert times["reached"].tolist() == [True, True, False, True]
    assert times["epochs_to_target"].tolist() == [1, 2, 2, 1]


def test_a_run_that_diverged_in_its_first_epoch_is_censored_at_0_and_a_failed_one_has_no_row() -> None:
    runs = make_runs([[0.9, NAN, 0.9]], status=["ok", "diverged", "failed"], epochs=[2, 0, 0])
    times = time_to_target(runs, curves_of([[0.5, 0.9]]), 0.8).drop(columns=["lr", "seed"])
    assert times.to_numpy().tolist() == [["run0", True, 2], ["run1", False, 0]]


@pytest.mark.parametrize(
    ("times", "num_reached", "median"),
    [
        ([3], 1, 3),
        ([-3], 0, NAN),
        ([3, 5], 2, 4),
        ([3, -9], 1, NAN),
        ([9, -1, 5], 2, 9),
        ([9, -1, -5], 1, NAN),
        ([1, 2, 3, -1], 3, 2.5),
        ([1, 2, -30, -40], 2, NAN),
        ([1, -0, -0], 1, NAN),
    ],
)
def test_a_censored_run_counts_as_longer_than_all_others(times: list[int], num_reached: int, median: float) -> None:
    """Negative times are censored."""
    table = pd.DataFrame(
        {
            "run_id": [f"run{i}" for i in range(len(times))],
            "lr": 0.001,
            "reached": [time > 0 for time in times],
            "epochs_to_target": [abs(time) for time in times],
        }
    )
    (row,) = median_to_target(table).to_dict("records")
    assert (row["lr"], row["num_runs"], row["num_reached"]) == (0.001, len(times), num_reached)
    assert row["epochs_to_target"] == pytest.approx(median, nan_ok=True)


def test_each_rate_has_its_own_median() -> None:
    runs = make_runs([[0.9, 0.5]] * 3, epochs=3)
    fast, slow, never = [0.9, 0.9, 0.9], [0.5, 0.5, 0.9], [0.5] * 3
    table = median_to_target(time_to_target(runs, curves_of([slow, never, fast, fast, slow, never]), 0.8))
    assert table["lr"].tolist() == [0.001, 0.002]
    assert table["num_reached"].tolist() == [3, 1]
    assert table["epochs_to_target"].tolist() == pytest.approx([3, NAN], nan_ok=True)
