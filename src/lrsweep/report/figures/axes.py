"""Axes: scales, tick labels, limits, and the place of the legend."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from lrsweep.analysis.rates import decimal_rate, power_of_ten
from lrsweep.report.figures.style import is_narrow

_DECADES_IN_DECIMALS = 2.5  # a rate axis up to this long is labelled 0.001, 0.003 …, a longer one 10⁻³, 10⁻² …
_LONG_LABEL = 22  # characters; two longer labels do not fit side by side into a narrow figure
_LONGEST_LABEL = 36  # characters; a longer label does not fit into a narrow figure at all


def lr_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_xlabel("learning rate (optimizer.lr)")
    ax.xaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_xlim()
    if math.log10(high / low) < _DECADES_IN_DECIMALS:
        ticks = round_rates(low, high, most=4 if is_narrow(ax) else 9)
        plain_log(ax.xaxis)
        if len(ticks) > 1:  # else the axis is very short, and its rates need more digits
            ax.xaxis.set_major_locator(FixedLocator(ticks))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decimal_rate(value)))
    else:
        ax.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(round(math.log10(value)))))


def round_rates(low: float, high: float, most: int) -> list[float]:
    """At most about so many rates from low to high, spread over the axis; the roundest first."""
    gap = (high / low) ** (1 / most)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    rates: list[float] = []
    for digit in ("1", "3", "2", "5", "7", "4", "6", "8", "9", "1.5", "2.5", "3.5"):
        for rate in (float(f"{digit}e{exponent}") for exponent in exponents):
            if low <= rate <= high and all(max(rate, other) / min(rate, other) > gap for other in rates):
                rates.append(rate)
    return rates


def plain_log(axis: Axis, digits: Sequence[float] = (1, 2, 5)) -> None:
    """Label a log axis with plain numbers: 1, 2, 5, 10 …"""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def error_of(accuracy: Any) -> Any:
    """1 - accuracy, but at least 0.01%, because a log axis cannot show zero."""
    return np.clip(1 - accuracy, 1e-4, 1)


def error_axis(ax: Axes, digits: Sequence[float] = (1, 2, 3, 5), *, shows_accuracy: bool = False) -> None:
    """A log axis of errors, labelled in percent. With `shows_accuracy`, it is labelled with accuracies, the highest on top."""
    ax.set_yscale("log")
    plain_log(ax.yaxis, digits)  # 3 is a label too, because all errors may lie between 2% and 5%
    if shows_accuracy:
        ax.invert_yaxis()
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{(1 - value if shows_accuracy else value) * 100:.4g}%"))


def log_limits(values: list[float], set_limits: Callable[[float, float], Any]) -> None:
    """Set limits with a margin, even for a single value, for which matplotlib finds no limits on a log axis."""
    low, high = min(values), max(values)
    margin = max(1.05, (high / low) ** 0.1)
    set_limits(low / margin, high * margin)


def legend_below(ax: Axes, handles: list[Any] | None = None, *, ncols: int, title: str | None = None) -> None:
    """Place the legend below the axis label, where no curve can run into it."""
    shown = [handle for handle in (ax.get_legend_handles_labels()[0] if handles is None else handles) if handle is not None]
    look: dict[str, Any] = {"ncols": ncols, "title": title}
    if is_narrow(ax):
        longest = max((len(str(handle.get_label())) for handle in shown), default=0)
        look |= {"ncols": 1 if longest > _LONG_LABEL else 2, "fontsize": 9, "handlelength": 1.6, "columnspacing": 1.0}
    below = ax.transAxes + ScaledTranslation(0, -38 / 72, ax.figure.dpi_scale_trans)
    legend = ax.legend(handles=shown, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, **look)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar in a setting must not start a formula
        if is_narrow(ax) and len(text.get_text()) > _LONGEST_LABEL:
            text.set_text(f"{text.get_text()[: _LONGEST_LABEL - 1]}…")
