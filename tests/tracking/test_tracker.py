"""TensorBoard and MLflow read back what was logged, and a broken tracker never stops a run."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrsweep.config import AppConfig, ConfigError, MachineConfig, RunConfig, StudyConfig, TrackerConfig, run_id
from lrsweep.records import RunRecord
from lrsweep.storage import store, tables
from lrsweep.tracking import tracker
from lrsweep.tracking.metrics import epoch_metrics, run_name
from lrsweep.tracking.tracker import Tracking

ROOT = Path(__file__).parents[2]
SMALL = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "training.max_epochs=2"]
CURVES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")
FINAL = ("valid_accuracy", "test_accuracy", "wall_seconds")
STOPPED = "tracker={} has stopped ({}). The runs are not affected; run the same command again later to log the missing ones.\n"
MakeRecord = Callable[..., RunRecord]

# SQLAlchemy 2.1 warns about MLflow's tables when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def make(make_record: MakeRecord) -> MakeRecord:
    """Records with the time of their end, as real runs have it."""

    def make(**settings: Any) -> RunRecord:
        return replace(make_record(**settings), environment={"finished_at": "2026-01-02T03:04:05+00:00"})

    return make


@pytest.fixture
def app(tmp_path: Path) -> Callable[..., AppConfig]:
    """`app(tracker)`: the settings of a study with that tracker."""

    def app(name: str) -> AppConfig:
        machine = MachineConfig(results_dir=str(tmp_path / "결과 of it"))
        return AppConfig(study=StudyConfig(name="lr/small"), machine=machine, tracker=TrackerConfig(name=name))

    return app


@pytest.fixture
def stored(app: Callable[..., AppConfig], make: MakeRecord) -> list[RunRecord]:
    """A study with four runs, of which two diverged (at the start, and later) and one failed, and two figures."""
    folder = app("none").folder
    records = [
        make(lr=1e-3),
        make(lr=1e-2, status="diverged"),
        make(lr=1e-1, status="diverged", curve=make().outcome.curve[:1], best_epoch=1, valid_accuracy=0.3, test_accuracy=0.29),
        make(lr=1.0, status="failed"),
    ]
    for record in records:
        store.save(folder, record)
    (folder / "figures").mkdir()
    for i, name in enumerate(("bad", "error")):
        pixels = np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "figures" / f"{name}.png")
    return records


def final_of(record: RunRecord) -> dict[str, float]:
    return {f"final/{name}": getattr(record.outcome, name) for name in FINAL if getattr(record.outcome, name) is not None}


def test_an_epoch_without_validation_has_no_validation_metrics(make: MakeRecord) -> None:
    first, second, _ = make().outcome.curve
    metrics = list(epoch_metrics(make(curve=(replace(first, valid_loss=None, valid_accuracy=None, highest_loss=3.0), second))))
    assert {metric.name for metric in metrics if metric.epoch == 1} == {
        f"epoch/{name}" for name in ("train_loss", "train_accuracy", "highest_loss", "seconds")
    }
    assert {metric.name for metric in metrics if metric.epoch == 2} == {f"epoch/{name}" for name in CURVES}


def test_a_run_is_named_by_its_rate_seed_and_id(make: MakeRecord) -> None:
    record = make(lr=0.003, seed=7)
    assert run_name(record) == f"lr=3.00e-03_seed=7_{record.run_id}"


# TensorBoard


def events_in(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def hparams_of(events: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


def test_tensorboard_shows_the_values_of_every_run_and_the_figures(
    app: Callable[..., AppConfig], stored: list[RunRecord]
) -> None:
    pytest.importorskip("tensorboard")
    Tracking(app("tensorboard")).log_study()
    study = app("none").folder
    assert {path.name for path in (study / "tensorboard").iterdir()} == {"report", *map(run_name, stored)}
    assert not list(study.glob(".tensorboard-*"))
    for record in stored:
        events, outcome = events_in(study / "tensorboard" / run_name(record)), record.outcome
        for name in CURVES if outcome.curve else ():
            points = [(point.step, point.value) for point in events.Scalars(f"epoch/{name}")]
            assert points == [(epoch.epoch, np.float32(getattr(epoch, name))) for epoch in outcome.curve]
        tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("epoch/")]
        assert {tag: events.Scalars(tag)[0].value for tag in tags} == {
            name: np.float32(value) for name, value in final_of(record).items()
        }
        lr = record.config["optimizer"]["lr"]
        assert hparams_of(events) == tables.DEFAULT_SETTINGS | {"optimizer.lr": lr, "status": outcome.status}
        assert events.Tensors("status/text_summary")[0].tensor_proto.string_val == [outcome.status.encode()]
    events = events_in(study / "tensorboard" / "report")
    assert events.Tags()["images"] == ["bad", "error"]
    for name in ("bad", "error"):
        shown = Image.open(io.BytesIO(events.Images(name)[0].encoded_image_string))
        with Image.open(study / "figures" / f"{name}.png") as figure:
            np.testing.assert_array_equal(np.asarray(shown), np.asarray(figure))


def test_tensorboard_logs_only_what_is_new_or_has_changed(
    app: Callable[..., AppConfig], stored: list[RunRecord], make: MakeRecord
) -> None:
    pytest.importorskip("tensorboard")
    study = app("none").folder

    def files() -> dict[str, str]:
        (study / "tensorboard").mkdir(exist_ok=True)
        return {path.parent.name: path.name for path in (study / "tensorboard").rglob("*") if path.is_file()}

    Tracking(app("tensorboard")).log_study()
    before = files()
    Tracking(app("tensorboard")).log_study()
    assert files() == before
    repeated = make(lr=1.0)
    store.save(study, repeated)
    Tracking(app("tensorboard")).log_study()
    assert {name for name, file in files().items() if file != before[name]} == {run_name(repeated)}


# MLflow


def runs_in_mlflow(results: Path) -> tuple[Any, dict[str, Any]]:
    """MLflow's client, and every run of the study's experiment by its name."""
    client = pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("lr/small").experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs)
    return client, by_name


def assert_mlflow_shows(results: Path, record: RunRecord) -> None:
    client, runs = runs_in_mlflow(results)
    run, outcome = runs[run_name(record)], record.outcome
    assert run.data.params == {name: str(value) for name, value in tables.settings_of(record.config).items()}
    for name in CURVES:
        history = client.get_metric_history(run.info.run_id, f"epoch/{name}")
        expected = [(epoch.epoch, getattr(epoch, name)) for epoch in outcome.curve]
        assert sorted((metric.step, metric.value) for metric in history) == expected
    assert {name: value for name, value in run.data.metrics.items() if not name.startswith("epoch/")} == final_of(record)
    assert run.data.tags["run_id"] == record.run_id
    assert run.data.tags["status"] == outcome.status
    assert run.info.status == ("FAILED" if outcome.status == "failed" else "FINISHED")
    assert run.info.end_time - run.info.start_time == pytest.approx(1000 * (outcome.wall_seconds or 0), abs=1)


@pytest.mark.slow
def test_mlflow_shows_every_run_and_the_figures_once(
    app: Callable[..., AppConfig],
    stored: list[RunRecord],
    make: MakeRecord,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One test, because creating MLflow's database takes seconds."""
    pytest.importorskip("mlflow")
    study = app("mlflow")
    results = Path(study.machine.results_dir)

    # A database that cannot be written stops the tracker only.
    (results / "mlflow.db").mkdir()
    Tracking(study).log_study()
    stopped = STOPPED.format("mlflow", "OperationalError: unable to open database file")
    assert capsys.readouterr().err == stopped
    (results / "mlflow.db").rmdir()

    # The next attempt logs everything.
    Tracking(study).log_study()
    _, runs = runs_in_mlflow(results)
    assert runs.keys() == {"report", *map(run_name, stored)}
    for record in stored:
        assert_mlflow_shows(results, record)
    logged = results / "mlartifacts" / "lr" / "small" / runs["report"].info.run_id / "artifacts" / "figures"
    assert {path.name: path.read_bytes() for path in logged.iterdir()} == {
        path.name: path.read_bytes() for path in (study.folder / "figures").iterdir()
    }

    def ids() -> dict[str, str]:
        return {name: run.info.run_id for name, run in runs_in_mlflow(results)[1].items()}

    # What is logged already is skipped, and what has changed is replaced.
    before = ids()
    Tracking(study).log_study()
    assert ids() == before
    repeated = make(lr=1.0)
    store.save(study.folder, repeated)
    Image.new("RGB", (9, 9)).save(study.folder / "figures" / "bad.png")
    Tracking(study).log_study()
    assert {name for name, run in ids().items() if run != before[name]} == {"report", run_name(repeated)}
    assert_mlflow_shows(results, repeated)

    # A run whose logging was killed is logged again. Its curve has more values than MLflow takes in one request.
    (epoch,) = make().outcome.curve[:1]
    long = make(lr=0.5, curve=tuple(replace(epoch, epoch=i + 1) for i in range(201)))
    monkeypatch.setattr("mlflow.MlflowClient.set_terminated", kill)
    with pytest.raises(KeyboardInterrupt):
        Tracking(study).log_run(long)
    monkeypatch.undo()
    Tracking(study).log_run(long)
    assert_mlflow_shows(results, long)
    assert "has stopped" not in capsys.readouterr().err


