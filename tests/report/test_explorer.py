"""The interactive chart: its data, its parameters, and the best trade-off that its transforms find."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st
from reference_study import Study

from lrsweep.report.explorer.chart import STATUSES, explorer_spec
from lrsweep.report.explorer.chart_tables import MAX_POINTS, STEPS_PER_DECADE, price_range, rates_table, run_rows, thin_curve
from lrsweep.report.texts.wording import lr_text


def tables_of(
    outcome: Callable[[float, int], dict[str, Any]], rates: list[float], num_seeds: int, num_epochs: int = 3
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and curves of one arm. `outcome` overrides fields of the run with this rate and seed."""
    usual = {"status": "ok", "learned": True, "valid_accuracy": 0.9, "test_accuracy": 0.89, "epochs": num_epochs, "seconds": 10.0}
    runs = pd.DataFrame(
        {"run_id": f"{lr}-{seed}", "lr": lr, "seed": seed} | usual | outcome(lr, seed)
        for lr in rates
        for seed in range(num_seeds)
    )
    curves = runs[["run_id", "lr", "seed", "valid_accuracy"]].merge(
        pd.DataFrame({"epoch": range(1, num_epochs + 1)}), how="cross"
    )
    return runs, curves.assign(valid_accuracy=curves["valid_accuracy"] * (1 - 0.5 / curves["epoch"]))


def texts_at(spec: dict[str, Any], price: int) -> str:
    """All texts of the chart with the slider at `price`, as drawn by Vega."""
    params = [param | {"value": price} if param["name"] == "price" else param for param in spec["params"]]
    drawn = vl_convert.vegalite_to_svg(spec | {"params": params})
    return " | ".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))


def params_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {param["name"]: param for param in spec["params"]}


def best_lr(runs: pd.DataFrame, worth: float) -> float:
    """The best trade-off, computed with pandas."""
    groups = runs[runs["status"] != "failed"].groupby("lr")
    score = groups["valid_accuracy"].mean() - worth * groups["epochs"].mean()
    return float(score[groups["learned"].any()].idxmax())


@pytest.fixture(scope="module")
def spec(reference: Study) -> dict[str, Any]:
    return explorer_spec(reference.runs, reference.curves)


def test_the_specification_is_valid_vega_lite_and_always_the_same(reference: Study, spec: dict[str, Any]) -> None:
    assert alt.VConcatChart.from_dict(spec, validate=True).to_dict() == spec
    assert json.dumps(explorer_spec(reference.runs, reference.curves)) == json.dumps(spec)


def test_at_price_zero_the_star_is_the_most_accurate_rate(reference: Study, spec: dict[str, Any]) -> None:
    text = texts_at(spec, 0)
    means = reference.runs.groupby("lr")["valid_accuracy"].mean()
    assert "An epoch is worth nothing." in text
    assert f"Most accurate: {lr_text(float(means.idxmax()))}" in text
    assert f"{means.max():.2%} on validation" in text


@pytest.mark.parametrize("position", [0.1, 0.4, 0.7, 0.85, 1.0])
def test_the_transforms_find_the_same_trade_off_as_pandas(reference: Study, spec: dict[str, Any], position: float) -> None:
    params = params_of(spec)
    price = round(position * params["price"]["bind"]["max"])
    worth = 10 ** (params["lowest"]["value"] + (price - 1) / STEPS_PER_DECADE) / 100
    assert f"Best at this price: {lr_text(best_lr(reference.runs, worth))}" in texts_at(spec, price)


def test_the_slider_covers_all_prices_at_which_the_trade_off_changes(reference: Study) -> None:
    lowest, num_steps = price_range(rates_table(reference.runs))
    first, last = (10 ** (lowest + step / STEPS_PER_DECADE) / 100 for step in (0, num_steps - 1))
    assert best_lr(reference.runs, first) == best_lr(reference.runs, 0)
    assert best_lr(reference.runs, last) == best_lr(reference.runs, 10 * last) != best_lr(reference.runs, first)


def test_a_rate_that_learns_nothing_is_never_the_best_trade_off() -> None:
    def outcome(lr: float, seed: int) -> dict[str, Any]:
        return {"learned": False, "valid_accuracy": 0.1, "epochs": 1} if lr == 1e-6 else {}

    spec = explorer_spec(*tables_of(outcome, [1e-6, 1e-3], num_seeds=2))
    for price in (0, params_of(spec)["price"]["bind"]["max"]):
        assert ": 10^-3 (0.001) |" in texts_at(spec, price)


