"""The figures of the audit: all effects of one unit, with their intervals, as a forest plot."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from lrsweep.analysis.claims import Judged, Test, Verdict

VERDICTS: dict[str, dict[str, Any]] = {
    "supported": {"color": "#0072B2", "marker": "o"},
    "refuted": {"color": "#D55E00", "marker": "X"},
    "inconclusive": {"color": "#767676", "marker": "D", "markerfacecolor": "white"},
}
SCALES = {  # unit → (factor from effect to axis, axis label, value beyond which the axis is logarithmic)
    "accuracy": (100.0, "percentage points", 1.0),
    "factor": (1.0, "ratios", math.inf),  # these effects are log10 of a ratio
    "decades": (1.0, "decades of learning rate", math.inf),
    "slope": (1.0, "slope of log rate on log batch", math.inf),
    "share": (100.0, "% of runs or suggestions", math.inf),
    "nats": (1.0, "nats of loss", 0.1),
}

Row = tuple[Judged, int, Test, Verdict]


def rows_by_unit(judged: Sequence[Judged]) -> dict[str, list[Row]]:
    """All tests whose effect has an interval, by unit."""
    rows: dict[str, list[Row]] = {}
    for judgement in judged:
        for i, (test, verdict) in enumerate(zip(judgement.claim.tests, judgement.verdicts, strict=True)):
            effect = verdict.effect
            if test.is_statistical and effect is not None and not math.isnan(effect.low):
                rows.setdefault(effect.unit, []).append((judgement, i, test, verdict))
    return rows


def plot_effects(unit: str, rows: Sequence[Row], ax: Axes) -> Axes:
    """One row per test: effect and interval in the colour of the verdict. A short vertical bar marks `beyond`."""
    scale, label, linear_to = SCALES[unit]
    for y, (_, _, test, verdict) in enumerate(rows):
        effect = verdict.effect
        assert effect is not None
        look = VERDICTS[verdict.word]
        ax.plot([effect.low * scale, effect.high * scale], [y, y], color=look["color"], linewidth=1.6, solid_capstyle="butt")
        ax.plot(effect.effect * scale, y, linestyle="none", markersize=7, markeredgecolor=look["color"], **look)
        ax.plot([test.beyond * scale] * 2, [y - 0.35, y + 0.35], color="black", linewidth=1)
    for word, look in VERDICTS.items():
        ax.plot([], [], linestyle="none", label=word, markeredgecolor=look["color"], **look)
    ax.plot([], [], linestyle="none", marker="|", markersize=11, color="black", label="the claim: to the right of this")
    ax.set_yticks(range(len(rows)), [_label(judgement, i) for judgement, i, _, _ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel(f"effect ({label}{_set_scale(unit, linear_to, ax)})")
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    figure.set_size_inches(9, 1.9 + 0.33 * len(rows))  # rows have the same height in all figures
    figure.set_layout_engine("constrained")  # "tight" leaves no room for a legend outside
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
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


def _label(judgement: Judged, i: int) -> str:
    claim = judgement.claim
    return claim.id if len(claim.tests) == 1 else f"{claim.id} ({i + 1})"
