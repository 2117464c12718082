"""A sweep opens no door to the network: while it runs, none of its processes listens on a TCP socket."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from at_work import descendants

ROOT = Path(__file__).parents[2]
SWEEP = [
    *("study=lr", "grid.start=-4", "grid.stop=-3", "grid.step=1"),
    *("data.num_train=64", "data.num_valid=100", "data.num_test=100", "training.max_epochs=2", "training.patience=2"),
    *("hydra/launcher=pool", "hydra.launcher.workers=2", f"machine.data_dir={ROOT / 'data'}"),
]
LISTEN = "0A"  # as the kernel's tables spell it

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="there is no /proc to look into")


def listening() -> set[str]:
    """The sockets of all processes that listen, as links in /proc/<pid>/fd name them."""
    tables = [path for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == LISTEN}


def open_files(pid: int) -> set[str]:
    links = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                links.add(str(link.readlink()))
    return links


def doors(pids: set[int]) -> set[str]:
    """The sockets that these processes listen on."""
    return listening() & {name for pid in pids for name in open_files(pid)}


@pytest.mark.parametrize(("kind", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_door_would_be_seen(kind: socket.AddressFamily, address: str) -> None:
    with socket.socket(kind) as door:
        try:
            door.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        assert not doors({os.getpid()})
        door.listen()
        assert len(doors({os.getpid()})) == 1
    assert not doors({os.getpid()})


@pytest.mark.slow
def test_a_sweep_listens_on_no_port(tmp_path: Path) -> None:
    opened: set[str] = set()
    seen: set[int] = set()
    said = tmp_path / "said.txt"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "lrsweep", *SWEEP]
    with said.open("w") as log, subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log) as sweep:
        while sweep.poll() is None:
            pids = {sweep.pid, *descendants(sweep.pid)}
            seen |= pids
            opened |= doors(pids)
            with suppress(subprocess.TimeoutExpired):
                sweep.wait(0.02)
    assert sweep.returncode == 0, said.read_text()
    assert "2 expected: 2 ok" in said.read_text()
    assert len(seen) >= 4  # the sweep, its fork server and two workers were looked at
    assert not opened
