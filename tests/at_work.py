"""The command at work: started as a terminal would start it, watched, stopped; and what it has left, compared."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrsweep.records import RunRecord
from lrsweep.storage import store

ROOT = Path(__file__).parents[1]
DATA = f"machine.data_dir={ROOT / 'data'}"


def default_interrupt() -> None:
    """What a terminal gives a command; tests that run in the background would hand on that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(
    folder: Path, *overrides: str, program: tuple[str, ...] = ("-m", "lrsweep"), **environment: str
) -> subprocess.Popen[str]:
    """`lrsweep …` in `folder`, in a process group of its own, on the CPU: only there are equal runs equal bits."""
    return subprocess.Popen(
        [sys.executable, *program, *overrides],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=default_interrupt,
    )


def finish(process: subprocess.Popen[str], seconds: int = 240) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def lrsweep(folder: Path, *overrides: str, **options: Any) -> tuple[int, str, str]:
    with start(folder, *overrides, **options) as process:
        return finish(process)


def is_deaf_to(number: signal.Signals, pid: int) -> bool:
    """A process that blocks or ignores a signal."""
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool((int(lines["SigBlk"], 16) | int(lines["SigIgn"], 16)) & 1 << (number - 1))


def until(what: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition; an assertion if it does not come."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def processes() -> dict[int, int]:
    """pid → parent's pid of everything alive, zombies left out."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue  # ended between the listing and the reading
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def children(pid: int) -> list[int]:
    return [child for child, parent in processes().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    return [found for child in children(pid) for found in (child, *descendants(child))]


def workers(sweep_pid: int) -> list[int]:
    """The processes that train: children of the sweep's fork server."""
    return [worker for server in children(sweep_pid) for worker in children(server)]


def family(sweep_pid: int) -> list[int]:
    return [*children(sweep_pid), *workers(sweep_pid)]


def alive(pids: list[int]) -> set[int]:
    return set(pids) & processes().keys()


def timeless(record: RunRecord) -> dict[str, Any]:
    """A record without what two equal runs may differ in: times, and the machine's state."""
    outcome = {name: value for name, value in asdict(record.outcome).items() if name not in ("wall_seconds", "cpu_seconds")}
    outcome["curve"] = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in outcome["curve"]]
    return asdict(record) | {"outcome": outcome, "environment": None}


def num_lost(folder: Path, reference: Path) -> int:
    """How many of the runs in `reference`'s store are missing or different, to the last bit, in `folder`'s."""
    found = store.scan(folder).records
    expected = store.scan(reference).records
    assert expected
    return sum(name not in found or timeless(found[name]) != timeless(record) for name, record in expected.items())
