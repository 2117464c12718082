"""lrsweep.analysis.fixed_budget: curves of a fixed long budget, cut where each patience would have cut them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.analysis.fixed_budget import PATIENCES, Sensitivity, analyse_budget, stopped_at
from lrsweep.training.early_stopping import EarlyStopping

MakeRuns = Callable[..., pd.DataFrame]

NAN = math.nan

# stopped_at: the engine's state machine, all at once.


@pytest.mark.parametrize(
    ("curve", "patience", "epochs"),
    [
        ([0.1, 0.2, 0.3], 1, 3),
        ([0.3, 0.2, 0.4], 1, 2),
        ([0.3, 0.3, 0.4], 1, 2),
        ([0.3, 0.2, 0.4, 0.1, 0.1, 0.9], 2, 5),
        ([0.3, 0.2, 0.1, 0.1], 3, 4),
        ([0.3, 0.2, 0.1], 3, 3),
        ([0.5], 1, 1),
        ([], 1, 0),
    ],
    ids=[
        *("always better", "worse at once", "a tie is no record", "a later record begins anew", "at the very end"),
        *("not out yet", "one epoch", "none"),
    ],
)
def test_patience_cuts_a_curve(curve: list[float], patience: int, epochs: int) -> None:
    assert stopped_at(np.array(curve), patience) == epochs


@given(
    curve=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, NAN]), min_size=1, max_size=60),
    patience=st.integers(1, 12),
)
def test_a_curve_is_cut_where_the_engine_stops(curve: list[float], patience: int) -> None:
    stopping = EarlyStopping(patience=patience)
    for accuracy in curve:
        stopping = stopping.after(accuracy)
        if stopping.is_over:
            break
    assert stopped_at(np.array(curve), patience) == stopping.epoch


# analyse_budget: the table.

EPOCHS = 30


def curve_of(*records: tuple[int, float]) -> list[float]:
    """A curve that sets these records (epoch, accuracy), and lies below them in between."""
    return [
        max((accuracy for at, accuracy in records if at <= epoch), default=0.0) - (epoch not in dict(records)) * 0.01
        for epoch in range(1, EPOCHS + 1)
    ]


def curves_of(runs: pd.DataFrame, curves: list[list[float]]) -> pd.DataFrame:
    """A row an epoch, in the order of `runs`."""
    rows = [
        (run_id, lr, epoch, accuracy)
        for run_id, lr, curve in zip(runs["run_id"], runs["lr"], curves, strict=True)
        for epoch, accuracy in enumerate(curve, start=1)
    ]
    return pd.DataFrame(rows, columns=["run_id", "lr", "epoch", "valid_accuracy"])


def whole_of(make_runs: MakeRuns, accuracy_SR: Any, **columns: Any) -> pd.DataFrame:
    return make_runs(accuracy_SR, **({"stop_reason": "max_epochs", "epochs": EPOCHS} | columns))


def sensitivity_of(runs: pd.DataFrame, curves: pd.DataFrame) -> Sensitivity:
    found = analyse_budget(runs, curves)
    assert found is not None
    return found


def test_the_table_is_what_one_works_out_by_hand(make_runs: MakeRuns) -> None:
    """A fast rate has all its accuracy at epoch 2; a slow one sets a record after 8 epochs without, and one after 12."""
    fast, slow = curve_of((1, 0.5), (2, 0.9)), curve_of((1, 0.5), (9, 0.7), (21, 0.95))
    slower = curve_of((1, 0.3), (9, 0.6), (21, 0.85))
    runs = whole_of(make_runs, [[0.95, 0.9], [0.85, 0.9]], test_accuracy=[[0.94, 0.88], [0.84, 0.9]])
    found = sensitivity_of(runs, curves_of(runs, [slow, fast, slower, fast]).sample(frac=1, random_state=0))
    assert (found.epochs, found.num_seeds) == (EPOCHS, 2)
    expected = pd.DataFrame(
        {
            "lr": [0.001, 0.002],
            "num_runs": [2, 2],
            "full": [0.9, 0.9],
            "test_full": [0.89, 0.89],
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
    )
    pd.testing.assert_frame_equal(found.rows[expected.columns.tolist()], expected, check_dtype=False)
    assert PATIENCES == (5, 10, 20, 40)


def test_only_some_of_a_rates_runs_may_be_cut(make_runs: MakeRuns) -> None:
    late, early = curve_of((1, 0.5), (6, 0.6), (11, 0.7), (16, 0.8), (21, 0.85), (26, 0.9)), curve_of((1, 0.5), (2, 0.9))
    runs = whole_of(make_runs, [[0.9], [0.9]])
    rows = sensitivity_of(runs, curves_of(runs, [late, early])).rows
    assert rows[["cut_5", "epochs_5"]].to_numpy().tolist() == [[0.5, (30 + 7) / 2]]


def test_a_patience_that_runs_out_with_the_budget_cuts_nothing(make_runs: MakeRuns) -> None:
    runs = whole_of(make_runs, [[0.9]])
    rows = sensitivity_of(runs, curves_of(runs, [curve_of(*((epoch, 0.5 + epoch / 100) for epoch in range(1, 26)))])).rows
    assert rows[["epochs_5", "cut_5"]].to_numpy().tolist() == [[30, 0]]


def test_the_answer_is_of_the_whole_budget(make_runs: MakeRuns) -> None:
    runs = whole_of(make_runs, [[0.5, 0.9, 0.6]])
    found = sensitivity_of(runs, curves_of(runs, [curve_of((1, accuracy)) for accuracy in (0.5, 0.9, 0.6)]))
    assert found.best.best["lr"] == 0.002


def test_a_diverged_run_is_left_out_of_the_table(make_runs: MakeRuns) -> None:
    """Nor did its whole budget end by patience."""
    runs = whole_of(
        make_runs,
        [[0.9, NAN], [0.9, 0.8]],
        stop_reason=[["max_epochs", "diverged"], ["max_epochs", "max_epochs"]],
        epochs=[[EPOCHS, 0], [EPOCHS, EPOCHS]],
    )
    curves = curves_of(runs, [curve_of((1, 0.9)), [], curve_of((1, 0.9)), curve_of((1, 0.8))])
    rows = sensitivity_of(runs, curves).rows
    assert rows["num_runs"].tolist() == [2, 1]
    assert rows["full"].tolist() == [0.9, 0.8]


@pytest.mark.parametrize(
    "columns",
    [
        {"stop_reason": [["max_epochs", "patience"]]},
        {"stop_reason": "patience"},
        {"epochs": [[EPOCHS, EPOCHS - 1]]},
        {"status": [["ok", "failed"]], "stop_reason": [["max_epochs", "error"]]},
        {"status": "failed", "stop_reason": "error"},
        {"status": "diverged", "stop_reason": "diverged"},
    ],
    ids=["patience ended one", "patience ended all", "two budgets", "one failed", "all failed", "all diverged"],
)
def test_of_runs_without_one_and_the_same_budget_nothing_is_said(make_runs: MakeRuns, columns: dict[str, Any]) -> None:
    runs = whole_of(make_runs, [[0.9, 0.8]], **columns)
    assert analyse_budget(runs, curves_of(runs, [curve_of((1, 0.9)), curve_of((1, 0.8))])) is None
