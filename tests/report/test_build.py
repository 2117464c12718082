"""The whole report of a study, also when records are damaged or missing."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from html_elements import Elements
from synthetic_study import (
    ARMS,
    AT_CHANCE,
    DIVERGED,
    FAILED,
    MAIN_FIGURES,
    fill,
    fill_budget,
    record_of,
    report_in,
    scored,
)

from lrsweep.analysis.confirmation import FIRST_FRESH_SEED
from lrsweep.analysis.findings import Findings, analyse
from lrsweep.analysis.rates import decimal_rate
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.build import build
from lrsweep.report.figures.style import KOREAN_FONT
from lrsweep.report.texts.decision import chosen, decision_en
from lrsweep.storage import store

GRID = log_grid(GridConfig())
REPORTS = {"report.html", "report.md", "report.ko.html", "report.ko.md"}
TEXTS = {*REPORTS, "runs.csv", "conclusions.en.md", "conclusions.ko.md"}


def main_findings(folder: Path) -> Findings:
    main = analyse(folder).main
    assert main is not None
    return main


def figures_in(report: str) -> list[str]:
    return re.findall(r"\(figures/(.+)\.png\)", report)


def headings_in(report: str) -> list[str]:
    return re.findall(r"(?m)^## (.*)$", report)


def assert_complete(folder: Path, figures: list[str]) -> str:
    """All files exist, the report shows these figures, and no text contains "nan". Returns the report."""
    endings = (".png", ".svg", "-narrow.svg", *([".ko.png"] if KOREAN_FONT else []))
    image_files = {f"figures/{name}{ending}" for name in figures for ending in endings}
    assert set(report_in(folder)) - {"expected.json"} == TEXTS | image_files
    for name in TEXTS - {"runs.csv", "report.html", "report.ko.html"}:
        assert not re.search(r"\bnan\b", (folder / name).read_text(encoding="utf-8"), re.IGNORECASE), name
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert figures_in(report) == figures
    return report


# A full study: the documents' grid on three seeds with both losses, fresh seeds and a fixed budget.


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "reference" / "lr"
    fill(folder, GRID, range(3), ARMS)
    fill(folder / "confirm", GRID[32:41], range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + 4))
    fill_budget(folder / "budget", GRID[30:38], range(3))
    (folder / "figures").mkdir()
    for name in ("old-error.png", "old-error.svg"):
        (folder / "figures" / name).touch()
    build(folder, "reference/lr")
    return folder


@pytest.fixture(scope="module")
def text(study: Path) -> str:
    return (study / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_report_has_all_its_parts_and_figures_in_order_and_no_old_figures(study: Path) -> None:
    text = assert_complete(study, ["arms", *MAIN_FIGURES, "fresh-seeds", "early-stopping", "double_softmax-shortfall"])
    assert headings_in(text) == [
        *("Conclusions", "Arms compared", "The evidence", "On fresh seeds", "What does early stopping hide?"),
        *("All learning rates of the study", "Every run", "Also tried: double_softmax"),
        *("Longest and failed runs", "What ran", "The data", "Where it ran"),
    ]
    for conclusions, report in (("conclusions.en.md", "report.md"), ("conclusions.ko.md", "report.ko.md")):
        concluded = (study / conclusions).read_text(encoding="utf-8")
        assert "(cross_entropy)" in concluded
        assert concluded in (study / report).read_text(encoding="utf-8")
    second = (
        "These answers are from 3 seeds; the 95% intervals are paired by seed and hold for all 46 rates at once (double_softmax)"
    )
    assert text.count(second) == 1
    tables = text.split("## All learning rates of the study\n")[1].split("## Longest")[0]
    assert (
        len(re.findall(r"(?m)^\| [\d.×⁻¹²³⁴⁵⁶⁷⁸⁹⁰]+( \(|10| \|)", tables)) == 3 * 46
    )  # the rates of both arms, and the runs of the main arm


@pytest.mark.slow
def test_a_report_names_its_study_and_counts_its_runs(study: Path, text: str) -> None:
    title = "Which learning rate for a small convolutional network on MNIST? (study lr)"
    assert text.startswith(f"# {title}\n")
    assert f"<title>{title}</title>" in (study / "report.html").read_text(encoding="utf-8")
    grid = "46 learning rates × 3 seeds"
    assert f"276 runs of {grid} (cross_entropy) and {grid} (double_softmax): 258 ok, 18 diverged, 0 failed\n" in text


@pytest.mark.slow
def test_runs_csv_has_all_columns_of_the_store_and_the_derived_ones(study: Path) -> None:
    runs, stored = pd.read_csv(study / "runs.csv"), store.load(study)
    assert runs["run_id"].tolist() == stored["run_id"].tolist()
    assert runs["lr"].tolist() == stored["lr"].tolist()
    assert set(runs.columns) == {*stored.columns, "learned", "arm", "seconds"}


@pytest.mark.slow
def test_the_page_shows_the_report_and_an_explorer_of_the_main_arm(study: Path, text: str) -> None:
    page = (study / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    elements.assert_loads_nothing()
    assert len(elements.named("figure")) == len(figures_in(text))
    without_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", without_scripts) == ["Explore the runs", *headings_in(text)]
    (spec,) = [json.loads(found) for found in re.findall(r"<script[^>]*json[^>]*>(.*?)</script>", page, re.DOTALL)]
    assert len(spec["datasets"]["runs"]) == 46 * 3 + 9 * 4  # 9 rates ran on 4 fresh seeds
    (rate,) = [param["value"] for param in spec["params"] if param["name"] == "rate"]
    assert rate == decimal_rate(chosen(main_findings(study).headline)["lr"])


@pytest.mark.slow
def test_a_report_quotes_fresh_seeds_and_the_fixed_budget_with_their_commands(study: Path, text: str) -> None:
    main = main_findings(study)
    assert main.headline is main.confirmation
    assert text.splitlines()[4:8] == [f"* **{question}** {answer}" for question, answer in decision_en(main)]
    assert "These answers are from 4 fresh seeds, which were not used to choose the 9 rates that ran on them" in text
    fresh = text.split("## On fresh seeds\n")[1].split("\n## ")[0]
    assert len(re.findall(r"(?m)^\| [\d.×⁻¹²³⁴⁵⁶⁷⁸⁹⁰]+( \(|10| \|)", fresh)) == 9
    assert "study\u00a0minus fresh" in fresh
    assert "Here every run has 20 epochs, and its best epoch counts (3 seeds, 8 rates)." in text
    assert "\nlrsweep study=lr study.name=reference/lr seed=0,1,2\n" in text
    studies = re.findall(r"(?m)^lrsweep .*study\.name=(\S+)", text)
    assert studies == ["reference/lr", "reference/lr", "reference/lr/confirm", "reference/lr/budget"]


# Small studies.


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rates on one seed. The largest diverged before it was tested. delta is 5 points."""
    folder = fill(tmp_path_factory.mktemp("results") / "small", [10**-5.5, 10**-2.5], [0])
    late = DIVERGED | {"valid_accuracy": 0.2, "best_epoch": 1, "curve": scored(0.2, num_epochs=2)["curve"]}
    store.save(folder, record_of(10**-1.6, late))
    build(folder, delta=0.05)
    return folder


