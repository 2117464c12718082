import math
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from made_claims import SMALL, fill_arms, fill_small
from made_study import FAILED, fill
from matplotlib.axes import Axes

from lrsweep.analysis.claims import Claim, Judged, Test, judge, judge_all, read_claims
from lrsweep.analysis.contrasts import Effect
from lrsweep.records import Outcome
from lrsweep.report.audit.build import build_audit, effect_text, read_study, read_suggestions
from lrsweep.report.audit.effect_figures import SCALES, plot_effects
from lrsweep.report.figures.plots import figure_with
from lrsweep.storage import store

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the studies, the rest missing."""
    made = tmp_path_factory.mktemp("audit")
    for name in ("grow_batch/small", "warmup/small"):
        arms, exponents = SMALL[name]
        fill_arms(made / name, arms, exponents, [0.95 + 0.005 * i for i in range(len(arms))])
    build_audit(made)
    return made


def test_every_claim_is_on_the_page_with_its_verdict(folder: Path) -> None:
    report = (folder / "audit.md").read_text(encoding="utf-8")
    for claim in read_claims():
        assert f"\n### {claim.id}\n" in report
        assert re.search(
            rf"\| \[{claim.id}\]\(#{claim.id}\) \| \*\*. (supported|refuted|inconclusive|filled in|true by definition)\*\*",
            report,
        )


def test_links_resolve_and_nothing_is_loaded(folder: Path) -> None:
    page = (folder / "audit.html").read_text(encoding="utf-8")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {unescape(link) for link in re.findall(r'href="#([^"]+)"', page)} <= set(ids)
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_the_same_records_give_the_same_page(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("audit.*")}
    build_audit(folder)
    assert before == {path.name: path.read_bytes() for path in folder.glob("audit.*")}


@pytest.mark.slow
def test_with_all_studies_every_test_finds_its_arms(tmp_path: Path) -> None:
    fill_small(tmp_path)
    judged = judge_all(
        read_claims(), lambda name: read_study(tmp_path, name), lambda name: read_suggestions(tmp_path, name)
    ).judged
    reasons = {verdict.reason for one in judged for verdict in one.verdicts}
    assert {reason for reason in reasons if reason.startswith("no ")} == {"no runs of lr", "no runs of lr/budget"}
    assert {one.claim.id: one.word for one in judged}["augmentation"] == "supported"


def test_texts_that_are_not_ours_are_escaped(tmp_path: Path) -> None:
    path = "<script>alert(1)</script>|[x](y)"
    fill_arms(tmp_path / "finetune" / "small", [{}, {"model.init_from": path}], [-3.0, -2.5, -2.0], [0.9, 0.91])
    page = build_audit(tmp_path).with_suffix(".html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert 'href="y"' not in page


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a study of schedules, each 0.4 percentage points worse than the one before, and of one of learning rates."""
    made = tmp_path_factory.mktemp("audit")
    arms, exponents = SMALL["schedules/small"]
    fill_arms(made / "schedules" / "small", arms, exponents, [0.98 - 0.004 * i for i in range(len(arms))])
    fill(made / "lr", [10**-3.5, 1e-3, 10**-2.5, 1e-2, 10**-1.6, 10**-1.5], range(3))
    return build_audit(made).read_text(encoding="utf-8")


def test_what_is_filled_in_or_a_definition_is_counted_apart(made: str) -> None:
    head = made[: made.index("## What the documents get wrong")]
    assert "**✎ 2 filled in** (빈칸을 채움): [best-range](#best-range), [best-trade-off](#best-trade-off)\n" in head
    assert "**≡ 2 true by definition** (정의에 따름): [one-cycle](#one-cycle)," in head
    assert not re.search(r"supported\*\*.*(best-range|one-cycle)", made)


def test_a_headline_has_its_bar_its_runs_and_where_refuted_its_caveat(made: str) -> None:
    wrong = made[made.index("## What the documents get wrong") : made.index("## What holds here")]
    assert re.match(r"\S.*\n\nIn brackets stands the \d\d\.\d\d% interval of each effect", wrong)
    (line,) = re.findall(r".*\(\[step-simple-start\].*", wrong)
    assert re.search(r"points \[\S+ to \S+\], below \+0\.00; \d+ short runs, 3 seeds \(\[schedules/small\]", line)
    assert "*The document does not say that it beats a fixed rate" in line


def test_a_result_is_told_once(made: str) -> None:
    section = made[made.index("### best-range") : made.index("### best-trade-off")]
    assert len(re.findall(r"10\^-2\.5, test accuracy", section)) == 1


def test_every_test_shows_the_bar_that_it_is_judged_by(made: str) -> None:
    assert re.search(r"\*\*[^*]* points \[.*\]\*\*, the bar is -0\.50, p =", made)  # step-simple-start, first test
    assert re.search(r"\*\*, supported above \+0\.00, refuted below \+0\.10, p =", made)


def test_missing_runs_are_named(tmp_path: Path) -> None:
    arms, exponents = SMALL["grow_batch/small"]
    study = fill_arms(tmp_path / "grow_batch" / "small", arms, exponents, [0.95, 0.96])
    (study / "expected.json").write_text('["another"]')
    assert "18 of 19 runs" in build_audit(tmp_path).read_text(encoding="utf-8")


def test_a_failed_run_is_missing_once(tmp_path: Path) -> None:
    arms, exponents = SMALL["grow_batch/small"]
    study = fill_arms(tmp_path / "grow_batch" / "small", arms, exponents, [0.95, 0.96])
    for record in store.read(study)[:2]:
        store.save(study, replace(record, outcome=Outcome(**FAILED), class_counts={}))
    page = build_audit(tmp_path).read_text(encoding="utf-8")
    assert "**inconclusive**: 16 of 18 runs." in page
    assert re.search(r"\n16 runs; .* \*\*2 missing\.\*\*", page)


def drawn(unit: str, *intervals: tuple[float, float]) -> Axes:
    """As the page draws it."""
    claim = Claim("a-claim", ("000",), "It is.", "", (Test("Is it?", "difference"),))
    rows = []
    for low, high in intervals:
        verdict = judge(Effect((low + high) / 2, low, high, unit, 3, 18))
        rows.append((Judged(claim, (verdict,)), 0, claim.tests[0], verdict))
    figure, ax = figure_with("A title")
    plot_effects(unit, rows, ax)
    figure.draw_without_rendering()
    return ax


@pytest.mark.parametrize("unit", SCALES)
@pytest.mark.parametrize("num_rows", [1, 24])
def test_the_legend_has_a_row_of_its_own(unit: str, num_rows: int) -> None:
    ax = drawn(unit, *[(-0.3, 0.4)] * num_rows)
    (legend,) = ax.figure.legends
    assert legend.get_window_extent().y1 <= ax.xaxis.label.get_window_extent().y0
    assert ax.xaxis.label.get_window_extent().y1 <= min(text.get_window_extent().y0 for text in ax.get_xticklabels())
    plt.close("all")


def test_a_logarithmic_axis_says_so_and_ratios_have_round_ticks() -> None:
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
def test_effects_are_worded_in_their_unit(unit: str, text: str) -> None:
    assert effect_text(Effect(0.01, -0.02, 0.04, unit, 3, 18)) == text


@pytest.mark.slow
def test_the_command_writes_the_page_beside_the_studies(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lrsweep.cli.report", "study=all", f"machine.results_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCE)})
    assert "audit.html" in done.stdout
    assert (tmp_path / "audit.html").exists()
