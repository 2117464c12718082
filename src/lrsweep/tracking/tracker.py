"""Trackers that people already use: the runs of the store, shown in TensorBoard or MLflow as well.

The store stays the truth, a tracker is a view of it: each run is there once, named by its learning rate, seed and run_id,
however often it is logged. A stamp of its content goes with it; another content of the same run takes its place. Only the
process that was started logs, never a worker: a database has one writer.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Protocol

from tqdm import tqdm

from lrsweep.config import AppConfig, ConfigError
from lrsweep.records import RunRecord
from lrsweep.storage import store
from lrsweep.tracking.mlflow import MLflow
from lrsweep.tracking.tensorboard import TensorBoard

_NEEDS = {"none": (), "tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


class Tracker(Protocol):
    """What is there already, with the same content, is left as it is. May raise anything."""

    def log_run(self, record: RunRecord) -> None: ...

    def log_figures(self, figures: list[Path]) -> None: ...


_TRACKERS: dict[str, Callable[[AppConfig], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


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

    def _try(self, log: Callable[[Tracker], None]) -> None:
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
