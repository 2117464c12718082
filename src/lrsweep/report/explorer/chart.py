"""The interactive chart of one arm, as a Vega-Lite specification: all runs, their training curves, the best trade-off.

The reader sets two Vega-Lite parameters. `rate` (click or list) chooses the training curves. `price` (slider) says how much
accuracy an epoch must bring; Vega-Lite transforms find the best trade-off at that price. Texts and axes are drawn in
`currentColor`, so the page sets them for light and dark mode.
"""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from lrsweep.report.explorer.chart_axes import EXTENT, accuracy_axis, error_of, lr_axis
from lrsweep.report.explorer.chart_tables import STEPS_PER_DECADE, json_rows, price_range, rates_table, run_rows
from lrsweep.report.figures.style import ACCURACY, COST, TRADE_OFF
from lrsweep.report.texts.language import say
from lrsweep.report.texts.wording import counted, lr_text

STATUSES = {"ok": ("circle", ACCURACY), "at chance": ("square", "#7F7F7F"), "diverged": ("cross", COST)}

_Layers = alt.LayerChart | alt.FacetChart  # Altair's return type of `layer`; here always a LayerChart
_INK = "currentColor"
_WIDTH = 600  # pixels per plot, if the width of the container is unknown
_LEFT, _RIGHT = EXTENT + 16, 24  # pixels: axis labels and title; half a label and the padding
# The accuracy (a fraction) that an epoch must bring. The lowest slider position means zero; the others are logarithmic.
_WORTH = f"price == 0 ? 0 : pow(10, lowest + (price - 1) / {STEPS_PER_DECADE}) / 100"
_STAR = "M0,-1L0.225,-0.309L0.951,-0.309L0.363,0.118L0.588,0.809L0,0.382L-0.588,0.809L-0.363,0.118L-0.951,-0.309L-0.225,-0.309Z"


def explorer_spec(runs: pd.DataFrame, curves: pd.DataFrame, initial_lr: float | None = None) -> dict[str, Any]:
    """The chart of one arm, without its failed runs. ValueError if no run has learned anything.

    `initial_lr` is the rate whose curves are shown first; None means the most accurate rate.
    """
    rows, rates = run_rows(runs, curves), rates_table(runs)
    chart = _chart(rows, rates, initial_lr)
    spec: dict[str, Any] = chart.to_dict(validate=False)  # slow; a test validates the chart
    return spec | {"datasets": {"runs": rows, "rates": json_rows(rates, digits=6)}}


def _chart(rows: list[dict[str, Any]], rates: pd.DataFrame, initial_lr: float | None) -> alt.VConcatChart:
    """The chart without its data, because Altair is slow with data."""
    if not rates["learned"].any():
        raise ValueError("no run has learned anything, so there is no rate to choose")
    lowest, num_steps = price_range(rates)
    accuracy = accuracy_axis(rows)
    choice = _choice(rates, lr_text(_most_accurate(rates) if initial_lr is None else initial_lr))
    chart = alt.vconcat(
        _answer(),
        _overview(rates, accuracy, choice, are_many=len(rows) > 3 * len(rates)),
        _training(accuracy, choice),
        spacing=12,
        description=say(
            "{runs}: accuracy against learning rate, and training curves of a chosen rate.", runs=counted(len(rows), "run")
        ),
        usermeta={"embedOptions": {"renderer": "svg", "patch": _fit_container()}},
    )
    chart = chart.add_params(_price(num_steps), alt.param(name="lowest", value=lowest), alt.param(name="worth", expr=_WORTH))
    configured: alt.VConcatChart = chart.resolve_legend(color="independent", shape="independent").configure(**_config())
    return configured


def _most_accurate(rates: pd.DataFrame) -> float:
    return float(rates["lr"].to_numpy()[np.nanargmax(rates["valid"].to_numpy())])


def _price(num_steps: int) -> alt.Parameter:
    slider = alt.binding_range(min=0, max=num_steps, step=1, name=say("How much is an epoch worth?"))
    return alt.param(name="price", value=0, bind=slider)


def _choice(rates: pd.DataFrame, initial: str) -> alt.Parameter:
    """The rate whose curves are shown, chosen by a click on a run or from a list, which also works with a keyboard."""
    select = alt.binding_select(options=rates["rate"].tolist(), name=say("Training curves of learning rate"))
    return alt.selection_point(
        name="rate", fields=["rate"], value=initial, bind=select, on="click", nearest=True, toggle=False, clear=False, empty=False
    )


