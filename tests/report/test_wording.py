"""Numbers as text, and the escaping of text from configs and machines."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lrsweep.analysis.rates import decimal_rate, power_of_ten
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.texts.wording import (
    code_block,
    counted,
    escaped,
    interval,
    lr_text,
    number,
    percent,
    points,
    points_interval,
    seeds_text,
    stretches_text,
    times,
)


@pytest.mark.parametrize(
    ("function", "arguments", "text"),
    [
        (lr_text, (1e-3,), "0.001 (10⁻³)"),
        (lr_text, (10**-3.25,), "0.00056 (10⁻³·²⁵)"),
        (lr_text, (10**-10.25,), "5.6×10⁻¹¹ (10⁻¹⁰·²⁵)"),
        (lr_text, (1.0,), "1"),
        (lr_text, (3e-4,), "0.0003"),
        (lr_text, (0.123456,), "0.123"),
        (lr_text, (3e-5,), "3×10⁻⁵"),
        (lr_text, (1.234e-5,), "1.23×10⁻⁵"),
        (decimal_rate, (5.2079e-6,), "5.2×10⁻⁶"),
        (points_interval, (0.0, 0.00931), " (95%: 0.00 to 0.93)"),
        (points_interval, (math.nan, math.nan), ""),
        (stretches_text, ([(1e-3, 1e-2)],), "0.001 (10⁻³) to 0.01 (10⁻²)"),
        (stretches_text, ([(1e-4, 1e-4), (1e-3, 1e-2)],), "0.0001 (10⁻⁴) and 0.001 (10⁻³) to 0.01 (10⁻²)"),
        (stretches_text, ([(10.0**i, 10.0**i) for i in range(-4, 0)],), "0.0001 (10⁻⁴) to 0.1 (10⁻¹)"),
        (power_of_ten, (-6,), "10⁻⁶"),
        (power_of_ten, (12,), "10¹²"),
        (percent, (0.98125,), "98.12%"),
        (percent, (math.nan,), "not scored"),
        (points, (-0.0249,), "2.49"),
        (points, (0.0,), "0.00"),
        (interval, (0.97625, 0.98137), " (95%: 97.62% to 98.14%)"),
        (interval, (math.nan, math.nan), ""),
        (number, (28.5, "g"), "28.5"),
        (number, (43.14, ".1f"), "43.1"),
        (number, (math.nan, "g"), "not measured"),
        (times, (7.34,), "7.3"),
        (times, (0.96,), "1.0"),
        (times, (12.6,), "13"),
        (times, (math.nan,), "(not measured)"),
        (counted, (0, "run"), "0 runs"),
        (counted, (1, "run"), "1 run"),
        (seeds_text, (1,), "one seed"),
        (seeds_text, (2,), "2 seeds"),
    ],
)
def test_numbers_as_text(function: Callable[..., str], arguments: tuple[object, ...], text: str) -> None:
    assert function(*arguments) == text


def test_the_rates_of_the_documents_grid_differ_in_two_digits() -> None:
    texts = [lr_text(lr) for lr in log_grid(GridConfig())]
    assert len({text.split(" (")[0] for text in texts}) == 46
    assert (texts[0], texts[7], texts[-1]) == ("10⁻⁶", "5×10⁻⁶ (10⁻⁵·³)", "0.032 (10⁻¹·⁵)")


def shown(markdown: str) -> str:
    """The text that a reader of the rendered Markdown sees."""
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(markdown)
    (inline,) = [token for token in tokens if token.type == "inline"]
    assert all(child.type in ("text", "text_special") for child in inline.children or []), markdown
    return "".join(child.content for child in inline.children or [])


@pytest.mark.parametrize(
    "text",
    [
        *("cross_entropy, training.batch_size=64", "<script>alert(1)</script>", "a | b || c", "`code` ``more``"),
        *("*bold* **bolder**", "[a link](https://example.org)", "![a picture](a.png)", "&lt;b&gt; &amp; AT&T"),
        *(r"C:\data\*", "<https://example.org>", "Intel(R) Xeon(R) #2 @ 2.20GHz", "__init__ and _this_", "a__b_ _c"),
    ],
)
def test_a_reader_sees_escaped_text_unchanged(text: str) -> None:
    assert shown(f"it was {escaped(text)}") == f"it was {text}"


@given(st.text(alphabet="ab <>|`*[]()!&#\\\n;=_~$", max_size=20))
def test_escaped_text_ends_no_cell_and_opens_no_element(text: str) -> None:
    """The x keeps the text away from the start of a line, because the text in a cell is never there."""
    plain = " ".join(text.split())
    assert shown(f"x{escaped(text)}x") == f"x{plain}x"
    row = MarkdownIt("commonmark", {"html": False}).enable("table").parse(f"| a | b |\n|---|---|\n| x{escaped(text)}x | 1 |")
    assert [token.content for token in row if token.type == "inline"][2:] == [f"x{escaped(text)}x".replace(r"\|", "|"), "1"]


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("cross_entropy", "cross_entropy"),
        ("__init__", r"\_\_init\_\_"),
        ("~~$x$~~", r"\~\~\$x\$\~\~"),
        ("Traceback:\n  File\tx\r\n\n# boom\n| a |", r"Traceback: File x \# boom \| a \|"),
    ],
    ids=["inside a word", "around a word", "GitHub", "several lines"],
)
def test_only_special_characters_are_escaped(text: str, markdown: str) -> None:
    assert escaped(text) == markdown


@pytest.mark.parametrize("setting", ["a", "a\n```\n# out\n```", "a\n``````sh\n<b>", "`"])
def test_no_setting_ends_the_code_block_around_it(setting: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"{code_block(setting)}\n\nafter")
    assert [(token.type, token.content) for token in tokens if token.content][:1] == [("fence", f"{setting}\n")]
    assert [token.content for token in tokens if token.type == "inline"] == ["after"]
