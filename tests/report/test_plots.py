"""Every figure draws the numbers of its table, as read back from the axes."""

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

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.summary import summarise
from lrsweep.analysis.time_to_target import median_to_target
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.figures import plots
from lrsweep.report.figures.style import lr_label, mark_best, new_figure

ARM = "cross_entropy"
RATES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
HALF_A_STEP = 10**0.05

# One run per rate: status, validation and test accuracy, seconds, epochs. The last one diverges in its first epoch.
RUNS = [
    ("ok", 0.10, 0.11, 9.0, 6),
    ("ok", 0.80, 0.82, 90.0, 60),
    ("ok", 0.97, 0.975, 40.0, 20),
    ("ok", 0.971, 0.97, 20.0, 10),
    ("ok", 0.50, 0.55, 10.0, 7),
    ("diverged", math.nan, math.nan, 0.5, 0),
]


def runs_of(*, seeds: tuple[int, ...] = (0,), arm: str = ARM, time: str = "wall") -> pd.DataFrame:
    """RUNS for each seed. Each seed is slightly better than the one before."""
    rows = [
        {
            **{"run_id": f"{arm}-{seed}-{lr}", "arm": arm, "lr": lr, "seed": seed, "status": status, "epochs": epochs},
            **{"valid_accuracy": valid + 0.001 * seed, "test_accuracy": test + 0.001 * seed, "learned": valid > 0.2},
            **{"seconds": seconds + seed, "wall_seconds": seconds + seed, "time": time, "data.num_valid": 5000},
        }
        for seed in seeds
        for lr, (status, valid, test, seconds, epochs) in zip(RATES, RUNS, strict=True)
    ]
    return pd.DataFrame(rows)


def with_another_arm(runs: pd.DataFrame) -> pd.DataFrame:
    """Every figure must leave the other arm out."""
    return pd.concat([runs, runs_of(arm="double_softmax")], ignore_index=True)


def best_of(runs: pd.DataFrame) -> Best:
    best = find_best(runs[runs["arm"] == ARM])
    assert best is not None
    return best


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, ax = new_figure("a title")
    yield ax
    figure.draw_without_rendering()  # warnings are errors: the logarithm of 0 would fail here
    plt.close(figure)


@pytest.fixture
def runs() -> pd.DataFrame:
    return with_another_arm(runs_of())


@pytest.fixture
def summary(runs: pd.DataFrame) -> pd.DataFrame:
    return summarise(runs)


@pytest.fixture
def best(runs: pd.DataFrame) -> Best:
    return best_of(runs)


def line(ax: Axes, label: str) -> Line2D:
    """The only line whose label starts with `label`."""
    (match,) = [line for line in ax.lines if str(line.get_label()).startswith(label)]
    return match


def assert_line(drawn: Line2D, x: Any, y: Any) -> None:
    np.testing.assert_array_equal(drawn.get_xdata(), x)
    np.testing.assert_array_equal(drawn.get_ydata(), y)


def points(ax: Axes, label: str) -> list[list[float]]:
    """The points of the scatter plot with this label; none if there is no such plot."""
    clouds = [cloud for cloud in ax.collections if isinstance(cloud, PathCollection) and cloud.get_label() == label]
    return [[float(number) for number in point] for cloud in clouds for point in cloud.get_offsets()]


def bars(ax: Axes, label: str) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """x, y and both ends of the error bars with this label."""
    (container,) = [container for container in ax.containers if str(container.get_label()).startswith(label)]
    drawn, _, (segments,) = container.lines
    ends = [(float(low[1]), float(high[1])) for low, high in segments.get_segments()]
    return list(drawn.get_xdata()), list(drawn.get_ydata()), ends


def legend(ax: Axes) -> list[str]:
    box = ax.get_legend()
    return [text.get_text() for text in box.get_texts()] if box else []


def right_of(ax: Axes) -> Axes:
    return next(other for other in ax.figure.axes if other is not ax)


def of_arm(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["arm"] == ARM]


