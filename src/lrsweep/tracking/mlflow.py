"""Log runs to an MLflow database, on this machine or on a server."""

import os
from pathlib import Path

from lrsweep.config import AppConfig
from lrsweep.records import RunRecord
from lrsweep.storage import tables
from lrsweep.tracking.metrics import epoch_metrics, files_hash, final_metrics, record_hash, run_name, times_of

_HASH_TAG = "stamp"  # stored in users' databases, so do not rename it
_ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the default retries delay the sweep by minutes if the server is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


_CONNECT_OPTIONS: dict[str, dict[str, int]] = {  # of the databases that MLflow can use, in seconds
    "sqlite": {"timeout": 5},
    "postgresql": {"connect_timeout": 10},
    "mysql": {"connect_timeout": 10},
    "mssql": {"timeout": 10},
}


class MLflow:
    """One experiment per study, with a run `report` for the figures. The default is results/mlflow.db and mlartifacts/."""

    def __init__(self, app: AppConfig) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        uri, artifacts = app.tracker.uri, None
        if uri is None:
            results = Path(app.machine.results_dir).resolve()
            uri, artifacts = f"sqlite:///{results / 'mlflow.db'}", (results / "mlartifacts" / app.study.name).as_uri()
        _require_database(uri)
        self._client = MlflowClient(uri)
        experiment = self._client.get_experiment_by_name(app.study.name)
        self._experiment_id: str = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(app.study.name, artifact_location=artifacts)
        )

    def log_run(self, record: RunRecord) -> None:
        from mlflow.entities import Metric, Param, RunTag

        outcome, times, content_hash = record.outcome, times_of(record), record_hash(record)
        run = self._start(run_name(record), record.run_id, content_hash, times.started)
        if run is None:
            return
        metrics = [Metric(m.name, m.value, _milliseconds(m.time), m.epoch) for m in epoch_metrics(record)]
        metrics += [
            Metric(name, value, _milliseconds(times.finished), outcome.epochs) for name, value in final_metrics(record).items()
        ]
        tags = {"status": outcome.status, "stop_reason": outcome.stop_reason, "engine": record.engine, "timing": record.timing}
        tags |= {"error": outcome.error} if outcome.error else {}
        params = [Param(name, str(value)) for name, value in tables.settings_of(record.config).items()]
        self._client.log_batch(run, metrics, params, [RunTag(name, value) for name, value in tags.items()])
        self._end(run, content_hash, "FAILED" if outcome.status == "failed" else "FINISHED", times.finished)

    def log_figures(self, figures: list[Path]) -> None:
        content_hash = files_hash(figures)
        run = self._start("report", "report", content_hash)
        if run is None:
            return
        for path in figures:
            self._client.log_artifact(run, str(path), "figures")
        self._end(run, content_hash, "FINISHED")

    def _start(self, name: str, run_id: str, content_hash: str, started: float | None = None) -> str | None:
        """Create a run and return MLflow's id; None if it is logged already. Deletes older and incomplete copies."""
        for run in self._client.search_runs([self._experiment_id], f"tags.run_id = '{run_id}'"):
            if run.data.tags.get(_HASH_TAG) == content_hash:
                return None
            self._client.delete_run(run.info.run_id)
        tags = {"run_id": run_id}
        run = self._client.create_run(self._experiment_id, start_time=_milliseconds(started), tags=tags, run_name=name)
        return str(run.info.run_id)

    def _end(self, run: str, content_hash: str, status: str, finished: float | None = None) -> None:
        self._client.set_terminated(run, status, _milliseconds(finished))
        self._client.set_tag(run, _HASH_TAG, content_hash)  # last: it marks the run as complete


def _require_database(uri: str) -> None:
    """Raise if the URI names a database that does not answer, or cannot be written. MLflow would try for minutes."""
    kind = uri.partition(":")[0].partition("+")[0]
    if kind not in _CONNECT_OPTIONS:
        return  # a server or a folder, where MLflow tries once
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError

    engine = create_engine(uri, connect_args=_CONNECT_OPTIONS[kind])
    try:
        with engine.connect() as connection:
            if kind == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
    except DBAPIError as error:
        raise (error.orig or error) from None  # the database's own message, without SQLAlchemy's advice around it
    finally:
        engine.dispose()


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
