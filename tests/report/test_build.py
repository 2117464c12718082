"""lrsweep.report.build: a study's folder in, its report out; what is damaged or missing does not stop it."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_study import (
    ARMS,
    AT_CHANCE,
    DIVERGED,
    FAILED,
    MAIN_FIGURES,
    fill,
    fill_budget,
    outcome_of,
    record_of,
    report_in,
    scored,
)

from lrsweep.analysis import findings
from lrsweep.analysis.confirmation import FIRST_FRESH_SEED, finalists
from lrsweep.analysis.findings import analyse
from lrsweep.cli.report import _arguments, main
from lrsweep.config import ConfigError, GridConfig, log_grid
from lrsweep.report.build import build
from lrsweep.storage import store

GRID = log_grid(GridConfig())
TEXTS = {"report.html", "report.md", "runs.csv", "conclusions.en.md", "conclusions.ko.md"}
FRESH = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + 4)


class Page(HTMLParser):
    """What a page loads, its headings, its pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.headings: list[str] = []
        self.num_pictures = 0
        self._is_heading = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.loaded += [told[name] or "" for name in ("src", "href", "srcset", "data") if name in told]
        self.num_pictures += tag == "img"
        self._is_heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        if self._is_heading:
            self.headings.append(data)
        self._is_heading = False


def figures_named(report: Path) -> set[str]:
    return set(re.findall(r"\(figures/([^)]+)\.png\)", report.read_text(encoding="utf-8")))


def assert_whole(folder: Path, figures: set[str]) -> str:
    """Every file is there, and no text says "nan". The report's text."""
    drawn = {f"figures/{name}.{form}" for name in figures for form in ("png", "svg")}
    assert set(report_in(folder)) - {"expected.json"} == TEXTS | drawn
    assert figures_named(folder / "report.md") == figures
    for name in TEXTS - {"runs.csv", "report.html"}:
        assert not re.search(r"\bnan\b", (folder / name).read_text(encoding="utf-8"), re.IGNORECASE), name
    return (folder / "report.md").read_text(encoding="utf-8")


# A whole study: the documents' grid on three seeds and both losses, with finalists on fresh seeds and a fixed budget.


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "reference" / "lr"
    fill(folder, GRID, range(3), ARMS)
    found = analyse(folder).main
    assert found is not None
    fill(folder / "confirm", finalists(found.best), FRESH)
    fill_budget(folder / "budget", GRID[30:38], range(3))
    (folder / "figures").mkdir()
    for name in ("gone-error.png", "gone-error.svg"):
        (folder / "figures" / name).touch()
    build(folder, "reference/lr")
    return folder


