"""Which runs learned, what makes an arm, which time is compared, and the summary of each rate."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from made_runs import make_runs
from scipy import stats

from lrsweep.analysis.summary import (
    BUSY_FROM,
    CHANCE_LEVEL,
    CONFIDENCE,
    chance,
    half_interval,
    summarise,
    with_arms,
    with_chance,
    with_seconds,
)
from lrsweep.records import RunRecord
from lrsweep.storage import tables

MakeRecord = Callable[..., RunRecord]

SPLIT = dict(zip(tables.DRAWN_BY[1:], ("null", 0, 3000, 5000, 10_000, "null"), strict=True))  # the documents' split
EVEN = [500] * 10
LARGEST_CLASS = 567  # images of the digit 1 in the validation split of seed 0
UNEVEN = [LARGEST_CLASS, 433, *[500] * 8]
HALF_IS_ONE_CLASS = [2500, 2500 - 8, *[1] * 8]


def class_counts(*valid: list[int]) -> pd.DataFrame:
    """One validation split per seed, and a training split that must not matter."""
    splits = [("valid", seed, counts) for seed, counts in enumerate(valid)]
    splits += [("train", seed, [1000] + [0] * 9) for seed in range(len(valid))]
    digits = [str(digit) for digit in range(10)]
    counts = pd.DataFrame([[seed, split, *counts] for split, seed, counts in splits], columns=["seed", "split", *digits])
    return counts.assign(**SPLIT)


def scored(accuracies: list[float | None], seeds: list[int] | None = None) -> pd.DataFrame:
    seeds = seeds or [0] * len(accuracies)
    return pd.DataFrame({"seed": seeds, "valid_accuracy": pd.array(accuracies, dtype="float64")}).assign(**SPLIT)


# with_chance


def test_a_constant_predictor_counts_as_learned_no_more_often_than_the_chance_level() -> None:
    num_simulations = 20_000
    shares = np.array(UNEVEN) / sum(UNEVEN)
    validation_sets = np.random.default_rng(0).multinomial(sum(UNEVEN), shares, size=num_simulations)
    accuracies = validation_sets[:, 0] / sum(UNEVEN)  # of always predicting the largest class
    learned = with_chance(scored(accuracies.tolist()), class_counts(UNEVEN))["learned"].mean()
    four_standard_errors = 4 * math.sqrt(CHANCE_LEVEL * (1 - CHANCE_LEVEL) / num_simulations)
    assert CHANCE_LEVEL / 2 <= learned <= CHANCE_LEVEL + four_standard_errors


@pytest.mark.parametrize("largest", [10, 13, 19])
def test_learned_means_a_one_sided_p_value_of_at_most_the_chance_level(largest: int) -> None:
    num_images = 20
    share = largest / num_images
    every_accuracy = [k / num_images for k in range(num_images + 1)]
    runs = with_chance(scored(every_accuracy), class_counts([largest, num_images - largest, *[0] * 8]))
    for k, learned in enumerate(runs["learned"]):
        p_value = sum(math.comb(num_images, i) * share**i * (1 - share) ** (num_images - i) for i in range(k, num_images + 1))
        assert learned == (p_value <= CHANCE_LEVEL), k


def test_only_runs_well_above_the_largest_class_have_learned() -> None:
    accuracies = [0.9, 0.2, LARGEST_CLASS / 5000, 0.1, 0.0, None]
    assert with_chance(scored(accuracies), class_counts(UNEVEN))["learned"].tolist() == [True, True, *[False] * 4]


@pytest.mark.parametrize("setting", SPLIT)
def test_each_run_is_compared_with_the_split_of_its_own_seed_and_data_settings(setting: str) -> None:
    runs = with_chance(scored([0.4, 0.4, 0.6], seeds=[0, 1, 1]), class_counts(EVEN, HALF_IS_ONE_CLASS))
    assert runs["learned"].tolist() == [True, False, True]
    other = {setting: 2500}
    counts = pd.concat([class_counts(EVEN), class_counts(HALF_IS_ONE_CLASS).assign(**other)])
    runs = pd.concat([scored([0.4]), scored([0.4, 0.6]).assign(**other)], ignore_index=True)
    assert with_chance(runs, counts)["learned"].tolist() == [True, False, True]


def test_failed_runs_without_any_split_have_not_learned(make_record: MakeRecord) -> None:
    runs = tables.to_frame([make_record(status="failed", seed=seed) for seed in (0, 1)])
    assert with_chance(runs, tables.class_counts_frame([]))["learned"].tolist() == [False, False]


# with_arms


@pytest.mark.parametrize(
    ("losses", "batch_sizes", "arms"),
    [
        (["cross_entropy"] * 2, [32, 32], ["cross_entropy"] * 2),
        (["cross_entropy", "double_softmax"], [32, 32], ["cross_entropy", "double_softmax"]),
        (
            ["cross_entropy", "double_softmax"],
            [64, 32],
            ["cross_entropy, training.batch_size=64", "double_softmax, training.batch_size=32"],
        ),
    ],
    ids=["nothing varies", "the loss", "the loss and the batch size"],
)
def test_an_arm_is_the_loss_and_each_setting_that_varies(
    make_record: MakeRecord, losses: list[str], batch_sizes: list[int], arms: list[str]
) -> None:
    runs = tables.to_frame([make_record(loss=loss) for loss in losses]).assign(**{"training.batch_size": batch_sizes})
    assert with_arms(runs)["arm"].tolist() == arms


def test_learning_rate_and_seed_make_no_arms(make_record: MakeRecord) -> None:
    runs = tables.to_frame([make_record(lr=lr, seed=seed) for lr in (1e-4, 1e-3) for seed in (0, 1)])
    assert set(with_arms(runs)["arm"]) == {"cross_entropy"}


# with_seconds


def timed(*times: tuple[str | None, float, float]) -> pd.DataFrame:
    """Device, wall and CPU seconds of each run; without a device it failed."""
    runs = pd.DataFrame(times, columns=["device", "wall_seconds", "cpu_seconds"])
    return runs.assign(status=np.where(runs["device"].isna(), "failed", "ok"), timing="measured", threads=1, workers=1)


FAILED = (None, math.nan, math.nan)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([("cpu", 4.0, 4.0), ("cpu", 8.0, 7.9)], [4.0, 8.0]),
        ([("cpu", BUSY_FROM, 1.0), ("cpu", 1.2, 1.0)], [BUSY_FROM, math.nan]),
        ([("cuda", 9.0, 4.0), FAILED], [9.0, math.nan]),
        ([("cpu", math.nan, math.nan)], [math.nan]),
    ],
    ids=["an idle machine", "just not busy, and busy", "a GPU", "nothing measured"],
)
def test_only_a_run_that_had_the_machine_to_itself_has_a_time(
    times: list[tuple[str | None, float, float]], seconds: list[float]
) -> None:
    assert with_seconds(timed(*times))["seconds"].tolist() == pytest.approx(seconds, nan_ok=True)


def test_with_several_threads_or_on_a_shared_gpu_no_run_has_a_time() -> None:
    runs = timed(("cpu", 4.0, 4.0), ("cpu", 4.0, 8.0), ("cpu", 4.0, 4.0), ("cuda", 4.0, 4.0), ("cuda", 4.0, 4.0))
    runs = runs.assign(threads=[1, 4, 1, 4, 1], workers=[1, 1, 2, 1, 2])
    assert with_seconds(runs)["seconds"].notna().tolist() == [True, False, True, True, False]


def test_runs_that_were_trained_together_have_no_time() -> None:
    runs = timed(("cuda", 9.0, 4.0), ("cuda", 9.0, 4.0)).assign(timing=["calibrated", "measured"])
    assert with_seconds(runs)["seconds"].tolist() == pytest.approx([math.nan, 9.0], nan_ok=True)


# summarise


def summary_of(records: list[RunRecord]) -> pd.DataFrame:
    return summarise(with_arms(with_seconds(with_chance(tables.to_frame(records), class_counts(*[EVEN] * 5)))))


def test_the_summary_matches_one_computed_by_hand(make_record: MakeRecord) -> None:
    curve = make_record().outcome.curve

    def seconds(value: float) -> dict[str, float]:
        return {"wall_seconds": value, "cpu_seconds": value}

    records = [
        make_record(lr=1e-3, seed=0, valid_accuracy=0.9, test_accuracy=0.88, **seconds(2.0)),
        make_record(lr=1e-3, seed=1, valid_accuracy=0.8, test_accuracy=0.84, **seconds(5.0)),
        make_record(lr=1e-2, seed=0, status="diverged", curve=curve[:1], valid_accuracy=0.4, test_accuracy=0.3, **seconds(1.0)),
        make_record(lr=1e-2, seed=1, valid_accuracy=0.1, test_accuracy=0.1, **seconds(4.0)),
        make_record(lr=1e-1, seed=0, status="diverged", **seconds(0.5)),
        make_record(lr=1e-1, seed=1, status="failed"),
        make_record(lr=1e-2, loss="double_softmax", valid_accuracy=0.7, test_accuracy=0.6, **seconds(9.0)),
    ]
    root2 = math.sqrt(2)  # the sample standard deviation of two values is their distance divided by this
    nan = math.nan
    expected = pd.DataFrame(
        [
            ("cross_entropy", 1e-3, 2, 0.85, 0.1 / root2, 0.86, 0.04 / root2, 3.5, 3, 2, 2, 0, 0),
            ("cross_entropy", 1e-2, 2, 0.25, 0.3 / root2, 0.2, 0.2 / root2, 2.5, 2, 1, 1, 1, 0),
            ("cross_entropy", 1e-1, 2, nan, nan, nan, nan, 0.5, 0, 0, 0, 1, 1),
            ("double_softmax", 1e-2, 1, 0.7, nan, 0.6, nan, 9.0, 3, 1, 1, 0, 0),
        ],
        columns=[
            *("arm", "lr", "num_runs", "valid_mean", "valid_sd", "test_mean", "test_sd", "seconds_mean", "epochs_mean"),
            *("num_learned", "num_ok", "num_diverged", "num_failed"),
        ],
    )
    summary = summary_of(records[::-1])
    pd.testing.assert_frame_equal(summary[expected.columns.tolist()], expected, check_dtype=False)
    assert summary["num_timed"].tolist() == [2, 2, 1, 1]
    assert summary.loc[3, ["valid_low", "valid_high", "test_low", "test_high"]].isna().all()  # one seed has no interval


def test_a_failed_run_changes_no_mean(make_record: MakeRecord) -> None:
    summary = summary_of([make_record(seed=0, wall_seconds=3.3), make_record(seed=1, status="failed")])
    assert summary[["seconds_mean", "epochs_mean"]].to_numpy().tolist() == [[3.3, 3]]


def test_a_summary_of_failed_runs_has_counts_but_no_accuracy(make_record: MakeRecord) -> None:
    summary = summary_of([make_record(lr=lr, status="failed") for lr in (1e-3, 1e-4)])
    assert summary["lr"].tolist() == [1e-4, 1e-3]
    assert summary["num_failed"].tolist() == summary["num_runs"].tolist() == [1, 1]
    assert summary[["valid_mean", "test_mean", "seconds_mean"]].isna().all(axis=None)


def test_a_summary_of_no_runs_is_empty_with_the_same_columns() -> None:
    runs = make_runs([[0.9]])
    empty = summarise(runs[:0])
    assert empty.empty
    assert empty.columns.tolist() == summarise(runs).columns.tolist()


# Confidence intervals: Student's t.


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_the_interval_of_a_mean_covers_it_as_often_as_its_level(num_seeds: int) -> None:
    num_studies = 4000
    values = np.random.default_rng([0, num_seeds]).standard_normal((num_seeds, num_studies))
    half = half_interval(pd.Series(values.std(axis=0, ddof=1)), pd.Series([num_seeds] * num_studies))
    four_standard_errors = 4 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / num_studies)
    assert np.mean(np.abs(values.mean(axis=0)) <= half) == pytest.approx(CONFIDENCE, abs=four_standard_errors)


@pytest.mark.parametrize("accuracies", [[0.91, 0.92, 0.95], [0.5, 0.6, 0.9, 0.8, 0.7]])
def test_the_interval_of_a_mean_agrees_with_scipy(accuracies: list[float]) -> None:
    """A run without an accuracy does not make it narrower."""
    expected = stats.ttest_1samp(accuracies, 0).confidence_interval(CONFIDENCE)
    for column in (accuracies, [*accuracies, math.nan]):
        row = summarise(make_runs(np.array(column)[:, None])).iloc[0]
        assert (row["valid_low"], row["valid_high"]) == pytest.approx((expected.low, expected.high))
        assert (row["test_low"], row["test_high"]) == (row["valid_low"], row["valid_high"])
        assert (row["num_runs"], row["num_scored"]) == (len(column), len(accuracies))


def test_seconds_are_scaled_to_the_epochs_of_all_runs(make_record: MakeRecord) -> None:
    """Two of three runs were timed; they took 1 s per epoch, but the third run is longer."""
    runs = make_runs([[0.9], [0.9], [0.9]], epochs=[[10], [20], [60]], seconds=[[10.0], [20.0], [math.nan]])
    row = summarise(runs).iloc[0]
    assert (row["num_timed"], row["epochs_mean"], row["seconds_mean"]) == (2, 30, 30)


def test_two_runs_give_no_interval() -> None:
    row = summarise(make_runs([[0.9], [0.8]])).iloc[0]
    assert row["valid_mean"] == pytest.approx(0.85)
    assert row[["valid_low", "valid_high", "test_low", "test_high"]].isna().all()


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_guessing_depends_on_the_number_of_classes(num_classes: int) -> None:
    assert chance(pd.DataFrame({"data.num_classes": [num_classes] * 3})) == pytest.approx(1 / num_classes)
