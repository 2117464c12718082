"""The committed results say what the committed records say, and so do the READMEs."""

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from lrsweep import store
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.build import build

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference" / "lr"

sys.path.insert(0, str(ROOT / "scripts"))
from reference import BEGIN, END, READMES, with_conclusions  # noqa: E402


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report made again, elsewhere, from nothing but the packed records."""
    folder = tmp_path_factory.mktemp("reference") / "lr"
    folder.mkdir()
    shutil.copy(REFERENCE / "runs.jsonl.gz", folder)
    build(folder)
    return folder


@pytest.mark.parametrize("name", ["report.md", "runs.csv", "conclusions.en.md", "conclusions.ko.md"])
def test_what_is_committed_is_what_the_records_give(rebuilt: Path, name: str) -> None:
    assert (REFERENCE / name).read_text() == (rebuilt / name).read_text()


def test_every_figure_of_the_report_is_committed() -> None:
    drawn = {path.name for path in (REFERENCE / "figures").iterdir()}
    report = (REFERENCE / "report.md").read_text()
    for path in (REFERENCE / "figures").glob("*.png"):
        assert f"figures/{path.name}" in report
        assert path.with_suffix(".svg").name in drawn


def test_each_arm_and_seed_has_the_whole_grid_from_committed_code() -> None:
    runs = store.load(REFERENCE)
    for _, group in runs.groupby(["loss", "seed"]):
        assert group["lr"].tolist() == log_grid(GridConfig())
    assert (runs["status"] != "failed").all()
    assert not runs["git_dirty"].any()
    assert (runs["peak_memory_bytes"] < 1.5e9).all()
    assert runs["data.num_train"].unique().tolist() == [3000]


def test_accuracies_are_of_whole_images() -> None:
    runs = store.load(REFERENCE)
    for column, size in (("valid_accuracy", "data.num_valid"), ("test_accuracy", "data.num_test")):
        correct = runs[column] * runs[size]
        pd.testing.assert_series_equal(correct, correct.round(), check_names=False, rtol=1e-12)


@pytest.mark.parametrize(("readme", "conclusions"), READMES.items())
def test_the_readmes_show_the_conclusions_as_generated(readme: str, conclusions: str) -> None:
    text = (ROOT / readme).read_text()
    shown = text.split(BEGIN)[1].split(END)[0].strip()
    assert shown == (REFERENCE / conclusions).read_text().strip()
    assert with_conclusions(text, shown) == text
