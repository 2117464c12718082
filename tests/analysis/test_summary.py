"""lrsweep.analysis.summary: who has learned, what is compared, and what the runs of a rate came to."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lrsweep.analysis.summary import (
    BUSY_FROM,
    CHANCE_LEVEL,
    CONFIDENCE,
    busyness,
    share_interval,
    summarise,
    with_arms,
    with_chance,
    with_seconds,
)
from lrsweep.records import RunRecord
from lrsweep.storage import tables

MakeRecord = Callable[..., RunRecord]
MakeRuns = Callable[..., pd.DataFrame]
Array = np.ndarray[Any, np.dtype[np.float64]]

DOCUMENTED = dict(zip(tables.DRAWN_BY[1:], (0, 3000, 5000, 10_000), strict=True))
EVEN = [500] * 10
LARGEST_CLASS = 567  # of MNIST's 5,000 validation images of seed 0: the ones
UNEVEN = [LARGEST_CLASS, 433, *[500] * 8]


def class_counts(*valid: list[int]) -> pd.DataFrame:
    """The table of splits, a validation split a seed; a training split that must not matter comes along."""
    splits = [("valid", seed, counts) for seed, counts in enumerate(valid)]
    splits += [("train", seed, [1000] + [0] * 9) for seed in range(len(valid))]
    digits = [str(digit) for digit in range(10)]
    counts = pd.DataFrame([[seed, split, *counts] for split, seed, counts in splits], columns=["seed", "split", *digits])
    return counts.assign(**DOCUMENTED)


def scored(accuracies: list[float | None], seeds: list[int] | None = None) -> pd.DataFrame:
    seeds = seeds or [0] * len(accuracies)
    return pd.DataFrame({"seed": seeds, "valid_accuracy": pd.array(accuracies, dtype="float64")}).assign(**DOCUMENTED)


# with_chance: above what luck gives.


def test_a_constant_predictor_is_called_a_learner_no_more_often_than_the_chance_level() -> None:
    num_simulations = 20_000
    shares = np.array(UNEVEN) / sum(UNEVEN)
    validation_sets = np.random.default_rng(0).multinomial(sum(UNEVEN), shares, size=num_simulations)
    accuracies = validation_sets[:, 0] / sum(UNEVEN)  # of the predictor that always names the largest class
    called = with_chance(scored(accuracies.tolist()), class_counts(UNEVEN))["learned"].mean()
    four_standard_errors = 4 * math.sqrt(CHANCE_LEVEL * (1 - CHANCE_LEVEL) / num_simulations)
    assert called <= CHANCE_LEVEL + four_standard_errors
    assert called >= CHANCE_LEVEL / 2  # the level is used: a bound that nothing passes would be no test of learning


@pytest.mark.parametrize("largest", [10, 13, 19])
def test_learned_means_a_one_sided_p_value_of_at_most_the_chance_level(largest: int) -> None:
    num_images = 20
    share = largest / num_images
    every_accuracy = [k / num_images for k in range(num_images + 1)]
    runs = with_chance(scored(every_accuracy), class_counts([largest, num_images - largest, *[0] * 8]))
    for k, learned in enumerate(runs["learned"]):
        p_value = sum(math.comb(num_images, i) * share**i * (1 - share) ** (num_images - i) for i in range(k, num_images + 1))
        assert learned == (p_value <= CHANCE_LEVEL), k


@pytest.mark.parametrize(
    ("accuracy", "learned"),
    [(0.9, True), (0.2, True), (LARGEST_CLASS / 5000, False), (0.1, False), (0.0, False), (None, False)],
    ids=["good", "twice chance", "always the largest class", "guesses", "worse than chance", "no accuracy"],
)
def test_a_clear_learner_has_learned_and_a_guesser_or_an_unscored_run_has_not(accuracy: float | None, learned: bool) -> None:
    assert with_chance(scored([accuracy]), class_counts(UNEVEN))["learned"].tolist() == [learned]


def test_each_seed_is_held_against_its_own_split() -> None:
    half_is_one_class = [2500, 2500 - 8, *[1] * 8]
    runs = with_chance(scored([0.4, 0.4, 0.6], seeds=[0, 1, 1]), class_counts(EVEN, half_is_one_class))
    assert runs["learned"].tolist() == [True, False, True]


@pytest.mark.parametrize("setting", DOCUMENTED)
def test_each_drawing_is_held_against_its_own_split(setting: str) -> None:
    """The same seed draws another split for other sizes, and where it leaves out the first images."""
    half_is_one_class = [2500, 2500 - 8, *[1] * 8]
    other = {setting: 2500}
    counts = pd.concat([class_counts(EVEN), class_counts(half_is_one_class).assign(**other)])
    runs = pd.concat([scored([0.4]), scored([0.4, 0.6]).assign(**other)], ignore_index=True)
    assert with_chance(runs, counts)["learned"].tolist() == [True, False, True]


def test_runs_that_all_failed_leave_no_splits_and_have_not_learned(make_record: MakeRecord) -> None:
    runs = tables.to_frame([make_record(status="failed", seed=seed) for seed in (0, 1)])
    assert with_chance(runs, tables.class_counts_frame([]))["learned"].tolist() == [False, False]


# with_arms: what is compared.


@pytest.mark.parametrize(
    ("losses", "batch_sizes", "arms"),
    [
        (["cross_entropy"] * 2, [32, 32], ["cross_entropy"] * 2),
        (["cross_entropy", "double_softmax"], [32, 32], ["cross_entropy", "double_softmax"]),
        (["cross_entropy"] * 2, [32, 64], ["cross_entropy, training.batch_size=32", "cross_entropy, training.batch_size=64"]),
        (
            ["cross_entropy", "double_softmax"],
            [64, 32],
            ["cross_entropy, training.batch_size=64", "double_softmax, training.batch_size=32"],
        ),
    ],
    ids=["nothing differs", "the loss", "the batch size", "both"],
)
def test_an_arm_is_the_loss_and_each_setting_that_differs(
    make_record: MakeRecord, losses: list[str], batch_sizes: list[int], arms: list[str]
) -> None:
    runs = tables.to_frame([make_record(loss=loss) for loss in losses]).assign(**{"training.batch_size": batch_sizes})
    assert with_arms(runs)["arm"].tolist() == arms


def test_learning_rate_and_seed_make_no_arms(make_record: MakeRecord) -> None:
    runs = tables.to_frame([make_record(lr=lr, seed=seed) for lr in (1e-4, 1e-3) for seed in (0, 1)])
    assert set(with_arms(runs)["arm"]) == {"cross_entropy"}


# with_seconds: the time that rates are compared by.


def timed(*times: tuple[str | None, float, float]) -> pd.DataFrame:
    """Without a device: failed."""
    runs = pd.DataFrame(times, columns=["device", "wall_seconds", "cpu_seconds"])
    return runs.assign(status=np.where(runs["device"].isna(), "failed", "ok"), timing="measured")


@pytest.mark.parametrize(
    ("times", "ratio"),
    [
        ([("cpu", 3.0, 2.0)], 1.5),
        ([("cpu", 1.0, 1.0), ("cpu", 1.1, 1.0), ("cpu", 1.2, 1.0), ("cpu", 3.0, 2.0), ("cpu", 90.0, 1.0)], 1.5),
        ([("cuda", 90.0, 1.0), ("cpu", 3.0, 2.0)], 1.5),
        ([("cpu", math.nan, math.nan), ("cpu", 3.0, 2.0)], 1.5),
        ([("cuda", 90.0, 1.0)], math.nan),
        ([], math.nan),
    ],
    ids=["one run", "a quarter of the runs", "of those on a CPU", "of those measured", "none on a CPU", "no run"],
)
def test_busyness_is_wall_time_over_cpu_time(times: list[tuple[str, float, float]], ratio: float) -> None:
    assert busyness(timed(*times)) == pytest.approx(ratio, nan_ok=True)


@pytest.mark.parametrize(
    ("times", "time", "seconds"),
    [
        ([("cpu", 4.0, 4.0), ("cpu", 8.0, 7.9)], "wall", [4.0, 8.0]),
        ([("cpu", BUSY_FROM, 1.0)], "wall", [BUSY_FROM]),
        ([("cpu", 6.0, 4.0), ("cpu", 8.0, 5.0), ("cpu", 2.0, 2.0)], "cpu", [4.0, 5.0, 2.0]),
        ([("cpu", 6.0, 4.0), (None, math.nan, math.nan)], "cpu", [4.0, math.nan]),
        ([("cuda", 9.0, 4.0)], "wall", [9.0]),
        ([("cpu", 6.0, 4.0), ("cuda", 9.0, 4.0)], "wall", [6.0, 9.0]),
        ([("cuda", 9.0, 4.0), (None, math.nan, math.nan)], "wall", [9.0, math.nan]),
        ([("cpu", math.nan, math.nan)], "wall", [math.nan]),
    ],
    ids=[
        *("an idle machine", "just not busy", "a busy machine", "a busy machine and a failed run"),
        *("a GPU", "a GPU and a busy machine", "a GPU and a failed run", "nothing measured"),
    ],
)
def test_times_are_wall_times_unless_the_machine_was_busy(
    times: list[tuple[str | None, float, float]], time: str, seconds: list[float]
) -> None:
    """Of a GPU, CPU time says little: one run on it is enough to compare all of them by wall time."""
    runs = with_seconds(timed(*times))
    assert set(runs["time"]) == {time}
    assert runs["seconds"].tolist() == pytest.approx(seconds, nan_ok=True)


@pytest.mark.parametrize(
    ("timings", "time"),
    [
        (["calibrated", "calibrated"], "calibrated"),
        (["calibrated", "measured"], "mixed"),
        (["calibrated", None], "calibrated"),
        (["measured", None], "cpu"),
    ],
    ids=["trained together", "some of them", "and a failed run", "one by one"],
)
def test_calibrated_times_are_wall_times_and_are_called_what_they_are(timings: list[str | None], time: str) -> None:
    """However busy the machine: what the process took is not one run's."""
    runs = timed(*[("cpu", 9.0, 4.0) if timing else (None, math.nan, math.nan) for timing in timings])
    found = with_seconds(runs.assign(timing=[timing or "measured" for timing in timings]))
    assert set(found["time"]) == {time}
    assert found["seconds"][0] == (4.0 if time == "cpu" else 9.0)


