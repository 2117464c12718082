"""Trackers: what was logged is read back by TensorBoard's and MLflow's own readers; a tracker costs no run."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrsweep.config import AppConfig, MachineConfig, RunConfig, StudyConfig, TrackerConfig, run_id
from lrsweep.records import RunRecord
from lrsweep.storage import store, tables
from lrsweep.tracking import tracker
from lrsweep.tracking.tracker import Tracking

ROOT = Path(__file__).parents[2]
SMALL = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "training.max_epochs=2"]
CURVES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")
FINAL = ("valid_accuracy", "test_accuracy", "wall_seconds")
STOPPED = "tracker={} has stopped ({}); the runs are not affected, and the same command logs later what is missing.\n"
MakeRecord = Callable[..., RunRecord]

# SQLAlchemy 2.1 says it of MLflow's tables, when these are imported.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def make(make_record: MakeRecord) -> MakeRecord:
    """Records as real runs leave them: they say when."""

    def made(**settings: Any) -> RunRecord:
        return replace(make_record(**settings), environment={"finished_at": "2026-01-02T03:04:05+00:00"})

    return made


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., AppConfig]:
    def of(name: str, **tracked: Any) -> AppConfig:
        machine = MachineConfig(results_dir=str(tmp_path / "결과 of it"))
        return AppConfig(study=StudyConfig(name="lr/small"), machine=machine, tracker=TrackerConfig(name=name, **tracked))

    return of


@pytest.fixture
def stored(settings: Callable[..., AppConfig], make: MakeRecord) -> list[RunRecord]:
    """A study of four runs, one of each end and one that ended in the middle, and two figures."""
    folder = settings("none").folder
    cut = make(lr=1e-1).outcome.curve[:1]
    records = [
        make(lr=1e-3),
        make(lr=1e-2, status="diverged"),
        make(lr=1e-1, status="diverged", curve=cut, best_epoch=1, valid_accuracy=0.3, test_accuracy=0.29),
        make(lr=1.0, status="failed"),
    ]
    for record in records:
        store.save(folder, record)
    (folder / "figures").mkdir()
    for i, name in enumerate(("bad", "error")):
        pixels = np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "figures" / f"{name}.png")
    return records


def title_of(record: RunRecord) -> str:
    return f"lr={record.config['optimizer']['lr']:.2e}_seed=0_{record.run_id}"


# TensorBoard.


def events_of(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def hparams_of(events: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in found.items()}


def test_tensorboard_has_every_run_by_its_name_with_its_values(
    settings: Callable[..., AppConfig], stored: list[RunRecord]
) -> None:
    pytest.importorskip("tensorboard")
    Tracking(settings("tensorboard")).log_study()
    folder = settings("none").folder / "tensorboard"
    assert {path.name for path in folder.iterdir()} == {"report", *map(title_of, stored)}
    assert not list(folder.parent.glob(".tensorboard-*"))
    for record in stored:
        events, outcome = events_of(folder / title_of(record)), record.outcome
        for name in CURVES if outcome.curve else ():
            shown = events.Scalars(f"epoch/{name}")
            assert [point.step for point in shown] == [epoch.epoch for epoch in outcome.curve]
            assert [point.value for point in shown] == [np.float32(getattr(epoch, name)) for epoch in outcome.curve]
        final = {name: getattr(outcome, name) for name in FINAL if getattr(outcome, name) is not None}
        tags = {tag for tag in events.Tags()["scalars"] if not tag.startswith("epoch/")}
        assert tags == {f"final/{name}" for name in final}
        for name, value in final.items():
            assert events.Scalars(f"final/{name}")[0].value == np.float32(value)
        hparams = hparams_of(events)
        assert hparams == tables.DEFAULT_SETTINGS | {"optimizer.lr": hparams["optimizer.lr"], "status": outcome.status}
        assert hparams["optimizer.lr"] == record.config["optimizer"]["lr"]
        assert events.Tensors("status/text_summary")[0].tensor_proto.string_val == [outcome.status.encode()]


def test_tensorboard_has_the_figures_pixel_for_pixel(settings: Callable[..., AppConfig], stored: list[RunRecord]) -> None:
    pytest.importorskip("tensorboard")
    Tracking(settings("tensorboard")).log_study()
    folder = settings("none").folder
    events = events_of(folder / "tensorboard" / "report")
    assert events.Tags()["images"] == ["bad", "error"]
    for name in ("bad", "error"):
        shown = Image.open(io.BytesIO(events.Images(name)[0].encoded_image_string))
        with Image.open(folder / "figures" / f"{name}.png") as kept:
            np.testing.assert_array_equal(np.asarray(shown), np.asarray(kept))


# MLflow.


def shown_in_mlflow(results: Path, study: str = "lr/small") -> dict[str, Any]:
    """Every run of the study's experiment by its name, as MLflow's client reads it."""
    client = pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name(study).experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


def curve_in_mlflow(results: Path, run: Any, name: str) -> list[tuple[int, float]]:
    client = pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, f"epoch/{name}"))


def assert_mlflow_shows(results: Path, run: Any, record: RunRecord) -> None:
    outcome = record.outcome
    assert run.data.params == {name: str(value) for name, value in tables.settings_of(record.config).items()}
    for name in CURVES:
        expected = [(epoch.epoch, getattr(epoch, name)) for epoch in outcome.curve]
        assert curve_in_mlflow(results, run, name) == expected
    final = {f"final/{name}": getattr(outcome, name) for name in FINAL if getattr(outcome, name) is not None}
    assert {name: value for name, value in run.data.metrics.items() if not name.startswith("epoch/")} == final
    assert run.data.tags["run_id"] == record.run_id
    assert run.data.tags["status"] == outcome.status
    assert run.info.status == ("FAILED" if outcome.status == "failed" else "FINISHED")
    assert run.info.end_time - run.info.start_time == pytest.approx(1000 * (outcome.wall_seconds or 0), abs=1)


@pytest.mark.slow
def test_mlflow_shows_runs_and_figures_once_however_often_they_are_logged(
    settings: Callable[..., AppConfig], stored: list[RunRecord], make: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    """One test, because to make MLflow's database takes seconds."""
    pytest.importorskip("mlflow")
    study = settings("mlflow")
    results = Path(study.machine.results_dir)
    Tracking(study).log_study()
    first = shown_in_mlflow(results)
    assert first.keys() == {"report", *map(title_of, stored)}
    for record in stored:
        assert_mlflow_shows(results, first[title_of(record)], record)
    kept = results / "mlartifacts" / "lr" / "small" / first["report"].info.run_id / "artifacts" / "figures"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in (study.folder / "figures").iterdir()
    }

    def ids() -> dict[str, str]:
        return {name: run.info.run_id for name, run in shown_in_mlflow(results).items()}

    before = ids()
    Tracking(study).log_study()
    assert ids() == before

    # Another content takes the place of what was there: a failed run that was done again, a redrawn figure.
    again = make(lr=1.0)
    store.save(study.folder, again)
    Image.new("RGB", (9, 9)).save(study.folder / "figures" / "bad.png")
    Tracking(study).log_study()
    changed = {name for name, run in ids().items() if run != before[name]}
    assert changed == {"report", title_of(again)}
    assert_mlflow_shows(results, shown_in_mlflow(results)[title_of(again)], again)

    # So it does where logging was killed midway: the stamp comes last.
    adapter = tracker.MLflow(study)
    half = make(lr=0.5)
    adapter._start(title_of(half), half.run_id, "stamp to be")
    adapter.log_run(half)
    assert_mlflow_shows(results, shown_in_mlflow(results)[title_of(half)], half)
    assert "has stopped" not in capsys.readouterr().err


