"""The figures of one study. Each function takes tables from analysis/ and an `ax`, draws, and returns the `ax`.

Accuracies become percentages on the axes only.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.edges import Edges
from lrsweep.report.figures.axes import legend_below, log_limits, lr_axis, percent_axis, percent_log, plain_log
from lrsweep.report.figures.style import (
    ACCURACY,
    CLASSES,
    COST,
    GOOD,
    LINES,
    MARKERS,
    STYLES,
    lr_label,
    mark_choice,
    mark_edges,
    mark_good,
)

_LABELLED = 8  # rates, at most, in the figure of error against epochs


def plot_shortfall(study: Best, headline: Best, edges: Edges, ax: Axes) -> Axes:
    """What each rate loses: shortfalls with their intervals, and delta. `headline` gives the classes, maybe from fresh seeds.

    The y axis is linear up to 2.5 times delta and logarithmic above. If `headline` is not the study itself, the study's own
    shortfalls are drawn in grey. A rate that did not learn on every seed has no interval.
    """
    is_fresh = headline is not study
    handles: list[Any] = []
    if is_fresh:
        rows = study.rows[study.rows["shortfall"].notna()]
        look: dict[str, Any] = {"color": "#B8B8B8", "markersize": 3.5, "linewidth": 0.8, "zorder": 1.5}
        handles.append(_draw_shortfalls(rows, ax, "o", f"the study's own {study.num_seeds} seeds", **look))
    for verdict, (colour, marker) in CLASSES.items():
        rows = headline.rows[(headline.rows["verdict"] == verdict) & headline.rows["shortfall"].notna()]
        if len(rows):
            look = {"color": colour, "markersize": 6.5 if is_fresh else 5.5, "linewidth": 1.4, "zorder": 3}
            handles.append(_draw_shortfalls(rows, ax, marker, verdict, **look))
    limit = headline.delta * 100
    ax.axhspan(-limit, limit, color=GOOD, alpha=0.09, linewidth=0, zorder=0)
    line = ax.axhline(limit, color="#222222", linestyle="--", linewidth=1.1, zorder=2, label=f"δ = {limit:g} points")
    handles += [line, mark_edges(edges, ax)]
    ax.set_yscale("symlog", linthresh=2.5 * limit, linscale=2.2)
    top = max(
        10 * limit, *(best.rows[name].max() * 100 for best in (study, headline) for name in ("shortfall", "shortfall_high"))
    )
    ax.set_ylim(-0.12 * limit, 1.6 * (10 * limit if math.isnan(top) else top))
    ticks = [digit * 10.0**power for power in range(-4, 3) for digit in (1, 2, 5)]
    ax.yaxis.set_major_locator(FixedLocator([0, limit / 2, limit, *(tick for tick in ticks if tick >= 2.49 * limit)]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lr_axis(ax)
    ax.set_ylabel("points of test accuracy lost")
    legend_below(ax, [handle for handle in handles if handle is not None], ncols=3)
    return ax


def _draw_shortfalls(rows: pd.DataFrame, ax: Axes, marker: str, label: str, **look: Any) -> Any:
    """Points with their intervals; hollow ones without an interval."""
    lost, low, high = (rows[name] * 100 for name in ("shortfall", "shortfall_low", "shortfall_high"))
    known = low.notna()
    bars = [(lost - low)[known].clip(lower=0), (high - lost)[known].clip(lower=0)]
    shared = look | {"marker": marker, "linestyle": "none"}
    hollow = ax.plot(rows["lr"][~known], lost[~known], **shared | {"fillstyle": "none"}, label=label)[0]
    drawn = ax.errorbar(rows["lr"][known], lost[known], yerr=bars, **shared, elinewidth=look["linewidth"], label=label)
    return drawn if known.any() else hollow


def plot_error(runs: pd.DataFrame, study: Best, headline: Best, edges: Edges, ax: Axes) -> Axes:
    """Test error against the rate: all runs, their mean and t interval. Diverged and at-chance runs have their own markers.

    A run that diverged before its first evaluation is drawn at 100 %.
    """
    rows = study.rows
    single = runs[(runs["arm"] == study.arm) & (runs["status"] != "failed")]
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
        mark_good(headline, ax),
        mark_choice(headline, rows, ax, lambda row: (row["lr"], float(_error(row["test_mean"])))),
        mark_edges(edges, ax),
    ]
    lr_axis(ax)
    ax.set_ylim(float(test_error.min()) / 1.25, 1)  # shows all runs; wide intervals may be cut off
    ax.set_yscale("log")
    percent_log(ax)
    ax.set_ylabel("test error (1 - accuracy)")
    legend_below(ax, [handle for handle in handles if handle is not None], ncols=4)
    return ax


def _error(accuracy: Any) -> Any:
    """1 - accuracy, but at least 0.01 %, because a log axis cannot show zero."""
    return np.clip(1 - accuracy, 1e-4, 1)


def plot_epochs_to_target(times: pd.DataFrame, medians: pd.DataFrame, label: str, headline: Best, ax: Axes) -> Axes:
    """epochs_to_target against the rate: runs and medians. An open triangle is a run that ended before the target."""
    for is_reached, name, look in (
        (True, "a run", {"s": 14, "color": COST, "alpha": 0.5, "linewidths": 0}),
        (False, "ended before (censored)", {"s": 26, "facecolors": "none", "edgecolors": "#767676", "marker": "^"}),
    ):
        chosen = times[times["reached"] == is_reached]
        if len(chosen):
            ax.scatter(chosen["lr"], chosen["epochs_to_target"], label=name, **look)  # type: ignore[arg-type]
    ax.plot(medians["lr"], medians["epochs_to_target"], "-", color=COST, linewidth=1.4, label="median")
    mark_good(headline, ax)
    lr_axis(ax)
    ax.set_yscale("log")
    plain_log(ax.yaxis)
    ax.set_ylabel(label)
    legend_below(ax, ncols=4)
    return ax


def plot_accuracy_and_epochs(runs: pd.DataFrame, study: Best, headline: Best, ax: Axes) -> Axes:
    """The documents' figure with epochs as the cost: test accuracy (left axis) and epochs (right axis) against the rate.

    The lines show means over the seeds. Small points are single runs, crosses are diverged runs.
    """
    rows, single = study.rows, runs[runs["arm"] == study.arm]
    right = ax.twinx()
    right.grid(visible=False)
    right.spines["top"].set_visible(False)
    right.set_yscale("log")
    plain_log(right.yaxis)
    right.set_ylabel("epochs of a run (log scale)", color=COST)
    right.tick_params(axis="y", which="both", colors=COST)
    if study.num_seeds > 1:
        ax.scatter(single["lr"], single["test_accuracy"], s=10, color=ACCURACY, alpha=0.45, linewidths=0)
        right.scatter(single["lr"], single["epochs"], s=10, color=COST, alpha=0.35, linewidths=0, marker="s")
    diverged = single[single["status"] == "diverged"]
    lines: list[Any] = [
        ax.plot(rows["lr"], rows["test_mean"], "-o", color=ACCURACY, markersize=4, label="test accuracy")[0],
        right.plot(rows["lr"], rows["epochs_mean"], "--s", color=COST, markersize=3.5, label="epochs of a run")[0],
        mark_good(headline, ax),
    ]
    if len(diverged):
        height = diverged["test_accuracy"].fillna(0)
        lines.append(ax.scatter(diverged["lr"], height, marker="x", s=45, color="black", label="diverged", zorder=4))
    lines.append(mark_choice(headline, rows, ax, lambda row: (row["lr"], row["test_mean"])))
    lr_axis(ax)
    percent_axis(ax)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("test accuracy", color=ACCURACY)
    ax.tick_params(axis="y", colors=ACCURACY)
    legend_below(ax, [line for line in lines if line is not None], ncols=3)
    return ax


def plot_error_and_epochs(study: Best, headline: Best, ax: Axes) -> Axes:
    """Test error against epochs in the study, one point per rate that learned on every seed; some rates are labelled.

    Colours and markers show the class of a rate, as `headline` gives it if the rate ran there. Bars are t intervals over the
    seeds. The other rates are left out, because their large errors would squeeze all other points together.
    """
    scored = study.rows[study.rows["test_mean"].notna()]
    again = headline.rows.set_index("lr")["verdict"]
    scored = scored.assign(verdict=scored["lr"].map(again).fillna(scored["verdict"]))
    has_learned = scored["num_learned"] == scored["num_measured"]
    rows = scored[has_learned] if has_learned.any() else scored
    ax.plot(rows["epochs_mean"], _error(rows["test_mean"]), "-", color="#CCCCCC", linewidth=1, zorder=1)
    for verdict, (colour, marker) in CLASSES.items():
        chosen = rows[rows["verdict"] == verdict]
        if len(chosen):
            error, low, high = (_error(chosen[name]) for name in ("test_mean", "test_high", "test_low"))
            ax.errorbar(
                chosen["epochs_mean"], error,
                xerr=_half_bars(chosen, "epochs"), yerr=np.nan_to_num([error - low, high - error]),
                color=colour, marker=marker, markersize=5.5, linestyle="none", label=verdict,
                ecolor=to_rgba(colour, 0.3), elinewidth=0.7,
            )  # fmt: skip
    for _, row in rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(_LABELLED, len(rows))).round().astype(int))].iterrows():
        place = (row["epochs_mean"], float(_error(row["test_mean"])))
        ax.annotate(lr_label(row["lr"]), place, xytext=(5, 8), textcoords="offset points")
    mark_choice(headline, scored, ax, lambda row: (row["epochs_mean"], float(_error(row["test_mean"]))))
    log_limits([max(1.0, epochs) for epochs in (*rows["epochs_mean"], study.best["epochs_mean"])], ax.set_xlim)
    errors = [float(error) for error in (*_error(rows["test_mean"]), _error(study.best["test_mean"]))]
    log_limits([max(min(errors) - study.delta, min(errors) / 2), max(errors) + study.delta], ax.set_ylim)
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_log(ax.xaxis)
    percent_log(ax, digits=(1, 1.5, 2, 3, 5, 7))  # the errors of the rates that learned lie close together
    ax.set_xlabel("epochs of a run (mean)")
    ax.set_ylabel("test error (1 - accuracy)")
    legend_below(ax, ncols=4)
    return ax


def _half_bars(rows: pd.DataFrame, name: str) -> np.ndarray[Any, Any]:
    """Both sides of a mean's interval; the lower one stays above zero, for a log axis."""
    half = (rows[f"{name}_high"] - rows[f"{name}_mean"]).fillna(0)
    return np.array([half.clip(upper=0.9 * rows[f"{name}_mean"]), half])


def representative_rates(best: Best) -> list[float]:
    """At most five rates: both ends of the grid, the best rate, the best trade-off, then the rates farthest from those."""
    rates = best.rows["lr"].tolist()
    chosen = {rates[0], rates[-1], float(best.best["lr"])}
    if best.trade_off is not None:
        chosen.add(float(best.trade_off.row["lr"]))
    while len(chosen) < min(5, len(rates)):
        chosen.add(max(rates, key=lambda rate: min(abs(math.log(rate) - math.log(other)) for other in chosen)))
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
