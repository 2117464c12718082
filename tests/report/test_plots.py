"""lrsweep.report.figures.plots: what each figure draws, read from its axes, is what its table says."""

import math
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import Formatter

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.summary import summarise
from lrsweep.analysis.time_to_target import median_to_target
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.figures import plots
from lrsweep.report.figures.plots import lr_label, telling_rates

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
            "seconds": seconds + seed,
            "wall_seconds": seconds + seed,
            "time": time,
            "epochs": epochs,
            "learned": valid > 0.2,
            "data.num_valid": 5000,
        }
        for seed in seeds
        for lr, (status, valid, test, seconds, epochs) in zip(RATES, RUNS, strict=True)
    ]
    return pd.DataFrame(rows)


def best_of(runs: pd.DataFrame) -> Best:
    best = find_best(runs[runs["arm"] == ARM])
    assert best is not None
    return best


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, ax = plots.figure_with("a title")
    yield ax
    figure.draw_without_rendering()  # warnings are errors: a logarithm of 0 would show here
    plt.close(figure)


@pytest.fixture
def runs() -> pd.DataFrame:
    """Two arms, so that every figure has one to leave out."""
    return pd.concat([runs_of(), runs_of(arm="double_softmax")], ignore_index=True)


@pytest.fixture
def summary(runs: pd.DataFrame) -> pd.DataFrame:
    return summarise(runs)


@pytest.fixture
def best(runs: pd.DataFrame) -> Best:
    return best_of(runs)


def line(ax: Axes, label: str) -> Line2D:
    """The one line whose label begins so."""
    (found,) = [line for line in ax.lines if str(line.get_label()).startswith(label)]
    return found


def assert_line(drawn: Line2D, x: Any, y: Any) -> None:
    np.testing.assert_array_equal(drawn.get_xdata(), x)
    np.testing.assert_array_equal(drawn.get_ydata(), y)


def points(ax: Axes, label: str) -> list[list[float]]:
    """The points of the scatter plot that is called so; none where there is none."""
    clouds = [cloud for cloud in ax.collections if isinstance(cloud, PathCollection) and cloud.get_label() == label]
    return [[float(number) for number in point] for cloud in clouds for point in cloud.get_offsets()]


def bars(ax: Axes, label: str) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """What an error bar plot shows: x, y, and the lower and upper end of each bar."""
    (container,) = [found for found in ax.containers if str(found.get_label()).startswith(label)]
    drawn, _, (segments,) = container.lines
    ends = [(float(low[1]), float(high[1])) for low, high in segments.get_segments()]
    return list(drawn.get_xdata()), list(drawn.get_ydata()), ends


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


def assert_shaded(ax: Axes, low: float, high: float) -> None:
    (shade,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    left = shade.get_x()
    assert (left, left + shade.get_width()) == pytest.approx((low / HALF_A_STEP, high * HALF_A_STEP))


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


# Error against the rate.


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_error_draws_every_run_and_the_tables_means(seeds: tuple[int, ...], ax: Axes) -> None:
    runs = pd.concat([runs_of(seeds=seeds), runs_of(seeds=seeds, arm="double_softmax")], ignore_index=True)
    summary = summarise(runs)
    assert plots.plot_error(summary, runs, best_of(runs), ax) is ax
    rows, single = of_arm(summary), of_arm(runs)
    assert_line(line(ax, "mean"), rows["lr"], 1 - rows["test_mean"])
    learned = single[single["learned"]]
    np.testing.assert_allclose(points(ax, "a run"), np.column_stack([learned["lr"], 1 - learned["test_accuracy"]]))
    chance = single[single["lr"] == 1e-6]
    np.testing.assert_allclose(points(ax, "at chance level"), np.column_stack([chance["lr"], 1 - chance["test_accuracy"]]))
    assert points(ax, "diverged") == [[1e-1, 1.0]] * len(seeds)  # without an accuracy: nothing right
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate (optimizer.lr)", "test error (1 - accuracy)")
    assert {"a run", "at chance level", "diverged", "mean"} <= set(legend(ax))
    assert tick_label(ax.yaxis.get_major_formatter(), 0.02) == "2%"


def test_errors_band_is_the_tables_interval(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1, 2)).assign(test_accuracy=lambda table: table["test_accuracy"] + 0.01 * (table["seed"] == 1))
    summary = summarise(runs)
    plots.plot_error(summary, runs, best_of(runs), ax)
    (band,) = [found for found in ax.collections if found.get_label() == "95% interval"]
    rows = summary[summary["test_low"].notna()]
    assert len(rows) == 5
    ends = {tuple(end) for end in np.vstack([path.vertices for path in band.get_paths()])}
    for _, row in rows.iterrows():
        for accuracy in (row["test_low"], row["test_high"]):
            assert (row["lr"], min(max(1 - accuracy, 1e-4), 1)) in ends
    assert "95% interval" in legend(ax)


