"""lrsweep.report.page.render: one file that loads nothing, escapes what it is told, and can be found one's way in."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reference_study import Study

from lrsweep.report.explorer.chart import explorer_spec
from lrsweep.report.page.render import render_page

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="5"/>'
EVIL = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Every element of a page in order, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"a picture")
    (tmp_path / "figures" / "a.svg").write_text(SVG)
    (tmp_path / "figures" / "b.png").write_bytes(b"another picture")
    return tmp_path


def page_of(markdown: str, folder: Path, title: str = "a study") -> str:
    return render_page(title, markdown, folder, None)


@pytest.fixture(scope="module")
def whole(reference: Study) -> str:
    """The committed report with its explorer."""
    explorer = explorer_spec(reference.runs, reference.curves)
    return render_page("lr", (reference.folder / "report.md").read_text(encoding="utf-8"), reference.folder, explorer)


def test_nothing_is_loaded_from_anywhere(whole: str) -> None:
    for tag, attributes in Elements(whole).found:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            target = attributes.get(name) or ""
            assert target.startswith(("data:", "#")) or not target, (tag, name, target)
    style = whole.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_names_every_script_and_nothing_else(whole: str) -> None:
    policy = next(m["content"] for m in Elements(whole).named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", whole, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert policy is not None
    assert re.findall(r"'sha256-(.*?)'", policy) == hashes
    assert len(hashes) == 3
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy


def test_a_page_without_an_explorer_has_no_chart_and_no_vega(folder: Path) -> None:
    page = page_of("# A\n\n<!-- explorer -->\n\n## B\n", folder)
    assert "vega" not in page.split("</style>")[1]
    assert "explorer -->" not in page
    assert len(page) < 20_000


@pytest.mark.parametrize(
    "markdown",
    [
        f"# {EVIL}\n",
        f"## {EVIL}\n",
        f"{EVIL}\n",
        f"| {EVIL} |\n|---|\n| {EVIL} |\n",
        f"![{EVIL}](figures/a.png)\n",
        f'![" onerror="alert(1)]({EVIL})\n',
        f"<details><summary>{EVIL}</summary>\n",
        "<img src=x onerror=alert(1)>\n",
        "[a link](javascript:alert(1))\n",
    ],
)
def test_what_a_text_says_is_never_markup(folder: Path, markdown: str) -> None:
    elements = Elements(page_of(markdown, folder, title=f"</title>{EVIL}"))
    assert len(elements.named("script")) == 1
    assert not [attributes for _, attributes in elements.found if "onerror" in attributes]
    assert not [link for link in elements.named("a") if (link["href"] or "").startswith("javascript")]


def test_data_cannot_end_its_script_element(folder: Path) -> None:
    page = render_page("a", "# A\n", folder, {"description": f"</script>{EVIL}"})
    assert len(Elements(page).named("script")) == 4  # the data, Vega, and two of the page
    assert "\\u003c/script>" in page


def test_a_picture_is_inlined_as_svg_where_there_is_one(folder: Path) -> None:
    first, second = Elements(page_of("![One & all](figures/a.png)\n\n![Two](figures/b.png)\n", folder)).named("img")
    assert first == {"src": "data:image/svg+xml;base64," + base64.b64encode(SVG.encode()).decode(), "alt": "One & all"}
    assert second == {"src": "data:image/png;base64," + base64.b64encode(b"another picture").decode(), "alt": "Two"}


def test_a_picture_has_its_words_as_caption(folder: Path) -> None:
    assert '<figcaption aria-hidden="true">One &amp; all</figcaption>' in page_of("![One & all](figures/a.png)\n", folder)


@pytest.mark.parametrize("source", ["http://example.org/a.png", "../outside.png", "/etc/passwd", "figures/none.png", "figures"])
def test_a_picture_from_elsewhere_is_only_its_words(folder: Path, source: str) -> None:
    (folder.parent / "outside.png").write_bytes(b"not of this report")
    page = page_of(f"![the words]({source})\n", folder)
    assert "<p>the words</p>" in page
    assert not Elements(page).named("img")


def test_headings_have_ids_of_their_own_and_the_contents_lead_to_them(folder: Path) -> None:
    elements = Elements(page_of("# A\n\n## Data\n\n### Why?\n\n## Data\n\n## 결과 요약\n", folder))
    ids = [attributes["id"] for tag, attributes in elements.found if tag in ("h1", "h2", "h3")]
    assert ids == ["a", "data", "why", "data-2", "결과-요약"]
    assert [link["href"] for link in elements.named("a")] == ["#report", "#data", "#data-2", "#결과-요약"]


def test_a_korean_section_says_so(folder: Path) -> None:
    elements = Elements(page_of("# A\n\n## Results\n\n### 5-2. 실험 결과\n\n글\n\n### More\n", folder))
    assert [section.get("lang") for section in elements.named("section")] == [None, "ko", None]
    assert elements.named("html") == [{"lang": "en"}]


def test_sections_nest_and_end(folder: Path) -> None:
    page = page_of(
        "# A\n\n## B\n\n### C\n\nin c\n\n## D\n\n<details open><summary>한국어</summary>\n\n### 가\n\n</details>\n\nin d\n",
        folder,
    )
    body = page.split("<main")[1].split("</main>")[0]
    shape = re.findall(r"<(/?(?:section|details)|h[1-6])|(in [cd])", body)
    assert [tag or text for tag, text in shape] == [
        *("h1", "section", "h2", "section", "h3", "in c", "/section", "/section"),
        *("section", "h2", "details", "section", "h3", "/section", "/details", "in d", "/section"),
    ]
    assert '<details open lang="ko"><summary>한국어</summary>' in body


@pytest.mark.parametrize(
    "markdown", ["</details>\n", "<details><summary>more</summary>\n\n## B\n", "## B\n\n</details>\n\ntext\n"]
)
def test_folds_are_balanced_whatever_the_text(folder: Path, markdown: str) -> None:
    page = page_of(markdown, folder)
    for tag in ("details", "section", "div"):
        assert len(re.findall(f"<{tag}[ >]", page)) == page.count(f"</{tag}>")


def test_the_answer_box_is_what_stands_before_the_next_heading(folder: Path) -> None:
    page = page_of("# A\n\n* the rate\n\nand why\n\n## B\n\nmore\n", folder)
    box = page.split('<div class="answer">')[1].split("</div>")[0]
    assert "the rate" in box
    assert "and why" in box
    assert "more" not in box
    assert 'class="answer"' not in page_of("# A\n\n## B\n\nmore\n", folder)


def test_a_table_scrolls_by_itself_and_a_long_one_is_folded(folder: Path) -> None:
    def table(num_rows: int) -> str:
        return page_of("## Rates\n\n| a | b |\n|---|--:|\n" + "| 1 | 2 |\n" * num_rows, folder)

    assert '<div class="table" role="region" tabindex="0" aria-label="Rates"><table>' in table(5)
    assert "<details>" not in table(20)
    assert "<details><summary>46 rows</summary><div" in table(46)


def test_the_explorer_stands_where_it_is_asked_for_else_after_the_answer(folder: Path) -> None:
    order = r'class="(answer|explorer)"|<h2[^>]*>(.*?)</h2>'

    def parts(markdown: str) -> list[str]:
        body = render_page("a", markdown, folder, {}).split("<main")[1].split("</main>")[0]
        return [a or b for a, b in re.findall(order, body)]

    assert parts("# A\n\nthe rate\n\n## B\n\n## C\n") == ["answer", "Explore the runs", "explorer", "B", "C"]
    assert parts("# A\n\nthe rate\n\n## B\n\n<!-- explorer -->\n\n## C\n") == ["answer", "B", "explorer", "C"]
    assert parts("# A\n\nthe rate\n") == ["answer", "Explore the runs", "explorer"]


def test_where_javascript_is_off_a_sentence_says_so(whole: str) -> None:
    assert "<noscript><p>The interactive chart needs JavaScript" in whole
