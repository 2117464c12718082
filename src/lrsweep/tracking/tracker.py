"""Show the stored runs in TensorBoard, MLflow or Weights & Biases.

The store remains the source of truth. A tracker shows each run once, however often it is logged: a run with the same
content hash is skipped, and one with another hash is replaced. Only the main process logs, never a worker.
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
from lrsweep.tracking.wandb import WandB

_REQUIRED_PACKAGES = {
    "none": (),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
}


class Tracker(Protocol):
    """Skips a run or figures that it has already logged. May raise any exception."""

    def log_run(self, record: RunRecord) -> None: ...

    def log_figures(self, figures: list[Path]) -> None: ...


_TRACKERS: dict[str, Callable[[AppConfig], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


class Tracking:
    """The tracker of a study. It never stops a sweep: after its first error it prints one line and logs nothing more."""

    def __init__(self, app: AppConfig) -> None:
        """ConfigError if the tracker's packages are not installed, or if it needs a login.

        Packages other than wandb are imported when the first run is logged.
        """
        self._app = app
        self._tracker: Tracker | None = None
        self._is_on = app.tracker.name != "none"
        if any(find_spec(package) is None for package in _REQUIRED_PACKAGES[app.tracker.name]):
            name = app.tracker.name
            raise ConfigError(f"tracker={name} needs packages that are not installed: pip install 'lrsweep[{name}]'")
        if app.tracker.name == "wandb":  # starts now, because a missing login must be known before the first run
            self._try(lambda tracker: None)

    def log_run(self, record: RunRecord) -> None:
        self._try(lambda tracker: tracker.log_run(record))

    def log_study(self) -> None:
        """Log every stored run of the study, old ones too, and the report's figures."""

        def log(tracker: Tracker) -> None:
            for record in store.scan(self._app.folder).records.values():
                tracker.log_run(record)
            figures = sorted((self._app.folder / "figures").glob("*.png"))
            if english := [path for path in figures if not path.stem.endswith(".ko")]:
                tracker.log_figures(english)

        self._try(log)

    def _try(self, log: Callable[[Tracker], None]) -> None:
        if not self._is_on:
            return
        try:
            self._tracker = self._tracker or _TRACKERS[self._app.tracker.name](self._app)
            log(self._tracker)
        except ConfigError:
            raise
        except Exception as error:  # a full disk, a locked database, a server that is down, a bug in the tracker
            self._is_on = False
            message = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" …")
            tqdm.write(
                f"tracker={self._app.tracker.name} has stopped ({message}). The runs are not affected; "
                "run the same command again later to log the missing ones.",
                file=sys.stderr,
            )
