"""Runs in TensorBoard's own files of events."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lrsweep.config import AppConfig
from lrsweep.records import RunRecord
from lrsweep.storage import tables
from lrsweep.tracking.metrics import final_names, final_values, points, stamp_of, stamp_of_files, times_of, title_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """A folder a run in results/<study>/tensorboard, with one file of events, and a folder `report` with the figures."""

    def __init__(self, app: AppConfig) -> None:
        self._folder = app.folder / "tensorboard"

    def log_run(self, record: RunRecord) -> None:
        def log(writer: "SummaryWriter") -> None:
            from torch.utils.tensorboard.summary import hparams

            finished = times_of(record).finished
            file_writer: Any = writer.file_writer  # PyTorch's types call it None
            # Not writer.add_hparams: it makes a second run of each.
            settings = tables.settings_of(record.config) | {"status": record.outcome.status}
            for summary in hparams(settings, dict.fromkeys(final_names())):
                file_writer.add_summary(summary, walltime=finished)
            writer.add_text("status", record.outcome.status, walltime=finished)
            for point in points(record):
                writer.add_scalar(point.name, point.value, point.epoch, walltime=point.time)
            for name, value in final_values(record).items():
                writer.add_scalar(name, value, record.outcome.epochs, walltime=finished)

        self._write(title_of(record), stamp_of(record), log)

    def log_figures(self, figures: list[Path]) -> None:
        def log(writer: "SummaryWriter") -> None:
            import numpy as np
            from PIL import Image

            for path in figures:
                with Image.open(path) as image:
                    writer.add_image(path.stem, np.asarray(image.convert("RGB")), dataformats="HWC")

        self._write("report", stamp_of_files(figures), log)

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