def test_a_long_curve_is_more_than_mlflow_takes_at_once(make: MakeRecord) -> None:
    """So it goes in batches, and all settings in one."""
    assert len(tables.settings_of(make().config)) <= 100
    (epoch,) = make().outcome.curve[:1]
    long = make(curve=tuple(replace(epoch, epoch=i + 1) for i in range(450)))
    sent: list[int] = []

    class Client:
        def log_batch(self, run: str, metrics: Any = (), **_: Any) -> None:
            sent.append(len(metrics))

    pytest.importorskip("mlflow")
    adapter = object.__new__(tracker.MLflow)
    adapter._client = Client()
    adapter._start = lambda *_: "a run"  # type: ignore[method-assign]
    adapter._end = lambda *_: None  # type: ignore[method-assign]
    adapter.log_run(long)
    assert sent == [0, 1000, 1000, 5 * 450 + 3 - 2000]


# A tracker that costs nothing.


class Broken:
    """A tracker whose every call raises."""

    def __init__(self, app_config: AppConfig) -> None: ...

    def log_run(self, record: RunRecord) -> None:
        raise OSError("No space left\non device")

    log_figures = log_run


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracker._TRACKERS, "tensorboard", Broken)
    monkeypatch.setitem(tracker._NEEDS, "tensorboard", ())


@pytest.fixture
def lrsweep(lrsweep: Callable[..., int]) -> Callable[..., int]:
    """Of small runs."""
    return partial(lrsweep, *SMALL)


