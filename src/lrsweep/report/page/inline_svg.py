"""Put a figure's SVG into the page itself, where it follows the page's colours: dark on a screen, black on white in print."""

import re
from html import escape, unescape
from pathlib import Path

from lrsweep.report.figures.style import PAGE_COLOURS
from lrsweep.report.texts.figure_words import in_korean
from lrsweep.report.texts.language import is_korean

_VARIABLES = {colour.lower(): f"var(--{name})" for colour, name in PAGE_COLOURS.items()}
_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}\b")  # in a style attribute


def inline_svg(path: Path) -> str:
    """The svg element of matplotlib's file, with its words in the page's language, and without what only a file needs."""
    text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)  # the style would apply to the whole page
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # nothing refers to a group, and ids must be unique on a page
    text = re.sub(r" font-family: [^;]*;", "", text)  # the page's own font
    text = re.sub(r">\s+<", "><", text).strip()
    if is_korean():
        text = re.sub(r"(?<=>)[^<>]+(?=</text>)", lambda match: escape(in_korean(unescape(match[0])), quote=False), text)
    return _COLOUR.sub(lambda match: _VARIABLES.get(match[0], match[0]), text)
