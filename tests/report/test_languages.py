"""Report and audit in two languages: each has all its sentences, and says the same."""

import ast
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from html_elements import Elements
from languages import english_in, korean_in, numbers_in_tables
from matplotlib.axes import Axes
from synthetic_study import ARMS, FAILED, fill, fill_budget, record_of

from lrsweep.analysis.claims import Claim, Test, read_claims, read_documents
from lrsweep.analysis.phrases import Phrase, joined
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.audit.build import build_audit
from lrsweep.report.build import build
from lrsweep.report.figures import files
from lrsweep.report.figures.files import Figure, draw
from lrsweep.report.figures.style import KOREAN_FONT
from lrsweep.report.texts.claim_names import CLAIM_NAMES
from lrsweep.report.texts.figure_words import FIGURE_WORDS, in_korean
from lrsweep.report.texts.korean import KOREAN
from lrsweep.report.texts.language import language, markdown_file, say, translated
from lrsweep.report.texts.wording import counted, escaped
from lrsweep.storage import store

SRC = Path(__file__).parents[2] / "src" / "lrsweep"
GRID = log_grid(GridConfig())
CLAIMS = read_claims()


# The sentences.


def constants() -> Iterator[tuple[bool, str]]:
    """Every string in the code of analysis and report, and whether it is the template of a sentence."""
    paths = [path for part in ("analysis", "report") for path in (SRC / part).rglob("*.py") if path.name != "korean.py"]
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from (
            (False, node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            if getattr(call.func, "id", "") in ("say", "Phrase"):
                assert not isinstance(call.args[0], ast.JoinedStr), f"{path}:{call.lineno}: an f-string has no translation"
                if isinstance(call.args[0], ast.Constant):
                    yield True, str(call.args[0].value)
    for path in (SRC / "report" / "page").glob("*.j2"):
        yield from ((True, text) for text in re.findall(r'say\("(.*?)"[,)]', path.read_text(encoding="utf-8")))


def test_every_sentence_of_the_code_has_a_korean_one() -> None:
    templates = {text for is_template, text in constants() if is_template}
    without_words = {text for text in templates if not re.search("[A-Za-z]", re.sub(r"{\w*[^}]*}", "", text))}
    assert templates - without_words - set(KOREAN) == set()


def test_every_korean_sentence_belongs_to_one_of_the_code() -> None:
    plurals = {
        f"{{num}} {noun}s" for noun in ("run", "rate", "learning rate", "seed", "fresh seed", "claim", "range test", "row")
    }
    of_records = {"train"}  # a split
    assert set(KOREAN) - {text for _, text in constants()} - plurals - of_records == set()


@pytest.mark.parametrize("english", KOREAN)
def test_a_korean_sentence_uses_the_fields_of_the_english_one(english: str) -> None:
    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert fields(KOREAN[english]) == fields(english)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        *(("0.0025", "0.0025는"), ("10⁻²·⁵", "10⁻²·⁵은"), ("0.0032 (10⁻²·⁵)", "0.0032 (10⁻²·⁵)는")),
        *(
            ("5.2×10⁻⁶", "5.2×10⁻⁶은"),
            ("0.003", "0.003은"),
            ("5%", "5%는"),
            ("시드 3개", "시드 3개는"),
            ("실행 30회", "실행 30회는"),
        ),
        *(
            ("학습률", "학습률은"),
            ("**0.01**", "**0.01**은"),
            ("sgd", "sgd는"),
            ("12", "12는"),
            ("6", "6은"),
            ("study=lr", "study=lr은"),
            ("relu, falling", "relu, falling은"),
        ),
    ],
)
def test_a_particle_fits_the_end_of_a_word_or_number_as_it_is_read(
    text: str, spoken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KOREAN, "{it} is", "{it:은/는}")
    with language("ko"):
        assert say("{it} is", it=text) == spoken


def test_all_of_them_are_not_counted_twice() -> None:
    with language("ko"):
        assert say("{num} of {total} runs", num=30, total=30) == "실행 30회 모두"
        assert say("{num} of {total} runs", num=3, total=30) == "실행 30회 중 3회"
        assert say("{num} of {total} runs", num=200, total="1,200") == "실행 1,200회 중 200회"
        assert say("{num} of {total} runs", num="1,200", total="1,200") == "실행 1,200회 모두"
        assert say("{num} of {total} runs missing", num=2, total=2) == "실행 2회 모두 빠져 있다"


def test_a_phrase_of_the_analysis_is_english_until_it_is_translated() -> None:
    phrase = joined([Phrase("at {rate}", rate=Phrase("{rate}, the lowest tried", rate="10^-3")), Phrase("none")])
    assert phrase == translated(phrase) == "at 10^-3, the lowest tried; none"
    with language("ko"):
        assert translated(phrase) == "실험한 가장 작은 값 10^-3에서; 없음"
        assert (translated("{a} text"), counted(1, "run"), counted(2, "fresh seed")) == ("{a} text", "실행 1회", "새 시드 2개")
    assert counted(1, "run") == "1 run"


