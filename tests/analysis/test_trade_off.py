"""The Pareto front of accuracy and time, its knee, and the fastest rate close to the best."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kneed import DataGenerator

from lrsweep.analysis.trade_off import find_best_trade_off, find_knee, is_near, pareto_front

NAN = math.nan
Points = list[tuple[float, float]]  # accuracy and seconds


def summary_of(points: Points, num_bad: list[int] | int = 0) -> pd.DataFrame:
    table = pd.DataFrame(points, columns=["valid_mean", "seconds_median"], dtype=float)
    return table.assign(lr=0.001 * 2.0 ** np.arange(len(points)), num_bad=num_bad)


def simple_front(points: Points, num_bad: list[int]) -> list[bool]:
    """The definition, point by point."""
    is_known = [bad == 0 and not any(map(math.isnan, point)) for point, bad in zip(points, num_bad, strict=True)]
    known = [point for point, chosen in zip(points, is_known, strict=True) if chosen]
    return [
        chosen and not any(a >= accuracy and s <= seconds and (a > accuracy or s < seconds) for a, s in known)
        for (accuracy, seconds), chosen in zip(points, is_known, strict=True)
    ]


few_values = st.sampled_from([NAN, 0.1, 0.2, 0.5, 0.9, 1.0])  # few, so that duplicates and ties are common


@given(rows=st.lists(st.tuples(few_values, few_values, st.integers(0, 1)), max_size=12))
def test_the_pareto_front_agrees_with_its_definition(rows: list[tuple[float, float, int]]) -> None:
    points, num_bad = [(a, s) for a, s, _ in rows], [bad for *_, bad in rows]
    index = [3 * i + 1 for i in range(len(points))]  # the rows of one arm may have any index
    front = pareto_front(summary_of(points, num_bad).set_axis(index))
    assert front.tolist() == simple_front(points, num_bad)
    assert front.index.tolist() == index


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.9, 10.0), (0.9, 10.0)], [True, True]),
        ([(0.9, 10.0), (0.8, 5.0)], [True, True]),
        ([(0.9, 10.0), (0.8, 10.0)], [True, False]),
        ([(0.9, 10.0), (0.9, 11.0)], [True, False]),
        ([(0.5, 10.0), (NAN, 1.0)], [True, False]),
    ],
    ids=["duplicates", "a trade-off", "less accurate", "slower", "not scored"],
)
def test_the_pareto_front_of_two_points(points: Points, front: list[bool]) -> None:
    assert pareto_front(summary_of(points)).tolist() == front


def test_a_rate_that_failed_to_learn_once_is_not_on_the_front_and_dominates_none() -> None:
    assert pareto_front(summary_of([(0.99, 1.0), (0.9, 10.0)], num_bad=[1, 0])).tolist() == [False, True]


def front_of(seconds: list[float], accuracy: list[float]) -> pd.DataFrame:
    return summary_of(list(zip(accuracy, seconds, strict=True)))


def test_the_knee_of_figure_2_of_the_kneedle_paper_is_at_0_22() -> None:
    """Satopää et al. 2011: y = -1 / (x + 0.1) + 5."""
    x, y = DataGenerator.figure2()
    front = front_of(x.tolist(), y.tolist())
    knee = find_knee(front.sample(frac=1, random_state=0))
    assert front.loc[front["lr"] == knee, "seconds_median"].tolist() == pytest.approx([0.22], abs=0.01)


@pytest.mark.parametrize("corner", [2, 4, 7])
def test_the_knee_of_two_straight_lines_is_their_corner(corner: int) -> None:
    seconds = np.arange(10.0)
    accuracy = np.where(seconds <= corner, 0.5 + 0.05 * seconds, 0.5 + 0.05 * corner + 0.001 * (seconds - corner))
    front = front_of(seconds.tolist(), accuracy.tolist())
    assert find_knee(front) == front["lr"].iloc[corner]


@pytest.mark.parametrize(
    ("seconds", "accuracy"),
    [
        ([], []),
        ([1.0, 2.0], [0.8, 0.9]),
        ([1.0, 2.0, 4.0, 8.0], [0.1, 0.2, 0.4, 0.8]),
        ([1.0, 1.0, 1.0], [0.9, 0.9, 0.9]),
    ],
    ids=["empty", "two points", "a straight line", "one point three times"],
)
def test_a_front_without_a_bend_has_no_knee(seconds: list[float], accuracy: list[float]) -> None:
    assert find_knee(front_of(seconds, accuracy)) is None


@given(points=st.lists(st.tuples(st.floats(0.1, 1), st.floats(1, 1000)), min_size=1, max_size=10))
def test_the_knee_of_any_front_is_one_of_its_rates_or_none(points: Points) -> None:
    summary = summary_of(points)
    front = summary[pareto_front(summary)]
    knee = find_knee(front)
    assert knee is None or knee in front["lr"].to_numpy()


@pytest.mark.parametrize(
    ("points", "delta", "expected"),
    [
        ([(0.9, 10.0), (0.95, 20.0), (0.94, 5.0)], 0.0, 1),
        ([(0.9, 10.0), (0.95, 20.0), (0.94, 5.0)], 0.02, 2),
        ([(0.9, 1.0), (0.95, 20.0), (0.94, 5.0)], 0.02, 2),
        ([(0.95, 20.0), (0.95, 10.0)], 0.0, 1),
        ([(0.95, 10.0), (0.94, 10.0)], 0.02, 0),
        ([(0.94, 10.0), (0.95, 10.0)], 0.02, 0),
        ([(0.75, 5.0), (1.0, 10.0)], 0.25, 0),
        ([(0.94, NAN), (0.95, 10.0)], 0.02, 1),
    ],
    ids=[
        *("no delta: the best", "the fastest within delta", "outside delta does not count", "equally accurate: the fastest"),
        *("equally fast: the first", "equally fast: the first, if less accurate", "exactly delta", "without a time"),
    ],
)
def test_the_best_trade_off_is_the_fastest_within_delta(points: Points, delta: float, expected: int) -> None:
    assert find_best_trade_off(summary_of(points), delta) == expected


@given(
    points=st.lists(st.tuples(st.sampled_from([0.5, 0.75, 1.0]), st.sampled_from([1.0, 2.0, 3.0])), min_size=1, max_size=8),
    delta=st.sampled_from([0.0, 0.25, 0.5]),
)
def test_the_best_trade_off_agrees_with_its_definition(points: Points, delta: float) -> None:
    best = max(accuracy for accuracy, _ in points)
    near = [(seconds, i) for i, (accuracy, seconds) in enumerate(points) if accuracy >= best - delta]
    assert find_best_trade_off(summary_of(points), delta) == min(near)[1]
    assert is_near(summary_of(points), delta).sum() == len(near)
