"""The audit: its texts, its figures, and how missing runs show."""

import math
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from html_elements import Elements
from matplotlib.axes import Axes
from reference_study import REFERENCE
from synthetic_study import FAILED

from lrsweep.analysis.claims import Claim, Judged, Test, judge, read_claims
from lrsweep.analysis.contrasts import Effect
from lrsweep.records import Outcome
from lrsweep.report.audit.build import build_audit
from lrsweep.report.audit.claim_texts import effect_text
from lrsweep.report.audit.effect_figures import SCALES, plot_effects
from lrsweep.report.figures.style import new_figure
from lrsweep.storage import store


def copy_committed(folder: Path, study: str) -> Path:
    (folder / study).mkdir(parents=True)
    shutil.copy(REFERENCE.parent / study / "runs.jsonl.gz", folder / study)
    return folder / study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two committed studies. The others are missing."""
    folder = tmp_path_factory.mktemp("audit")
    for study in ("schedules/small", "lr"):
        copy_committed(folder, study)
    build_audit(folder)
    return folder


@pytest.fixture(scope="module")
def audit(folder: Path) -> str:
    return (folder / "audit.md").read_text(encoding="utf-8")


def test_every_claim_is_in_the_audit_with_its_verdict(audit: str) -> None:
    words = "supported|refuted|inconclusive|filled in|true by definition"
    for claim in read_claims():
        assert f"\n### {claim.id}\n" in audit
        assert re.search(rf"\| \[{claim.id}\]\(#{claim.id}\) \| \*\*. ({words})\*\*", audit)


def test_links_of_the_page_resolve_and_nothing_is_loaded(folder: Path) -> None:
    page = (folder / "audit.html").read_text(encoding="utf-8")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {unescape(link) for link in re.findall(r'href="#([^"]+)"', page)} <= set(ids)
    Elements(page).assert_loads_nothing()


def test_claims_that_are_filled_in_or_definitions_are_counted_separately(audit: str) -> None:
    head = audit[: audit.index("## What the documents get wrong")]
    assert "**✎ 2 filled in** (빈칸을 채움): [best-range](#best-range), [best-trade-off](#best-trade-off)\n" in head
    assert "**≡ 2 true by definition** (정의에 따름): [one-cycle](#one-cycle)," in head
    assert not re.search(r"supported\*\*.*(best-range|one-cycle)", audit)


def test_a_refuted_claim_has_its_bar_its_runs_and_its_caveat(audit: str) -> None:
    wrong = audit[audit.index("## What the documents get wrong") : audit.index("## What holds here")]
    assert re.match(r"\S.*\n\nIn brackets stands the \d\d\.\d\d% interval of each effect", wrong)
    (line,) = re.findall(r".*\(\[step-simple-start\].*", wrong)
    assert re.search(r"points \[\S+ to \S+\], below \+0\.00; \d+ short runs, 3 seeds \(\[schedules/small\]", line)
    assert "*The document does not say that it beats a fixed rate" in line


def test_every_test_shows_its_bar_and_a_result_appears_once(audit: str) -> None:
    assert re.search(r"\*\*[^*]* points \[.*\]\*\*, the bar is -0\.50, p =", audit)
    assert re.search(r"\*\*, supported above \+0\.00, refuted below \+0\.10, p =", audit)
    section = audit[audit.index("### best-range") : audit.index("### best-trade-off")]
    assert len(re.findall(r"10\^-2\.5, test accuracy", section)) == 1


def test_texts_from_configs_are_escaped_and_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    study = copy_committed(tmp_path, "finetune/small")
    for record in store.read(study):
        model = record.config["model"] | {"init_from": record.config["model"]["init_from"] and "<script>alert(1)</script>|[x](y)"}
        store.save(study, replace(record, config=record.config | {"model": model}))
    pages = [build_audit(tmp_path).with_suffix(".html").read_text(encoding="utf-8") for _ in range(2)]
    assert pages[0] == pages[1]
    assert "<script>alert" not in pages[0]
    assert 'href="y"' not in pages[0]


def test_missing_and_failed_runs_are_counted(tmp_path: Path) -> None:
    study = copy_committed(tmp_path, "grow_batch/small")
    for record in store.read(study)[:2]:
        store.save(study, replace(record, outcome=Outcome(**FAILED), class_counts={}))
    audit = build_audit(tmp_path).read_text(encoding="utf-8")
    assert "**inconclusive**: 16 of 18 runs." in audit
    assert re.search(r"\n16 runs; .* \*\*2 missing\.\*\*", audit)
    (study / "expected.json").write_text('["another"]')
    assert "**1 missing.**" in build_audit(tmp_path).read_text(encoding="utf-8")


def drawn(unit: str, *intervals: tuple[float, float]) -> Axes:
    claim = Claim("a-claim", ("000",), "It is.", "", (Test("Is it?", "difference"),))
    rows = []
    for low, high in intervals:
        verdict = judge(Effect((low + high) / 2, low, high, unit, 3, 18))
        rows.append((Judged(claim, (verdict,)), 0, claim.tests[0], verdict))
    figure, ax = new_figure("A title")
    plot_effects(unit, rows, ax)
    figure.draw_without_rendering()
    return ax


@pytest.mark.parametrize("unit", SCALES)
@pytest.mark.parametrize("num_rows", [1, 24])
def test_legend_axis_label_and_tick_labels_do_not_overlap(unit: str, num_rows: int) -> None:
    ax = drawn(unit, *[(-0.3, 0.4)] * num_rows)
    (legend,) = ax.figure.legends
    label = ax.xaxis.label.get_window_extent()
    assert legend.get_window_extent().y1 <= label.y0
    assert label.y1 <= min(text.get_window_extent().y0 for text in ax.get_xticklabels())
    plt.close("all")


def test_the_axis_label_names_a_log_scale_and_ratios_have_round_ticks() -> None:
    assert drawn("accuracy", (-0.3, 0.4)).get_xlabel() == "effect (percentage points; logarithmic beyond ±1)"
    assert drawn("nats", (-0.3, 0.4)).get_xlabel() == "effect (nats of loss; logarithmic beyond ±0.1)"
    assert drawn("share", (0.3, 0.4)).get_xlabel() == "effect (% of runs or suggestions)"
    ax = drawn("factor", (math.log10(0.4), math.log10(6)))
    low, high = ax.get_xlim()
    shown = [text.get_text() for text in ax.get_xticklabels() if low <= text.get_position()[0] <= high]
    assert (ax.get_xlabel(), shown) == ("effect (ratios; logarithmic)", ["×0.5", "×1", "×2", "×5"])
    plt.close("all")


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("accuracy", "+1.00 points [-2.00 to +4.00]"),
        ("factor", "×1.02 [×0.955 to ×1.1]"),
        ("share", "1% [-2% to 4%]"),
        ("bound", "at most 1.00 points away"),
        ("number", "as stated"),
        ("decades", "+0.01 decades [-0.02 to +0.04]"),
    ],
)
def test_effects_are_written_in_their_unit(unit: str, text: str) -> None:
    assert effect_text(Effect(0.01, -0.02, 0.04, unit, 3, 18)) == text
