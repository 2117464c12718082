"""The answers on fresh seeds, and whether they contradict the study."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_runs import RATES, make_runs

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.confirmation import FIRST_FRESH_SEED, confirm, disagreement, optimism


def noisy(accuracy_R: list[float], num_seeds: int = 10, sd: float = 0.0003, seed: int = 0) -> Any:
    noise = sd * np.random.default_rng(seed).standard_normal((num_seeds, len(accuracy_R)))
    return np.array(accuracy_R) + noise - noise.mean(axis=0)


def best_of(accuracy_SR: Any, **columns: Any) -> Best:
    best = find_best(make_runs(accuracy_SR, **columns), delta=0.003)
    assert best is not None
    return best


def fresh_runs(accuracy_SR: Any, **columns: Any) -> pd.DataFrame:
    return make_runs(accuracy_SR, first_seed=FIRST_FRESH_SEED, **columns)


def confirmed(best: Best, accuracy_SR: Any, **columns: Any) -> Best:
    fresh = confirm(best, fresh_runs(accuracy_SR, **columns))
    assert fresh is not None
    return fresh


def test_answers_on_fresh_seeds_use_only_those_seeds_and_the_same_delta() -> None:
    best = best_of(noisy([0.9, 0.98, 0.97]))
    accuracy = noisy([0.9, 0.978, 0.98], 20, seed=1)
    fresh = confirmed(best, accuracy)
    assert (fresh.num_seeds, fresh.delta, fresh.tried) == (20, 0.003, best.tried)
    assert fresh.best["lr"] == RATES[2]
    assert fresh.rows["test_mean"].tolist() == pytest.approx(accuracy.mean(axis=0).tolist())


def test_fresh_seeds_without_the_best_rate_confirm_nothing() -> None:
    best = best_of(noisy([0.9, 0.98, 0.97]))
    assert confirm(best, fresh_runs(noisy([0.9, 0.97]), lr=[RATES[0], RATES[2]])) is None


def test_fresh_seeds_on_which_the_best_rate_failed_confirm_nothing() -> None:
    best = best_of(noisy([0.9, 0.98, 0.97]))
    assert confirm(best, fresh_runs(noisy([0.9, 0.98, 0.97]), status=["ok", "failed", "ok"])) is None


def test_optimism_is_how_much_higher_the_study_scored() -> None:
    best = best_of(noisy([0.9, 0.98, 0.97]))
    fresh = confirmed(best, noisy([0.978, 0.971]), lr=RATES[1:3])
    assert optimism(best, fresh).to_dict() == pytest.approx({RATES[1]: 0.002, RATES[2]: -0.001})


STUDY = [0.9, 0.98, 0.979, 0.97]


@pytest.mark.parametrize("fresh", [STUDY, [0.9, 0.979, 0.98, 0.975]], ids=["the same", "the other good rate is ahead"])
def test_fresh_seeds_that_agree_contradict_nothing(fresh: list[float]) -> None:
    best = best_of(noisy(STUDY))
    assert disagreement(best, confirmed(best, noisy(fresh, 20))) is None


def test_an_undecided_rate_contradicts_nothing() -> None:
    best = best_of(noisy(STUDY))
    fresh = confirmed(best, noisy(STUDY, 4, sd=0.004, seed=3))
    assert fresh.good.empty
    assert disagreement(best, fresh) is None


def test_every_kind_of_disagreement() -> None:
    best = best_of(noisy(STUDY))
    found = disagreement(best, confirmed(best, noisy([0.9, 0.975, 0.97, 0.98], 20)))
    assert found is not None
    assert found.worse_best is not None
    assert found.worse_best["lr"] == RATES[1]
    assert found.no_longer_good == (RATES[2],)
    assert found.good_after_all == (RATES[3],)


def test_an_undecided_best_rate_beside_good_ones_contradicts_nothing() -> None:
    best = best_of(noisy(STUDY))
    accuracy = noisy([0.9, 0.977, 0.98, 0.97], 10, sd=0.0004, seed=2)
    accuracy[:, 1] += 0.002 * np.linspace(-1, 1, 10)  # too noisy for a verdict
    fresh = confirmed(best, accuracy)
    assert fresh.good["lr"].tolist() == [RATES[2]]
    assert disagreement(best, fresh) is None


@pytest.mark.slow
def test_of_equal_rates_the_chosen_one_looked_better_than_it_is() -> None:
    """Ten equal rates on five seeds: the largest of ten means is 1.54 standard errors above the truth on average."""
    truth, sd, num_seeds, num_studies = 0.95, 0.002, 5, 16
    rng = np.random.default_rng(0)
    gained, fresh_means = [], []
    for _ in range(num_studies):
        best = best_of(truth + sd * rng.standard_normal((num_seeds, 10)))
        fresh = confirmed(best, truth + sd * rng.standard_normal((num_seeds, 10)))
        gained.append(optimism(best, fresh)[best.best["lr"]])
        fresh_means.append(fresh.rows.set_index("lr")["valid_mean"][best.best["lr"]])
    standard_error = sd / num_seeds**0.5
    tolerance = 4 * standard_error / num_studies**0.5
    assert np.mean(fresh_means) == pytest.approx(truth, abs=tolerance)
    expected = 1.5388 * standard_error  # the largest of ten standard normal values, tabulated
    assert np.mean(gained) == pytest.approx(expected, abs=1.2 * tolerance)  # the mean over fresh seeds varies too
    assert np.mean(gained) > tolerance
