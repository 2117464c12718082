"""Contrasts, checked by simulations with a known answer, closed forms and scipy's own tests."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_study import HILL, RATES, confirmed, evidence_of, make_study
from scipy import stats

from lrsweep.analysis.contrasts import difference, edge
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.verdicts import Effect, judge

ACCURACY_OF_ONE_ARM = 0.9 + HILL + np.zeros((3, 1, 1))
ACTIVATIONS = ["sigmoid", "tanh", "relu", "leaky_relu", "elu"]


def arm(name: str, **more: Any) -> dict[str, Any]:
    return {"model.activation": name} | more


def study_of(accuracy_SAR: Any, rates: Any = RATES, **more: Any) -> Study:
    accuracy = np.asarray(accuracy_SAR)
    return make_study(accuracy, [arm(name) for name in ACTIVATIONS[: accuracy.shape[1]]], rates, **more)


def noisy(rng: np.random.Generator, gains: Any, num_seeds: int = 5, sd: float = 0.002, **more: Any) -> Study:
    """Arms that differ by `gains`, with noise per seed and per run."""
    gains_A = np.asarray(gains)
    seeds = rng.normal(0, 0.01, (num_seeds, 1, 1))
    return study_of(0.9 + gains_A[None, :, None] + HILL + seeds + rng.normal(0, sd, (num_seeds, len(gains_A), 3)), **more)


def compared(*studies: Study, level: float = 0.05, **settings: Any) -> Effect:
    """The result of `difference`. By default: the test accuracy of tanh minus that of sigmoid."""
    defaults = {"study": studies[-1].name, "metric": "test_accuracy", "arms": [arm("tanh")], "against": [arm("sigmoid")]}
    return difference(evidence_of(*studies), level, **defaults | settings)


def test_the_difference_of_two_arms_is_the_paired_t_test() -> None:
    accuracy = np.random.default_rng(1).normal(0.9, 0.01, (6, 2, 1))
    effect = compared(study_of(accuracy, rates=[1e-3]))
    expected = stats.ttest_rel(accuracy[:, 1, 0], accuracy[:, 0, 0])
    interval = expected.confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))
    assert (effect.num_seeds, effect.num_runs) == (6, 12)


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [5, 20])
def test_equal_tuned_arms_are_called_different_no_more_often_than_the_level(num_seeds: int) -> None:
    """All rates are equally good, so an arm's best rate was only lucky. On fresh seeds, the luck is gone."""
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(40):
        tuning, fresh = (study_of(0.9 + rng.normal(0, 0.002, (num, 2, 3))) for num in (2, num_seeds))
        effect = compared(*confirmed(tuning, fresh))
        wrong += judge(effect, 0.0) != "open"
    assert wrong <= stats.binom.isf(1e-3, 40, 0.05)


def test_on_fresh_seeds_each_arm_is_judged_at_the_rate_that_the_study_chose() -> None:
    tuning = study_of(0.9 + np.array([[0.02, 0.0, 0.0], [0.0, 0.0, 0.02]]) + np.zeros((2, 1, 1)))
    fresh = study_of(0.9 + np.array([[0.0, 0.05, 0.05], [0.05, 0.05, 0.01]]) + np.zeros((3, 1, 1)), first_seed=1000)
    effect = compared(*confirmed(tuning, fresh))
    assert effect.effect == pytest.approx(0.01)
    assert effect.num_runs == 6
    assert len(effect.caveats) == 2
    assert all("the " in caveat and "tried" in caveat for caveat in effect.caveats)


def test_without_the_study_nothing_was_measured() -> None:
    with pytest.raises(NoSuchRuns, match="not measured yet"):
        difference(evidence_of(), 0.05, study="made", metric="test_accuracy", arms=[{}])


@pytest.mark.parametrize(
    ("reduce", "gains", "effect"),
    [
        ("mean", (0.0, 0.01, 0.02, 0.06), 0.03),
        ("all", (0.0, 0.01, 0.02, 0.06), 0.01),
        ("any", (0.0, 0.01, 0.02, 0.06), 0.06),
        ("most", (0.0, 0.01, 0.02, 0.06), 0.02),  # two of the three arms gain at least 0.02
        ("most", (0.0, -0.01, 0.01, 0.02, 0.06), 0.01),  # three of the four arms gain at least 0.01
    ],
)
def test_several_arms_become_one_effect(reduce: str, gains: Any, effect: float) -> None:
    study = study_of(0.9 + np.array(gains)[None, :, None] + HILL + np.zeros((3, 1, 1)))
    several = [arm(name) for name in ACTIVATIONS[1 : len(gains)]]
    found = compared(study, arms=several, against=[arm("sigmoid")], reduce=reduce)
    assert found.effect == pytest.approx(effect)
    assert len(found.parts) == (0 if reduce == "mean" else len(several))


