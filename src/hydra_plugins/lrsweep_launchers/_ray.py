"""One Ray task a run, on this machine or on a given cluster."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from hydra_plugins.lrsweep_launchers import _remote
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress
from lrsweep import runs
from lrsweep.config import ConfigError, MachineConfig
from lrsweep.records import RunRecord

_POLL_SECONDS = 1
_OF_A_NEW_RAY = ("include_dashboard", "num_cpus", "num_gpus", "object_store_memory")  # a given cluster has its own


def run_all(jobs: list[Job], done: list[RunRecord], init: dict[str, Any], remote: dict[str, Any]) -> None:
    """Run every job. Ray tries a run again whose worker dies; one that gives nothing even so is said and left missing."""
    for job in {job.folder: job for job in jobs}.values():
        runs.keep_model_summary(job.run, job.folder)
    with _ray(init) as ray:
        workers = _num_at_a_time(ray.cluster_resources(), remote)
        task = ray.remote(**remote)(_remote.train)
        active = {task.remote(job.run, machine_for(job, remote), job.folder, workers): job for job in jobs}
        progress = Progress(len(jobs), done, f"{workers} at a time by Ray")
        try:
            while active:
                ended, _ = ray.wait(list(active), num_returns=len(active), timeout=_POLL_SECONDS)
                for reference in ended:
                    _remote.bring_home(active.pop(reference), partial(ray.get, reference), progress)
        finally:
            progress.close()


def machine_for(job: Job, remote: dict[str, Any]) -> MachineConfig:
    """A run takes no GPU that Ray has not given it: Ray hides the others' only from those that asked for one."""
    machine = job.app.machine
    return replace(machine, device="cpu") if machine.device == "auto" and not remote.get("num_gpus") else machine


def _num_at_a_time(resources: dict[str, float], remote: dict[str, Any]) -> int:
    """How many runs the cluster has room for as it is now."""
    asked = {"CPU": remote.get("num_cpus"), "GPU": remote.get("num_gpus")}
    return max(1, min((int(resources.get(kind, 0) / number) for kind, number in asked.items() if number), default=1))


@contextmanager
def _ray(init: dict[str, Any]) -> Iterator[Any]:
    """Ray, connected. What it has started here ends with it, whatever happens."""
    if init.get("address") == "local":
        # Before the import, which reads them. The first is Ray's switch for systems on which it serves one machine only: all
        # its ports are then on loopback. The key keeps other users of this machine out.
        os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    else:
        init = {name: value for name, value in init.items() if name not in _OF_A_NEW_RAY}
    import ray

    try:
        ray.init(**init)
    except (ConnectionError, RuntimeError, ValueError, TypeError, ray.exceptions.RayError) as error:
        raise ConfigError(f"hydra.launcher.ray.init: {' '.join(str(error).split())}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
