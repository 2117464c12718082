"""The style that all figures share: sizes, colours, and the marks of classes, good rates and the chosen rate.

The colours are Okabe and Ito's, which colour-blind readers can tell apart. No figure relies on colour alone.
"""

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.edges import Edges

INK, SOFT, PALE, GRID = "#1C1F24", "#767676", "#B8B8B8", "#E5E5E5"
ACCURACY, COST, GOOD, TRADE_OFF = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
CLASSES = {"good": (GOOD, "o"), "undecided": (ACCURACY, "D"), "worse": (COST, "v")}  # verdict → colour, marker
LINES = (ACCURACY, COST, GOOD, TRADE_OFF, "#56B4E9", INK)
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P")
# The page replaces these colours by variables of page.css, so that a figure follows the page into dark mode and onto paper.
PAGE_COLOURS = {
    **{INK: "ink", SOFT: "soft", PALE: "pale", GRID: "grid", "#FFFFFF": "paper"},
    **{ACCURACY: "blue", COST: "orange", GOOD: "green", TRADE_OFF: "pink", "#56B4E9": "sky"},
}

_KOREAN_FONTS = ("notosanscjk-regular.ttc", "notosanskr-regular.otf", "nanumgothic.ttf", "malgun.ttf", "applegothic.ttf")


def _korean_font() -> str | None:
    """Find an installed font with Korean letters, add it to matplotlib's fonts, and return its name; None if there is none.

    The disk is searched as well, because matplotlib lists the installed fonts only once and may miss a new one.
    """
    for find in (lambda: [font.fname for font in font_manager.fontManager.ttflist], font_manager.findSystemFonts):
        paths = {Path(path).name.lower(): path for path in find()}
        for path in (paths[name] for name in _KOREAN_FONTS if name in paths and Path(paths[name]).is_file()):
            font_manager.fontManager.addfont(path)
            return font_manager.get_font(path).family_name
    return None


KOREAN_FONT = _korean_font()

_WIDE, _NARROW = (9.0, 4.6), (3.9, 4.4)  # inches; the narrow one fills a phone with letters of the same size
_TITLE_WIDTH = 90  # characters per line

plt.rcParams.update(
    {
        "figure.dpi": 100,
        "font.size": 10.5,
        "font.family": ["sans-serif", *filter(None, [KOREAN_FONT])],  # letters that the first one lacks come from the second
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": GRID,
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titlesize": 11.5,
        "legend.frameon": False,
        "legend.fontsize": 10,
        "svg.fonttype": "none",  # text stays text: a third of the size, and the reader can search for it
    }
)


def new_figure(title: str = "", *, is_narrow: bool = False) -> tuple[Figure, Axes]:
    """A report writes the title below its figures, so they need none. A figure that stands alone does."""
    figure, ax = plt.subplots(figsize=_NARROW if is_narrow else _WIDE, layout="tight")
    # y=1: matplotlib need not search for a height without ticks. parse_math: a dollar in a study's name must not start a formula.
    ax.set_title(textwrap.fill(title, _TITLE_WIDTH), y=1, parse_math=False)
    return figure, ax


def is_narrow(ax: Axes) -> bool:
    return bool(ax.figure.bbox.width / ax.figure.dpi <= _NARROW[0])


def mark_good(best: Best, ax: Axes) -> Rectangle | None:
    """Shade the good rates, half a grid step wider on each side so that a single rate is visible too."""
    shades = [
        ax.axvspan(low, high, color=GOOD, alpha=0.13, linewidth=0, label="good rates") for low, high in good_stretches(best)
    ]
    for shade in shades[1:]:
        shade.set_label("_")  # one legend entry for all
    return shades[0] if shades else None


def good_stretches(best: Best) -> list[tuple[float, float]]:
    """Both ends of each stretch of good rates, half a grid step wider on each side."""
    log_lr = np.log10(best.rows["lr"].to_numpy(dtype=float))
    margin = 10 ** (float(np.diff(log_lr).min()) / 2) if len(log_lr) > 1 else 10**0.05
    return [(low / margin, high * margin) for low, high in best.stretches("good")]


def mark_choice(best: Best, rows: pd.DataFrame, ax: Axes, place_of: Callable[[pd.Series], tuple[float, float]]) -> Line2D:
    """A star at the best trade-off, or a ring at the best rate if no rate is good. `rows` has one row per rate."""
    if best.trade_off is None:
        row, label = best.best, f"best rate so far, {best.names[best.best['lr']]}"
        look: dict[str, Any] = {"marker": "o", "fillstyle": "none", "markersize": 13, "color": INK}
    else:
        row, label = best.trade_off.row, f"best trade-off, {best.names[best.trade_off.row['lr']]}"
        look = {"marker": "*", "markersize": 17, "color": TRADE_OFF, "markeredgecolor": "white"}
    x, y = place_of(rows[rows["lr"] == row["lr"]].iloc[0])
    return ax.plot(x, y, linestyle="none", zorder=5, label=label, **look)[0]


def mark_edges(edges: Edges, ax: Axes) -> Line2D | None:
    """Dotted lines where learning starts and ends, with their intervals as bands. None if neither lies within the axis."""
    low, high = ax.get_xlim()
    lines = []
    for edge in (edges.start, edges.end):
        if edge is not None and low <= edge.lr <= high:
            lines.append(ax.axvline(edge.lr, color=INK, linestyle=":", linewidth=1.2))
            if not math.isnan(edge.low):
                ax.axvspan(edge.low, edge.high, color=INK, alpha=0.07, linewidth=0)
    if not lines:
        return None
    ax.set_xlim(low, high)  # the band may be wider than the axis
    has_band = any(edge is not None and not math.isnan(edge.low) for edge in (edges.start, edges.end))
    lines[0].set_label("half the seeds learn" + " (band: 95%)" * has_band)
    return lines[0]