def test_errors_of_one_seed_have_no_band(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes) -> None:
    plots.plot_error(summary, runs, best, ax)
    assert "95% interval" not in legend(ax)


def test_error_marks_the_range_and_the_bargain(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes) -> None:
    plots.plot_error(summary, runs, best, ax)
    assert_shaded(ax, 1e-4, 1e-3)
    assert_line(line(ax, "best trade-off"), [1e-3], [1 - 0.97])
    assert {"best range, $10^{-4}$ to $10^{-3}$", "best trade-off, $10^{-3}$"} <= set(legend(ax))


def test_an_error_of_nothing_has_its_place_on_a_log_axis(ax: Axes) -> None:
    runs = runs_of().iloc[2:4].assign(test_accuracy=1.0)
    plots.plot_error(summarise(runs), runs, best_of(runs), ax)
    assert [point[1] for point in points(ax, "a run")] == [1e-4, 1e-4]


def test_a_failed_run_is_no_point(ax: Axes) -> None:
    runs = runs_of()
    runs.loc[0, ["status", "valid_accuracy", "test_accuracy", "seconds"]] = ["failed", math.nan, math.nan, math.nan]
    runs.loc[0, "learned"] = False
    plots.plot_error(summarise(runs), runs, best_of(runs), ax)
    assert points(ax, "at chance level") == []
    assert 1e-6 not in [point[0] for point in points(ax, "diverged")]


# What diverged or stayed at chance.


def test_bad_draws_the_tables_shares_with_their_wilson_intervals(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1, 2, 3))
    runs.loc[(runs["lr"] == 1e-2) & (runs["seed"] > 1), "learned"] = False
    summary = summarise(pd.concat([runs, runs_of(arm="double_softmax")], ignore_index=True))
    assert plots.plot_bad(summary, best_of(runs), ax) is ax
    rates, shares, ends = bars(ax, "share")
    assert rates == RATES
    assert shares == [1.0, 0.0, 0.0, 0.0, 0.5, 1.0]
    rows = of_arm(summary)
    np.testing.assert_allclose(ends, rows[["bad_low", "bad_high"]])
    assert 0.1 < ends[4][0] < 0.2
    assert 0.45 < ends[1][1] < 0.55  # Wilson's of none in four
    assert_shaded(ax, best_of(runs).low, best_of(runs).high)
    assert legend(ax)[-1].startswith("share")
    assert tick_label(ax.yaxis.get_major_formatter(), 0.5) == "50%"


def test_a_rate_whose_runs_all_failed_has_no_share(ax: Axes) -> None:
    runs = runs_of()
    runs.loc[0, "status"] = "failed"
    plots.plot_bad(summarise(runs), best_of(runs), ax)
    assert bars(ax, "share")[0] == RATES[1:]


# Time to a target.


def times_of() -> pd.DataFrame:
    """Two seeds: at the first rate neither gets there, at the second one of two, at the third both."""
    table = {
        "run_id": list("abcdef"),
        "lr": [1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3],
        "seed": [0, 1] * 3,
        "reached": [False, False, True, False, True, True],
        "epochs_to_target": [60.0, 62.0, 11.0, 30.0, 4.0, 6.0],
        "seconds_to_target": [90.0, 93.0, 20.0, 55.0, 8.0, 12.5],
    }
    return pd.DataFrame(table)


