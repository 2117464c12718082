"""Who may use a study's folder at the same time, and that a lock ends with its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrsweep.storage.files import StoreError
from lrsweep.storage.lock import InUseError, hold

A, B = "0123456789abcdef", "fedcba9876543210"
HOLD = (
    "import sys; from pathlib import Path; from lrsweep.storage.lock import hold\n"
    "with hold(Path(sys.argv[1]), sys.argv[2] or None):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize(
    ("held", "requested", "holder"),
    [
        ("", None, "a sweep (process"),
        ("", A, "a sweep (process"),
        (A, None, "a single run"),
        (A, A, "a single run"),
        (A, B, None),
    ],
)
def test_a_study_is_used_by_one_sweep_or_by_different_runs_until_they_end(
    tmp_path: Path, held: str, requested: str | None, holder: str | None
) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLD, tmp_path, held]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        if holder is None:
            with hold(tmp_path, requested):
                pass
        else:
            with pytest.raises(InUseError) as error, hold(tmp_path, requested):
                pass
            assert str(error.value).startswith(holder)
        other.kill()
    with hold(tmp_path, requested):
        pass


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"), hold(tmp_path / "file"):
        pass