@pytest.fixture(scope="module")
def text(study: Path) -> str:
    return (study / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_report_has_its_texts_and_every_figure_it_names_and_no_other(study: Path) -> None:
    """Those of an arm that is gone were removed."""
    assert_whole(study, {"arms", *MAIN_FIGURES, "double-softmax-error"})
    for name in figures_named(study / "report.md"):
        assert (study / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), name
        assert ET.parse(study / "figures" / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg", name


@pytest.mark.slow
def test_its_parts_are_in_the_readers_order(text: str) -> None:
    assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == [
        *(
            "Conclusions",
            "결론",
            "Arms compared",
            "On fresh seeds",
            "Does early stopping decide it?",
            "The evidence",
            "All learning rates",
        ),
        *("Every run", "Also tried: double_softmax", "Slowest and failed runs", "The data", "Where it ran"),
    ]
    assert re.findall(r"\(figures/(.+)\.png\)", text) == ["arms", *MAIN_FIGURES, "double-softmax-error"]


@pytest.mark.slow
def test_the_report_holds_both_conclusions_of_the_main_arm_and_one_of_the_other(study: Path, text: str) -> None:
    for language in ("en", "ko"):
        conclusions = (study / f"conclusions.{language}.md").read_text(encoding="utf-8")
        assert "(cross_entropy)" in conclusions
        assert conclusions in text
    assert text.count("Every conclusion here is from 3 seeds (double_softmax).") == 1


@pytest.mark.slow
def test_a_study_below_a_folder_has_its_whole_name_in_its_titles_and_its_command(study: Path, text: str) -> None:
    assert text.startswith("# reference/lr: which learning rate?\n")
    assert "<title>reference/lr: which learning rate?</title>" in (study / "report.html").read_text(encoding="utf-8")
    assert "\nlrsweep study=lr study.name=reference/lr seed=0,1,2\n" in text


@pytest.mark.slow
def test_the_report_says_how_many_runs_and_lists_every_rate_of_each_arm(text: str) -> None:
    grid = "46 learning rates × 3 seeds"
    assert f"276 runs of {grid} (cross_entropy) and {grid} (double_softmax): 258 ok, 18 diverged, 0 failed\n" in text
    tables = text.split("## All learning rates\n")[1].split("## Slowest")[0]
    assert len(re.findall(r"^\| 10\^", tables, re.MULTILINE)) == 3 * 46  # both arms' rates, and the main one's runs


@pytest.mark.slow
def test_the_table_of_runs_is_the_stores_with_what_was_made_of_them(study: Path) -> None:
    runs = pd.read_csv(study / "runs.csv")
    loaded = store.load(study)
    assert runs["run_id"].tolist() == loaded["run_id"].tolist()
    assert runs["lr"].tolist() == loaded["lr"].tolist()
    assert set(runs.columns) == {*loaded.columns, "learned", "arm", "seconds", "time"}


@pytest.mark.slow
def test_the_page_is_the_report_and_loads_nothing(study: Path, text: str) -> None:
    page = (study / "report.html").read_text(encoding="utf-8")
    found = Page(page)
    assert all(loaded.startswith(("data:", "#")) for loaded in found.loaded)
    assert found.num_pictures == len(MAIN_FIGURES) + 2  # the arms, and the other one
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert found.headings == ["Explore the runs", *headings]
    assert "vegaEmbed" in page


@pytest.mark.slow
def test_the_explorer_holds_the_main_arms_runs_and_shows_the_bargain_first(study: Path) -> None:
    page = (study / "report.html").read_text(encoding="utf-8")
    (spec,) = [json.loads(found) for found in re.findall(r"<script[^>]*json[^>]*>(.*?)</script>", page, re.DOTALL)]
    assert len(spec["datasets"]["runs"]) == 46 * 3
    found = analyse(study).main
    assert found is not None
    (chosen,) = [param["value"] for param in spec["params"] if param["name"] == "rate"]
    assert chosen.endswith(f"({found.best.trade_off['lr']:.3g})")


@pytest.mark.slow
def test_the_report_quotes_fresh_seeds_and_the_fixed_budget(study: Path, text: str) -> None:
    fresh = analyse(study).main
    assert fresh is not None
    assert fresh.confirmation is not None
    line = next(line for line in text.splitlines() if line.startswith("* **On fresh seeds:** "))
    assert f"{fresh.confirmation.best['test_mean']:.2%}" in line
    assert line.endswith("4 seeds that chose nothing")
    assert "* On 4 seeds that chose nothing, " in text
    assert "Here each had the same, 20 epochs, and its best epoch was picked in retrospect (3 seeds, 8 rates)." in text
    again = text[text.index("All of it again") :]
    assert [line.split("study.name=")[1].split()[0] for line in again.splitlines() if line.startswith("lrsweep ")] == [
        *["reference/lr"] * 2,  # an arm each
        *("reference/lr/confirm", "reference/lr/budget"),
    ]


@pytest.mark.slow
def test_the_analysis_finds_what_the_study_was_made_of(study: Path) -> None:
    tables = analyse(study)
    assert list(tables.findings) == list(ARMS)
    found = tables.main
    assert found is not None
    assert found.best.arm == "cross_entropy"
    assert found.best.is_conclusive
    assert 10**-2.8 < found.best.low < 10**-2.5 < found.best.high < 10**-2.1
    near = found.best.rows[found.best.rows["valid_mean"] >= found.best.best["valid_mean"] - found.best.delta]
    assert found.best.trade_off["lr"] == near["lr"].max() < found.best.high  # nearest to 10^-2, where this study is fastest
    assert (found.best.plateau.learning_low, found.best.plateau.learning_high) == (10**-5.2, 10**-1.8)
    assert found.very_small is not None
    assert (found.very_small.num_runs, found.very_small.num_out_of_patience) == (30, 30)
    assert found.very_small.num_stopped_at_once == 24  # those at chance
    assert found.small is not None
    assert found.small.num_runs == 3 * 11
    assert tables.findings["double_softmax"].confirmation is None


# A small study, by way of the command.


def run_main(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lrsweep-report", *arguments])
    main()


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rates on one seed, the largest diverged without a test accuracy; reported with a delta of 5 points."""
    folder = fill(tmp_path_factory.mktemp("results") / "small", [10**-5.5, 10**-2.5], [0])
    late = DIVERGED | {"valid_accuracy": 0.2, "best_epoch": 1, "curve": scored(0.2, num_epochs=2)["curve"]}
    store.save(folder, record_of(10**-1.6, late))
    with pytest.MonkeyPatch.context() as patch:
        run_main(["study=small", f"machine.results_dir={folder.parent}", "delta=0.05"], patch)
    return folder


@pytest.mark.slow
def test_a_small_study_has_a_whole_report(small_study: Path) -> None:
    text = assert_whole(small_study, set(MAIN_FIGURES))
    assert "| 10^-1.6 (0.0251) | 1 | 20.00% | not scored | 2 | 1.1 | 1 diverged |" in text
    assert "no other rate of the range is within 5.00 percentage points of the best" in text  # as the command said
    assert "Training at 3 telling rates" in text


@pytest.mark.slow
def test_a_report_reads_each_study_once_and_asks_its_two_questions_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many figures and texts it has: else a report of 1,000 runs would take minutes."""
    folder = fill(tmp_path / "small", [10**-5.5, 10**-2.5], [0])
    calls: list[tuple[str, Any]] = []

    def count(module: Any, name: str) -> None:
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: [calls.append((name, args[0])), function(*args)][1])

    for module, name in ((store, "scan"), (findings, "find_best"), (findings, "summarise")):
        count(module, name)
    build(folder)
    assert [args for name, args in calls if name == "scan"] == [folder, folder / "confirm", folder / "budget"]
    assert [name for name, _ in calls if name != "scan"] == ["find_best", "summarise"]


@pytest.mark.slow
def test_another_process_makes_the_same_bytes_from_packed_records_also_below_spaces_and_korean(
    small_study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "연구 결과" / "small"
    shutil.copytree(small_study / "runs", folder / "runs")
    store.pack(folder)
    shutil.rmtree(folder / "runs")
    command = [sys.executable, "-W", "error", "-m", "lrsweep.cli.report", "study=small", f"machine.results_dir={folder.parent}"]
    done = subprocess.run(
        [*command, "delta=0.05"], env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Report: {folder / 'report.md'} and {folder / 'report.html'}\n"
    assert report_in(folder) == report_in(small_study)


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.1, 1.0], ids=["at chance", "without an error"])
def test_a_single_run_has_a_whole_report(tmp_path: Path, accuracy: float) -> None:
    store.save(tmp_path, record_of(1e-3, AT_CHANCE if accuracy == 0.1 else scored(accuracy) | {"test_accuracy": accuracy}))
    build(tmp_path)
    text = assert_whole(tmp_path, set(MAIN_FIGURES))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "* **Best trade-off:** 10^-3 (0.001), test accuracy " in text
    assert "* **How sure:** inconclusive: " in text
    is_learned = accuracy == 1.0
    assert ("no rate learned on every seed" in text) == (not is_learned)
    assert ("vegaEmbed" in page) == is_learned  # where nothing has learned there is nothing to explore
    assert "Explore the runs" not in page or is_learned


@pytest.mark.slow
def test_curves_are_of_a_seed_that_has_some(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, FAILED, seed=0))
    store.save(tmp_path, record_of(1e-3, scored(0.9), seed=1))
    build(tmp_path)
    assert "(cross_entropy, seed 1; a mark: the best epoch)" in assert_whole(tmp_path, set(MAIN_FIGURES))


@pytest.mark.slow
def test_a_study_of_1000_runs_is_reported_without_torch(tmp_path: Path) -> None:
    folder = tmp_path / "large"
    for lr in GRID:
        for seed in range(22):
            store.save(folder, record_of(lr, outcome_of(lr, seed, num_epochs=40), seed=seed))
    store.pack(folder)
    shutil.rmtree(folder / "runs")
    program = (
        "import sys, pathlib\nfrom lrsweep.report.build import build\n"
        "build(pathlib.Path(sys.argv[1]))\nprint([name for name in ('torch', 'hydra') if name in sys.modules])"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(folder)], capture_output=True, text=True, check=False
    )
    print(f"1,012 runs reported in {time.perf_counter() - began:.1f} s, with imports")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[]\n")
    text = assert_whole(folder, set(MAIN_FIGURES))
    assert "* **How complete:** 1012 runs of 46 learning rates × 22 seeds (cross_entropy): 946 ok, 66 diverged, 0 failed" in text


