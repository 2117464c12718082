"""Trackers that people already use: the runs of the store, shown in TensorBoard or MLflow as well.

The store stays the truth, a tracker is a view of it: each run is there once, named by its learning rate, seed and run_id,
however often it is logged. A stamp of its content goes with it; another content of the same run takes its place. Only the
process that was started logs, never a worker: a database has one writer.
"""

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tqdm import tqdm

from lrsweep import store
from lrsweep.config import AppConfig, ConfigError
from lrsweep.records import RunRecord

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_NEEDS = {"none": (), "tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
_CURVES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")
_FINAL = ("valid_accuracy", "test_accuracy", "wall_seconds")


class Tracking:
    """A study's tracker as a sweep holds it. It costs no run: what it raises is one line, and then it is left alone."""

    def __init__(self, app: AppConfig) -> None:
        """ConfigError where the tracker's package is not installed. Nothing of it is imported before there is a run."""
        self._app = app
        self._tracker: Tracker | None = None
        self._is_on = app.tracker.name != "none"
        if any(find_spec(package) is None for package in _NEEDS[app.tracker.name]):
            name = app.tracker.name
            raise ConfigError(f"tracker={name} needs packages that are not installed: pip install 'lrsweep[{name}]'")

    def log_run(self, record: RunRecord) -> None:
        self._try(lambda tracker: tracker.log_run(record))

    def log_study(self) -> None:
        """All that the study's store holds, runs from before there was a tracker too, and the report's figures."""

        def log(tracker: Tracker) -> None:
            for record in store.scan(self._app.folder).records.values():
                tracker.log_run(record)
            if figures := sorted((self._app.folder / "figures").glob("*.png")):
                tracker.log_figures(figures)

        self._try(log)

    def _try(self, log: "Callable[[Tracker], None]") -> None:
        if not self._is_on:
            return
        try:
            self._tracker = self._tracker or _TRACKERS[self._app.tracker.name](self._app)
            log(self._tracker)
        except Exception as error:  # whatever it is: a full disk, a locked database, a server that is away, its own bug
            self._is_on = False
            told = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" …")
            tqdm.write(
                f"tracker={self._app.tracker.name} has stopped ({told}); the runs are not affected, "
                "and the same command logs later what is missing.",
                file=sys.stderr,
            )


class Tracker(Protocol):
    """What is there already, with the same content, is left as it is. May raise anything."""

    def log_run(self, record: RunRecord) -> None: ...

    def log_figures(self, figures: list[Path]) -> None: ...


class TensorBoard:
    """A folder a run in results/<study>/tensorboard, with one file of events, and a folder `report` with the figures."""

    def __init__(self, app: AppConfig) -> None:
        self._folder = app.folder / "tensorboard"

    def log_run(self, record: RunRecord) -> None:
        def log(writer: "SummaryWriter") -> None:
            from torch.utils.tensorboard.summary import hparams

            finished = _times(record).finished
            file_writer: Any = writer.file_writer  # PyTorch's types call it None
            # Not writer.add_hparams: it makes a second run of each.
            settings = store.settings_of(record.config) | {"status": record.outcome.status}
            for summary in hparams(settings, dict.fromkeys(_named_final())):
                file_writer.add_summary(summary, walltime=finished)
            writer.add_text("status", record.outcome.status, walltime=finished)
            for point in _points(record):
                writer.add_scalar(point.name, point.value, point.epoch, walltime=point.time)
            for name, value in _final(record).items():
                writer.add_scalar(name, value, record.outcome.epochs, walltime=finished)

        self._write(_name(record), _stamp_of(record), log)

    def log_figures(self, figures: list[Path]) -> None:
        def log(writer: "SummaryWriter") -> None:
            import numpy as np
            from PIL import Image

            for path in figures:
                with Image.open(path) as image:
                    writer.add_image(path.stem, np.asarray(image.convert("RGB")), dataformats="HWC")

        self._write("report", _stamp_of_files(figures), log)

    def _write(self, name: str, stamp: str, log: "Callable[[SummaryWriter], None]") -> None:
        """The file is there whole or not at all, whatever dies in between."""
        from torch.utils.tensorboard import SummaryWriter

        target = self._folder / name
        if any(target.glob(f"*.{stamp}")):
            return
        with TemporaryDirectory(prefix=".tensorboard-", dir=self._folder.parent) as temporary:
            with SummaryWriter(temporary, filename_suffix=f".{stamp}") as writer:
                log(writer)
            (written,) = Path(temporary).iterdir()
            target.mkdir(parents=True, exist_ok=True)
            for earlier in target.iterdir():
                earlier.unlink()
            written.replace(target / written.name)


