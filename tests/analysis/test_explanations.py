"""The documents' explanations, checked on curves made by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.analysis.explanations import Small, VerySmall, check_patience, explain_small, explain_very_small
from lrsweep.training.early_stopping import EarlyStopping

Curve = list[float]

FALLING = [2.0, 1.9, 1.8, 1.7, 1.6, 1.5]  # validation losses of a run that still improves
RISING = FALLING[::-1]


def curves_of(accuracies: dict[str, Curve], losses: dict[str, Curve] | None = None) -> pd.DataFrame:
    """run_id → validation accuracies; losses rise by default."""
    rows = [
        {"run_id": run_id, "epoch": i, "valid_accuracy": accuracy, "valid_loss": loss}
        for run_id, curve in accuracies.items()
        for i, (accuracy, loss) in enumerate(zip(curve, (losses or {}).get(run_id, RISING), strict=False), start=1)
    ]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "valid_accuracy", "valid_loss"])


def runs_of(*rows: dict[str, Any]) -> pd.DataFrame:
    """One run per row, called run0, run1, …; a row lists the columns that differ from an ordinary run."""
    ordinary = {
        "lr": 1e-3,
        "status": "ok",
        "stop_reason": "patience",
        "training.patience": 2,
        "learned": True,
        "seconds": 10.0,
        "epochs": 5,
        "test_accuracy": 0.9,
    }
    return pd.DataFrame([{"run_id": f"run{i}"} | ordinary | row for i, row in enumerate(rows)])


DIVERGED = {"status": "diverged", "stop_reason": "diverged", "learned": False, "test_accuracy": math.nan, "epochs": 0}
FAILED = DIVERGED | {"status": "failed", "stop_reason": "error", "seconds": math.nan}


def best_with(good: list[float], best: float) -> Any:
    """Stands in for a `Best` with these good rates and this best rate."""
    return SimpleNamespace(good=pd.DataFrame({"lr": good}), best=pd.Series({"lr": best}))


# check_patience


@pytest.mark.parametrize(
    ("accuracies", "confirmed", "at_once"),
    [
        ([0.5, 0.4, 0.3], True, True),
        ([0.1, 0.5, 0.5, 0.5], True, False),
        ([0.1, 0.5, 0.5, 0.5, 0.5], False, False),
        ([0.5, 0.4, 0.6], False, False),
        ([0.5, 0.4, 0.3, 0.6], False, False),
        ([0.1, 0.5, 0.4], False, False),
        ([0.5], False, True),
    ],
    ids=[
        *("stopped at once", "a tie is no improvement", "one epoch too many", "improved in the last epoch"),
        *("improved after patience ran out", "stopped an epoch too soon", "a single epoch"),
    ],
)
def test_patience_is_confirmed_by_the_curve(accuracies: Curve, confirmed: bool, at_once: bool) -> None:
    (row,) = check_patience(runs_of({}), curves_of({"run0": accuracies})).to_dict("records")
    assert (row["run_id"], row["confirmed"], row["at_once"]) == ("run0", confirmed, at_once)


@pytest.mark.parametrize(
    ("losses", "still_improving"),
    [
        ([2.0, 1.0, 0.9, 1.1], True),
        ([2.0, 1.0, 1.1, 0.9], True),
        ([2.0, 1.0, 1.1, 1.2], False),
        ([0.5, 1.0, 0.9, 0.8], False),
        ([2.0, 1.0, 1.0, 1.0], False),
    ],
    ids=["right after the best epoch", "at the end", "rises", "falls but not below an earlier minimum", "a tie"],
)
def test_still_improving_means_that_the_loss_reached_a_minimum_after_the_best_epoch(losses: Curve, still_improving: bool) -> None:
    checks = check_patience(runs_of({}), curves_of({"run0": [0.1, 0.5, 0.5, 0.4]}, {"run0": losses}))
    assert checks["still_improving"].tolist() == [still_improving]


def test_only_runs_stopped_by_patience_are_checked_each_against_its_own() -> None:
    runs = runs_of({"training.patience": 3}, {"training.patience": 2}, {"stop_reason": "max_epochs"}, {"stop_reason": "diverged"})
    checks = check_patience(runs, curves_of(dict.fromkeys(runs["run_id"], [0.1] * 4)))
    assert dict(zip(checks["run_id"], checks["confirmed"], strict=True)) == {"run0": True, "run1": False}
    checks = check_patience(runs[2:], curves_of({"run2": [0.1]}))
    assert checks[["confirmed", "at_once", "still_improving"]].sum().tolist() == [0, 0, 0]


def test_the_order_of_the_rows_of_a_curve_does_not_matter() -> None:
    curves = curves_of({"run0": [0.1, 0.5, 0.4, 0.3], "run1": [0.4, 0.3, 0.2]}, {"run1": FALLING})
    checks = check_patience(runs_of({}, {}), curves.iloc[::-1]).sort_values("run_id", ignore_index=True)
    pd.testing.assert_frame_equal(checks, check_patience(runs_of({}, {}), curves).sort_values("run_id", ignore_index=True))
    assert checks["still_improving"].tolist() == [False, True]


@given(accuracies=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=30), patience=st.integers(1, 5))
def test_patience_is_confirmed_exactly_when_the_training_loop_stops(accuracies: Curve, patience: int) -> None:
    stopping = EarlyStopping(patience=patience)
    for accuracy in accuracies:
        stopping = stopping.after(accuracy)
        if stopping.is_over:
            break
    curves = curves_of({"run0": accuracies[: stopping.epoch]}, {"run0": [1.0] * 30})
    checks = check_patience(runs_of({"training.patience": patience}), curves)
    assert checks["confirmed"].tolist() == [stopping.is_over]
    assert checks["at_once"].tolist() == [stopping.best_epoch == 1]


# "Below 1e-5 nothing is learned."


def test_the_runs_below_1e_5_are_counted() -> None:
    runs = runs_of(
        {"lr": 1e-6, "learned": False, "test_accuracy": 0.11},
        {"lr": 2e-6, "learned": False, "test_accuracy": 0.12},
        {"lr": 3e-6, "learned": True, "test_accuracy": 0.31},
        {"lr": 9e-6, "learned": True, "test_accuracy": 0.25, "stop_reason": "max_epochs"},
        {"lr": 4e-6} | DIVERGED,
        {"lr": 1e-5, "learned": True, "test_accuracy": 0.9},
        {"lr": 1e-3, "learned": True, "test_accuracy": 0.98},
        {"lr": 5e-6} | FAILED,
    )
    flat, late, still_rising = [0.1, 0.1, 0.1], [0.1, 0.3, 0.2, 0.2], [0.1, 0.1, 0.2]
    curves = curves_of({"run0": flat, "run1": still_rising, "run2": late, "run3": [0.2], "run5": flat, "run6": flat})
    assert explain_very_small(runs, check_patience(runs, curves)) == VerySmall(
        num_runs=5,  # with the diverged one, without the failed one
        num_learned=2,
        learned_from=3e-6,
        num_out_of_patience=2,  # run0 and run2; the curve of run1 contradicts its stop reason
        num_stopped_at_once=1,
        highest_test_accuracy=0.31,
    )


def test_if_no_run_below_1e_5_learned_there_is_no_rate_from_which_they_learn() -> None:
    runs = runs_of({"lr": 1e-6, "learned": False, "test_accuracy": 0.1})
    explanation = explain_very_small(runs, check_patience(runs, curves_of({"run0": [0.1, 0.1, 0.1]})))
    assert explanation == VerySmall(1, 0, None, 1, 1, 0.1)


@pytest.mark.parametrize("row", [{"lr": 1e-5}, {"lr": 1e-6} | FAILED], ids=["none", "only a failed run"])
def test_without_runs_below_1e_5_there_is_no_explanation(row: dict[str, Any]) -> None:
    runs = runs_of(row, {"lr": 1e-3})
    assert explain_very_small(runs, check_patience(runs, curves_of({}))) is None


# "From 1e-5 to 1e-4 training is very long and ends below the optimum."


def test_the_runs_from_1e_5_to_1e_4_are_compared_with_the_good_rates() -> None:
    runs = runs_of(
        {"lr": 9e-6, "epochs": 999, "test_accuracy": 0.0},
        {"lr": 1e-5, "epochs": 20, "test_accuracy": 0.80},
        {"lr": 5e-5, "epochs": 40, "test_accuracy": 0.82},
        {"lr": 1e-4, "epochs": 90, "test_accuracy": 0.90, "stop_reason": "max_epochs"},
        {"lr": 2e-4, "epochs": 777, "test_accuracy": 0.5},
        {"lr": 1e-3, "epochs": 8, "test_accuracy": 0.94},
        {"lr": 2e-3, "epochs": 12, "test_accuracy": 0.98},
        {"lr": 1e-2, "epochs": 1, "test_accuracy": 0.1},
        {"lr": 6e-5} | FAILED,
        {"lr": 1e-3} | FAILED,
    )
    late = [0.1, 0.5, 0.4, 0.4]
    curves = curves_of(dict.fromkeys(runs["run_id"], late), {"run1": FALLING, "run2": RISING, "run3": FALLING})
    small = explain_small(runs, check_patience(runs, curves), best_with([1e-3, 2e-3], 2e-3))
    assert small == Small(
        num_runs=3,
        epochs_ratio=40 / 10,
        test_shortfall=pytest.approx(0.96 - 0.84),
        num_out_of_patience=2,
        num_still_improving=1,
    )


def test_a_run_counts_as_stopped_by_patience_only_if_its_curve_confirms_it() -> None:
    runs = runs_of({"lr": 5e-5}, {"lr": 5e-5}, {"lr": 1e-3})
    curves = curves_of({"run0": [0.1, 0.2, 0.3], "run1": [0.3, 0.2, 0.1]}, {"run0": FALLING, "run1": FALLING})
    small = explain_small(runs, check_patience(runs, curves), best_with([1e-3], 1e-3))
    assert small is not None
    assert (small.num_runs, small.num_out_of_patience, small.num_still_improving) == (2, 1, 1)


def test_small_rates_are_compared_with_the_best_rate_if_none_is_good() -> None:
    runs = runs_of({"lr": 6e-5, "epochs": 50}, {"lr": 1e-3, "epochs": 5}, {"lr": 2e-3, "epochs": 25})
    small = explain_small(runs, check_patience(runs, curves_of({})), best_with([], 2e-3))
    assert small is not None
    assert small.epochs_ratio == 2


def test_a_diverged_run_counts_although_it_has_no_accuracy() -> None:
    runs = runs_of({"lr": 5e-5, "test_accuracy": 0.8}, {"lr": 6e-5} | DIVERGED, {"lr": 1e-3})
    small = explain_small(runs, check_patience(runs, curves_of({})), best_with([1e-3], 1e-3))
    assert small is not None
    assert (small.num_runs, small.epochs_ratio, small.test_shortfall) == (2, 2.5 / 5, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("rows", "low"),
    [
        ([{"lr": 9.99e-6}, {"lr": 1.01e-4}], 1e-3),
        ([{"lr": 1e-5}, {"lr": 5e-5}, {"lr": 1e-4}], 1e-4),
        ([{"lr": 5e-5} | FAILED], 1e-3),
    ],
    ids=["just outside", "a good rate itself", "only a failed run"],
)
def test_without_runs_from_1e_5_to_1e_4_there_is_no_explanation(rows: list[dict[str, Any]], low: float) -> None:
    runs = runs_of(*rows, {"lr": 1e-3})
    assert explain_small(runs, check_patience(runs, curves_of({})), best_with([low, 1e-3], 1e-3)) is None


def test_without_an_epoch_at_the_best_rate_the_ratio_of_epochs_is_not_known() -> None:
    runs = runs_of({"lr": 3e-5}, {"lr": 1e-3}, {"lr": 1e-3} | DIVERGED, {"lr": 1e-3} | DIVERGED)
    small = explain_small(runs, check_patience(runs, curves_of({})), best_with([], 1e-3))
    assert small is not None
    assert math.isnan(small.epochs_ratio)
