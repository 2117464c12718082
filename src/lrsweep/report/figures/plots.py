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
from lrsweep.analysis.fixed_budget import PATIENCES, Sensitivity
from lrsweep.analysis.rates import rate_names
from lrsweep.report.figures.axes import error_axis, error_of, legend_below, log_limits, lr_axis, plain_log
from lrsweep.report.figures.labels import label_points
from lrsweep.report.figures.style import (
    ACCURACY,
    CLASSES,
    COST,
    GOOD,
    INK,
    LINES,
    MARKERS,
    PALE,
    SOFT,
    STYLES,
    mark_choice,
    mark_edges,
    mark_good,
)
from lrsweep.report.texts.wording import counted, seeds_text

_MARGIN = 10**0.2  # between the outermost rates and the ends of the axis
_MAX_LOSS = 5  # times delta; rates that lose more are left out of the figure of prices


def plot_shortfall(study: Best, headline: Best, edges: Edges, ax: Axes) -> Axes:
    """What each rate loses: shortfalls with their intervals, and delta. `headline` gives the classes, maybe from fresh seeds.

    The y axis is linear up to 2.5 times delta and logarithmic above. If `headline` is not the study itself, the study's own
    shortfalls are drawn in grey, without intervals. A rate that did not learn on every seed has no interval. The x axis ends
    where no run of `headline` learned.
    """
    is_fresh = headline is not study
    learned = headline.rows[headline.rows["num_learned"] > 0]
    shown = (learned if len(learned) else headline.rows)["lr"]
    ends = [edge.lr for edge in (edges.start, edges.end) if edge is not None and not is_fresh]
    ax.set_xscale("log")
    ax.set_xlim(min([*shown, *ends]) / _MARGIN, max([*shown, *ends]) * _MARGIN)
    within = headline.rows[headline.rows["lr"].between(shown.min(), shown.max()) & headline.rows["shortfall"].notna()]
    handles: list[Any] = []
    for verdict, (colour, marker) in CLASSES.items():
        rows = within[within["verdict"] == verdict]
        if len(rows):
            look: dict[str, Any] = {"color": colour, "markersize": 6.5 if is_fresh else 5.5, "linewidth": 1.4, "zorder": 3}
            handles.append(_draw_shortfalls(rows, ax, marker, verdict, **look))
    tops = [within[name].max() for name in ("shortfall", "shortfall_high")]
    if is_fresh:
        near = study.rows[study.rows["lr"].between(*ax.get_xlim()) & study.rows["shortfall"].notna()]
        own = f"own {seeds_text(study.num_seeds)}"
        handles += ax.plot(near["lr"], near["shortfall"] * 100, "o", color=PALE, markersize=5, zorder=2, label=own, clip_on=False)
        tops.append(near["shortfall"].max())
    limit = headline.delta * 100
    ax.axhspan(-limit, limit, color=GOOD, alpha=0.09, linewidth=0, zorder=0)
    line = ax.axhline(limit, color=INK, linestyle="--", linewidth=1.1, zorder=2, label=f"δ = {limit:g} points")
    handles += [line, mark_edges(edges, ax)]
    ax.set_yscale("symlog", linthresh=2.5 * limit, linscale=2.2)
    ax.set_ylim(-0.12 * limit, 1.3 * max([5 * limit, *(100 * top for top in tops if not math.isnan(top))]))
    ticks = [digit * 10.0**power for power in range(-4, 3) for digit in (1, 2, 5)]
    ax.yaxis.set_major_locator(FixedLocator([0, limit / 2, limit, *(tick for tick in ticks if tick >= 2.49 * limit)]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lr_axis(ax)
    ax.set_ylabel("points of test accuracy lost")
    legend_below(ax, handles, ncols=3)
    return ax


def _draw_shortfalls(rows: pd.DataFrame, ax: Axes, marker: str, label: str, **look: Any) -> Any:
    """Points with their intervals; hollow ones without an interval."""
    lost, low, high = (rows[name] * 100 for name in ("shortfall", "shortfall_low", "shortfall_high"))
    known = low.notna()
    bars = np.array([(lost - low)[known], (high - lost)[known]]).clip(min=0)
    shared = look | {"marker": marker, "linestyle": "none"}
    hollow = ax.plot(rows["lr"][~known], lost[~known], **shared | {"fillstyle": "none"}, label=label)[0]
    drawn = ax.errorbar(rows["lr"][known], lost[known], yerr=bars, **shared, elinewidth=look["linewidth"], label=label)
    return drawn if known.any() else hollow


def plot_error(runs: pd.DataFrame, study: Best, headline: Best, edges: Edges, ax: Axes) -> Axes:
    """Test error against the rate: all runs, their mean and t interval. Diverged and at-chance runs have their own markers.

    The axis ends above the largest error of a run that learned; larger errors are drawn at its upper end.
    """
    rows = study.rows
    single = runs[(runs["arm"] == study.arm) & (runs["status"] != "failed")]
    is_scored, test_error = single["test_accuracy"].notna(), error_of(single["test_accuracy"].fillna(0))
    largest = test_error[single["learned"] & is_scored].max()
    top = 1.0 if math.isnan(largest) else min(1.0, 1.4 * largest)
    kinds: tuple[tuple[str, pd.Series, dict[str, Any]], ...] = (
        ("a run", single["learned"], {"s": 14, "color": ACCURACY, "alpha": 0.5, "linewidths": 0}),
        ("at chance level", ~single["learned"] & is_scored, {"s": 22, "facecolors": "none", "edgecolors": COST, "marker": "s"}),
        ("diverged", single["status"] == "diverged", {"s": 45, "color": INK, "marker": "x", "zorder": 4}),
    )
    handles: list[Any] = [
        ax.scatter(single.loc[is_kind, "lr"], test_error[is_kind].clip(upper=top), label=name, clip_on=False, **look)
        for name, is_kind, look in kinds
        if is_kind.any()
    ]
    error = error_of(rows["test_mean"])
    handles += ax.plot(rows["lr"], error, "-", color=ACCURACY, linewidth=1.4, label="mean")
    if rows["test_low"].notna().any():
        high, low = error_of(rows["test_low"]), error_of(rows["test_high"])
        handles.append(ax.fill_between(rows["lr"], low, high, color=ACCURACY, alpha=0.18, linewidth=0, label="95% interval"))
    lr_axis(ax)
    handles += [
        mark_good(headline, ax),
        mark_choice(headline, headline.rows, ax, lambda row: (row["lr"], float(error_of(row["test_mean"])))),
        mark_edges(edges, ax),
    ]
    ax.set_ylim(float(test_error.min()) / 1.25, top)  # shows all runs; wide intervals may be cut off
    error_axis(ax)
    ax.set_ylabel("test error (1 - accuracy)")
    legend_below(ax, handles, ncols=4)
    return ax


def plot_price(study: Best, headline: Best, ax: Axes) -> Axes:
    """Test accuracy against epochs, a labelled point per rate: the price of an accuracy.

    Colours and markers show the classes of `headline`, bars its t intervals. If `headline` is not the study itself, the study's
    other rates are grey. Rates that did not learn on every seed, or that lose more than 5 times delta, would squeeze all other
    points together; they are left out unless nothing else is left.
    """
    rows, others = near(headline.rows, headline.delta), near(study.rows, headline.delta)
    others = others[~others["lr"].isin(headline.rows["lr"])]
    if len(others):
        own = f"own {seeds_text(study.num_seeds)}"
        ax.plot(others["epochs_mean"], error_of(others["test_mean"]), "o", color=PALE, markersize=5, label=own)
    for verdict, (colour, marker) in CLASSES.items():
        chosen = rows[rows["verdict"] == verdict]
        if len(chosen):
            error, low, high = (error_of(chosen[name]) for name in ("test_mean", "test_high", "test_low"))
            ax.errorbar(
                chosen["epochs_mean"], error,
                xerr=_half_bars(chosen, "epochs"), yerr=np.nan_to_num([error - low, high - error]),
                color=colour, marker=marker, markersize=6, linestyle="none", label=verdict,
                ecolor=to_rgba(colour, 0.25), elinewidth=0.8,
            )  # fmt: skip
    mark_choice(headline, headline.rows, ax, lambda row: (row["epochs_mean"], float(error_of(row["test_mean"]))))
    chosen_lr = float((headline.trade_off.row if headline.trade_off else headline.best)["lr"])
    by_class = [rows[(rows["verdict"] == verdict) & (rows["lr"] != chosen_lr)] for verdict in CLASSES]
    shown = pd.concat([headline.rows[headline.rows["lr"] == chosen_lr], *by_class, others])
    epochs = shown["epochs_mean"].clip(lower=1).tolist()
    left = max(float((rows["epochs_mean"] - _half_bars(rows, "epochs")[0]).min()), 0.8 * min(epochs))  # not a bar of a few seeds
    log_limits([left, *epochs], ax.set_xlim)
    errors = error_of(shown["test_mean"])
    log_limits([max(errors.min() - headline.delta / 2, errors.min() / 2), errors.max() + headline.delta / 2], ax.set_ylim)
    ax.set_xscale("log")
    plain_log(ax.xaxis, digits=(1, 1.5, 2, 3, 5, 7))
    error_axis(ax, (1, 1.2, 1.5, 1.8, 2, 2.2, 2.5, 3, 4, 5, 7), shows_accuracy=True)
    ax.set_xlabel("epochs of a run (mean)")
    ax.set_ylabel("test accuracy")
    legend_below(ax, ncols=5)
    points = np.column_stack([shown["epochs_mean"].to_numpy(dtype=float), errors.to_numpy(dtype=float)])
    label_points([*shown["lr"].map(rate_names(shown["lr"]))], points, ax)
    return ax


def near(rows: pd.DataFrame, delta: float) -> pd.DataFrame:
    """The rates that learned on every seed and lose little; if there are none, those that learned; else all with a score."""
    scored = rows[rows["test_mean"].notna()]
    learned = scored[scored["num_learned"] == scored["num_measured"]]
    close = learned[learned["shortfall"] <= _MAX_LOSS * delta]
    return next((table for table in (close, learned) if len(table) > 1), scored)


def _half_bars(rows: pd.DataFrame, name: str) -> np.ndarray[Any, Any]:
    """Both sides of a mean's interval; the lower one stays above zero, for a log axis."""
    half = (rows[f"{name}_high"] - rows[f"{name}_mean"]).fillna(0)
    return np.array([half.clip(upper=0.9 * rows[f"{name}_mean"]), half])


def representative_rates(best: Best) -> list[float]:
    """At most five rates that learned on every seed: the lowest, the highest, the best, the best trade-off, and between them.

    If no rate did, they come from all rates.
    """
    learned = best.rows[(best.rows["num_learned"] == best.rows["num_measured"]) & (best.rows["num_learned"] > 0)]
    rates = (learned if len(learned) else best.rows)["lr"].tolist()
    chosen = {rates[0], rates[-1], float(best.best["lr"])}
    if best.trade_off is not None:
        chosen.add(float(best.trade_off.row["lr"]))
    while len(chosen) < min(5, len(rates)):
        chosen.add(max(rates, key=lambda rate: min(abs(math.log(rate) - math.log(other)) for other in chosen)))
    return sorted(chosen)


def plot_training_curves(curves: pd.DataFrame, rates: list[float], arm: str, seed: int, ax: Axes) -> Axes:
    """Validation error against the epoch at a few rates, for one seed. A marker shows the best epoch."""
    chosen = curves[(curves["arm"] == arm) & (curves["seed"] == seed) & curves["valid_accuracy"].notna()]
    names = rate_names(rates)
    for i, rate in enumerate(rates):
        curve = chosen[chosen["lr"] == rate]
        if curve.empty:
            continue
        style, colour, marker = STYLES[i % len(STYLES)], LINES[i % len(LINES)], MARKERS[i % len(MARKERS)]
        best_epoch = [int(curve["valid_accuracy"].to_numpy().argmax())]
        ax.plot(
            curve["epoch"], error_of(curve["valid_accuracy"]),
            linestyle=style, color=colour, marker=marker, markersize=7, markevery=best_epoch, label=names[rate],
        )  # fmt: skip
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    ax.set_xlabel("epoch (log scale)")
    ax.set_ylabel("validation error (1 - accuracy)")
    if ax.lines:  # none if this seed has no run at these rates
        log_limits(np.concatenate([line.get_ydata() for line in ax.lines]).tolist(), ax.set_ylim)
        legend_below(ax, ncols=len(rates), title="learning rate; a mark: the best epoch")
    error_axis(ax)
    return ax


def plot_fresh_seeds(study: Best, fresh: Best, ax: Axes) -> Axes:
    """Validation accuracy with t intervals on the study's own seeds and on the fresh ones, at the rates that ran on both."""
    both = study.rows[study.rows["lr"].isin(fresh.rows["lr"])], fresh.rows
    looks = ((SOFT, "o", f"own {seeds_text(study.num_seeds)}"), (ACCURACY, "D", counted(fresh.num_seeds, "fresh seed")))
    for rows, shift, (colour, marker, label) in zip(both, (0.985, 1.015), looks, strict=True):
        bars = rows["valid_high"] - rows["valid_mean"]
        ax.errorbar(rows["lr"] * shift, rows["valid_mean"], yerr=bars, color=colour, marker=marker, linestyle="none", label=label)
    log_limits(fresh.rows["lr"].tolist(), ax.set_xlim)
    lr_axis(ax)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.4g}%"))
    ax.set_ylabel("validation accuracy")
    legend_below(ax, ncols=2)
    return ax


def plot_early_stopping(fixed: Sensitivity, ax: Axes) -> Axes:
    """Validation error against the rate, stopped early and with the whole budget. The shade shows the difference."""
    rates, patience = fixed.rows["lr"], PATIENCES[0]
    stopped, whole = error_of(fixed.rows[f"valid_{patience}"]), error_of(fixed.rows["full"])
    ax.fill_between(rates, whole, stopped, color=COST, alpha=0.15, linewidth=0)
    ax.plot(rates, stopped, "--s", color=COST, markersize=4, label=f"stopped with patience {patience}")
    ax.plot(rates, whole, "-o", color=ACCURACY, markersize=4, label=f"all {fixed.epochs} epochs")
    lr_axis(ax)
    error_axis(ax)
    ax.set_ylabel("validation error (1 - accuracy)")
    legend_below(ax, ncols=2)
    return ax
