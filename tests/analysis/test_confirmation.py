"""lrsweep.analysis.confirmation: fresh seeds, and how much better the study's best looked than it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lrsweep.analysis import plateau
from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.confirmation import FIRST_FRESH_SEED, Confirmation, _paired, confirm, finalists

MakeRuns = Callable[..., pd.DataFrame]

RATES = [0.001 * 2.0**i for i in range(9)]
VALID = [0.5, 0.958, 0.96, 0.959, 0.5]  # of 5,000 images: the range is the three in the middle
SECONDS = [1.0, 50.0, 40.0, 30.0, 1.0]  # the bargain is the fourth


def best_of(runs: pd.DataFrame) -> Best:
    best = find_best(runs)
    assert best is not None
    return best


def confirmed(best: Best, fresh: pd.DataFrame) -> Confirmation:
    confirmation = confirm(best, fresh)
    assert confirmation is not None
    return confirmation


def fresh_of(make_runs: MakeRuns, accuracy_SR: Any, **columns: Any) -> pd.DataFrame:
    return make_runs(accuracy_SR, first_seed=FIRST_FRESH_SEED, **columns)


@pytest.mark.parametrize(
    ("valid", "seconds", "named"),
    [
        ([0.5, 0.9, 0.5], [10.0] * 3, [1]),
        (VALID, SECONDS, [1, 2, 3]),
        ([0.5, 0.958, 0.958, 0.958, 0.96, 0.5], [1.0, 50.0, 30.0, 20.0, 40.0, 1.0], [1, 3, 4]),
        ([0.5, 0.958, 0.959, 0.96, 0.958, 0.959, 0.5], [1.0, 50.0, 30.0, 40.0, 50.0, 50.0, 1.0], [1, 2, 3, 5]),
    ],
    ids=["one rate is everything", "the bargain is an end", "the best is an end", "four rates"],
)
def test_the_finalists_are_the_ranges_ends_the_best_and_the_bargain(
    make_runs: MakeRuns, valid: list[float], seconds: list[float], named: list[int]
) -> None:
    assert finalists(best_of(make_runs([valid], seconds=seconds))) == [RATES[i] for i in named]


def test_a_confirmation_is_what_one_works_out_by_hand(make_runs: MakeRuns) -> None:
    best = best_of(make_runs([VALID], seconds=SECONDS))
    fresh = fresh_of(
        make_runs,
        [[0.5, 0.950, 0.957, 0.955, 0.5], [0.5, 0.954, 0.955, 0.951, 0.5], [0.5, 0.952, 0.953, 0.950, 0.5]],
        test_accuracy=[[0.5, 0.94, 0.950, 0.944, 0.5], [0.5, 0.94, 0.948, 0.946, 0.5], [0.5, 0.94, 0.949, 0.945, 0.5]],
    )
    found = confirmed(best, fresh)
    assert found.num_seeds == 3
    assert found.rows["lr"].tolist() == RATES[1:4]  # the others are no finalists
    assert found.rows["valid_mean"].tolist() == pytest.approx([0.952, 0.955, 0.952])
    assert found.rows["study_valid_mean"].tolist() == VALID[1:4]
    assert found.rows["optimism"].tolist() == pytest.approx([0.006, 0.005, 0.007])
    assert (found.best["lr"], found.trade_off["lr"], found.winner["lr"]) == (RATES[2], RATES[3], RATES[2])
    assert (found.best["test_mean"], found.trade_off["test_mean"]) == pytest.approx((0.949, 0.945))
    half = 4.302652729911275 * 0.002 / 3**0.5  # Student's t of 2 degrees of freedom; the differences are 6, 2 and 4 thousandths
    assert (found.cost, found.cost_low, found.cost_high) == pytest.approx((0.004, 0.004 - half, 0.004 + half))


def test_the_winner_is_of_the_fresh_seeds_and_scored(make_runs: MakeRuns) -> None:
    found = confirmed(best_of(make_runs([VALID], seconds=SECONDS)), fresh_of(make_runs, [[0.5, 0.96, 0.95, 0.94, 0.5]]))
    assert (found.best["lr"], found.winner["lr"]) == (RATES[2], RATES[1])
    found.rows.loc[found.rows["lr"] == RATES[1], "valid_mean"] = np.nan  # an end of the range that failed on every fresh seed
    assert found.winner["lr"] == RATES[2]


def test_a_bargain_that_is_the_best_costs_nothing(make_runs: MakeRuns) -> None:
    best = best_of(make_runs([[0.5, 0.9, 0.5]]))
    found = confirmed(best, fresh_of(make_runs, [[0.5, 0.91, 0.5], [0.5, 0.89, 0.5]]))
    assert (found.cost, found.cost_low, found.cost_high) == (0, 0, 0)


def test_a_single_fresh_seed_has_no_interval(make_runs: MakeRuns) -> None:
    found = confirmed(best_of(make_runs([VALID], seconds=SECONDS)), fresh_of(make_runs, [VALID]))
    assert found.num_seeds == 1
    assert found.cost == pytest.approx(0.001)
    assert np.isnan([found.cost_low, found.cost_high]).all()


def test_the_cost_is_of_the_seeds_that_both_rates_have(make_runs: MakeRuns) -> None:
    best = best_of(make_runs([VALID], seconds=SECONDS))
    status_SR = [["ok"] * 5, ["ok"] * 5, ["ok", "ok", "failed", "ok", "ok"]]
    fresh = fresh_of(make_runs, [VALID, VALID, [0.5, 0.958, 0.1, 0.1, 0.5]], status=status_SR)
    found = confirmed(best, fresh)
    assert (found.cost, found.cost_low, found.cost_high) == pytest.approx((0.001,) * 3)
    assert found.num_seeds == 2


@pytest.mark.parametrize(
    ("lacks", "is_confirmed"),
    [([2], False), ([3], False), ([1], True), ([0, 4], True), ([0, 1, 2, 3, 4], False)],
    ids=["the best", "the bargain", "an end of the range", "what was never a finalist", "everything"],
)
@pytest.mark.parametrize("how", ["not made", "failed"])
def test_without_a_rate_that_the_conclusion_names_there_is_no_confirmation(
    make_runs: MakeRuns, lacks: list[int], is_confirmed: bool, how: str
) -> None:
    best = best_of(make_runs([VALID], seconds=SECONDS))
    fresh = fresh_of(make_runs, [VALID] * 2, status=["failed" if i in lacks else "ok" for i in range(5)])
    found = confirm(best, fresh[fresh["status"] != "failed"] if how == "not made" else fresh)
    assert (found is not None) == is_confirmed


# The winner's curse itself.


@pytest.mark.slow
def test_of_equal_rates_the_chosen_one_looked_better_than_it_is(make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten equal rates on five seeds: the largest of ten means is expected to be 1.54 standard errors above the truth."""
    monkeypatch.setattr(plateau, "NUM_RESAMPLES", 10)
    truth, sd, num_seeds, num_studies = 0.95, 0.002, 5, 40
    rng = np.random.default_rng(0)
    optimism, fresh_means = [], []
    for _ in range(num_studies):
        best = best_of(make_runs(truth + sd * rng.standard_normal((num_seeds, 10))))
        found = confirmed(best, fresh_of(make_runs, truth + sd * rng.standard_normal((num_seeds, 10))))
        optimism.append(found.rows.set_index("lr")["optimism"][best.plateau.best_lr])
        fresh_means.append(found.best["valid_mean"])
    standard_error = sd / num_seeds**0.5
    tolerance = 4 * standard_error / num_studies**0.5
    assert np.mean(fresh_means) == pytest.approx(truth, abs=tolerance)
    expected = 1.5388 * standard_error  # of the largest of ten standard normal values, tabulated
    assert np.mean(optimism) == pytest.approx(expected, abs=1.2 * tolerance)  # also the fresh mean's own chance
    assert np.mean(optimism) > tolerance


