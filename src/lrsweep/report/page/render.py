"""Render a report's Markdown as one HTML file, which loads nothing and can be mailed."""

import base64
import functools
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from lrsweep.report.page.markdown_to_html import render_sections
from lrsweep.report.texts.language import NAMES, file_name, is_korean, other, say

_HERE = Path(__file__).parent
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
)


@dataclass(frozen=True)
class Progress:
    """How far a running sweep is."""

    num_finished: int
    num_expected: int
    updated: datetime
    reload_seconds: int


def render_page(
    title: str,
    body_markdown: str,
    folder: Path,
    explorer: dict[str, Any] | None,
    file: str | None = None,
    progress: Progress | None = None,
) -> str:
    """The whole page, in the current language. It links to the same page in the other language if `file` names it.

    Pictures are read from `folder`; `explorer` is the Vega-Lite specification of `explorer_spec`. `progress` is for the page of a
    sweep that still runs.

    Whatever the texts contain, the page's Content Security Policy lets the browser load nothing and run only the page's
    own scripts. markdown_to_html.py says what the Markdown may contain.
    """
    chart = (
        None if explorer is None else _TEMPLATES.get_template("explorer.html.j2").render(say=say, spec=Markup(_json(explorer)))
    )
    body, headings = render_sections(body_markdown, folder, chart)
    scripts = [_script("page.js")] if explorer is None else [_script("page.js"), _vega(), _script("explorer.js")]
    return _TEMPLATES.get_template("page.html.j2").render(
        title=title,
        say=say,
        lang="ko" if is_korean() else "en",
        switch=file and {"lang": other(), "name": NAMES[other()], "file": file_name(file, other())},
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        contents=[heading for heading in headings if heading.level == 2],
        body=Markup(body),
        progress=progress,
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
    )


def _json(tree: dict[str, Any]) -> str:
    """JSON for a script element. No text in it can end the element."""
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script (0.9 MB) that defines window.vegaEmbed. Building it takes 2 s."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _script(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _policy(scripts: list[str]) -> str:
    """The browser runs only scripts with these hashes. explorer.js sets `ast`, so that Vega needs no eval."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}; base-uri 'none'; form-action 'none'"
    )
