"""What each rate of an arm loses, the best rate, and the best trade-off."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_runs import RATES, make_runs

from lrsweep.analysis.best_rate import Best, find_best

NAN = math.nan
ACCURACY = [0.5, 0.97, 0.98, 0.9795, 0.97]


def noisy(accuracy_R: list[float], num_seeds: int = 10, sd: float = 0.0003) -> Any:
    """Accuracies with noise. The noise has a mean of 0 over the seeds, so that the mean accuracies are known."""
    noise = sd * np.random.default_rng(0).standard_normal((num_seeds, len(accuracy_R)))
    return np.array(accuracy_R) + noise - noise.mean(axis=0)


def best_of(accuracy_SR: Any, *, delta: float | None = None, num_missing: int = 0, **columns: Any) -> Best:
    best = find_best(make_runs(accuracy_SR, **columns), num_missing, delta)
    assert best is not None
    return best


def test_every_rate_has_its_shortfall_and_its_class() -> None:
    best = best_of(noisy(ACCURACY))
    assert best.rows["verdict"].tolist() == ["worse", "worse", "good", "good", "worse"]
    assert best.rows["shortfall"].tolist() == pytest.approx([0.48, 0.01, 0.0, 0.0005, 0.01])
    assert (best.rows["shortfall_low"] <= best.rows["shortfall"]).all()
    assert (best.rows["shortfall"] <= best.rows["shortfall_high"]).all()
    assert (best.arm, best.num_seeds, best.doubts, best.seeds_needed) == ("cross_entropy", 10, (), None)
    assert best.good["lr"].tolist() == RATES[2:4]
    assert best.undecided.empty


def test_a_smaller_delta_leaves_rates_undecided() -> None:
    assert best_of(noisy(ACCURACY), delta=0.0005).rows["verdict"].tolist()[3] == "undecided"


def test_few_seeds_decide_nothing_and_the_number_needed_is_estimated() -> None:
    best = best_of(noisy(ACCURACY, 3, sd=0.002))
    assert best.good.empty
    assert best.trade_off is None
    assert best.seeds_needed is not None
    assert best.seeds_needed > 10
    two = best_of(noisy(ACCURACY, 2))
    assert set(two.rows["verdict"]) == {"undecided"}
    assert (two.doubts, two.seeds_needed) == (("few_seeds",), None)


@pytest.mark.parametrize(("num_cut", "patience", "is_doubtful"), [(2, "5", True), (1, "5", False), (3, "null", False)])
def test_runs_that_end_before_early_stopping_could_end_them_raise_a_doubt(num_cut: int, patience: str, is_doubtful: bool) -> None:
    reasons = [["max_epochs"] * num_cut + ["patience"] * (3 - num_cut)] * 3
    runs = make_runs([[0.95, 0.98, 0.97]] * 3, **{"stop_reason": reasons, "training.patience": patience})
    best = find_best(runs)
    assert best is not None
    assert ("cut_short" in best.doubts) == is_doubtful


def test_the_best_rate_is_chosen_by_validation_accuracy_even_if_test_accuracy_disagrees() -> None:
    best = best_of(noisy([0.5, 0.9, 0.7]), test_accuracy=noisy([0.6, 0.7, 0.99]))
    assert best.best["lr"] == RATES[1]
    assert best.best["verdict"] == "worse"
    assert best.good["lr"].tolist() == [RATES[2]]


def test_stretches_of_rates_with_the_same_class() -> None:
    best = best_of(noisy([0.5, 0.98, 0.98, 0.97, 0.98, 0.97, 0.97]))
    assert best.stretches("good") == [(RATES[1], RATES[2]), (RATES[4], RATES[4])]
    assert best.stretches("worse") == [(RATES[0], RATES[0]), (RATES[3], RATES[3]), (RATES[5], RATES[6])]
    assert best.stretches("undecided") == []


def test_a_rate_that_did_not_run_breaks_a_stretch() -> None:
    best = find_best(make_runs(noisy([0.98, 0.98]), lr=[1e-3, 4e-3]), tried=(1e-3, 2e-3, 4e-3))
    assert best is not None
    assert best.stretches("good") == [(1e-3, 1e-3), (4e-3, 4e-3)]


@pytest.mark.parametrize(
    ("epochs", "chosen", "saved"),
    [([1, 50, 40, 30, 1], 3, 0.25), ([1, 30, 40, 50, 1], 2, 0.0)],
    ids=["another good rate takes fewer", "the best rate takes the fewest"],
)
def test_the_best_trade_off_is_the_good_rate_with_the_fewest_epochs(epochs: list[int], chosen: int, saved: float) -> None:
    trade_off = best_of(noisy(ACCURACY), epochs=epochs).trade_off
    assert trade_off is not None
    assert trade_off.row["lr"] == RATES[chosen]
    assert trade_off.saved == pytest.approx(saved)
    assert trade_off.saved_low <= trade_off.saved <= trade_off.saved_high


def test_of_good_rates_that_cost_the_same_the_most_accurate_is_chosen() -> None:
    best = best_of(noisy([0.5, 0.97, 0.9795, 0.98, 0.97]))
    assert best.trade_off is not None
    assert best.trade_off.row["lr"] == best.best["lr"] == RATES[3]
    assert best.good["lr"].tolist() == RATES[2:4]
    assert best.good_cost_the_same


def test_the_interval_of_the_saving_is_paired_by_seed() -> None:
    """Seeds differ in their epochs, but each seed saves a quarter. So the interval has no width."""
    epochs = np.outer([10, 20, 40, 80], [1, 1, 4, 3, 1])
    trade_off = best_of(noisy(ACCURACY, 4), epochs=epochs).trade_off
    assert trade_off is not None
    assert (trade_off.saved_low, trade_off.saved, trade_off.saved_high) == pytest.approx((0.25, 0.25, 0.25))


def test_the_fastest_rate_is_found_by_measured_seconds() -> None:
    assert best_of(noisy(ACCURACY), seconds=NAN).fastest is None
    fastest = best_of(noisy(ACCURACY), seconds=[1.0, 1.0, 10.0, 20.0, 1.0], epochs=[1, 1, 20, 10, 1]).fastest
    assert fastest is not None
    assert fastest.row["lr"] == RATES[2]  # although the fourth rate takes fewer epochs


def test_a_rate_at_which_one_seed_diverged_at_once_is_worse() -> None:
    accuracy = noisy([0.97, 0.98, 0.98])
    accuracy[0, 2] = NAN
    rows = best_of(accuracy, epochs=[[5, 5, 5 * (seed > 0)] for seed in range(10)]).rows
    assert rows["verdict"].tolist() == ["worse", "good", "worse"]
    assert rows["shortfall"].tolist()[2] == pytest.approx(0.088, abs=0.001)  # the diverged run counts as chance


@pytest.mark.parametrize(
    ("accuracy", "num_missing", "doubts"),
    [
        ([0.98, 0.97, 0.9], 0, ("at_lower_end",)),
        ([0.9, 0.97, 0.98], 0, ("at_upper_end",)),
        ([0.9, 0.98, 0.97], 1, ("runs_missing",)),
    ],
)
def test_a_best_rate_at_an_end_or_a_missing_run_is_a_doubt(
    accuracy: list[float], num_missing: int, doubts: tuple[str, ...]
) -> None:
    assert best_of(noisy(accuracy), num_missing=num_missing).doubts == doubts


def test_a_failed_run_is_missing_and_the_rate_is_judged_by_the_other_seeds() -> None:
    status = [["ok", "failed" if seed == 0 else "ok", "ok"] for seed in range(10)]
    best = best_of(noisy([0.9, 0.98, 0.97]), status=status)
    assert best.doubts == ("runs_missing",)
    assert best.best["lr"] == RATES[1]
    assert best.rows["verdict"].tolist() == ["worse", "good", "worse"]


def test_a_rate_with_few_runs_is_not_chosen() -> None:
    status = [["ok", "ok", "ok" if seed == 0 else "failed"] for seed in range(10)]
    assert best_of(noisy([0.9, 0.98, 0.99]), status=status).best["lr"] == RATES[1]


def test_one_rate_has_no_neighbours_to_miss() -> None:
    assert not {"at_lower_end", "at_upper_end"} & set(best_of(noisy([0.98])).doubts)


def test_if_nothing_learned_no_rate_is_dependable() -> None:
    best = best_of(np.full((3, 4), 0.1), learned=False)
    assert not {"at_lower_end", "at_upper_end"} & set(best.doubts)
    assert set(best.rows["verdict"]) == {"worse"}
    assert best.trade_off is None
    assert "no_rate_dependable" in best.doubts


def test_one_rate_cannot_be_compared() -> None:
    assert best_of(noisy([0.98])).rows["verdict"].tolist() == ["undecided"]


def test_without_a_scored_run_there_is_no_answer() -> None:
    assert find_best(make_runs([[NAN, NAN]])) is None
    assert find_best(make_runs([[0.9, 0.9]], status="failed")) is None


def test_the_rows_have_the_columns_of_the_summary() -> None:
    assert isinstance(best_of(noisy(ACCURACY)).rows, pd.DataFrame)
    assert {"test_mean", "epochs_mean", "num_timed", "dependable"} <= set(best_of(noisy(ACCURACY)).rows.columns)
