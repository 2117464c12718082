"""The axes of the interactive chart: accuracy (on the log scale of the error), loss, and learning rate."""

import json
import math
from typing import Any

import altair as alt

from lrsweep.analysis.rates import decimal_rate, power_of_ten
from lrsweep.report.figures.axes import round_rates
from lrsweep.report.texts.language import say

LEAST_ERROR = 1e-4  # drawn instead of zero, which a log scale cannot show
MOST_LOSS = 10.0  # larger losses of runs that diverge are cut off
EXTENT = 48  # pixels for the labels of accuracy; equal in all plots, so that they are aligned
SHOWS_LOSS = "measure == 'loss'"
_ACCURACY_LABEL = "format(1 - datum.value, '.4~%')"


def error_of(field: str) -> str:
    return f"max(1 - datum.{field}, {LEAST_ERROR})"


def accuracy_axis(rows: list[dict[str, Any]]) -> alt.Y:
    """Accuracy on the log scale of the error, so that the plot shows both chance level and the difference between 97% and 98%."""
    accuracies = [accuracy for row in rows for accuracy in (row["valid"], *row["v"]) if accuracy is not None]
    least = max(1 - max(accuracies), LEAST_ERROR) / 1.3
    ticks = [m * 10**e for e in range(-4, 1) for m in (1, 2, 5) if least <= m * 10**e <= 1]
    axis = alt.Axis(values=ticks, labelExpr=_ACCURACY_LABEL, minExtent=EXTENT, maxExtent=EXTENT)
    scale = alt.Scale(type="log", reverse=True, domain=[least, 1.12], nice=False)
    return alt.Y("error:Q", title=say("validation accuracy"), scale=scale, axis=axis)


def measure_axis() -> alt.Y:
    """The axis of the training curves: accuracy as above, or loss, as the parameter `measure` says. It fits the curves shown."""
    label = f"{SHOWS_LOSS} ? format(datum.value, '~g') : {_ACCURACY_LABEL}"
    axis = alt.Axis(tickCount=6, labelExpr=label, labelOverlap=True, minExtent=EXTENT, maxExtent=EXTENT)
    scale = alt.Scale(type="log", reverse=alt.expr(f"!({SHOWS_LOSS})"), nice=False, padding=6)
    return alt.Y("y:Q", title=None, scale=scale, axis=axis)


def lr_axis(low: float, high: float, field: str = "lr") -> alt.X:
    """Labelled at whole powers of ten, or at round rates if there are fewer than two of these. With a small margin."""
    low, high = low / 10**0.05, high * 10**0.05
    values = [10.0**decade for decade in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    names = [power_of_ten(round(math.log10(value))) for value in values]
    if len(values) < 2:
        values = sorted(round_rates(low, high, most=8))
        names = [decimal_rate(value) for value in values]
    axis = alt.Axis(values=values, labelExpr=f"{json.dumps(names)}[indexof({json.dumps(values)}, datum.value)]")
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return alt.X(f"{field}:Q", title=say("learning rate"), scale=scale, axis=axis)
