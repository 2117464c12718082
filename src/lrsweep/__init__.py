"""Train a network at many learning rates and seeds, and see which rate to use.

This module is the public Python interface. Everything else in the package may change between versions.

    import lrsweep

    folder = lrsweep.run_study("lr", "seed=0,1,2")  # trains what is missing, returns the study's folder
    runs = lrsweep.load_runs(folder)                # one row per run
    curves = lrsweep.load_curves(folder)            # one row per epoch
    best = lrsweep.analyse(folder).main.headline    # what each rate loses, and which rate to use
    lrsweep.write_report(folder)
"""

# Every import below happens inside a function: `lrsweep --help` must not wait for pandas or PyTorch.
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lrsweep.analysis.findings import Analysis

__all__ = ["analyse", "load_curves", "load_runs", "run_study", "stopped_at", "write_report"]


def run_study(study: str, *overrides: str) -> Path:
    """Run a study, as the command `lrsweep study=… overrides…` does, and return its folder.

    Finished runs are skipped, and the progress is printed. Raises `lrsweep.cli.study.StudyError` if the command exits with
    an error, or if runs failed or are missing at the end.
    """
    from lrsweep.cli.study import run_study

    return run_study(study, *overrides)


def load_runs(folder: str | Path) -> pd.DataFrame:
    """One row per run of a study: its settings (dotted names, such as "training.patience"), its results and its machine.

    The settings that studies change most have short names: `lr`, `seed`, `loss`.
    """
    from lrsweep.storage import store

    return store.load(_existing(folder))


def load_curves(folder: str | Path) -> pd.DataFrame:
    """One row per epoch of every run: run_id, loss, seed, lr, epoch, training and validation loss and accuracy, seconds.

    Where an epoch was not validated (see training.validate_every), its validation loss and accuracy are NaN.
    """
    from lrsweep.storage import store

    return store.load_curves(_existing(folder))


def analyse(folder: str | Path, delta: float | None = None) -> Analysis:
    """The results in the report, as tables: `.runs`, `.summary`, `.main.headline.rows`, …

    `delta` is the smallest difference in test accuracy that matters. The default is 0.002, which is 0.2 percentage points.
    """
    from lrsweep.analysis.findings import analyse

    return analyse(Path(folder), delta)


def write_report(folder: str | Path) -> Path:
    """Write the report into the study's folder, and return the path of report.md.

    report.html and report.md are in English, report.ko.html and report.ko.md in Korean.
    """
    from lrsweep.report.build import build

    return build(Path(folder))


def stopped_at(valid_accuracy: np.ndarray, patience: int) -> int:
    """How many epochs early stopping with this patience would have trained, given a run's validation accuracy per epoch."""
    from lrsweep.analysis.fixed_budget import stopped_at

    return stopped_at(valid_accuracy, patience)


def _existing(folder: str | Path) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist")
    return path