def korean_texts(claim: Claim) -> Iterator[tuple[str, str]]:
    """Every English text of a claim with its Korean sibling."""
    tests: list[Claim | Test] = [claim, *claim.also, *([claim.test] if claim.test else [])]
    for thing in tests:
        for name in ("claim", "reading", "caveat", "notes", "not_testable", "measures", "asks", "because"):
            if english := getattr(thing, name, ""):
                yield english, getattr(thing, f"{name}_ko")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_text_of_a_claim_is_there_in_korean(claim: Claim) -> None:
    for english, korean in korean_texts(claim):
        assert re.search("[가-힣]", korean), english
        assert not english_in(korean), korean
        assert (english[-1] == "?") == (korean[-1] == "?") or english.endswith(")"), korean


def test_the_documents_list_exactly_their_claims() -> None:
    for document in read_documents():
        assert set(document.claims) == {claim.id for claim in CLAIMS if document.id in claim.documents}
        assert len(set(document.claims)) == len(document.claims)
        assert re.search("[가-힣]", document.says_ko)


# The pages of a study with both losses, fresh seeds, a fixed budget and a failed run, and of an audit of it.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    fill(folder / "lr", GRID[::3], range(3), ARMS)
    store.save(folder / "lr", record_of(1e-3, FAILED | {"error": "out of memory again and again"}, seed=7))
    fill(folder / "lr" / "confirm", GRID[33:40:3], range(1000, 1004))
    fill_budget(folder / "lr" / "budget", GRID[30:38], range(3))
    build(folder / "lr")
    build_audit(folder)
    return folder


PAGES = ["lr/report", "audit"]