@pytest.mark.parametrize("cost", ["epochs", "seconds"])
def test_time_to_target_draws_runs_medians_and_where_runs_are_censored(cost: str, best: Best, ax: Axes) -> None:
    times = times_of()
    medians = median_to_target(times)
    assert plots.plot_time_to_target(times, medians, cost, "so long to 96%", best, ax) is ax
    column = f"{cost}_to_target"
    reached = times[times["reached"]]
    assert points(ax, "a run") == reached[["lr", column]].to_numpy().tolist()
    assert points(ax, "ended before (censored)") == times.loc[~times["reached"], ["lr", column]].to_numpy().tolist()
    assert_line(line(ax, "median"), medians["lr"], medians[column])
    assert np.isnan(line(ax, "median").get_ydata()).tolist() == [True, True, False]
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "so long to 96%")
    assert {"a run", "ended before (censored)", "median"} <= set(legend(ax))


@pytest.mark.parametrize(("reached", "left_out"), [(True, "ended before (censored)"), (False, "a run")])
def test_what_is_not_there_is_not_in_the_legend(reached: bool, left_out: str, best: Best, ax: Axes) -> None:
    times = times_of().assign(reached=reached)
    plots.plot_time_to_target(times, median_to_target(times), "epochs", "epochs", best, ax)
    assert left_out not in legend(ax)


# Accuracy and cost.


@pytest.mark.parametrize(
    ("cost", "median", "label"),
    [("seconds", "seconds_median", "wall time of a run"), ("epochs", "epochs_median", "epochs of a run")],
)
def test_accuracy_and_cost_draws_the_tables_means_and_medians_of_its_arm(
    summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes, cost: str, median: str, label: str
) -> None:
    assert plots.plot_accuracy_and_cost(summary, runs, best, cost, ax) is ax
    rows = of_arm(summary)
    assert_line(line(ax, "test accuracy"), rows["lr"], rows["test_mean"])
    right = right_of(ax)
    drawn = line(right, label)
    np.testing.assert_array_equal(drawn.get_xdata(), rows["lr"])
    np.testing.assert_array_equal(drawn.get_ydata(), rows[median])
    assert (ax.get_xscale(), ax.get_yscale(), right.get_yscale()) == ("log", "linear", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate (optimizer.lr)", "test accuracy")
    assert right.get_ylabel().startswith(label)


def test_accuracy_and_cost_marks_the_bargain_and_the_best_range(
    summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes
) -> None:
    plots.plot_accuracy_and_cost(summary, runs, best, "seconds", ax)
    assert_line(line(ax, "best trade-off"), [1e-3], [0.97])
    assert_shaded(ax, 1e-4, 1e-3)
    assert {"test accuracy", "best range, $10^{-4}$ to $10^{-3}$", "best trade-off, $10^{-3}$"} <= set(legend(ax))


def test_accuracy_is_percent_and_cost_a_plain_number(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes) -> None:
    plots.plot_accuracy_and_cost(summary, runs, best, "seconds", ax)
    assert tick_label(ax.yaxis.get_major_formatter(), 0.8) == "80%"
    cost_axis = right_of(ax).yaxis
    assert [tick_label(cost_axis.get_major_formatter(), value) for value in (0.5, 2, 1000)] == ["0.5", "2", "1000"]
    assert ax.get_ylim() == (0, 1.02)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_single_runs_are_points_where_a_line_is_a_mean(seeds: tuple[int, ...], ax: Axes) -> None:
    runs = runs_of(seeds=seeds)
    plots.plot_accuracy_and_cost(summarise(runs), runs, best_of(runs), "seconds", ax)
    for axes, column in ((ax, "test_accuracy"), (right_of(ax), "seconds")):
        clouds = [each.get_offsets() for each in axes.collections if each.get_label() != "diverged"]
        drawn = [list(point) for cloud in clouds for point in cloud if not np.ma.is_masked(point)]
        assert drawn == ([] if len(seeds) == 1 else runs[["lr", column]].dropna().to_numpy().tolist())


def test_a_diverged_run_is_a_cross_at_its_accuracy_or_at_zero(ax: Axes) -> None:
    runs = runs_of()
    runs.loc[runs["lr"] == 1e-2, "status"] = "diverged"
    plots.plot_accuracy_and_cost(summarise(runs), runs, best_of(runs), "seconds", ax)
    assert points(ax, "diverged") == [[1e-2, 0.55], [1e-1, 0.0]]
    assert "diverged" in legend(ax)  # a cross that nothing explains is a riddle


def test_without_divergence_there_is_no_cross_and_no_word_of_it(ax: Axes) -> None:
    runs = runs_of().iloc[:-1]
    plots.plot_accuracy_and_cost(summarise(runs), runs, best_of(runs), "seconds", ax)
    assert points(ax, "diverged") == []
    assert "diverged" not in legend(ax)


def test_a_range_of_one_rate_is_shaded_half_a_step_on_each_side(ax: Axes) -> None:
    plots.mark_best(best_of(runs_of().iloc[1:2]), ax)
    assert_shaded(ax, 1e-5, 1e-5)


# The plateau.


def test_the_plateau_of_few_seeds_draws_both_accuracies_near_the_best_with_binomial_bars(ax: Axes) -> None:
    num_valid, num_test = 5_000, 10_000
    runs = runs_of()
    runs.loc[runs["lr"] == 1e-2, ["valid_accuracy", "test_accuracy"]] = [0.95, 0.94]
    assert plots.plot_plateau(summarise(runs), best_of(runs), num_valid, num_test, ax) is ax
    for label, accuracies, num_images in (
        ("validation accuracy", [0.97, 0.971, 0.95], num_valid),
        ("test accuracy", [0.975, 0.97, 0.94], num_test),
    ):
        rates, drawn, ends = bars(ax, label)
        assert rates == pytest.approx(
            [1e-4, 1e-3, 1e-2], rel=0.02
        )  # a little aside of one another; a decade around the range, and what is far below the best left out
        assert drawn == accuracies
        for (low, high), accuracy in zip(ends, accuracies, strict=True):
            error = math.sqrt(accuracy * (1 - accuracy) / num_images)
            assert (low, high) == pytest.approx((accuracy - error, accuracy + error))


def test_the_bars_of_two_seeds_are_smaller(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1))
    plots.plot_plateau(summarise(runs), best_of(runs), 5_000, 10_000, ax)
    _, (accuracy, *_), ((low, high), *_) = bars(ax, "validation accuracy")
    assert high - low == pytest.approx(2 * math.sqrt(accuracy * (1 - accuracy) / (5_000 * 2)))


