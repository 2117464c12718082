"""Every figure draws the numbers of its table, as read back from the axes."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.edges import Edge, Edges, learning_edges
from lrsweep.analysis.time_to_target import median_to_target
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.figures import plots
from lrsweep.report.figures.style import CLASSES, GOOD, lr_label, mark_good, new_figure

ARM = "cross_entropy"
RATES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
HALF_A_STEP = 10**0.5
NO_EDGES = Edges(None, None)

# One run per rate: status, validation and test accuracy, epochs. The last one diverges in its first epoch.
RUNS = [
    ("ok", 0.10, 0.11, 6),
    ("ok", 0.80, 0.82, 60),
    ("ok", 0.97, 0.9703, 20),
    ("ok", 0.971, 0.97, 10),
    ("ok", 0.50, 0.55, 7),
    ("diverged", math.nan, math.nan, 0),
]


def runs_of(*, seeds: tuple[int, ...] = (0,), arm: str = ARM) -> pd.DataFrame:
    """RUNS for each seed. Each seed is slightly better than the one before, and every run has a little noise."""
    noise = np.random.default_rng(0)
    rows = [
        {
            **{"run_id": f"{arm}-{seed}-{lr}", "arm": arm, "lr": lr, "seed": seed, "status": status, "epochs": epochs},
            **{"stop_reason": "patience", "training.patience": "5", "training.max_epochs": 1000},
            **{"valid_accuracy": valid + 0.001 * seed, "test_accuracy": test + 0.001 * seed + noise.normal(0, 1e-4)},
            **{"learned": valid > 0.2, "seconds": 10.0, "data.num_valid": 5000, "data.num_test": 10_000},
        }
        for seed in seeds
        for lr, (status, valid, test, epochs) in zip(RATES, RUNS, strict=True)
    ]
    return pd.DataFrame(rows)


def with_another_arm(runs: pd.DataFrame) -> pd.DataFrame:
    """Every figure must leave the other arm out."""
    return pd.concat([runs, runs_of(arm="double_softmax")], ignore_index=True)


def best_of(runs: pd.DataFrame, **keywords: Any) -> Best:
    best = find_best(runs[runs["arm"] == ARM], **keywords)
    assert best is not None
    return best


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, ax = new_figure("a title")
    yield ax
    figure.draw_without_rendering()  # warnings are errors: the logarithm of 0 would fail here
    plt.close(figure)


SEEDS = (0, 1, 2, 3)  # enough to show that two rates are good


@pytest.fixture
def runs() -> pd.DataFrame:
    return with_another_arm(runs_of(seeds=SEEDS))


@pytest.fixture
def best(runs: pd.DataFrame) -> Best:
    best = best_of(runs)
    assert best.rows["verdict"].tolist() == ["worse", "worse", "good", "good", "worse", "worse"]
    return best


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


def legend(ax: Axes) -> list[str]:
    box = ax.get_legend()
    return [text.get_text() for text in box.get_texts()] if box else []


def right_of(ax: Axes) -> Axes:
    return next(other for other in ax.figure.axes if other is not ax)


def of_arm(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["arm"] == ARM]


def shades(ax: Axes) -> list[tuple[float, float]]:
    """Both ends of each stretch of good rates."""
    found = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_facecolor()[:3] == to_rgb(GOOD)]
    tall = [patch for patch in found if patch.get_transform() == ax.get_xaxis_transform(which="grid")]
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in tall or found]


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


def test_each_stretch_of_good_rates_is_shaded_half_a_step_wider(best: Best, ax: Axes) -> None:
    mark_good(best, ax)
    ((low, high),) = shades(ax)
    assert (low, high) == pytest.approx((1e-4 / HALF_A_STEP, 1e-3 * HALF_A_STEP))
    apart = replace(best, rows=best.rows.assign(verdict=["good", "worse", "good", "worse", "worse", "good"]))
    figure, other = new_figure("")
    mark_good(apart, other)
    assert len(shades(other)) == 3
    other.legend()
    assert legend(other) == ["good rates"]
    plt.close(figure)


def test_without_a_good_rate_nothing_is_shaded(ax: Axes) -> None:
    assert mark_good(best_of(runs_of()), ax) is None
    assert shades(ax) == []


def test_classes_differ_in_colour_and_marker() -> None:
    colours, markers = zip(*CLASSES.values(), strict=True)
    assert len(set(colours)) == len(set(markers)) == 3


@pytest.mark.parametrize(
    "rates", [[3e-4], [2e-3, 3e-3, 4e-3], [1e-6, 1e-5], [1e-6, 1e-1]], ids=["one", "near", "a decade", "far"]
)
def test_tick_labels_of_the_rate_axis_equal_their_values(rates: list[float], ax: Axes) -> None:
    runs = runs_of().iloc[1:5].iloc[: len(rates)].assign(lr=rates)
    plots.plot_error(runs, best_of(runs), best_of(runs), NO_EDGES, ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    labels = {t.get_loc(): t.label1.get_text() for t in ax.xaxis.get_major_ticks() if low <= t.get_loc() <= high}
    assert labels
    plain = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    for value, label in labels.items():
        read = float(label) if "⁻" not in label else 10.0 ** int(label.translate(plain).removeprefix("10"))
        assert read == pytest.approx(value)


# What each rate loses.


def intervals(ax: Axes, verdict: str) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """x, y and both ends of the bars of one class."""
    (container,) = [container for container in ax.containers if container.get_label() == verdict]
    drawn, _, (segments,) = container.lines
    ends = [(float(low[1]), float(high[1])) for low, high in segments.get_segments()]
    return list(drawn.get_xdata()), list(drawn.get_ydata()), ends


def test_the_main_figure_draws_shortfalls_and_intervals_in_points(best: Best, ax: Axes) -> None:
    assert plots.plot_shortfall(best, best, NO_EDGES, ax) is ax
    for verdict in ("good", "worse"):
        rows = best.rows[(best.rows["verdict"] == verdict) & best.rows["shortfall_low"].notna()]
        rates, lost, ends = intervals(ax, verdict)
        assert rates == rows["lr"].tolist()
        assert lost == pytest.approx((100 * rows["shortfall"]).tolist())
        np.testing.assert_allclose(ends, 100 * rows[["shortfall_low", "shortfall_high"]], atol=1e-9)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "symlog")
    assert {"good", "worse", "δ = 0.2 points"} <= set(legend(ax))
    low, high = ax.get_ylim()
    assert low < 0 < 100 * best.rows["shortfall_high"].max() < high


def test_a_rate_that_did_not_learn_on_every_seed_is_hollow(best: Best, ax: Axes) -> None:
    plots.plot_shortfall(best, best, NO_EDGES, ax)
    hollow = [drawn for drawn in ax.lines if drawn.get_fillstyle() == "none" and len(drawn.get_xdata())]  # type: ignore[arg-type]
    assert [list(drawn.get_xdata()) for drawn in hollow] == [[1e-6, 1e-1]]


def test_fresh_seeds_show_the_classes_and_the_study_is_grey(best: Best, ax: Axes) -> None:
    fresh = best_of(runs_of(seeds=(1000, 1001, 1002, 1003, 1004)).query("lr in (1e-4, 1e-3)"), tried=best.tried)
    plots.plot_shortfall(best, fresh, NO_EDGES, ax)
    assert legend(ax)[0] == "the study's own 4 seeds"
    assert intervals(ax, "good")[0] == [1e-4, 1e-3]
    assert "worse" not in legend(ax)


def test_the_figure_has_a_line_at_delta(ax: Axes) -> None:
    best = best_of(runs_of(seeds=SEEDS), delta=0.05)
    plots.plot_shortfall(best, best, NO_EDGES, ax)
    assert "δ = 5 points" in legend(ax)
    assert 5.0 in [drawn.get_ydata()[0] for drawn in ax.lines if len(drawn.get_ydata())]  # type: ignore[arg-type,index]


def test_the_edges_are_lines_with_their_intervals(runs: pd.DataFrame, best: Best, ax: Axes) -> None:
    edges = learning_edges(of_arm(runs))
    assert edges.start is not None
    assert edges.end is not None
    plots.plot_shortfall(best, best, edges, ax)
    positions = [drawn.get_xdata()[0] for drawn in ax.lines if drawn.get_linestyle() == ":"]  # type: ignore[index]
    assert positions == [edges.start.lr, edges.end.lr]
    assert "half of the seeds learn (95%)" in legend(ax)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_with_few_seeds_there_are_no_bars(num_seeds: int, ax: Axes) -> None:
    few = best_of(runs_of(seeds=SEEDS[:num_seeds]))
    plots.plot_shortfall(few, few, Edges(Edge(1e-5, math.nan, math.nan, 1), None), ax)
    assert {"undecided", "worse"} <= set(legend(ax))
    assert sum(len(container.lines[2][0].get_segments()) for container in ax.containers) == 0


def test_a_study_that_learned_nothing_has_an_empty_main_figure(ax: Axes) -> None:
    nothing = best_of(runs_of(seeds=SEEDS).query("lr == 1e-6"))
    plots.plot_shortfall(nothing, nothing, NO_EDGES, ax)
    assert legend(ax) == ["δ = 0.2 points"]


# Error against the rate.


@pytest.mark.parametrize("seeds", [(0,), SEEDS], ids=["one seed", "four seeds"])
def test_the_error_figure_draws_every_run_the_means_and_the_answer(seeds: tuple[int, ...], ax: Axes) -> None:
    runs = with_another_arm(runs_of(seeds=seeds))
    best = best_of(runs)
    assert plots.plot_error(runs, best, best, NO_EDGES, ax) is ax
    rows, single = best.rows, of_arm(runs)
    assert_line(line(ax, "mean"), rows["lr"], 1 - rows["test_mean"])
    for label, chosen in (("a run", single[single["learned"]]), ("at chance level", single[single["lr"] == 1e-6])):
        np.testing.assert_allclose(points(ax, label), np.column_stack([chosen["lr"], 1 - chosen["test_accuracy"]]))
    assert points(ax, "diverged") == [[1e-1, 1.0]] * len(seeds)  # it has no accuracy
    star = "best trade-off, $10^{-3}$" if len(seeds) > 1 else "best rate so far, $10^{-3}$"
    assert_line(line(ax, star), [1e-3], [1 - rows["test_mean"].iloc[3]])
    assert {"a run", "at chance level", "diverged", "mean", star} <= set(legend(ax))
    assert ("good rates" in legend(ax)) == ("95% interval" in legend(ax)) == (len(seeds) > 1)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate (optimizer.lr)", "test error (1 - accuracy)")
    assert ax.yaxis.get_major_formatter()(0.02, 0) == "2%"


def test_the_band_of_the_error_figure_is_the_interval_of_the_table(ax: Axes) -> None:
    runs = runs_of(seeds=(0, 1, 2)).assign(test_accuracy=lambda table: table["test_accuracy"] + 0.01 * (table["seed"] == 1))
    best = best_of(runs)
    plots.plot_error(runs, best, best, NO_EDGES, ax)
    (band,) = [collection for collection in ax.collections if collection.get_label() == "95% interval"]
    rows = best.rows[best.rows["test_low"].notna()]
    assert len(rows) == 5
    ends = {tuple(end) for end in np.vstack([path.vertices for path in band.get_paths()])}
    for _, row in rows.iterrows():
        for accuracy in (row["test_low"], row["test_high"]):
            assert (row["lr"], min(max(1 - accuracy, 1e-4), 1)) in ends


def test_an_error_of_zero_is_drawn_at_the_lowest_error(ax: Axes) -> None:
    runs = runs_of().iloc[2:4].assign(test_accuracy=1.0)
    plots.plot_error(runs, best_of(runs), best_of(runs), NO_EDGES, ax)
    assert [point[1] for point in points(ax, "a run")] == [1e-4, 1e-4]


def test_a_failed_run_is_not_drawn(ax: Axes) -> None:
    runs = runs_of()
    runs.loc[0, ["status", "valid_accuracy", "test_accuracy", "seconds"]] = ["failed", math.nan, math.nan, math.nan]
    runs.loc[0, "learned"] = False
    plots.plot_error(runs, best_of(runs), best_of(runs), NO_EDGES, ax)
    assert points(ax, "at chance level") == []
    assert 1e-6 not in [point[0] for point in points(ax, "diverged")]


# Time to a target.


def times_of() -> pd.DataFrame:
    """Two seeds. At the first rate none reaches the target, at the second one, at the third both."""
    return pd.DataFrame(
        {
            **{"run_id": list("abcdef"), "lr": [1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3], "seed": [0, 1] * 3},
            "reached": [False, False, True, False, True, True],
            "epochs_to_target": [60.0, 62.0, 11.0, 30.0, 4.0, 6.0],
        }
    )


def test_epochs_to_target_draws_runs_censored_runs_and_medians(best: Best, ax: Axes) -> None:
    times = times_of()
    medians = median_to_target(times)
    assert plots.plot_epochs_to_target(times, medians, "time to 96%", best, ax) is ax
    column = "epochs_to_target"
    assert points(ax, "a run") == times.loc[times["reached"], ["lr", column]].to_numpy().tolist()
    assert points(ax, "ended before (censored)") == times.loc[~times["reached"], ["lr", column]].to_numpy().tolist()
    assert_line(line(ax, "median"), medians["lr"], medians[column])
    assert np.isnan(line(ax, "median").get_ydata()).tolist() == [True, True, False]
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "time to 96%")
    assert {"a run", "ended before (censored)", "median"} <= set(legend(ax))


@pytest.mark.parametrize(("reached", "missing"), [(True, "ended before (censored)"), (False, "a run")])
def test_a_kind_of_run_without_runs_is_not_in_the_legend(reached: bool, missing: str, best: Best, ax: Axes) -> None:
    times = times_of().assign(reached=reached)
    plots.plot_epochs_to_target(times, median_to_target(times), "epochs", best, ax)
    assert missing not in legend(ax)


# Accuracy and epochs.


def test_accuracy_and_epochs_draws_means_and_the_answer(runs: pd.DataFrame, best: Best, ax: Axes) -> None:
    assert plots.plot_accuracy_and_epochs(runs, best, best, ax) is ax
    rows, right = best.rows, right_of(ax)
    assert_line(line(ax, "test accuracy"), rows["lr"], rows["test_mean"])
    assert_line(line(right, "epochs of a run"), rows["lr"], rows["epochs_mean"])
    assert_line(line(ax, "best trade-off"), [1e-3], [rows["test_mean"].iloc[3]])
    assert len(shades(ax)) == 1
    assert {"test accuracy", "good rates", "best trade-off, $10^{-3}$"} <= set(legend(ax))
    assert (ax.get_xscale(), ax.get_yscale(), right.get_yscale()) == ("log", "linear", "log")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_ylim()) == ("learning rate (optimizer.lr)", "test accuracy", (0, 1.02))
    assert right.get_ylabel().startswith("epochs of a run")
    assert ax.yaxis.get_major_formatter()(0.8, 0) == "80%"
    assert [right.yaxis.get_major_formatter()(value, 0) for value in (0.5, 2, 1000)] == ["0.5", "2", "1000"]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_single_runs_are_drawn_only_if_the_lines_are_means(seeds: tuple[int, ...], ax: Axes) -> None:
    runs = runs_of(seeds=seeds)
    plots.plot_accuracy_and_epochs(runs, best_of(runs), best_of(runs), ax)
    for axes, column in ((ax, "test_accuracy"), (right_of(ax), "epochs")):
        clouds = [each.get_offsets() for each in axes.collections if each.get_label() != "diverged"]
        drawn = [list(point) for cloud in clouds for point in cloud if not np.ma.is_masked(point)]
        assert drawn == ([] if len(seeds) == 1 else runs[["lr", column]].dropna().to_numpy().tolist())


def test_a_diverged_run_is_a_cross_at_its_accuracy_or_at_zero(ax: Axes) -> None:
    runs = runs_of()
    runs.loc[runs["lr"] == 1e-2, ["status", "test_accuracy"]] = ["diverged", 0.55]
    plots.plot_accuracy_and_epochs(runs, best_of(runs), best_of(runs), ax)
    assert points(ax, "diverged") == [[1e-2, 0.55], [1e-1, 0.0]]
    assert "diverged" in legend(ax)


def test_without_diverged_runs_there_is_no_cross_in_figure_and_legend(ax: Axes) -> None:
    runs = runs_of().iloc[:-1]
    plots.plot_accuracy_and_epochs(runs, best_of(runs), best_of(runs), ax)
    assert points(ax, "diverged") == []
    assert "diverged" not in legend(ax)


# Error against epochs.


def test_error_against_epochs_draws_the_rates_that_learned_by_class(best: Best, ax: Axes) -> None:
    assert plots.plot_error_and_epochs(best, best, ax) is ax
    rows = best.rows
    for verdict, indices in (("good", [2, 3]), ("worse", [1, 4])):
        (container,) = [container for container in ax.containers if container.get_label() == verdict]
        drawn = container.lines[0]
        assert drawn.get_xdata().tolist() == rows["epochs_mean"].iloc[indices].tolist()
        assert drawn.get_ydata().tolist() == (1 - rows["test_mean"].iloc[indices]).tolist()
    assert_line(line(ax, "best trade-off"), [10.0], [1 - rows["test_mean"].iloc[3]])
    assert {text.get_text() for text in ax.texts} == {lr_label(lr) for lr in RATES[1:5]}
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epochs of a run (mean)", "test error (1 - accuracy)")


@pytest.mark.parametrize(
    "errors",
    [[0.02, 0.03, 0.9], [0.02, 0.03, 0.06], [0.011, 0.012, 0.013]],
    ids=["over decades", "within a decade", "close together"],
)
def test_the_error_axis_has_at_least_two_labels(errors: list[float], ax: Axes) -> None:
    runs = runs_of().iloc[1 : 1 + len(errors)].assign(test_accuracy=[1 - error for error in errors])
    plots.plot_error_and_epochs(best_of(runs), best_of(runs), ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    assert low < min(errors) < max(errors) < high
    ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    labels = {tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high} - {""}
    assert len(labels) >= 2
    assert all("%" in label for label in labels)


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


@given(accuracies=st.dictionaries(st.integers(-60, -10), st.sampled_from([0.1, 0.5, 0.896, 0.9]), min_size=1, max_size=12))
@settings(max_examples=25)
def test_representative_rates_contain_both_ends_and_the_best(accuracies: dict[int, float]) -> None:
    template = runs_of().iloc[2].to_dict()
    runs = pd.DataFrame(
        template | {"lr": 10 ** (exponent / 10), "valid_accuracy": valid} for exponent, valid in sorted(accuracies.items())
    )
    best, rates = best_of(runs), runs["lr"].tolist()
    chosen = plots.representative_rates(best)
    assert {rates[0], rates[-1], best.best["lr"]} <= set(chosen) <= set(rates)
    assert len(chosen) == min(5, len(rates))
    assert chosen == sorted(set(chosen))


def test_rates_can_be_as_far_apart_as_a_grid_allows() -> None:
    template = runs_of().iloc[2].to_dict()
    runs = pd.DataFrame(template | {"lr": lr, "valid_accuracy": 0.9 if lr < 1 else 0.5} for lr in (1e-300, 1.0, 1e300))
    assert plots.representative_rates(best_of(runs)) == [1e-300, 1.0, 1e300]


def test_representative_rates_contain_the_trade_off(best: Best) -> None:
    assert best.trade_off is not None
    assert best.trade_off.row["lr"] in plots.representative_rates(best)


def test_the_other_representative_rates_are_the_farthest_from_the_chosen_ones() -> None:
    """The best rate is 10^-2. Then come 10^-4, half-way to 10^-6, and 10^-5."""
    template = runs_of().iloc[2].to_dict()
    grid = log_grid(GridConfig())
    runs = pd.DataFrame(template | {"lr": lr, "valid_accuracy": 0.9 if lr == 1e-2 else 0.5} for lr in grid)
    assert plots.representative_rates(best_of(runs)) == [1e-6, 1e-5, 1e-4, 1e-2, 10**-1.5]
