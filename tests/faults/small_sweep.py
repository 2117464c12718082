"""The sweep that faults are tried on: four runs, of two epochs or of thirty, two at a time."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from at_work import DATA, lrsweep, num_lost, start

Tried = Callable[..., None]
RATES = [1e-5, 1e-4, 1e-3, 1e-2]
SIZES = ["data.num_train=160", "data.num_valid=100", "data.num_test=100", "training.patience=100", "training.max_epochs=2"]
GRID = ["study=lr", "grid.start=-5", "grid.stop=-2", "grid.step=1", "hydra.launcher.workers=2"]
SWEEP = [*GRID, *SIZES, "machine.checkpoint_seconds=0", DATA]
LONG = "training.max_epochs=30"
_FAULTY = [str(Path(__file__).with_name("faulty.py"))]


def begin(folder: Path, *overrides: str, **environment: str) -> subprocess.Popen[str]:
    """The sweep in `folder`; a word of `overrides` may say otherwise than SWEEP. Its environment: see faulty.py."""
    return start(folder, *SWEEP, *overrides, program=_FAULTY, **environment)


def sweep(folder: Path, *overrides: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    return lrsweep(folder, *SWEEP, *overrides, program=_FAULTY, **environment)


def lost_after(reference: Path, folder: Path, *overrides: str, **options: Any) -> int:
    """What `folder`'s results lack of `reference`'s when the same command has been given again and has ended well."""
    code, out, err = sweep(folder, *overrides, **options)
    assert code == 0, err
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    return num_lost(folder / "results" / "lr", reference / "lr")
