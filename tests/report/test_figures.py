"""lrsweep.report.figures: what each figure draws, read from its axes."""

import math
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import Formatter

from lrsweep.analysis.best import Best, find_best
from lrsweep.analysis.summary import pareto_front, summarise
from lrsweep.config import GridConfig, log_grid
from lrsweep.report import figures
from lrsweep.report.figures import lr_label, telling_rates

ARM = "cross_entropy"
RATES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
HALF_A_STEP = 10**0.05

# An arm's runs of one seed: validation and test accuracy, seconds, epochs. The last rate diverges, at once.
RUNS = [
    ("ok", 0.10, 0.11, 9.0, 6),
    ("ok", 0.80, 0.82, 90.0, 60),
    ("ok", 0.97, 0.975, 40.0, 20),
    ("ok", 0.971, 0.97, 20.0, 10),
    ("ok", 0.50, 0.55, 10.0, 7),
    ("diverged", math.nan, math.nan, 0.5, 0),
]


def runs_of(*, seeds: tuple[int, ...] = (0,), arm: str = ARM, time: str = "wall") -> pd.DataFrame:
    """RUNS for each seed; each seed is a little better than the last."""
    rows = [
        {
            "run_id": f"{arm}-{seed}-{lr}",
            "arm": arm,
            "lr": lr,
            "seed": seed,
            "status": status,
            "valid_accuracy": valid + 0.001 * seed,
            "test_accuracy": test + 0.001 * seed,
            "seconds": seconds,
            "time": time,
            "epochs": epochs,
            "learned": valid > 0.2,
        }
        for seed in seeds
        for lr, (status, valid, test, seconds, epochs) in zip(RATES, RUNS, strict=True)
    ]
    return pd.DataFrame(rows)


def best_of(summary: pd.DataFrame, *, num_seeds: int = 1, arm: str = ARM) -> Best:
    best = find_best(summary, arm, num_valid=5_000, num_seeds=num_seeds)
    assert best is not None
    return best


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, ax = figures.figure_with("a title")
    yield ax
    plt.close(figure)


@pytest.fixture
def runs() -> pd.DataFrame:
    """Two arms, so that every figure has one to leave out."""
    return pd.concat([runs_of(), runs_of(arm="double_softmax")], ignore_index=True)


@pytest.fixture
def summary(runs: pd.DataFrame) -> pd.DataFrame:
    return summarise(runs)


@pytest.fixture
def best(summary: pd.DataFrame) -> Best:
    return best_of(summary)


def line(ax: Axes, label: str) -> Line2D:
    """The one line whose label begins so."""
    (found,) = [line for line in ax.lines if str(line.get_label()).startswith(label)]
    return found


def assert_line(drawn: Line2D, x: pd.Series | list[float], y: pd.Series | list[float]) -> None:
    np.testing.assert_array_equal(drawn.get_xdata(), x)
    np.testing.assert_array_equal(drawn.get_ydata(), y)


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def right_of(ax: Axes) -> Axes:
    return next(other for other in ax.figure.axes if other is not ax)


def tick_label(formatter: Formatter, value: float) -> str:
    return formatter(value, 0)


def of_arm(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["arm"] == ARM]


# Rates in words.


@pytest.mark.parametrize(
    ("lr", "label"),
    [
        (1e-3, "$10^{-3}$"),
        (10**-3.2, "$10^{-3.2}$"),
        (10**-3.25, "$10^{-3.25}$"),
        (1e-6, "$10^{-6}$"),
        (1.0, "$10^{0}$"),
        (10**0.5, "$10^{0.5}$"),
        (10**-10.25, "$10^{-10.25}$"),
        (3e-4, "0.0003"),
        (5e-7, "5e-07"),
        (0.123456, "0.123"),
    ],
)
def test_a_rate_is_a_power_of_ten_where_its_exponent_is_short(lr: float, label: str) -> None:
    assert lr_label(lr) == label


def test_every_rate_of_the_documents_grid_is_labelled_by_its_exponent() -> None:
    assert [lr_label(lr) for lr in log_grid(GridConfig())] == [f"$10^{{{i / 10:g}}}$" for i in range(-60, -14)]


# Accuracy and cost.


