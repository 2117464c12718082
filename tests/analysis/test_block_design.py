"""The metrics of a study and the columns that claims compare."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_study import HILL, NUM_EPOCHS, RATES, make_study

from lrsweep.analysis.block_design import BlockDesign
from lrsweep.analysis.study import NoSuchRuns, Study

ACCURACY = 0.9 + HILL + np.zeros((3, 1, 1))


def value(study: Study, metric: str) -> float:
    """The metric of the first run."""
    design = BlockDesign(study, metric, tuple(study.runs["arm"].unique()))
    return float(design.table.iloc[0, 0])


def with_curve(name: str, values: list[float], **columns: Any) -> Study:
    """One run, with these values in the column `name` of its curve."""
    study = make_study([[[0.9]]], rates=[1e-3], epochs=len(values), best_epoch=2.0, **columns)
    curves = pd.DataFrame({"run_id": "made-0", "epoch": range(1, len(values) + 1), "train_accuracy": 0.9, "valid_accuracy": 0.9})
    return replace(study, curves=curves.assign(**{"train_loss": 1.0, "valid_loss": 1.0} | {name: values}))


def test_the_gap_is_training_accuracy_at_the_scored_epoch_minus_test_accuracy() -> None:
    curve = [0.9, 0.95, 0.99]
    assert value(with_curve("train_accuracy", curve), "gap") == pytest.approx(0.05)
    assert value(with_curve("train_accuracy", curve, **{"training.score": "last"}), "gap") == pytest.approx(0.09)


def test_the_imbalance_is_test_accuracy_minus_balanced_accuracy() -> None:
    study = make_study([[[0.9]]], rates=[1e-3], balanced_test_accuracy=0.88)
    assert value(study, "imbalance") == pytest.approx(0.02)
    with pytest.raises(NoSuchRuns, match="balanced_test_accuracy is not in these records"):
        value(make_study([[[0.9]]], rates=[1e-3], balanced_test_accuracy=math.nan), "imbalance")


def test_the_share_of_runs_that_learned_is_the_mean_of_zeros_and_ones() -> None:
    study = make_study([[[0.9, 0.1]]], rates=[1e-3, 1e-1])
    assert BlockDesign(study, "learned").by_rate(study.find_arm({})).to_numpy().tolist() == [[1.0, 0.0]]


def test_accuracy_lost_to_patience_is_the_gain_of_the_epochs_after_the_stop() -> None:
    study = with_curve("valid_accuracy", [0.5, *[0.4] * 5, 0.6, *[0.4] * 10, 0.7])
    lost = [value(study, name) for name in ("lost_to_patience", "lost_to_patience_10", "lost_to_patience_20")]
    assert lost == pytest.approx([0.2, 0.1, 0.0])


@pytest.mark.parametrize(
    ("loss", "share"),
    [
        (np.exp(-np.arange(101) / 10), 0.5),  # falls at an even pace
        (np.exp(-np.minimum(np.arange(101), 50) / 10), 0.0),  # stops falling halfway
        (np.exp(-np.maximum(np.arange(101) - 50, 0) / 10), 1.0),  # starts to fall halfway
        (np.full(101, 2.3), 0.0),  # never falls: stuck, and not left out
        ([2.3, 0.0, 0.0], 0.0),  # reaches zero
    ],
)
def test_late_fall_tells_slow_runs_from_stuck_runs(loss: Any, share: float) -> None:
    assert value(with_curve("train_loss", list(loss)), "late_fall") == pytest.approx(share, abs=0.01)


def test_the_epoch_of_a_target_is_interpolated_between_two_validated_epochs() -> None:
    study = with_curve("valid_accuracy", [math.nan, 0.5, math.nan, 0.9, 0.9])
    epochs = 10 ** value(study, "epochs_to_target")  # the target is 0.89, about a point below the best
    assert epochs == pytest.approx(2 + 2 * 0.39 / 0.4)


def test_a_run_that_misses_the_target_counts_with_one_epoch_more_than_it_had() -> None:
    study = make_study([[[0.9, 0.5]]], rates=RATES[:2])
    design = BlockDesign(study, "epochs_to_target", tuple(study.runs["arm"].unique()))
    assert 10 ** design.table.iloc[0, 1] == pytest.approx(NUM_EPOCHS + 1)


@pytest.mark.parametrize(("curve", "epochs"), [([0.1, 0.1], 0.01), ([math.nan, math.nan], 3.0), ([0.05, 0.1], 0.01)])
def test_a_target_below_chance_is_reached_by_the_first_validated_epoch_if_there_is_one(curve: list[float], epochs: float) -> None:
    study = with_curve("valid_accuracy", curve)
    low = study.runs.assign(valid_accuracy=0.06)  # so the target is 0.05
    assert 10 ** value(replace(study, runs=low), "epochs_to_target") == pytest.approx(epochs)


def test_a_run_that_diverged_before_its_first_validation_lost_nothing_to_patience_that_is_known() -> None:
    assert math.isnan(value(with_curve("valid_accuracy", [math.nan, math.nan]), "lost_to_patience"))


def test_updates_of_a_study_whose_runs_all_failed_are_missing() -> None:
    study = make_study(ACCURACY, status="failed")
    with pytest.raises(NoSuchRuns, match="failed"):
        BlockDesign(study, "updates").column(study.find_arm({}), "all")


def test_updates_are_counted_with_the_batch_of_each_epoch() -> None:
    growing = make_study(
        [[[0.9]]], [{"schedule.name": "grow_batch", "schedule.factor": 0.5, "schedule.every": 2.0}], rates=[1e-3]
    )
    assert 10 ** value(growing, "updates") == pytest.approx(2 * 94 + 2 * 47)


def test_the_highest_loss_is_read_from_the_first_epochs_and_unknown_in_older_records() -> None:
    study = with_curve("highest_loss", [2.0, 3.0, 1.0, 1.0, 1.0, 9.0])
    assert value(study, "highest_loss") == 3.0
    with pytest.raises(NoSuchRuns, match="highest_loss is not in these records"):
        value(make_study(ACCURACY), "highest_loss")


def test_best_and_last_scores_are_unknown_in_older_records() -> None:
    with pytest.raises(NoSuchRuns, match="best_test_accuracy is not in these records"):
        value(make_study(ACCURACY), "best_test_accuracy")
    assert value(make_study(ACCURACY, best_test_accuracy=0.97), "best_test_accuracy") == 0.97


def test_peak_memory_is_compared_in_gb_on_a_log_scale() -> None:
    assert value(make_study(ACCURACY, peak_memory_bytes=1e10), "peak_memory") == pytest.approx(1)


@pytest.mark.parametrize(
    ("at", "rates"),
    [("best", [1]), ("all", [0, 1, 2]), (-3, [0]), ([-3, -2.5], [0, 1]), ([-2.6, -1], [1, 2])],
)
def test_a_column_is_the_mean_over_its_rates(at: Any, rates: list[int]) -> None:
    study = make_study(ACCURACY)
    column = BlockDesign(study, "test_accuracy").column(study.find_arm({}), at)
    assert column.by_seed.tolist() == pytest.approx([float(0.9 + HILL[rates].mean())] * 3)
    assert column.runs["lr"].nunique() == len(rates)


def test_a_best_rate_at_the_edge_is_a_caveat_unless_it_is_the_only_rate() -> None:
    study = make_study(ACCURACY[:, :, :2], rates=RATES[:2])
    column = BlockDesign(study, "test_accuracy").column(study.find_arm({}))
    assert column.caveat == "the best rate of base is 0.0032, the highest tried: a better one may lie beyond"
    only = make_study(ACCURACY[:, :, :1], rates=RATES[:1])
    assert not BlockDesign(only, "test_accuracy").column(only.find_arm({})).caveat


def test_fresh_seeds_are_read_at_the_rate_that_the_study_chose() -> None:
    tuning = make_study(ACCURACY)
    flipped = 0.9 - HILL + np.zeros((4, 1, 1))
    fresh = replace(make_study(flipped, first_seed=1000), tuning=tuning)
    column = BlockDesign(fresh, "test_accuracy").column(fresh.find_arm({}))
    assert column.by_seed.to_dict() == pytest.approx(dict.fromkeys(range(1000, 1004), 0.9))


def test_of_several_values_the_tuning_runs_choose_one() -> None:
    arms = [{"loss.l1": 0.0}, {"loss.l1": 1e-5}, {"loss.l1": 1e-4}]
    strong_is_better = 0.9 + HILL + np.array([0, 0.01, 0.02])[:, None] + np.zeros((4, 1, 1))
    tuning = make_study(strong_is_better, arms)
    fresh = replace(make_study(strong_is_better[:, ::-1], arms, first_seed=1000), tuning=tuning)
    chosen = fresh.find_arm({"loss.l1": [1e-5, 1e-4]})
    assert fresh.called(chosen) == "l1=0.0001"
    assert fresh.find_arm({"loss.l1": [1e-4]}) == chosen
    with pytest.raises(NoSuchRuns, match=r"no runs of loss.l1=\[0.0001, 0.001\]"):
        fresh.find_arm({"loss.l1": [1e-4, 1e-3]})


@pytest.mark.parametrize(
    ("status", "num", "caveat"),
    [
        ("ok", 0, ""),
        ("ok", 1, "base failed to learn on 1 of 4 fresh seeds at the rate that it was tuned to"),
        ("diverged", 1, "base diverged on 1 of 4 fresh seeds at the rate that it was tuned to"),
        ("ok", 4, ""),
    ],
)
def test_a_tuned_rate_that_fails_on_some_fresh_seeds_is_a_caveat(status: str, num: int, caveat: str) -> None:
    """An arm that fails on all of them, such as one with bad initial weights, needs no warning."""
    fresh = replace(make_study(0.9 + HILL + np.zeros((4, 1, 1)), first_seed=1000), tuning=make_study(ACCURACY))
    failed = fresh.runs["seed"] < 1000 + num
    fresh.runs.loc[failed, ["learned", "status"]] = [False, status]
    assert BlockDesign(fresh, "test_accuracy").column(fresh.find_arm({})).caveat == caveat


def test_without_a_fresh_run_at_the_chosen_rate_there_is_no_column() -> None:
    fresh = replace(make_study(ACCURACY[:, :, :1], rates=RATES[:1]), tuning=make_study(ACCURACY))
    with pytest.raises(NoSuchRuns, match=r"no runs at 0\.0032"):
        BlockDesign(fresh, "test_accuracy").column(fresh.find_arm({}))


def test_a_run_without_an_epoch_has_no_value_on_a_log_scale() -> None:
    study = make_study(ACCURACY, epochs=0)
    assert BlockDesign(study, "epochs").table.isna().all(axis=None)
    assert BlockDesign(study, "seconds_per_epoch").table.isna().all(axis=None)


@pytest.mark.parametrize(("num", "text"), [(2, "at 0.001 and 0.0032"), (3, "from 0.001 to 0.01")])
def test_two_rates_are_not_written_as_a_range(num: int, text: str) -> None:
    study = make_study(np.full((3, 1, num), 0.9), rates=[1e-3, 10**-2.5, 1e-2][:num])
    assert BlockDesign(study, "test_accuracy").column(study.find_arm({}), "all").rates_text == text