def _with_best_trade_off(base: alt.Chart) -> alt.Chart:
    """The row of `rates` with the highest valid - worth * epochs; the smallest rate if several are equal."""
    return (
        base.transform_filter("datum.learned")
        .transform_calculate(score="datum.valid - worth * datum.epochs")
        .transform_aggregate(top="argmax(score)")
        .transform_calculate(**{name: f"datum.top.{name}" for name in ("lr", "rate", "valid", "test", "epochs")})
        .transform_calculate(error=error_of("valid"))
    )


def _answer() -> _Layers:
    """The slider's price and the best trade-off in words, in lines short enough for a phone."""
    price = say("'An epoch is worth ' + {points} + ' percentage points.'", points="format(worth * 100, '.2~r')")
    nothing = say("An epoch is worth nothing.")
    scores = say("{valid} + ' on validation, ' + {test} + ' on test'", valid=_percent("valid"), test=_percent("test"))
    base = _with_best_trade_off(alt.Chart(alt.NamedData("rates"))).transform_calculate(
        price=f"worth == 0 ? '{nothing}' : {price}",
        choice=f"(worth == 0 ? '{say('Most accurate: ')}' : '{say('Best at this price: ')}') + datum.rate",
        scores=scores,
        cost=say("{epochs} + ' epochs'", epochs="format(datum.epochs, '.1f')"),
    )
    star = base.mark_point(shape=_STAR, size=150, filled=True, color=TRADE_OFF, opacity=1, aria=False)
    lines = [
        star.encode(x=alt.value(7 - _LEFT), y=alt.value(28)),
        _line(base, "price", 6),
        _line(base, "choice", 28, indent=20, fontSize=14, fontWeight="bold"),
        _line(base, "scores", 50),
        _line(base, "cost", 70),
    ]
    return alt.layer(*lines).properties(name="answer", width=_WIDTH, height=78)


def _percent(field: str) -> str:
    return f"format(datum.{field}, '.2%')"


def _line(base: alt.Chart, field: str, y: int, indent: int = 0, **style: Any) -> alt.Chart:
    look: dict[str, Any] = {"align": "left", "fontSize": 13, "color": _INK} | style
    text = alt.Text(field, type="nominal")
    line: alt.Chart = base.mark_text(**look).encode(text=text, x=alt.value(indent - _LEFT), y=alt.value(y))
    return line


def _overview(rates: pd.DataFrame, accuracy: alt.Y, choice: alt.Parameter, *, are_many: bool) -> _Layers:
    """Accuracy against the rate: runs, means, the best trade-off (star), and the chosen rate (dashed line)."""
    base = alt.Chart(alt.NamedData("rates")).encode(x=lr_axis(rates["lr"]))
    chosen = base.transform_filter(choice).mark_rule(color=_INK, strokeDash=[4, 4], aria=False)
    mean = base.transform_calculate(error=f"datum.valid == null ? null : {error_of('valid')}").encode(y=accuracy)
    star = _with_best_trade_off(base).encode(y=accuracy)
    # aria=False: a screen reader would read out up to 1,000 points. The report's tables hold the same numbers.
    runs = alt.Chart(alt.NamedData("runs")).mark_point(filled=True, aria=False, cursor="pointer")
    runs = runs.transform_calculate(error=f"datum.valid == null ? 1 : {error_of('valid')}").encode(
        x=lr_axis(rates["lr"]), y=accuracy
    )
    pointed_at = alt.selection_point(
        name="pointed_at", fields=["rate", "seed"], on="pointerover", nearest=True, clear="pointerout", empty=False
    )
    layers = [
        chosen,
        _points(runs, pointed_at, are_many=are_many),
        mean.mark_line(color=ACCURACY, strokeWidth=1.5, description=say("Mean validation accuracy against the learning rate")),
        star.mark_point(shape=_STAR, size=420, filled=True, color=TRADE_OFF, opacity=1, description=say("Best trade-off")),
        # Invisible and on top, so that the pointer finds the runs even under the star.
        runs.properties(name="targets").encode(opacity=alt.value(0), tooltip=_tooltip()).add_params(pointed_at, choice),
    ]
    title = alt.Title(say("Every run, and the mean of each rate"), subtitle=say("Click a run to see its training below"))
    return alt.layer(*layers).properties(name="overview", width=_WIDTH, height=260, title=title)


