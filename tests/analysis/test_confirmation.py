"""The finalists on fresh seeds, and how much better they looked in the study."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_runs import RATES, make_runs
from scipy import stats

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.confirmation import FIRST_FRESH_SEED, Confirmation, confirm, finalists, paired_difference

VALID = [0.5, 0.958, 0.96, 0.959, 0.5]  # with 5,000 images: the range is the three in the middle
SECONDS = [1.0, 50.0, 40.0, 30.0, 1.0]  # the best trade-off is the fourth


def best_of(accuracy_SR: Any, **columns: Any) -> Best:
    best = find_best(make_runs(accuracy_SR, **columns))
    assert best is not None
    return best


def fresh_runs(accuracy_SR: Any, **columns: Any) -> pd.DataFrame:
    return make_runs(accuracy_SR, first_seed=FIRST_FRESH_SEED, **columns)


def confirmed(best: Best, accuracy_SR: Any, **columns: Any) -> Confirmation:
    confirmation = confirm(best, fresh_runs(accuracy_SR, **columns))
    assert confirmation is not None
    return confirmation


@pytest.mark.parametrize(
    ("valid", "seconds", "expected"),
    [
        ([0.5, 0.9, 0.5], [10.0] * 3, [1]),
        (VALID, SECONDS, [1, 2, 3]),
        ([0.5, 0.958, 0.958, 0.958, 0.96, 0.5], [1.0, 50.0, 30.0, 20.0, 40.0, 1.0], [1, 3, 4]),
        ([0.5, 0.958, 0.959, 0.96, 0.958, 0.959, 0.5], [1.0, 50.0, 30.0, 40.0, 50.0, 50.0, 1.0], [1, 2, 3, 5]),
    ],
    ids=["one rate is everything", "the best trade-off is an end", "the best rate is an end", "four rates"],
)
def test_the_finalists_are_both_ends_the_best_rate_and_the_best_trade_off(
    valid: list[float], seconds: list[float], expected: list[int]
) -> None:
    assert finalists(best_of([valid], seconds=seconds)) == [RATES[i] for i in expected]


def test_a_confirmation_matches_one_computed_by_hand() -> None:
    confirmation = confirmed(
        best_of([VALID], seconds=SECONDS),
        [[0.5, 0.950, 0.957, 0.955, 0.5], [0.5, 0.954, 0.955, 0.951, 0.5], [0.5, 0.952, 0.953, 0.950, 0.5]],
        test_accuracy=[[0.5, 0.94, 0.950, 0.944, 0.5], [0.5, 0.94, 0.948, 0.946, 0.5], [0.5, 0.94, 0.949, 0.945, 0.5]],
    )
    assert confirmation.num_seeds == 3
    assert confirmation.rows["lr"].tolist() == RATES[1:4]  # only the finalists
    assert confirmation.rows["valid_mean"].tolist() == pytest.approx([0.952, 0.955, 0.952])
    assert confirmation.rows["study_valid_mean"].tolist() == VALID[1:4]
    assert confirmation.rows["optimism"].tolist() == pytest.approx([0.006, 0.005, 0.007])
    assert (confirmation.best["lr"], confirmation.trade_off["lr"], confirmation.winner["lr"]) == (RATES[2], RATES[3], RATES[2])
    assert (confirmation.best["test_mean"], confirmation.trade_off["test_mean"]) == pytest.approx((0.949, 0.945))
    half = 4.302652729911275 * 0.002 / 3**0.5  # Student's t with 2 degrees of freedom; the differences are 0.006, 0.002, 0.004
    cost = (confirmation.cost, confirmation.cost_low, confirmation.cost_high)
    assert cost == pytest.approx((0.004, 0.004 - half, 0.004 + half))


def test_the_winner_is_the_best_finalist_on_the_fresh_seeds() -> None:
    confirmation = confirmed(best_of([VALID], seconds=SECONDS), [[0.5, 0.96, 0.95, 0.94, 0.5]])
    assert (confirmation.best["lr"], confirmation.winner["lr"]) == (RATES[2], RATES[1])
    rows = confirmation.rows
    rows.loc[rows["lr"] == RATES[1], "valid_mean"] = np.nan  # an end of the range that failed on every fresh seed
    assert confirmation.winner["lr"] == RATES[2]


def test_the_cost_is_0_if_the_best_trade_off_is_the_best_rate() -> None:
    confirmation = confirmed(best_of([[0.5, 0.9, 0.5]]), [[0.5, 0.91, 0.5], [0.5, 0.89, 0.5]])
    assert (confirmation.cost, confirmation.cost_low, confirmation.cost_high) == (0, 0, 0)


def test_a_single_fresh_seed_has_no_interval() -> None:
    confirmation = confirmed(best_of([VALID], seconds=SECONDS), [VALID])
    assert (confirmation.num_seeds, confirmation.cost) == (1, pytest.approx(0.001))
    assert np.isnan([confirmation.cost_low, confirmation.cost_high]).all()


def test_the_cost_uses_the_seeds_that_both_rates_share() -> None:
    status_SR = [["ok"] * 5, ["ok"] * 5, ["ok", "ok", "failed", "ok", "ok"]]
    confirmation = confirmed(best_of([VALID], seconds=SECONDS), [VALID, VALID, [0.5, 0.958, 0.1, 0.1, 0.5]], status=status_SR)
    assert (confirmation.cost, confirmation.cost_low, confirmation.cost_high) == pytest.approx((0.001,) * 3)
    assert confirmation.num_seeds == 2


@pytest.mark.parametrize(
    ("missing", "is_confirmed"),
    [([2], False), ([3], False), ([1], True), ([0, 4], True), ([0, 1, 2, 3, 4], False)],
    ids=["the best rate", "the best trade-off", "an end of the range", "rates that are no finalists", "all"],
)
def test_a_confirmation_needs_the_best_rate_and_the_best_trade_off(missing: list[int], is_confirmed: bool) -> None:
    best = best_of([VALID], seconds=SECONDS)
    fresh = fresh_runs([VALID] * 2, status=["failed" if i in missing else "ok" for i in range(5)])
    assert (confirm(best, fresh) is not None) == is_confirmed
    assert (confirm(best, fresh[fresh["status"] != "failed"]) is not None) == is_confirmed


@pytest.mark.slow
def test_of_equal_rates_the_chosen_one_looked_better_than_it_is() -> None:
    """Ten equal rates on five seeds: the largest of ten means is 1.54 standard errors above the truth on average."""
    truth, sd, num_seeds, num_studies = 0.95, 0.002, 5, 16
    rng = np.random.default_rng(0)
    optimism, fresh_means = [], []
    for _ in range(num_studies):
        best = best_of(truth + sd * rng.standard_normal((num_seeds, 10)))
        confirmation = confirmed(best, truth + sd * rng.standard_normal((num_seeds, 10)))
        optimism.append(confirmation.rows.set_index("lr")["optimism"][best.plateau.best_lr])
        fresh_means.append(confirmation.best["valid_mean"])
    standard_error = sd / num_seeds**0.5
    tolerance = 4 * standard_error / num_studies**0.5
    assert np.mean(fresh_means) == pytest.approx(truth, abs=tolerance)
    expected = 1.5388 * standard_error  # the largest of ten standard normal values, tabulated
    assert np.mean(optimism) == pytest.approx(expected, abs=1.2 * tolerance)  # the fresh mean varies as well
    assert np.mean(optimism) > tolerance


@pytest.mark.parametrize("num_seeds", [3, 10])
def test_the_interval_of_the_cost_covers_the_truth(num_seeds: int) -> None:
    """Effects that all rates of a seed share, here ten times the noise, do not widen a paired interval."""
    num_studies, cost, sd = 200, 0.004, 0.001
    rng = np.random.default_rng([1, num_seeds])
    covered, widths = 0, []
    for _ in range(num_studies):
        shared = 0.95 + 10 * sd * rng.standard_normal(num_seeds)
        rates = {1e-3: shared + sd * rng.standard_normal(num_seeds), 2e-3: shared - cost + sd * rng.standard_normal(num_seeds)}
        fresh = pd.concat([pd.DataFrame({"seed": range(num_seeds), "lr": lr, "test_accuracy": a}) for lr, a in rates.items()])
        mean, low, high = paired_difference(fresh, 1e-3, 2e-3)
        covered += low <= cost <= high
        widths.append(high - low)
        assert low <= mean <= high
    assert covered == pytest.approx(0.95 * num_studies, abs=4 * (0.95 * 0.05 * num_studies) ** 0.5)
    expected_width = 2 * stats.t.ppf(0.975, num_seeds - 1) * (2 / num_seeds) ** 0.5 * sd
    assert np.median(widths) <= 1.1 * expected_width
