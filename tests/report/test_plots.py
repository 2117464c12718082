"""Every figure draws the numbers of its table, as read back from the axes."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
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
from matplotlib.text import Annotation, Text

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.edges import Edge, Edges, learning_edges
from lrsweep.analysis.fixed_budget import Sensitivity
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.figures import plots
from lrsweep.report.figures.style import CLASSES, GOOD, PALE, mark_good, new_figure

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
            **{"learned": valid > 0.2, "seconds": 10.0, "data.num_valid": 5000, "data.num_test": 10_000, "data.num_classes": 10},
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


def of_arm(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["arm"] == ARM]


def shades(ax: Axes) -> list[tuple[float, float]]:
    """Both ends of each stretch of good rates."""
    found = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_facecolor()[:3] == to_rgb(GOOD)]
    tall = [patch for patch in found if patch.get_transform() == ax.get_xaxis_transform(which="grid")]
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in tall or found]


# Style.


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
        mantissa, _, exponent = label.translate(plain).rpartition("10-")
        read = float(mantissa.removesuffix("×") or 1) * 10.0 ** -int(exponent) if "⁻" in label else float(label)
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
    rows = best.rows.copy()
    rows.loc[rows["lr"] == 1e-3, ["num_learned", "shortfall_low", "shortfall_high", "verdict"]] = [1, math.nan, math.nan, "worse"]
    plots.plot_shortfall(best, replace(best, rows=rows), NO_EDGES, ax)
    hollow = [drawn for drawn in ax.lines if drawn.get_fillstyle() == "none" and len(drawn.get_xdata())]  # type: ignore[arg-type]
    assert [list(drawn.get_xdata()) for drawn in hollow] == [[1e-3]]  # not 10^-6 and 10^-1, which are outside the axes


def test_fresh_seeds_show_the_classes_and_the_study_is_grey(best: Best, ax: Axes) -> None:
    fresh = best_of(runs_of(seeds=(1000, 1001, 1002, 1003, 1004)).query("lr in (1e-4, 1e-3)"), tried=best.tried)
    plots.plot_shortfall(best, fresh, NO_EDGES, ax)
    (own,) = [drawn for drawn in ax.lines if drawn.get_label() == "own 4 seeds"]
    assert own.get_color() == PALE
    assert not own.get_clip_on()  # a dot on the edge is whole
    assert list(own.get_xdata()) == [1e-4, 1e-3]
    assert intervals(ax, "good")[0] == [1e-4, 1e-3]
    assert "worse" not in legend(ax)


def test_the_main_figure_is_no_wider_than_what_it_compares(best: Best, ax: Axes) -> None:
    plots.plot_shortfall(best, best, NO_EDGES, ax)
    low, high = ax.get_xlim()
    assert 1e-6 < low < 1e-5  # no run learned at 10^-6, nor at 10^-1
    assert 1e-2 < high < 1e-1


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
    low, high = ax.get_xlim()
    assert low < positions[0] < positions[1] < high
    assert "half the seeds learn (band: 95%)" in legend(ax)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_with_few_seeds_there_are_no_bars(num_seeds: int, ax: Axes) -> None:
    few = best_of(runs_of(seeds=SEEDS[:num_seeds]))
    plots.plot_shortfall(few, few, Edges(Edge(1e-5, math.nan, math.nan, 1), None), ax)
    assert {"undecided", "half the seeds learn"} <= set(legend(ax))
    assert "worse" not in legend(ax)  # the rates at which nothing was learned are outside the axes
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
    learned = single[single["learned"]]
    np.testing.assert_allclose(points(ax, "a run"), np.column_stack([learned["lr"], 1 - learned["test_accuracy"]]))
    top = ax.get_ylim()[1]
    assert top == pytest.approx(1.4 * (1 - learned["test_accuracy"].min()))
    # These have larger errors than the axis shows, or none.
    assert points(ax, "at chance level") == [[1e-6, top]] * len(seeds)
    assert points(ax, "diverged") == [[1e-1, top]] * len(seeds)
    star = "best trade-off, 0.001" if len(seeds) > 1 else "best rate so far, 0.001"
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


def test_without_a_run_that_learned_the_error_axis_ends_at_all_wrong(ax: Axes) -> None:
    runs = runs_of().query("lr in (1e-6, 1e-1)")
    plots.plot_error(runs, best_of(runs), best_of(runs), NO_EDGES, ax)
    assert ax.get_ylim()[1] == 1
    assert points(ax, "at chance level") == [[1e-6, pytest.approx(0.89, abs=0.001)]]


# The price of accuracy.


def test_the_figure_of_prices_draws_and_labels_the_rates_that_lose_little(best: Best, ax: Axes) -> None:
    assert plots.plot_price(best, best, ax) is ax
    (good,) = [container for container in ax.containers if container.get_label() == "good"]
    rows = best.rows[best.rows["verdict"] == "good"]
    assert good.lines[0].get_xdata().tolist() == rows["epochs_mean"].tolist()
    assert good.lines[0].get_ydata().tolist() == (1 - rows["test_mean"]).tolist()
    assert_line(line(ax, "best trade-off"), [10.0], [1 - best.rows["test_mean"].iloc[3]])
    assert {text.get_text() for text in ax.texts} == {"0.0001", "0.001"}
    assert "worse" not in legend(ax)  # 10^-5 and 10^-2 lose 15 and 42 points
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epochs of a run (mean)", "test accuracy")
    bottom, top = ax.get_ylim()
    assert bottom > top  # errors: the highest accuracy is on top
    assert ax.yaxis.get_major_formatter()(0.02, 0) == "98%"


def test_with_fresh_seeds_the_other_rates_of_the_study_are_grey(ax: Axes) -> None:
    near = runs_of(seeds=SEEDS).assign(test_accuracy=lambda table: 0.97 + 0.001 * table["seed"], learned=True, status="ok")
    study = best_of(near.assign(epochs=20.0))
    fresh = best_of(near.assign(seed=near["seed"] + 1000, epochs=15.0).query("lr in (1e-4, 1e-3)"), tried=study.tried)
    plots.plot_price(study, fresh, ax)
    grey = line(ax, "own 4 seeds")
    assert grey.get_color() == PALE
    assert list(grey.get_xdata()) == [20.0] * 4


def test_labels_of_rates_overlap_no_other_label(ax: Axes) -> None:
    template = runs_of().iloc[2].to_dict()
    runs = pd.DataFrame(
        template | {"lr": 10 ** (-3 + i / 20), "epochs": 20 + i / 10, "test_accuracy": 0.97 + i % 3 / 1e4} for i in range(60)
    )
    plots.plot_price(best_of(runs), best_of(runs), ax)
    ax.figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without their lines
    assert 2 <= len(boxes) < 60
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize("is_narrow", [False, True], ids=["wide", "narrow"])
def test_a_label_in_a_crowd_is_nearest_to_its_point_or_joined_to_it_by_a_line(is_narrow: bool) -> None:
    figure, ax = new_figure(is_narrow=is_narrow)
    epochs = [70, 26.4, 24.6, 23.9, 22.4, 19.7, 20.6, 19.8, 20.9, 18.9, 18.9, 19.2]  # almost as in the study lr
    accuracies = [0.974, 0.9773, 0.9782, 0.9787, 0.9791, 0.9792, 0.9795, 0.98, 0.9796, 0.9779, 0.9764, 0.976]
    runs = pd.DataFrame(
        runs_of().iloc[2].to_dict()
        | {"lr": 10 ** (-4 + i / 10), "seed": seed, "epochs": num, "test_accuracy": accuracy + seed / 1e6}
        for i, (num, accuracy) in enumerate(zip(epochs, accuracies, strict=True))
        for seed in SEEDS
    )
    best = best_of(runs)
    plots.plot_price(best, best, ax)
    figure.draw_without_rendering()
    points = ax.transData.transform(np.column_stack([best.rows["epochs_mean"], 1 - best.rows["test_mean"]]))
    labels = [text for text in ax.texts if isinstance(text, Annotation)]
    assert best.trade_off
    assert labels[0].get_text() == f"{best.trade_off.row['lr']:.2g}"  # the chosen rate comes first
    assert len(labels) >= 5
    for label in labels:
        box = Text.get_window_extent(label)  # without the line
        gaps = np.hypot(*(points - np.clip(points, box.min, box.max)).T)
        own = int(np.hypot(*(points - ax.transData.transform(label.xy)).T).argmin())
        assert label.arrow_patch or gaps.argmin() == own
        assert np.delete(gaps, own).min() > 8
    plt.close(figure)


@pytest.mark.parametrize(
    "errors",
    [[0.02, 0.03, 0.9], [0.02, 0.03, 0.06], [0.011, 0.012, 0.013]],
    ids=["over decades", "within a decade", "close together"],
)
def test_the_error_axis_has_at_least_two_labels(errors: list[float], ax: Axes) -> None:
    runs = runs_of().iloc[1 : 1 + len(errors)].assign(test_accuracy=[1 - error for error in errors])
    plots.plot_price(best_of(runs), best_of(runs), ax)
    ax.figure.draw_without_rendering()
    high, low = ax.get_ylim()
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
    assert_line(line(ax, "10⁻⁶"), [1, 2], [0.9, 0.9])
    assert_line(line(ax, "0.001"), [1, 2, 3, 4], [0.5, 1 - 0.97, 1 - 0.96, 1 - 0.97])
    assert legend(ax) == ["10⁻⁶", "0.001"]  # 10^-1 has no curve
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "log", "epoch (log scale)")
    assert ax.get_ylabel() == "validation error (1 - accuracy)"
    assert ax.yaxis.get_major_formatter()(0.5, 0) == "50%"
    assert ax.xaxis.get_major_formatter()(20, 0) == "20"


def test_rates_that_differ_in_the_third_digit_have_different_labels(ax: Axes) -> None:
    near = {1e-3: 1.001e-3, 1e-2: 1.002e-3}
    curves, runs = (table[table["lr"].isin(near)].assign(lr=table["lr"].replace(near)) for table in (curves_of(), runs_of()))
    plots.plot_training_curves(curves, [*near.values()], ARM, 0, ax)
    assert legend(ax) == ["0.001001", "0.001002"]
    best = best_of(runs)
    figure, ax = new_figure()
    plots.plot_price(best, best, ax)
    assert {text.get_text() for text in ax.texts} == {"0.001001", "0.001002"}
    plots.plot_error(runs, best, best, NO_EDGES, ax)
    assert "best rate so far, 0.001001" in legend(ax)
    plt.close(figure)


def test_a_marker_shows_the_first_best_epoch_of_each_curve(ax: Axes) -> None:
    plots.plot_training_curves(curves_of(), [1e-6, 1e-3, 1e-2], ARM, 0, ax)
    assert [(drawn.get_xdata()[drawn.get_markevery()[0]]) for drawn in ax.lines] == [1, 2, 1]  # type: ignore[index]
    assert len({drawn.get_marker() for drawn in ax.lines}) == 3  # distinguishable without colours
    assert len({drawn.get_linestyle() for drawn in ax.lines}) == 3


def test_a_training_curve_joins_the_epochs_that_were_validated(ax: Axes) -> None:
    curves = curves_of()
    curves.loc[curves["epoch"].isin([1, 3]), "valid_accuracy"] = math.nan
    plots.plot_training_curves(curves, [1e-3, 1e-2], ARM, 0, ax)
    assert_line(line(ax, "0.001"), [2, 4], [1 - 0.97, 1 - 0.97])


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


def test_representative_rates_learned_and_contain_the_trade_off(best: Best) -> None:
    assert best.trade_off is not None
    chosen = plots.representative_rates(best)
    assert best.trade_off.row["lr"] in chosen
    assert chosen == [1e-5, 1e-4, 1e-3, 1e-2]  # no run learned at 10^-6 and 10^-1


def test_the_other_representative_rates_are_the_farthest_from_the_chosen_ones() -> None:
    """The best rate is 10^-2. Then come 10^-4, half-way to 10^-6, and 10^-5."""
    template = runs_of().iloc[2].to_dict()
    grid = log_grid(GridConfig())
    runs = pd.DataFrame(template | {"lr": lr, "valid_accuracy": 0.9 if lr == 1e-2 else 0.5} for lr in grid)
    assert plots.representative_rates(best_of(runs)) == [1e-6, 1e-5, 1e-4, 1e-2, 10**-1.5]


# Fresh seeds, and early stopping.


def test_fresh_seeds_are_drawn_beside_the_study_at_the_rates_that_ran_on_both(best: Best, ax: Axes) -> None:
    fresh = best_of(runs_of(seeds=(1000, 1001, 1002)).query("lr in (1e-4, 1e-3)"), tried=best.tried)
    assert plots.plot_fresh_seeds(best, fresh, ax) is ax
    assert legend(ax) == ["own 4 seeds", "3 fresh seeds"]
    for container, of in zip(ax.containers, (best, fresh), strict=True):
        rows = of.rows[of.rows["lr"].isin([1e-4, 1e-3])]
        assert list(container.lines[0].get_ydata()) == pytest.approx(rows["valid_mean"].tolist())
        assert list(container.lines[0].get_xdata()) == pytest.approx([1e-4, 1e-3], rel=0.02)
    assert ax.yaxis.get_major_formatter()(0.975, 0) == "97.5%"


def test_early_stopping_is_drawn_against_the_whole_budget(best: Best, ax: Axes) -> None:
    rows = pd.DataFrame({"lr": RATES[:3], "valid_5": [0.1, 0.8, 0.96], "full": [0.5, 0.9, 0.96]})
    assert plots.plot_early_stopping(Sensitivity(rows, 60, best), ax) is ax
    assert_line(line(ax, "stopped with patience 5"), rows["lr"], 1 - rows["valid_5"])
    assert_line(line(ax, "all 60 epochs"), rows["lr"], 1 - rows["full"])
