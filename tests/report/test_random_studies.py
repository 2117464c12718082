"""A report and the audit come out of any study, and never show a number that was not measured."""

import itertools
import json
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from languages import english_in, numbers_in_tables
from random_studies import NAMES, RATES, curves, records, save, save_range_tests, studies

from lrsweep.analysis.claims import Claim, read_claims
from lrsweep.analysis.evidence import settings_of
from lrsweep.analysis.suggestions import combine, score, suggest
from lrsweep.config import RunConfig
from lrsweep.records import RangeTest, RunRecord
from lrsweep.report import arm_comparison
from lrsweep.report import build as report
from lrsweep.report.audit import build as audit
from lrsweep.report.figures.files import KOREAN, NARROW, Figure
from lrsweep.report.range_test import draw as draw_range_tests
from lrsweep.report.range_test import sweep_like, table_text
from lrsweep.report.texts.claim_names import CLAIM_NAMES
from lrsweep.storage import store

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

Study = dict[str, list[RunRecord]]
NOT_A_NUMBER = re.compile(r"\b(nan|inf|None|NaT)\b|<NA>")


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and the interactive chart take most of the time of a report."""

    def draw(folder: Path, figure: Figure) -> str:
        return f"![{figure.title}](figures/{figure.name}.png)"

    for module in (report, arm_comparison, audit):
        monkeypatch.setattr(module, "draw", draw)
    monkeypatch.setattr(report, "explorer_spec", lambda *_: None)


def any_study(num_examples: int) -> Callable[[Any], Any]:
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    # Shrinking takes minutes, and the repr of a study is long.
    return settings(max_examples=num_examples, suppress_health_check=health, phases=[Phase.generate])


def check_report(study: Study, name: str, num_expected: int | None, tests: tuple[RangeTest, ...] = ()) -> str:
    with tempfile.TemporaryDirectory() as results:
        folder = Path(results) / name
        save(folder, study)
        if not study[""]:
            return ""
        planned = [record.run_id for record in study[""]]
        if num_expected is not None:
            store.expect(folder, [*planned, *map(str, range(num_expected))])
        text = report.build(folder, name).read_text(encoding="utf-8")
        korean = (folder / "report.ko.md").read_text(encoding="utf-8")
        texts = [text, korean, *(path.read_text(encoding="utf-8") for path in folder.glob("conclusions.*.md"))]
        if tests:
            suggested = suggest(tests)
            combined = score(combine(suggested), sweep_like(RunConfig(), folder))
            texts.append(table_text(combined))
        figures = set(re.findall(r"\(figures/(.+?)\.png\)", text))
        drawn = {path.stem.removesuffix(NARROW).removesuffix(KOREAN) for path in folder.glob("figures/*")}
        assert not drawn or drawn == figures
        assert figures == set(re.findall(r"\(figures/(.+?)(?:\.ko)?\.png\)", korean))
        pages = [(folder / page).read_text(encoding="utf-8") for page in ("report.html", "report.ko.html")]
        assert min(map(len, pages)) > 1000
        charts = [json.loads(chart) for page in pages for chart in re.findall('id="explorer-spec">(.*?)</script>', page)]
        texts += [choice["why"] for chart in charts for choice in chart["datasets"]["choices"]]
    for one in texts:
        assert not NOT_A_NUMBER.search(one), NOT_A_NUMBER.search(one)
    assert not english_in(korean), english_in(korean)
    assert numbers_in_tables(text) == numbers_in_tables(korean)
    check_facts(study[""], text, num_expected)
    return text


def check_facts(records: list[RunRecord], text: str, num_expected: int | None) -> None:
    """The report counts what there is, and what there is not."""
    counts = ", ".join(
        f"{sum(record.outcome.status == status for record in records)} {status}" for status in ("ok", "diverged", "failed")
    )
    assert f": {counts}" in text
    if num_expected:
        assert f"**{num_expected} of {len(records) + num_expected} runs missing**" in text
    if all(record.outcome.test_accuracy is None for record in records):
        assert "No run of this study was scored yet." in text
    if len({record.config["seed"] for record in records}) < 3:
        assert "| **good** |" not in text.split("## All learning rates")[-1]
    failures = text.split("## Longest and failed runs")[1]
    others = re.findall(r"(?m)^\* .*, seed \d+: .* The same error ended (\d+) runs? more\.$", failures)
    num_failures = len(re.findall(r"(?m)^\* .*, seed \d+: ", failures)) + sum(map(int, others))
    assert num_failures == sum(record.outcome.status == "failed" for record in records)


@pytest.mark.usefixtures("without_figures")
@any_study(8)
@given(studies(), st.sampled_from(NAMES), st.sampled_from([None, 0, 2]), st.one_of(st.just(()), curves()))
def test_any_study_has_a_report(study: Study, name: str, num_expected: int | None, tests: tuple[RangeTest, ...]) -> None:
    check_report(study, name, num_expected, tests)


@pytest.mark.slow
@any_study(3)
@given(studies(), st.sampled_from(NAMES))
def test_any_study_has_figures(study: Study, name: str) -> None:
    check_report(study, name, None)


@pytest.mark.slow
@any_study(3)
@given(studies(), curves())
def test_any_range_test_has_a_figure_beside_any_study(study: Study, tests: tuple[RangeTest, ...]) -> None:
    with tempfile.TemporaryDirectory() as results:
        folder = Path(results) / "lr"
        save(folder, study)
        best = sweep_like(RunConfig(), folder)
        draw_range_tests(folder, tests, suggest(tests), score(combine(suggest(tests)), best), best, "A title")


@cache
def claims() -> list[Claim]:
    return read_claims()


@cache
def arms_by_study() -> dict[str, list[dict[str, Any]]]:
    """The arms that the claims compare, by the study that has them."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for claim in claims():
        for test in filter(None, (claim.test, *claim.also)):
            sides = [arm for side in ("arms", "against") for arm in test.settings.get(side, ())] + [test.settings.get("arm", {})]
            for arm in sides:
                study = arm.get("study", test.study)
                found = arms.setdefault(study.removesuffix("/confirm"), [{}])
                tried = {key: value if isinstance(value, list) else [value] for key, value in settings_of(arm).items()}
                for values in itertools.product(*tried.values()):
                    chosen = {key: _from_cell(key, value) for key, value in zip(tried, values, strict=True)}
                    if chosen.get("schedule.name") == "multi_step":
                        chosen["schedule.milestones"] = [1.0]  # a schedule without them is refused
                    found += [] if chosen in found else [chosen]
    arms.pop("")
    return arms


