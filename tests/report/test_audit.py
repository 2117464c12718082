"""The audit: its texts, its figures, and how missing runs show."""

import math
import re
from dataclasses import asdict, replace
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from html_elements import Elements
from matplotlib.axes import Axes
from synthetic_study import DIVERGED, FAILED, fill, record_of, scored

from lrsweep.analysis.claims import Claim, Judged, Result, Test, read_claims
from lrsweep.analysis.evidence import read_study
from lrsweep.analysis.verdicts import Effect, Word, judge
from lrsweep.config import ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainingConfig, run_id
from lrsweep.records import Outcome
from lrsweep.report.audit.build import build_audit
from lrsweep.report.audit.claim_texts import WORDS, anchor, caveat, effect_of, num_planned_runs, reason
from lrsweep.report.audit.effect_figures import SCALES, plot_effects, rows_by_unit, rows_of
from lrsweep.report.audit.effect_texts import effect_text, loss_text, size_text
from lrsweep.report.audit.fresh_seeds import fresh_table
from lrsweep.report.figures.style import new_figure
from lrsweep.report.texts.claim_names import CLAIM_NAMES, name_in_english
from lrsweep.storage import store

RATES = [10 ** (i / 10) for i in range(-60, -14)]
NEAR = [lr for lr in RATES if -3.15 < math.log10(lr) < -2.05]


def save(folder: Path, accuracy: float, seed: int, lr: float = 1e-3, **groups: Any) -> None:
    """Store one run with these groups of settings."""
    run = RunConfig(seed=seed, optimizer=OptimizerConfig(lr=lr), training=TrainingConfig(patience=None, max_epochs=7), **groups)
    record = record_of(lr, scored(accuracy) | {"stop_reason": "max_epochs"}, seed=seed)
    store.save(folder, replace(record, config=asdict(run), run_id=run_id(run)))


def growing(name: str) -> ScheduleConfig:
    return ScheduleConfig(name=name, factor=0.5, every=2.0)


