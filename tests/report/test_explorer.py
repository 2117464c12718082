"""The interactive chart: its data, its parameters, and the rate that it says to use."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st
from reference_study import Study

from lrsweep.analysis.best_rate import find_best
from lrsweep.analysis.edges import Edges
from lrsweep.analysis.findings import Findings
from lrsweep.analysis.rates import decimal_rate, power_of_ten, rate_names
from lrsweep.report.explorer.chart import FRESH, LOOKS, explorer_spec
from lrsweep.report.explorer.chart_tables import MAX_POINTS, allowed_losses, run_rows, thin_curve
from lrsweep.report.texts.decision import chosen, decision_en

FIXED = {"arm": "a", "data.num_test": 10_000, "data.num_classes": 10, "training.patience": "5", "training.max_epochs": 100}
FIXED |= {"stop_reason": "patience"}


def tables_of(
    outcome: Callable[[float, int], dict[str, Any]], rates: list[float], num_seeds: int, num_epochs: int = 3
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and curves of one arm. `outcome` overrides fields of the run with this rate and seed."""
    usual = {"status": "ok", "learned": True, "valid_accuracy": 0.9, "test_accuracy": 0.89, "epochs": num_epochs, "seconds": 10.0}
    runs = pd.DataFrame(
        {"run_id": f"{lr}-{seed}", "lr": lr, "seed": seed} | FIXED | usual | outcome(lr, seed)
        for lr in rates
        for seed in range(num_seeds)
    )
    curves = runs[["run_id", "lr", "seed", "valid_accuracy"]].merge(
        pd.DataFrame({"epoch": range(1, num_epochs + 1)}), how="cross"
    )
    accuracy = curves["valid_accuracy"] * (1 - 0.5 / curves["epoch"])
    return runs, curves.assign(valid_accuracy=accuracy, valid_loss=2 / curves["epoch"])


def found_of(runs: pd.DataFrame) -> Findings:
    best = find_best(runs)
    assert best is not None
    return Findings(best, Edges(None, None), None, None)


def spec_of(runs: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Any]:
    return explorer_spec(found_of(runs), runs, curves)


def drawn(spec: dict[str, Any], **values: Any) -> str:
    """The chart as SVG, with these values of its parameters."""
    params = [param | {"value": values.get(param["name"], param.get("value"))} for param in spec["params"]]
    params = [{name: value for name, value in param.items() if value is not None} for param in params]
    return vl_convert.vegalite_to_svg(spec | {"params": params})


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def params_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {param["name"]: param for param in spec["params"]}


