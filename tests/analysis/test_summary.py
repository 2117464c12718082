"""lrsweep.analysis.summary: who has learned, what is compared, and what the runs of a rate came to."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep import store
from lrsweep.analysis.summary import (
    BUSY_FROM,
    CHANCE_LEVEL,
    busyness,
    fewest_seeds,
    pareto_front,
    summarise,
    with_arms,
    with_chance,
    with_seconds,
)
from lrsweep.records import RunRecord

MakeRecord = Callable[..., RunRecord]

EVEN = [500] * 10
LARGEST_CLASS = 567  # of MNIST's 5,000 validation images of seed 0: the ones
UNEVEN = [LARGEST_CLASS, 433, *[500] * 8]


def class_counts(*valid: list[int]) -> pd.DataFrame:
    """The table of splits, a validation split a seed; a training split that must not matter comes along."""
    splits = [("valid", seed, counts) for seed, counts in enumerate(valid)]
    splits += [("train", seed, [1000] + [0] * 9) for seed in range(len(valid))]
    digits = [str(digit) for digit in range(10)]
    return pd.DataFrame([[seed, split, *counts] for split, seed, counts in splits], columns=["seed", "split", *digits])


def scored(accuracies: list[float | None], seeds: list[int] | None = None) -> pd.DataFrame:
    seeds = seeds or [0] * len(accuracies)
    return pd.DataFrame({"seed": seeds, "valid_accuracy": pd.array(accuracies, dtype="float64")})


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


def test_runs_that_all_failed_leave_no_splits_and_have_not_learned(make_record: MakeRecord) -> None:
    runs = store.to_frame([make_record(status="failed", seed=seed) for seed in (0, 1)])
    assert with_chance(runs, store.class_counts_frame([]))["learned"].tolist() == [False, False]


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
    runs = store.to_frame([make_record(loss=loss) for loss in losses]).assign(**{"training.batch_size": batch_sizes})
    assert with_arms(runs)["arm"].tolist() == arms


def test_learning_rate_and_seed_make_no_arms(make_record: MakeRecord) -> None:
    runs = store.to_frame([make_record(lr=lr, seed=seed) for lr in (1e-4, 1e-3) for seed in (0, 1)])
    assert set(with_arms(runs)["arm"]) == {"cross_entropy"}


# with_seconds: the time that rates are compared by.


def timed(*times: tuple[str | None, float, float]) -> pd.DataFrame:
    return pd.DataFrame(times, columns=["device", "wall_seconds", "cpu_seconds"])


@pytest.mark.parametrize(
    ("times", "ratio"),
    [
        ([("cpu", 3.0, 2.0)], 1.5),
        ([("cpu", 1.0, 1.0), ("cpu", 3.0, 2.0), ("cpu", 90.0, 1.0)], 1.5),
        ([("cuda", 90.0, 1.0), ("cpu", 3.0, 2.0)], 1.5),
        ([("cpu", math.nan, math.nan), ("cpu", 3.0, 2.0)], 1.5),
        ([("cuda", 90.0, 1.0)], math.nan),
        ([], math.nan),
    ],
    ids=["one run", "the median run", "of those on a CPU", "of those measured", "none on a CPU", "no run"],
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


# summarise: a row an arm and rate.


def summary_of(records: list[RunRecord]) -> pd.DataFrame:
    return summarise(with_arms(with_seconds(with_chance(store.to_frame(records), class_counts(EVEN, EVEN)))))


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


# fewest_seeds: what a conclusion may claim.


@pytest.mark.parametrize(
    ("statuses", "fewest"),
    [
        ({1e-3: ["ok"], 1e-2: ["ok"]}, 1),
        ({1e-3: ["ok", "ok"], 1e-2: ["ok", "ok"]}, 2),
        ({1e-3: ["ok", "ok", "ok"], 1e-2: ["ok", "ok"]}, 2),
        ({1e-3: ["ok", "ok"], 1e-2: ["ok", "failed"]}, 1),
        ({1e-3: ["ok", "ok"], 1e-2: ["ok", "diverged"]}, 1),
        ({1e-3: ["ok", "ok"], 1e-2: ["failed"]}, 2),
        ({1e-3: ["ok", "ok"], 1e-2: ["diverged", "failed"]}, 2),
        ({1e-3: ["failed", "failed"]}, 0),
    ],
    ids=[
        *("one", "two", "uneven", "one of two failed", "one of two diverged unscored"),
        *("a rate that failed", "a rate without accuracy", "nothing scored"),
    ],
)
def test_the_seeds_behind_a_claim_are_those_of_the_rate_with_the_fewest_scores(
    make_record: MakeRecord, statuses: dict[float, list[str]], fewest: int
) -> None:
    records = [make_record(lr=lr, seed=seed, status=of) for lr, each in statuses.items() for seed, of in enumerate(each)]
    runs = with_seconds(store.to_frame(records)).assign(arm="a", learned=True)
    assert fewest_seeds(summarise(runs), "a") == fewest


def test_a_diverged_run_with_an_accuracy_is_a_seed_as_any(make_record: MakeRecord) -> None:
    records = [make_record(seed=0), make_record(seed=1, status="diverged", valid_accuracy=0.4, test_accuracy=0.4)]
    assert fewest_seeds(summary_of(records), "cross_entropy") == 2


def test_each_arm_has_its_own_seeds(make_record: MakeRecord) -> None:
    summary = summary_of([make_record(seed=0), make_record(seed=1), make_record(loss="double_softmax")])
    assert [fewest_seeds(summary, arm) for arm in ("cross_entropy", "double_softmax", "none such")] == [2, 1, 0]


# pareto_front: none better in both.


def naive_front(accuracy: list[float], seconds: list[float]) -> list[bool]:
    """The definition, read aloud."""
    front = []
    for a, s in zip(accuracy, seconds, strict=True):
        others = list(zip(accuracy, seconds, strict=True))
        beaten = any(other_a >= a and other_s <= s and (other_a > a or other_s < s) for other_a, other_s in others)
        front.append(not math.isnan(a) and not math.isnan(s) and not beaten)
    return front


few_values = st.sampled_from([math.nan, 0.1, 0.2, 0.5, 0.9, 1.0])  # few, so that duplicates and ties are common


@given(points=st.lists(st.tuples(few_values, few_values), max_size=12))
def test_the_pareto_front_is_its_definition(points: list[tuple[float, float]]) -> None:
    accuracy, seconds = [a for a, _ in points], [s for _, s in points]
    index = [3 * i + 1 for i in range(len(points))]  # an arm's rows of a summary do not begin at 0
    front = pareto_front(pd.DataFrame({"test_mean": accuracy, "seconds_median": seconds}, index=index, dtype=float))
    assert front.tolist() == naive_front(accuracy, seconds)
    assert front.index.tolist() == index


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.9, 10.0)], [True]),
        ([(0.9, 10.0), (0.9, 10.0)], [True, True]),
        ([(0.9, 10.0), (0.8, 5.0)], [True, True]),
        ([(0.9, 10.0), (0.8, 10.0)], [True, False]),
        ([(0.9, 10.0), (0.9, 11.0)], [True, False]),
        ([(0.5, 10.0), (math.nan, 1.0)], [True, False]),
        ([(math.nan, math.nan)], [False]),
    ],
    ids=["alone", "duplicates", "a trade", "less accurate", "slower", "not scored", "nothing known"],
)
def test_the_pareto_front_of_a_few_points(points: list[tuple[float, float]], front: list[bool]) -> None:
    assert pareto_front(pd.DataFrame(points, columns=["test_mean", "seconds_median"])).tolist() == front