def fill_grow_batch(folder: Path, num_seeds: int, gain: float = 0.0) -> None:
    """Store study=grow_batch: three rates on two seeds, and fresh seeds at the best rate. The noise is 0.0005."""
    for seed in (0, 1):
        for lr, lost in ((1e-3, 0.01), (10**-2.5, 0.0), (1e-2, 0.01)):
            save(folder / "grow_batch", 0.97 - lost, seed, lr, schedule=growing("step"))
            save(folder / "grow_batch", 0.97 - lost, seed, lr, schedule=growing("grow_batch"))
    for seed in range(num_seeds):
        save(folder / "grow_batch/confirm", 0.97, 1000 + seed, 10**-2.5, schedule=growing("step"))
        noise = 0.0005 * (-1) ** seed
        save(folder / "grow_batch/confirm", 0.97 + gain + noise, 1000 + seed, 10**-2.5, schedule=growing("grow_batch"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies with fresh seeds: lr and grow_batch. The other studies are missing."""
    folder = tmp_path_factory.mktemp("audit")
    fill(folder / "lr", RATES, range(4))
    fill(folder / "lr" / "confirm", NEAR, range(1000, 1012))
    fill_grow_batch(folder, 10)
    (folder / "figures").mkdir()
    (folder / "figures" / "audit-of-an-old-study.png").touch()
    build_audit(folder)
    return folder


@pytest.fixture(scope="module")
def audit(folder: Path) -> str:
    return (folder / "audit.md").read_text(encoding="utf-8")


def part(audit: str, heading: str) -> str:
    """The text of a section."""
    level = heading.split(" ")[0]
    return re.split(rf"\n#{{1,{len(level)}}} ", audit.split(f"\n{heading}\n")[1])[0]


def claim_part(audit: str, claim: str) -> str:
    """The section of the claim with this id."""
    (heading,) = re.findall(rf"(?m)^#{{3,4}} {re.escape(name_in_english(claim))}$", audit)
    return part(audit, heading)


def in_sight(section: str) -> str:
    """The section without what is folded."""
    return section.split("<details>")[0].strip()


def test_every_claim_has_a_name_in_both_languages() -> None:
    assert list(CLAIM_NAMES) == [claim.id for claim in read_claims()]
    for names in zip(*CLAIM_NAMES.values(), strict=True):
        assert len(set(names)) == len(names)
        assert max(map(len, names)) <= 30


def test_every_claim_stands_once_below_its_verdict_and_once_in_its_documents(audit: str) -> None:
    marks = "|".join(re.escape(mark) for mark, _ in WORDS.values())
    documents = part(audit, "## Document by document")
    titles = dict(WORDS.values())
    for claim in read_claims():
        section = claim_part(audit, claim.id)
        assert audit.count(claim.claim) == 1
        link = f"{re.escape(name_in_english(claim.id))}]" + rf"\(#{anchor(name_in_english(claim.id))}\)"
        listed = re.findall(rf"(?m)^\* ({marks}) \[{link}(?: .*)?$", documents)
        assert len(listed) == len(claim.documents)
        assert len(set(listed)) == 1
        assert section in part(audit, f"## {titles[listed[0]]}")


def test_the_opening_counts_the_verdicts(audit: str) -> None:
    nums = re.findall(r"(?m)^\* \*\*\S+ (\d+)\*\* ", audit)
    assert len(nums) == len(WORDS)
    assert sum(map(int, nums)) == len(read_claims())


def test_a_claim_that_was_not_measured_is_one_line_with_the_rest_folded(audit: str) -> None:
    section = claim_part(audit, "restarts-help")
    assert in_sight(section) == ""
    assert "<summary>Warm restarts can leave local minima, and so generalise better.</summary>" in section
    assert "> " in section


def test_the_caveat_stands_beside_the_verdict_wherever_it_is_given(audit: str) -> None:
    """Of a claim that was not measured, everything is in the fold."""
    for claim in (claim for claim in read_claims() if claim.caveat):
        first_words = re.escape(f"*{claim.caveat[:30].split('`')[0]}")
        section = claim_part(audit, claim.id)
        in_list = part(audit, "## Document by document").split(f"(#{anchor(name_in_english(claim.id))})")[1:]
        assert re.search(first_words, section if section in part(audit, "### Not measured") else in_sight(section)), claim.id
        assert len(in_list) == len(claim.documents)
        assert all(re.match(f"[^*\n]* {first_words}", rest) for rest in in_list), claim.id


def test_the_rules_and_the_notes_on_tables_are_folded(audit: str) -> None:
    assert in_sight(part(audit, "## How it was judged")) == ""
    assert in_sight(part(audit, "## Study by study")) == ""


def test_the_page_defines_here_and_claims_no_more_than_the_data_show(audit: str) -> None:
    assert "*Here* always means one small CNN on 3,000 MNIST images" in audit[: audit.index("\n## ")]
    assert not re.search(r"refuted|supported|conclusive|\bwins\b", audit, re.IGNORECASE)


def test_links_of_the_page_resolve_and_nothing_is_loaded(folder: Path) -> None:
    page = (folder / "audit.html").read_text(encoding="utf-8")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {unescape(link) for link in re.findall(r'href="#([^"]+)"', page)} <= set(ids)
    Elements(page).assert_loads_nothing()


def test_fresh_seeds_decide_and_are_shown_at_the_rate_that_the_study_chose(audit: str) -> None:
    section = claim_part(audit, "grow-batch")
    assert section in part(audit, "## Holds here")
    assert "20 runs, 10 fresh seeds ([grow_batch/confirm](#study-grow_batch-fresh-seeds)). All of the interval lies" in section
    table = part(audit, "### Study: grow_batch, fresh seeds").splitlines()
    rows = [line for line in table if "0.0032" in line and line.startswith("|")]
    assert len(rows) == 2
    assert all("0.0032 (10⁻²·⁵), chosen |" in row and "| 10 | 10 of 10 |" in row for row in rows)


def test_the_blanks_are_filled_with_rates_and_their_losses(audit: str) -> None:
    section = claim_part(audit, "best-range")
    assert re.search(r"Loses 0\.\d\d points \[0\.00 to 0\.\d\d\]; 132 runs, 12 fresh seeds", section)
    assert re.search(r"Good: 0\.0025, 0\.004; undecided: .*; worse: 0\.00079 to 0\.0016, ", section)


def test_an_unmeasured_claim_names_its_command_and_what_the_planned_seeds_can_show(audit: str) -> None:
    section = claim_part(audit, "restarts-help")
    assert section in part(audit, "### Not measured")
    assert re.search(
        r"Not measured yet\. Plan: 20 fresh seeds, which \[probably show\]\(#how.*\) a difference of 0\.31 points", section
    )
    assert "; at most 52 runs in all: `lrsweep study=restarts && lrsweep-confirm study=restarts`." in section


@pytest.mark.parametrize(
    ("claim", "condition"),
    [("adam-1e-3", ", if the true difference is +0.00"), ("step-simple-start", " only if the true difference is +0.10")],
)
def test_a_claim_that_something_costs_nothing_names_the_loss_that_its_seeds_can_rule_out(
    audit: str, claim: str, condition: str
) -> None:
    assert f"that less than 0.20 points are lost{condition} points or more; at most" in claim_part(audit, claim)


def test_the_introduction_says_which_intervals_hold_together(audit: str) -> None:
    assert (
        "deciding tests hold together with a probability of 95%; the two blanks of document 003 have intervals of their own"
        in audit
    )


def test_an_undecided_claim_says_how_many_seeds_would_probably_decide_it(tmp_path: Path) -> None:
    fill_grow_batch(tmp_path, 4, gain=-0.001)
    section = claim_part(build_audit(tmp_path).read_text(encoding="utf-8"), "grow-batch")
    assert re.search(
        r"points \[-.*\]; 8 runs, 4 fresh seeds .* About \d+ seeds would probably decide it: if the estimates "
        r"are right, the verdict would most likely be “[A-Z][a-z ]+”\.",
        section,
    )


def test_missing_and_failed_runs_are_counted_and_leave_the_claim_open(tmp_path: Path) -> None:
    fill_grow_batch(tmp_path, 5)
    study = tmp_path / "grow_batch" / "confirm"
    for record in store.read(study)[:2]:
        store.save(study, replace(record, outcome=Outcome(**FAILED), class_counts={}))
    audit = build_audit(tmp_path).read_text(encoding="utf-8")
    assert "Only 8 of 10 planned runs of grow_batch/confirm have finished." in claim_part(audit, "grow-batch")
    assert re.search(r"\n8 runs; .* \*\*2 missing\.\*\*", audit)
    (study / "expected.json").write_text('["another"]')
    assert "**1 missing.**" in build_audit(tmp_path).read_text(encoding="utf-8")


def test_texts_from_configs_are_escaped_and_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for seed in range(3):
        for lr in (1e-4, 1e-3, 1e-2):
            save(tmp_path / "finetune", 0.9, seed, lr)
            save(tmp_path / "finetune", 0.9, seed, lr, model=ModelConfig(init_from="<script>alert(1)</script>|[x](y)"))
    pages = [build_audit(tmp_path).with_suffix(".html").read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]
    assert b"<script>alert" not in pages[0]
    assert b'href="y"' not in pages[0]


def test_only_a_claim_whose_effect_was_selected_from_several_has_a_figure_of_its_own(audit: str) -> None:
    assert "](figures/" not in claim_part(audit, "grow-batch")  # it is in the figure of all effects in its unit
    assert "](figures/audit-effects-accuracy.png)" in part(audit, "## Effects at a glance")
    parts = tuple((name, Effect(0.01, low, 0.04, "accuracy", 3, 18)) for name, low in (("a", -0.02), ("b", math.nan)))
    effect = Effect(0.01, -0.02, 0.04, "accuracy", 3, 18, parts=parts)
    asked = Test("Is it?", "difference")
    one = Judged(Claim("a-claim", ("000",), "It is.", "", asked), "open", Result(asked, effect), ())
    assert [(row.name, row.word) for row in rows_of(one)] == [("a-claim", "open"), ("a", None)]
    figure, ax = new_figure("A title")
    plot_effects(rows_of(one), ax)
    assert [text.get_text() for text in ax.texts] == ["a-claim", "a"]
    plt.close(figure)


def test_caveats_that_follow_from_the_runs_stand_beside_the_verdict() -> None:
    effect = Effect(0.01, 0.005, 0.02, "accuracy", 3, 18, caveats=("the best rate is the lowest tried",))
    asked = Test("Is it?", "difference")
    claim = Claim("a-claim", ("000",), "It is.", "", asked, caveat="Of one network.")
    assert caveat(Judged(claim, "holds", Result(asked, effect), ())) == " *Of one network. The best rate is the lowest tried.*"


@pytest.mark.parametrize(
    ("estimate", "word", "costs_nothing", "is_small"),
    [
        (0.0015, "holds", False, True),
        (-0.0015, "does not hold", False, True),
        (0.0025, "holds", False, False),
        (0.0015, "holds", True, False),
        (0.0015, "open", False, False),
    ],
)
def test_an_effect_that_is_shown_but_smaller_than_what_matters_says_so(
    estimate: float, word: Word, costs_nothing: bool, is_small: bool
) -> None:
    asked = Test("Is it?", "difference", costs_nothing=costs_nothing)
    effect = Effect(estimate, estimate - 0.001, estimate + 0.001, "accuracy", 20, 40)
    text = caveat(Judged(Claim("a-claim", ("000",), "It is.", "", asked), word, Result(asked, effect), ()))
    assert ("The estimate is smaller than 0.20 points" in text) == is_small


@pytest.mark.parametrize(
    ("middle", "word", "text", "side"),
    [(-0.37, "does not hold", "37% [33% to 41%]", "above"), (-0.05, "holds", "5% [1% to 9%]", "below")],
)
def test_the_fall_of_a_loss_is_written_as_a_share_that_is_small_if_runs_are_stuck(
    middle: float, word: Word, text: str, side: str
) -> None:
    settings = {"metric": "late_fall", "direction": "less"}
    asked = Test("Is it?", "difference", "Fall of the loss", settings=settings, costs_nothing=True, delta=0.1)
    effect = Effect(middle, middle - 0.04, middle + 0.04, "share", 6, 18)
    assert effect_of(asked, effect) == f"Fall of the loss: {text}"
    claim = Claim("a-claim", ("000",), "It is.", "", asked)
    assert reason(Judged(claim, word, Result(asked, effect), ())) == f"All of the interval lies {side} 10%."


@pytest.mark.parametrize(("estimate", "is_shown"), [(0.0012, True), (-0.0012, True), (0.0002, False)])
def test_a_difference_that_is_shown_but_too_small_to_matter_is_not_called_none(estimate: float, is_shown: bool) -> None:
    effect = Effect(estimate, estimate - 0.0007, estimate + 0.0007, "accuracy", 20, 40)
    asked = Test("Is it?", "difference")
    claim = Claim("a-claim", ("000",), "It is.", "", asked)
    text = reason(Judged(claim, "no difference that matters", Result(asked, effect), ()))
    assert text.startswith("All of the interval lies within ±0.20 points.")
    assert ("It does not contain zero, so there is a difference, but too small to matter." in text) == is_shown


@pytest.mark.parametrize("claim", [claim for claim in read_claims() if claim.test], ids=lambda claim: claim.id)
def test_the_runs_that_would_settle_a_claim_are_known(claim: Claim) -> None:
    assert claim.test is not None
    assert num_planned_runs(claim.test.commands) >= 18 or "lrsweep-find" in claim.test.commands


def test_a_diverged_fresh_run_without_a_score_counts_as_guessing(tmp_path: Path) -> None:
    for seed, outcome in enumerate([scored(0.91), scored(0.91), DIVERGED]):
        store.save(tmp_path / "made", record_of(1e-3, outcome, seed=seed))
    study = read_study(tmp_path, "made")
    assert study
    assert "| base | 0.001 (10⁻³), chosen, an edge | 63.33% | 63.33% | 3 | 2 of 3 |" in fresh_table(study)


def test_an_interval_counts_only_the_runs_that_have_the_score(tmp_path: Path) -> None:
    """Older records lack the accuracy at the last epoch."""
    for seed, last in enumerate([0.90, 0.91, 0.92, None, None, None]):
        store.save(tmp_path / "made", record_of(1e-3, scored(0.91) | {"last_test_accuracy": last}, seed=seed))
    study = read_study(tmp_path, "made")
    assert study
    half = 4.303 * 0.01 / math.sqrt(3)  # Student's t with 2 degrees of freedom
    assert f"| 91.00% ± {half * 100:.2f} | 6 |" in fresh_table(study)


def test_figures_that_the_page_no_longer_shows_are_deleted(folder: Path, audit: str) -> None:
    drawn = {path.stem.removesuffix(".ko") for path in (folder / "figures").glob("*.png")}
    assert drawn == set(re.findall(r"\(figures/(.+)\.png\)", audit))
    assert "audit-of-an-old-study" not in drawn


def drawn(unit: str, *intervals: tuple[float, float], is_narrow: bool = False, **test: Any) -> Axes:
    asked = Test("Is it?", "difference", **test)
    claim = Claim("a-claim-with-a-name-that-does-not-fit-on-a-phone", ("000",), "It is.", "", asked)
    rows = []
    for low, high in intervals:
        effect = Effect((low + high) / 2, low, high, unit, 3, 18)
        word = judge(effect, asked.delta_of(effect), asked.costs_nothing)
        rows.append(Judged(claim, word, Result(asked, effect), ()))
    figure, ax = new_figure(is_narrow=is_narrow)
    plot_effects(rows_by_unit(rows)[unit], ax)
    figure.draw_without_rendering()
    return ax


@pytest.mark.parametrize("unit", SCALES)
@pytest.mark.parametrize("num_rows", [1, 24])
@pytest.mark.parametrize("is_narrow", [False, True])
def test_nothing_overlaps_or_leaves_the_figure(unit: str, num_rows: int, is_narrow: bool) -> None:
    ax = drawn(unit, *[(-0.3, 2.4)] * num_rows, delta=0.1, is_narrow=is_narrow)
    (legend,) = ax.figure.legends
    label = ax.xaxis.label.get_window_extent()
    assert legend.get_window_extent().y1 <= label.y0
    ticks = sorted((text.get_window_extent() for text in ax.get_xticklabels()), key=lambda box: box.x0)
    low, high = ax.transData.transform([(value, 0) for value in ax.get_xlim()])[:, 0]
    shown = [box for box in ticks if low <= (box.x0 + box.x1) / 2 <= high]
    assert label.y1 <= min(box.y0 for box in ticks)
    assert all(box.x1 <= after.x0 for box, after in pairwise(shown))
    for y, name in enumerate(ax.texts):  # a name is between the bands of two rows
        box = name.get_window_extent().transformed(ax.transData.inverted())
        assert y - 0.75 <= min(box.y0, box.y1)
        assert max(box.y0, box.y1) <= y - 0.3
    for box in (legend.get_window_extent(), label, *(name.get_window_extent() for name in ax.texts)):
        assert ax.figure.bbox.x0 <= box.x0
        assert box.x1 <= ax.figure.bbox.x1
    plt.close("all")


def test_the_axis_label_names_a_log_scale_and_ratios_have_round_ticks() -> None:
    assert drawn("accuracy", (-0.3, 0.4)).get_xlabel() == "effect (percentage points; logarithmic beyond ±1)"
    assert drawn("accuracy", (-0.003, 0.004)).get_xlabel() == "effect (percentage points)"  # no need for a log scale
    assert drawn("share", (0.3, 0.4), delta=0.1).get_xlabel() == "effect (%)"
    ax = drawn("factor", (math.log10(0.4), math.log10(6)))
    low, high = ax.get_xlim()
    shown = [text.get_text() for text in ax.get_xticklabels() if low <= text.get_position()[0] <= high]
    assert (ax.get_xlabel(), shown) == ("effect (ratios; logarithmic)", ["×0.5", "×1", "×2", "×5"])
    plt.close("all")


@pytest.mark.parametrize(
    ("unit", "text", "size"),
    [
        ("accuracy", "+1.00 points [-2.00 to +4.00]", "4.00 points"),
        ("factor", "×1.02 [×0.955 to ×1.1]", "10%"),
        ("share", "+1% [-2% to +4%]", "4%"),
        ("decades", "+0.01 decades [-0.02 to +0.04]", "0.04 decades"),
    ],
)
def test_effects_are_written_in_their_unit(unit: str, text: str, size: str) -> None:
    effect = Effect(0.01, -0.02, 0.04, unit, 3, 18)
    assert effect_text(effect) == text
    assert effect_text(replace(effect, low=-math.inf)) == text.split(" [")[0]
    assert size_text(0.04, unit) == size


def test_a_loss_is_minus_its_effect() -> None:
    assert loss_text(Effect(-0.01, -0.04, 0.02, "accuracy", 3, 18)) == "loses 1.00 points [-2.00 to 4.00]"
    assert loss_text(Effect(-0.002, -0.002, 0.0, "accuracy", 3, 18)) == "loses at most 0.20 points"  # a bound