# Which runs of other studies are quoted: those with the same settings, on other seeds.

RATES = GRID[32:41]


def confirm_with(folder: Path, seeds: Any = FRESH, rates: Any = None, loss: str = ARMS[0], **settings: int) -> None:
    found = analyse(folder).main
    assert found is not None
    fill(folder / "confirm", finalists(found.best) if rates is None else rates, seeds, [loss], **settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fresh", "num_seeds"),
    [
        ([{}], 4),
        ([], None),
        ([{"batch_size": 64}], None),
        ([{"patience": 20}], None),
        ([{"loss": ARMS[1]}], None),
        ([{}, {"batch_size": 64, "seeds": range(2000, 2009)}], 4),
        ([{"seeds": range(3)}], None),  # the seeds that chose
        ([{"seeds": [0, *FRESH]}], 4),
        ([{"rates": [1e-4, 1e-3]}], None),  # without the rates that the conclusion names
    ],
    ids=[
        *("the same", "none", "another batch size", "another patience", "another loss", "both batch sizes"),
        *("no fresh seed", "one seed not fresh", "other rates"),
    ],
)
def test_a_confirmation_is_of_the_same_settings_on_fresh_seeds(
    tmp_path: Path, fresh: list[dict[str, Any]], num_seeds: int | None
) -> None:
    fill(tmp_path, RATES, range(3))
    for settings in fresh:
        confirm_with(tmp_path, **settings)
    found = analyse(tmp_path).main
    assert found is not None
    assert (found.confirmation.num_seeds if found.confirmation else None) == num_seeds


