"""Which runs are repeated on fresh seeds."""

import math
from dataclasses import replace

import pytest
from made_runs import HALF_DECADES, study_of

from lrsweep.analysis.fresh import plan_fresh_runs

ADAM = {"optimizer.name": "adam"}


TWO = study_of(adam=[[0.5, 0.8, 0.9, 0.7], [0.5, 0.8, 0.8, 0.7]], sgd=[[0.1, 0.2, 0.3, 0.9]] * 2)


def test_each_arm_runs_at_its_best_rate() -> None:
    assert plan_fresh_runs(TWO, 0.0).rates == {"adam": [10**-2.0], "sgd": [10**-1.5]}


def test_rates_near_the_best_run_too() -> None:
    assert plan_fresh_runs(TWO, 0.5).rates == {"adam": HALF_DECADES[1:], "sgd": HALF_DECADES[2:]}


def test_a_best_rate_at_an_end_of_the_rates_is_named() -> None:
    text = "the best rate of sgd, 0.032, is the highest that was tried; a higher one may be better"
    assert plan_fresh_runs(TWO, 0.0).at_edge == [text]
    assert plan_fresh_runs(study_of(adam=[[0.9]]), 0.0).at_edge == ["base was tried at one rate only, 0.001"]


@pytest.mark.parametrize(("at", "rates"), [(-3, [10**-3.0, 10**-2.0]), (-2.7, [10**-2.7, 10**-2.0]), (-2, [10**-2.0])])
def test_an_arm_may_run_at_one_more_rate(at: float, rates: list[float]) -> None:
    assert plan_fresh_runs(TWO, 0.0, [ADAM | {"at": at}]).rates["adam"] == rates


def test_a_missing_run_does_not_hide_the_best_rate() -> None:
    whole = study_of(adam=[[0.5, 0.9, 0.8, 0.7]] * 5)
    is_missing = (whole.runs["seed"] == 2) & (whole.runs["lr"] == HALF_DECADES[1])
    assert plan_fresh_runs(replace(whole, runs=whole.runs[~is_missing]), 0.0).rates == {"adam": [HALF_DECADES[1]]}
    most_missing = (whole.runs["seed"] > 1) & (whole.runs["lr"] == HALF_DECADES[1])
    assert plan_fresh_runs(replace(whole, runs=whole.runs[~most_missing]), 0.0).rates == {"adam": [HALF_DECADES[2]]}


def test_a_rate_at_which_a_run_diverged_after_it_learned_is_not_chosen() -> None:
    """As in the report, which would otherwise have another best rate than the one that is confirmed."""
    whole = study_of(adam=[[0.5, 0.8, 0.9, 0.7]] * 3)
    late = (whole.runs["seed"] == 0) & (whole.runs["lr"] == HALF_DECADES[2])
    runs = whole.runs.assign(status=whole.runs["status"].mask(late, "diverged"))
    assert runs.loc[late, "learned"].all()
    assert plan_fresh_runs(replace(whole, runs=runs), 0.0).rates == {"adam": [HALF_DECADES[1]]}


def test_an_arm_without_a_best_rate_is_left_out_with_a_reason() -> None:
    failing = study_of(adam=[[math.nan] * 4] * 2, sgd=[[0.1, 0.9, 0.3, 0.2]] * 2)
    fresh = plan_fresh_runs(failing, 0.0, [{"optimizer.name": "rmsprop", "at": -3}])
    assert fresh.rates == {"sgd": [10**-2.5]}
    assert fresh.left_out == ["no run of adam was scored", "no runs of optimizer.name=rmsprop in made"]
