"""The figures of one study. Each function takes tables from analysis/ and an `ax`, draws, and returns the `ax`.

Accuracies become percentages on the axes only.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lrsweep.analysis.best_rate import Best
from lrsweep.report.figures.axes import legend_below, log_limits, lr_axis, percent_axis, percent_log, plain_log
from lrsweep.report.figures.style import ACCURACY, COST, LINES, MARKERS, STYLES, lr_label, mark_best, mark_trade_off
from lrsweep.report.texts.wording import TIMES_EN


def plot_error(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes) -> Axes:
    """Test error against the rate: all runs, their mean and t interval. Diverged and at-chance runs have their own markers.

    A run that diverged before its first evaluation is drawn at 100 %.
    """
    rows = summary[summary["arm"] == best.arm]
    single = runs[(runs["arm"] == best.arm) & (runs["status"] != "failed")]
    is_scored, test_error = single["test_accuracy"].notna(), _error(single["test_accuracy"].fillna(0))
    kinds: tuple[tuple[str, pd.Series, dict[str, Any]], ...] = (
        ("a run", single["learned"], {"s": 14, "color": ACCURACY, "alpha": 0.5, "linewidths": 0}),
        ("at chance level", ~single["learned"] & is_scored, {"s": 22, "facecolors": "none", "edgecolors": COST, "marker": "s"}),
        ("diverged", single["status"] == "diverged", {"s": 45, "color": "black", "marker": "x", "zorder": 4}),
    )
    handles: list[Any] = [
        ax.scatter(single.loc[is_kind, "lr"], test_error[is_kind], label=name, **look)
        for name, is_kind, look in kinds
        if is_kind.any()
    ]
    error = _error(rows["test_mean"])
    handles += ax.plot(rows["lr"], error, "-", color=ACCURACY, linewidth=1.4, label="mean")
    if rows["test_low"].notna().any():
        high, low = _error(rows["test_low"]), _error(rows["test_high"])
        handles.append(ax.fill_between(rows["lr"], low, high, color=ACCURACY, alpha=0.18, linewidth=0, label="95% interval"))
    handles += [
        mark_best(best, ax),
        mark_trade_off(best, ax, best.trade_off["lr"], float(_error(best.trade_off["test_mean"]))),
    ]
    lr_axis(ax)
    ax.set_ylim(float(test_error.min()) / 1.25, 1)  # shows all runs; wide intervals may be cut off
    ax.set_yscale("log")
    percent_log(ax)
    ax.set_ylabel("test error (1 - accuracy)")
    legend_below(ax, handles, ncols=4)
    return ax


def _error(accuracy: Any) -> Any:
    """1 - accuracy, but at least 0.01 %, because a log axis cannot show zero."""
    return np.clip(1 - accuracy, 1e-4, 1)


def plot_bad(summary: pd.DataFrame, best: Best, ax: Axes) -> Axes:
    """The share of bad runs (diverged or at chance) against the rate, with Wilson intervals."""
    rows = summary[(summary["arm"] == best.arm) & (summary["num_measured"] > 0)]
    distance = [(rows["bad"] - rows["bad_low"]).clip(lower=0), (rows["bad_high"] - rows["bad"]).clip(lower=0)]
    look = {"fmt": "o", "color": COST, "markersize": 4, "capsize": 2, "linewidth": 1}
    ax.errorbar(rows["lr"], rows["bad"], yerr=distance, **look, label="share, 95% interval")  # type: ignore[arg-type]
    mark_best(best, ax)
    lr_axis(ax)
    percent_axis(ax)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("runs that diverged or stayed at chance")
    legend_below(ax, ncols=2)
    return ax


def plot_time_to_target(times: pd.DataFrame, medians: pd.DataFrame, cost: str, label: str, best: Best, ax: Axes) -> Axes:
    """`cost`_to_target against the rate: runs and medians. An open triangle is a run that ended before the target."""
    column = f"{cost}_to_target"
    for is_reached, name, look in (
        (True, "a run", {"s": 14, "color": COST, "alpha": 0.5, "linewidths": 0}),
        (False, "ended before (censored)", {"s": 26, "facecolors": "none", "edgecolors": "#767676", "marker": "^"}),
    ):
        chosen = times[times["reached"] == is_reached]
        if len(chosen):
            ax.scatter(chosen["lr"], chosen[column], label=name, **look)  # type: ignore[arg-type]
    ax.plot(medians["lr"], medians[column], "-", color=COST, linewidth=1.4, label="median")
    mark_best(best, ax)
    lr_axis(ax)
    ax.set_yscale("log")
    plain_log(ax.yaxis)
    ax.set_ylabel(label)
    legend_below(ax, ncols=4)
    return ax


def plot_accuracy_and_cost(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, cost: str, ax: Axes) -> Axes:
    """The documents' figure: test accuracy (left axis) and a cost (right axis, "seconds" or "epochs") against the rate.

    The lines show mean accuracy and median cost over the seeds. Small points are single runs, crosses are diverged runs.
    """
    rows = summary[summary["arm"] == best.arm]
    single = runs[runs["arm"] == best.arm]
    right = ax.twinx()
    right.grid(visible=False)
    right.spines["top"].set_visible(False)
    seconds = f"{TIMES_EN[best.best['time']]} of a run (seconds, log scale)"
    label = {"seconds": seconds, "epochs": "epochs of a run (log scale)"}[cost]
    right.set_yscale("log")
    plain_log(right.yaxis)
    right.set_ylabel(label, color=COST)
    right.tick_params(axis="y", which="both", colors=COST)
    if best.num_seeds > 1:
        ax.scatter(single["lr"], single["test_accuracy"], s=10, color=ACCURACY, alpha=0.45, linewidths=0)
        right.scatter(single["lr"], single[cost], s=10, color=COST, alpha=0.35, linewidths=0, marker="s")
    diverged = single[single["status"] == "diverged"]
    lines = [
        ax.plot(rows["lr"], rows["test_mean"], "-o", color=ACCURACY, markersize=4, label="test accuracy")[0],
        right.plot(rows["lr"], rows[f"{cost}_median"], "--s", color=COST, markersize=3.5, label=label.split(" (")[0])[0],
        mark_best(best, ax),
    ]
    if len(diverged):
        height = diverged["test_accuracy"].fillna(0)
        lines.append(ax.scatter(diverged["lr"], height, marker="x", s=45, color="black", label="diverged", zorder=4))
    lines.append(mark_trade_off(best, ax, best.trade_off["lr"], best.trade_off["test_mean"]))
    lr_axis(ax)
    percent_axis(ax)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("test accuracy", color=ACCURACY)
    ax.tick_params(axis="y", colors=ACCURACY)
    legend_below(ax, lines, ncols=3)
    return ax


def plot_plateau(summary: pd.DataFrame, best: Best, num_valid: int, num_test: int, ax: Axes) -> Axes:
    """The top of the accuracy curve. Bars: t intervals over seeds, or one binomial standard error if there are too few seeds."""
    rows = summary[(summary["arm"] == best.arm) & summary["valid_mean"].notna()]
    near = rows[rows["lr"].between(best.low / 10, best.high * 10) & (rows["valid_mean"] >= best.best["valid_mean"] - 0.04)]
    in_range = near["lr"].between(best.low, best.high)
    visible: list[float] = []  # all means, and the bars inside the range
    for name, num_images, colour, marker, label, shift in (  # shift: keeps the two sets of bars apart
        ("valid", num_valid, "#000000", "o", "validation accuracy (chooses)", 0.985),
        ("test", num_test, ACCURACY, "s", "test accuracy (reports)", 1.015),
    ):
        mean = near[f"{name}_mean"]
        half = near[f"{name}_high"] - mean
        if not best.plateau.is_tested:
            half = (mean * (1 - mean) / (num_images * best.num_seeds)) ** 0.5
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "capsize": 2, "linewidth": 1}
        ax.errorbar(near["lr"] * shift, mean, yerr=half, label=label, **look)
        visible += [*mean, *(mean + half).loc[in_range], *(mean - half).loc[in_range]]
    mark_best(best, ax)
    mark_trade_off(best, ax, best.trade_off["lr"], best.trade_off["valid_mean"])
    ax.set_ylim(np.nanmin(visible) - 0.002, min(1.0, np.nanmax(visible) + 0.002))
    lr_axis(ax)
    plain_log(ax.xaxis)
    percent_axis(ax, decimals=1)
    ax.set_ylabel("accuracy")
    legend_below(ax, ncols=3)
    return ax


def plot_trade_off(summary: pd.DataFrame, best: Best, ax: Axes) -> Axes:
    """Validation error against time. A line joins the Pareto front, whose rates are labelled; knee and best trade-off are marked.

    Rates with a bad run are left out, because their errors are so large that all other points would lie close together.
    """
    rows = summary[(summary["arm"] == best.arm) & summary["valid_mean"].notna()]
    learned = rows[rows["num_bad"] == 0]
    left_out = f" ({len(rows) - len(learned)} that did not learn left out)" if len(rows) > len(learned) else ""
    others = learned[~learned["lr"].isin(best.front["lr"])]
    ax.scatter(others["seconds_median"], _error(others["valid_mean"]), s=22, color="#9A9A9A", label=f"other rates{left_out}")
    front = best.front
    ax.plot(front["seconds_median"], _error(front["valid_mean"]), "-o", color=ACCURACY, label="Pareto front")
    for _, row in front[~front["lr"].isin([best.knee_lr, best.trade_off["lr"]])].iterrows():  # the legend names those two
        place = (row["seconds_median"], _error(row["valid_mean"]))
        # There are no points to the lower left of the front, so the label covers none.
        ax.annotate(lr_label(row["lr"]), place, xytext=(-8, -1), textcoords="offset points", ha="right", va="center")
    for _, knee in front[front["lr"] == best.knee_lr].iterrows():
        place = (knee["seconds_median"], _error(knee["valid_mean"]))
        label = f"knee (Kneedle), {lr_label(knee['lr'])}"
        ax.plot(place[0], place[1], "o", markersize=15, fillstyle="none", color="black", label=label)
    mark_trade_off(best, ax, best.trade_off["seconds_median"], float(_error(best.trade_off["valid_mean"])))
    shown = [*(row for table in (learned, front) for _, row in table.iterrows()), best.trade_off]
    log_limits([row["seconds_median"] for row in shown], ax.set_xlim)
    log_limits([float(_error(row["valid_mean"])) for row in shown], ax.set_ylim)
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_log(ax.xaxis)
    percent_log(ax)
    ax.set_xlabel(f"{TIMES_EN[best.best['time']]} of a run (seconds)")
    ax.set_ylabel("validation error (1 - accuracy)")
    legend_below(ax, ncols=2)
    return ax


def representative_rates(summary: pd.DataFrame, best: Best) -> list[float]:
    """At most five rates: both ends of the grid, the best rate, the best trade-off, then the rates farthest from those."""
    rates = summary.loc[summary["arm"] == best.arm, "lr"].tolist()
    chosen = {rates[0], rates[-1], float(best.best["lr"]), float(best.trade_off["lr"])}
    while len(chosen) < min(5, len(rates)):
        chosen.add(max(rates, key=lambda rate: min(abs(math.log(rate / other)) for other in chosen)))
    return sorted(chosen)


def plot_training_curves(curves: pd.DataFrame, rates: list[float], arm: str, seed: int, ax: Axes) -> Axes:
    """Validation accuracy against the epoch at a few rates, for one seed. A marker shows the best epoch."""
    chosen = curves[(curves["arm"] == arm) & (curves["seed"] == seed) & curves["valid_accuracy"].notna()]
    for i, rate in enumerate(rates):
        curve = chosen[chosen["lr"] == rate]
        if curve.empty:
            continue
        style, colour = STYLES[i % len(STYLES)], LINES[i % len(LINES)]
        ax.plot(curve["epoch"], curve["valid_accuracy"], linestyle=style, color=colour, label=lr_label(rate))
        top = curve.iloc[int(curve["valid_accuracy"].to_numpy().argmax())]
        ax.plot(top["epoch"], top["valid_accuracy"], MARKERS[i % len(MARKERS)], color=colour, markersize=7)
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    ax.set_xlabel("epoch (log scale)")
    ax.set_ylabel("validation accuracy")
    percent_axis(ax)
    ax.set_ylim(0, 1.02)
    if ax.lines:  # none if this seed has no run at these rates
        legend_below(ax, ncols=len(rates), title="learning rate")
    return ax
