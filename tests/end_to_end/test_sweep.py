"""The whole path as a user meets it: the command, its exit code, what is on disk. What can go wrong: tests/faults/."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from at_work import DATA, lrsweep

from lrsweep.storage import store

RATES = [1e-5, 1e-4, 1e-3, 1e-2]
SWEEP = [
    *("study=lr", "grid.start=-5", "grid.stop=-2", "grid.step=1", "hydra.launcher.workers=2", DATA),
    *("data.num_train=320", "data.num_valid=200", "data.num_test=200", "training.patience=12", "training.max_epochs=12"),
]

pytestmark = pytest.mark.slow


def sweep(folder: Path, *overrides: str) -> tuple[int, str, str]:
    return lrsweep(folder, *SWEEP, *overrides)


WHERE = "Report: results/lr/report.md and results/lr/report.html\n"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space and Korean in its name, holding a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("학습률 sweep")
    code, out, err = sweep(folder)
    assert code == 0, err
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert out.endswith(WHERE)
    return folder


def test_a_sweep_leaves_a_record_a_point_and_a_report(uninterrupted: Path) -> None:
    frame = store.load(uninterrupted / "results" / "lr")
    assert frame["lr"].tolist() == RATES
    assert (frame["status"] == "ok").all()
    assert (frame["epochs"] == 12).all()
    assert (frame["stop_reason"] == "max_epochs").all()
    assert (frame["peak_memory_bytes"] < 1.5e9).all()
    report = uninterrupted / "results" / "lr" / "report.md"
    for image in re.findall(r"\((figures/[^)]+)\)", report.read_text()):
        assert (report.parent / image).stat().st_size > 10_000
        assert (report.parent / image).with_suffix(".svg").exists()
    assert "121,994" in (report.parent / "model.txt").read_text()


def test_runs_csv_has_the_promised_columns(uninterrupted: Path) -> None:
    frame = pd.read_csv(uninterrupted / "results" / "lr" / "runs.csv")
    promised = {"lr", "seed", "loss", "status", "stop_reason", "epochs", "best_epoch", "valid_accuracy", "test_accuracy"}
    assert promised | {"wall_seconds", "engine", "device"} <= set(frame.columns)
    assert frame["lr"].tolist() == RATES


def test_each_job_has_its_hydra_directory(uninterrupted: Path) -> None:
    results = uninterrupted / "results" / "lr"
    for run_id in store.load(results)["run_id"]:
        assert "optimizer.lr=" in (results / "hydra" / run_id / ".hydra" / "overrides.yaml").read_text()


def test_hydra_is_told_of_a_run_that_a_stopped_sweep_left(uninterrupted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(uninterrupted, tmp_path / "again")
    kept, left, *_ = sorted((folder / "results" / "lr" / "hydra").iterdir())
    shutil.rmtree(left)
    callback = "+hydra.callbacks.kept._target_=hydra.experimental.callbacks.PickleJobInfoCallback"
    code, _, err = sweep(folder, callback)
    assert code == 0, err
    assert "optimizer.lr=" in (left / ".hydra" / "overrides.yaml").read_text()
    assert (left / ".hydra" / "job_return.pickle").exists()
    assert not (kept / ".hydra" / "job_return.pickle").exists()


def test_a_second_sweep_does_nothing_again(uninterrupted: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (uninterrupted / "results" / "lr" / "runs").iterdir()}

    before = stamps()
    code, out, _ = sweep(uninterrupted)
    assert code == 0
    assert out.endswith("4 expected: 4 ok, 0 diverged, 0 failed, 0 missing\n" + WHERE)
    assert stamps() == before


@pytest.mark.parametrize("lacks", ["report.md", "report.html"])
def test_a_second_sweep_makes_a_report_that_was_left_in_part(uninterrupted: Path, tmp_path: Path, lacks: str) -> None:
    folder = shutil.copytree(uninterrupted, tmp_path / "again")
    file = folder / "results" / "lr" / lacks
    file.unlink()
    code, out, _ = sweep(folder)
    assert code == 0
    assert out.endswith(WHERE)
    assert file.exists()
