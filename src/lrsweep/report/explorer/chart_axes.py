"""The axes of the interactive chart: accuracy (on the log scale of the error) and learning rate."""

import json
import math
from typing import Any

import altair as alt
import pandas as pd

from lrsweep.report.texts.language import say
from lrsweep.report.texts.wording import power_of_ten

LEAST_ERROR = 1e-4  # drawn instead of zero, which a log scale cannot show
EXTENT = 48  # pixels for the labels of accuracy; equal in all plots, so that they are aligned


def error_of(field: str) -> str:
    return f"max(1 - datum.{field}, {LEAST_ERROR})"


def accuracy_axis(rows: list[dict[str, Any]]) -> alt.Y:
    """Accuracy on the log scale of the error, so that the plot shows both chance level and the difference between 97% and 98%.

    The same axis serves all plots, so that they can be compared.
    """
    accuracies = [accuracy for row in rows for accuracy in (row["valid"], *row["v"]) if accuracy is not None]
    least = max(1 - max(accuracies), LEAST_ERROR)
    ticks = [m * 10**e for e in range(-4, 1) for m in (1, 2, 5) if least / 1.3 <= m * 10**e <= 1]
    axis = alt.Axis(values=ticks, labelExpr="format(1 - datum.value, '.4~%')", minExtent=EXTENT, maxExtent=EXTENT)
    scale = alt.Scale(type="log", reverse=True, domain=[least / 1.3, 1.12], nice=False)
    return alt.Y("error:Q", title=say("validation accuracy"), scale=scale, axis=axis)


def lr_axis(lr: pd.Series) -> alt.X:
    """Labelled at whole powers of ten, with a margin of half a grid step at both ends."""
    low, high = float(lr.min()) / 10**0.05, float(lr.max()) * 10**0.05
    decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    names = json.dumps({decade: power_of_ten(decade) for decade in decades})
    axis = alt.Axis(values=[10.0**decade for decade in decades], labelExpr=f"{names}[round(log(datum.value) / LN10)]")
    return alt.X("lr:Q", title=say("learning rate"), scale=alt.Scale(type="log", domain=[low, high], nice=False), axis=axis)
