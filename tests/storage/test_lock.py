"""lrsweep.storage.lock: who may be at work beside whom, and that a lock ends with its process."""

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
)


@pytest.mark.parametrize(
    ("held", "asked", "who"),
    [
        ("", None, "a sweep (process"),
        ("", A, "a sweep (process"),
        (A, None, "a single run"),
        (A, A, "a single run"),
        (A, B, None),
    ],
)
def test_a_sweep_is_alone_and_a_run_is_done_once(tmp_path: Path, held: str, asked: str | None, who: str | None) -> None:
    program = HOLD + "    print('held', flush=True); sys.stdin.read()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, tmp_path, held]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        if who is None:
            with hold(tmp_path, asked):
                pass
        else:
            with pytest.raises(InUseError) as refused, hold(tmp_path, asked):
                pass
            assert str(refused.value).startswith(who)
        other.kill()
    with hold(tmp_path, asked):
        pass


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"), hold(tmp_path / "file"):
        pass
