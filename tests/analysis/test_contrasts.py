"""Contrasts against simulations with a known answer, closed forms, and scipy's own tests."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lrsweep.analysis import contrasts
from lrsweep.analysis.block_design import BlockDesign
from lrsweep.analysis.contrasts import difference, shape, share, share_tested, suggestions
from lrsweep.analysis.study import NoSuchRuns, Study

RATES = 10 ** np.array([-3.0, -2.5, -2.0])
HILL = np.array([-0.03, 0.0, -0.03])


def study_of(accuracy_SAR: Any, rates: Any = RATES, **columns: Any) -> Study:
    """Arms are activations: accuracy of S seeds, A arms, R rates, on validation and test alike."""
    accuracy = np.asarray(accuracy_SAR, dtype=float)
    names = ["sigmoid", "tanh", "relu", "leaky_relu", "elu"][: accuracy.shape[1]]
    cells = [(seed, name, lr) for seed in range(len(accuracy)) for name in names for lr in rates]
    runs = pd.DataFrame(cells, columns=["seed", "model.activation", "lr"])
    runs = runs.assign(
        loss="cross_entropy",
        arm=runs["model.activation"],
        run_id=[f"run{i}" for i in range(len(runs))],
        valid_accuracy=accuracy.ravel(),
        test_accuracy=accuracy.ravel(),
        learned=True,
        status="ok",
        stop_reason="max_epochs",
        best_epoch=2,
        epochs=2,
        seconds=10.0,
    )
    runs = runs.assign(**{"training.patience": "null", "data.num_valid": 5000} | columns)
    rows = [
        {"run_id": row.run_id, "epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": row.test_accuracy + 0.01,
         "valid_loss": 1 / epoch, "valid_accuracy": row.valid_accuracy * epoch / 2}
        for row in runs.itertuples() for epoch in (1, 2)
    ]  # fmt: skip
    return Study("made", runs, pd.DataFrame(rows), pd.DataFrame())


def noisy(rng: np.random.Generator, gains: Any, num_seeds: int = 3, sd: float = 0.002) -> Study:
    gains_A = np.asarray(gains)
    seeds = rng.normal(0, 0.01, (num_seeds, 1, 1))
    return study_of(0.9 + gains_A[None, :, None] + HILL + seeds + rng.normal(0, sd, (num_seeds, len(gains_A), 3)))


def arm(name: str, **more: Any) -> dict[str, Any]:
    return {"model.activation": name} | more


def compared(study: Study, level: float = 0.05, **settings: Any) -> contrasts.Effect:
    settings = {"metric": "test_accuracy", "arms": [arm("tanh")], "against": [arm("sigmoid")]} | settings
    return difference(study, level, **settings)


def test_of_a_rate_each_and_two_arms_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    accuracy = rng.normal(0.9, 0.01, (6, 2, 1))
    found = compared(study_of(accuracy, rates=[1e-3]))
    theirs = stats.ttest_rel(accuracy[:, 1, 0], accuracy[:, 0, 0])
    interval = theirs.confidence_interval(0.95)
    assert (found.p_value, found.low, found.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))


def test_the_pooled_spread_is_of_the_two_way_layout() -> None:
    rng = np.random.default_rng(2)
    accuracy = rng.normal(0.9, 0.001, (4, 3, 1))
    found = compared(study_of(accuracy, rates=[1e-3]))
    table = accuracy[:, :, 0]
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    standard_error = math.sqrt((left**2).sum() / 6 * 2 / 4)  # 3 × 2 degrees of freedom; of two means of 4 seeds
    half = stats.t.ppf(0.975, 6) * standard_error
    assert found.high - found.effect == pytest.approx(half)
    assert found.effect == pytest.approx(table[:, 1].mean() - table[:, 0].mean())


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say_though_each_arm_chose_its_rate() -> None:
    rng = np.random.default_rng(3)
    covered = [(found := compared(noisy(rng, [0.0, 0.004, 0.001]))).low <= 0.004 <= found.high for _ in range(80)]
    assert np.mean(covered) >= 0.88  # 95 %, less what chance takes from 80


@pytest.mark.slow
def test_where_every_rate_is_as_good_choosing_favours_no_arm() -> None:
    """The hardest case: all rates tied, so that the chosen one is the luckiest."""
    rng = np.random.default_rng(4)
    wrong = []
    for _ in range(80):
        found = compared(study_of(0.9 + rng.normal(0, 0.01, (3, 1, 1)) + rng.normal(0, 0.002, (3, 3, 3))))
        wrong.append(found.low > 0 or found.high < 0)
    assert np.mean(wrong) <= 0.125


@pytest.mark.slow
@pytest.mark.parametrize("reduce", ["all", "any"])
def test_a_best_of_many_is_claimed_no_more_often_than_the_level_says(reduce: Any) -> None:
    rng = np.random.default_rng(5)
    names = ["tanh", "relu", "leaky_relu", "elu"]
    many, one = [arm(name) for name in names], [arm("sigmoid")]
    sides = {"arms": one, "against": many} if reduce == "all" else {"arms": many, "against": one}
    claimed = [compared(noisy(rng, [0.0] * 5), reduce=reduce, **sides).low > 0 for _ in range(60)]
    assert np.mean(claimed) <= 0.1


def test_a_large_effect_is_found() -> None:
    rng = np.random.default_rng(6)
    assert np.mean([compared(noisy(rng, [0.0, 0.01, 0.0, 0.0])).low > 0 for _ in range(30)]) >= 0.9


def test_an_arm_that_varies_far_more_spoils_no_other_comparison() -> None:
    rng = np.random.default_rng(7)
    accuracy = 0.9 + HILL + rng.normal(0, 0.001, (3, 4, 3))
    accuracy[:, 3] += rng.normal(0, 0.05, (3, 3))
    study = study_of(accuracy)
    _, _, kept = BlockDesign(study, "test_accuracy").pooled
    assert {name for name, _ in kept} == {"sigmoid", "tanh", "relu"}
    assert compared(study).high - compared(study).low < 0.02


def test_less_is_more_with_its_sign_turned() -> None:
    study = noisy(np.random.default_rng(8), [0.0, 0.01])
    more, less = compared(study), compared(study, direction="less")
    assert (less.effect, less.low, less.high) == pytest.approx((-more.effect, -more.high, -more.low))


def test_a_mean_of_arms_is_compared_with_a_mean_of_others() -> None:
    study = study_of(0.8 + np.array([0.0, 0.02, 0.04])[None, :, None] + HILL + np.zeros((3, 1, 1)))
    found = compared(study, arms=[arm("tanh"), arm("relu")])
    assert found.effect == pytest.approx(0.03)


def test_the_rate_is_chosen_on_validation_and_reported_on_the_test_set() -> None:
    accuracy = np.tile([0.9, 0.8, 0.7], (3, 2, 1)).astype(float)
    study = study_of(accuracy)
    study.runs["valid_accuracy"] = accuracy[:, :, ::-1].ravel()
    assert "10^-2, the highest tried: 70.00%" in compared(study).detail


def test_at_the_edge_another_step_might_gain_as_much_as_the_last_one() -> None:
    accuracy = np.stack([0.9 + HILL, np.array([0.8, 0.85, 0.88])])[None].repeat(3, axis=0)
    found = compared(study_of(accuracy))
    assert (found.reach_low, found.reach_high) == pytest.approx((0.0, 0.03))  # more accurate than seen, never less


@pytest.mark.parametrize(("exponents", "slope"), [((-3.0, -2.5, -2.0), 0.5), ((-2.5, -2.5, -2.5), 0.0)])
def test_the_slope_of_the_best_rate(exponents: tuple[float, ...], slope: float) -> None:
    """Arms whose setting doubles tenfold each; a best rate half a decade on is a slope of ½."""
    rates = 10 ** np.arange(-4.0, -0.9, 0.5)
    accuracy = [[0.9 - 0.05 * (np.log10(rates) - best) ** 2 for best in exponents]] * 3
    study = study_of(accuracy, rates=rates)
    study.runs["training.batch_size"] = study.runs["model.activation"].map({"sigmoid": 10, "tanh": 100, "relu": 1000})
    arms = [arm(name) for name in ("sigmoid", "tanh", "relu")]
    found = compared(study, metric="best_rate", reduce="slope", over="training.batch_size", arms=arms, against=[])
    assert found.effect == pytest.approx(slope, abs=1e-9)
    assert found.high - found.effect == pytest.approx(0.25)  # all seeds agree, but each best is known to half a step only


def test_fewer_than_three_seeds_are_doubted_and_one_has_no_interval() -> None:
    two, one = (compared(noisy(np.random.default_rng(9), [0.0, 0.01], num_seeds=n)) for n in (2, 1))
    assert two.doubts == ("2 seeds; 3 at least are needed",)
    assert math.isnan(one.low)
    assert one.effect == one.effect
    assert math.isnan(one.p_value)


def test_missing_runs_are_doubted() -> None:
    study = noisy(np.random.default_rng(10), [0.0, 0.01])
    some = Study("made", study.runs, study.curves, study.class_counts, num_missing=6)
    assert compared(some).doubts == ("18 of 24 runs",)


def test_a_seed_that_one_arm_lacks_is_left_out() -> None:
    study = noisy(np.random.default_rng(11), [0.0, 0.01, 0.0], num_seeds=4)
    lacks = (study.runs["model.activation"] == "tanh") & (study.runs["seed"] == 3)
    some = Study("made", study.runs[~lacks], study.curves, study.class_counts)
    assert compared(some).num_seeds == 3


@pytest.mark.parametrize("asked", [arm("gelu"), {"model.nothing": 1}, arm("tanh", at=-5), arm("tanh", at=[-9, -8])])
def test_what_is_not_there_is_said(asked: dict[str, Any]) -> None:
    with pytest.raises(NoSuchRuns, match="no runs"):
        compared(noisy(np.random.default_rng(12), [0.0, 0.01]), arms=[asked])


def test_the_gap_is_training_less_test_accuracy_at_the_best_epoch() -> None:
    study = noisy(np.random.default_rng(13), [0.0, 0.01])
    assert BlockDesign(study, "gap").table.to_numpy() == pytest.approx(0.01)


def test_a_share_has_an_exact_interval() -> None:
    study = noisy(np.random.default_rng(14), [0.0])
    study.runs["learned"] = study.runs["lr"] < 5e-3
    found = share(study, 0.01, of="at chance", beyond=0.5)
    low, high = stats.beta.ppf(0.005, 3, 7), stats.beta.ppf(0.995, 4, 6)  # the binomial's ends in closed form
    assert (found.effect, found.low, found.high) == pytest.approx((1 / 3, low, high))
    assert found.p_value == pytest.approx(2 * stats.binom.cdf(3, 9, 0.5))
    assert share(study, 0.01, of="at chance", arm={"at": [-2.1, -1.9]}).effect == 1.0


@given(of=st.integers(1, 60), part=st.floats(0, 1), level=st.floats(0.001, 0.2), beyond=st.floats(0.02, 0.98))
def test_a_shares_p_value_and_interval_never_disagree(of: int, part: float, level: float, beyond: float) -> None:
    low, high, p_value = share_tested(round(part * of), of, level, beyond)
    assume(abs(p_value / level - 1) > 1e-6)  # the interval's ends are found by iteration
    assert (p_value < level) == (not low <= beyond <= high)


def test_a_shares_interval_misses_the_truth_no_more_often_than_it_says() -> None:
    for truth in (0.03, 0.2, 0.5):
        chances = stats.binom.pmf(range(13), 12, truth)
        found = [share_tested(num, 12, 0.05, truth) for num in range(13)]
        missed = sum(chance for chance, one in zip(chances, found, strict=True) if not one.low <= truth <= one.high)
        assert 0 < missed <= 0.05


@pytest.mark.parametrize(
    ("schedule", "shows", "low", "high", "holds"),
    [
        ({"name": "exponential", "every": 3.0}, "rate over the rate s steps later", 9.999, 10.001, True),
        ({"name": "power", "every": 3.0}, "rate over the rate s steps later", 9.999, 10.001, False),
        ({"name": "one_cycle"}, "last rate over the lowest", 1, 1, True),
        ({"name": "one_cycle"}, "share of the steps that rise", 0.4, 0.5, True),
        ({"name": "one_cycle_torch"}, "share of the steps that rise", 0.4, 0.5, False),
        ({"name": "one_cycle_torch"}, "steps that change their slope", 1, 4, False),
        ({"name": "triangular"}, "last rate over the lowest", 1, 1, False),
    ],
)
def test_shapes_are_told_apart(schedule: dict[str, Any], shows: str, low: float, high: float, holds: bool) -> None:
    assert (shape(schedule=schedule, shows=shows, low=low, high=high).effect >= -1e-9) == holds


def test_suggestions_are_scored_by_the_sweeps_best_range() -> None:
    study = noisy(np.random.default_rng(15), [0.0])  # best at 10^-2.5, half a step to either side
    rows = [("valley", 0, 3e-3), ("valley", 1, 3e-2), ("steepest", 0, math.nan), ("steepest", 1, 4e-3)]
    table = pd.DataFrame(rows, columns=["rule", "seed", "lr"])
    assert suggestions(table, study, 0.05).effect == 0.5  # one that gives none has not found it
    assert suggestions(table, study, 0.05, rules=["valley"]).num_runs == 2
    with pytest.raises(NoSuchRuns, match="finder"):
        suggestions(table, study, 0.05, rules=["cyclic"])
