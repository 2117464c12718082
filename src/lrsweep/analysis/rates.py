"""Learning rates as text, for readers who do not think in exponents."""

import math

_SUPERSCRIPT = str.maketrans("-.0123456789", "⁻·⁰¹²³⁴⁵⁶⁷⁸⁹")


def decimal_rate(lr: float, digits: int = 2) -> str:
    """With `digits` digits; with two: 0.0025, but 5.2×10⁻⁶, and 10⁻⁶. An unknown rate is a dash."""
    if not math.isfinite(lr):
        return "–"
    if lr >= 1e-4:
        return f"{float(f'{lr:.{digits}g}'):f}".rstrip("0").rstrip(".") or "0"
    mantissa, exponent = f"{lr:.{digits - 1}e}".split("e")
    return f"{float(mantissa):g}×{power_of_ten(int(exponent))}".removeprefix("1×")


def power_of_ten(exponent: float) -> str:
    """10⁻⁶ or 10⁻²·⁵"""
    return "10" + f"{exponent:g}".translate(_SUPERSCRIPT)
