"""Runs in MLflow's database, a local one or a server's."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from lrsweep.config import AppConfig
from lrsweep.records import RunRecord
from lrsweep.storage import tables
from lrsweep.tracking.metrics import final_values, points, stamp_of, stamp_of_files, times_of, title_of

_BATCH = 1_000  # metrics: the most that MLflow takes at once
_SETTINGS = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # by default a server that is away would hold the sweep up for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class MLflow:
    """An experiment a study, and in it a run `report` with the figures. By default all in results/mlflow.db and mlartifacts/."""

    def __init__(self, app: AppConfig) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        for name, value in _SETTINGS.items():
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

        outcome, times, stamp = record.outcome, times_of(record), stamp_of(record)
        run = self._start(title_of(record), record.run_id, stamp, times.started)
        if run is None:
            return
        metrics = [Metric(point.name, point.value, _milliseconds(point.time), point.epoch) for point in points(record)]
        metrics += [
            Metric(name, value, _milliseconds(times.finished), outcome.epochs) for name, value in final_values(record).items()
        ]
        told = {"status": outcome.status, "stop_reason": outcome.stop_reason, "engine": record.engine, "timing": record.timing}
        told |= {"error": outcome.error} if outcome.error else {}
        params = [Param(name, str(value)) for name, value in tables.settings_of(record.config).items()]
        self._client.log_batch(run, params=params, tags=[RunTag(name, value) for name, value in told.items()])
        for i in range(0, len(metrics), _BATCH):
            self._client.log_batch(run, metrics=metrics[i : i + _BATCH])
        self._end(run, stamp, "FAILED" if outcome.status == "failed" else "FINISHED", times.finished)

    def log_figures(self, figures: list[Path]) -> None:
        stamp = stamp_of_files(figures)
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


def _require_writable(database: Path) -> None:
    """Raises where SQLite could not write within 5 s; MLflow would try for minutes."""
    with closing(sqlite3.connect(database, timeout=5, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
