"""Learning rates as text, for readers who do not think in exponents."""

import math
from collections.abc import Iterable
from decimal import Decimal

_SUPERSCRIPT = str.maketrans("-.0123456789", "⁻·⁰¹²³⁴⁵⁶⁷⁸⁹")


def decimal_rate(lr: float, digits: int = 2) -> str:
    """With `digits` digits; with two: 0.0025, but 5.2×10⁻⁶, and 10⁻⁶. An unknown rate is a dash."""
    if not math.isfinite(lr):
        return "–"
    if lr >= 1e-4:
        return f"{Decimal(f'{lr:.{digits}g}'):f}"
    mantissa, exponent = f"{lr:.{digits - 1}e}".split("e")
    return f"{float(mantissa):.{digits}g}×{power_of_ten(int(exponent))}".removeprefix("1×")


def rate_names(lrs: Iterable[float]) -> dict[float, str]:
    """A text for each rate: with two digits, or with more if two rates would have the same text."""
    rates = sorted(set(lrs))
    texts = ([decimal_rate(lr, digits) for lr in rates] for digits in range(2, 18))
    return dict(zip(rates, next(each for each in texts if len(set(each)) == len(rates)), strict=True))


def power_of_ten(exponent: float) -> str:
    """10⁻⁶ or 10⁻²·⁵"""
    return "10" + f"{exponent:g}".translate(_SUPERSCRIPT)
