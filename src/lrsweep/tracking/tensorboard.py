"""Log runs to TensorBoard's event files."""

import glob
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lrsweep.config import AppConfig
from lrsweep.records import RunRecord
from lrsweep.storage import tables
from lrsweep.tracking.metrics import FINAL_METRICS, epoch_metrics, files_hash, final_metrics, record_hash, run_name, times_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """One folder per run in results/<study>/tensorboard, each with one event file, and a folder `report` with the figures."""

    def __init__(self, app: AppConfig) -> None:
        self._folder = app.folder / "tensorboard"

    def log_run(self, record: RunRecord) -> None:
        def log(writer: "SummaryWriter") -> None:
            from torch.utils.tensorboard.summary import hparams

            finished = times_of(record).finished
            file_writer: Any = writer.file_writer  # PyTorch's types say that it is None
            settings = tables.settings_of(record.config) | {"status": record.outcome.status}
            # Not writer.add_hparams, which makes a second run for each run.
            for summary in hparams(settings, dict.fromkeys(FINAL_METRICS)):
                file_writer.add_summary(summary, walltime=finished)
            writer.add_text("status", record.outcome.status, walltime=finished)
            for metric in epoch_metrics(record):
                writer.add_scalar(metric.name, metric.value, metric.epoch, walltime=metric.time)
            for name, value in final_metrics(record).items():
                writer.add_scalar(name, value, record.outcome.epochs, walltime=finished)

        self._write(run_name(record), record_hash(record), log)

    def log_figures(self, figures: list[Path]) -> None:
        def log(writer: "SummaryWriter") -> None:
            import numpy as np
            from PIL import Image

            for path in figures:
                with Image.open(path) as image:
                    writer.add_image(path.stem, np.asarray(image.convert("RGB")), dataformats="HWC")

        self._write("report", files_hash(figures), log)

    def _write(self, name: str, content_hash: str, log: "Callable[[SummaryWriter], None]") -> None:
        """Write the event file completely or not at all. Its suffix is the hash, so an unchanged run is not written again."""
        from torch.utils.tensorboard import SummaryWriter

        target = self._folder / name
        if any(target.glob(f"*.{content_hash}")):
            return
        prefix = f".tensorboard-{name}-"
        for leftover in self._folder.parent.glob(f"{glob.escape(prefix)}*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        with TemporaryDirectory(prefix=prefix, dir=self._folder.parent) as temporary:
            with SummaryWriter(temporary, filename_suffix=f".{content_hash}") as writer:
                log(writer)
            (written,) = Path(temporary).iterdir()
            target.mkdir(parents=True, exist_ok=True)
            for earlier in target.iterdir():
                earlier.unlink()
            written.replace(target / written.name)
