"""Axes: scales, tick labels, limits, and the place of the legend."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from lrsweep.report.texts.wording import power_of_ten


def lr_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_xlabel("learning rate (optimizer.lr)")
    # Superscript characters, not mathtext: parsing mathtext for every label would take most of a report's time.
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(round(math.log10(value)))))
    ax.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_xlim()
    if high < 10 * low:  # the axis may contain no power of ten
        plain_log(ax.xaxis)


def plain_log(axis: Axis, digits: Sequence[float] = (1, 2, 5)) -> None:
    """Label a log axis with plain numbers: 1, 2, 5, 10 …"""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def percent_axis(ax: Axes, decimals: int = 0) -> None:
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))


def percent_log(ax: Axes, digits: Sequence[float] = (1, 2, 3, 5)) -> None:
    plain_log(ax.yaxis, digits)  # 3 is a label too, because all errors may lie between 2% and 5%
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g}%"))


def log_limits(values: list[float], set_limits: Callable[[float, float], Any]) -> None:
    """Set limits with a margin, even for a single value, for which matplotlib finds no limits on a log axis."""
    low, high = min(values), max(values)
    margin = max(1.05, (high / low) ** 0.1)
    set_limits(low / margin, high * margin)


def legend_below(ax: Axes, handles: list[Any] | None = None, *, ncols: int, title: str | None = None) -> None:
    """Place the legend below the axes, where no curve can run into it."""
    chosen = {} if handles is None else {"handles": handles}
    ax.legend(**chosen, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=ncols, title=title)