@pytest.mark.usefixtures("broken")
def test_what_a_tracker_raises_is_one_line_and_then_silence(
    settings: Callable[..., AppConfig], stored: list[RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    tracking = Tracking(settings("tensorboard"))
    for record in stored:
        tracking.log_run(record)
    tracking.log_study()
    assert capsys.readouterr().err == STOPPED.format("tensorboard", "OSError: No space left on device")


@pytest.mark.usefixtures("broken")
def test_a_broken_tracker_costs_no_run(lrsweep: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lrsweep("tracker=tensorboard") == 0
    assert capsys.readouterr().err.count("has stopped") == 1
    assert len(store.read(tmp_path / "results" / "single")) == 1


@pytest.mark.parametrize("which", ["tensorboard", "mlflow"])
@pytest.mark.parametrize("how", [["optimizer.lr=0.01"], ["study=lr", "grid.step=4"]], ids=["run", "sweep"])
def test_a_missing_package_is_one_line_before_anything_runs(
    lrsweep: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    which: str,
    how: list[str],
) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda name: None)
    assert lrsweep(f"tracker={which}", *how) == 2
    told = f"ConfigError: tracker={which} needs packages that are not installed: pip install 'lrsweep[{which}]'\n"
    assert capsys.readouterr() == ("", told)
    assert not list(tmp_path.glob("results/*/runs"))


def test_a_setting_of_another_tracker_is_refused(lrsweep: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert lrsweep("tracker=tensorboard", "tracker.uri=http://localhost:5000") == 2
    told = "ConfigError: tracker.uri is not used by tracker=tensorboard, only by mlflow\n"
    assert capsys.readouterr().err == told


def test_without_a_tracker_nothing_is_written(settings: Callable[..., AppConfig], stored: list[RunRecord]) -> None:
    results = Path(settings("none").machine.results_dir)
    before = sorted(results.rglob("*"))
    tracking = Tracking(settings("none"))
    tracking.log_run(stored[0])
    tracking.log_study()
    assert sorted(results.rglob("*")) == before


def test_a_tracker_is_no_part_of_a_runs_name() -> None:
    assert run_id(AppConfig(tracker=TrackerConfig(name="mlflow", uri="http://localhost:5000")).run) == run_id(RunConfig())


def test_a_single_run_is_logged_also_where_it_was_done_before(lrsweep: Callable[..., int], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert lrsweep() == 0
    assert lrsweep("tracker=tensorboard") == 0
    (record,) = store.read(tmp_path / "results" / "single")
    events = events_of(tmp_path / "results" / "single" / "tensorboard" / title_of(record))
    assert len(events.Scalars("epoch/valid_accuracy")) == 2


# Sweeps, each in a process of its own.


def sweep(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    words = ["-m", "study.name=s", "optimizer.lr=0.01,0.001", f"machine.data_dir={ROOT / 'data'}", *SMALL, *overrides]
    return subprocess.run(
        [sys.executable, "-m", "lrsweep", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["pool", "fused"])
def test_a_sweep_shows_its_runs_and_its_figures_and_a_second_one_adds_nothing(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip("tensorboard")
    folder = tmp_path / "results" / "s"
    for _ in range(2):
        done = sweep(tmp_path, "tracker=tensorboard", f"hydra/launcher={launcher}")
        assert (done.returncode, done.stderr) == (0, "")
        files = [path for path in (folder / "tensorboard").rglob("*") if path.is_file()]
        assert len(files) == 3
    for record in store.read(folder):
        assert len(events_of(folder / "tensorboard" / title_of(record)).Scalars("epoch/train_loss")) == 2
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert set(events_of(folder / "tensorboard" / "report").Tags()["images"]) == figures


@pytest.mark.slow
def test_a_database_that_cannot_be_written_costs_no_run_and_is_filled_later(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    database = tmp_path / "results" / "mlflow.db"
    database.mkdir(parents=True)
    done = sweep(tmp_path, "tracker=mlflow")
    assert done.returncode == 0
    assert done.stderr == STOPPED.format("mlflow", "OperationalError: unable to open database file")
    database.rmdir()
    done = sweep(tmp_path, "tracker=mlflow")
    assert (done.returncode, done.stderr) == (0, "")
    shown = shown_in_mlflow(database.parent, "s")
    records = store.read(tmp_path / "results" / "s")
    assert shown.keys() == {"report", *map(title_of, records)}
    for record in records:
        assert_mlflow_shows(database.parent, shown[title_of(record)], record)
