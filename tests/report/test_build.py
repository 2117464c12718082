"""lrsweep.report.build: a study's folder in, its report out; what is damaged or missing does not stop it."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lrsweep import store
from lrsweep.config import ConfigError, GridConfig, log_grid
from lrsweep.records import EpochRecord, RunRecord
from lrsweep.report.build import analyse, build, folder_of, main

MakeRecord = Callable[..., RunRecord]

ARMS = ("cross_entropy", "double_softmax")
FIGURES = {"accuracy-and-time", "accuracy-and-epochs", "plateau", "trade-off", "training-curves"}
TEXTS = {"report.md", "runs.csv", "conclusions.en.md", "conclusions.ko.md"}


def curve_of(accuracy: float, num_epochs: int) -> tuple[EpochRecord, ...]:
    """Rises to `accuracy` in the second epoch, and stays: five epochs more are patience."""
    return tuple(
        EpochRecord(epoch=i, train_loss=2 / i, train_accuracy=0.5, valid_loss=2 / i, valid_accuracy=valid, seconds=1.0)
        for i, valid in enumerate([accuracy / 2, *[accuracy] * (num_epochs - 1)], start=1)
    )


def outcome_of(lr: float, seed: int) -> dict[str, Any]:
    """The documents' story: nothing learned at very small rates, best at 10^-2.5, divergence at the top."""
    exponent = math.log10(lr)
    if exponent > -1.75:
        return {"status": "diverged"}
    learned = max(0.0, 0.88 - 0.08 * abs(exponent + 2.5) ** 2)
    accuracy = round(0.1 + learned + 0.001 * seed, 4)
    seconds = round(10 + 20 * abs(exponent + 2), 1)
    curve = curve_of(accuracy, 7)
    scores = {"valid_accuracy": accuracy, "test_accuracy": round(accuracy - 0.01, 4), "best_epoch": 2}
    return {"curve": curve, "wall_seconds": seconds, "cpu_seconds": seconds} | scores


MACHINE = {"device": "cpu", "device_name": "a processor", "cores": 2, "threads": 1, "workers": 2, "peak_memory_bytes": 4.6e8}


def save(folder: Path, record: RunRecord) -> None:
    """As the sweep does: with its machine, and a failed run without anything measured."""
    failed = record.outcome.status == "failed"
    store.save(folder, replace(record, class_counts={}, environment={}) if failed else replace(record, environment=MACHINE))


def fill(folder: Path, make_record: MakeRecord, rates: list[float], seeds: list[int], losses: tuple[str, ...] = ARMS[:1]) -> Path:
    for loss in losses:
        for seed in seeds:
            for lr in rates:
                save(folder, make_record(lr=lr, seed=seed, loss=loss, **outcome_of(lr, seed)))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a study but its packed records, by name."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".gz"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def report_in(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if not name.startswith("runs/")}


def figures_named(report: Path) -> set[str]:
    return set(re.findall(r"\(figures/([^)]+)\.png\)", report.read_text()))


def assert_whole(folder: Path, figures: set[str]) -> str:
    """Every file is there, and no text says "nan". The report's text."""
    drawn = {f"figures/{name}.{form}" for name in figures for form in ("png", "svg")}
    assert set(report_in(folder)) == TEXTS | drawn
    assert figures_named(folder / "report.md") == figures
    text = (folder / "report.md").read_text()
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    return text