def text_of(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_korean_page_is_korean_and_the_english_one_english(folder: Path, page: str) -> None:
    assert english_in(text_of(folder, f"{page}.ko.md")) == []
    assert korean_in(text_of(folder, f"{page}.md")) == []
    body = re.sub("<(style|script).*?</\\1>", "", text_of(folder, f"{page}.html"), flags=re.S)
    assert set(re.findall("[가-힣]+", re.sub('<blockquote lang="ko">.*?</blockquote>', "", body, flags=re.S))) == {"한국어"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_both_languages_have_the_same_numbers_figures_and_headings(folder: Path, page: str) -> None:
    english, korean = text_of(folder, f"{page}.md"), text_of(folder, f"{page}.ko.md")
    assert numbers_in_tables(english) == numbers_in_tables(korean)
    for shape in (r"\(figures/(.+)\.png\)", r"(?m)^#+ "):
        assert re.findall(shape, english) == re.findall(shape, korean.replace(".ko.png", ".png"))
    pictures = [
        [re.findall("<svg.*?</svg>", figure, re.S) for figure in text_of(folder, f"{page}{ending}.html").split("<figure>")[1:]]
        for ending in ("", ".ko")
    ]
    drawings = [[re.sub("[^<>]*</text>", "", "".join(figure)) for figure in page] for page in pictures]
    assert drawings[0] == drawings[1]
    assert len(pictures[0]) == len(re.findall(r"\(figures/", english)) > 1
    assert all(pictures[0])


@pytest.mark.parametrize("font", ["a font", None])
def test_a_korean_text_has_korean_pictures_or_a_list_of_their_english_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, font: str | None
) -> None:
    """The letters themselves are drawn only if this machine has a Korean font."""
    if font and not KOREAN_FONT:
        pytest.skip("no Korean font (Debian: fonts-noto-cjk)")
    monkeypatch.setattr(files, "KOREAN_FONT", font)
    shown: list[str] = []

    def plot(ax: Axes) -> Axes:
        ax.set_xlabel("test accuracy")
        monkeypatch.setattr(ax.xaxis.label, "draw", lambda renderer: shown.append(ax.get_xlabel()))
        return ax

    with language("ko"):
        text = markdown_file(f"# 제목\n\n{draw(tmp_path, Figure('error', 'Error', '', plot))}", "report.md")
    assert shown == (["테스트 정확도"] if font else [])
    assert [path.name for path in tmp_path.rglob("*.png")] == (["error.ko.png"] if font else [])
    assert ("(figures/error.ko.png)" in text) == ("* test accuracy: 테스트 정확도" not in text) == bool(font)


def test_a_korean_text_without_pictures_explains_no_words_of_pictures() -> None:
    with language("ko"):
        assert markdown_file("# 제목\n\n본문", "report.md") == "# 제목\n\n[English](report.md)\n\n본문\n"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_words_in_the_figures_of_a_korean_page_are_korean(folder: Path, page: str) -> None:
    words = set(re.findall("([^<>]*)</text>", text_of(folder, f"{page}.ko.html")))
    names = {claim.id for claim in CLAIMS} | {"cross_entropy", "double_softmax", "base", "valley", "steepest", "slide"}
    assert {
        text for text in words - names if re.search("[A-Za-z]", text.replace("%p", "")) and not re.search("[가-힣]", text)
    } == set()
    assert len(words & set(FIGURE_WORDS.values())) > 3


@pytest.mark.parametrize(
    ("english", "korean"),
    [
        ("own 3 seeds", "본 실험 시드 3개"),
        ("own one seed", "본 실험 시드 1개"),
        ("20 fresh seeds", "새 시드 20개"),
        ("effect (percentage points; logarithmic beyond ±1)", "효과 (%p, ±1 밖은 로그 눈금)"),
        ("minimum/10: no suggestion", "minimum/10: 제안 없음"),
        ("base against init=zero", "base (비교 대상: init=zero)"),
        ("slide, 100 steps", "slide, 100 스텝"),
        ("my many seeds", "my many seeds"),
        ("valley: 0.0016", "valley: 0.0016"),
        ("my <arm> & {more}", "my <arm> & {more}"),
    ],
)
def test_a_text_of_a_figure_is_translated_with_the_texts_inside_it(english: str, korean: str) -> None:
    assert in_korean(english) == korean


@pytest.mark.parametrize("english", FIGURE_WORDS)
def test_the_korean_words_of_a_figure_use_the_same_fields(english: str) -> None:
    assert set(re.findall(r"{\w+}", FIGURE_WORDS[english])) == set(re.findall(r"{\w+}", english))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_both_languages_link_each_other_and_links_inside_a_page_resolve(folder: Path, page: str) -> None:
    name = page.split("/")[-1]
    for ending, other, lang, label in (("", ".ko", "ko", "한국어"), (".ko", "", "en", "English")):
        elements = Elements(text_of(folder, f"{page}{ending}.html"))
        (link,) = [link for link in elements.named("a") if not link["href"].startswith("#")]
        assert (link["href"], link["lang"]) == (f"{name}{other}.html", lang)
        ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
        assert {unquote(link["href"][1:]) for link in elements.named("a") if link["href"].startswith("#")} <= set(ids)
        assert text_of(folder, f"{page}{ending}.md").splitlines()[2] == f"[{label}]({name}{other}.md)"


@pytest.mark.slow
def test_the_chart_of_the_korean_page_has_no_english_texts(folder: Path) -> None:
    (spec,) = re.findall(r"<script[^>]*json[^>]*>(.*?)</script>", text_of(folder, "lr/report.ko.html"), re.S)

    def shown(tree: Any) -> Iterator[str]:
        """The texts that a reader sees: titles, the names of controls, descriptions, and strings in expressions."""
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if isinstance(value, str) and key in ("title", "text", "subtitle", "description"):
                yield value
            elif key == "bind":
                yield from (value["name"], *value.get("labels", []))
            elif isinstance(value, str) and key in ("expr", "calculate", "labelExpr"):
                yield from re.findall("'([^']*)'", value)
            if isinstance(value, dict | list) and key != "datasets":
                yield from shown(value)

    chart = json.loads(spec)
    answers = [choice[name] for choice in chart["datasets"]["choices"] for name in ("allowed", "choice", "why")]
    texts = {text for text in [*shown(chart), *answers] if re.search("[A-Za-z]", text.replace("%", ""))}
    assert any(re.search("[가-힣]", text) for text in texts)
    assert not [answer for answer in answers if english_in(answer)]
    assert {text for text in texts if not re.search("[가-힣]", text)} <= {
        *("epoch", "epochs"),
        *("ok", "at chance", "diverged", "fresh seed", "accuracy", "loss", "seconds"),  # names that an expression replaces
        *(".2%", ".4~r", ".3~r", ".4~%", "~g"),  # formats of numbers
    }


# The groupings of the audit.


@pytest.mark.slow
@pytest.mark.parametrize(("page", "column"), [("audit.md", 0), ("audit.ko.md", 1)])
def test_every_claim_has_one_section_named_in_the_language_of_the_page(folder: Path, page: str, column: int) -> None:
    headings = re.findall(r"(?m)^###+ (.+)$", text_of(folder, page))
    for names in CLAIM_NAMES.values():
        assert headings.count(names[column]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("page", "document", "column"), [("audit.md", "Document", 0), ("audit.ko.md", "문서", 1)])
def test_the_claims_of_a_document_are_in_the_order_of_its_text(folder: Path, page: str, document: str, column: int) -> None:
    audit = text_of(folder, page)
    for listed in read_documents():
        section = re.split(r"\n##+ ", audit.split(f"\n### {document} {listed.id}: ")[1])[0]
        links = re.findall(r"(?m)^\* . \[(.+)\]\(#", section)
        assert links == [escaped(CLAIM_NAMES[name][column]) for name in listed.claims]