def _points(runs: alt.Chart, pointed_at: alt.Parameter, *, are_many: bool) -> alt.Chart:
    names = list(STATUSES)
    shapes, colours = zip(*STATUSES.values(), strict=True)
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1, labelExpr=_status("datum.label"))
    points: alt.Chart = runs.encode(
        color=alt.Color("status:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        shape=alt.Shape("status:N", scale=alt.Scale(domain=names, range=shapes), legend=legend),
        size=alt.when(pointed_at).then(alt.value(170)).otherwise(alt.value(22 if are_many else 50)),
        opacity=alt.when(pointed_at).then(alt.value(1)).otherwise(alt.value(0.45 if are_many else 0.8)),
    )
    return points


def _tooltip() -> Any:
    """A run's numbers as one expression, because separate fields lose text under `nearest` in Vega-Lite 6.4 (vega-lite#9707).

    With `nearest` the pointer hits a cell around the run. The run's data are then in datum.datum.
    """
    shown = {
        "learning rate": "{0}.rate",
        "seed": "{0}.seed",
        "validation accuracy": "{0}.valid == null ? '{none}' : format({0}.valid, '.2%')",
        "test accuracy": "{0}.test == null ? '{none}' : format({0}.test, '.2%')",
        "epochs": "{0}.epochs",
        "seconds": "{0}.seconds == null ? '{unmeasured}' : format({0}.seconds, '.4~r')",
        "status": _status("{0}.status").replace("{'", "{{'").replace("'}", "'}}"),
    }
    words = {"none": say("none"), "unmeasured": say("not measured")}
    lines = (f"'{say(name)}': {value.format('(datum.datum || datum)', **words)}" for name, value in shown.items())
    return alt.value(alt.expr(f"{{{', '.join(lines)}}}"))


def _status(expression: str) -> str:
    """The name of the status that the Vega expression gives."""
    return "{" + ", ".join(f"'{name}': '{say(name)}'" for name in STATUSES) + "}[" + expression + "]"


def _training(accuracy: alt.Y, choice: alt.Parameter) -> _Layers:
    """Validation accuracy against the epoch at the chosen rate: one line per seed, a point at its best epoch."""
    at_rate = alt.Chart(alt.NamedData("runs")).transform_filter(choice)
    base = at_rate.transform_flatten(["e", "v"]).transform_calculate(error=error_of("v"))
    base = base.encode(
        x=alt.X(
            "e:Q",
            title=say("epoch"),
            scale=alt.Scale(zero=False, nice=False),
            axis=alt.Axis(tickMinStep=1, tickCount=10, format="d", grid=False),
        ),
        y=accuracy,
        detail="seed:N",
        tooltip=[
            alt.Tooltip("seed:N", title=say("seed")),
            alt.Tooltip("e:Q", title=say("epoch")),
            alt.Tooltip("v:Q", title=say("accuracy"), format=".2%"),
        ],
    )
    lines = base.mark_line(color=ACCURACY, strokeWidth=1.5, opacity=0.75, aria=False)
    best = base.transform_filter("datum.e == datum.best").mark_point(color=ACCURACY, filled=True, size=70, opacity=1, aria=False)
    title = alt.Title(
        alt.expr(say("'Training at ' + {rate}", rate="rate.rate[0]")), subtitle=say("A line a seed, a point its best epoch")
    )
    return alt.layer(lines, best).properties(name="training", width=_WIDTH, height=200, title=title)


def _fit_container() -> list[dict[str, Any]]:
    """A JSON patch (RFC 6902) of the compiled Vega: Vega-Lite cannot fit a concatenated chart to its container."""
    width = f"max({_WIDTH // 3}, containerSize()[0] - {_LEFT + _RIGHT})"
    fitted = {"name": "width", "init": width, "on": [{"events": {"source": "window", "type": "resize"}, "update": width}]}
    return [{"op": "remove", "path": "/width"}, {"op": "add", "path": "/signals/0", "value": fitted}]


def _config() -> dict[str, Any]:
    text = {"labelColor": _INK, "titleColor": _INK, "labelFontSize": 12, "titleFontSize": 13, "titleFontWeight": "normal"}
    lines = {"domainColor": _INK, "tickColor": _INK, "gridColor": _INK, "gridOpacity": 0.12}
    title = {"color": _INK, "subtitleColor": _INK, "anchor": "start", "frame": "group", "dx": -_LEFT}
    title |= {"fontSize": 14, "subtitleFontSize": 12}
    view = {"stroke": None}
    named = {"background": "transparent", "font": "system-ui, sans-serif"}
    return named | {"axis": text | lines, "legend": text, "title": title, "view": view}
