"""The figures of the audit: effects of one unit with their intervals, against the smallest difference that matters."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter

from lrsweep.analysis.claims import Judged
from lrsweep.analysis.verdicts import Effect, Word
from lrsweep.report.figures.style import INK, PALE, is_narrow
from lrsweep.report.texts.claim_names import name_in_english

LOOKS: dict[Word, dict[str, Any]] = {
    "holds": {"color": "#0072B2", "marker": "o"},
    "does not hold": {"color": "#D55E00", "marker": "X"},
    "no difference that matters": {"color": "#009E73", "marker": "s"},
    "open": {"color": "#767676", "marker": "D", "markerfacecolor": "white"},
}
_PART = {"color": "#9A9A9A", "marker": "."}  # one of the effects that the deciding one was selected from
SCALES = {  # unit → (factor from effect to axis, axis label, value beyond which the axis is logarithmic)
    "accuracy": (100.0, "percentage points", 1.0),
    "factor": (1.0, "ratios", math.inf),  # these effects are log10 of a ratio
    "decades": (1.0, "decades of learning rate", math.inf),
    "share": (100.0, "%", math.inf),
}
_BAND: dict[str, Any] = {"color": PALE, "alpha": 0.45, "linewidth": 0}  # differences that do not matter
_HALF_BAND = 0.3  # rows
_DECADES_OF_ALL_TICKS = 1.7  # on a longer axis, the labels would not fit
_MAX_NAME, _MAX_NAME_NARROW = 100, 42  # letters


class Row(NamedTuple):
    name: str
    effect: Effect
    word: Word | None  # None: one of several parts
    delta: float
    costs_nothing: bool


def rows_by_unit(judged: Sequence[Judged]) -> dict[str, list[Row]]:
    """All claims whose deciding effect has an interval, by unit."""
    rows: dict[str, list[Row]] = {}
    for one in judged:
        if one.result is not None and one.result.effect is not None and _has_interval(one.result.effect):
            test, effect = one.result.test, one.result.effect
            row = Row(name_in_english(one.claim.id), effect, one.word, test.delta_of(effect), test.costs_nothing)
            rows.setdefault(effect.unit, []).append(row)
    return rows


def rows_of(one: Judged) -> list[Row]:
    """The deciding effect of a claim, and the effects that it was selected from. Empty if it has no interval."""
    rows = [row for own in rows_by_unit([one]).values() for row in own]
    for row in rows[:1]:
        rows += [
            Row(name.split(";")[0], part, None, row.delta, row.costs_nothing)
            for name, part in row.effect.parts
            if _has_interval(part)
        ]
    return rows


def _has_interval(effect: Effect) -> bool:
    return math.isfinite(effect.high - effect.low)


def plot_effects(rows: Sequence[Row], ax: Axes) -> Axes:
    """One row per effect, with its interval in the colour of the verdict. A band shows differences that do not matter."""
    unit = rows[0].effect.unit
    scale, label, linear_to = SCALES[unit]
    for y, (_, effect, word, size, costs_nothing) in enumerate(rows):
        look, delta = LOOKS[word] if word else _PART, size * scale
        ends = [y - _HALF_BAND, y + _HALF_BAND]
        ax.fill_betweenx(ends, -delta, 0 if costs_nothing else delta, **_BAND)
        ax.plot([-delta if costs_nothing else 0.0] * 2, ends, color=INK, linewidth=1)
        ax.plot([effect.low * scale, effect.high * scale], [y, y], color=look["color"], linewidth=1.6, solid_capstyle="butt")
        ax.plot(effect.effect * scale, y, linestyle="none", markersize=7, markeredgecolor=look["color"], **look)
    for word, look in LOOKS.items():
        if any(row.word == word for row in rows):
            ax.plot([], [], linestyle="none", label=word, markeredgecolor=look["color"], **look)
    ax.plot([], [], linestyle="none", marker="|", markersize=11, color=INK, label="the claim holds to the right of this line")
    ax.set_xlabel(f"effect ({label}{_set_scale(unit, linear_to, ax)})")
    _name_rows([row.name for row in rows], ax)
    handles, labels = ax.get_legend_handles_labels()
    handles.append(Patch(**_BAND, label="too small to matter"))
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.legend(handles, [*labels, "too small to matter"], loc="outside lower center", ncols=1 if is_narrow(ax) else 3)
    return ax


def _name_rows(names: Sequence[str], ax: Axes) -> None:
    """Write the names above the rows, where there is room for them in any language. Rows are as high in all figures."""
    ax.set_yticks([])
    ax.set_ylim(len(names) - 0.5, -0.9)
    longest = _MAX_NAME_NARROW if is_narrow(ax) else _MAX_NAME
    for y, full in enumerate(names):
        name = full.split(": ")[0] if is_narrow(ax) else full  # without the details
        text = name if len(name) <= longest else f"{name[: longest - 1]}…"
        ax.text(0.01, y - 0.4, text, transform=ax.get_yaxis_transform(), va="bottom", parse_math=False)
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    figure.set_size_inches(figure.get_size_inches()[0], 2.2 + 0.55 * len(names))
    figure.set_layout_engine("constrained")  # "tight" leaves no room for a legend outside


def _set_scale(unit: str, linear_to: float, ax: Axes) -> str:
    """Set the scale and ticks of the x axis. Return the note that its label needs."""
    if unit == "factor":
        low, high = ax.get_xlim()
        digits = (1, 2, 5) if high - low < _DECADES_OF_ALL_TICKS else (1,)
        ratios = [digit * 10.0**exponent for exponent in range(-6, 7) for digit in digits]
        ax.xaxis.set_major_locator(FixedLocator([math.log10(ratio) for ratio in ratios]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{10**value:g}"))
        return "; logarithmic"
    reach = max(map(abs, ax.get_xlim()))
    if reach <= linear_to:
        return ""
    ax.set_xscale("symlog", linthresh=linear_to)
    ax.autoscale_view(scaley=False)  # the margins on a linear axis are too narrow here
    ticks = [linear_to * factor for factor in ((0.5, 1, 2, 5) if reach < 10 * linear_to else (1, 10, 100))]
    ax.xaxis.set_major_locator(FixedLocator([*(-tick for tick in ticks), 0, *ticks]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return f"; logarithmic beyond ±{linear_to:g}"