def kill(*args: object) -> None:
    raise KeyboardInterrupt


# Trackers that fail, or are not wanted


def break_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(content: object) -> None:
        raise OSError("No space left\non device")

    monkeypatch.setitem(tracker._TRACKERS, "tensorboard", lambda app: SimpleNamespace(log_run=fail, log_figures=fail))
    monkeypatch.setitem(tracker._REQUIRED_PACKAGES, "tensorboard", ())


@pytest.fixture
def lrsweep(lrsweep: Callable[..., int]) -> Callable[..., int]:
    return partial(lrsweep, *SMALL)


def test_an_error_in_a_tracker_is_one_line_and_then_it_stops(
    app: Callable[..., AppConfig],
    stored: list[RunRecord],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_tensorboard(monkeypatch)
    tracking = Tracking(app("tensorboard"))
    for record in stored:
        tracking.log_run(record)
    tracking.log_study()
    assert capsys.readouterr().err == STOPPED.format("tensorboard", "OSError: No space left on device")


def test_a_failing_tracker_does_not_stop_a_run_and_the_same_command_logs_it_later(
    lrsweep: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    with monkeypatch.context() as patched:
        break_tensorboard(patched)
        assert lrsweep("tracker=tensorboard") == 0
    assert capsys.readouterr().err.count("has stopped") == 1
    assert lrsweep("tracker=tensorboard") == 0
    (record,) = store.read(tmp_path / "results" / "single")
    events = events_in(tmp_path / "results" / "single" / "tensorboard" / run_name(record))
    assert len(events.Scalars("epoch/valid_accuracy")) == 2


@pytest.mark.parametrize("how", [["tracker=tensorboard"], ["tracker=mlflow", "study=lr", "grid.step=4"]], ids=["run", "sweep"])
def test_a_missing_package_is_one_error_line_before_anything_runs(
    lrsweep: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: list[str],
) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda name: None)
    assert lrsweep(*how) == 2
    name = how[0].removeprefix("tracker=")
    message = f"ConfigError: tracker={name} needs packages that are not installed: pip install 'lrsweep[{name}]'\n"
    assert capsys.readouterr() == ("", message)
    assert not list(tmp_path.glob("results/*/runs"))


@pytest.mark.parametrize("uri", ["sqlite:////proc/x.db", "sqlite+pysqlite:////proc/x.db", "sqlite:///no/such/folder/x.db"])
def test_a_database_that_cannot_be_used_is_tried_once(
    make: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits for {seconds} s"))
    tracking = Tracking(
        AppConfig(tracker=TrackerConfig(name="mlflow", uri=uri), machine=MachineConfig(results_dir=str(tmp_path)))
    )
    tracking.log_run(make())
    err = capsys.readouterr().err
    assert "tracker=mlflow has stopped (OperationalError: " in err
    assert err.count("\n") == 1


def test_without_a_tracker_nothing_is_written(app: Callable[..., AppConfig], stored: list[RunRecord]) -> None:
    results = Path(app("none").machine.results_dir)
    before = sorted(results.rglob("*"))
    tracking = Tracking(app("none"))
    tracking.log_run(stored[0])
    tracking.log_study()
    assert sorted(results.rglob("*")) == before


def test_a_uri_is_refused_with_another_tracker_than_mlflow() -> None:
    with pytest.raises(ConfigError, match=r"tracker\.uri"):
        TrackerConfig(name="tensorboard", uri="http://localhost:5000")


def test_a_tracker_does_not_change_a_runs_id() -> None:
    assert run_id(AppConfig(tracker=TrackerConfig(name="mlflow", uri="http://localhost:5000")).run) == run_id(RunConfig())


@pytest.mark.slow
def test_a_sweep_logs_its_runs_and_the_figures_of_its_report(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ["-m", "study.name=s", "optimizer.lr=0.01,0.001", "tracker=tensorboard", f"machine.data_dir={ROOT / 'data'}", *SMALL]
    command = [sys.executable, "-m", "lrsweep", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "results" / "s"
    records = store.read(folder)
    assert {path.name for path in (folder / "tensorboard").iterdir()} == {"report", *map(run_name, records)}
    for record in records:
        assert len(events_in(folder / "tensorboard" / run_name(record)).Scalars("epoch/train_loss")) == 2
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert set(events_in(folder / "tensorboard" / "report").Tags()["images"]) == figures