@pytest.mark.parametrize(
    ("settings", "is_quoted"),
    [({}, True), ({"patience": 21}, True), ({"batch_size": 64}, False), ({"max_epochs": 5}, True)],
    ids=["the same", "another patience", "another batch size", "a budget of its own"],
)
def test_a_fixed_budget_is_of_the_same_settings_but_those_that_it_is_there_to_change(
    tmp_path: Path, settings: dict[str, int], is_quoted: bool
) -> None:
    fill(tmp_path, RATES, range(3))
    fill_budget(tmp_path / "budget", RATES, range(3), **settings)
    found = analyse(tmp_path).main
    assert found is not None
    assert (found.sensitivity is not None) == is_quoted


def test_of_arms_that_differ_in_a_setting_the_main_one_is_confirmed_by_its_own(tmp_path: Path) -> None:
    """There an arm's name tells its settings, which a confirmation of one arm alone does not."""
    for batch_size in (16, 64):
        fill(tmp_path, RATES, range(3), batch_size=batch_size)
    for batch_size, seeds in ((16, FRESH), (64, range(2000, 2002))):
        confirm_with(tmp_path, seeds, batch_size=batch_size)
    tables = analyse(tmp_path)
    assert list(tables.findings) == [f"cross_entropy, training.batch_size={size}" for size in (16, 64)]
    assert tables.main is not None
    assert tables.main.confirmation is not None
    assert tables.main.confirmation.num_seeds == 4