def test_the_bars_of_three_seeds_are_the_tables_intervals(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1, 2))
    summary = summarise(runs)
    plots.plot_plateau(summary, best_of(runs), 5_000, 10_000, ax)
    rows = summary[summary["lr"].between(1e-4, 1e-3)]
    for label, name in (("validation accuracy", "valid"), ("test accuracy", "test")):
        _, means, ends = bars(ax, label)
        np.testing.assert_allclose(means, rows[f"{name}_mean"])
        np.testing.assert_allclose(ends, rows[[f"{name}_low", f"{name}_high"]])


def test_the_plateau_shades_the_range_and_shows_all_it_draws(summary: pd.DataFrame, best: Best, ax: Axes) -> None:
    plots.plot_plateau(summary, best, 5_000, 10_000, ax)
    assert_shaded(ax, 1e-4, 1e-3)
    assert ax.get_xscale() == "log"
    assert tick_label(ax.yaxis.get_major_formatter(), 0.9712) == "97.1%"
    assert len(legend(ax)) == 4
    low, high = ax.get_ylim()
    assert low < 0.97 < 0.975 < high <= 1


# The trade-off.


def test_the_trade_off_joins_the_front_and_leaves_out_what_did_not_learn(summary: pd.DataFrame, best: Best, ax: Axes) -> None:
    assert plots.plot_trade_off(summary, best, ax) is ax
    (others,) = ax.collections
    assert [list(point) for point in others.get_offsets()] == [[90.0, 1 - 0.8], [40.0, 1 - 0.97]]
    assert_line(line(ax, "Pareto front"), [10.0, 20.0], [1 - 0.5, 1 - 0.971])  # of validation: 10^-4 is slower and no better
    assert best.front["lr"].tolist() == [1e-2, 1e-3]


