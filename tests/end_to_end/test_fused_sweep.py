"""A fused sweep as a user sees it: the command, its exit code, its files, and when a new record replaces an old one."""

import os
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from at_work import DATA, lrsweep_in_process, start, until

from hydra_plugins.lrsweep_launchers import _core
from lrsweep.records import RunRecord
from lrsweep.storage import store

SIZES = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "study.name=s", DATA]
RUNS = ["hydra.mode=MULTIRUN", "optimizer.lr=1e-4,1e-2", "seed=0,1", "training.max_epochs=2", *SIZES]
FUSED = ["hydra/launcher=fused", "hydra.launcher.runs=3"]

pytestmark = pytest.mark.slow


def records(folder: Path) -> list[RunRecord]:
    return store.read(folder / "results" / "s")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    code, out, err = lrsweep_in_process(folder, *RUNS, *FUSED, draws_report=True)
    assert code == 0, err
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert "runs per second" in out
    return folder


@pytest.fixture
def again(
    lrsweep: Callable[..., int], swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[RunRecord]]:
    """`again(…)` runs a command on a copy of the finished sweep, without a report, and returns the records after it."""
    shutil.copytree(swept / "results", tmp_path / "results")
    monkeypatch.setattr(_core, "report_command", lambda app_config: ["true"])

    def command(*overrides: str) -> list[RunRecord]:
        assert lrsweep(*overrides, f"machine.results_dir={tmp_path / 'results'}") == 0
        return records(tmp_path)

    return command


def test_every_record_says_that_its_time_is_calibrated(swept: Path) -> None:
    assert len(records(swept)) == 4
    for record in records(swept):
        epochs = record.environment["solo_epoch_seconds"]
        assert (record.engine, record.timing, record.environment["slots"]) == ("fused", "calibrated", 3)
        assert len(epochs) == 3
        assert record.outcome.wall_seconds == 2 * median(epochs)
        assert record.outcome.cpu_seconds is None
        assert sum(record.class_counts["train"]) == 64


def test_epochs_with_and_without_validation_have_their_own_time(
    lrsweep: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "report_command", lambda app_config: ["true"])
    rarely = ["training=budget", "training.max_epochs=3", "training.validate_every=2", "training.score=last", *SIZES]
    assert lrsweep("hydra.mode=MULTIRUN", "optimizer.lr=1e-4,1e-2", *FUSED, *rarely) == 0
    assert len(records(tmp_path)) == 2
    for record in records(tmp_path):
        with_validation, without = (median(record.environment[f"solo_{name}_seconds"]) for name in ("epoch", "training"))
        assert record.engine == "fused"
        assert [epoch.seconds for epoch in record.outcome.curve] == [without, with_validation, with_validation]
        assert record.outcome.wall_seconds == pytest.approx(without + 2 * with_validation)


def test_the_report_and_hydras_directories_are_where_the_pool_puts_them(swept: Path) -> None:
    results = swept / "results" / "s"
    assert (results / "report.md").exists()
    for record in records(swept):
        overrides = (results / "hydra" / record.run_id / ".hydra" / "overrides.yaml").read_text()
        assert f"seed={record.config['seed']}" in overrides


@pytest.mark.parametrize("launcher", ["fused", "pool"])
def test_neither_launcher_repeats_a_calibrated_run(swept: Path, again: Callable[..., list[RunRecord]], launcher: str) -> None:
    assert again(*RUNS, f"hydra/launcher={launcher}") == records(swept)


def test_a_single_run_replaces_a_calibrated_record_with_a_measured_one(
    swept: Path, again: Callable[..., list[RunRecord]]
) -> None:
    calibrated = records(swept)
    after = again("optimizer.lr=1e-4", "seed=0", "training.max_epochs=2", *SIZES)
    assert [record.run_id for record in after] == [record.run_id for record in calibrated]
    (measured,) = [record for record in after if record not in calibrated]
    assert (measured.engine, measured.timing) == ("solo", "measured")
    assert (measured.config["optimizer"]["lr"], measured.config["seed"]) == (1e-4, 0)
    assert again(*RUNS, *FUSED) == after  # the measured record stays


def test_the_pool_repeats_fused_runs_with_measure_true(swept: Path, again: Callable[..., list[RunRecord]]) -> None:
    measured = again(*RUNS, "hydra.launcher.measure=true")
    assert [record.timing for record in measured] == ["measured"] * 4
    assert [record.run_id for record in measured] == [record.run_id for record in records(swept)]
    assert again(*RUNS, "hydra.launcher.measure=true") == measured  # repeated only once


def test_a_killed_program_continues_and_gives_the_same_results(
    lrsweep: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "report_command", lambda app_config: ["true"])
    long = ["hydra.mode=MULTIRUN", "optimizer.lr=1e-4,1e-2", *FUSED, *SIZES, "training.max_epochs=20", "training.patience=null"]
    long += ["machine.checkpoint_seconds=0"]
    assert lrsweep(*long, f"machine.results_dir={tmp_path / 'undisturbed' / 'results'}") == 0
    runs = tmp_path / "killed" / "results" / "s" / "runs"
    with start(tmp_path, *long, f"machine.results_dir={tmp_path / 'killed' / 'results'}") as process:
        until(lambda: len(list(runs.glob("*.checkpoint"))) == 2)
        process.send_signal(signal.SIGKILL)
    assert not records(tmp_path / "killed")

    capsys.readouterr()
    assert lrsweep(*long, f"machine.results_dir={tmp_path / 'killed' / 'results'}") == 0
    assert "2 of 2 runs resume from their checkpoints" in capsys.readouterr().out
    killed, undisturbed = (
        [[replace(epoch, seconds=0.0) for epoch in record.outcome.curve] for record in records(tmp_path / name)]
        for name in ("killed", "undisturbed")
    )
    assert killed == undisturbed
    assert {path.suffix for path in runs.iterdir()} == {".json"}


def test_ctrl_c_keeps_finished_runs_and_prints_how_to_continue(tmp_path: Path) -> None:
    endless = ["training.patience=100000", "training.max_epochs=100000"]
    command = ["-m", "optimizer.lr=1e30,1e-4", "hydra/launcher=fused", *endless, *SIZES]
    with start(tmp_path, *command) as process:
        try:
            until(lambda: len(list(tmp_path.glob("results/s/runs/*.json"))) == 1)  # the rate of 1e30 diverges at once
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=600)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f":\n  {shlex.join(['lrsweep', *command])}\n" in err
    (kept,) = records(tmp_path)
    assert kept.outcome.status == "diverged"
