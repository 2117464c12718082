"""lrsweep.analysis.time_to_target: epochs and seconds until a validation accuracy, by hand-made curves."""

import math
from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.analysis.time_to_target import median_to_target, target_below, time_to_target

MakeRuns = Callable[..., pd.DataFrame]

NAN = math.nan


@pytest.mark.parametrize(
    ("accuracy", "target"),
    [
        (0.98, 0.97),
        (0.9812, 0.97),
        (0.9899, 0.97),
        (0.99, 0.98),
        (0.57, 0.56),
        (0.58 - 1e-12, 0.57),
        (1.0, 0.99),
        (0.0312, 0.02),
        (0.02, 0.01),
        (0.015, 0.01),
        (0.0, 0.01),
    ],
    ids=[
        *("a whole percent", "a little more", "nearly the next", "the next", "57 %, which is less than 57 hundredths in binary"),
        *("rounding's share", "all", "little", "one above the least", "less", "nothing"),
    ],
)
def test_the_target_is_a_whole_percent_and_a_point_below(accuracy: float, target: float) -> None:
    assert target_below(accuracy) == target


@given(images=st.integers(100, 5000))
def test_the_target_is_the_highest_that_leaves_a_point(images: int) -> None:
    """Of 5,000 validation images, in whole images."""
    target = round(target_below(images / 5000) * 100)
    assert target == max(1, (images - 50) // 50)


def curves_of(curves: list[list[float]]) -> pd.DataFrame:
    rows = [(f"run{i}", epoch, accuracy) for i, curve in enumerate(curves) for epoch, accuracy in enumerate(curve, start=1)]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "valid_accuracy"])


@pytest.mark.parametrize(
    ("curve", "reached", "epochs", "seconds"),
    [
        ([0.9, 0.5, 0.5, 0.5], True, 1, 10.0),
        ([0.5, 0.7, 0.9, 0.6], True, 3, 30.0),
        ([0.5, 0.8, 0.7, 0.9], True, 2, 20.0),
        ([0.1, 0.2, 0.3, 0.8], True, 4, 40.0),
        ([0.1, 0.7, 0.7, 0.7999], False, 4, 40.0),
        ([0.1], False, 1, 40.0),
        ([0.8], True, 1, 40.0),
    ],
    ids=["at once", "later", "exactly, for the first time", "at the end", "never", "ended early", "a single epoch"],
)
def test_a_run_reaches_its_target_in_the_first_such_epoch_or_is_censored(
    make_runs: MakeRuns, curve: list[float], reached: bool, epochs: int, seconds: float
) -> None:
    """Forty seconds are shared out over the epochs that the run had."""
    runs = make_runs([[0.9]], epochs=len(curve), seconds=40.0)
    (row,) = time_to_target(runs, curves_of([curve]), 0.8).to_dict("records")
    expected = {"run_id": "run0", "lr": 0.001, "seed": 0, "reached": reached}
    assert row == expected | {"epochs_to_target": epochs, "seconds_to_target": pytest.approx(seconds)}


def test_each_run_has_its_own_curve_in_whatever_order(make_runs: MakeRuns) -> None:
    runs = make_runs([[0.9, 0.9], [0.9, 0.9]], epochs=2, seconds=[[2.0, 4.0], [6.0, 8.0]])
    curves = curves_of([[0.9, 0.9], [0.5, 0.9], [0.5, 0.5], [0.9, 0.5]])
    times = time_to_target(runs, curves.sample(frac=1, random_state=0), 0.8)
    assert times["seed"].tolist() == [0, 0, 1, 1]
    assert times["reached"].tolist() == [True, True, False, True]
    assert times["seconds_to_target"].tolist() == [1.0, 4.0, 6.0, 4.0]


def test_a_run_that_diverged_at_once_is_censored_at_0_and_a_failed_one_has_no_row(make_runs: MakeRuns) -> None:
    runs = make_runs([[0.9, NAN, 0.9]], status=["ok", "diverged", "failed"], epochs=[2, 0, 0])
    times = time_to_target(runs, curves_of([[0.5, 0.9]]), 0.8).drop(columns=["lr", "seed"])
    assert times.to_numpy().tolist() == [["run0", True, 2, 10.0], ["run1", False, 0, 0.0]]


def test_where_most_runs_diverged_at_once_there_is_no_median(make_runs: MakeRuns) -> None:
    runs = make_runs([[0.9], [NAN], [NAN]], epochs=[[2], [0], [0]])
    (row,) = median_to_target(time_to_target(runs, curves_of([[0.5, 0.9]]), 0.8)).to_dict("records")
    assert (row["num_runs"], row["num_reached"]) == (3, 1)
    assert math.isnan(row["epochs_to_target"])
    assert math.isnan(row["seconds_to_target"])


@pytest.mark.parametrize(("curve", "seconds"), [([0.5, 0.9, 0.9], 20.0), ([0.5, 0.6, 0.7], 30.0)], ids=["reached", "censored"])
def test_a_diverged_runs_seconds_are_shared_with_the_epoch_it_lost(
    make_runs: MakeRuns, curve: list[float], seconds: float
) -> None:
    """Forty seconds: three epochs, and the one that it diverged in."""
    runs = make_runs([[0.9]], status="diverged", epochs=3, seconds=40.0)
    assert time_to_target(runs, curves_of([curve]), 0.8)["seconds_to_target"].tolist() == [seconds]


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
        ([5, 1, 4, -1, -1], 3, 5),
    ],
    ids=[
        *("one", "one censored", "two", "one of two censored", "one of three", "two of three"),
        *("one of four", "half of them", "two of five"),
    ],
)
def test_a_censored_run_counts_as_longer_than_any_other(times: list[int], num_reached: int, median: float) -> None:
    """Negative: censored, when it had been watched for so long."""
    table = pd.DataFrame(
        {
            "run_id": [f"run{i}" for i in range(len(times))],
            "lr": 0.001,
            "reached": [time > 0 for time in times],
            "epochs_to_target": [abs(time) for time in times],
            "seconds_to_target": [10.0 * abs(time) for time in times],
        }
    )
    (row,) = median_to_target(table).to_dict("records")
    assert (row["lr"], row["num_runs"], row["num_reached"]) == (0.001, len(times), num_reached)
    assert row["epochs_to_target"] == pytest.approx(median, nan_ok=True)
    assert row["seconds_to_target"] == pytest.approx(10 * median, nan_ok=True)


def test_medians_are_a_rates_own(make_runs: MakeRuns) -> None:
    runs = make_runs([[0.9, 0.5]] * 3, epochs=3, seconds=30.0)
    fast, slow, never = [0.9, 0.9, 0.9], [0.5, 0.5, 0.9], [0.5] * 3
    table = median_to_target(time_to_target(runs, curves_of([slow, never, fast, fast, slow, never]), 0.8))
    assert table["lr"].tolist() == [0.001, 0.002]
    assert table["num_reached"].tolist() == [3, 1]
    assert table["epochs_to_target"].tolist() == pytest.approx([3, NAN], nan_ok=True)
    assert table["seconds_to_target"].tolist() == pytest.approx([30, NAN], nan_ok=True)