def test_a_rate_beaten_in_both_is_beside_the_front(ax: Axes) -> None:
    runs = runs_of()
    summary = summarise(runs)
    best = best_of(runs)
    plots.plot_trade_off(summary, best, ax)
    drawn = dict(zip(line(ax, "Pareto front").get_xdata(), line(ax, "Pareto front").get_ydata(), strict=True))
    beside = points(ax, next(label for label in legend(ax) if label.startswith("other rates")))
    learned = summary[summary["num_bad"] == 0]
    assert sorted([*map(list, drawn.items()), *beside]) == sorted(
        [float(row["seconds_median"]), float(1 - row["valid_mean"])] for _, row in learned.iterrows()
    )


def test_every_rate_of_the_front_is_named_and_the_bargain_marked(summary: pd.DataFrame, best: Best, ax: Axes) -> None:
    plots.plot_trade_off(summary, best, ax)
    assert best.front["lr"].tolist() == [1e-2, 1e-3]
    assert best.trade_off["lr"] == 1e-3  # the legend names it
    (beside,) = ax.texts
    assert beside.get_text() == lr_label(1e-2)
    assert beside.xy == (best.front["seconds_median"].iloc[0], 1 - best.front["valid_mean"].iloc[0])
    assert_line(line(ax, "best trade-off, $10^{-3}$"), [20.0], [1 - 0.971])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("wall time of a run (seconds)", "validation error (1 - accuracy)")
    assert legend(ax)[0] == "other rates (1 that did not learn left out)"


def test_where_every_rate_learned_none_is_left_out(ax: Axes) -> None:
    runs = runs_of().iloc[1:5]
    plots.plot_trade_off(summarise(runs), best_of(runs), ax)
    assert legend(ax)[0] == "other rates"


def test_the_knee_is_a_ring_around_its_rate(ax: Axes) -> None:
    runs = (
        runs_of().iloc[:5].assign(valid_accuracy=[0.5, 0.73, 0.96, 0.961, 0.962], seconds=[1.0, 2.0, 3.0, 4.0, 5.0], learned=True)
    )
    best = best_of(runs)
    assert best.knee_lr == 1e-4
    plots.plot_trade_off(summarise(runs), best, ax)
    ring = line(ax, "knee (Kneedle), $10^{-4}$")
    assert_line(ring, [3.0], [1 - 0.96])
    assert ring.get_fillstyle() == "none"


def test_without_a_knee_there_is_no_ring(ax: Axes) -> None:
    runs = runs_of().iloc[3:4]
    best = best_of(runs)
    assert best.knee_lr is None
    plots.plot_trade_off(summarise(runs), best, ax)
    assert not [label for label in legend(ax) if label.startswith("knee")]


