"""Curves of a fixed long budget, cut where each patience would have stopped them."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import make_runs

from lrsweep.analysis.fixed_budget import PATIENCES, Sensitivity, analyse_budget, stopped_at
from lrsweep.training.early_stopping import EarlyStopping

NAN = math.nan
EPOCHS = 30


@given(
    curve=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, NAN]), max_size=60),
    patience=st.integers(1, 12),
)
def test_a_curve_is_cut_where_the_training_loop_stops(curve: list[float], patience: int) -> None:
    stopping = EarlyStopping(patience=patience)
    for accuracy in curve:
        stopping = stopping.after(accuracy)
        if stopping.is_over:
            break
    assert stopped_at(np.array(curve), patience) == stopping.epoch


@pytest.mark.parametrize(
    ("curve", "patience", "epochs"),
    [
        ([0.1, 0.2, 0.3], 1, 3),
        ([0.3, 0.3, 0.4], 1, 2),
        ([0.3, 0.2, 0.4, 0.1, 0.1, 0.9], 2, 5),
        ([0.3, 0.2, 0.1], 3, 3),
        ([], 1, 0),
    ],
    ids=["always better", "a tie is no improvement", "an improvement restarts the count", "not yet", "no epochs"],
)
def test_patience_cuts_a_curve(curve: list[float], patience: int, epochs: int) -> None:
    assert stopped_at(np.array(curve), patience) == epochs


def curve_of(*records: tuple[int, float]) -> list[float]:
    """A curve that improves at these epochs, to these accuracies, and lies a little lower in between."""
    return [
        max((accuracy for at, accuracy in records if at <= epoch), default=0.0) - (epoch not in dict(records)) * 0.01
        for epoch in range(1, EPOCHS + 1)
    ]


def whole_runs(accuracy_SR: Any, **columns: Any) -> pd.DataFrame:
    return make_runs(accuracy_SR, **({"stop_reason": "max_epochs", "epochs": EPOCHS} | columns))


def curves_of(runs: pd.DataFrame, curves: list[list[float]]) -> pd.DataFrame:
    rows = [
        (run_id, lr, epoch, accuracy)
        for run_id, lr, curve in zip(runs["run_id"], runs["lr"], curves, strict=True)
        for epoch, accuracy in enumerate(curve, start=1)
    ]
    return pd.DataFrame(rows, columns=["run_id", "lr", "epoch", "valid_accuracy"])


def sensitivity_of(runs: pd.DataFrame, curves: list[list[float]]) -> Sensitivity:
    sensitivity = analyse_budget(runs, curves_of(runs, curves).sample(frac=1, random_state=0))
    assert sensitivity is not None
    return sensitivity


def test_the_table_matches_one_computed_by_hand() -> None:
    """One rate is at its best in epoch 2. The other improves after 8 epochs without improvement, and again after 12."""
    fast, slow = curve_of((1, 0.5), (2, 0.9)), curve_of((1, 0.5), (9, 0.7), (21, 0.95))
    slower = curve_of((1, 0.3), (9, 0.6), (21, 0.85))
    runs = whole_runs([[0.95, 0.9], [0.85, 0.9]])
    sensitivity = sensitivity_of(runs, [slow, fast, slower, fast])
    assert (sensitivity.epochs, sensitivity.best.num_seeds) == (EPOCHS, 2)
    expected = {
        "lr": [0.001, 0.002],
        "num_runs": [2, 2],
        "full": [0.9, 0.9],
        "valid_5": [0.4, 0.9],
        "epochs_5": [6.0, 7.0],
        "cut_5": [1.0, 1.0],
        "valid_10": [0.65, 0.9],
        "epochs_10": [19.0, 12.0],
        "cut_10": [1.0, 1.0],
        "valid_20": [0.9, 0.9],
        "epochs_20": [30.0, 22.0],
        "cut_20": [0.0, 1.0],
        "valid_40": [0.9, 0.9],
        "epochs_40": [30.0, 30.0],
        "cut_40": [0.0, 0.0],
    }
    pd.testing.assert_frame_equal(sensitivity.rows[list(expected)], pd.DataFrame(expected), check_dtype=False)
    assert PATIENCES == (5, 10, 20, 40)


def test_patience_may_cut_only_some_runs_of_a_rate_and_none_that_end_with_it() -> None:
    never_stopped = curve_of(*((epoch, 0.5 + epoch / 100) for epoch in range(1, 26)))  # patience runs out with the budget
    rows = sensitivity_of(whole_runs([[0.9], [0.9]]), [never_stopped, curve_of((1, 0.5), (2, 0.9))]).rows
    assert rows[["cut_5", "epochs_5"]].to_numpy().tolist() == [[0.5, (30 + 7) / 2]]


def test_the_best_rate_is_the_one_with_the_whole_budget() -> None:
    sensitivity = sensitivity_of(whole_runs([[0.5, 0.9, 0.6]]), [curve_of((1, accuracy)) for accuracy in (0.5, 0.9, 0.6)])
    assert sensitivity.best.best["lr"] == 0.002


def test_a_diverged_run_is_left_out_of_the_table() -> None:
    runs = whole_runs(
        [[0.9, NAN], [0.9, 0.8]],
        stop_reason=[["max_epochs", "diverged"], ["max_epochs", "max_epochs"]],
        epochs=[[EPOCHS, 0], [EPOCHS, EPOCHS]],
    )
    rows = sensitivity_of(runs, [curve_of((1, 0.9)), [], curve_of((1, 0.9)), curve_of((1, 0.8))]).rows
    assert rows["num_runs"].tolist() == [2, 1]
    assert rows["full"].tolist() == [0.9, 0.8]


@pytest.mark.parametrize(
    "columns",
    [
        {"stop_reason": [["max_epochs", "patience"]]},
        {"epochs": [[EPOCHS, EPOCHS - 1]]},
        {"status": [["ok", "failed"]], "stop_reason": [["max_epochs", "error"]]},
        {"status": "failed", "stop_reason": "error"},
        {"status": "diverged", "stop_reason": "diverged"},
    ],
    ids=["one run stopped early", "two budgets", "one failed", "all failed", "all diverged"],
)
def test_without_a_common_budget_there_is_no_table(columns: dict[str, Any]) -> None:
    runs = whole_runs([[0.9, 0.8]], **columns)
    assert analyse_budget(runs, curves_of(runs, [curve_of((1, 0.9)), curve_of((1, 0.8))])) is None


def test_runs_that_did_not_validate_every_epoch_cannot_be_replayed() -> None:
    runs = whole_runs([[0.9, 0.8]])
    assert analyse_budget(runs, curves_of(runs, [curve_of((1, 0.9)), [NAN] * (EPOCHS - 1) + [0.8]])) is None