class MLflow:
    """An experiment a study, and in it a run `report` with the figures. By default all in results/mlflow.db and mlartifacts/."""

    def __init__(self, app: AppConfig) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        for name, value in _MLFLOW_SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        results = Path(app.machine.results_dir).resolve()
        artifacts = None if app.tracker.uri else (results / "mlartifacts" / app.study.name).as_uri()
        if not app.tracker.uri:
            _require_writable(results / "mlflow.db")
        self._client = MlflowClient(app.tracker.uri or f"sqlite:///{results / 'mlflow.db'}")
        found = self._client.get_experiment_by_name(app.study.name)
        self._experiment: str = (
            found.experiment_id if found else self._client.create_experiment(app.study.name, artifact_location=artifacts)
        )

    def log_run(self, record: RunRecord) -> None:
        from mlflow.entities import Metric, Param, RunTag

        outcome, times, stamp = record.outcome, _times(record), _stamp_of(record)
        run = self._start(_name(record), record.run_id, stamp, times.started)
        if run is None:
            return
        metrics = [Metric(point.name, point.value, _milliseconds(point.time), point.epoch) for point in _points(record)]
        metrics += [Metric(name, value, _milliseconds(times.finished), outcome.epochs) for name, value in _final(record).items()]
        told = {"status": outcome.status, "stop_reason": outcome.stop_reason, "engine": record.engine, "timing": record.timing}
        told |= {"error": outcome.error} if outcome.error else {}
        params = [Param(name, str(value)) for name, value in store.settings_of(record.config).items()]
        self._client.log_batch(run, params=params, tags=[RunTag(name, value) for name, value in told.items()])
        for i in range(0, len(metrics), _MLFLOW_BATCH):
            self._client.log_batch(run, metrics=metrics[i : i + _MLFLOW_BATCH])
        self._end(run, stamp, "FAILED" if outcome.status == "failed" else "FINISHED", times.finished)

    def log_figures(self, figures: list[Path]) -> None:
        stamp = _stamp_of_files(figures)
        run = self._start("report", "report", stamp)
        if run is None:
            return
        for path in figures:
            self._client.log_artifact(run, str(path), "figures")
        self._end(run, stamp, "FINISHED")

    def _start(self, name: str, run_id: str, stamp: str, started: float | None = None) -> str | None:
        """A new run, by MLflow's own id; None where it is there. What is there of another content, or not whole, is deleted."""
        for run in self._client.search_runs([self._experiment], f"tags.run_id = '{run_id}'"):
            if run.data.tags.get("stamp") == stamp:
                return None
            self._client.delete_run(run.info.run_id)
        tags = {"run_id": run_id}
        run = self._client.create_run(self._experiment, start_time=_milliseconds(started), tags=tags, run_name=name)
        return str(run.info.run_id)

    def _end(self, run: str, stamp: str, status: str, finished: float | None = None) -> None:
        self._client.set_terminated(run, status, _milliseconds(finished))
        self._client.set_tag(run, "stamp", stamp)  # last: a run that has it is whole


_TRACKERS: dict[str, Callable[[AppConfig], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}

_MLFLOW_BATCH = 1_000  # metrics: the most that MLflow takes at once
_MLFLOW_SETTINGS = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # by default a server that is away would hold the sweep up for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def _require_writable(database: Path) -> None:
    """Raises where SQLite could not write within 5 s; MLflow would try for minutes."""
    with closing(sqlite3.connect(database, timeout=5, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


# What both show of a record.


class _Point(NamedTuple):
    name: str
    epoch: int
    value: float
    time: float  # when the epoch ended; seconds since 1970


class _Times(NamedTuple):
    """Seconds since 1970, as if the run had trained without a break until it was recorded."""

    started: float
    finished: float


def _times(record: RunRecord) -> _Times:
    finished = datetime.fromisoformat(record.environment["finished_at"]).timestamp()
    return _Times(finished - (record.outcome.wall_seconds or 0.0), finished)


def _points(record: RunRecord) -> Iterator[_Point]:
    """Every value of every epoch. `epoch/valid_accuracy` is one epoch's, `final/valid_accuracy` the best one's."""
    started = _times(record).started
    elapsed = accumulate(epoch.seconds for epoch in record.outcome.curve)
    for epoch, seconds in zip(record.outcome.curve, elapsed, strict=True):
        for name in _CURVES:
            yield _Point(f"epoch/{name}", epoch.epoch, getattr(epoch, name), started + seconds)


def _named_final() -> dict[str, str]:
    return {f"final/{name}": name for name in _FINAL}


def _final(record: RunRecord) -> dict[str, float]:
    """What was measured: nothing of a failed run."""
    found = {name: getattr(record.outcome, of) for name, of in _named_final().items()}
    return {name: value for name, value in found.items() if value is not None}


def _name(record: RunRecord) -> str:
    return f"lr={record.config['optimizer']['lr']:.2e}_seed={record.config['seed']}_{record.run_id}"


def _stamp_of(record: RunRecord) -> str:
    return _stamp(json.dumps(asdict(record), sort_keys=True).encode())


def _stamp_of_files(paths: list[Path]) -> str:
    return _stamp(b"".join(path.name.encode() + path.read_bytes() for path in paths))


def _stamp(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
