"""The sweep that the faults are tried on: five runs of two epochs (LONG: sixteen), two at a time."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from at_work import DATA, lrsweep, lrsweep_in_process, num_lost, start

RecordLoss = Callable[..., None]
Explore = Callable[..., int]
RATES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
SIZES = ["data.num_train=160", "data.num_valid=100", "data.num_test=100", "training.patience=100", "training.max_epochs=2"]
GRID = ["study=lr", "grid.start=-6", "grid.stop=-2", "grid.step=1"]
SWEEP = [*GRID, *SIZES, "machine.checkpoint_seconds=0", "machine.device=cpu", DATA]
POOL = ["hydra.launcher.workers=2"]
FUSED = ["hydra/launcher=fused", "hydra.launcher.runs=2"]
LONG = "training.max_epochs=16"
FAULTY = (str(Path(__file__).with_name("faulty.py")),)


def start_sweep(folder: Path, *overrides: str, launcher: list[str] = POOL, **environment: str) -> subprocess.Popen[str]:
    """Start the sweep in `folder`. Of two overrides of one setting the last counts. faulty.py reads the environment."""
    return start(folder, *SWEEP, *launcher, *overrides, program=FAULTY, **environment)


def sweep(folder: Path, *overrides: str, launcher: list[str] = POOL, **environment: str) -> tuple[int, str, str]:
    """Run the sweep in a process. Returns exit code, stdout, stderr."""
    return lrsweep(folder, *SWEEP, *launcher, *overrides, program=FAULTY, **environment)


def sweep_in_process(folder: Path, *overrides: str, launcher: list[str] = POOL) -> tuple[int, str, str]:
    """Run the same command in this process, without a report."""
    return lrsweep_in_process(folder, *SWEEP, *launcher, *overrides)


def undisturbed_results(folder: Path, *overrides: str, launcher: list[str] = POOL) -> Path:
    """Run the sweep in this process, which must succeed, and return its results folder."""
    code, _, err = sweep_in_process(folder, *overrides, launcher=launcher)
    assert code == 0, err
    return folder / "results"


def num_lost_after_repeat(reference: Path, folder: Path, *overrides: str, launcher: list[str] = POOL) -> int:
    """Give the same command again, which must succeed, and count the lost runs."""
    code, out, err = sweep_in_process(folder, *overrides, launcher=launcher)
    assert code == 0, err
    assert "5 expected: 5 ok, 0 diverged, 0 failed, 0 missing" in out
    return num_lost(folder / "results" / "lr", reference / "lr")