@pytest.mark.parametrize(
    ("cost", "median", "label"),
    [("seconds", "seconds_median", "wall time of a run"), ("epochs", "epochs_median", "epochs of a run")],
)
def test_accuracy_and_cost_draws_the_tables_means_and_medians_of_its_arm(
    summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes, cost: str, median: str, label: str
) -> None:
    assert figures.plot_accuracy_and_cost(summary, runs, best, cost, ax) is ax
    rows = of_arm(summary)
    assert_line(line(ax, "test accuracy"), rows["lr"], rows["test_mean"])
    right = right_of(ax)
    assert_line(line(right, label), rows["lr"], rows[median])
    assert (ax.get_xscale(), ax.get_yscale(), right.get_yscale()) == ("log", "linear", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate (optimizer.lr)", "test accuracy")
    assert right.get_ylabel().startswith(label)


def test_accuracy_and_cost_marks_the_bargain_and_the_best_range(
    summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes
) -> None:
    figures.plot_accuracy_and_cost(summary, runs, best, "seconds", ax)
    assert_line(line(ax, "best trade-off"), [1e-3], [0.97])
    assert_shaded(ax, 1e-4, 1e-3)
    assert {"test accuracy", "highest accuracy, $10^{-4}$ to $10^{-3}$", "best trade-off, $10^{-3}$"} <= set(legend(ax))


def assert_shaded(ax: Axes, low: float, high: float) -> None:
    (shade,) = ax.patches
    assert isinstance(shade, Rectangle)
    left = shade.get_x()
    assert (left, left + shade.get_width()) == pytest.approx((low / HALF_A_STEP, high * HALF_A_STEP))


def test_accuracy_is_percent_and_cost_a_plain_number(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes) -> None:
    figures.plot_accuracy_and_cost(summary, runs, best, "seconds", ax)
    assert tick_label(ax.yaxis.get_major_formatter(), 0.8) == "80%"
    cost_axis = right_of(ax).yaxis
    assert [tick_label(cost_axis.get_major_formatter(), value) for value in (0.5, 2, 1000)] == ["0.5", "2", "1000"]
    assert ax.get_ylim() == (0, 1.02)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_single_runs_are_points_where_a_line_is_a_mean(seeds: tuple[int, ...], ax: Axes) -> None:
    runs = runs_of(seeds=seeds)
    summary = summarise(runs)
    figures.plot_accuracy_and_cost(summary, runs, best_of(summary, num_seeds=len(seeds)), "seconds", ax)
    for axes, column in ((ax, "test_accuracy"), (right_of(ax), "seconds")):
        clouds = [each.get_offsets() for each in axes.collections if each.get_label() != "diverged"]
        drawn = [list(point) for cloud in clouds for point in cloud if not np.ma.is_masked(point)]
        assert drawn == ([] if len(seeds) == 1 else runs[["lr", column]].dropna().to_numpy().tolist())


def diverged_marks(ax: Axes) -> list[list[float]]:
    return [list(point) for marks in ax.collections if marks.get_label() == "diverged" for point in marks.get_offsets()]


def test_a_diverged_run_is_a_cross_at_its_accuracy_or_at_zero(ax: Axes) -> None:
    runs = runs_of()
    runs.loc[runs["lr"] == 1e-2, "status"] = "diverged"
    summary = summarise(runs)
    figures.plot_accuracy_and_cost(summary, runs, best_of(summary), "seconds", ax)
    assert diverged_marks(ax) == [[1e-2, 0.55], [1e-1, 0.0]]
    assert "diverged" in legend(ax)  # a cross that nothing explains is a riddle


def test_without_divergence_there_is_no_cross_and_no_word_of_it(ax: Axes) -> None:
    runs = runs_of().iloc[:-1]
    summary = summarise(runs)
    figures.plot_accuracy_and_cost(summary, runs, best_of(summary), "seconds", ax)
    assert diverged_marks(ax) == []
    assert "diverged" not in legend(ax)


def test_a_range_of_one_rate_is_shaded_half_a_step_on_each_side(ax: Axes) -> None:
    alone = best_of(summarise(runs_of().iloc[1:2]))
    figures.mark_best(alone, ax)
    assert_shaded(ax, 1e-5, 1e-5)


# The plateau.


def test_the_plateau_draws_both_accuracies_near_the_best_with_binomial_bars(ax: Axes) -> None:
    num_valid, num_test = 5_000, 10_000
    runs = runs_of()
    runs.loc[runs["lr"] == 1e-2, ["valid_accuracy", "test_accuracy"]] = [0.95, 0.94]
    summary = summarise(runs)
    assert figures.plot_plateau(summary, best_of(summary), num_valid, num_test, ax) is ax
    near = [1e-4, 1e-3, 1e-2]  # a decade around the range, and what is far below the best left out
    expected = {
        "validation accuracy": ([0.97, 0.971, 0.95], num_valid),
        "test accuracy": ([0.975, 0.97, 0.94], num_test),
    }
    assert len(ax.containers) == 2
    for bars, (label, (accuracies, num_images)) in zip(ax.containers, expected.items(), strict=True):
        assert str(bars.get_label()).startswith(label)
        drawn, _, (segments,) = bars.lines
        assert_line(drawn, near, accuracies)
        for (low, high), accuracy in zip(segments.get_segments(), accuracies, strict=True):
            error = math.sqrt(accuracy * (1 - accuracy) / num_images)
            assert (low[1], high[1]) == pytest.approx((accuracy - error, accuracy + error))


def test_the_plateaus_bars_shrink_with_the_seeds(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1, 2, 3))
    summary = summarise(runs)
    figures.plot_plateau(summary, best_of(summary, num_seeds=4), 5_000, 10_000, ax)
    drawn, _, (segments,) = ax.containers[0].lines
    accuracy = drawn.get_ydata()[0]
    low, high = segments.get_segments()[0]
    assert high[1] - low[1] == pytest.approx(2 * math.sqrt(accuracy * (1 - accuracy) / (5_000 * 4)))


