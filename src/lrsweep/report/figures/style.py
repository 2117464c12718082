"""The style that all figures share: colours, fonts, rates as labels, and the marks for the best range and the best trade-off.

The colours are Okabe and Ito's, which colour-blind readers can tell apart. No figure relies on colour alone.
"""

import math
import textwrap
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from lrsweep.analysis.best_rate import Best

ACCURACY, COST, PLATEAU, TRADE_OFF = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
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


def mark_best(best: Best, ax: Axes) -> Rectangle:
    """Shade the best range, half a grid step wider on each side so that a single rate is visible too."""
    margin = 10**0.05
    label = "best range, " + " to ".join(dict.fromkeys(map(lr_label, (best.low, best.high))))  # names a single rate once
    return ax.axvspan(best.low / margin, best.high * margin, color=PLATEAU, alpha=0.15, linewidth=0, label=label)


def mark_trade_off(best: Best, ax: Axes, x: float, y: float) -> Line2D:
    label = f"best trade-off, {lr_label(best.trade_off['lr'])}"
    return ax.plot(x, y, "*", color=TRADE_OFF, markersize=17, markeredgecolor="white", zorder=5, label=label)[0]