# summarise: a row an arm and rate.


def summary_of(records: list[RunRecord]) -> pd.DataFrame:
    return summarise(with_arms(with_seconds(with_chance(tables.to_frame(records), class_counts(EVEN, EVEN)))))


def test_the_summary_is_what_one_works_out_by_hand(make_record: MakeRecord) -> None:
    curve = make_record().outcome.curve
    second = {"wall_seconds": 1.0, "cpu_seconds": 1.0}
    diverged_late = {"status": "diverged", "curve": curve[:1], "valid_accuracy": 0.4, "test_accuracy": 0.3} | second
    records = [
        make_record(lr=1e-3, seed=0, valid_accuracy=0.9, test_accuracy=0.88, wall_seconds=2.0, cpu_seconds=2.0),
        make_record(lr=1e-3, seed=1, valid_accuracy=0.8, test_accuracy=0.84, wall_seconds=5.0, cpu_seconds=5.0),
        make_record(lr=1e-2, seed=0, **diverged_late),
        make_record(lr=1e-2, seed=1, valid_accuracy=0.1, test_accuracy=0.1, wall_seconds=4.0, cpu_seconds=4.0),
        make_record(lr=1e-1, seed=0, status="diverged", wall_seconds=0.5, cpu_seconds=0.5),
        make_record(lr=1e-1, seed=1, status="failed"),
        make_record(lr=1e-2, loss="double_softmax", valid_accuracy=0.7, test_accuracy=0.6, wall_seconds=9.0, cpu_seconds=9.0),
    ]
    half = math.sqrt(2)  # the sample's standard deviation of two values is their distance over this
    nan = math.nan
    expected = pd.DataFrame(
        [
            ("cross_entropy", 1e-3, 2, 0.85, 0.1 / half, 0.86, 0.04 / half, 3.5, 2, 2, 0, 0),
            ("cross_entropy", 1e-2, 2, 0.25, 0.3 / half, 0.2, 0.2 / half, 2.5, 1, 1, 1, 0),
            ("cross_entropy", 1e-1, 2, nan, nan, nan, nan, 0.5, 0, 0, 1, 1),
            ("double_softmax", 1e-2, 1, 0.7, nan, 0.6, nan, 9.0, 1, 1, 0, 0),
        ],
        columns=[
            *("arm", "lr", "num_runs", "valid_mean", "valid_sd", "test_mean", "test_sd", "seconds_median"),
            *("num_learned", "num_ok", "num_diverged", "num_failed"),
        ],
    )
    summary = summary_of(records[::-1])
    pd.testing.assert_frame_equal(summary[expected.columns.tolist()], expected, check_dtype=False)
    assert set(summary["time"]) == {"wall"}
    assert summary["epochs_median"].tolist()[:2] == [3, 2]  # of 3 and 3; of 1 and 3