@pytest.mark.slow
@pytest.mark.parametrize("reduce", ["all", "any", "most"])
def test_the_best_of_several_equal_arms_is_claimed_no_more_often_than_the_level(reduce: Any) -> None:
    rng, num = np.random.default_rng(5), 40
    several, one = [arm(name) for name in ACTIVATIONS[1:]], [arm("sigmoid")]
    sides = {"arms": one, "against": several} if reduce == "all" else {"arms": several, "against": one}
    claimed = sum(compared(noisy(rng, [0.0] * 5), reduce=reduce, **sides).low > 0 for _ in range(num))
    assert claimed <= stats.binom.isf(1e-3, num, 0.025)


def test_arms_are_compared_within_their_own_study_and_seeds() -> None:
    other = noisy(np.random.default_rng(6), [0.0, 0.05], name="other", first_seed=100)
    study = noisy(np.random.default_rng(7), [0.0, 0.01])
    effect = compared(
        other,
        study,
        arms=[arm("tanh"), arm("tanh", study="other")],
        against=[arm("sigmoid"), arm("sigmoid", study="other")],
        reduce="any",
    )
    assert [name for name, _ in effect.parts] == ["tanh against sigmoid", "tanh against sigmoid (other)"]
    assert effect.effect == pytest.approx(0.05, abs=0.005)


def test_two_studies_can_be_compared_on_the_seeds_that_they_share() -> None:
    other = noisy(np.random.default_rng(8), [0.0, 0.05], num_seeds=4, name="other")
    study = noisy(np.random.default_rng(8), [0.0, 0.01])
    assert compared(other, study, against=[arm("sigmoid", study="other")]).num_seeds == 4


def test_the_means_are_those_of_the_seeds_that_the_effect_compares() -> None:
    other = study_of(np.repeat([0.6, 0.7, 0.8, 0.9], 2).reshape(4, 2, 1), [1e-3], name="other")
    study = study_of(np.full((2, 2, 1), 0.9), [1e-3])
    effect = compared(other, study, against=[arm("sigmoid", study="other")])
    assert (effect.num_seeds, effect.effect) == (2, pytest.approx(0.25))
    assert effect.detail.endswith(": 65.00%")
    assert ": 90.00%; " in effect.detail


def with_failed_run(name: str) -> Study:
    """relu is half a point ahead of sigmoid and tanh, but one run of `name` has failed."""
    accuracy_SA = np.random.default_rng(21).normal([0.9, 0.9, 0.905], 0.001, (20, 3))
    accuracy_SA[4, ACTIVATIONS.index(name)] = 0.1
    return study_of(accuracy_SA[:, :, None], [1e-3])


AHEAD_OF_ALL: dict[str, Any] = {"arms": [arm("relu")], "against": [arm("sigmoid"), arm("tanh")], "reduce": "all"}


def test_with_a_cap_one_failed_run_of_a_rival_does_not_hide_that_an_arm_is_ahead() -> None:
    study = with_failed_run("tanh")
    assert judge(compared(study, **AHEAD_OF_ALL), 0.002) == "open"
    effect = compared(study, **AHEAD_OF_ALL, cap=0.02)
    assert (judge(effect, 0.002), effect.effect) == ("holds", pytest.approx(0.005, abs=0.001))
    means = {name: part.effect for name, part in effect.parts}
    assert means["relu against tanh"] > 0.04  # the mean counts the failed run in full


def test_with_a_cap_a_failed_run_of_the_arm_itself_still_counts_against_it() -> None:
    assert judge(compared(with_failed_run("relu"), **AHEAD_OF_ALL, cap=0.02), 0.002) == "open"


@pytest.mark.parametrize("cap", [0.001, 0.02, math.inf])
def test_each_end_of_a_capped_interval_is_the_t_test_of_the_capped_differences(cap: float) -> None:
    accuracy = np.random.default_rng(22).normal(0.9, 0.01, (6, 2, 1))
    difference_S = accuracy[:, 1, 0] - accuracy[:, 0, 0]
    effect = compared(study_of(accuracy, rates=[1e-3]), cap=cap)
    low = stats.ttest_1samp(np.minimum(difference_S, cap), 0).confidence_interval(0.95).low
    high = stats.ttest_1samp(np.maximum(difference_S, -cap), 0).confidence_interval(0.95).high
    assert (effect.effect, effect.low, effect.high) == pytest.approx((difference_S.mean(), low, high))


