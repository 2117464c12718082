"""Start commands as a terminal does, watch and stop their processes, and compare their records."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch

from hydra_plugins.lrsweep_launchers import _core
from lrsweep.cli import main
from lrsweep.records import RunRecord
from lrsweep.storage import store

ROOT = Path(__file__).parents[1]
DATA = f"machine.data_dir={ROOT / 'data'}"
# The command, but without the report: drawing it takes longer than a few small runs.
WITHOUT_REPORT = (
    "-c",
    "from hydra_plugins.lrsweep_launchers import _core; from lrsweep.cli.main import main; "
    "_core.report_command = lambda app: ['true']; main()",
)


def default_interrupt() -> None:
    """Make Ctrl-C end the child process. Children of a test session in the background would ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def python_path(*folders: Path) -> str:
    """The folders, lrsweep's source, and where this test session finds modules."""
    return os.pathsep.join(map(str, [*folders, ROOT / "src", *filter(None, [os.environ.get("PYTHONPATH")])]))


def start(
    folder: Path, *overrides: str, program: tuple[str, ...] = ("-m", "lrsweep"), **environment: str
) -> subprocess.Popen[str]:
    """Start `lrsweep …` in `folder`, in a new process group. It uses the CPU, where repeated runs are bit-identical."""
    return subprocess.Popen(
        [sys.executable, *program, *overrides],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": python_path(), "CUDA_VISIBLE_DEVICES": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=default_interrupt,
    )


def finish(process: subprocess.Popen[str], seconds: int = 600) -> tuple[int, str, str]:
    """Wait for the end. Returns exit code, stdout, stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def lrsweep(folder: Path, *overrides: str, **options: Any) -> tuple[int, str, str]:
    """Run `lrsweep …` in `folder`. Returns exit code, stdout, stderr."""
    with start(folder, *overrides, **options) as process:
        return finish(process)


def lrsweep_in_process(folder: Path, *overrides: str, draws_report: bool = False) -> tuple[int, str, str]:
    """Run `lrsweep …` in this process, which has imported PyTorch already. Runs still get processes. Returns the same as lrsweep.

    This is faster, because the start of a command takes longer than a few small runs. The runs' processes start in the test
    session's working directory, so `results_dir` must be absolute.
    """
    out, err, code = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lrsweep", f"machine.results_dir={folder / 'results'}", *overrides])
        patch.setenv("HYDRA_FULL_ERROR", "0")  # main() changes it
        patch.setattr(torch.cuda, "is_available", lambda: False)
        if not draws_report:
            patch.setattr(_core, "report_command", lambda app_config: ["true"])
        try:
            main.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def blocks_or_ignores(number: signal.Signals, pid: int) -> bool:
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool((int(lines["SigBlk"], 16) | int(lines["SigIgn"], 16)) & 1 << (number - 1))


def until(condition: Callable[[], object], seconds: float = 600, every: float = 0.02) -> None:
    """Wait until the condition is true; fail after `seconds`. It is checked every `every` seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(every)


def processes() -> dict[int, int]:
    """Map the PID of every living process to the PID of its parent. Zombies do not count."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue  # the process ended after /proc was listed
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
    return parents


def command_of(pid: int) -> str:
    with suppress(OSError):  # the process may have ended
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def children(pid: int) -> list[int]:
    return [child for child, parent in processes().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    generation, parents, family = [pid], processes(), list[int]()
    while generation:
        generation = [child for child, parent in parents.items() if parent in generation]
        family += generation
    return family


def workers(sweep_pid: int) -> list[int]:
    """The processes that train: children of the sweep's fork server."""
    return [worker for server in children(sweep_pid) for worker in children(server)]


def alive(pids: list[int]) -> set[int]:
    return set(pids) & processes().keys()


def without_times(record: RunRecord) -> dict[str, Any]:
    """A record without the parts in which two equal runs may differ: times and the state of the machine."""
    outcome = {name: value for name, value in asdict(record.outcome).items() if name not in ("wall_seconds", "cpu_seconds")}
    outcome["curve"] = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in outcome["curve"]]
    return asdict(record) | {"outcome": outcome, "environment": None}


def num_lost(folder: Path, reference: Path) -> int:
    """How many runs of the study in `reference` are missing in `folder`, or differ there in any bit."""
    records = store.scan(folder).records
    expected = store.scan(reference).records
    assert expected
    return sum(name not in records or without_times(records[name]) != without_times(run) for name, run in expected.items())
