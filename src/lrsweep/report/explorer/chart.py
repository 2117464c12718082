"""The interactive chart of one arm, as a Vega-Lite specification: all runs, the report's choice, and training curves.

The reader sets Vega-Lite parameters: `rate` (click or list), `rate2` and `rate3` choose the training curves, `measure` and `by`
their axes. `position` (slider) says how much accuracy a rate may lose; `choices` holds the rate to use at every position. Texts
and axes are drawn in `currentColor`, so the page sets them for light and dark mode.
"""

from typing import Any

import altair as alt
import pandas as pd

from lrsweep.analysis.findings import Findings
from lrsweep.analysis.rates import rate_names
from lrsweep.report.explorer.chart_axes import EXTENT, MOST_LOSS, SHOWS_LOSS, accuracy_axis, error_of, lr_axis, measure_axis
from lrsweep.report.explorer.chart_tables import allowed_losses, choices, means, run_rows
from lrsweep.report.figures.style import ACCURACY, COST, GOOD, LINES, SOFT, TRADE_OFF, good_stretches
from lrsweep.report.texts.commands import is_in_program, settings
from lrsweep.report.texts.decision import chosen
from lrsweep.report.texts.language import say, word
from lrsweep.report.texts.wording import counted

FRESH = "fresh seed"
LOOKS = {"ok": ("circle", ACCURACY), "at chance": ("square", SOFT), "diverged": ("cross", COST), FRESH: ("diamond", "#56B4E9")}
NO_RATE = "none"
_MEASURES = ["accuracy", "loss"]
_BY = ["epochs", "seconds"]
_WORDS = [  # of explorer.js
    *("learning rate", "seed", "status", "validation", "test", "epochs", "seconds", "settings", "record", "fresh"),
    *("none", "not measured", "ok", "at chance", "diverged"),
]

_Layers = alt.LayerChart | alt.FacetChart  # Altair's return type of `layer`; here always a LayerChart
_INK = "currentColor"
_WIDTH = 600  # pixels per plot, if the width of the container is unknown
_LEFT, _RIGHT = EXTENT + 16, 24  # pixels: axis labels and title; half a label and the padding
_STAR = "M0,-1L0.225,-0.309L0.951,-0.309L0.363,0.118L0.588,0.809L0,0.382L-0.588,0.809L-0.363,0.118L-0.951,-0.309L-0.225,-0.309Z"


def explorer_spec(found: Findings, runs: pd.DataFrame, curves: pd.DataFrame, fresh: pd.DataFrame | None = None) -> dict[str, Any]:
    """The chart of one arm, without its failed runs.

    `runs` and `curves` are the arm's own; `fresh` has its runs on fresh seeds, if there are any.
    """
    shown = runs if fresh is None else pd.concat([runs, fresh], ignore_index=True)
    names = rate_names(shown["lr"])
    rows = [row | {"look": row["status"]} for row in run_rows(runs, curves, names)]
    if fresh is not None:
        rows += [row | {"look": FRESH} for row in run_rows(fresh, curves[:0], names)]
    best = found.headline
    with_curves = sorted(runs["lr"].unique())
    initial = chosen(best)["lr"] if chosen(best)["lr"] in with_curves else found.best.best["lr"]
    chart = _chart(rows, [names[lr] for lr in with_curves], names[initial], best.delta)
    spec: dict[str, Any] = chart.to_dict(validate=False)  # slow; a test validates the chart
    for_script = {
        "losses": [f"{loss * 100:g}" for loss in allowed_losses(best.delta)],
        "command": " ".join([*([] if is_in_program(runs) else ["lrsweep"]), *settings(runs)]),
        "words": {text: word(text) for text in _WORDS},
        "count": say("{shown} of {total} runs", shown="{shown}", total="{total}"),
    }
    data = {
        "runs": rows,
        "means": means(runs, names),
        "fresh": [] if fresh is None else means(fresh, names),
        "good": [{"low": low, "high": high} for low, high in good_stretches(best)],
        "choices": choices(best, names, is_fresh=best is not found.best),
    }
    return spec | {"usermeta": spec["usermeta"] | for_script, "datasets": data}