def _from_cell(name: str, value: Any) -> Any:
    """A setting of a claim, which is written as in a table's cell, as it stands in a record."""
    if value == "not null":
        return "weights.pt" if name == "model.init_from" else 40
    return json.loads(value) if isinstance(value, str) and (value == "null" or value.startswith("[")) else value


@st.composite
def results(draw: st.DrawFn) -> dict[str, list[RunRecord]]:
    """Some of the audit's studies, with a few runs of some of their arms."""
    made = {}
    for name in draw(st.lists(st.sampled_from(sorted(arms_by_study())), min_size=0, max_size=4, unique=True)):
        arms = draw(st.lists(st.sampled_from(arms_by_study()[name]), min_size=1, max_size=3, unique_by=str))
        rates = draw(st.lists(st.sampled_from(RATES), min_size=1, max_size=4, unique=True))
        num_seeds = draw(st.integers(1, 4))
        made[name] = [record for arm in arms for record in draw(records(arm, rates, list(range(num_seeds))))]
        fresh = range(1000, 1000 + draw(st.integers(0, 3)))
        made[f"{name}/confirm"] = [record for arm in arms for record in draw(records(arm, rates[:2], list(fresh)))]
    return made


@pytest.mark.usefixtures("without_figures")
@any_study(6)
@given(results(), st.one_of(st.just(()), curves()))
def test_any_studies_have_an_audit(made: dict[str, list[RunRecord]], tests: tuple[RangeTest, ...]) -> None:
    check_audit(made, tests)


@pytest.mark.slow
@any_study(2)
@given(results(), st.one_of(st.just(()), curves()))
def test_any_audit_has_figures(made: dict[str, list[RunRecord]], tests: tuple[RangeTest, ...]) -> None:
    check_audit(made, tests)


def check_audit(made: dict[str, list[RunRecord]], tests: tuple[RangeTest, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "read_claims", claims)  # takes long to read
        save(Path(folder), made)
        if tests:
            for name in ("100", "300", "900", "fresh/100", "fresh/300", "fresh/900"):
                save_range_tests(Path(folder) / "find" / name, tests)
        english = audit.build_audit(Path(folder))
        text, korean = (path.read_text(encoding="utf-8") for path in (english, english.with_name("audit.ko.md")))
    assert not english_in(korean), english_in(korean)
    assert numbers_in_tables(text) == numbers_in_tables(korean)
    for one in (text, korean):
        assert not NOT_A_NUMBER.search(one), NOT_A_NUMBER.search(one)
        assert all(f"# {CLAIM_NAMES[claim.id][one is korean]}\n" in one for claim in claims())