@pytest.mark.slow
def test_a_small_study_has_a_complete_report(small_study: Path) -> None:
    text = assert_complete(small_study, list(MAIN_FIGURES))
    assert "| 0.025 (10⁻¹·⁶) | 86.06 | worse, 1 diverged | not scored | 20.00% | 2.0 | 1.1 (1 of 1) |" in text
    assert "**none** is shown yet to lose less than 5 percentage points" in text
    assert "study.delta=0.05\n" in text


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_from_packed_records_without_torch(small_study: Path, tmp_path: Path) -> None:
    """In another process, with another hash seed, in a folder with spaces and Korean letters."""
    folder = tmp_path / "연구 결과" / "small"
    shutil.copytree(small_study / "runs", folder / "runs")
    store.pack(folder)
    shutil.rmtree(folder / "runs")
    program = "import sys; from lrsweep.cli.report import main; main(); print({'torch', 'hydra'} & set(sys.modules))"
    arguments = ["study=small", f"machine.results_dir={folder.parent}", "delta=0.05"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Report: {folder / 'report.md'} and {folder / 'report.html'}\nset()\n"
    assert report_in(folder) == report_in(small_study)


def test_a_failed_run_is_not_finished(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, scored(0.9)))
    store.save(tmp_path, record_of(1e-2, FAILED))
    store.expect(tmp_path, [*store.load(tmp_path)["run_id"], "another"])
    build(tmp_path, reload_seconds=60)
    assert "1 of 3 runs are finished." in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.1, 1.0], ids=["at chance", "without an error"])