def test_the_plateau_says_from_where_rates_are_tied(summary: pd.DataFrame, best: Best, ax: Axes) -> None:
    figures.plot_plateau(summary, best, 5_000, 10_000, ax)
    assert set(line(ax, "tied above").get_ydata()) == {0.971 - best.tolerance}
    assert_shaded(ax, 1e-4, 1e-3)
    assert ax.get_xscale() == "log"
    assert tick_label(ax.yaxis.get_major_formatter(), 0.9712) == "97.1%"
    assert len(legend(ax)) == 4
    low, high = ax.get_ylim()
    assert low < best.best["valid_mean"] - best.tolerance < 0.975 < high <= 1


# The trade-off.


def test_the_trade_off_joins_the_front_and_leaves_out_what_is_at_chance(summary: pd.DataFrame, best: Best, ax: Axes) -> None:
    rows = of_arm(summary)
    assert figures.plot_trade_off(summary, pareto_front(rows), best, ax) is ax
    (others,) = ax.collections
    assert [list(point) for point in others.get_offsets()] == [[90.0, 1 - 0.82]]
    assert_line(line(ax, "Pareto front"), [10.0, 20.0, 40.0], [1 - 0.55, 1 - 0.97, 1 - 0.975])
    assert [text.get_text() for text in ax.texts] == ["$10^{-2}$", "$10^{-3}$", "$10^{-4}$"]
    assert_line(line(ax, "best trade-off, $10^{-3}$"), [20.0], [1 - 0.97])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert legend(ax) == ["other rates (1 at chance left out)", "Pareto front", "best trade-off, $10^{-3}$"]


def test_where_no_rate_is_at_chance_none_is_left_out(ax: Axes) -> None:
    summary = summarise(runs_of().iloc[1:5])
    figures.plot_trade_off(summary, pareto_front(summary), best_of(summary), ax)
    assert legend(ax)[0] == "other rates"


@pytest.mark.parametrize(("accuracy", "learned"), [(1.0, True), (0.1, False)], ids=["no rate has an error", "all at chance"])
def test_where_there_is_nothing_to_trade_nothing_is_drawn_and_nothing_warned_of(accuracy: float, learned: bool, ax: Axes) -> None:
    runs = runs_of().iloc[1:4].assign(valid_accuracy=accuracy, test_accuracy=accuracy, learned=learned)
    summary = summarise(runs)
    assert figures.plot_trade_off(summary, pareto_front(summary), best_of(summary), ax) is ax
    ax.figure.canvas.draw()  # warnings are errors: a logarithm of 0 would show here
    assert_line(line(ax, "Pareto front"), [], [])
    assert [len(points.get_offsets()) for points in ax.collections] == [0]
    assert not ax.texts
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")


@pytest.mark.parametrize(
    "errors",
    [[0.02, 0.03, 0.9], [0.02, 0.03, 0.06], [0.011, 0.012, 0.013]],
    ids=["over decades", "within a decade", "close together"],
)
def test_the_trade_offs_axes_can_be_read(errors: list[float], ax: Axes) -> None:
    runs = runs_of().iloc[1 : 1 + len(errors)]
    summary = summarise(runs.assign(test_accuracy=[1 - error for error in errors]))
    figures.plot_trade_off(summary, pareto_front(summary), best_of(summary), ax)
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    told = {tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high} - {""}
    assert len(told) >= 2  # one number, or none, gives an axis no scale
    assert all("%" in label for label in told)


@pytest.mark.parametrize(("time", "name"), [("wall", "wall time of a run"), ("cpu", "CPU time of a run")])
def test_axes_say_which_time_they_show(time: str, name: str, ax: Axes) -> None:
    runs = runs_of(time=time)
    summary = summarise(runs)
    best = best_of(summary)
    figures.plot_trade_off(summary, pareto_front(summary), best, ax)
    assert ax.get_xlabel().startswith(name)
    figure, other = figures.figure_with("")
    figures.plot_accuracy_and_cost(summary, runs, best, "seconds", other)
    assert right_of(other).get_ylabel().startswith(name)
    plt.close(figure)


# Training curves.


