"""The figures of the audit: the deciding effects of one unit, with their intervals, as a forest plot."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter

from lrsweep.analysis.claims import Judged, Test
from lrsweep.analysis.verdicts import Effect, Word

LOOKS: dict[Word, dict[str, Any]] = {
    "holds": {"color": "#0072B2", "marker": "o"},
    "does not hold": {"color": "#D55E00", "marker": "X"},
    "no difference that matters": {"color": "#009E73", "marker": "s"},
    "open": {"color": "#767676", "marker": "D", "markerfacecolor": "white"},
}
SCALES = {  # unit → (factor from effect to axis, axis label, value beyond which the axis is logarithmic)
    "accuracy": (100.0, "percentage points", 1.0),
    "factor": (1.0, "ratios", math.inf),  # these effects are log10 of a ratio
    "decades": (1.0, "decades of learning rate", math.inf),
    "share": (100.0, "%", math.inf),
}

Row = tuple[Judged, Test, Effect]


def rows_by_unit(judged: Sequence[Judged]) -> dict[str, list[Row]]:
    """All claims whose deciding effect has an interval, by unit."""
    rows: dict[str, list[Row]] = {}
    for one in judged:
        if one.result is not None and (effect := one.result.effect) is not None and math.isfinite(effect.high - effect.low):
            rows.setdefault(effect.unit, []).append((one, one.result.test, effect))
    return rows


def plot_effects(unit: str, rows: Sequence[Row], ax: Axes) -> Axes:
    """One row per claim: effect and interval in the colour of the verdict. A band shows differences that do not matter."""
    scale, label, linear_to = SCALES[unit]
    for y, (one, test, effect) in enumerate(rows):
        look, delta = LOOKS[one.word], test.delta_of(effect) * scale
        ax.fill_betweenx([y - 0.35, y + 0.35], -delta, 0 if test.costs_nothing else delta, color="#E0E0E0", linewidth=0)
        ax.plot([-delta if test.costs_nothing else 0.0] * 2, [y - 0.35, y + 0.35], color="black", linewidth=1)
        ax.plot([effect.low * scale, effect.high * scale], [y, y], color=look["color"], linewidth=1.6, solid_capstyle="butt")
        ax.plot(effect.effect * scale, y, linestyle="none", markersize=7, markeredgecolor=look["color"], **look)
    for word, look in LOOKS.items():
        ax.plot([], [], linestyle="none", label=word, markeredgecolor=look["color"], **look)
    ax.plot([], [], linestyle="none", marker="|", markersize=11, color="black", label="the claim: to the right of this")
    ax.set_yticks(range(len(rows)), [one.claim.id for one, _, _ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel(f"effect ({label}{_set_scale(unit, linear_to, ax)})")
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    figure.set_size_inches(9, 1.9 + 0.33 * len(rows))  # rows have the same height in all figures
    figure.set_layout_engine("constrained")  # "tight" leaves no room for a legend outside
    handles, labels = ax.get_legend_handles_labels()
    handles.append(Patch(color="#E0E0E0", label="too small to matter"))
    figure.legend(handles, [*labels, "too small to matter"], loc="outside lower center", ncols=3)
    return ax


def _set_scale(unit: str, linear_to: float, ax: Axes) -> str:
    """Set the scale and ticks of the x axis. Return the note that its label needs."""
    if unit == "factor":
        ratios = [digit * 10.0**exponent for exponent in range(-6, 7) for digit in (1, 2, 5)]
        ax.xaxis.set_major_locator(FixedLocator([math.log10(ratio) for ratio in ratios]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{10**value:g}"))
        return "; logarithmic"
    if math.isinf(linear_to):
        return ""
    ax.set_xscale("symlog", linthresh=linear_to)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return f"; logarithmic beyond ±{linear_to:g}"