def _chart(rows: list[dict[str, Any]], rates: list[str], initial: str, delta: float) -> alt.VConcatChart:
    """The chart without its data, because Altair is slow with data."""
    choice, others = _rates(rates, initial)
    chart = alt.vconcat(
        _overview(rows, choice, are_many=len(rows) > 3 * len(rates)),
        _training(),
        spacing=12,
        description=say(
            "{runs}: accuracy against learning rate, and training curves of chosen rates.", runs=counted(len(rows), "run")
        ),
        usermeta={"embedOptions": {"renderer": "svg", "patch": _fit_container()}},
    )
    is_timed = any(row["seconds"] and row["e"] for row in rows)
    measure = _list("measure", _MEASURES, say("Show"))
    by = _list("by", _BY if is_timed else _BY[:1], say("Over"))
    chart = chart.add_params(_position(delta), *others, measure, by)
    chart = chart.resolve_scale(color="independent", shape="independent", strokeDash="independent")
    configured: alt.VConcatChart = chart.configure(**_config())
    return configured


def _rates(rates: list[str], initial: str) -> tuple[alt.Parameter, list[alt.Parameter]]:
    """Up to three rates whose curves are shown. The first can also be chosen by a click on a run."""
    bound = alt.binding_select(options=rates, name=say("Rate {num}", num=1))
    look: dict[str, Any] = {"on": "click", "nearest": True, "toggle": False, "clear": False, "empty": False}
    first = alt.selection_point(name="rate", fields=["rate"], value=initial, bind=bound, **look)
    return first, [_list(f"rate{num}", [NO_RATE, *rates], say("Rate {num}", num=num)) for num in (2, 3)]


def _list(name: str, options: list[str], label: str) -> alt.Parameter:
    labels = [word(option) for option in options]
    return alt.param(name=name, value=options[0], bind=alt.binding_select(options=options, labels=labels, name=label))


def _position(delta: float) -> alt.Parameter:
    losses = allowed_losses(delta)
    slider = alt.binding_range(min=0, max=len(losses) - 1, step=1, name=say("How many points of test accuracy may a rate lose?"))
    slider["element"] = "#explorer-slider"
    return alt.param(name="position", value=losses.index(delta), bind=slider)


def _marks(rate: alt.X, accuracy: alt.Y) -> list[alt.Chart]:
    """A star at the rate to use, or a ring if no rate is shown to be good enough."""
    base = alt.Chart(alt.NamedData("choices")).transform_filter("datum.position == position")
    base = base.transform_calculate(error=error_of("valid")).encode(x=rate, y=accuracy)
    look: dict[str, Any] = {"size": 420, "opacity": 1, "description": say("The rate to use")}
    star = base.transform_filter("datum.shown").mark_point(shape=_STAR, filled=True, color=TRADE_OFF, **look)
    ring = base.transform_filter("!datum.shown").mark_point(filled=False, color=_INK, strokeWidth=2, **look)
    return [star, ring]


def _overview(rows: list[dict[str, Any]], choice: alt.Parameter, *, are_many: bool) -> _Layers:
    """Accuracy against the rate: good rates (shade), runs, means, the rate to use (star), and the first chosen rate (dashes)."""
    accuracy, lrs = accuracy_axis(rows), [row["lr"] for row in rows]
    rate = lr_axis(min(lrs), max(lrs))
    good = alt.Chart(alt.NamedData("good")).mark_rect(color=GOOD, opacity=0.15, aria=False, clip=True)
    # aria=False: a screen reader would read out up to 1,000 points. The report's tables hold the same numbers.
    runs = alt.Chart(alt.NamedData("runs")).mark_point(filled=True, aria=False, cursor="pointer")
    runs = runs.transform_calculate(error=f"datum.valid == null ? 1 : {error_of('valid')}").encode(x=rate, y=accuracy)
    pointed_at = alt.selection_point(
        name="pointed_at", fields=["id"], on="pointerover", nearest=True, clear="pointerout", empty=False
    )
    layers = [
        good.encode(x=lr_axis(min(lrs), max(lrs), "low"), x2="high"),
        alt.Chart(alt.NamedData("means"))
        .transform_filter(choice)
        .mark_rule(color=_INK, strokeDash=[4, 4], aria=False)
        .encode(x=rate),
        _points(runs, pointed_at, are_many=are_many),
        _mean("means", ACCURACY, say("Mean validation accuracy against the learning rate")).encode(x=rate, y=accuracy),
        _mean("fresh", LOOKS[FRESH][1], say("The same on fresh seeds")).encode(x=rate, y=accuracy),
        *_marks(rate, accuracy),
        # Invisible and on top, so that the pointer finds the runs even under the star.
        runs.properties(name="targets").encode(opacity=alt.value(0), tooltip=_tooltip()).add_params(pointed_at, choice),
    ]
    title = alt.Title(
        say("Every run, and the mean at each rate"), subtitle=say("Shade: good rates. Click a run for its training.")
    )
    return alt.layer(*layers).properties(name="overview", width=_WIDTH, height=260, title=title)


