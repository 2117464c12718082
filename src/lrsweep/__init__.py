"""Train a network at many learning rates and seeds, and see which rate to use.

This module is the public Python interface. Everything else in the package may change between versions.

    import lrsweep

    folder = lrsweep.run_study("lr", "seed=0,1,2")  # trains what is missing, returns the study's folder
    study = lrsweep.sweep(model=Net, data=(x, y), lrs=[1e-4, 1e-3, 1e-2], seeds=3)  # your own network and images

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
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd

    from lrsweep.analysis.findings import Analysis
    from lrsweep.cli.sweep import Data, Model, SweptStudy

__version__ = "0.1.0"

__all__ = ["analyse", "load_curves", "load_runs", "run_study", "stopped_at", "sweep", "write_report"]


def run_study(study: str, *overrides: str) -> Path:
    """Run a study, as the command `lrsweep study=… overrides…` does, and return its folder.

    Finished runs are skipped, and the progress is printed. Raises `lrsweep.cli.study.StudyError` if the command exits with
    an error, or if runs failed or are missing at the end.
    """
    from lrsweep.cli.study import run_study

    return run_study(study, *overrides)


def sweep(
    *overrides: str,
    lrs: Sequence[float],
    seeds: int | Sequence[int] = 3,
    model: Model | None = None,
    data: Data | None = None,
    name: str = "sweep",
    results_dir: str | Path = "results",
    workers: int | None = None,
) -> SweptStudy:
    """Train a network at each learning rate with each seed, write the report, and return the study.

    - lrs, seeds: every rate runs with every seed. 3 means the seeds 0, 1 and 2
    - model: a class of nn.Module (or a function that builds one), "module:Class", or the name of a network such as "mlp".
      None: the documents' CNN. Arguments `shape`, `in_channels` and `num_classes` are filled in from the data
    - data: (x, y) or (x, y, x_test, y_test), or a dict with these names; a function that returns these; the path of an .npz file;
      "module:function"; or the name of a data set such as "digits". None: MNIST
    - overrides: settings of a run, of machine, tracker and study, as for the command, e.g. "training.max_epochs=20", or
      "study.delta=0.01" if only differences of more than one percentage point of test accuracy matter
    - name: the study's folder in `results_dir`
    - workers: how many runs train at a time. None: one per core, or one if there is a GPU

    Finished runs are kept: the same call again trains only what is missing, and more rates or seeds extend the study. Changed
    data or code are other settings, which need another name or "study.extend=true". A run that fails does not stop the others:
    it is named while the sweep runs, and has the status "failed" in `.runs`. Raises ConfigError or DataError with one line if
    something cannot be used.
    """
    from lrsweep.cli.sweep import sweep

    return sweep(*overrides, lrs=lrs, seeds=seeds, model=model, data=data, name=name, results_dir=results_dir, workers=workers)


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

    `delta` is the smallest difference in test accuracy that matters. The default is the `study.delta` of the
    study's last sweep, or 0.002, which is 0.2 percentage points.
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