def curves_of(arm: str = ARM, seed: int = 0) -> pd.DataFrame:
    accuracies = {1e-6: [0.1, 0.1], 1e-3: [0.5, 0.97, 0.96, 0.97], 1e-2: [0.3, 0.2]}
    rows = [
        {"arm": arm, "seed": seed, "lr": lr, "epoch": i, "valid_accuracy": accuracy - 0.01 * seed}
        for lr, curve in accuracies.items()
        for i, accuracy in enumerate(curve, start=1)
    ]
    return pd.DataFrame(rows)


def test_training_curves_are_of_the_rates_asked_for_and_one_arm_and_seed(ax: Axes) -> None:
    curves = pd.concat([curves_of(seed=1), curves_of("double_softmax"), curves_of()], ignore_index=True)
    assert figures.plot_training_curves(curves, [1e-6, 1e-3], ARM, 0, ax) is ax
    assert_line(line(ax, "$10^{-6}$"), [1, 2], [0.1, 0.1])
    assert_line(line(ax, "$10^{-3}$"), [1, 2, 3, 4], [0.5, 0.97, 0.96, 0.97])
    assert legend(ax) == ["$10^{-6}$", "$10^{-3}$"]
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "epoch (log scale)", "validation accuracy")
    assert tick_label(ax.yaxis.get_major_formatter(), 0.5) == "50%"
    assert tick_label(ax.xaxis.get_major_formatter(), 20) == "20"


def test_a_curves_mark_is_its_first_best_epoch(ax: Axes) -> None:
    figures.plot_training_curves(curves_of(), [1e-6, 1e-3, 1e-2], ARM, 0, ax)
    marks = [drawn for drawn in ax.lines if len(drawn.get_xdata()) == 1]
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks] == [(1, 0.1), (2, 0.97), (1, 0.3)]
    assert len({mark.get_marker() for mark in marks}) == 3  # told apart without colours
    assert len({drawn.get_linestyle() for drawn in ax.lines if drawn not in marks}) == 3


def test_a_rate_without_a_curve_is_left_out(ax: Axes) -> None:
    figures.plot_training_curves(curves_of(), [1e-6, 1e-1], ARM, 0, ax)
    assert legend(ax) == ["$10^{-6}$"]


# Arms.


def test_arms_are_a_line_each(summary: pd.DataFrame, ax: Axes) -> None:
    assert figures.plot_arms(summary, ax) is ax
    assert legend(ax) == [ARM, "double_softmax"]
    assert len(ax.lines) == 2
    for arm, rows in summary.groupby("arm"):
        assert_line(line(ax, arm), rows["lr"], rows["test_mean"])
    assert len({drawn.get_linestyle() for drawn in ax.lines}) == len({drawn.get_marker() for drawn in ax.lines}) == 2
    assert ax.get_xscale() == "log"
    assert tick_label(ax.yaxis.get_major_formatter(), 0.5) == "50%"


def test_a_figure_has_its_title(ax: Axes) -> None:
    assert ax.get_title(loc="left") == "a title"


# The rates whose curves are shown.


few_accuracies = st.sampled_from([0.1, 0.5, 0.896, 0.898, 0.9])
rows_by_exponent = st.dictionaries(st.integers(-60, -10), st.tuples(few_accuracies, st.floats(1, 100)), min_size=1, max_size=12)


@given(rows=rows_by_exponent)
def test_telling_rates_hold_the_ends_the_best_and_the_bargain(rows: dict[int, tuple[float, float]]) -> None:
    rates = [10 ** (exponent / 10) for exponent in sorted(rows)]
    valid, seconds = zip(*(rows[exponent] for exponent in sorted(rows)), strict=True)
    other = {"arm": "another", "lr": [1e-9], "valid_mean": 1.0, "seconds_median": 1.0}
    table = {"arm": ARM, "lr": rates, "valid_mean": valid, "seconds_median": seconds}
    summary = pd.concat([pd.DataFrame(other), pd.DataFrame(table)], ignore_index=True).assign(valid_sd=math.nan)
    best = best_of(summary)
    told = telling_rates(summary, best)
    assert {rates[0], rates[-1], best.best["lr"], best.bargain["lr"]} <= set(told) <= set(rates)
    assert len(told) == min(5, len(rates))
    assert told == sorted(set(told))


def test_the_rest_of_the_telling_rates_lie_farthest_from_the_others() -> None:
    table = {"arm": ARM, "lr": log_grid(GridConfig()), "valid_mean": 0.5, "valid_sd": math.nan, "seconds_median": 9.0}
    summary = pd.DataFrame(table)
    summary.loc[summary["lr"] == 1e-2, "valid_mean"] = 0.9  # best and bargain; then 10^-4, half-way from 10^-6; then 10^-5
    assert telling_rates(summary, best_of(summary)) == [1e-6, 1e-5, 1e-4, 1e-2, 10**-1.5]