def test_a_damaged_confirmation_is_warned_of(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    (tmp_path / "confirm" / "runs").mkdir(parents=True)
    (tmp_path / "confirm" / "runs" / "0123456789abcdef.json").write_text("{}")
    with pytest.warns(UserWarning, match="left out .*confirm/runs/0123456789abcdef.json"):
        found = analyse(tmp_path).main
    assert found is not None
    assert found.confirmation is None


def test_runs_of_other_studies_inside_are_no_runs_of_this_one(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    fill(tmp_path / "confirm", RATES, FRESH)
    assert set(analyse(tmp_path).runs["seed"]) == {0, 1, 2}


def test_delta_is_what_the_bargain_may_lack(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    bests = [analyse(tmp_path, delta).main for delta in (None, 0.0, 0.5)]
    default, none, half = (found.best for found in bests if found is not None)
    assert default.delta == default.plateau.standard_error
    assert none.trade_off["lr"] == none.best["lr"]
    assert half.trade_off["seconds_median"] == half.rows["seconds_median"].min() < none.trade_off["seconds_median"]
    assert (none.delta, half.delta) == (0.0, 0.5)


# What is damaged, missing or odd.

RUNS_TOLD = "* **How complete:** 1 run of 1 learning rate × 1 seed (cross_entropy): 0 ok, 1 diverged, 0 failed"


def test_a_damaged_record_is_left_out_with_a_warning_and_does_not_stop_the_report(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, DIVERGED))
    damaged = store.save(tmp_path, record_of(1e-4, scored(0.9)))
    tree = json.loads(damaged.read_text())
    tree["record"]["outcome"]["test_accuracy"] = 1.0
    damaged.write_text(json.dumps(tree))
    with pytest.warns(UserWarning, match=f"left out .*{damaged.name}: was altered"):
        text = build(tmp_path).read_text()
    assert f"{RUNS_TOLD}\n" in text
    assert pd.read_csv(tmp_path / "runs.csv")["lr"].tolist() == [1e-3]
    assert damaged.exists()  # a report moves nothing away


def test_a_study_of_failures_has_a_report_without_conclusions_or_figures(tmp_path: Path) -> None:
    for seed in (0, 1):
        store.save(tmp_path, record_of(1e-3, FAILED | {"error": "<b>boom</b>"}, seed=seed, machine={}))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "error.png").touch()  # of records that are gone
    text = build(tmp_path).read_text()
    assert set(report_in(tmp_path)) == {"report.html", "report.md", "runs.csv"}
    assert "No rate of this study was scored on every seed yet." in text
    assert "2 runs of 1 learning rate × 2 seeds (cross_entropy): 0 ok, 0 diverged, 2 failed\n" in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;boom&lt;/b&gt;" in page
    assert "vegaEmbed" not in page


def test_a_study_whose_runs_all_diverged_at_once_has_a_report(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, DIVERGED))
    text = build(tmp_path).read_text()
    assert "No rate of this study was scored on every seed yet." in text
    assert f"{RUNS_TOLD}\n" in text


def test_a_study_named_in_korean_with_a_space_has_that_title(tmp_path: Path) -> None:
    store.save(tmp_path / "학습률 연구", record_of(1e-3, FAILED))
    assert build(tmp_path / "학습률 연구").read_text().startswith("# 학습률 연구: which learning rate?\n")


