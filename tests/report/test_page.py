"""The page: one file that loads nothing, escapes all texts, and has ids, folds and an answer box."""

import base64
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from html_elements import Elements
from reference_study import Study

from lrsweep.report.figures.files import Figure, draw
from lrsweep.report.figures.style import ACCURACY
from lrsweep.report.page.render import Progress, render_page
from lrsweep.report.texts.language import language
from lrsweep.report.texts.wording import escaped

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="5"/>'
EVIL = "<script>alert(1)</script>"


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
def report_page(reference: Study) -> str:
    """The committed report with its explorer."""
    return render_page("lr", (reference.folder / "report.md").read_text(encoding="utf-8"), reference.folder, reference.spec)


def test_a_report_loads_nothing(report_page: str) -> None:
    Elements(report_page).assert_loads_nothing()
    style = report_page.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "<noscript><p>The interactive chart needs JavaScript" in report_page


def test_the_policy_allows_exactly_the_scripts_of_the_page(report_page: str) -> None:
    metas = Elements(report_page).named("meta")
    (policy,) = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
    scripts = re.findall(r"<script>(.*?)</script>", report_page, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-(.*?)'", policy) == hashes
    assert len(hashes) == 3
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy


def test_a_picture_may_have_a_korean_name(folder: Path) -> None:
    (folder / "figures" / "내망.png").write_bytes(b"a third picture")
    assert base64.b64encode(b"a third picture").decode() in page_of("![A](figures/내망.png)\n", folder)


def test_a_page_without_an_explorer_has_no_chart_and_no_vega(folder: Path) -> None:
    page = page_of("# A\n\n## B\n", folder)
    assert "vega" not in page.split("</style>")[1]
    assert "explorer -->" not in page
    assert len(page) < 20_000


@pytest.mark.parametrize(
    "markdown",
    [
        *(f"# {EVIL}\n", f"## {EVIL}\n", f"{EVIL}\n", f"| {EVIL} |\n|---|\n| {EVIL} |\n"),
        *(f"![{EVIL}](figures/a.png)\n", f'![" onerror="alert(1)]({EVIL})\n', f"<details><summary>{EVIL}</summary>\n"),
        *("<img src=x onerror=alert(1)>\n", "[a link](javascript:alert(1))\n"),
    ],
)
def test_no_text_becomes_markup(folder: Path, markdown: str) -> None:
    elements = Elements(page_of(markdown, folder, title=f"</title>{EVIL}"))
    assert len(elements.named("script")) == 1
    assert not [attributes for _, attributes in elements.tags if "onerror" in attributes]
    assert not [link for link in elements.named("a") if link["href"].startswith("javascript")]


def test_a_page_of_a_running_sweep_says_how_far_it_is(folder: Path) -> None:
    updated = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    page = render_page("a", "# A\n", folder, None, progress=Progress(57, 138, updated, 60))
    assert 'data-state="running"' in page
    assert "The sweep is running:" in page
    assert "57 of 138 runs are finished." in page
    assert '<time datetime="2026-01-02T03:04:00+00:00">2026-01-02 03:04</time>' in page
    assert '<noscript><meta http-equiv="refresh" content="60"></noscript>' in page
    with language("ko"):
        korean = render_page("a", "# A\n", folder, None, progress=Progress(57, 138, updated, 60))
    assert "실행 138회 중 57회가 끝났다." in korean
    finished = page_of("# A\n", folder)
    assert "running" not in finished.split("</style>")[1].split("<script>")[0]
    assert 'http-equiv="refresh' not in finished


def test_no_text_of_the_chart_ends_its_script_element(folder: Path) -> None:
    page = render_page("a", "# A\n", folder, {"description": f"</script>{EVIL}"})
    assert len(Elements(page).named("script")) == 4  # data, Vega, two scripts of the page
    assert "\\u003c/script>" in page


def test_an_svg_becomes_part_of_the_page_and_a_png_is_embedded(folder: Path) -> None:
    page = page_of("![One & all](figures/a.png)\n\n![Two](figures/b.png)\n", folder)
    elements = Elements(page)
    pictures = [attributes for _, attributes in elements.tags if attributes.get("role") == "img"]
    assert [(picture["class"], picture["aria-label"]) for picture in pictures] == [("picture only", "One & all")]
    assert len(elements.named("svg")) == 1
    (image,) = elements.named("img")
    assert image == {"src": "data:image/png;base64," + base64.b64encode(b"another picture").decode(), "alt": "Two"}


def test_a_picture_with_a_narrow_version_has_both(folder: Path) -> None:
    (folder / "figures" / "a-narrow.svg").write_text(SVG)
    elements = Elements(page_of("![One](figures/a.png)\n", folder))
    pictures = [attributes["class"] for _, attributes in elements.tags if attributes.get("role") == "img"]
    assert pictures == ["picture wide", "picture narrow"]
    assert len(elements.named("svg")) == 2


def test_a_figure_takes_the_colours_of_the_page_and_no_id_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw(tmp_path, Figure(name, name, "", lambda ax: ax.plot([1, 2], color=ACCURACY, marker="o", label="a < b & c") and ax))
    page = page_of("![One](figures/one.png)\n\n![Two](figures/two.png)\n", tmp_path)
    body = page.split("<main")[1]
    assert "var(--blue)" in body
    assert "#0072b2" not in body
    assert "<style" not in body
    ids = [attributes["id"] for _, attributes in Elements(body).tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert "font-family" not in body


def test_the_title_is_not_repeated_for_a_screen_reader(folder: Path) -> None:
    page = page_of("![One](figures/a.png)\\\n**One.** Read *it* so.\n", folder)
    assert '<figcaption><strong aria-hidden="true">One.</strong> Read <em>it</em> so.</figcaption></figure>' in page
    assert page.count("<br") == 0
    assert "<figcaption" not in page_of("![One](figures/a.png)\n", folder).split("<main")[1]


def test_captions_have_no_backslashes(folder: Path) -> None:
    title = escaped("seeds 1 ~ 3 of a_b [c] $d")
    page = page_of(f"![{title}](figures/a.png)\\\n**{title}.** So.\n", folder)
    (picture,) = [attributes for _, attributes in Elements(page).tags if attributes.get("role") == "img"]
    assert picture["aria-label"] == "seeds 1 ~ 3 of a_b [c] $d"
    assert ">seeds 1 ~ 3 of a_b [c] $d.</strong> So.</figcaption>" in page


@pytest.mark.parametrize("source", ["http://example.org/a.png", "../outside.png", "/etc/passwd", "figures/none.png", "figures"])
def test_a_picture_outside_the_report_is_replaced_by_its_alt_text(folder: Path, source: str) -> None:
    (folder.parent / "outside.png").write_bytes(b"not of this report")
    page = page_of(f"![the words]({source})\n", folder)
    assert "<p>the words</p>" in page
    assert not Elements(page).named("img")


def test_headings_have_unique_ids_and_the_contents_link_to_them(folder: Path) -> None:
    elements = Elements(page_of("# A\n\n## Data\n\n### Why?\n\n## Data\n\n## 결과 요약\n", folder))
    ids = [attributes["id"] for tag, attributes in elements.tags if tag in ("h1", "h2", "h3")]
    assert ids == ["a", "data", "why", "data-2", "결과-요약"]
    assert [link["href"] for link in elements.named("a")] == ["#report", "#data", "#data-2", "#결과-요약"]


def test_the_page_names_its_language_and_that_of_a_korean_quote(folder: Path) -> None:
    elements = Elements(page_of("# A\n\n> 학습이 전혀 진행되지 않는다.\n\n> In English.\n", folder))
    assert [quote.get("lang") for quote in elements.named("blockquote")] == ["ko", None]
    assert elements.named("html") == [{"lang": "en"}]
    with language("ko"):
        assert Elements(page_of("# A\n", folder)).named("html") == [{"lang": "ko"}]


def test_sections_nest_and_are_closed(folder: Path) -> None:
    page = page_of(
        "# A\n\n## B\n\n### C\n\nin c\n\n## D\n\n<details><summary>한국어</summary>\n\n### 가\n\n</details>\n\nin d\n",
        folder,
    )
    body = page.split("<main")[1].split("</main>")[0]
    shape = re.findall(r"<(/?(?:section|details)|h[1-6])|(in [cd])", body)
    assert [tag or text for tag, text in shape] == [
        *("h1", "section", "h2", "section", "h3", "in c", "/section", "/section"),
        *("section", "h2", "details", "section", "h3", "/section", "/details", "in d", "/section"),
    ]
    assert "<details><summary>한국어</summary>" in body


@pytest.mark.parametrize(
    "markdown", ["</details>\n", "<details><summary>more</summary>\n\n## B\n", "## B\n\n</details>\n\ntext\n"]
)
def test_all_elements_are_closed_whatever_the_text(folder: Path, markdown: str) -> None:
    page = page_of(markdown, folder)
    for tag in ("details", "section", "div"):
        assert len(re.findall(f"<{tag}[ >]", page)) == page.count(f"</{tag}>")


def test_the_text_before_the_next_heading_is_the_answer_box(folder: Path) -> None:
    page = page_of("# A\n\n* the rate\n\nand why\n\n## B\n\nmore\n", folder)
    box = page.split('<div class="answer">')[1].split("</div>")[0]
    assert "the rate" in box
    assert "and why" in box
    assert "more" not in box
    assert 'class="answer"' not in page_of("# A\n\n## B\n\nmore\n", folder)


def test_tables_scroll_and_long_ones_are_folded(folder: Path) -> None:
    def table(num_rows: int) -> str:
        return page_of("## Rates\n\n| a | b |\n|---|--:|\n" + "| 1 | 2 |\n" * num_rows, folder)

    assert '<div class="table" role="region" tabindex="0" aria-label="Rates"><table>' in table(5)
    assert "<details>" not in table(20)
    assert "<details><summary>Table: 46 rows</summary><div" in table(46)


def test_a_unit_stays_on_the_line_of_its_number(folder: Path) -> None:
    page = page_of("It takes 46 s.\n\n```\n46 s\n```\n", folder)
    assert "takes 46\u00a0s." in page
    assert "\n46 s\n" in page.replace("<code>", "\n")  # a command stays as it is


def test_only_cells_with_long_texts_wrap(folder: Path) -> None:
    page = page_of(f"| a | b |\n|---|---|\n| 0.001 | {'a long remark ' * 3} |\n", folder)
    assert '<td>0.001</td>\n<td class="long">a long' in page


def test_the_explorer_follows_the_answer(folder: Path) -> None:
    order = r'class="(answer|explorer)"|<h2[^>]*>(.*?)</h2>'

    def parts(markdown: str) -> list[str]:
        body = render_page("a", markdown, folder, {}).split("<main")[1].split("</main>")[0]
        return [a or b for a, b in re.findall(order, body)]

    assert parts("# A\n\nthe rate\n\n## B\n\n## C\n") == ["answer", "Explore the runs", "explorer", "B", "C"]
    assert parts("# A\n\nthe rate\n") == ["answer", "Explore the runs", "explorer"]
