"""The sweep that the faults are tried on: five runs of two epochs (LONG: sixteen), two at a time."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from at_work import DATA, lrsweep, num_lost, start

from hydra_plugins.lrsweep_launchers import _core
from lrsweep.cli import main

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
    """Run the same command in this process, which has imported PyTorch already, and draw no report. Runs still get processes.

    These start in the test session's working directory, so `results_dir` must be absolute.
    """
    words = ["lrsweep", *SWEEP, *launcher, f"machine.results_dir={folder / 'results'}", *overrides]
    out, err, code = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", words)
        patch.setenv("HYDRA_FULL_ERROR", "0")  # main() changes it
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(_core, "report_command", lambda app_config: ["true"])
        try:
            main.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def num_lost_after_repeat(reference: Path, folder: Path, *overrides: str, launcher: list[str] = POOL) -> int:
    """Give the same command again, which must succeed, and count the lost runs."""
    code, out, err = sweep_in_process(folder, *overrides, launcher=launcher)
    assert code == 0, err
    assert "5 expected: 5 ok, 0 diverged, 0 failed, 0 missing" in out
    return num_lost(folder / "results" / "lr", reference / "lr")