def test_a_failed_run_adds_nothing_to_the_costs(make_record: MakeRecord) -> None:
    summary = summary_of([make_record(seed=0, wall_seconds=3.3), make_record(seed=1, status="failed")])
    assert summary["seconds_median"].tolist() == [3.3]
    assert summary["epochs_median"].tolist() == [3]


def test_one_seed_has_no_spread(make_record: MakeRecord) -> None:
    summary = summary_of([make_record(lr=lr) for lr in (1e-4, 1e-3)])
    assert summary[["valid_sd", "test_sd"]].isna().all(axis=None)
    assert summary["valid_mean"].tolist() == [0.6, 0.6]


def test_a_summary_of_failures_has_their_counts_and_no_accuracy(make_record: MakeRecord) -> None:
    summary = summary_of([make_record(lr=lr, status="failed") for lr in (1e-3, 1e-4)])
    assert summary["lr"].tolist() == [1e-4, 1e-3]
    assert summary["num_failed"].tolist() == summary["num_runs"].tolist() == [1, 1]
    assert summary[["valid_mean", "test_mean", "seconds_median"]].isna().all(axis=None)


def test_of_no_runs_there_is_an_empty_summary(make_record: MakeRecord) -> None:
    runs = with_arms(with_seconds(with_chance(tables.to_frame([make_record()]), class_counts(EVEN))))
    empty, one = summarise(runs[:0]), summarise(runs)
    assert empty.empty
    assert empty.columns.tolist() == one.columns.tolist()


