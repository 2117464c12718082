"""lrsweep.report.texts.wording: numbers in words, and text that is not ours."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lrsweep.config import GridConfig, log_grid
from lrsweep.report.texts import wording
from lrsweep.report.texts.wording import (
    counted,
    escaped,
    interval,
    lr_text,
    number,
    percent,
    points,
    power_of_ten,
    seeds_text,
    shell_block,
    times,
)


@pytest.mark.parametrize(
    ("lr", "text"),
    [
        (1e-3, "10^-3 (0.001)"),
        (10**-3.2, "10^-3.2 (0.000631)"),
        (10**-3.25, "10^-3.25 (0.000562)"),
        (10**-10.25, "10^-10.25 (5.62e-11)"),
        (1.0, "10^0 (1)"),
        (3e-4, "0.0003"),
        (0.123456, "0.123"),
    ],
)
def test_a_rate_has_its_exponent_where_that_is_short_and_its_value_always(lr: float, text: str) -> None:
    assert lr_text(lr) == text


@pytest.mark.parametrize(("exponent", "text"), [(-6, "10⁻⁶"), (0, "10⁰"), (12, "10¹²")])
def test_a_power_of_ten_is_written_as_on_paper(exponent: int, text: str) -> None:
    assert power_of_ten(exponent) == text


def test_every_rate_of_the_documents_grid_has_an_exponent_of_its_own() -> None:
    exponents = [lr_text(lr).split(" (")[0] for lr in log_grid(GridConfig())]
    assert exponents == [f"10^{i / 10:g}" for i in range(-60, -14)]


@pytest.mark.parametrize(("share", "text"), [(0.98125, "98.12%"), (1.0, "100.00%"), (0.0016, "0.16%"), (math.nan, "not scored")])
def test_a_share_is_percent_with_two_decimals(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(("difference", "text"), [(0.0016, "0.16"), (-0.0249, "2.49"), (0.0, "0.00"), (1.0, "100.00")])
def test_a_difference_is_percentage_points_without_its_sign(difference: float, text: str) -> None:
    assert points(difference) == text


@pytest.mark.parametrize(
    ("ends", "text"), [((0.97625, 0.98137), " (95%: 97.62% to 98.14%)"), ((math.nan, math.nan), "")], ids=["one", "none"]
)
def test_an_interval_is_told_where_there_is_one(ends: tuple[float, float], text: str) -> None:
    assert interval(*ends) == text
    assert interval(*ends, "~") == text.replace(" to ", " ~ ")


@pytest.mark.parametrize(
    ("value", "form", "text"), [(28.5, "g", "28.5"), (43.14, ".1f", "43.1"), (math.nan, "g", "not measured")]
)
def test_a_number_that_is_not_there_was_not_measured(value: float, form: str, text: str) -> None:
    assert number(value, form) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(7.34, "7.3"), (0.96, "1.0"), (12.6, "13"), (9.94, "9.9"), (math.nan, "(not measured)")]
)
def test_a_ratio_has_a_decimal_below_ten(ratio: float, text: str) -> None:
    assert times(ratio) == text


@pytest.mark.parametrize(("num", "text", "seeds"), [(0, "0 runs", "0 seeds"), (1, "1 run", "one seed"), (2, "2 runs", "2 seeds")])
def test_one_is_singular(num: int, text: str, seeds: str) -> None:
    assert counted(num, "run") == text
    assert seeds_text(num) == seeds


def test_both_languages_have_a_word_for_every_time() -> None:
    assert set(wording.TIMES_EN) == set(wording.TIMES_KO) == {"wall", "cpu", "calibrated", "mixed"}
    for words in (wording.TIMES_EN, wording.TIMES_KO):
        assert len(set(words.values())) == 4


# Text that is not ours.


def shown(markdown: str) -> str:
    """What a reader of Markdown sees of a line."""
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(markdown)
    (inline,) = [token for token in tokens if token.type == "inline"]
    assert all(child.type in ("text", "text_special") for child in inline.children or []), markdown
    return "".join(child.content for child in inline.children or [])


@pytest.mark.parametrize(
    "text",
    [
        "cross_entropy, training.batch_size=64",
        "<script>alert(1)</script>",
        "a | b || c",
        "`code` ``more``",
        "*bold* **bolder**",
        "[a link](https://example.org)",
        "![a picture](a.png)",
        "&lt;b&gt; &amp; AT&T",
        r"C:\data\*",
        "<https://example.org>",
        "Intel(R) Xeon(R) #2 @ 2.20GHz",
        "__init__ and _this_",
        "a__b_ _c",
    ],
)
def test_a_reader_sees_the_text_as_it_was(text: str) -> None:
    assert shown(f"it was {escaped(text)}") == f"it was {text}"


def test_a_text_of_many_lines_stays_on_one() -> None:
    assert escaped("Traceback:\n  File\tx\r\n\n# boom\n| a |") == r"Traceback: File x \# boom \| a \|"


@given(st.text(alphabet="ab <>|`*[]()!&#\\\n;=_~$", max_size=20))
def test_no_text_ends_a_cell_or_opens_an_element(text: str) -> None:
    """The letter before keeps a text's own first characters from a line's beginning, where a table's cell never has them."""
    plain = " ".join(text.split())
    assert shown(f"x{escaped(text)}x") == f"x{plain}x"
    row = MarkdownIt("commonmark", {"html": False}).enable("table").parse(f"| a | b |\n|---|---|\n| x{escaped(text)}x | 1 |")
    assert [token.content for token in row if token.type == "inline"][2:] == [f"x{escaped(text)}x".replace(r"\|", "|"), "1"]


@pytest.mark.parametrize(
    ("text", "markdown"),
    [("cross_entropy", "cross_entropy"), ("__init__", r"\_\_init\_\_"), ("~~$x$~~", r"\~\~\$x\$\~\~")],
    ids=["inside a word", "around a word", "GitHub's own"],
)
def test_only_what_may_mark_is_escaped(text: str, markdown: str) -> None:
    assert escaped(text) == markdown


@pytest.mark.parametrize("setting", ["a", "a\n```\n# out\n```", "a\n``````sh\n<b>", "`"])
def test_no_setting_ends_the_block_that_it_is_quoted_in(setting: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"{shell_block(setting)}\n\nafter")
    assert [(token.type, token.content) for token in tokens if token.content][:1] == [("fence", f"{setting}\n")]
    assert [token.content for token in tokens if token.type == "inline"] == ["after"]
