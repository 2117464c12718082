"""Each seed's best rate from a curve, against simulations with a known answer."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lrsweep.analysis.optimum import optima

HALF_DECADES = np.arange(-5.0, -1.4, 0.5)
TENTHS = np.arange(-4.0, -1.4, 0.1)


def curves(exponents: Any, best: float, num_seeds: int, sd: float, cliff: float = np.inf) -> pd.DataFrame:
    """Accuracy falls with the squared distance from `best`: by two points at one decade. Above `cliff` no run learns."""
    rng = np.random.default_rng(0)
    accuracy = 0.98 - 0.02 * (exponents - best) ** 2 + rng.normal(0, sd, (num_seeds, len(exponents)))
    return pd.DataFrame(np.where(exponents > cliff, 0.1, accuracy), columns=10**exponents)


@pytest.mark.parametrize("exponents", [HALF_DECADES, TENTHS], ids=["half decades", "tenths"])
@pytest.mark.parametrize("best", [-2.5, -2.6, -2.75, -3.0])
def test_without_noise_the_optimum_is_found_between_the_rates(exponents: Any, best: float) -> None:
    assert optima(curves(exponents, best, 1, sd=0.0))["optimum"].item() == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("exponents", [HALF_DECADES, TENTHS], ids=["half decades", "tenths"])
def test_with_noise_the_optima_are_right_on_average_and_vary_less_than_the_highest_points(exponents: Any) -> None:
    accuracy = curves(exponents, -2.7, 200, sd=0.002)
    found = optima(accuracy)["optimum"]
    highest = np.log10(accuracy.columns.to_numpy(dtype=float))[accuracy.to_numpy().argmax(axis=1)]
    assert found.mean() == pytest.approx(-2.7, abs=0.06)
    assert found.std() < 0.9 * highest.std()


def test_a_cliff_moves_the_optimum_by_less_than_half_a_step() -> None:
    found = optima(curves(HALF_DECADES, -2.5, 1, sd=0.0, cliff=-2.3))["optimum"].item()
    assert -2.75 < found < -2.5


def test_an_optimum_at_an_end_of_the_rates_is_marked_as_cut() -> None:
    found = optima(pd.concat([curves(HALF_DECADES, best, 1, sd=0.0) for best in (-6.0, -3.0, -1.0)]))
    assert found["is_cut"].tolist() == [True, False, True]
    assert found["optimum"].between(HALF_DECADES[0], HALF_DECADES[-1] + 1e-9).all()


def test_a_run_without_an_accuracy_counts_as_the_worst() -> None:
    accuracy = curves(HALF_DECADES, -3.0, 1, sd=0.0)
    accuracy.iloc[0, -1] = np.nan
    assert optima(accuracy)["optimum"].item() == pytest.approx(-3.0)


def test_two_rates_are_too_few_for_a_curve() -> None:
    assert np.isnan(optima(curves(HALF_DECADES[:2], -5.0, 1, sd=0.0))["optimum"].item())