def assert_shaded(ax: Axes, low: float, high: float) -> None:
    (shade,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    left = shade.get_x()
    assert (left, left + shade.get_width()) == pytest.approx((low / HALF_A_STEP, high * HALF_A_STEP))


# Style.


@pytest.mark.parametrize(
    ("lr", "label"),
    [
        *((1e-3, "$10^{-3}$"), (10**-3.25, "$10^{-3.25}$"), (1.0, "$10^{0}$"), (10**0.5, "$10^{0.5}$")),
        *((10**-10.25, "$10^{-10.25}$"), (3e-4, "0.0003"), (5e-7, "5e-07"), (0.123456, "0.123")),
    ],
)
def test_a_rate_is_labelled_as_a_power_of_ten_if_its_exponent_is_short(lr: float, label: str) -> None:
    assert lr_label(lr) == label


def test_a_long_title_is_wrapped_and_stays_inside_the_figure() -> None:
    figure, ax = new_figure("Runs that diverged or stayed at chance " + "(cross_entropy, training.batch_size=64) " * 4)
    figure.draw_without_rendering()
    (title,) = [text for text in ax.get_children() if getattr(text, "get_text", str)().startswith("Runs that")]
    box = title.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    plt.close(figure)


def test_a_range_of_one_rate_is_shaded_half_a_step_on_each_side(ax: Axes) -> None:
    mark_best(best_of(runs_of().iloc[1:2]), ax)
    assert_shaded(ax, 1e-5, 1e-5)


@pytest.mark.parametrize(
    "rates", [[3e-4], [2e-3, 3e-3, 4e-3], [1e-6, 1e-5], [1e-6, 1e-1]], ids=["one", "near", "a decade", "far"]
)
def test_tick_labels_of_the_rate_axis_equal_their_values(rates: list[float], ax: Axes) -> None:
    runs = runs_of().iloc[1:5].iloc[: len(rates)].assign(lr=rates)
    plots.plot_error(summarise(runs), runs, best_of(runs), ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    labels = {t.get_loc(): t.label1.get_text() for t in ax.xaxis.get_major_ticks() if low <= t.get_loc() <= high}
    assert labels
    plain = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    for value, label in labels.items():
        read = float(label) if "⁻" not in label else 10.0 ** int(label.translate(plain).removeprefix("10"))
        assert read == pytest.approx(value)


# Error against the rate.


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_the_error_figure_draws_every_run_the_means_and_the_answer(seeds: tuple[int, ...], ax: Axes) -> None:
    runs = with_another_arm(runs_of(seeds=seeds))
    summary, best = summarise(runs), best_of(runs)
    assert plots.plot_error(summary, runs, best, ax) is ax
    rows, single = of_arm(summary), of_arm(runs)
    assert_line(line(ax, "mean"), rows["lr"], 1 - rows["test_mean"])
    for label, chosen in (("a run", single[single["learned"]]), ("at chance level", single[single["lr"] == 1e-6])):
        np.testing.assert_allclose(points(ax, label), np.column_stack([chosen["lr"], 1 - chosen["test_accuracy"]]))
    assert points(ax, "diverged") == [[1e-1, 1.0]] * len(seeds)  # it has no accuracy
    assert_shaded(ax, best.low, best.high)
    assert_line(line(ax, "best trade-off"), [1e-3], [1 - best.trade_off["test_mean"]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate (optimizer.lr)", "test error (1 - accuracy)")
    assert {"a run", "at chance level", "diverged", "mean", "best trade-off, $10^{-3}$"} <= set(legend(ax))
    assert ("95% interval" in legend(ax)) == (len(seeds) > 1)
    assert ax.yaxis.get_major_formatter()(0.02, 0) == "2%"


def test_the_band_of_the_error_figure_is_the_interval_of_the_table(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1, 2)).assign(test_accuracy=lambda table: table["test_accuracy"] + 0.01 * (table["seed"] == 1))
    summary = summarise(runs)
    plots.plot_error(summary, runs, best_of(runs), ax)
    (band,) = [collection for collection in ax.collections if collection.get_label() == "95% interval"]
    rows = summary[summary["test_low"].notna()]
    assert len(rows) == 5
    ends = {tuple(end) for end in np.vstack([path.vertices for path in band.get_paths()])}
    for _, row in rows.iterrows():
        for accuracy in (row["test_low"], row["test_high"]):
            assert (row["lr"], min(max(1 - accuracy, 1e-4), 1)) in ends


def test_an_error_of_zero_is_drawn_at_the_lowest_error(ax: Axes) -> None:
    runs = runs_of().iloc[2:4].assign(test_accuracy=1.0)
    plots.plot_error(summarise(runs), runs, best_of(runs), ax)
    assert [point[1] for point in points(ax, "a run")] == [1e-4, 1e-4]


def test_a_failed_run_is_in_no_figure(ax: Axes) -> None:
    runs = runs_of()
    runs.loc[0, ["status", "valid_accuracy", "test_accuracy", "seconds"]] = ["failed", math.nan, math.nan, math.nan]
    runs.loc[0, "learned"] = False
    plots.plot_error(summarise(runs), runs, best_of(runs), ax)
    assert points(ax, "at chance level") == []
    assert 1e-6 not in [point[0] for point in points(ax, "diverged")]
    figure, other = new_figure("")
    plots.plot_bad(summarise(runs), best_of(runs), other)
    assert bars(other, "share")[0] == RATES[1:]
    plt.close(figure)


# Bad runs.


def test_the_bad_figure_draws_the_shares_of_the_table_with_wilson_intervals(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1, 2, 3))
    runs.loc[(runs["lr"] == 1e-2) & (runs["seed"] > 1), "learned"] = False
    summary = summarise(with_another_arm(runs))
    assert plots.plot_bad(summary, best_of(runs), ax) is ax
    rates, shares, ends = bars(ax, "share")
    assert (rates, shares) == (RATES, [1.0, 0.0, 0.0, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(ends, of_arm(summary)[["bad_low", "bad_high"]])
    assert 0.1 < ends[4][0] < 0.2  # 2 of 4
    assert 0.45 < ends[1][1] < 0.55  # 0 of 4
    assert_shaded(ax, best_of(runs).low, best_of(runs).high)
    assert ax.yaxis.get_major_formatter()(0.5, 0) == "50%"


# Time to a target.


def times_of() -> pd.DataFrame:
    """Two seeds. At the first rate none reaches the target, at the second one, at the third both."""
    return pd.DataFrame(
        {
            **{"run_id": list("abcdef"), "lr": [1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3], "seed": [0, 1] * 3},
            "reached": [False, False, True, False, True, True],
            "epochs_to_target": [60.0, 62.0, 11.0, 30.0, 4.0, 6.0],
            "seconds_to_target": [90.0, 93.0, 20.0, 55.0, 8.0, 12.5],
        }
    )


@pytest.mark.parametrize("cost", ["epochs", "seconds"])
def test_time_to_target_draws_runs_censored_runs_and_medians(cost: str, best: Best, ax: Axes) -> None:
    times = times_of()
    medians = median_to_target(times)
    assert plots.plot_time_to_target(times, medians, cost, "time to 96%", best, ax) is ax
    column = f"{cost}_to_target"
    assert points(ax, "a run") == times.loc[times["reached"], ["lr", column]].to_numpy().tolist()
    assert points(ax, "ended before (censored)") == times.loc[~times["reached"], ["lr", column]].to_numpy().tolist()
    assert_line(line(ax, "median"), medians["lr"], medians[column])
    assert np.isnan(line(ax, "median").get_ydata()).tolist() == [True, True, False]
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "time to 96%")
    assert {"a run", "ended before (censored)", "median"} <= set(legend(ax))


@pytest.mark.parametrize(("reached", "missing"), [(True, "ended before (censored)"), (False, "a run")])
def test_a_kind_of_run_without_runs_is_not_in_the_legend(reached: bool, missing: str, best: Best, ax: Axes) -> None:
    times = times_of().assign(reached=reached)
    plots.plot_time_to_target(times, median_to_target(times), "epochs", "epochs", best, ax)
    assert missing not in legend(ax)


# Accuracy and cost.


@pytest.mark.parametrize(
    ("cost", "median", "label"),
    [("seconds", "seconds_median", "wall time of a run"), ("epochs", "epochs_median", "epochs of a run")],
)
def test_accuracy_and_cost_draws_means_medians_and_the_answer(
    summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes, cost: str, median: str, label: str
) -> None:
    assert plots.plot_accuracy_and_cost(summary, runs, best, cost, ax) is ax
    rows, right = of_arm(summary), right_of(ax)
    assert_line(line(ax, "test accuracy"), rows["lr"], rows["test_mean"])
    assert_line(line(right, label), rows["lr"], rows[median])
    assert_line(line(ax, "best trade-off"), [1e-3], [0.97])
    assert_shaded(ax, 1e-4, 1e-3)
    assert {"test accuracy", "best range, $10^{-4}$ to $10^{-3}$", "best trade-off, $10^{-3}$"} <= set(legend(ax))
    assert (ax.get_xscale(), ax.get_yscale(), right.get_yscale()) == ("log", "linear", "log")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_ylim()) == ("learning rate (optimizer.lr)", "test accuracy", (0, 1.02))
    assert right.get_ylabel().startswith(label)
    assert ax.yaxis.get_major_formatter()(0.8, 0) == "80%"
    assert [right.yaxis.get_major_formatter()(value, 0) for value in (0.5, 2, 1000)] == ["0.5", "2", "1000"]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_single_runs_are_drawn_only_if_the_lines_are_means(seeds: tuple[int, ...], ax: Axes) -> None:
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
    assert "diverged" in legend(ax)


def test_without_diverged_runs_there_is_no_cross_in_figure_and_legend(ax: Axes) -> None:
    runs = runs_of().iloc[:-1]
    plots.plot_accuracy_and_cost(summarise(runs), runs, best_of(runs), "seconds", ax)
    assert points(ax, "diverged") == []
    assert "diverged" not in legend(ax)


# The plateau.


@pytest.mark.parametrize("seeds", [(0,), (0, 1)], ids=["one seed", "two seeds"])
def test_with_few_seeds_the_plateau_has_binomial_bars(seeds: tuple[int, ...], ax: Axes) -> None:
    """At all rates within a decade of the range, except those far below the best."""
    num_images = {"valid": 5_000, "test": 10_000}
    runs = runs_of(seeds=seeds)
    runs.loc[runs["lr"] == 1e-2, ["valid_accuracy", "test_accuracy"]] = [0.95, 0.94]
    summary = summarise(runs)
    assert plots.plot_plateau(summary, best_of(runs), *num_images.values(), ax) is ax
    for label, name in (("validation accuracy", "valid"), ("test accuracy", "test")):
        rates, accuracies, ends = bars(ax, label)
        rows = summary[summary["lr"].isin([1e-4, 1e-3, 1e-2])]
        assert rates == pytest.approx(rows["lr"].tolist(), rel=0.02)  # shifted, so that the bars stay apart
        assert accuracies == rows[f"{name}_mean"].tolist()
        for end, accuracy in zip(ends, accuracies, strict=True):
            error = math.sqrt(accuracy * (1 - accuracy) / (num_images[name] * len(seeds)))
            assert end == pytest.approx((accuracy - error, accuracy + error))


def test_with_three_seeds_the_plateau_has_the_intervals_of_the_table(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1, 2))
    summary = summarise(runs)
    plots.plot_plateau(summary, best_of(runs), 5_000, 10_000, ax)
    rows = summary[summary["lr"].between(1e-4, 1e-3)]
    for label, name in (("validation accuracy", "valid"), ("test accuracy", "test")):
        _, means, ends = bars(ax, label)
        np.testing.assert_allclose(means, rows[f"{name}_mean"])
        np.testing.assert_allclose(ends, rows[[f"{name}_low", f"{name}_high"]])


def test_the_plateau_shades_the_range_and_shows_all_points(summary: pd.DataFrame, best: Best, ax: Axes) -> None:
    plots.plot_plateau(summary, best, 5_000, 10_000, ax)
    assert_shaded(ax, 1e-4, 1e-3)
    assert ax.get_xscale() == "log"
    assert ax.yaxis.get_major_formatter()(0.9712, 0) == "97.1%"
    low, high = ax.get_ylim()
    assert low < 0.97 < 0.975 < high <= 1


# The trade-off.


def test_the_trade_off_draws_the_front_and_the_other_rates_that_learned(summary: pd.DataFrame, best: Best, ax: Axes) -> None:
    assert plots.plot_trade_off(summary, best, ax) is ax
    assert legend(ax)[0] == "other rates (1 that did not learn left out)"
    assert points(ax, legend(ax)[0]) == [[90.0, 1 - 0.8], [40.0, 1 - 0.97]]
    assert best.front["lr"].tolist() == [1e-2, 1e-3]
    assert_line(line(ax, "Pareto front"), [10.0, 20.0], [1 - 0.5, 1 - 0.971])
    (label,) = ax.texts  # the legend names the other rate of the front
    assert (label.get_text(), label.xy) == (lr_label(1e-2), (10.0, 1 - 0.5))
    assert_line(line(ax, "best trade-off, $10^{-3}$"), [20.0], [1 - 0.971])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("wall time of a run (seconds)", "validation error (1 - accuracy)")


def test_if_every_rate_learned_none_is_left_out(ax: Axes) -> None:
    runs = runs_of().iloc[1:5]
    plots.plot_trade_off(summarise(runs), best_of(runs), ax)
    assert legend(ax)[0] == "other rates"


def test_the_knee_is_a_ring_around_its_rate(ax: Axes) -> None:
    accuracies = [0.5, 0.73, 0.96, 0.961, 0.962]
    runs = runs_of().iloc[:5].assign(valid_accuracy=accuracies, seconds=[1.0, 2.0, 3.0, 4.0, 5.0], learned=True)
    assert best_of(runs).knee_lr == 1e-4
    plots.plot_trade_off(summarise(runs), best_of(runs), ax)
    ring = line(ax, "knee (Kneedle), $10^{-4}$")
    assert_line(ring, [3.0], [1 - 0.96])
    assert ring.get_fillstyle() == "none"


def test_without_a_knee_there_is_no_ring(ax: Axes) -> None:
    runs = runs_of().iloc[3:4]
    assert best_of(runs).knee_lr is None
    plots.plot_trade_off(summarise(runs), best_of(runs), ax)
    assert not [label for label in legend(ax) if label.startswith("knee")]


@pytest.mark.parametrize(
    "errors",
    [[0.02, 0.03, 0.9], [0.02, 0.03, 0.06], [0.011, 0.012, 0.013]],
    ids=["over decades", "within a decade", "close together"],
)
def test_the_error_axis_of_the_trade_off_has_at_least_two_labels(errors: list[float], ax: Axes) -> None:
    runs = runs_of().iloc[1 : 1 + len(errors)].assign(valid_accuracy=[1 - error for error in errors])
    plots.plot_trade_off(summarise(runs), best_of(runs), ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    assert low < min(errors) < max(errors) < high
    ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    labels = {tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high} - {""}
    assert len(labels) >= 2
    assert all("%" in label for label in labels)


@pytest.mark.parametrize(("time", "name"), [("wall", "wall time"), ("cpu", "CPU time"), ("mixed", "measured or calibrated time")])
def test_the_axes_name_the_kind_of_time(time: str, name: str, ax: Axes) -> None:
    runs = runs_of(time=time)
    plots.plot_trade_off(summarise(runs), best_of(runs), ax)
    assert ax.get_xlabel().startswith(f"{name} of a run")
    figure, other = new_figure("")
    plots.plot_accuracy_and_cost(summarise(runs), runs, best_of(runs), "seconds", other)
    assert right_of(other).get_ylabel().startswith(f"{name} of a run")
    plt.close(figure)


# Training curves.


def curves_of(arm: str = ARM, seed: int = 0) -> pd.DataFrame:
    accuracies = {1e-6: [0.1, 0.1], 1e-3: [0.5, 0.97, 0.96, 0.97], 1e-2: [0.3, 0.2]}
    return pd.DataFrame(
        {"arm": arm, "seed": seed, "lr": lr, "epoch": i, "valid_accuracy": accuracy - 0.01 * seed}
        for lr, curve in accuracies.items()
        for i, accuracy in enumerate(curve, start=1)
    )


def test_training_curves_show_the_chosen_rates_of_one_arm_and_seed(ax: Axes) -> None:
    curves = pd.concat([curves_of(seed=1), curves_of("double_softmax"), curves_of()], ignore_index=True)
    assert plots.plot_training_curves(curves, [1e-6, 1e-3, 1e-1], ARM, 0, ax) is ax
    assert_line(line(ax, "$10^{-6}$"), [1, 2], [0.1, 0.1])
    assert_line(line(ax, "$10^{-3}$"), [1, 2, 3, 4], [0.5, 0.97, 0.96, 0.97])
    assert legend(ax) == ["$10^{-6}$", "$10^{-3}$"]  # 10^-1 has no curve
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "epoch (log scale)", "validation accuracy")
    assert ax.yaxis.get_major_formatter()(0.5, 0) == "50%"
    assert ax.xaxis.get_major_formatter()(20, 0) == "20"


def test_a_marker_shows_the_first_best_epoch_of_each_curve(ax: Axes) -> None:
    plots.plot_training_curves(curves_of(), [1e-6, 1e-3, 1e-2], ARM, 0, ax)
    marks = [drawn for drawn in ax.lines if len(drawn.get_xdata()) == 1]
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks] == [(1, 0.1), (2, 0.97), (1, 0.3)]
    assert len({mark.get_marker() for mark in marks}) == 3  # distinguishable without colours
    assert len({drawn.get_linestyle() for drawn in ax.lines if drawn not in marks}) == 3