def test_a_studys_name_is_escaped(tmp_path: Path) -> None:
    name = "a<script>|`b`"
    store.save(tmp_path / name, record_of(1e-3, FAILED))
    assert build(tmp_path / name).read_text().startswith("# a\\<script\\>\\|\\`b\\`: which learning rate?\n")
    page = (tmp_path / name / "report.html").read_text()
    assert "<title>a&lt;script&gt;|`b`: which learning rate?</title>" in page
    assert len(re.findall("<script", page)) == 1


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([], f"{RUNS_TOLD}. The last sweep is complete (1)\n"),
        (["missing", "missing too"], f"{RUNS_TOLD}. **2 of 3 missing**\n"),
    ],
    ids=["complete", "two missing"],
)
def test_the_report_of_a_sweep_says_how_many_runs_are_missing(tmp_path: Path, others: list[str], told: str) -> None:
    record = record_of(1e-3, DIVERGED)
    store.save(tmp_path, record)
    store.expect(tmp_path, [record.run_id, *others])
    assert told in build(tmp_path).read_text()


def test_where_runs_are_missing_nothing_is_conclusive(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    made = store.load(tmp_path)["run_id"].tolist()
    store.expect(tmp_path, made)
    whole = analyse(tmp_path).main
    store.expect(tmp_path, [*made, "missing"])
    part = analyse(tmp_path).main
    assert whole is not None
    assert part is not None
    assert (whole.best.is_conclusive, part.best.is_conclusive) == (True, False)
    assert part.best.plateau.doubts == ("runs_missing",)


def test_a_damaged_record_is_missing_and_a_damaged_expectation_is_none(tmp_path: Path) -> None:
    good, bad = record_of(1e-3, DIVERGED), record_of(1e-4, scored(0.9))
    store.save(tmp_path, good)
    damaged = store.save(tmp_path, bad)
    store.expect(tmp_path, [good.run_id, bad.run_id])
    damaged.write_bytes(b"{}")
    with pytest.warns(UserWarning, match=f"left out .*{damaged.name}"):
        assert f"{RUNS_TOLD}. **1 of 2 missing**\n" in build(tmp_path).read_text()
    damaged.unlink()
    (tmp_path / "expected.json").write_bytes(b"{")
    assert f"{RUNS_TOLD}\n" in build(tmp_path).read_text()


def test_conclusions_are_of_the_seeds_that_every_rate_was_scored_on(tmp_path: Path) -> None:
    fill(tmp_path, [10**-3.5, 10**-2.5], [0, 1])
    two = analyse(tmp_path).main
    store.save(tmp_path, record_of(1e-2, outcome_of(1e-2, 0), seed=0))
    store.save(tmp_path, record_of(1e-2, FAILED, seed=1))
    one = analyse(tmp_path).main
    assert two is not None
    assert one is not None
    assert (two.best.num_seeds, one.best.num_seeds) == (2, 1)


def test_runs_that_diverged_at_once_count_in_the_median_but_have_no_place_among_the_times(tmp_path: Path) -> None:
    """A logarithm has none for 0 epochs."""
    fill(tmp_path, [10**-3.5, 10**-2.5], range(3))
    for seed, outcome in enumerate((scored(0.97), DIVERGED, DIVERGED)):
        store.save(tmp_path, record_of(1e-2, outcome, seed=seed))
    target = analyse(tmp_path).target
    assert target is not None
    assert target.times["lr"].value_counts()[1e-2] == 1
    assert target.medians.set_index("lr")["num_runs"].tolist() == [3, 3, 3]
    assert target.medians["epochs_to_target"].isna().tolist()[-1]


# The command.

DEFAULT = ("results/lr", "lr", None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], DEFAULT),
        (["study=lr_loss"], ("results/lr_loss", "lr_loss", None)),
        (["study.name=lr_loss"], ("results/lr_loss", "lr_loss", None)),
        (["machine.results_dir=/elsewhere"], ("/elsewhere/lr", "lr", None)),
        (["machine.results_dir=/else where", "study=연구"], ("/else where/연구", "연구", None)),
        (["study=a/b"], ("results/a/b", "a/b", None)),
        (["study=a=b"], ("results/a=b", "a=b", None)),
        (["study=first", "study=last"], ("results/last", "last", None)),
        (["delta=0.002"], ("results/lr", "lr", 0.002)),
        (["delta=0"], ("results/lr", "lr", 0.0)),
        (["delta=1e-3", "study=a"], ("results/a", "a", 0.001)),
        (["delta="], DEFAULT),
    ],
)
def test_the_arguments_name_folder_study_and_delta(arguments: list[str], expected: tuple[str, str, float | None]) -> None:
    folder, study, delta = _arguments(arguments)
    assert (folder, study, delta) == (Path(expected[0]), *expected[1:])


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("lr", "'lr' is not understood; usage: lrsweep-report study=NAME"),
        ("--study=lr", "'--study=lr' is not understood"),
        ("optimizer.lr=1", "'optimizer.lr=1' is not understood"),
        ("study=", "study.name must be a plain relative path"),
        ("study=../elsewhere", "study.name must be a plain relative path"),
        ("study=/absolute", "study.name must be a plain relative path"),
        *(
            (f"delta={value}", "delta must be a share of accuracy, from 0 to below 1 (0.002 is 0.20%), got " + repr(value))
            for value in ("x", "0.2%", "-0.1", "1", "nan", "inf", " ")
        ),
    ],
)
def test_an_argument_that_is_not_understood_is_refused(argument: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        _arguments([argument])


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("studdy=lr", "ConfigError: 'studdy=lr' is not understood"),
        ("study=..", "ConfigError: study.name must be"),
        ("study=missing", "StoreError: {folder}/missing holds no records to report"),
        ("study=empty", "StoreError: {folder}/empty holds no records to report"),
        ("delta=2", "ConfigError: delta must be a share of accuracy"),
    ],
    ids=["an unknown argument", "a study outside", "a missing study", "a study without records", "a delta too large"],
)
def test_a_persons_mistake_is_one_line_and_exit_code_2(
    argument: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    with pytest.raises(SystemExit) as stopped:
        run_main([argument, f"machine.results_dir={tmp_path}"], monkeypatch)
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith(told.format(folder=tmp_path))
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "missing").exists()


