"""The fused launcher as a user meets it: the command, its exit code, what is on disk, and what replaces what."""

import os
import shlex
import shutil
import signal
from pathlib import Path
from statistics import median

import pytest
from at_work import DATA, lrsweep, start, until

from lrsweep.records import RunRecord
from lrsweep.storage import store

SIZES = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "study.name=s", DATA]
SWEEP = ["-m", "optimizer.lr=1e-4,1e-2", "seed=0,1", "hydra/launcher=fused", "hydra.launcher.runs=3"]

pytestmark = pytest.mark.slow


def records(folder: Path) -> list[RunRecord]:
    return store.read(folder / "results" / "s")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    code, out, err = lrsweep(folder, *SWEEP, "training.max_epochs=2", *SIZES)
    assert code == 0, err
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert "4 runs in" in out
    assert "runs per second" in out
    return folder


def test_every_record_says_that_its_time_is_calibrated(swept: Path) -> None:
    assert len(records(swept)) == 4
    for record in records(swept):
        epochs = record.environment["solo_epoch_seconds"]
        assert (record.engine, record.timing, record.environment["slots"]) == ("fused", "calibrated", 3)
        assert len(epochs) == 3
        assert record.outcome.wall_seconds == 2 * median(epochs)
        assert record.outcome.cpu_seconds is None
        assert sum(record.class_counts["train"]) == 64


def test_the_reports_and_jobs_directories_are_the_pools(swept: Path) -> None:
    results = swept / "results" / "s"
    assert (results / "report.md").exists()
    for record in records(swept):
        overrides = (results / "hydra" / record.run_id / ".hydra" / "overrides.yaml").read_text()
        assert f"seed={record.config['seed']}" in overrides


@pytest.mark.parametrize("launcher", ["fused", "pool"])
def test_neither_launcher_does_a_calibrated_run_again(swept: Path, launcher: str) -> None:
    before = records(swept)
    given = [f"hydra/launcher={launcher}" if "launcher=" in word else word for word in SWEEP if ".runs=" not in word]
    code, out, _ = lrsweep(swept, *given, "training.max_epochs=2", *SIZES)
    assert code == 0
    assert "4 expected: 4 ok" in out
    assert records(swept) == before


def test_a_single_run_replaces_a_calibrated_record_because_it_measures(tmp_path: Path) -> None:
    sweep = ["-m", "seed=0", "hydra/launcher=fused", "training.max_epochs=2"]
    assert lrsweep(tmp_path, *sweep, *SIZES)[0] == 0
    (calibrated,) = records(tmp_path)
    assert lrsweep(tmp_path, "training.max_epochs=2", *SIZES)[0] == 0
    (measured,) = records(tmp_path)
    assert measured.run_id == calibrated.run_id
    assert (measured.engine, measured.timing) == ("solo", "measured")
    assert lrsweep(tmp_path, *sweep, *SIZES)[0] == 0
    assert records(tmp_path) == [measured]  # and is not replaced in turn


def test_the_pool_measures_what_was_fused_where_it_is_asked_to(swept: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(swept, tmp_path / "again")
    pool = ["-m", "optimizer.lr=1e-4,1e-2", "seed=0,1", "training.max_epochs=2", "hydra.launcher.measure=true"]
    assert lrsweep(folder, *pool, *SIZES)[0] == 0
    measured = records(folder)
    assert [record.timing for record in measured] == ["measured"] * 4
    assert [record.run_id for record in measured] == [record.run_id for record in records(swept)]
    assert lrsweep(folder, *pool, *SIZES)[0] == 0
    assert records(folder) == measured  # once


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    endless = ["training.patience=100000", "training.max_epochs=100000"]
    given = ["-m", "optimizer.lr=1e30,1e-4", "hydra/launcher=fused", *endless, *SIZES]
    with start(tmp_path, *given) as process:
        folder = tmp_path / "results" / "s"
        try:
            until(lambda: len(list(folder.glob("runs/*.json"))) == 1)  # the absurd rate has diverged at once
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"To continue, run the same command again:\n  {shlex.join(['lrsweep', *given])}\n" in err
    (kept,) = records(tmp_path)
    assert kept.outcome.status == "diverged"
