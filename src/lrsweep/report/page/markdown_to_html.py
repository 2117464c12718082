"""Turn a report's Markdown into the body of its page: nested sections, figures with captions, tables that scroll.

HTML in the Markdown is escaped, because study names and settings end up in it. There are three exceptions, each of which
must be a paragraph: `<details><summary>text</summary>`, `</details>` and `<!-- explorer -->`.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from lrsweep.report.figures.files import KOREAN, NARROW
from lrsweep.report.page.inline_svg import inline_svg
from lrsweep.report.texts.language import say
from lrsweep.report.texts.wording import counted

EXPLORER_MARK = "<!-- explorer -->"
MAX_OPEN_ROWS = 20  # longer tables are folded

_FOLD = re.compile(r"<details>\s*<summary>([^<>]*)</summary>")
_FOLD_END = "</details>"
_HANGUL = re.compile("[가-힣]")
_LONG_CELL = re.compile(r"<td>(?=[^<]{32})")  # wraps, so that the table need not be as wide
_UNIT = re.compile(r"(?<=\d) (?=(?:s|GB|points?|epochs?)\b)")  # stays on the line of its number
_PICTURES = '<p><div class="picture '


@dataclass(frozen=True)
class Heading:
    level: int
    text: str
    id: str


def render_sections(markdown: str, folder: Path, explorer: str | None) -> tuple[str, list[Heading]]:
    """The HTML of the body, with the pictures of `folder` embedded, and its headings in order.

    The text between the title and the next heading becomes the answer box. `explorer` (HTML) becomes a section before the first
    second-level heading.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("image", _render_image)
    if explorer is not None:
        markdown = _with_mark(markdown)
    writer = _Writer(parser, {"folder": folder.resolve()}, explorer or "")
    for block in _blocks(parser.parse(markdown)):
        writer.write(block)
    writer.close(0)
    return "\n".join(writer.parts), writer.headings


def _with_mark(markdown: str) -> str:
    section = f"## {say('Explore the runs')}\n\n{EXPLORER_MARK}\n\n"
    marked, num_marks = re.subn(r"(?m)^(?=## )", section, markdown, count=1)
    return marked if num_marks else f"{markdown}\n\n{section}"


def _blocks(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of each top-level block."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


@dataclass
class _Writer:
    """Writes one block after the other and keeps track of the open sections and folds."""

    parser: MarkdownIt
    env: EnvType
    explorer: str
    parts: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    open: list[tuple[int, str]] = field(default_factory=list)  # level (0 for a fold) and closing tag

    def write(self, block: list[Token]) -> None:
        text = block[1].content.strip() if block[0].type == "paragraph_open" else ""
        if block[0].type == "heading_open":
            self._heading(block)
        elif text == EXPLORER_MARK:
            self.parts.append(self.explorer)
        elif fold := _FOLD.fullmatch(text):
            self._enter(0, f"<details><summary>{escape(fold[1])}</summary>", _FOLD_END)
        elif text == _FOLD_END:
            self._end_fold()
        else:
            if self.headings and self.headings[-1].level == 1 and not self.open:
                self._enter(7, '<div class="answer">', "</div>")  # level 7: every heading ends it
            self.parts.append(self._content(block))

    def close(self, level: int) -> None:
        """Close all open elements of this level or deeper, the innermost first."""
        while self.open and self.open[-1][0] >= level:
            self.parts.append(self.open.pop()[1])

    def _enter(self, level: int, opening: str, closing: str) -> None:
        self.parts.append(opening)
        self.open.append((level, closing))

    def _heading(self, block: list[Token]) -> None:
        level = int(block[0].tag[1:])
        text = "".join(child.content for child in block[1].children or [])
        heading = Heading(level, text, self._new_id(text))
        self.headings.append(heading)
        self.close(level)
        if level > 1:
            self._enter(level, f'<section aria-labelledby="{heading.id}">', "</section>")
        self.parts.append(f'<{block[0].tag} id="{heading.id}">{self._render(block[1:2])}</{block[0].tag}>')

    def _new_id(self, text: str) -> str:
        plain = re.sub(r"\W+", "-", text.lower()).strip("-") or "section"
        taken = {heading.id for heading in self.headings}
        names = (plain if i == 1 else f"{plain}-{i}" for i in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def _end_fold(self) -> None:
        if any(level == 0 for level, _ in self.open):
            self.close(1)
            self.parts.append(self.open.pop()[1])

    def _content(self, block: list[Token]) -> str:
        html = self._render(block)
        if block[0].type == "blockquote_open" and _HANGUL.search(html):  # a Korean document's own words
            return html.replace("<blockquote>", '<blockquote lang="ko">', 1)
        if block[0].type == "table_open":
            return self._table(html, num_rows=sum(token.type == "tr_open" for token in block) - 1)
        children = (block[1].children or []) if block[0].type == "paragraph_open" else []
        if _PICTURES not in html and block[0].type != "fence":
            html = _UNIT.sub("\u00a0", html)
        return _figure(html) if children and children[0].type == "image" and html.startswith(_PICTURES) else html

    def _table(self, html: str, num_rows: int) -> str:
        """Put the table into a box that scrolls, also with the keyboard. Fold a long table."""
        name = escape(self.headings[-1].text) if self.headings else say("table")
        html = _LONG_CELL.sub('<td class="long">', html)
        box = f'<div class="table" role="region" tabindex="0" aria-label="{name}">{html}</div>'
        is_folded = any(level == 0 for level, _ in self.open)
        return (
            box
            if num_rows <= MAX_OPEN_ROWS or is_folded
            else f"<details><summary>{say('Table: {rows}', rows=counted(num_rows, 'row'))}</summary>{box}</details>"
        )

    def _render(self, tokens: list[Token]) -> str:
        return str(self.parser.renderer.render(tokens, self.parser.options, self.env))


def _figure(html: str) -> str:
    """A paragraph that begins with a picture, as a figure. The rest of the paragraph, if any, is its caption.

    The title in the caption is hidden from screen readers, which have just read it as the picture's name.
    """
    pictures, _, caption = html.removeprefix("<p>").removesuffix("</p>\n").partition("<br />\n")
    caption = caption.replace("<strong>", '<strong aria-hidden="true">', 1)
    return f"<figure>{pictures}{caption and f'<figcaption>{caption}</figcaption>'}</figure>"


def _render_image(renderer: RendererProtocol, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """The embedded picture, wide and narrow if it is an SVG; only its alt text if the picture is not in the report's folder."""
    # Without the backslashes of the Markdown.
    name = escape("".join(child.content for child in tokens[index].children or []))
    picture = (env["folder"] / unquote(str(tokens[index].attrs.get("src", "")))).resolve()
    if not picture.is_relative_to(env["folder"]) or picture.suffix != ".png":
        return name
    stem = picture.stem.removesuffix(KOREAN)  # there is one SVG for both languages
    wide, narrow = picture.with_name(f"{stem}.svg"), picture.with_name(f"{stem}{NARROW}.svg")
    if wide.is_file():
        versions = {"wide": wide, "narrow": narrow} if narrow.is_file() else {"only": wide}
        return "".join(
            f'<div class="picture {version}" role="img" aria-label="{name}">{inline_svg(path)}</div>'
            for version, path in versions.items()
        )
    if picture.is_file():
        data = base64.b64encode(picture.read_bytes()).decode()
        return f'<div class="picture only"><img src="data:image/png;base64,{data}" alt="{name}"></div>'
    return name
