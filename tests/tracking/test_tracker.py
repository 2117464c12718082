"""TensorBoard, MLflow and W&B read back what was logged, and a broken tracker never stops a run."""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from wandb_server import WandBRun, read_file, serve

from lrsweep.config import (
    AppConfig,
    ConfigError,
    MachineConfig,
    OptimizerConfig,
    RunConfig,
    StudyConfig,
    TrackerConfig,
    flatten,
)
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


def kill(*args: object, **options: object) -> None:
    raise KeyboardInterrupt


# W&B


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The package wandb, offline, without a login and the settings of the person who runs the tests."""
    module = pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "300")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "300")
    monkeypatch.setenv("WANDB_MODE", "offline")
    module.teardown()
    yield module
    module.teardown()


def wandb_runs(results: Path) -> dict[str, WandBRun]:
    """The runs in W&B's files, by their names."""
    pytest.importorskip("wandb").teardown()  # waits until the files are complete
    runs = [read_file(path) for path in (results / "wandb").glob("offline-run-*/run-*.wandb")]
    by_name = {run.about["display_name"]: run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


def assert_wandb_shows(run: WandBRun, record: RunRecord) -> None:
    outcome = record.outcome
    settings = asdict(RunConfig(optimizer=OptimizerConfig(lr=record.config["optimizer"]["lr"])))
    shown, expected = (
        {name: value for name, value in flatten(each).items() if value != {}}  # W&B does not send empty dicts
        for each in (run.config, settings)
    )
    assert shown == expected
    shown = [{name: value for name, value in line.items() if not name.startswith("_")} for line in run.history]
    assert shown == [{f"epoch/{name}": getattr(epoch, name) for name in CURVES} for epoch in outcome.curve]
    assert [line["_step"] for line in run.history] == [epoch.epoch for epoch in outcome.curve]
    assert [line["_timestamp"] for line in run.history] == pytest.approx(
        [
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp() - (outcome.wall_seconds or 0) + 1.1 * epoch.epoch
            for epoch in outcome.curve
        ]
    )
    expected = {"status": outcome.status, "stop_reason": outcome.stop_reason, "error": outcome.error, "engine": "solo"}
    expected |= {"best_epoch": outcome.best_epoch, "epochs": outcome.epochs, "timing": "measured"} | final_of(record)
    assert {name: run.summary.get(name) for name in expected} == expected
    assert run.exit_code == (1 if outcome.status == "failed" else 0)


def test_wandb_has_every_run_and_the_figures_once(
    wandb: Any,
    app: Callable[..., AppConfig],
    stored: list[RunRecord],
    make: MakeRecord,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = app("wandb")
    results = Path(study.machine.results_dir)
    Tracking(study).log_study()
    runs = wandb_runs(results)
    assert runs.keys() == {"report", *map(run_name, stored)}
    for record in stored:
        run = runs[run_name(record)]
        assert_wandb_shows(run, record)
        assert run.about["run_id"].startswith(record.run_id)
        assert (run.about["project"], run.about["run_group"], run.about["job_type"]) == ("lrsweep", "lr/small", "run")
    images = {path.name.split("_")[0]: path for path in (results / "wandb").glob("offline-run-*-report-*/files/media/**/*.png")}
    assert {name: path.read_bytes() for name, path in images.items()} == {
        path.stem: path.read_bytes() for path in (study.folder / "figures").iterdir()
    }

    def files() -> dict[str, str]:
        return {path.stem: path.parent.name for path in (results / "wandb").glob("*/run-*.wandb") if not path.parent.is_symlink()}

    # A later sweep logs only what has changed, under the same ids.
    before = files()
    Tracking(study).log_study()
    assert files() == before
    repeated = make(lr=1.0)
    store.save(study.folder, repeated)
    shutil.rmtree(results / "wandb" / before[f"run-{runs[run_name(stored[0])].about['run_id']}"])
    Tracking(study).log_study()
    again = wandb_runs(results)
    assert {name: run.about["run_id"] for name, run in again.items()} == {name: run.about["run_id"] for name, run in runs.items()}
    assert_wandb_shows(again[run_name(stored[0])], stored[0])
    assert_wandb_shows(again[run_name(repeated)], repeated)

    # A run whose logging was killed is logged again.
    late = make(lr=0.5)
    with monkeypatch.context() as patched:
        patched.setattr(wandb.Run, "log", kill)
        with pytest.raises(KeyboardInterrupt):
            Tracking(study).log_run(late)
    Tracking(study).log_run(late)
    assert_wandb_shows(wandb_runs(results)[run_name(late)], late)
    assert capfd.readouterr() == ("", "")


def test_wandb_resumes_a_run_on_its_server_when_its_record_changes(
    wandb: Any,
    app: Callable[..., AppConfig],
    make: MakeRecord,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    failed, ok = make(status="failed"), make()
    Tracking(app("wandb")).log_run(failed)  # offline, so it has not reached the server
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with serve() as (address, runs):
        study = replace(app("wandb"), tracker=TrackerConfig(name="wandb", uri=address))
        for record in (failed, ok):
            Tracking(study).log_run(record)
            (run,) = runs.values()
            run.config.pop("_wandb")
            assert_wandb_shows(run, record)
            assert (run.about["project"], run.about["groupName"]) == ("digits", "lr/small")
            assert run.about["displayName"] == run_name(record)
        runs.clear()
        Tracking(study).log_run(ok)
        assert not runs
        wandb.teardown()
    assert capfd.readouterr() == ("", "")


def test_a_wandb_server_that_is_down_is_one_line(
    wandb: Any, make: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    tracking = Tracking(
        AppConfig(tracker=TrackerConfig(name="wandb", uri="http://localhost:1"), machine=MachineConfig(results_dir=str(tmp_path)))
    )
    tracking.log_run(make())
    tracking.log_run(make(lr=0.5))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("tracker=wandb has stopped (CommError: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("key", [None, "short"])
def test_wandb_without_a_valid_key_is_one_error_line_before_anything_runs(
    wandb: Any,
    lrsweep: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    key: str | None,
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    for stream in ("stdin", "stdout", "stderr"):  # where W&B would ask for a key
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    assert lrsweep("tracker=wandb", "tracker.uri=http://localhost:1") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(
        f"ConfigError: tracker=wandb: {'WANDB_API_KEY invalid' if key else 'no API key for http://localhost:1'}"
    )
    assert "wandb login --host http://localhost:1" in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("results/*/runs"))


def test_wandb_that_is_disabled_writes_nothing(
    wandb: Any, app: Callable[..., AppConfig], stored: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    results = Path(app("none").machine.results_dir)
    before = sorted(results.rglob("*"))
    Tracking(app("wandb")).log_study()
    assert sorted(results.rglob("*")) == before


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


@pytest.mark.parametrize(
    "how",
    [["tracker=tensorboard"], ["tracker=mlflow", "study=lr", "grid.step=4"], ["tracker=wandb"]],
    ids=["run", "sweep", "wandb"],
)
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


def test_a_uri_is_refused_with_another_tracker_than_mlflow_and_wandb() -> None:
    with pytest.raises(ConfigError, match=r"tracker\.uri"):
        TrackerConfig(name="tensorboard", uri="http://localhost:5000")


def sweep(tmp_path: Path, *words: str) -> str:
    """Run a sweep in a process of its own. Returns what it prints."""
    words = ("-m", "study.name=s", "optimizer.lr=0.01,0.001", f"machine.data_dir={ROOT / 'data'}", *SMALL, *words)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "lrsweep", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["pool", "fused"])
def test_a_sweep_logs_its_runs_to_wandb_and_prints_nothing_more(wandb: Any, tmp_path: Path, launcher: str) -> None:
    printed = sweep(tmp_path, "tracker=wandb", f"hydra/launcher={launcher}")
    assert printed.splitlines()[-2:] == [
        "2 expected: 2 ok, 0 diverged, 0 failed, 0 missing",
        "Report: results/s/report.md and results/s/report.html",
    ]
    assert "wandb" not in printed
    records = store.read(tmp_path / "results" / "s")
    runs = wandb_runs(tmp_path / "results")
    assert runs.keys() == {"report", *map(run_name, records)}
    for record in records:
        assert [line["epoch/train_loss"] for line in runs[run_name(record)].history] == [
            epoch.train_loss for epoch in record.outcome.curve
        ]


@pytest.mark.slow
def test_a_sweep_logs_its_runs_and_the_figures_of_its_report(lrsweep: Callable[..., int], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert lrsweep("-m", "study.name=s", "optimizer.lr=0.01,0.001", "tracker=tensorboard") == 0
    folder = tmp_path / "results" / "s"
    records = store.read(folder)
    assert {path.name for path in (folder / "tensorboard").iterdir()} == {"report", *map(run_name, records)}
    for record in records:
        assert len(events_in(folder / "tensorboard" / run_name(record)).Scalars("epoch/train_loss")) == 2
    figures = {path.stem for path in (folder / "figures").glob("*.svg") if not path.stem.endswith("-narrow")}
    assert set(events_in(folder / "tensorboard" / "report").Tags()["images"]) == figures