def test_of_equal_rates_the_smallest_is_the_best_trade_off_even_without_errors() -> None:
    for accuracy in (0.9, 1.0):
        spec = explorer_spec(*tables_of(lambda lr, seed, a=accuracy: {"valid_accuracy": a}, [1e-4, 1e-3, 1e-2], num_seeds=1))  # type: ignore[misc]
        text = texts_at(spec, 0)
        assert "Most accurate: 10^-4 (0.0001)" in text
        assert f"{accuracy:.2%} on validation" in text


def test_without_a_run_that_learned_there_is_no_chart() -> None:
    with pytest.raises(ValueError, match="no run has learned"):
        explorer_spec(*tables_of(lambda lr, seed: {"learned": False}, [1e-3], num_seeds=2))


def test_the_first_curves_are_of_the_given_rate_or_of_the_most_accurate_one(reference: Study) -> None:
    most_accurate = lr_text(float(reference.runs.groupby("lr")["valid_accuracy"].mean().idxmax()))
    for initial_lr, expected in ((None, most_accurate), (1e-3, "10^-3 (0.001)")):
        spec = explorer_spec(reference.runs, reference.curves, initial_lr)
        assert params_of(spec)["rate"]["value"] == expected
        assert f"Training at {expected}" in texts_at(spec, 0)


def test_a_run_without_a_time_says_so() -> None:
    runs, curves = tables_of(lambda lr, seed: {"seconds": math.nan}, [1e-3], num_seeds=1)
    assert run_rows(runs, curves)[0]["seconds"] is None
    assert "not measured" in json.dumps(explorer_spec(runs, curves))


def test_a_list_offers_every_rate(reference: Study, spec: dict[str, Any]) -> None:
    params = params_of(spec)
    select = params["rate"]["bind"]
    assert select["input"] == "select"
    assert select["options"] == [lr_text(lr) for lr in sorted(reference.runs["lr"].unique())]
    assert params["price"]["bind"]["name"] == "How much is an epoch worth?"


def test_each_status_has_its_marker_and_failed_runs_are_left_out() -> None:
    outcomes: list[dict[str, Any]] = [
        {},
        {"learned": False},
        {"status": "diverged", "learned": False, "valid_accuracy": math.nan, "test_accuracy": math.nan},
        {"status": "diverged"},
        {"status": "failed", "learned": False, "valid_accuracy": math.nan},
    ]
    runs, curves = tables_of(lambda lr, seed: outcomes[seed], [1e-3], num_seeds=5)
    rows = run_rows(runs, curves)
    assert [row["status"] for row in rows] == ["ok", "at chance", "diverged", "diverged"]
    assert {row["status"] for row in rows} == set(STATUSES)
    assert (rows[2]["valid"], rows[2]["test"], rows[2]["e"], rows[2]["best"]) == (None, None, [], None)
    assert "diverged" in texts_at(explorer_spec(runs, curves), 0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=1000), st.integers(3, 80))
def test_thinning_keeps_the_first_best_and_last_point(accuracies: list[float], max_points: int) -> None:
    kept = thin_curve(accuracies, max_points)
    assert kept == sorted(set(kept))
    assert len(kept) == len(accuracies) if len(accuracies) <= max_points else len(kept) <= max_points
    assert {0, int(np.argmax(accuracies)), len(accuracies) - 1} <= set(kept)


def test_a_long_curve_is_thinned_and_keeps_its_best_epoch() -> None:
    runs, curves = tables_of(lambda lr, seed: {}, [1e-3], num_seeds=1, num_epochs=700)
    (row,) = run_rows(runs, curves.assign(valid_accuracy=np.where(curves["epoch"] == 333, 0.99, 0.5)))
    assert len(row["e"]) == len(row["v"]) <= MAX_POINTS
    assert row["best"] == 333
    assert row["v"][row["e"].index(333)] == 0.99


def test_the_chart_of_1000_runs_is_below_1_5_megabytes() -> None:
    noise = np.random.default_rng(0)
    rates = [10 ** (-6 + i / 10) for i in range(46)]
    runs, curves = tables_of(lambda lr, seed: {"valid_accuracy": noise.uniform(0.1, 1)}, rates, 22, num_epochs=50)
    spec = explorer_spec(runs, curves.assign(valid_accuracy=noise.uniform(0, 1, len(curves))))
    assert len(spec["datasets"]["runs"]) == 1012
    assert len(json.dumps(spec, separators=(",", ":"))) < 1_500_000