def at_delta(spec: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = spec["datasets"]["choices"][params_of(spec)["position"]["value"]]
    return choice


@pytest.fixture(scope="module")
def spec(reference: Study) -> dict[str, Any]:
    return reference.spec


def test_the_specification_is_valid_vega_lite_and_always_the_same(reference: Study, spec: dict[str, Any]) -> None:
    assert alt.VConcatChart.from_dict(spec, validate=True).to_dict() == spec
    assert json.dumps(reference.spec) == json.dumps(spec)


# The rate to use.


def test_at_delta_the_star_is_the_rate_of_the_reports_answer(reference: Study, spec: dict[str, Any]) -> None:
    choice = at_delta(spec)
    lr = chosen(reference.found.headline)["lr"]
    assert choice["lr"] == lr
    assert choice["choice"] == f"★ Use {decimal_rate(lr)}."
    assert f"Use **{decimal_rate(lr)}**:" in decision_en(reference.found)[0][1]
    num_seeds = reference.fresh["seed"].nunique()
    assert f"shown to lose less than 0.2 points (δ) on {num_seeds} fresh seeds" in choice["why"]


def test_a_larger_loss_allows_a_rate_with_no_more_epochs(reference: Study, spec: dict[str, Any]) -> None:
    rows = reference.found.headline.rows.set_index("lr")
    choices = spec["datasets"]["choices"]
    assert [choice["position"] for choice in choices] == list(range(len(allowed_losses(0.002))))
    epochs = [rows.loc[choice["lr"], "epochs_mean"] for choice in choices if choice["shown"]]
    assert epochs == sorted(epochs, reverse=True)
    for choice, loss in zip(choices, allowed_losses(0.002), strict=True):
        good = rows[rows["shortfall_high"] < loss]
        assert choice["shown"] == (len(good) > 0)
        assert choice["why"].startswith("It is the only rate shown to lose less than") == (len(good) == 1)
        if len(good):
            assert choice["lr"] == good["epochs_mean"].idxmin()


def test_a_rate_at_which_a_seed_failed_to_learn_is_never_to_be_used() -> None:
    """It has the fewest epochs, and its other seeds are the most accurate."""

    def outcome(lr: float, seed: int) -> dict[str, Any]:
        if lr == 1e-2:
            return {"epochs": 1} | ({"learned": False, "test_accuracy": 0.1} if seed == 0 else {"test_accuracy": 0.99})
        return {"epochs": 5 if lr == 1e-3 else 9, "test_accuracy": 0.89 + seed / 1e4}

    spec = spec_of(*tables_of(outcome, [1e-4, 1e-3, 1e-2], num_seeds=4))
    assert {choice["lr"] for choice in spec["datasets"]["choices"] if choice["shown"]} == {1e-3}


def test_without_a_good_rate_there_is_a_ring_and_no_star() -> None:
    spec = spec_of(*tables_of(lambda lr, seed: {"valid_accuracy": 0.9 + lr}, [1e-4, 1e-3], num_seeds=1))
    choice = at_delta(spec)
    assert (choice["shown"], choice["choice"]) == (False, "○ Perhaps 0.001.")
    assert "No rate is shown to lose less than 0.2 points (δ) on one seed." in choice["why"]
    assert "#CC79A7" not in drawn(spec)


def test_where_no_rate_loses_so_little_the_ring_is_at_the_highest_validation_accuracy() -> None:
    """At delta, both rates are good, and one has fewer epochs. At the smallest loss of the slider, none is shown to be good."""

    def outcome(lr: float, seed: int) -> dict[str, Any]:
        noise = 1e-3 * (-1) ** seed  # a standard error of 0.06 points for the difference of the rates
        if lr < 1e-3:
            return {"epochs": 5, "test_accuracy": 0.98 + noise}
        return {"valid_accuracy": 0.91, "test_accuracy": 0.98 - noise}

    spec = spec_of(*tables_of(outcome, [1e-4, 1e-3], num_seeds=12, num_epochs=9))
    assert (at_delta(spec)["shown"], at_delta(spec)["lr"]) == (True, 1e-4)
    first = spec["datasets"]["choices"][0]
    assert (first["shown"], first["lr"]) == (False, 1e-3)


@pytest.mark.parametrize("rates", [[10**-2.9, 10**-2.5, 10**-2.1], [10**-4.3, 10**-3.9], [1e-6, 1e-3]])
def test_the_rate_axis_has_at_least_two_labels(rates: list[float]) -> None:
    labels = {decimal_rate(lr) for lr in (d * 10.0**e for d in range(1, 10) for e in range(-7, 0))}
    labels |= {power_of_ten(exponent) for exponent in range(-7, 0)}
    spec = spec_of(*tables_of(lambda lr, seed: {}, rates, num_seeds=1))
    assert len(labels & set(texts(drawn(spec)))) >= 2


def test_the_list_of_rates_begins_at_a_rate_with_curves() -> None:
    """Fresh seeds may run at a rate that the study did not try."""
    runs, curves = tables_of(lambda lr, seed: {}, [1e-4, 1e-2], num_seeds=3)
    fresh, _ = tables_of(lambda lr, seed: {"test_accuracy": 0.95 if lr == 1e-3 else 0.9}, [1e-3, 1e-2], num_seeds=3)
    study, confirmed = find_best(runs), find_best(fresh.assign(valid_accuracy=fresh["test_accuracy"]))
    assert study is not None
    assert confirmed is not None
    spec = explorer_spec(replace(found_of(runs), best=study, confirmation=confirmed), runs, curves, fresh)
    first = params_of(spec)["rate"]
    assert first["value"] in first["bind"]["options"] == ["0.0001", "0.01"]


def test_the_star_moves_with_the_slider(reference: Study, spec: dict[str, Any]) -> None:
    def place(position: int) -> str:
        (star,) = re.findall(r'transform="translate\(([^)]*)\)"[^>]*fill="#CC79A7"', drawn(spec, position=position))
        return str(star)

    choices = spec["datasets"]["choices"]
    positions = [choice["position"] for choice in choices if choice["shown"]]
    assert choices[positions[0]]["lr"] != choices[positions[-1]]["lr"]
    assert place(positions[0]) != place(positions[-1])


def test_a_delta_of_its_own_is_a_position_of_the_slider() -> None:
    assert allowed_losses(0.004) == sorted([*allowed_losses(0.002), 0.004])
    assert allowed_losses(0.002).count(0.002) == 1


# What the chart shows.


def test_good_rates_are_shaded_and_fresh_seeds_have_a_marker(reference: Study, spec: dict[str, Any]) -> None:
    svg = drawn(spec)
    assert len(re.findall('fill="#009E73"[^>]*opacity="0.15"', svg)) == len(reference.found.headline.stretches("good"))
    rows = spec["datasets"]["runs"]
    assert sum(row["look"] == FRESH for row in rows) == len(reference.fresh)
    assert len(rows) == len(reference.runs) + len(reference.fresh)


def test_three_rates_can_be_overlaid_by_accuracy_or_loss_against_epochs_or_seconds(spec: dict[str, Any]) -> None:
    first = params_of(spec)["rate"]["value"]
    chosen_rates = {"rate2": "0.00063", "rate3": "0.0063"}
    svgs = {
        (measure, by): drawn(spec, measure=measure, by=by, **chosen_rates)
        for measure in ("accuracy", "loss")
        for by in ("epochs", "seconds")
    }
    for (measure, by), svg in svgs.items():
        assert f"Validation {measure} against {by}" in texts(svg)
        assert {first, "0.00063", "0.0063"} <= set(texts(svg))
    assert len(set(svgs.values())) == 4
    assert "0.00063" not in texts(drawn(spec))


def test_without_a_measured_time_there_is_no_axis_of_seconds() -> None:
    runs, curves = tables_of(lambda lr, seed: {"seconds": math.nan}, [1e-3], num_seeds=1)
    assert run_rows(runs, curves, rate_names(runs["lr"]))[0]["seconds"] is None
    spec = spec_of(runs, curves)
    assert params_of(spec)["by"]["bind"]["options"] == ["epochs"]


def test_the_first_curves_are_of_the_rate_to_use(reference: Study, spec: dict[str, Any]) -> None:
    assert params_of(spec)["rate"]["value"] == decimal_rate(chosen(reference.found.headline)["lr"])


def test_a_list_offers_every_rate_of_the_study(reference: Study, spec: dict[str, Any]) -> None:
    rates = [decimal_rate(lr) for lr in sorted(reference.runs["lr"].unique())]
    assert params_of(spec)["rate"]["bind"]["options"] == rates
    assert params_of(spec)["rate2"]["bind"]["options"] == ["none", *rates]


def test_rates_that_would_have_the_same_text_have_all_their_digits() -> None:
    assert list(rate_names(pd.Series([0.001, 0.0025])).values()) == ["0.001", "0.0025"]
    assert list(rate_names(pd.Series([0.00101, 0.00102])).values()) == ["0.00101", "0.00102"]
    assert len(set(rate_names([1e-3, 0.1 + 0.2, 0.3]).values())) == 3
    assert list(rate_names([10**-4.6, 2.5118864e-05]).values()) == ["2.5118864×10⁻⁵", "2.51188643×10⁻⁵"]


def test_each_status_has_its_marker_and_failed_runs_are_left_out() -> None:
    outcomes: list[dict[str, Any]] = [
        {},
        {"learned": False},
        {"status": "diverged", "learned": False, "valid_accuracy": math.nan, "test_accuracy": math.nan},
        {"status": "diverged"},
        {"status": "failed", "learned": False, "valid_accuracy": math.nan},
    ]
    runs, curves = tables_of(lambda lr, seed: outcomes[seed], [1e-3], num_seeds=5)
    rows = run_rows(runs, curves, rate_names(runs["lr"]))
    assert [row["status"] for row in rows] == ["ok", "at chance", "diverged", "diverged"]
    assert {row["status"] for row in rows} | {FRESH} == set(LOOKS)
    assert (rows[2]["valid"], rows[2]["test"], rows[2]["e"], rows[2]["best"]) == (None, None, [], None)
    ok = runs.assign(status="ok", learned=True, valid_accuracy=0.9, test_accuracy=0.9)
    num_crosses, in_legend = (drawn(spec_of(each, curves)).lower().count(LOOKS["diverged"][1].lower()) for each in (runs, ok))
    assert num_crosses > in_legend


def test_no_loss_is_given_if_no_rate_learned_on_every_seed() -> None:
    def outcome(lr: float, seed: int) -> dict[str, Any]:
        return {} if seed else {"learned": False, "test_accuracy": 0.1}

    choices = spec_of(*tables_of(outcome, [1e-3, 1e-2], num_seeds=4))["datasets"]["choices"]
    assert all("It loses" not in choice["why"] and "nan" not in choice["why"] for choice in choices)
    assert all("It reaches " in choice["why"] for choice in choices)


def test_the_settings_of_a_run_repeat_it_exactly(reference: Study, spec: dict[str, Any]) -> None:
    rows = spec["datasets"]["runs"]
    assert {row["lr"] for row in rows} == {*reference.runs["lr"], *reference.fresh["lr"]}  # all digits
    assert {row["id"] for row in rows} == {*reference.runs["run_id"], *reference.fresh["run_id"]}
    assert spec["usermeta"]["command"].startswith("lrsweep")


def test_a_network_of_a_program_has_settings_but_no_command() -> None:
    runs, curves = tables_of(lambda lr, seed: {"model.target": "__main__:Net"}, [1e-3], num_seeds=1)
    command = spec_of(runs, curves)["usermeta"]["command"]
    assert "__main__:Net" in command
    assert "lrsweep" not in command


# The size of the data.


@given(st.lists(st.floats(0, 1), min_size=1, max_size=1000), st.integers(3, 80))
def test_thinning_keeps_the_first_best_and_last_point(accuracies: list[float], max_points: int) -> None:
    kept = thin_curve(accuracies, max_points)
    assert kept == sorted(set(kept))
    assert len(kept) == len(accuracies) if len(accuracies) <= max_points else len(kept) <= max_points
    assert {0, int(np.argmax(accuracies)), len(accuracies) - 1} <= set(kept)


def test_a_long_curve_is_thinned_and_keeps_its_best_epoch() -> None:
    runs, curves = tables_of(lambda lr, seed: {}, [1e-3], num_seeds=1, num_epochs=700)
    curves = curves.assign(valid_accuracy=np.where(curves["epoch"] == 333, 0.99, 0.5))
    (row,) = run_rows(runs, curves, rate_names(runs["lr"]))
    assert len(row["e"]) == len(row["v"]) == len(row["l"]) <= MAX_POINTS
    assert row["best"] == 333
    assert row["v"][row["e"].index(333)] == 0.99


def test_the_chart_of_1000_runs_is_below_2_megabytes() -> None:
    noise = np.random.default_rng(0)
    rates = [10 ** (-6 + i / 10) for i in range(46)]
    runs, curves = tables_of(lambda lr, seed: {"valid_accuracy": noise.uniform(0.1, 1)}, rates, 22, num_epochs=50)
    scores = {name: noise.uniform(0, 1, len(curves)) for name in ("valid_accuracy", "valid_loss")}
    spec = spec_of(runs, curves.assign(**scores))
    assert len(spec["datasets"]["runs"]) == 1012
    assert len(json.dumps(spec, separators=(",", ":"))) < 2_000_000
