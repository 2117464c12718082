"""The style that all figures share: colours, fonts, rates as labels, and the marks of classes, good rates and the trade-off.

The colours are Okabe and Ito's, which colour-blind readers can tell apart. No figure relies on colour alone.
"""

import math
import textwrap
from collections.abc import Callable
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
from lrsweep.analysis.edges import Edges

ACCURACY, COST, GOOD, TRADE_OFF = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
CLASSES = {"good": ("#009E73", "o"), "undecided": ("#0072B2", "D"), "worse": ("#D55E00", "v")}  # verdict → colour, marker
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P")
_TITLE_WIDTH = 90  # characters per line

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
        "svg.hashsalt": "lrsweep",  # without it, the ids in an SVG are random
    }
)


def lr_label(lr: float) -> str:
    """In mathtext: 10^-3.2 if the exponent has at most two decimals, else the number itself."""
    exponent = math.log10(lr)
    return rf"$10^{{{round(exponent, 2):g}}}$" if math.isclose(exponent, round(exponent, 2), abs_tol=1e-9) else f"{lr:.3g}"


def new_figure(title: str) -> tuple[Figure, Axes]:
    figure, ax = plt.subplots(figsize=(9, 5), layout="tight")
    # y=1: matplotlib need not search for a height without ticks. parse_math: a dollar in a study's name must not start a formula.
    ax.set_title(textwrap.fill(title, _TITLE_WIDTH), y=1, parse_math=False)
    return figure, ax


def mark_good(best: Best, ax: Axes) -> Rectangle | None:
    """Shade the good rates, half a grid step wider on each side so that a single rate is visible too."""
    log_lr = np.log10(best.rows["lr"].to_numpy(dtype=float))
    margin = 10 ** (float(np.diff(log_lr).min()) / 2) if len(log_lr) > 1 else 10**0.05
    shades = [
        ax.axvspan(low / margin, high * margin, color=GOOD, alpha=0.13, linewidth=0, label="good rates")
        for low, high in best.stretches("good")
    ]
    for shade in shades[1:]:
        shade.set_label("_")  # one legend entry for all
    return shades[0] if shades else None


def mark_choice(best: Best, rows: pd.DataFrame, ax: Axes, place_of: Callable[[pd.Series], tuple[float, float]]) -> Line2D:
    """A star at the best trade-off, or a ring at the best rate if no rate is good. `rows` has one row per rate."""
    if best.trade_off is None:
        row, label = best.best, f"best rate so far, {lr_label(best.best['lr'])}"
        look: dict[str, Any] = {"marker": "o", "fillstyle": "none", "markersize": 13, "color": "black"}
    else:
        row, label = best.trade_off.row, f"best trade-off, {lr_label(best.trade_off.row['lr'])}"
        look = {"marker": "*", "markersize": 17, "color": TRADE_OFF, "markeredgecolor": "white"}
    x, y = place_of(rows[rows["lr"] == row["lr"]].iloc[0])
    return ax.plot(x, y, linestyle="none", zorder=5, label=label, **look)[0]


def mark_edges(edges: Edges, ax: Axes) -> Line2D | None:
    """Dotted lines where learning starts and ends, with their intervals as bands. None if both lie beyond the grid."""
    lines = []
    for edge in (edges.start, edges.end):
        if edge is not None:
            lines.append(ax.axvline(edge.lr, color="black", linestyle=":", linewidth=1.2))
            if not math.isnan(edge.low):
                ax.axvspan(edge.low, edge.high, color="black", alpha=0.07, linewidth=0)
    if not lines:
        return None
    lines[0].set_label("half of the seeds learn (95%)")
    return lines[0]
