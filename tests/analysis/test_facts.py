"""The blanks of document 003, shares of runs, the bound on balanced accuracy, and the shapes of schedules."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_study import evidence_of, make_study

from lrsweep.analysis.facts import balance, blank, shape, share
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.verdicts import judge
from lrsweep.storage.tables import DRAWN_BY

RATES = 10 ** np.array([-3.5, -3.0, -2.5, -2.0])
SAVED = " and saves 50% (95%: 50% to 50%) against 0.001, the rate with the highest validation accuracy"
LOSSES = np.array([0.01, 0.0, 0.0005, 0.03])  # of accuracy, at RATES


def study_of(sd: float, num_seeds: int = 10, **columns: Any) -> Study:
    noise = np.random.default_rng(0).normal(0, sd, (num_seeds, 1, 4))
    study = make_study(0.98 - LOSSES + noise - noise.mean(axis=0), rates=RATES)
    study.runs["epochs"] = study.runs["lr"].map(dict(zip(RATES, (80, 40, 20, 10), strict=True)))
    return study


def test_the_good_rates_fill_the_blank() -> None:
    effect = blank(evidence_of(study_of(2e-4)), 0.001, study="made", answer="range")
    assert effect.detail == "good: 0.001 to 0.0032; undecided: none; worse: 0.00032, 0.01"
    assert judge(effect, 0.002, costs_nothing=True) == "holds"
    assert not effect.caveats


def test_the_trade_off_is_the_good_rate_with_the_fewest_epochs() -> None:
    effect = blank(evidence_of(study_of(2e-4)), 0.001, study="made", answer="trade-off")
    assert effect.detail.startswith(f"0.0032 trains for 20 epochs{SAVED};")
    assert effect.effect == pytest.approx(-0.0005)


@pytest.mark.parametrize(
    ("timed", "saved"),
    [
        ([0, 1, 2], f" (4 runs were timed){SAVED};"),
        ([0, 1], " (3 runs were timed);"),
    ],
)
def test_a_saving_of_few_runs_has_no_interval(timed: list[int], saved: str) -> None:
    """Both rates were timed on the seeds in `timed`, and the good rate on seed 5 as well."""
    study = study_of(2e-4)
    runs = study.runs
    is_timed = runs["seed"].isin(timed) & runs["lr"].isin(RATES[1:3]) | runs["lr"].eq(RATES[2]) & runs["seed"].eq(5)
    runs["seconds"] = runs["epochs"].astype(float).where(is_timed)
    effect = blank(evidence_of(study), 0.001, study="made", answer="trade-off", by="seconds")
    assert effect.detail.startswith(f"0.0032 trains for 20 seconds{saved}")


def test_a_rate_that_is_cheaper_only_on_average_saves_nothing() -> None:
    """On one seed, the best rate takes very long; on all others, it takes fewer epochs."""
    study = study_of(2e-4)
    runs = study.runs
    runs["epochs"] = runs["epochs"].mask(runs["lr"].eq(RATES[1]), 15).mask(runs["lr"].eq(RATES[1]) & runs["seed"].eq(0), 200)
    effect = blank(evidence_of(study), 0.001, study="made", answer="trade-off")
    assert effect.detail.startswith("0.0032 trains for 20 epochs and saves nothing (95%: ")


def test_two_timed_runs_do_not_say_which_rate_is_the_fastest() -> None:
    study = study_of(2e-4)
    study.runs["seconds"] = study.runs["epochs"].astype(float).where(study.runs["seed"].isin([0, 1]))
    with pytest.raises(NoSuchRuns, match="no good rate has three timed runs"):
        blank(evidence_of(study), 0.001, study="made", answer="trade-off", by="seconds")


@pytest.mark.parametrize("answer", ["range", "trade-off"])
def test_too_much_noise_leaves_the_blank_open(answer: Any) -> None:
    effect = blank(evidence_of(study_of(0.01)), 0.001, study="made", answer=answer)
    assert "good: none" in effect.detail
    assert judge(effect, 0.002, costs_nothing=True) == "open"


def test_a_best_rate_at_an_end_of_the_rates_is_a_caveat() -> None:
    study = study_of(2e-4)
    inner = replace(study, runs=study.runs[study.runs["lr"] > 10**-3.2])
    (caveat,) = blank(evidence_of(inner), 0.001, study="made", answer="range").caveats
    assert caveat == "the good rates, or the best one, reach an end of the 3 rates of made"


def with_classes(counts: list[int]) -> Study:
    row = dict.fromkeys(DRAWN_BY, 0) | {"split": "test"} | {str(digit): count for digit, count in enumerate(counts)}
    return replace(study_of(0.0), class_counts=pd.DataFrame([row]))


def test_a_share_has_no_interval_because_the_runs_of_a_seed_are_alike() -> None:
    study = make_study(np.full((3, 1, 3), 0.9), rates=[1e-3, 1e-2, 1e-1])
    study.runs["learned"] = study.runs["lr"] > 5e-2
    effect = share(evidence_of(study), 0.01, study="made", of="learned")
    assert (effect.effect, effect.detail) == (pytest.approx(1 / 3), "3 of 9 runs")
    assert math.isnan(effect.low)
    assert share(evidence_of(study), 0.01, study="made", of="learned", arm={"at": [-1.1, -0.9]}).effect == 1.0


@pytest.mark.parametrize(
    ("counts", "bound"),
    [
        ([1000] * 10, 0.0),
        ([500, 1500, *[1000] * 8], 0.02),  # 200 errors, all in the class of 500: accuracy loses 0.02, balanced accuracy 0.04
    ],
)
def test_the_bound_on_balanced_accuracy_assumes_all_errors_in_one_class(counts: list[int], bound: float) -> None:
    effect = balance(evidence_of(with_classes(counts)), 0.001, study="made")
    assert effect.low == pytest.approx(-bound)


@pytest.mark.parametrize(
    ("schedule", "shows", "low", "high", "holds"),
    [
        ({"name": "exponential", "every": 3.0}, "rate over the rate s steps later", 10, 10, True),
        ({"name": "power", "every": 3.0}, "rate over the rate s steps later", 10, 10, False),
        ({"name": "one_cycle"}, "last rate over the lowest", 1, 1, True),
        ({"name": "one_cycle"}, "share of the steps that rise", 0.4, 0.5, True),
        ({"name": "one_cycle_torch"}, "share of the steps that rise", 0.4, 0.5, False),
        ({"name": "one_cycle_torch"}, "steps that change their slope", 1, 4, False),
        ({"name": "triangular"}, "last rate over the lowest", 1, 1, False),
    ],
)
def test_properties_of_schedules(schedule: dict[str, Any], shows: str, low: float, high: float, holds: bool) -> None:
    detail = shape(evidence_of(), 0.05, schedule=schedule, shows=shows, low=low, high=high).detail
    assert detail.endswith("the program's formula agrees" if holds else "the program's formula differs")
