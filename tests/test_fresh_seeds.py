"""scripts/confirm.py: the finalists of a study on fresh seeds, and the study's report quoting them and the fixed budget."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrsweep import store
from lrsweep.analysis.confirm import FIRST_FRESH_SEED
from lrsweep.report.build import build

ROOT = Path(__file__).parents[1]
SMALL = ["data.num_train=64", "data.num_valid=100", "data.num_test=100"]
BRIEF = [*SMALL, "training.max_epochs=4", f"machine.data_dir={ROOT / 'data'}"]


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study that learns at one of its rates, confirmed, and trained again without early stopping."""
    folder = tmp_path_factory.mktemp("a study")
    swept = python(folder, "-m", "lrsweep", "-m", "study.name=small", "optimizer.lr=1e-6,1e-2", "seed=0,1", *BRIEF)
    assert swept.returncode == 0, swept.stderr
    confirmed = python(folder, str(ROOT / "scripts" / "confirm.py"), "small", "2", f"machine.data_dir={ROOT / 'data'}")
    assert confirmed.returncode == 0, confirmed.stderr
    budget = ["study=budget", "study.name=small/budget", "grid.start=-6", "grid.stop=-2", "grid.step=4"]
    fixed = python(folder, "-m", "lrsweep", *budget, *BRIEF, "training.patience=4")
    assert fixed.returncode == 0, fixed.stderr
    return folder / "results" / "small"


@pytest.mark.slow
def test_the_finalists_run_on_fresh_seeds_with_the_settings_of_the_study(folder: Path) -> None:
    fresh = store.load(folder / "confirm")
    assert set(fresh["seed"]) == {FIRST_FRESH_SEED, FIRST_FRESH_SEED + 1}
    assert set(fresh["lr"]) == {1e-2}
    assert set(fresh["data.num_train"]) == {64}
    assert set(fresh["training.max_epochs"]) == {4}


@pytest.mark.slow
def test_the_report_quotes_the_fresh_seeds(folder: Path) -> None:
    accuracy = store.load(folder / "confirm")["test_accuracy"].mean()
    (line,) = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("* **On fresh seeds:**")]
    assert f"10^-2 (0.01) {accuracy:.2%}" in line


@pytest.mark.slow
def test_the_report_quotes_the_fixed_budget(folder: Path) -> None:
    report = build(folder).read_text()
    best = store.load(folder / "budget").query("lr == 1e-2")["valid_accuracy"].mean()
    section = report.split("## Does early stopping decide it?")[1].split("\n## ")[0]
    assert "Here each had the same, 4 epochs" in section
    assert f"{best:.2%}" in section


def test_a_study_without_records_is_refused_in_one_line(tmp_path: Path) -> None:
    refused = python(tmp_path, str(ROOT / "scripts" / "confirm.py"), "nothing", "2")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line == "StoreError: results/nothing holds no records to report; make some with lrsweep study=…"