def test_a_bad_run_diverged_or_stayed_at_chance_and_a_failed_one_says_nothing(make_record: MakeRecord) -> None:
    records = [
        make_record(seed=0),
        make_record(seed=1, status="diverged", valid_accuracy=0.4, test_accuracy=0.4),  # learned before it did
        make_record(seed=2, status="diverged"),
        make_record(seed=3, valid_accuracy=0.1, test_accuracy=0.1),
        make_record(seed=4, status="failed"),
        make_record(lr=1e-2, seed=0, status="failed"),
    ]
    runs = with_arms(with_seconds(with_chance(tables.to_frame(records), class_counts(*[EVEN] * 5))))
    summary = summarise(runs)
    assert summary[["num_measured", "num_bad"]].to_numpy().tolist() == [[4, 3], [0, 0]]
    assert summary["bad"].tolist() == pytest.approx([0.75, math.nan], nan_ok=True)
    assert summary[["bad_low", "bad_high"]].iloc[1].isna().all()
    assert summary[["bad_low", "bad_high"]].iloc[0].tolist() == pytest.approx(wilson(3, 4))


# Intervals: Student's of a mean, Wilson's of a share.


def means_of(make_runs: MakeRuns, accuracy_SR: Array, **columns: Any) -> pd.DataFrame:
    return summarise(make_runs(accuracy_SR, **columns))


