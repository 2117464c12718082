"""Markdown to the page's body: nested sections with ids and languages, figures with captions, tables in boxes of their own.

All HTML in the Markdown is escaped, since study names and settings end up in it, but for three lines that must each be a
paragraph: `<details><summary>words</summary>` (or `<details open>…`), `</details>` and `<!-- explorer -->`.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

EXPLORER_MARK = "<!-- explorer -->"
EXPLORER_HEADING = "Explore the runs"
LONG_TABLE = 20  # rows; longer ones are folded

_FOLD = re.compile(r"<details( open)?>\s*<summary>([^<>]*)</summary>")
_FOLD_END = "</details>"
_HANGUL = re.compile("[가-힣]")
_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Heading:
    level: int
    text: str
    id: str
    lang: str | None  # "ko" where the text has Hangul; None: as around it


def render_sections(markdown: str, folder: Path, explorer: str | None) -> tuple[str, list[Heading]]:
    """The body's HTML, and its headings in order. Pictures are taken from `folder` into the page itself.

    What stands between the title and the next heading is the answer box. `explorer`, HTML, goes where the Markdown marks it,
    else into a section of its own before the first heading of the second level.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("image", _render_image)
    if explorer is not None and EXPLORER_MARK not in [
        token.content for token in parser.parse(markdown) if token.type == "inline"
    ]:
        markdown = _with_mark(markdown)
    writer = _Writer(parser, {"folder": folder.resolve()}, explorer or "")
    for block in _blocks(parser.parse(markdown)):
        writer.write(block)
    writer.close(0)
    return "\n".join(writer.parts), writer.headings


def _with_mark(markdown: str) -> str:
    section = f"## {EXPLORER_HEADING}\n\n{EXPLORER_MARK}\n\n"
    marked, num_found = re.subn(r"(?m)^(?=## )", section, markdown, count=1)
    return marked if num_found else f"{markdown}\n\n{section}"


def _blocks(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of each block of the first level."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


@dataclass
class _Writer:
    """Writes blocks one after the other, and knows which sections and folds are open."""

    parser: MarkdownIt
    env: EnvType
    explorer: str
    parts: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    open: list[tuple[int, str]] = field(default_factory=list)  # level (of folds: 0), closing tag

    def write(self, block: list[Token]) -> None:
        text = block[1].content.strip() if block[0].type == "paragraph_open" else ""
        if block[0].type == "heading_open":
            self._heading(block)
        elif text == EXPLORER_MARK:
            self.parts.append(self.explorer)
        elif fold := _FOLD.fullmatch(text):
            self._fold(fold[2], is_open=bool(fold[1]))
        elif text == _FOLD_END:
            self._end_fold()
        else:
            if self.headings and self.headings[-1].level == 1 and not self.open:
                self._enter(7, '<div class="answer">', "</div>")  # deeper than any heading, so that any heading ends it
            self.parts.append(self._content(block))

    def close(self, level: int) -> None:
        """End what is open, from the innermost, as far as it is of this level or deeper."""
        while self.open and self.open[-1][0] >= level:
            self.parts.append(self.open.pop()[1])

    def _enter(self, level: int, opening: str, closing: str) -> None:
        self.parts.append(opening)
        self.open.append((level, closing))

    def _heading(self, block: list[Token]) -> None:
        level = int(block[0].tag[1:])
        text = "".join(child.content for child in block[1].children or [])
        heading = Heading(level, text, self._new_id(text), "ko" if _HANGUL.search(text) else None)
        self.headings.append(heading)
        self.close(level)
        if level > 1:
            self._enter(level, f'<section aria-labelledby="{heading.id}"{_lang(text)}>', "</section>")
        self.parts.append(f'<{block[0].tag} id="{heading.id}">{self._render(block[1:2])}</{block[0].tag}>')

    def _new_id(self, text: str) -> str:
        plain = re.sub(r"\W+", "-", text.lower()).strip("-") or "section"
        taken = {heading.id for heading in self.headings}
        names = (plain if i == 1 else f"{plain}-{i}" for i in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def _fold(self, summary: str, *, is_open: bool) -> None:
        opening = f"<details{' open' if is_open else ''}{_lang(summary)}><summary>{escape(summary)}</summary>"
        self._enter(0, opening, _FOLD_END)

    def _end_fold(self) -> None:
        if any(level == 0 for level, _ in self.open):
            self.close(1)
            self.parts.append(self.open.pop()[1])

    def _content(self, block: list[Token]) -> str:
        html = self._render(block)
        if block[0].type == "table_open":
            return self._table(html, num_rows=sum(token.type == "tr_open" for token in block) - 1)
        children = (block[1].children or []) if block[0].type == "paragraph_open" else []
        if [child.type for child in children] == ["image"] and html.startswith("<p><img"):
            caption = escape(children[0].content)
            image = html.removeprefix("<p>").removesuffix("</p>\n")
            # Hidden from screen readers, which have read the same words as the picture's.
            return f'<figure><div class="picture">{image}</div><figcaption aria-hidden="true">{caption}</figcaption></figure>'
        return html

    def _table(self, html: str, num_rows: int) -> str:
        """In a box that scrolls by itself, with a keyboard too; folded where it is long."""
        name = escape(self.headings[-1].text) if self.headings else "table"
        box = f'<div class="table" role="region" tabindex="0" aria-label="{name}">{html}</div>'
        is_folded = any(level == 0 for level, _ in self.open)
        return box if num_rows <= LONG_TABLE or is_folded else f"<details><summary>{num_rows} rows</summary>{box}</details>"

    def _render(self, tokens: list[Token]) -> str:
        return str(self.parser.renderer.render(tokens, self.parser.options, self.env))


def _lang(text: str) -> str:
    return ' lang="ko"' if _HANGUL.search(text) else ""


def _render_image(renderer: RendererProtocol, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """The picture itself, as SVG where there is one; its words where it is no picture of the report's folder."""
    words = escape(tokens[index].content)
    data = _data_url(env["folder"], str(tokens[index].attrs.get("src", "")))
    return words if data is None else f'<img src="{data}" alt="{words}">'


def _data_url(folder: Path, source: str) -> str | None:
    named = (folder / source).resolve()
    for path in (named.with_suffix(".svg"), named):
        if path.is_relative_to(folder) and path.suffix in _MEDIA_TYPES and path.is_file():
            return f"data:{_MEDIA_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return None
