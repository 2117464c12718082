"""Contrasts, checked by simulations with a known answer, closed forms and scipy's own tests."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lrsweep.analysis.block_design import BlockDesign
from lrsweep.analysis.contrasts import Effect, difference, shape, share, share_tested, suggestions
from lrsweep.analysis.study import NoSuchRuns, Study

RATES = 10 ** np.array([-3.0, -2.5, -2.0])
HILL = np.array([-0.03, 0.0, -0.03])
ARMS = ["sigmoid", "tanh", "relu", "leaky_relu", "elu"]  # activations


def study_of(accuracy_SAR: Any, rates: Any = RATES) -> Study:
    """A study with these validation and test accuracies: S seeds, A arms, R rates."""
    accuracy = np.asarray(accuracy_SAR, dtype=float)
    cells = [(seed, name, lr) for seed in range(len(accuracy)) for name in ARMS[: accuracy.shape[1]] for lr in rates]
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
    runs = runs.assign(**{"training.patience": "null", "data.num_valid": 5000})
    epochs = [
        pd.DataFrame({"run_id": runs["run_id"], "epoch": epoch, "train_loss": 1 / epoch, "valid_loss": 1 / epoch}).assign(
            train_accuracy=runs["test_accuracy"] + 0.01, valid_accuracy=runs["valid_accuracy"] * epoch / 2
        )
        for epoch in (1, 2)
    ]
    return Study("made", runs, pd.concat(epochs), pd.DataFrame())


def noisy(rng: np.random.Generator, gains: Any, num_seeds: int = 3, sd: float = 0.002) -> Study:
    """Arms that differ by `gains`, with noise per seed and per run."""
    gains_A = np.asarray(gains)
    seeds = rng.normal(0, 0.01, (num_seeds, 1, 1))
    return study_of(0.9 + gains_A[None, :, None] + HILL + seeds + rng.normal(0, sd, (num_seeds, len(gains_A), 3)))


def arm(name: str, **more: Any) -> dict[str, Any]:
    return {"model.activation": name} | more


def compared(study: Study, level: float = 0.05, **settings: Any) -> Effect:
    """The result of `difference`. By default: the test accuracy of tanh minus that of sigmoid."""
    return difference(study, level, **{"metric": "test_accuracy", "arms": [arm("tanh")], "against": [arm("sigmoid")]} | settings)


def test_for_two_arms_at_one_rate_it_is_the_paired_t_test() -> None:
    accuracy = np.random.default_rng(1).normal(0.9, 0.01, (6, 2, 1))
    effect = compared(study_of(accuracy, rates=[1e-3]))
    expected = stats.ttest_rel(accuracy[:, 1, 0], accuracy[:, 0, 0])
    interval = expected.confidence_interval(0.95)
    assert (effect.p_value, effect.low, effect.high) == pytest.approx((expected.pvalue, interval.low, interval.high))


def test_the_pooled_variance_is_the_residual_variance_of_the_two_way_layout() -> None:
    accuracy_SA = np.random.default_rng(2).normal(0.9, 0.001, (4, 3))
    effect = compared(study_of(accuracy_SA[:, :, None], rates=[1e-3]))
    residuals = accuracy_SA - accuracy_SA.mean(axis=0) - accuracy_SA.mean(axis=1, keepdims=True) + accuracy_SA.mean()
    standard_error = math.sqrt((residuals**2).sum() / 6 * 2 / 4)  # 3 × 2 degrees of freedom; two means of 4 seeds
    assert effect.high - effect.effect == pytest.approx(stats.t.ppf(0.975, 6) * standard_error)
    assert effect.effect == pytest.approx(accuracy_SA[:, 1].mean() - accuracy_SA[:, 0].mean())


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_their_level_although_each_arm_chose_its_rate() -> None:
    rng = np.random.default_rng(3)
    covered = [(effect := compared(noisy(rng, [0.0, 0.004, 0.001]))).low <= 0.004 <= effect.high for _ in range(60)]
    assert np.mean(covered) >= 0.88  # 95 %, minus the chance variation of 60 studies


@pytest.mark.slow
def test_if_all_rates_are_equally_good_choosing_one_favours_no_arm() -> None:
    """The hardest case, because the chosen rate is the luckiest one."""
    rng = np.random.default_rng(4)
    wrong = []
    for _ in range(60):
        effect = compared(study_of(0.9 + rng.normal(0, 0.01, (3, 1, 1)) + rng.normal(0, 0.002, (3, 3, 3))))
        wrong.append(effect.low > 0 or effect.high < 0)
    assert np.mean(wrong) <= 0.125


@pytest.mark.slow
@pytest.mark.parametrize("reduce", ["all", "any"])
def test_the_best_of_several_equal_arms_is_claimed_no_more_often_than_the_level(reduce: Any) -> None:
    rng = np.random.default_rng(5)
    several, one = [arm(name) for name in ARMS[1:]], [arm("sigmoid")]
    sides = {"arms": one, "against": several} if reduce == "all" else {"arms": several, "against": one}
    claimed = [compared(noisy(rng, [0.0] * 5), reduce=reduce, **sides).low > 0 for _ in range(40)]
    assert np.mean(claimed) <= 0.1


def test_a_large_effect_is_found() -> None:
    rng = np.random.default_rng(6)
    assert np.mean([compared(noisy(rng, [0.0, 0.01, 0.0, 0.0])).low > 0 for _ in range(20)]) >= 0.9


def test_an_arm_that_varies_far_more_does_not_widen_other_comparisons() -> None:
    rng = np.random.default_rng(7)
    accuracy = 0.9 + HILL + rng.normal(0, 0.001, (3, 4, 3))
    accuracy[:, 3] += rng.normal(0, 0.05, (3, 3))
    study = study_of(accuracy)
    _, _, columns = BlockDesign(study, "test_accuracy").pooled
    assert {name for name, _ in columns} == {"sigmoid", "tanh", "relu"}
    assert compared(study).high - compared(study).low < 0.02


def test_less_is_more_with_the_opposite_sign() -> None:
    study = noisy(np.random.default_rng(8), [0.0, 0.01])
    more, less = compared(study), compared(study, direction="less")
    assert (less.effect, less.low, less.high) == pytest.approx((-more.effect, -more.high, -more.low))


def test_the_mean_of_several_arms_can_be_compared() -> None:
    study = study_of(0.8 + np.array([0.0, 0.02, 0.04])[None, :, None] + HILL + np.zeros((3, 1, 1)))
    assert compared(study, arms=[arm("tanh"), arm("relu")]).effect == pytest.approx(0.03)


def test_the_rate_is_chosen_by_validation_accuracy_and_reported_by_test_accuracy() -> None:
    accuracy = np.tile([0.9, 0.8, 0.7], (3, 2, 1)).astype(float)
    study = study_of(accuracy)
    study.runs["valid_accuracy"] = accuracy[:, :, ::-1].ravel()
    assert "10^-2, the highest tried: 70.00%" in compared(study).detail


def test_beyond_the_edge_of_the_grid_accuracy_might_rise_as_much_as_in_the_last_step() -> None:
    accuracy = np.stack([0.9 + HILL, np.array([0.8, 0.85, 0.88])])[None].repeat(3, axis=0)
    effect = compared(study_of(accuracy))
    assert (effect.reach_low, effect.reach_high) == pytest.approx((0.0, 0.03))


@pytest.mark.parametrize(("exponents", "slope"), [((-3.0, -2.5, -2.0), 0.5), ((-2.5, -2.5, -2.5), 0.0)])
def test_the_slope_of_the_best_rate(exponents: tuple[float, ...], slope: float) -> None:
    """The setting grows tenfold from arm to arm, the best rate by half a decade."""
    rates = 10 ** np.arange(-4.0, -0.9, 0.5)
    study = study_of([[0.9 - 0.05 * (np.log10(rates) - best) ** 2 for best in exponents]] * 3, rates=rates)
    study.runs["training.batch_size"] = study.runs["model.activation"].map({"sigmoid": 10, "tanh": 100, "relu": 1000})
    arms = [arm(name) for name in ARMS[:3]]
    effect = compared(study, metric="best_rate", reduce="slope", over="training.batch_size", arms=arms, against=[])
    assert effect.effect == pytest.approx(slope, abs=1e-9)
    assert effect.high - effect.effect == pytest.approx(0.25)  # all seeds agree, but best rates are known to half a step only


def test_fewer_than_three_seeds_are_a_doubt_and_one_seed_has_no_interval() -> None:
    two, one = (compared(noisy(np.random.default_rng(9), [0.0, 0.01], num_seeds=n)) for n in (2, 1))
    assert two.doubts == ("2 seeds; 3 at least are needed",)
    assert math.isfinite(one.effect)
    assert np.isnan([one.low, one.high, one.p_value]).all()


def test_missing_runs_are_a_doubt() -> None:
    study = noisy(np.random.default_rng(10), [0.0, 0.01])
    assert compared(replace(study, num_missing=6)).doubts == ("18 of 24 runs",)


def test_a_seed_that_one_arm_lacks_is_left_out() -> None:
    study = noisy(np.random.default_rng(11), [0.0, 0.01, 0.0], num_seeds=4)
    is_missing = (study.runs["model.activation"] == "tanh") & (study.runs["seed"] == 3)
    assert compared(replace(study, runs=study.runs[~is_missing])).num_seeds == 3


@pytest.mark.parametrize("asked", [arm("gelu"), {"model.nothing": 1}, arm("tanh", at=-5), arm("tanh", at=[-9, -8])])
def test_arms_and_rates_that_the_study_lacks_are_an_error(asked: dict[str, Any]) -> None:
    with pytest.raises(NoSuchRuns, match="no runs"):
        compared(noisy(np.random.default_rng(12), [0.0, 0.01]), arms=[asked])


def test_the_gap_is_training_accuracy_at_the_best_epoch_minus_test_accuracy() -> None:
    study = noisy(np.random.default_rng(13), [0.0, 0.01])
    assert BlockDesign(study, "gap").table.to_numpy() == pytest.approx(0.01)


def test_a_share_has_an_exact_interval() -> None:
    study = noisy(np.random.default_rng(14), [0.0])
    study.runs["learned"] = study.runs["lr"] < 5e-3
    effect = share(study, 0.01, of="at chance", beyond=0.5)
    low, high = stats.beta.ppf(0.005, 3, 7), stats.beta.ppf(0.995, 4, 6)  # Clopper and Pearson's closed form
    assert (effect.effect, effect.low, effect.high) == pytest.approx((1 / 3, low, high))
    assert effect.p_value == pytest.approx(2 * stats.binom.cdf(3, 9, 0.5))
    assert share(study, 0.01, of="at chance", arm={"at": [-2.1, -1.9]}).effect == 1.0


@given(total=st.integers(1, 60), part=st.floats(0, 1), level=st.floats(0.001, 0.2), beyond=st.floats(0.02, 0.98))
def test_the_p_value_and_the_interval_of_a_share_always_agree(total: int, part: float, level: float, beyond: float) -> None:
    low, high, p_value = share_tested(round(part * total), total, level, beyond)
    assume(abs(p_value / level - 1) > 1e-6)  # the interval is computed by iteration
    assert (p_value < level) == (not low <= beyond <= high)


@pytest.mark.parametrize("truth", [0.03, 0.2, 0.5])
def test_the_interval_of_a_share_misses_the_truth_no_more_often_than_its_level(truth: float) -> None:
    probabilities = stats.binom.pmf(range(13), 12, truth)
    intervals = [share_tested(num, 12, 0.05, truth)[:2] for num in range(13)]
    missed = sum(p for p, (low, high) in zip(probabilities, intervals, strict=True) if not low <= truth <= high)
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
def test_properties_of_schedules(schedule: dict[str, Any], shows: str, low: float, high: float, holds: bool) -> None:
    assert (shape(schedule=schedule, shows=shows, low=low, high=high).effect >= -1e-9) == holds


def test_suggestions_are_compared_with_the_best_range_of_the_sweep() -> None:
    study = noisy(np.random.default_rng(15), [0.0])  # the best rate is 10^-2.5, and the range reaches half a step to either side
    rows = [("valley", 0, 3e-3), ("valley", 1, 3e-2), ("steepest", 0, math.nan), ("steepest", 1, 4e-3)]
    table = pd.DataFrame(rows, columns=["rule", "seed", "lr"])
    assert suggestions(table, study, 0.05).effect == 0.5  # no suggestion counts as a miss
    assert suggestions(table, study, 0.05, rules=["valley"]).num_runs == 2
    with pytest.raises(NoSuchRuns, match="finder"):
        suggestions(table, study, 0.05, rules=["cyclic"])
