"""Numbers as report text: rates, shares, counts, times. `escaped` makes text from configs and machines safe for Markdown.

Words are in the report's language.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence

from lrsweep.analysis.rates import decimal_rate, power_of_ten
from lrsweep.report.texts.language import is_korean, say

MAX_STRETCHES = 3  # longer lists are hard to read


def lr_text(lr: float) -> str:
    """0.00063 (10⁻³·²), or only the number, with one more digit, if the exponent has more than two decimals."""
    exponent = round(math.log10(lr), 2)
    if math.isclose(math.log10(lr), exponent, abs_tol=1e-9):
        number, power = decimal_rate(lr), power_of_ten(exponent)
        return number if number == power or not exponent else f"{number} ({power})"
    return decimal_rate(lr, digits=3)


def rates_text(low: float, high: float, text: Callable[[float], str] = lr_text) -> str:
    return text(low) if low == high else between(text(low), text(high))


def stretches_text(stretches: Sequence[tuple[float, float]], text: Callable[[float], str] = lr_text) -> str:
    """Stretches of rates; only the first and the last rate if there are too many stretches to read."""
    if len(stretches) > MAX_STRETCHES:
        return rates_text(stretches[0][0], stretches[-1][1], text)
    texts = [rates_text(low, high, text) for low, high in stretches]
    return say(" and ").join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def percents(shares: Collection[float]) -> str:
    """The lowest and the highest share; only one if both are the same text."""
    low, high = percent(min(shares)), percent(max(shares))
    return low if low == high else between(low, high)


def seconds_text(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def percent(share: float) -> str:
    return say("not scored") if math.isnan(share) else f"{share:.2%}"


def points(difference: float) -> str:
    """The size of a difference of accuracies in percentage points, without the sign."""
    return f"{abs(difference) * 100:.2f}"


def points_interval(low: float, high: float) -> str:
    """A 95% interval in percentage points, or nothing if the bounds are NaN."""
    return "" if math.isnan(low) else f" (95%: {between(f'{low * 100:.2f}', f'{high * 100:.2f}')})"


def interval(low: float, high: float, form: str = ".2%") -> str:
    """A 95% interval, or nothing if the bounds are NaN or look equal."""
    lowest, highest = format(low, form), format(high, form)
    return "" if math.isnan(low) or lowest == highest else f" (95%: {between(lowest, highest)})"


def listed(rates: Iterable[float]) -> str:
    return ", ".join(map(lr_text, rates))


def number(value: float, form: str) -> str:
    return say("not measured") if math.isnan(value) else format(value, form)


def times(ratio: float) -> str:
    if math.isnan(ratio):
        return say("(not measured)")
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def counted(num: int, noun: str) -> str:
    """The number of things: 3 runs, 실행 3회."""
    return say("{num} " + (noun if num == 1 and not is_korean() else f"{noun}s"), num=f"{num:,}")


def seeds_text(num_seeds: int) -> str:
    return say("one seed") if num_seeds == 1 else counted(num_seeds, "seed")


def between(low: str, high: str) -> str:
    return say("{low} to {high}", low=low, high=high)


def escaped(text: object) -> str:
    """Text from configs and machines, on one line, with the special characters of Markdown, HTML and GitHub escaped.

    Underscores inside words are not special, so that `cross_entropy` stays readable.
    """
    return re.sub(r"([\\`*<>\[\]|#&!~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(str(text).split()))


def code_block(text: str, kind: str = "sh") -> str:
    """Commands or other text as a code block. Its fence is longer than any backticks in it, so that no text can end the block."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{fence}{kind}\n{text}\n{fence}"


def fold(summary: str, markdown: str) -> str:
    """A part that the reader unfolds. `summary` is plain text; on paper, everything is unfolded."""
    return f"<details><summary>{summary}</summary>\n\n{markdown}\n\n</details>"
