"""Effects as text, in their units."""

import math
from dataclasses import replace

from lrsweep.analysis.verdicts import Effect
from lrsweep.report.texts.language import say
from lrsweep.report.texts.wording import between

_UNITS = {"accuracy": "{value} points", "decades": "{value} decades", "nats": "{value} nats"}


def loss_text(effect: Effect) -> str:
    """The text of a loss, which is minus the effect."""
    if math.isnan(effect.effect):
        return say("not measured")
    if effect.low == effect.effect < effect.high:  # a bound, see facts.balance
        return say("loses at most {loss}", loss=size_text(-effect.low, effect.unit))
    return say("loses {loss}", loss=effect_text(negated(effect)).replace("+", ""))


def negated(effect: Effect) -> Effect:
    return replace(effect, effect=-effect.effect, low=-effect.high, high=-effect.low)


def effect_text(effect: Effect) -> str:
    """An effect and its interval."""
    if math.isnan(effect.effect):
        return say("not measured")
    if effect.unit == "number":
        return f"{effect.effect:.3g}"
    if effect.unit == "share" and not effect.low < 0:
        low, middle, high = (f"{value * 100:.3g}%" for value in (effect.low, effect.effect, effect.high))
    else:
        low, middle, high = (signed(value, effect.unit) for value in (effect.low, effect.effect, effect.high))
    text = say(_UNITS.get(effect.unit, "{value}"), value=middle)
    return text + ("" if not math.isfinite(effect.high - effect.low) else f" [{between(low, high)}]")


def signed(value: float, unit: str) -> str:
    """A difference, without the unit's name."""
    match unit:
        case "accuracy":
            return f"{value * 100:+z.2f}"
        case "share":
            return f"{value * 100:+.3g}%"
        case "factor":
            return f"×{10**value:.3g}"
        case "nats":
            return f"{value:+z.3f}"
        case _:
            return f"{value:+z.2f}"


def size_text(delta: float, unit: str) -> str:
    """The smallest difference that matters."""
    match unit:
        case "accuracy":
            return say(_UNITS[unit], value=f"{delta * 100:.2f}")
        case "share":
            return f"{delta * 100:.3g}%"
        case "factor":
            return f"{(10**delta - 1) * 100:.0f}%"
        case _:
            return say(_UNITS.get(unit, "{value}"), value=f"{delta:.3g}")