def test_fresh_runs_decide_nothing_while_the_runs_that_chose_their_rates_are_incomplete() -> None:
    tuning, fresh = (noisy(np.random.default_rng(23), [0.0, 0.05], first_seed=seed) for seed in (0, 1000))
    fresh = confirmed(tuning, fresh)[1]
    unfinished = replace(fresh, tuning=replace(tuning, num_missing=2))
    assert compared(tuning, fresh).doubts == ()
    assert compared(tuning, unfinished).doubts == ("only 30 of 32 planned runs of made have finished",)


def test_a_large_effect_is_found() -> None:
    rng = np.random.default_rng(9)
    assert np.mean([compared(noisy(rng, [0.0, 0.01])).low > 0 for _ in range(20)]) >= 0.9


def test_less_is_more_with_the_opposite_sign() -> None:
    study = noisy(np.random.default_rng(10), [0.0, 0.01])
    more, less = compared(study), compared(study, direction="less")
    assert (less.effect, less.low, less.high) == pytest.approx((-more.effect, -more.high, -more.low))


def test_the_rate_is_chosen_by_validation_accuracy_and_reported_by_test_accuracy() -> None:
    accuracy = np.tile([0.7, 0.8, 0.9], (3, 2, 1))
    effect = compared(study_of(accuracy, test_SAR=accuracy[:, :, ::-1]))
    assert "0.01, the highest tried: 70.00%" in effect.detail


def test_good_rates_are_those_that_fresh_seeds_show_to_be_good() -> None:
    study = study_of(0.9 + HILL + np.zeros((3, 1, 1)))
    fresh = study_of(0.9 + np.array([0.001, 0.0, -0.05]) + np.random.default_rng(0).normal(0, 1e-4, (6, 1, 3)), first_seed=1000)
    effect = compared(*reversed(confirmed(study, fresh)), arms=[{"at": "good"}], against=[{}])
    assert effect.effect == pytest.approx(-0.015)  # the mean over 10^-3 and 10^-2.5
    only = compared(study, arms=[{"at": "good"}], against=[{}])  # without fresh seeds, the best rate
    assert only.effect == 0


@pytest.mark.parametrize(("exponents", "growth"), [((-3.0, -2.5, -2.0), 1.0), ((-2.5, -2.5, -2.5), 0.0)])
def test_the_slope_is_the_growth_from_the_smallest_to_the_largest_setting(exponents: tuple[float, ...], growth: float) -> None:
    rates = 10 ** np.arange(-4.0, -0.9, 0.5)
    batches = [{"training.batch_size": size} for size in (10, 100, 1000)]
    accuracy = [[0.9 - 0.01 * (np.log10(rates) - best) ** 2 for best in exponents]] * 3
    study = make_study(accuracy, batches, rates)
    effect = compared(study, metric="optimum", reduce="slope", over="training.batch_size", arms=batches, against=[])
    assert effect.effect == pytest.approx(growth, abs=1e-6)


def test_a_slope_needs_two_values() -> None:
    study = make_study(ACCURACY_OF_ONE_ARM, [{"training.batch_size": 10}])
    with pytest.raises(NoSuchRuns, match=r"only one value of training\.batch_size"):
        compared(study, reduce="slope", over="training.batch_size", arms=[{}], against=[])


def test_arms_that_acted_only_in_different_studies_cannot_be_paired() -> None:
    idle, acting = {"schedule.name": "step", "schedule.every": 10.0}, {"schedule.name": "cosine"}  # the run has 4 epochs
    one, two = (make_study(0.9 + HILL + np.zeros((3, 2, 1)), [arm, idle], name=name) for name, arm in (("a", {}), ("b", acting)))
    step = {"schedule.name": "step"}
    arms = [step | {"study": "a"}, acting | {"study": "b"}]
    against = [{"schedule.name": "constant", "study": "a"}, step | {"study": "b"}]
    with pytest.raises(NoSuchRuns, match="no two arms of the same study acted"):
        compared(one, two, arms=arms, against=against, reduce="all")


def test_an_arm_that_never_acted_gives_no_verdict() -> None:
    idle = {"schedule.name": "step", "schedule.every": 10.0}  # the run has 4 epochs
    study = make_study(0.9 + HILL + np.zeros((3, 2, 1)), [{}, idle])
    effect = compared(study, arms=[{"schedule.name": "step"}], against=[{"schedule.name": "constant"}])
    assert effect.doubts == ("step acted in 0% of its runs",)
    assert judge(effect, 0.002) == "open"


