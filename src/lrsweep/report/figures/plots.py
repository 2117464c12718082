"""Every figure: takes tables from analysis/ and an `ax`, draws, returns the `ax`. Accuracy becomes percent on the axes only.

Colours are Okabe and Ito's, which colour-blind readers tell apart; no figure relies on colour alone.
"""

import math
import textwrap
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from lrsweep.analysis.best_rate import Best
from lrsweep.report.figures.axes import legend_below, log_limits, lr_axis, percent_axis, percent_log, plain_log
from lrsweep.report.texts.wording import TIMES_EN

ACCURACY, COST, PLATEAU, TRADE_OFF = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-")
_TITLE = 90  # letters that a title's line has room for
MARKERS = ("o", "s", "^", "D", "v", "P")

plt.rcParams.update(
    {
        "figure.dpi": 100,
        "font.size": 10.5,
        "axes.spines.top": False,
        "axes.grid": True,
        "grid.color": "#E5E5E5",
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titlesize": 11.5,
        "legend.frameon": False,
        "svg.hashsalt": "lrsweep",  # the same figure gives the same file
    }
)


def lr_label(lr: float) -> str:
    """10^-3.2 where the exponent is a short decimal, else the number itself. Mathtext."""
    exponent = math.log10(lr)
    return rf"$10^{{{round(exponent, 2):g}}}$" if math.isclose(exponent, round(exponent, 2), abs_tol=1e-9) else f"{lr:.3g}"


def figure_with(title: str, *, width: float = 9, height: float = 5) -> tuple[Figure, Axes]:
    figure, ax = plt.subplots(figsize=(width, height), layout="tight")
    # Else every drawing looks for a height free of ticks, which none has there; and a dollar in a name would begin mathematics.
    ax.set_title(textwrap.fill(title, _TITLE), y=1, parse_math=False)
    return figure, ax


def plot_error(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, ax: Axes) -> Axes:
    """Test error against the rate, both log: every run a point, mean and t interval, what diverged or stayed at chance marked.

    A run that diverged before it had an accuracy is at 100 %.
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
        _mark_trade_off(best, ax, best.trade_off["lr"], float(_error(best.trade_off["test_mean"]))),
    ]
    lr_axis(ax)
    ax.set_ylim(float(test_error.min()) / 1.25, 1)  # all runs; an interval of few seeds may leave
    ax.set_yscale("log")
    percent_log(ax)
    ax.set_ylabel("test error (1 - accuracy)")
    legend_below(ax, handles, ncols=4)
    return ax


def _error(accuracy: Any) -> Any:
    """1 - accuracy, from 0.01 % to 100 %: a log axis has no place for an error of nothing."""
    return np.clip(1 - accuracy, 1e-4, 1)


def plot_bad(summary: pd.DataFrame, best: Best, ax: Axes) -> Axes:
    """The share of runs that diverged or stayed at chance against the rate, with Wilson intervals."""
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
    """`cost`_to_target against the rate: runs, medians; an open triangle where a run ended before the target."""
    column = f"{cost}_to_target"
    for is_reached, name, look in (
        (True, "a run", {"s": 14, "color": COST, "alpha": 0.5, "linewidths": 0}),
        (False, "ended before (censored)", {"s": 26, "facecolors": "none", "edgecolors": "#767676", "marker": "^"}),
    ):
        chosen = times[times["reached"] == is_reached]
        if len(chosen):
            ax.scatter(chosen["lr"], chosen[column], label=name, **look)  # type: ignore[arg-type]  # keywords of scatter
    ax.plot(medians["lr"], medians[column], "-", color=COST, linewidth=1.4, label="median")
    mark_best(best, ax)
    lr_axis(ax)
    ax.set_yscale("log")
    plain_log(ax.yaxis)
    ax.set_ylabel(label)
    legend_below(ax, ncols=4)
    return ax


def plot_accuracy_and_cost(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, cost: str, ax: Axes) -> Axes:
    """The documents' figure: test accuracy (left) and a cost (right: `seconds` or `epochs`) against the rate.

    Lines join means (accuracy) and medians (cost) over seeds; small points are single runs, crosses diverged ones.
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
    lines.append(_mark_trade_off(best, ax, best.trade_off["lr"], best.trade_off["test_mean"]))
    lr_axis(ax)
    percent_axis(ax)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("test accuracy", color=ACCURACY)
    ax.tick_params(axis="y", colors=ACCURACY)
    legend_below(ax, lines, ncols=3)
    return ax


def mark_best(best: Best, ax: Axes) -> Rectangle:
    """Shade the range of rates tied with the best; half a grid step wider on each side, so that one rate shows as well."""
    margin = 10**0.05
    label = "best range, " + " to ".join(dict.fromkeys(map(lr_label, (best.low, best.high))))  # a single rate once
    return ax.axvspan(best.low / margin, best.high * margin, color=PLATEAU, alpha=0.15, linewidth=0, label=label)


