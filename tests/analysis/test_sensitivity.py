"""Two measures of how much the rate matters, checked on curves with known answers."""

import math

import numpy as np
import pandas as pd
import pytest

from lrsweep.analysis.sensitivity import rate_sensitivity, usable_decades

LOG_RATES = np.arange(-5.0, -0.9, 0.5)


def runs_of(accuracy_of: dict[int, list[float]]) -> pd.DataFrame:
    rows = [
        {"seed": seed, "lr": 10**log, "test_accuracy": value, "status": "ok", "learned": value > 0.2, "best_epoch": 1}
        for seed, values in accuracy_of.items()
        for log, value in zip(LOG_RATES, values, strict=True)
    ]
    return pd.DataFrame(rows).assign(**{"data.num_classes": 10}, run_id=lambda runs: [f"run{i}" for i in range(len(runs))])


def curves_of(runs: pd.DataFrame, loss: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"run_id": runs["run_id"], "epoch": 1, "valid_loss": loss})


def test_usable_decades_end_where_the_accuracy_crosses_one_point_below_the_best() -> None:
    runs = runs_of({0: [0.1, 0.1, 0.95, 0.97, 0.98, 0.975, 0.965, 0.1, 0.1]})
    row = usable_decades(runs, 1e-3).iloc[0]
    # Below the best rate, the accuracy at half a decade is exactly one point lower. Above it, the accuracy falls from 0.5 to
    # 1.5 points below the best within half a decade.
    assert row["decades"] == pytest.approx(0.5 + 0.5 + 0.25)
    assert not row["is_cut"]


def test_a_seed_that_did_not_learn_at_the_best_rate_has_no_usable_decades() -> None:
    rows = usable_decades(runs_of({0: [0.1] * 9, 1: [0.1, 0.1, 0.1, 0.1, 0.98, 0.1, 0.1, 0.1, 0.1]}), 1e-3)
    assert rows["decades"].tolist() == pytest.approx([0.0, 0.01], abs=0.02)
    assert not rows["is_cut"].any()


def test_a_stretch_that_reaches_the_end_of_the_grid_is_marked() -> None:
    row = usable_decades(runs_of({0: [0.1, 0.1, 0.1, 0.1, 0.98, 0.98, 0.98, 0.98, 0.98]}), 1e-3).iloc[0]
    assert row["is_cut"]
    assert row["decades"] > 2


def test_a_good_rate_beyond_a_bad_one_does_not_count() -> None:
    row = usable_decades(runs_of({0: [0.98, 0.1, 0.1, 0.1, 0.98, 0.1, 0.98, 0.1, 0.1]}), 1e-3).iloc[0]
    assert row["decades"] < 0.02


def test_each_seed_has_its_own_width() -> None:
    wide, narrow = [0.1] * 2 + [0.98] * 5 + [0.1] * 2, [0.1] * 3 + [0.98] * 3 + [0.1] * 3
    table = usable_decades(runs_of({0: wide, 1: narrow}), 1e-3)
    assert table["seed"].tolist() == [0, 1]
    assert table["decades"].tolist() == pytest.approx([2, 1], abs=0.02)


def test_rate_sensitivity_is_the_mean_capped_excess_within_one_decade() -> None:
    runs = runs_of({0: [0.98] * 9})
    loss = [9.0, 9.0, 0.3, 0.2, 0.1, 0.1, 99.0, 9.0, 9.0]  # the rate a decade above the best is capped at chance
    excess = rate_sensitivity(runs, curves_of(runs, loss), 1e-3)
    assert excess.tolist() == pytest.approx([(0.2 + 0.1 + 0 + 0 + math.log(10) - 0.1) / 5])


def test_a_diverged_run_counts_as_chance() -> None:
    runs = runs_of({0: [0.98] * 9})
    runs.loc[2, "status"] = "diverged"
    excess = rate_sensitivity(runs, curves_of(runs, [0.1] * 9), 1e-3)
    assert excess.tolist() == pytest.approx([(math.log(10) - 0.1) / 5])


def test_rate_sensitivity_is_not_known_if_the_grid_is_too_short() -> None:
    runs = runs_of({0: [0.98] * 9})
    assert math.isnan(rate_sensitivity(runs, curves_of(runs, [0.1] * 9), 10**-4.5).iloc[0])
