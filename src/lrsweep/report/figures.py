"""Every figure: takes tables from analysis/ and an `ax`, draws, returns the `ax`. Accuracy becomes percent here only.

Colours are Okabe and Ito's, which colour-blind readers tell apart; no figure relies on colour alone.
"""

import math
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from lrsweep.analysis.best import Best
from lrsweep.report.conclusions import TIME_EN

ACCURACY, COST, PLATEAU, BARGAIN = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P")

plt.rcParams.update(
    {
        "figure.dpi": 100,
        "savefig.dpi": 150,
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
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.set_title(title)
    return figure, ax


def _lr_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_xlabel("learning rate (optimizer.lr)")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _plain_log(axis: Axis) -> None:
    """Log scale with 1, 2, 5, 10 … written out: seconds and epochs are read, not computed with."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _percent_axis(ax: Axes, decimals: int = 0) -> None:
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))


def plot_accuracy_and_cost(summary: pd.DataFrame, runs: pd.DataFrame, best: Best, cost: str, ax: Axes) -> Axes:
    """The documents' figure: test accuracy (left) and a cost (right: `seconds` or `epochs`) against the rate.

    Lines join means (accuracy) and medians (cost) over seeds; small points are single runs, crosses diverged ones.
    """
    rows = summary[summary["arm"] == best.arm]
    single = runs[runs["arm"] == best.arm]
    right = ax.twinx()
    right.grid(visible=False)
    right.spines["top"].set_visible(False)
    seconds = f"{TIME_EN[best.best['time']]} of a run (seconds, log scale)"
    label = {"seconds": seconds, "epochs": "epochs of a run (log scale)"}[cost]
    right.set_yscale("log")
    _plain_log(right.yaxis)
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
    lines.append(_mark_bargain(best, ax, best.bargain["lr"], best.bargain["test_mean"]))
    _lr_axis(ax)
    _percent_axis(ax)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("test accuracy", color=ACCURACY)
    ax.tick_params(axis="y", colors=ACCURACY)
    # Below the axes, where no curve can run into it whatever the study.
    ax.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=len(lines))
    return ax


def mark_best(best: Best, ax: Axes) -> Rectangle:
    """Shade the range of rates tied with the best; half a grid step wider on each side, so that one rate shows as well."""
    margin = 10**0.05
    label = f"highest accuracy, {lr_label(best.low)} to {lr_label(best.high)}"
    return ax.axvspan(best.low / margin, best.high * margin, color=PLATEAU, alpha=0.15, linewidth=0, label=label)


def plot_plateau(summary: pd.DataFrame, best: Best, num_valid: int, num_test: int, ax: Axes) -> Axes:
    """The top of the accuracy curve, with what one standard error of so many images is (binomial)."""
    rows = summary[(summary["arm"] == best.arm) & summary["valid_mean"].notna()]
    floor = best.best["valid_mean"] - 0.04
    near = rows[rows["lr"].between(best.low / 10, best.high * 10) & (rows["valid_mean"] >= floor)]
    for column, num_images, colour, marker, name in (
        ("valid_mean", num_valid, "#000000", "o", "validation accuracy (chooses)"),
        ("test_mean", num_test, ACCURACY, "s", "test accuracy (reports)"),
    ):
        error = (near[column] * (1 - near[column]) / (num_images * best.num_seeds)) ** 0.5
        ax.errorbar(near["lr"], near[column], yerr=error, color=colour, marker=marker, markersize=4, capsize=2, label=name)
    threshold = best.best["valid_mean"] - best.tolerance
    ax.axhline(threshold, color="#000000", linewidth=0.9, linestyle=":", label="tied above: best less one standard error")
    mark_best(best, ax)
    shown = pd.concat([near["valid_mean"], near["test_mean"]])
    ax.set_ylim(shown.min() - 0.004, min(1.0, shown.max() + 0.004))
    _lr_axis(ax)
    _percent_axis(ax, decimals=1)
    ax.set_ylabel("accuracy")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


def plot_trade_off(summary: pd.DataFrame, front: pd.Series, best: Best, ax: Axes) -> Axes:
    """Error against time, both log; the rates on the Pareto front joined and named. Rates at chance would dwarf the rest."""
    rows = summary[(summary["arm"] == best.arm) & summary["test_mean"].notna()]
    learned = rows[(rows["num_learned"] > 0) & (rows["test_mean"] < 1)]  # and no error at all has no logarithm
    efficient = learned[front.loc[learned.index]].sort_values("seconds_median")
    num_at_chance = int((rows["num_learned"] == 0).sum())
    left_out = f" ({num_at_chance} at chance left out)" if num_at_chance else ""
    others = learned.drop(index=efficient.index)
    ax.scatter(others["seconds_median"], 1 - others["test_mean"], s=22, color="#9A9A9A", label=f"other rates{left_out}")
    ax.plot(efficient["seconds_median"], 1 - efficient["test_mean"], "-o", color=ACCURACY, label="Pareto front")
    for _, row in efficient.iterrows():
        place = (row["seconds_median"], 1 - row["test_mean"])
        ax.annotate(lr_label(row["lr"]), place, xytext=(-5, -6), textcoords="offset points", ha="right", va="top")
    _mark_bargain(best, ax, best.bargain["seconds_median"], 1 - best.bargain["test_mean"])
    if learned.empty:
        return ax  # nothing to draw, and no logarithm of it
    ax.set_xscale("log")
    ax.set_yscale("log")
    _plain_log(ax.xaxis)
    _plain_log(ax.yaxis)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    ax.margins(0.1)
    ax.set_xlabel(f"{TIME_EN[best.best['time']]} of a run (seconds)")
    ax.set_ylabel("test error (1 - accuracy)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    return ax


def _mark_bargain(best: Best, ax: Axes, x: float, y: float) -> Line2D:
    label = f"best trade-off, {lr_label(best.bargain['lr'])}"
    return ax.plot(x, y, "*", color=BARGAIN, markersize=17, markeredgecolor="white", zorder=5, label=label)[0]


def telling_rates(summary: pd.DataFrame, best: Best) -> list[float]:
    """Five rates that tell the story: the ends of the grid, the bargain, the best, and what is farthest from these."""
    rates = summary.loc[summary["arm"] == best.arm, "lr"].tolist()
    chosen = {rates[0], rates[-1], float(best.best["lr"]), float(best.bargain["lr"])}
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
    _plain_log(ax.xaxis)
    ax.set_xlabel("epoch (log scale)")
    ax.set_ylabel("validation accuracy")
    _percent_axis(ax)
    ax.set_ylim(0, 1.02)
    ax.legend(title="learning rate", loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=len(rates))
    return ax


def plot_arms(summary: pd.DataFrame, ax: Axes) -> Axes:
    """Test accuracy against the rate, a line an arm."""
    for i, (arm, rows) in enumerate(summary.groupby("arm", sort=True)):
        colour, marker = LINES[i % len(LINES)], MARKERS[i % len(MARKERS)]
        style = STYLES[i % len(STYLES)]
        ax.plot(rows["lr"], rows["test_mean"], linestyle=style, color=colour, marker=marker, markersize=4, label=str(arm))
    _lr_axis(ax)
    _percent_axis(ax)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("test accuracy")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax
