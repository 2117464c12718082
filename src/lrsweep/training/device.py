"""Choose and set up the device, and describe the machine for the records. The machine does not change a run_id."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lrsweep.config import ConfigError, MachineConfig


def prepare_device(machine: MachineConfig) -> torch.device:
    """Select the device, and set the number of threads and the precision, so that on a CPU equal runs give equal bits."""
    if machine.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"machine.device is {machine.device}, but PyTorch finds no GPU here; use machine.device=cpu")
    if machine.device.startswith("cuda:") and int(machine.device[5:]) >= torch.cuda.device_count():
        raise ConfigError(f"machine.device is {machine.device}, but the last GPU here is cuda:{torch.cuda.device_count() - 1}")
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if machine.device == "auto" else machine.device
    torch.set_num_threads(machine.threads)
    # PyTorch's default is TF32 for convolutions, but not for matrix products.
    torch.backends.cuda.matmul.allow_tf32 = machine.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = machine.precision == "tf32"
    return torch.device(kind)


@contextmanager
def same_settings_after() -> Iterator[None]:
    """Put back the settings of PyTorch that prepare_device changes: a program that calls lrsweep has its own."""
    threads, matmul, cudnn = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def num_cores() -> int:
    """The cores that this process may use: its CPU affinity, or the quota of its container if that is lower."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup, or the quota is "max"
        return allowed


def describe(device: torch.device, workers: int) -> dict[str, Any]:
    """The environment of a record. This creates no CUDA context, which would take a GPU in exclusive mode from other processes.

    Neither does prepare_device. torch.cuda.set_device, mem_get_info, synchronize and every tensor do.
    """
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "cpu_name": _cpu_name(),
        "cores": num_cores(),
        "threads": torch.get_num_threads(),
        "workers": workers,
        "precision": "tf32" if device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32 else "fp32",
        "peak_memory_bytes": _peak_memory_bytes(),
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        "versions": _versions(),
        **({"modes": _gpu_modes()} if device.type == "cuda" else {}),
        **_GIT_STATE,
    }


def _gpu_modes() -> dict[str, bool]:
    """The settings of PyTorch that decide which kernels a GPU uses, and so the bits of a result.

    Of PyTorch's two interfaces to TF32, we use the old one everywhere: reading it after writing to the new one raises an error.
    """
    return {
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


@cache
def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@cache
def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "hydra-core")}
    libraries = {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())} if torch.version.cuda else {}
    return {"python": platform.python_version(), "system": platform.system(), **packages, **libraries}


def _git_state() -> dict[str, Any]:
    """The commit of this code, whatever the working directory. None without git, or if the code is not in a git checkout.

    Only changes in src/ and conf/ make it dirty: the result files that a sweep writes do not affect a run. LRSWEEP_COMMIT names
    the commit of a copy without git, after scripts/gpu.py has compared the code with it.
    """
    source = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if git("ls-files", "__init__.py"):
            is_dirty = bool(git("status", "--porcelain", "--", ":/src", ":/conf"))
            return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": is_dirty}
    except (OSError, subprocess.CalledProcessError):
        pass
    commit = os.environ.get("LRSWEEP_COMMIT")
    return {"git_commit": commit, "git_dirty": False if commit else None}


_GIT_STATE = _git_state()  # read at import: a commit made during a sweep does not change the code that runs