@pytest.mark.parametrize(
    "errors",
    [[0.02, 0.03, 0.9], [0.02, 0.03, 0.06], [0.011, 0.012, 0.013]],
    ids=["over decades", "within a decade", "close together"],
)
def test_the_trade_offs_axes_can_be_read(errors: list[float], ax: Axes) -> None:
    runs = runs_of().iloc[1 : 1 + len(errors)].assign(valid_accuracy=[1 - error for error in errors])
    plots.plot_trade_off(summarise(runs), best_of(runs), ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    assert low < min(errors) < max(errors) < high
    ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    told = {tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high} - {""}
    assert len(told) >= 2  # one number, or none, gives an axis no scale
    assert all("%" in label for label in told)


@pytest.mark.parametrize(
    "rates", [[3e-4], [2e-3, 3e-3, 4e-3], [1e-6, 1e-5], [1e-6, 1e-1]], ids=["one", "near", "a decade", "far"]
)
def test_the_rates_axis_names_its_rates_truly(rates: list[float], ax: Axes) -> None:
    runs = runs_of().iloc[1:5].iloc[: len(rates)].assign(lr=rates)
    plots.plot_error(summarise(runs), runs, best_of(runs), ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    told = {t.get_loc(): t.label1.get_text() for t in ax.xaxis.get_major_ticks() if low <= t.get_loc() <= high}
    assert told
    plain = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    for value, label in told.items():
        said = float(label) if "⁻" not in label else 10.0 ** int(label.translate(plain).removeprefix("10"))
        assert said == pytest.approx(value)


@pytest.mark.parametrize(("time", "name"), [("wall", "wall time"), ("cpu", "CPU time"), ("mixed", "measured or calibrated time")])
def test_axes_say_which_time_they_show(time: str, name: str, ax: Axes) -> None:
    runs = runs_of(time=time)
    plots.plot_trade_off(summarise(runs), best_of(runs), ax)
    assert ax.get_xlabel().startswith(f"{name} of a run")
    figure, other = plots.figure_with("")
    plots.plot_accuracy_and_cost(summarise(runs), runs, best_of(runs), "seconds", other)
    assert right_of(other).get_ylabel().startswith(f"{name} of a run")
    plt.close(figure)


# Studies of which there is little to draw: no warning, no crash.

LITTLE = {
    "one run": runs_of().iloc[2:3],
    "two seeds of one rate": runs_of(seeds=(0, 1)).iloc[[2, 8]],
    "all at chance": runs_of().iloc[:1],
    "several at chance": runs_of().iloc[1:4].assign(valid_accuracy=0.1, test_accuracy=0.1, learned=False),
    "no error": runs_of().iloc[1:4].assign(valid_accuracy=1.0, test_accuracy=1.0),
    "nothing right": runs_of().iloc[1:4].assign(valid_accuracy=0.0, test_accuracy=0.0, learned=False),
    "equal in all": runs_of().iloc[1:4].assign(valid_accuracy=0.9, test_accuracy=0.9, seconds=5.0, epochs=5),
    "one learned, the others diverged": runs_of().iloc[[3, 5]],
    "all diverged late": runs_of().iloc[1:3].assign(status="diverged"),
    "diverged, without a test accuracy": runs_of().iloc[1:3].assign(status="diverged", test_accuracy=math.nan),
    "a seed diverged at every rate": pd.concat(
        [runs_of(), runs_of().assign(seed=1, status="diverged", valid_accuracy=math.nan, test_accuracy=math.nan, learned=False)]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("runs", LITTLE.values(), ids=LITTLE.keys())
def test_where_there_is_little_to_draw_nothing_warns_or_crashes(runs: pd.DataFrame) -> None:
    runs = runs.reset_index(drop=True)
    summary = summarise(runs)
    best = find_best(runs)
    if best is None:  # no rate was scored on every seed
        assert runs.groupby("lr")["valid_accuracy"].count().lt(runs["seed"].nunique()).all()
        return
    times = runs[["run_id", "lr", "seed"]].assign(reached=runs["learned"], epochs_to_target=3.0, seconds_to_target=4.5)
    medians = median_to_target(times)
    curves = runs.assign(epoch=1)
    for plot in (
        lambda ax: plots.plot_error(summary, runs, best, ax),
        lambda ax: plots.plot_accuracy_and_cost(summary, runs, best, "seconds", ax),
        lambda ax: plots.plot_accuracy_and_cost(summary, runs, best, "epochs", ax),
        lambda ax: plots.plot_plateau(summary, best, 5_000, 10_000, ax),
        lambda ax: plots.plot_bad(summary, best, ax),
        lambda ax: plots.plot_trade_off(summary, best, ax),
        lambda ax: plots.plot_time_to_target(times, medians, "seconds", "seconds", best, ax),
        lambda ax: plots.plot_training_curves(curves, telling_rates(summary, best), ARM, 0, ax),
    ):
        figure, ax = plots.figure_with("little")
        assert plot(ax) is ax
        figure.draw_without_rendering()
        assert ax.get_xlabel()
        assert ax.get_ylabel()
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
    assert plots.plot_training_curves(curves, [1e-6, 1e-3], ARM, 0, ax) is ax
    assert_line(line(ax, "$10^{-6}$"), [1, 2], [0.1, 0.1])
    assert_line(line(ax, "$10^{-3}$"), [1, 2, 3, 4], [0.5, 0.97, 0.96, 0.97])
    assert legend(ax) == ["$10^{-6}$", "$10^{-3}$"]
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "epoch (log scale)", "validation accuracy")
    assert tick_label(ax.yaxis.get_major_formatter(), 0.5) == "50%"
    assert tick_label(ax.xaxis.get_major_formatter(), 20) == "20"


def test_a_curves_mark_is_its_first_best_epoch(ax: Axes) -> None:
    plots.plot_training_curves(curves_of(), [1e-6, 1e-3, 1e-2], ARM, 0, ax)
    marks = [drawn for drawn in ax.lines if len(drawn.get_xdata()) == 1]
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks] == [(1, 0.1), (2, 0.97), (1, 0.3)]
    assert len({mark.get_marker() for mark in marks}) == 3  # told apart without colours
    assert len({drawn.get_linestyle() for drawn in ax.lines if drawn not in marks}) == 3


def test_a_seed_without_a_curve_at_these_rates_leaves_the_figure_empty(ax: Axes) -> None:
    plots.plot_training_curves(curves_of(), [1e-1], ARM, 0, ax)
    assert not ax.lines
    assert ax.get_legend() is None


def test_a_rate_without_a_curve_is_left_out(ax: Axes) -> None:
    plots.plot_training_curves(curves_of(), [1e-6, 1e-1], ARM, 0, ax)
    assert legend(ax) == ["$10^{-6}$"]


def test_a_figure_has_its_title(ax: Axes) -> None:
    assert ax.get_title(loc="left") == "a title"


def test_a_long_title_is_broken_where_it_would_leave_the_figure() -> None:
    figure, ax = plots.figure_with("Runs that diverged or stayed at chance " + "(cross_entropy, training.batch_size=64) " * 4)
    figure.draw_without_rendering()
    assert ax.title.get_window_extent().x0 >= 0
    left = next(text for text in ax.get_children() if getattr(text, "get_text", str)().startswith("Runs that"))
    assert left.get_window_extent().x1 <= figure.bbox.x1
    assert left.get_window_extent().y1 <= figure.bbox.y1
    plt.close(figure)


# The rates whose curves are shown.


run_of = st.tuples(st.sampled_from([0.1, 0.5, 0.896, 0.898, 0.9]), st.floats(1, 100))


@given(rows=st.dictionaries(st.integers(-60, -10), run_of, min_size=1, max_size=12))
@settings(max_examples=25)
def test_telling_rates_hold_the_ends_the_best_and_the_bargain(rows: dict[int, tuple[float, float]]) -> None:
    rates = [10 ** (exponent / 10) for exponent in sorted(rows)]
    valid, seconds = zip(*(rows[exponent] for exponent in sorted(rows)), strict=True)
    usual = runs_of().iloc[2].to_dict()
    columns = zip(rates, valid, seconds, strict=True)
    runs = pd.DataFrame([usual | {"lr": lr, "valid_accuracy": v, "seconds": s} for lr, v, s in columns])
    best = best_of(runs)
    other = summarise(runs_of(arm="another").assign(lr=1e-9).iloc[:1])
    told = telling_rates(pd.concat([other, summarise(runs)], ignore_index=True), best)
    assert {rates[0], rates[-1], best.best["lr"], best.trade_off["lr"]} <= set(told) <= set(rates)
    assert len(told) == min(5, len(rates))
    assert told == sorted(set(told))


def test_the_rest_of_the_telling_rates_lie_farthest_from_the_others() -> None:
    usual = runs_of().iloc[2].to_dict()
    # Best and bargain at 10^-2; then 10^-4, half-way from 10^-6; then 10^-5.
    runs = pd.DataFrame([usual | {"lr": lr, "valid_accuracy": 0.9 if lr == 1e-2 else 0.5} for lr in log_grid(GridConfig())])
    assert telling_rates(summarise(runs), best_of(runs)) == [1e-6, 1e-5, 1e-4, 1e-2, 10**-1.5]