def test_one_of_several_arms_is_left_out_if_it_never_acted() -> None:
    settings = [{}, {"schedule.name": "step", "schedule.every": 10.0}, {"schedule.name": "cosine"}]
    study = make_study(0.9 + HILL + np.zeros((3, 3, 1)), settings)
    schedules = [{"schedule.name": "step"}, {"schedule.name": "cosine"}]
    effect = compared(study, arms=schedules, against=[{"schedule.name": "constant"}], reduce="any")
    assert not effect.doubts
    assert effect.caveats == ("left out, because it never acted: step",)


def test_fewer_than_three_seeds_are_a_doubt_and_one_seed_has_no_interval() -> None:
    two, one = (compared(noisy(np.random.default_rng(11), [0.0, 0.01], num_seeds=n)) for n in (2, 1))
    assert two.doubts == ("2 seeds; at least 3 are needed",)
    assert math.isfinite(one.effect)
    assert not np.isfinite([one.low, one.high]).any()


def test_missing_runs_are_a_doubt() -> None:
    study = noisy(np.random.default_rng(12), [0.0, 0.01], num_seeds=3)
    assert compared(replace(study, num_missing=6)).doubts == ("only 18 of 24 planned runs of made have finished",)


def test_times_cannot_be_compared_if_no_seed_was_timed() -> None:
    study = noisy(np.random.default_rng(16), [0.0, 0.01])
    study.runs["seconds"] = math.nan
    with pytest.raises(NoSuchRuns, match="no seed has seconds on both sides"):
        compared(study, metric="seconds")


def test_a_seed_that_one_arm_lacks_is_left_out() -> None:
    study = noisy(np.random.default_rng(13), [0.0, 0.01, 0.0])
    is_missing = (study.runs["model.activation"] == "tanh") & (study.runs["seed"] == 3)
    assert compared(replace(study, runs=study.runs[~is_missing])).num_seeds == 4


@pytest.mark.parametrize("asked", [arm("gelu"), {"model.nothing": 1}, arm("tanh", at=-5), arm("tanh", at=[-9, -8])])
def test_arms_and_rates_that_the_study_lacks_are_an_error(asked: dict[str, Any]) -> None:
    with pytest.raises(NoSuchRuns, match="no runs"):
        compared(noisy(np.random.default_rng(14), [0.0, 0.01]), arms=[asked])


def test_an_arm_whose_runs_all_failed_is_an_error_that_says_so() -> None:
    study = noisy(np.random.default_rng(15), [0.0, 0.01])
    failed = study.runs["model.activation"] == "tanh"
    study = replace(study, runs=study.runs.assign(status=np.where(failed, "failed", "ok")))
    for at in ("best", -3, "all"):
        with pytest.raises(NoSuchRuns, match="failed"):
            compared(study, arms=[arm("tanh", at=at)])


EXPONENTS = np.arange(-6.0, -1.4, 0.5)


def learning(starts: list[float], ends: list[float], settings: dict[str, Any]) -> Study:
    """One arm. Seed s learns at the rates from 10^starts[s] to 10^ends[s]."""
    learns = [[(start - 0.01 < EXPONENTS) & (end + 0.01 > EXPONENTS)] for start, end in zip(starts, ends, strict=True)]
    return make_study(np.where(learns, 0.9, 0.1), [settings], 10**EXPONENTS)


@pytest.mark.parametrize(("start", "above"), [(-5.0, -0.25), (-4.5, 0.25)])
def test_the_lower_edge_of_learning_lies_between_the_last_failure_and_the_first_success(start: float, above: float) -> None:
    study = learning([start] * 6, [-2.5] * 6, {})
    effect = edge(evidence_of(study), 0.05, study="made", arms=[{}], side="start", at=-5)
    assert effect.effect == pytest.approx(above)
    assert effect.low < above < effect.high


def test_the_upper_edge_is_measured_from_the_last_rate_tried() -> None:
    study = learning([-4.0] * 6, [-2.5, -2.5, -2.5, -2.0, -2.0, -2.0], {})
    effect = edge(evidence_of(study), 0.05, study="made", arms=[{}], side="end")
    assert effect.effect == pytest.approx(0.5)
    assert judge(effect, 0.0) == "holds"


def test_without_a_failure_there_is_no_edge() -> None:
    with pytest.raises(NoSuchRuns, match="edge of learning"):
        edge(evidence_of(learning([-4.0] * 4, [-1.0] * 4, {})), 0.05, study="made", arms=[{}], side="end")