def test_a_packed_file_that_cannot_be_read_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "runs.jsonl.gz").write_bytes(b"not gzip")
    with pytest.warns(UserWarning, match="left out .*runs.jsonl.gz: cannot be read"), pytest.raises(SystemExit) as stopped:
        run_main([f"machine.results_dir={tmp_path}"], monkeypatch)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("StoreError: ")


def test_the_command_says_where_the_report_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.save(tmp_path / "mine", record_of(1e-3, FAILED))
    run_main(["study=mine", f"machine.results_dir={tmp_path}"], monkeypatch)
    assert capsys.readouterr().out == f"Report: {tmp_path / 'mine' / 'report.md'} and {tmp_path / 'mine' / 'report.html'}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_told_and_nothing_is_built(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main([flag, f"machine.results_dir={tmp_path}"], monkeypatch)
    assert "lrsweep-report study=lr" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_arms_that_begin_with_different_seeds_are_compared(tmp_path: Path) -> None:
    for seed, name in ((1, "adamw"), (0, "rmsprop")):
        record = record_of(1e-3, scored(0.9), seed=seed)
        config = record.config | {"optimizer": record.config["optimizer"] | {"name": name}}
        store.save(tmp_path, replace(record, run_id=f"{seed:016x}", config=config))
    report = build(tmp_path).read_text(encoding="utf-8")
    assert "## Arms compared" in report
    assert "adamw" in report
    assert "rmsprop" in report