@pytest.mark.parametrize("num_seeds", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 10))])
def test_the_interval_of_the_cost_covers_the_truth(num_seeds: int) -> None:
    """Paired: what seeds share, here ten times what is a rate's own, does not widen it."""
    num_studies, cost, sd = 400, 0.004, 0.001
    rng = np.random.default_rng([1, num_seeds])
    covered, widths = 0, []
    for _ in range(num_studies):
        shared = 0.95 + 10 * sd * rng.standard_normal(num_seeds)
        rates = {1e-3: shared + sd * rng.standard_normal(num_seeds), 2e-3: shared - cost + sd * rng.standard_normal(num_seeds)}
        fresh = pd.concat([pd.DataFrame({"seed": range(num_seeds), "lr": lr, "test_accuracy": of}) for lr, of in rates.items()])
        mean, low, high = _paired(fresh, 1e-3, 2e-3)
        covered += low <= cost <= high
        widths.append(high - low)
        assert low <= mean <= high
    assert covered == pytest.approx(0.95 * num_studies, abs=4 * (0.95 * 0.05 * num_studies) ** 0.5)
    expected_width = 2 * stats.t.ppf(0.975, num_seeds - 1) * (2 / num_seeds) ** 0.5 * sd
    assert np.median(widths) <= 1.1 * expected_width