@pytest.mark.parametrize("num_seeds", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5, 10))])
def test_the_interval_of_a_mean_covers_it_as_often_as_it_says(make_runs: MakeRuns, num_seeds: int) -> None:
    """A column a simulated study."""
    num_studies, truth = 4000, 0.9
    rng = np.random.default_rng([0, num_seeds])
    valid, test = (truth + 0.002 * rng.standard_normal((num_seeds, num_studies)) for _ in range(2))
    summary = summarise(make_runs(valid, test_accuracy=test, lr=np.arange(1.0, num_studies + 1)))
    four_standard_errors = 4 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / num_studies)
    for name in ("valid", "test"):
        covered = summary[f"{name}_low"].le(truth) & summary[f"{name}_high"].ge(truth)
        assert covered.mean() == pytest.approx(0.95, abs=four_standard_errors)


@pytest.mark.parametrize("accuracies", [[0.9, 0.8], [0.91, 0.92, 0.95], [0.5, 0.6, 0.9, 0.8, 0.7]])
def test_the_interval_of_a_mean_is_scipys(make_runs: MakeRuns, accuracies: list[float]) -> None:
    row = means_of(make_runs, np.array(accuracies)[:, None]).iloc[0]
    expected = stats.ttest_1samp(accuracies, 0).confidence_interval(CONFIDENCE)
    assert (row["valid_low"], row["valid_high"]) == pytest.approx((expected.low, expected.high))
    assert (row["test_low"], row["test_high"]) == (row["valid_low"], row["valid_high"])


def test_a_run_without_an_accuracy_makes_no_interval_narrower(make_runs: MakeRuns) -> None:
    accuracies = np.array([[0.91], [0.92], [0.95], [math.nan]])
    bounds = ["valid_mean", "valid_low", "valid_high", "test_low", "test_high"]
    four, three = means_of(make_runs, accuracies), means_of(make_runs, accuracies[:3])
    pd.testing.assert_frame_equal(four[bounds], three[bounds])
    assert (four["num_runs"][0], four["num_scored"][0]) == (4, 3)


def test_one_seed_has_no_interval(make_runs: MakeRuns) -> None:
    summary = means_of(make_runs, np.array([[0.9]]))
    assert summary[["valid_low", "valid_high", "test_low", "test_high"]].isna().all(axis=None)


def wilson(num: int, of: int) -> tuple[float, float]:
    """The shares from which `num` lies exactly 1.96 standard errors: a quadratic's two roots."""
    z2, share = stats.norm.isf(0.025) ** 2, num / of
    low, high = sorted(np.roots([of + z2, -(2 * of * share + z2), of * share**2]).real)
    return float(low), float(high)


@pytest.mark.parametrize("of", [1, 2, 3, 5, 10, 46])
def test_the_interval_of_a_share_is_wilsons(of: int) -> None:
    for num in range(of + 1):
        assert share_interval(num, of) == pytest.approx(wilson(num, of), abs=1e-7)  # a double root is less exact


@pytest.mark.parametrize(
    ("num", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (1, 10, 0.0179, 0.4042), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (0, 3, 0.0, 0.5615)],
)
def test_wilsons_interval_of_a_few(num: int, of: int, low: float, high: float) -> None:
    assert share_interval(num, of) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("of", [3, 5, 10, 20])
def test_the_interval_of_a_share_covers_it_on_average_as_often_as_it_says(of: int) -> None:
    """Exactly, over the binomial distribution; at each share it is a little more or less."""
    shares = np.linspace(0.005, 0.995, 199)
    bounds = [share_interval(num, of) for num in range(of + 1)]
    coverage = sum(
        stats.binom.pmf(num, of, shares) * ((low <= shares) & (shares <= high)) for num, (low, high) in enumerate(bounds)
    )
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.015)


def test_of_nothing_no_share_is_known() -> None:
    assert np.isnan(share_interval(0, 0)).all()