def test_a_single_run_has_a_complete_report(tmp_path: Path, accuracy: float) -> None:
    has_learned = accuracy == 1.0
    store.save(tmp_path, record_of(1e-3, scored(1.0) | {"test_accuracy": 1.0} if has_learned else AT_CHANCE))
    build(tmp_path)
    text = assert_complete(tmp_path, [name for name in MAIN_FIGURES if name != "price"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (
        "* **Which rate?** Perhaps **0.001**. No other rate has a finished run."
        if has_learned
        else "No rate, because no run learned."
    ) in text
    assert "* **How sure is this?** One seed. **With care: " in text
    assert ("no rate learned on every seed" in text) == (not has_learned)
    assert ("vegaEmbed" in page) == ("Explore the runs" in page) == has_learned


@pytest.mark.slow
def test_training_curves_are_of_the_first_seed_that_has_curves(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, FAILED, seed=0))
    store.save(tmp_path, record_of(1e-3, scored(0.9), seed=1))
    build(tmp_path)
    figures = [name for name in MAIN_FIGURES if name != "price"]  # there is one rate, so none is cheaper
    assert "(cross_entropy, seed 1)" in assert_complete(tmp_path, figures)


@pytest.mark.slow
def test_arms_with_different_first_seeds_are_compared(tmp_path: Path) -> None:
    for seed, name in ((1, "adamw"), (0, "rmsprop")):
        record = record_of(1e-3, scored(0.9), seed=seed)
        config = record.config | {"optimizer": record.config["optimizer"] | {"name": name}}
        store.save(tmp_path, replace(record, run_id=f"{seed:016x}", config=config))
    report = build(tmp_path).read_text(encoding="utf-8")
    assert "## Arms compared" in report
    assert "adamw" in report
    assert "rmsprop" in report


def test_an_arm_whose_runs_all_failed_is_not_compared(tmp_path: Path) -> None:
    for loss, outcome in zip(ARMS, (scored(0.9), FAILED), strict=True):
        store.save(tmp_path, record_of(1e-3, outcome, loss=loss))
    section = build(tmp_path).read_text(encoding="utf-8").split("## Arms compared")[1].split("\n## ")[0]
    assert "| double_softmax |" not in section


# Damaged, missing and failed records.

ONE_DIVERGED = "* **Runs:** 1 run of 1 learning rate × 1 seed (cross_entropy): 0 ok, 1 diverged, 0 failed"


def test_a_damaged_record_is_left_out_with_a_warning(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, DIVERGED))
    damaged = store.save(tmp_path, record_of(1e-4, scored(0.9)))
    tree = json.loads(damaged.read_text())
    tree["record"]["outcome"]["test_accuracy"] = 1.0
    damaged.write_text(json.dumps(tree))
    with pytest.warns(UserWarning, match=f"left out .*{damaged.name}: was altered"):
        text = build(tmp_path).read_text()
    assert f"{ONE_DIVERGED}\n" in text
    assert pd.read_csv(tmp_path / "runs.csv")["lr"].tolist() == [1e-3]
    assert damaged.exists()  # a report does not move files


def test_a_study_of_failed_runs_has_a_report_without_conclusions_and_figures(tmp_path: Path) -> None:
    for seed in (0, 1):
        store.save(tmp_path, record_of(1e-3, FAILED | {"error": "<b>boom</b>"}, seed=seed, machine={}))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "error.png").touch()  # from an earlier report
    text = build(tmp_path).read_text()
    assert set(report_in(tmp_path)) == {*REPORTS, "runs.csv"}
    assert "No run of this study was scored yet." in text
    assert "* **2 runs failed.** The errors are below. The same command runs them again." in text
    assert r"seed 0: \<b\>boom\</b\> The same error ended 1 run more." in text
    assert "2 runs of 1 learning rate × 2 seeds (cross_entropy): 0 ok, 0 diverged, 2 failed\n" in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;boom&lt;/b&gt;" in page
    assert "vegaEmbed" not in page


def test_a_study_whose_runs_all_diverged_has_a_report(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, DIVERGED))
    text = build(tmp_path).read_text()
    assert "No run of this study was scored yet." in text
    assert f"{ONE_DIVERGED}\n" in text


@pytest.mark.parametrize(
    ("name", "title", "html_title"),
    [("학습률 연구", "학습률 연구", "학습률 연구"), ("a<script>|`b`", r"a\<script\>\|\`b\`", "a&lt;script&gt;|`b`")],
    ids=["Korean with a space", "markup"],
)
def test_the_title_has_the_escaped_name_of_the_study(tmp_path: Path, name: str, title: str, html_title: str) -> None:
    store.save(tmp_path / name, record_of(1e-3, FAILED))
    assert build(tmp_path / name).read_text().splitlines()[0].endswith(f"on MNIST? (study {title})")
    page = (tmp_path / name / "report.html").read_text()
    assert f"on MNIST? (study {html_title})</title>" in page
    assert page.count("<script") == 1


def test_the_report_counts_missing_runs_and_a_damaged_record_is_missing(tmp_path: Path) -> None:
    good, bad = record_of(1e-3, DIVERGED), record_of(1e-4, scored(0.9))
    store.save(tmp_path, good)
    for expected, ending in (
        ([good.run_id], ". The last sweep is complete (1 run)\n"),
        ([good.run_id, bad.run_id, "another"], ". **2 of 3 runs missing**\n"),
    ):
        store.expect(tmp_path, expected)
        assert ONE_DIVERGED + ending in build(tmp_path).read_text()
    damaged = store.save(tmp_path, bad)
    damaged.write_bytes(b"{}")
    with pytest.warns(UserWarning, match=f"left out .*{damaged.name}"):
        assert f"{ONE_DIVERGED}. **2 of 3 runs missing**\n" in build(tmp_path).read_text()
    damaged.unlink()
    (tmp_path / "expected.json").write_bytes(b"{")  # damaged: nothing is known of the last sweep
    assert f"{ONE_DIVERGED}\n" in build(tmp_path).read_text()