def test_a_training_curve_joins_the_epochs_that_were_validated(ax: Axes) -> None:
    curves = curves_of()
    curves.loc[curves["epoch"].isin([1, 3]), "valid_accuracy"] = math.nan
    plots.plot_training_curves(curves, [1e-3, 1e-2], ARM, 0, ax)
    assert_line(line(ax, "$10^{-3}$"), [2, 4], [0.97, 0.97])
    marks = [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in ax.lines if mark.get_marker() not in ("None", None)]
    assert marks == [(2, 0.97), (2, 0.2)]


def test_a_seed_without_curves_at_these_rates_gives_an_empty_figure(ax: Axes) -> None:
    plots.plot_training_curves(curves_of(), [1e-1], ARM, 0, ax)
    assert not ax.lines
    assert ax.get_legend() is None


run_values = st.tuples(st.sampled_from([0.1, 0.5, 0.896, 0.898, 0.9]), st.floats(1, 100))


@given(runs_by_exponent=st.dictionaries(st.integers(-60, -10), run_values, min_size=1, max_size=12))
@settings(max_examples=25)
def test_representative_rates_contain_both_ends_the_best_and_the_trade_off(
    runs_by_exponent: dict[int, tuple[float, float]],
) -> None:
    template = runs_of().iloc[2].to_dict()
    runs = pd.DataFrame(
        template | {"lr": 10 ** (exponent / 10), "valid_accuracy": valid, "seconds": seconds}
        for exponent, (valid, seconds) in sorted(runs_by_exponent.items())
    )
    best, rates = best_of(runs), runs["lr"].tolist()
    other = summarise(runs_of(arm="another").assign(lr=1e-9).iloc[:1])
    chosen = plots.representative_rates(pd.concat([other, summarise(runs)], ignore_index=True), best)
    assert {rates[0], rates[-1], best.best["lr"], best.trade_off["lr"]} <= set(chosen) <= set(rates)
    assert len(chosen) == min(5, len(rates))
    assert chosen == sorted(set(chosen))


def test_the_other_representative_rates_are_the_farthest_from_the_chosen_ones() -> None:
    """The best rate is 10^-2. Then come 10^-4, half-way to 10^-6, and 10^-5."""
    template = runs_of().iloc[2].to_dict()
    grid = log_grid(GridConfig())
    runs = pd.DataFrame(template | {"lr": lr, "valid_accuracy": 0.9 if lr == 1e-2 else 0.5} for lr in grid)
    assert plots.representative_rates(summarise(runs), best_of(runs)) == [1e-6, 1e-5, 1e-4, 1e-2, 10**-1.5]