@pytest.fixture(scope="module")
def study(make_record: MakeRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents' grid on two seeds and both losses, reported."""
    folder = fill(tmp_path_factory.mktemp("results") / "lr", make_record, log_grid(GridConfig()), [0, 1], ARMS)
    build(folder)
    return folder


@pytest.fixture(scope="module")
def small_study(make_record: MakeRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rates on one seed, the largest diverged without a test accuracy, reported."""
    folder = fill(tmp_path_factory.mktemp("results") / "small", make_record, [10**-5.5, 10**-2.5], [0])
    unscored = {"status": "diverged", "valid_accuracy": 0.2, "best_epoch": 1, "curve": curve_of(0.2, 2)}
    save(folder, make_record(lr=10**-1.6, **unscored))
    build(folder)
    assert_whole(folder, FIGURES)
    return folder


@pytest.fixture
def small_copy(small_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_study, tmp_path / small_study.name))


# The whole report.


def test_the_report_has_its_texts_and_every_figure_it_names_as_png_and_svg(study: Path) -> None:
    text = assert_whole(study, FIGURES | {f"double-softmax-{name}" for name in FIGURES} | {"arms"})
    for name in figures_named(study / "report.md"):
        assert (study / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), name
        assert ET.parse(study / "figures" / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg", name
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        *("## cross_entropy", "## double_softmax", "## Compared", "## The data", "## Where it ran")
    ]


def test_the_report_holds_both_conclusions_of_the_main_arm(study: Path) -> None:
    text = (study / "report.md").read_text()
    for language in ("en", "ko"):
        conclusions = (study / f"conclusions.{language}.md").read_text()
        assert "(cross_entropy)" in conclusions
        assert conclusions in text


def test_the_report_says_how_many_runs_and_lists_every_rate_of_each_arm(study: Path) -> None:
    text = (study / "report.md").read_text()
    assert "# lr: which learning rate?" in text
    assert "* **Runs:** 184 (46 learning rates, up to 2 seeds): 172 ok, 12 diverged, 0 failed\n" in text
    assert len(re.findall(r"^\| 10\^", text, re.MULTILINE)) == 2 * 46


def test_the_table_of_runs_is_the_stores_with_what_was_made_of_them(study: Path) -> None:
    runs = pd.read_csv(study / "runs.csv")
    loaded = store.load(study)
    assert runs["run_id"].tolist() == loaded["run_id"].tolist()
    assert runs["lr"].tolist() == loaded["lr"].tolist()
    assert set(runs.columns) == {*loaded.columns, "learned", "arm", "seconds", "time"}


def test_the_analysis_finds_what_the_study_was_made_of(study: Path) -> None:
    tables = analyse(study)
    assert list(tables.findings) == list(ARMS)
    found = tables.main
    assert found is not None
    assert found.best.arm == "cross_entropy"
    assert found.best.best["lr"] == 10**-2.5
    assert found.best.low < 10**-2.5 < found.best.high
    assert found.best.bargain["lr"] == found.best.high  # nearer 10^-2, where this study is fastest
    assert found.very_small is not None
    assert found.very_small.num_runs == found.very_small.num_out_of_patience == 2 * 10
    assert found.small is not None
    assert found.small.num_runs == 2 * 11


def test_a_report_built_again_by_another_process_changes_no_byte(small_copy: Path) -> None:
    before = contents(small_copy)
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "error", "-m", "lrsweep.report", "study=small", f"machine.results_dir={small_copy.parent}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Report: {small_copy / 'report.md'}\n"
    assert contents(small_copy) == before


def test_packed_records_give_the_same_report_also_below_spaces_and_korean(small_study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "연구 결과" / "small"
    shutil.copytree(small_study / "runs", folder / "runs")
    store.pack(folder)
    shutil.rmtree(folder / "runs")
    assert build(folder) == folder / "report.md"
    assert report_in(folder) == report_in(small_study)


def test_a_study_named_in_korean_with_a_space_has_that_title(make_record: MakeRecord, tmp_path: Path) -> None:
    folder = tmp_path / "학습률 연구"
    save(folder, make_record(status="failed"))
    assert build(folder).read_text().startswith("# 학습률 연구: which learning rate?\n")


# What is damaged, missing or odd.


def test_a_damaged_record_is_left_out_with_a_warning_and_does_not_stop_the_report(
    make_record: MakeRecord, tmp_path: Path
) -> None:
    save(tmp_path, make_record(lr=1e-3, status="failed"))
    save(tmp_path, make_record(lr=1e-4))
    damaged = store.path_of(tmp_path, make_record(lr=1e-4).run_id)
    tree = json.loads(damaged.read_text())
    tree["record"]["outcome"]["test_accuracy"] = 1.0
    damaged.write_text(json.dumps(tree))
    with pytest.warns(UserWarning, match=f"left out .*{damaged.name}: was altered"):
        text = build(tmp_path).read_text()
    assert "* **Runs:** 1 (1 learning rate, up to 1 seed): 0 ok, 0 diverged, 1 failed\n" in text
    assert pd.read_csv(tmp_path / "runs.csv")["lr"].tolist() == [1e-3]
    assert damaged.exists()  # a report moves nothing away


def test_a_study_of_failures_has_a_report_without_conclusions_or_figures(make_record: MakeRecord, tmp_path: Path) -> None:
    for seed in (0, 1):
        record = make_record(status="failed", seed=seed)
        save(tmp_path, RunRecord(**vars(record) | {"class_counts": {}, "environment": {}}))  # as the sweep leaves it
    text = build(tmp_path).read_text()
    assert set(report_in(tmp_path)) == {"report.md", "runs.csv"}
    assert "No run of this study has an accuracy yet." in text
    assert "* **Runs:** 2 (1 learning rate, up to 2 seeds): 0 ok, 0 diverged, 2 failed\n" in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_a_study_whose_runs_all_diverged_at_once_has_a_report(make_record: MakeRecord, tmp_path: Path) -> None:
    save(tmp_path, make_record(status="diverged"))
    text = build(tmp_path).read_text()
    assert "No run of this study has an accuracy yet." in text
    assert "* **Runs:** 1 (1 learning rate, up to 1 seed): 0 ok, 1 diverged, 0 failed\n" in text


RUNS_TOLD = "* **Runs:** 1 (1 learning rate, up to 1 seed): 0 ok, 1 diverged, 0 failed"


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([], f"{RUNS_TOLD}. The last sweep is complete (1)\n"),
        (["missing", "missing too"], f"{RUNS_TOLD}. **2 of 3 missing**\n"),
    ],
    ids=["complete", "two missing"],
)
def test_the_report_of_a_sweep_says_how_many_runs_are_missing(
    make_record: MakeRecord, tmp_path: Path, others: list[str], told: str
) -> None:
    record = make_record(status="diverged")
    save(tmp_path, record)
    store.expect(tmp_path, [record.run_id, *others])
    assert told in build(tmp_path).read_text()


def test_a_damaged_record_is_missing_and_a_damaged_expectation_is_none(make_record: MakeRecord, tmp_path: Path) -> None:
    good, bad = make_record(status="diverged"), make_record(lr=1e-4)
    save(tmp_path, good)
    save(tmp_path, bad)
    store.expect(tmp_path, [good.run_id, bad.run_id])
    damaged = store.path_of(tmp_path, bad.run_id)
    damaged.write_bytes(b"{}")
    with pytest.warns(UserWarning, match=f"left out .*{damaged.name}"):
        assert f"{RUNS_TOLD}. **1 of 2 missing**\n" in build(tmp_path).read_text()
    damaged.unlink()
    (tmp_path / "expected.json").write_bytes(b"{")
    assert f"{RUNS_TOLD}\n" in build(tmp_path).read_text()


def test_conclusions_are_of_the_seeds_that_every_rate_was_scored_on(make_record: MakeRecord, tmp_path: Path) -> None:
    fill(tmp_path, make_record, [10**-3.5, 10**-2.5], [0, 1])
    two = analyse(tmp_path).main
    save(tmp_path, make_record(lr=1e-2, seed=0, **outcome_of(1e-2, 0)))
    save(tmp_path, make_record(lr=1e-2, seed=1, status="failed"))
    one = analyse(tmp_path).main
    assert two is not None
    assert one is not None
    assert (two.best.num_seeds, one.best.num_seeds) == (2, 1)


@pytest.mark.parametrize("accuracy", [0.1, 1.0], ids=["at chance", "without an error"])
def test_a_single_run_has_a_whole_report(make_record: MakeRecord, tmp_path: Path, accuracy: float) -> None:
    save(tmp_path, make_record(valid_accuracy=accuracy, test_accuracy=accuracy, curve=curve_of(accuracy, 7)))
    build(tmp_path)
    text = assert_whole(tmp_path, FIGURES)
    assert f"* **Best trade-off:** 10^-3 (0.001), test accuracy {accuracy:.2%}" in text


def test_a_diverged_run_without_a_test_accuracy_is_listed_as_such(small_study: Path) -> None:
    text = (small_study / "report.md").read_text()
    assert "| 10^-1.6 (0.0251) | 1 | 20.00% | not scored | 2 | 1.1 | 1 diverged |" in text


def test_three_telling_rates_are_not_called_five(small_study: Path) -> None:
    assert "five" not in (small_study / "report.md").read_text()


def test_curves_are_of_a_seed_that_has_some(make_record: MakeRecord, tmp_path: Path) -> None:
    save(tmp_path, make_record(seed=0, status="failed"))
    save(tmp_path, make_record(seed=1))
    build(tmp_path)
    assert "(cross_entropy, seed 1; a mark: the best epoch)" in assert_whole(tmp_path, FIGURES)


# The command.


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ([], "results/lr"),
        (["study=lr_loss"], "results/lr_loss"),
        (["study.name=lr_loss"], "results/lr_loss"),
        (["machine.results_dir=/elsewhere"], "/elsewhere/lr"),
        (["machine.results_dir=/else where", "study=연구"], "/else where/연구"),
        (["study=a/b"], "results/a/b"),
        (["study=a=b"], "results/a=b"),
        (["study=first", "study=last"], "results/last"),
    ],
)
def test_the_arguments_name_the_folder(arguments: list[str], folder: str) -> None:
    assert folder_of(arguments) == Path(folder)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("lr", "'lr' is not understood; usage: lrsweep-report study=NAME"),
        ("--study=lr", "'--study=lr' is not understood"),
        ("optimizer.lr=1", "'optimizer.lr=1' is not understood"),
        ("study=", "study.name must be a relative path"),
        ("study=../elsewhere", "study.name must be a relative path"),
        ("study=/absolute", "study.name must be a relative path"),
    ],
)
def test_an_argument_that_is_not_understood_is_refused(argument: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        folder_of([argument])


def run_main(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lrsweep-report", *arguments])
    main()


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("studdy=lr", "ConfigError: 'studdy=lr' is not understood"),
        ("study=..", "ConfigError: study.name must be"),
        ("study=missing", "StoreError: {folder}/missing holds no records to report"),
        ("study=empty", "StoreError: {folder}/empty holds no records to report"),
    ],
    ids=["an unknown argument", "a study outside", "a missing study", "a study without records"],
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
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "mine", make_record(status="failed"))
    run_main(["study=mine", f"machine.results_dir={tmp_path}"], monkeypatch)
    assert capsys.readouterr().out == f"Report: {tmp_path / 'mine' / 'report.md'}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_told_and_nothing_is_built(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main([flag, f"machine.results_dir={tmp_path}"], monkeypatch)
    assert "lrsweep-report study=lr" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