def _mean(data: str, colour: str, description: str) -> alt.Chart:
    base = alt.Chart(alt.NamedData(data)).transform_calculate(error=f"datum.valid == null ? null : {error_of('valid')}")
    mean: alt.Chart = base.mark_line(color=colour, strokeWidth=1.5, description=description)
    return mean


def _points(runs: alt.Chart, pointed_at: alt.Parameter, *, are_many: bool) -> alt.Chart:
    names = list(LOOKS)
    shapes, colours = zip(*LOOKS.values(), strict=True)
    look: dict[str, Any] = {"orient": "top", "title": None, "symbolOpacity": 1, "columns": alt.expr("width < 400 ? 2 : 4")}
    legend = alt.Legend(**look, labelExpr=_named(list(LOOKS), "datum.label"))
    points: alt.Chart = runs.encode(
        color=alt.Color("look:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        shape=alt.Shape("look:N", scale=alt.Scale(domain=names, range=shapes), legend=legend),
        size=alt.when(pointed_at).then(alt.value(170)).otherwise(alt.value(22 if are_many else 50)),
        opacity=alt.when(pointed_at).then(alt.value(1)).otherwise(alt.value(0.45 if are_many else 0.8)),
    )
    return points


def _tooltip() -> Any:
    """A run's numbers as one expression, because separate fields lose text under `nearest` in Vega-Lite 6.4 (vega-lite#9707).

    With `nearest` the pointer hits a cell around the run. The run's data are then in datum.datum.
    """
    run, none, unmeasured = "(datum.datum || datum)", say("none"), say("not measured")
    shown = {
        "learning rate": f"{run}.rate",
        "seed": f"{run}.seed",
        "validation accuracy": f"{run}.valid == null ? '{none}' : format({run}.valid, '.2%')",
        "test accuracy": f"{run}.test == null ? '{none}' : format({run}.test, '.2%')",
        "epochs": f"{run}.epochs",
        "seconds": f"{run}.seconds == null ? '{unmeasured}' : format({run}.seconds, '.4~r')",
        "status": _named(list(LOOKS), f"{run}.status"),
    }
    lines = ", ".join(f"'{say(name)}': {value}" for name, value in shown.items())
    return alt.value(alt.expr(f"{{{lines}}}"))


def _named(names: list[str], expression: str) -> str:
    """The name in the page's language that the Vega expression gives."""
    return "{" + ", ".join(f"'{name}': '{word(name)}'" for name in names) + "}[" + expression + "]"


def _training() -> _Layers:
    """Accuracy or loss against epochs or seconds at the chosen rates: one line per seed, a point at its best epoch.

    Seconds are the run's mean time per epoch, times the epoch. Runs whose time was not measured have none.
    """
    base = alt.Chart(alt.NamedData("runs")).transform_filter("indexof([rate.rate[0], rate2, rate3], datum.rate) >= 0")
    base = base.transform_flatten(["e", "v", "l"]).transform_calculate(
        x="by == 'seconds' ? datum.e * datum.seconds / datum.epochs : datum.e",
        y=f"{SHOWS_LOSS} ? min(datum.l, {MOST_LOSS}) : {error_of('v')}",
    )
    base = base.transform_filter("datum.y > 0 && datum.x > 0").encode(
        x=alt.X(
            "x:Q",
            title=None,
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(format="~g", grid=False, labelOverlap=True, labelSeparation=4),
        ),
        y=measure_axis(),
        color=alt.Color("rate:N", scale=alt.Scale(range=LINES[:3]), legend=alt.Legend(orient="top", title=None, symbolOpacity=1)),
        detail="seed:N",
        tooltip=[
            alt.Tooltip("rate:N", title=say("rate")),
            alt.Tooltip("seed:N", title=say("seed")),
            alt.Tooltip("e:Q", title=say("epoch")),
            alt.Tooltip("v:Q", title=say("accuracy"), format=".2%"),
            alt.Tooltip("l:Q", title=say("loss"), format=".3~r"),
        ],
    )
    lines = base.mark_line(strokeWidth=1.5, opacity=0.75, clip=True, aria=False).encode(
        strokeDash=alt.StrokeDash("rate:N", legend=None)
    )
    best = base.transform_filter("datum.e == datum.best").mark_point(filled=True, size=70, opacity=1, clip=True, aria=False)
    names = {"measure": _named(_MEASURES, "measure"), "by": _named(_BY, "by")}
    heading = alt.expr(say("'Validation ' + {measure} + ' against ' + {by}", **names))
    title = alt.Title(heading, subtitle=say("A line per seed, a point at its best epoch."))
    return alt.layer(lines, best).properties(name="training", width=_WIDTH, height=220, title=title)


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