def plot_plateau(summary: pd.DataFrame, best: Best, num_valid: int, num_test: int, ax: Axes) -> Axes:
    """The top of the accuracy curve. Bars: t intervals over seeds; of fewer than three, one binomial standard error."""
    rows = summary[(summary["arm"] == best.arm) & summary["valid_mean"].notna()]
    near = rows[rows["lr"].between(best.low / 10, best.high * 10) & (rows["valid_mean"] >= best.best["valid_mean"] - 0.04)]
    in_range = near["lr"].between(best.low, best.high)
    ends: list[float] = []  # of what must be seen: all points, the bars of the range
    for name, num_images, colour, marker, label, aside in (  # aside: else the bars of both would lie on one another
        ("valid", num_valid, "#000000", "o", "validation accuracy (chooses)", 0.985),
        ("test", num_test, ACCURACY, "s", "test accuracy (reports)", 1.015),
    ):
        mean = near[f"{name}_mean"]
        half = near[f"{name}_high"] - mean
        if not best.plateau.is_tested:
            half = (mean * (1 - mean) / (num_images * best.num_seeds)) ** 0.5
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "capsize": 2, "linewidth": 1}
        ax.errorbar(near["lr"] * aside, mean, yerr=half, label=label, **look)
        ends += [*mean, *(mean + half).loc[in_range], *(mean - half).loc[in_range]]
    mark_best(best, ax)
    _mark_trade_off(best, ax, best.trade_off["lr"], best.trade_off["valid_mean"])
    ax.set_ylim(np.nanmin(ends) - 0.002, min(1.0, np.nanmax(ends) + 0.002))
    lr_axis(ax)
    plain_log(ax.xaxis)
    percent_axis(ax, decimals=1)
    ax.set_ylabel("accuracy")
    legend_below(ax, ncols=3)
    return ax


def plot_trade_off(summary: pd.DataFrame, best: Best, ax: Axes) -> Axes:
    """Validation error against time, both log; the rates on the Pareto front joined and named, the knee and the bargain marked.

    Rates at which some run did not learn are left out: they would dwarf the rest.
    """
    rows = summary[(summary["arm"] == best.arm) & summary["valid_mean"].notna()]
    learned = rows[rows["num_bad"] == 0]
    left_out = f" ({len(rows) - len(learned)} that did not learn left out)" if len(rows) > len(learned) else ""
    others = learned[~learned["lr"].isin(best.front["lr"])]
    ax.scatter(others["seconds_median"], _error(others["valid_mean"]), s=22, color="#9A9A9A", label=f"other rates{left_out}")
    front = best.front
    ax.plot(front["seconds_median"], _error(front["valid_mean"]), "-o", color=ACCURACY, label="Pareto front")
    for _, row in front[~front["lr"].isin([best.knee_lr, best.trade_off["lr"]])].iterrows():  # those two the legend names
        place = (row["seconds_median"], _error(row["valid_mean"]))
        # To the left of the front, below it, there is nothing.
        ax.annotate(lr_label(row["lr"]), place, xytext=(-8, -1), textcoords="offset points", ha="right", va="center")
    for _, knee in front[front["lr"] == best.knee_lr].iterrows():
        place = (knee["seconds_median"], _error(knee["valid_mean"]))
        label = f"knee (Kneedle), {lr_label(knee['lr'])}"
        ax.plot(place[0], place[1], "o", markersize=15, fillstyle="none", color="black", label=label)
    _mark_trade_off(best, ax, best.trade_off["seconds_median"], float(_error(best.trade_off["valid_mean"])))
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


def _mark_trade_off(best: Best, ax: Axes, x: float, y: float) -> Line2D:
    label = f"best trade-off, {lr_label(best.trade_off['lr'])}"
    return ax.plot(x, y, "*", color=TRADE_OFF, markersize=17, markeredgecolor="white", zorder=5, label=label)[0]


def telling_rates(summary: pd.DataFrame, best: Best) -> list[float]:
    """Five rates that tell the story: the ends of the grid, the bargain, the best, and what is farthest from these."""
    rates = summary.loc[summary["arm"] == best.arm, "lr"].tolist()
    chosen = {rates[0], rates[-1], float(best.best["lr"]), float(best.trade_off["lr"])}
    while len(chosen) < min(5, len(rates)):
        chosen.add(max(rates, key=lambda rate: min(abs(math.log(rate / other)) for other in chosen)))
    return sorted(chosen)


def plot_training_curves(curves: pd.DataFrame, rates: list[float], arm: str, seed: int, ax: Axes) -> Axes:
    """Validation accuracy against the epoch at a few rates, one seed; a large mark where the best epoch is."""
    chosen = curves[(curves["arm"] == arm) & (curves["seed"] == seed)]
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
    if ax.lines:  # that seed may have a run at other rates only
        legend_below(ax, ncols=len(rates), title="learning rate")
    return ax
