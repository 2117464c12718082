"""One Ray task a run, or one for many that share a program, on this machine or on a given cluster."""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from hydra_plugins.lrsweep_launchers import _fused, _remote
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress, in_a_line
from lrsweep.config import ConfigError, MachineConfig, require
from lrsweep.records import RunRecord

_POLL_SECONDS = 1
_CONNECT_SECONDS = 10
_RAYS_RETRIES = 3  # where ray.remote does not say
_OF_A_NEW_RAY = ("include_dashboard", "num_cpus", "num_gpus", "object_store_memory")  # a given cluster has its own


def check(num_slots: Any) -> None:
    is_number = type(num_slots) is int and num_slots >= 1  # the file has no schema: it may be anything
    require(num_slots is None or is_number, "hydra.launcher.fused", "a whole number of at least 1, or null", num_slots)


def run_all(jobs: list[Job], done: list[RunRecord], num_slots: int | None, init: dict[str, Any], remote: dict[str, Any]) -> None:
    """Run every job, as a task of its own or, where `num_slots` says how many run at a time in one, in fused programs.

    What dies with a worker is tried again. What gives nothing even so is said and left missing.
    """
    with _ray(init) as ray:
        places = _num_at_a_time(ray.cluster_resources(), remote)
        progress = Progress(len(jobs), done, f"{places} at a time by Ray")
        tasks = _Tasks(ray, remote, places, len(jobs), progress)
        try:
            if num_slots:
                tasks.start_fused(jobs, num_slots)
            else:
                tasks.start_solo(jobs)
            while tasks.active:
                tasks.hear()
        finally:
            progress.close()


def cut(cohorts: list[list[Job]], places: int) -> list[list[Job]]:
    """The runs of each program: those of one cohort, or of a part of it, so that the programs are a multiple of the places.

    More would only be smaller: a program refills its slots, and one that dies has only to do what has not come home.
    """
    counts = [1] * len(cohorts)
    while sum(counts) % places and sum(counts) < sum(map(len, cohorts)):
        longest = max(range(len(cohorts)), key=lambda i: len(cohorts[i]) / counts[i])
        counts[longest] += 1
    # In parts of neighbours: jobs come in an order in which each part has rates of all sizes, and so as much to do.
    parts = [part for cohort, count in zip(cohorts, counts, strict=True) for part in _parts(cohort, count)]
    return sorted(parts, key=len, reverse=True)


def _parts(jobs: list[Job], count: int) -> Iterator[list[Job]]:
    ends = [len(jobs) * i // count for i in range(count + 1)]
    return (jobs[first:end] for first, end in pairwise(ends))


@dataclass
class _Program:
    """A task of many runs. It is tried again by us, who know which records have come home, and not by Ray."""

    left: dict[int, Job]  # by position, those whose records have not
    num_slots: int
    retries: int  # left; below 0, as for Ray: without end


class _Tasks:
    """What Ray is at for us."""

    def __init__(self, ray: Any, remote: dict[str, Any], places: int, total: int, progress: Progress) -> None:
        self.active: dict[Any, Job | _Program] = {}  # by what Ray has given for it
        self._ray, self._remote, self._places, self._total, self._progress = ray, remote, places, total, progress
        self._solo = ray.remote(**remote)(_remote.train)
        self._fused = ray.remote(**remote | {"num_returns": "streaming", "max_retries": 0})(_remote.train_fused)

    def start_solo(self, jobs: list[Job], reason: str = "") -> None:
        if reason:
            self._progress.say(f"{len(jobs)} of {self._total} runs run solo: {reason}")
        for job in jobs:
            task = self._solo.remote(job.run, machine_for(job, self._remote), job.folder, self._places)
            self.active[task] = job

    def start_fused(self, jobs: list[Job], num_slots: int) -> None:
        groups: dict[str, list[Job]] = {}
        for job in jobs:
            groups.setdefault(_fused.reason_not_fusable(job) or "", []).append(job)
        fusible = groups.pop("", [])
        programs = cut(list(_fused.cohorts(fusible)), self._places)
        self._progress.say(f"{len(fusible)} of {self._total} runs are fused; programs: {len(programs)}")
        for members in programs:
            self._start_program(members, num_slots, self._remote.get("max_retries", _RAYS_RETRIES))
        for reason, group in groups.items():
            self.start_solo(group, reason)

    def _start_program(self, jobs: list[Job], num_slots: int, retries: int) -> None:
        members, folders = [job.run for job in jobs], [job.folder for job in jobs]
        task = self._fused.remote(members, folders, machine_for(jobs[0], self._remote), num_slots)
        self.active[task] = _Program(dict(enumerate(jobs)), num_slots, retries)

    def hear(self) -> None:
        """Bring home what has ended within a second."""
        ready, _ = self._ray.wait(list(self.active), num_returns=len(self.active), timeout=_POLL_SECONDS)
        for task in ready:
            what = self.active[task]
            if isinstance(what, Job):
                del self.active[task]
                _remote.bring_home(what, partial(self._ray.get, task), self._progress)
            else:
                self._hear_program(task, what)

    def _hear_program(self, task: Any, program: _Program) -> None:
        while task.next_ready():
            try:
                i, record = self._ray.get(next(task))
            except Exception as error:  # the program's, or that its worker has died
                del self.active[task]
                self._do_again(program, error)
                return
            _remote.keep(program.left.pop(i), record, self._progress)
        if task.is_finished():
            del self.active[task]

    def _do_again(self, program: _Program, error: Any) -> None:
        """What has come home stays. The rest goes on in a new program if its worker died, and solo if the program ended."""
        left = list(program.left.values())
        if not left:
            return
        is_its_own = isinstance(error, self._ray.exceptions.RayTaskError)
        if is_its_own or not program.retries:
            self.start_solo(left, _fused.why_ended(error.cause if is_its_own else error))
        else:
            self._progress.say(f"{len(left)} runs begin again: {in_a_line(error)}")
            self._start_program(left, program.num_slots, program.retries - 1)


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
        _require_a_listener(str(init.get("address")))
    import ray

    try:
        ray.init(**init)
    except (ConnectionError, RuntimeError, ValueError, TypeError, ray.exceptions.RayError) as error:
        raise ConfigError(f"hydra.launcher.ray.init: {' '.join(str(error).split())}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_a_listener(address: str) -> None:
    """Where an address is given as host and port, Ray would look for more than a minute for what is not there."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ConfigError(f"hydra.launcher.ray.init.address: nothing answers at {address} ({error})") from error
