"""The Ray launcher: one Ray task per run, or per fused program of many runs, on this machine or on an existing cluster."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

from hydra_plugins.lrsweep_launchers import _fused, _remote
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._processes import failure_of
from hydra_plugins.lrsweep_launchers._progress import Progress, first_line
from hydra_plugins.lrsweep_launchers._ray_cluster import as_config_error, connected, import_ray
from lrsweep.config import ConfigError, MachineConfig, require
from lrsweep.records import RunRecord

_POLL_SECONDS = 1
_DEFAULT_RETRIES = 3  # Ray's own default


def check(jobs: list[Job], num_slots: Any, fallback: Any, init: dict[str, Any], remote: dict[str, Any]) -> None:
    is_count = type(num_slots) is int and num_slots >= 1  # the launcher's config has no schema, so check the types
    require(num_slots is None or is_count, "hydra.launcher.fused", "a whole number of at least 1, or null", num_slots)
    require(type(fallback) is bool, "hydra.launcher.fallback", "true or false", fallback)
    _remote.require("ray", extra="ray")


def run_all(
    jobs: list[Job],
    done: list[RunRecord],
    num_slots: int | None,
    fallback: bool,
    init: dict[str, Any],
    remote: dict[str, Any],
) -> None:
    """Run every job, each as a Ray task or, with `num_slots`, in fused programs of that many runs at a time.

    If a worker dies, its runs are tried again. A run that still has no record is reported and left missing. If a
    program fails, its unfinished runs run solo with `fallback`; otherwise the sweep ends with SweepIncomplete.
    """
    ray = import_ray(init)
    with as_config_error("hydra.launcher.ray.remote"):  # refuses wrong options before Ray starts, which takes seconds
        train = ray.remote(**remote)(_remote.train)
        train_fused = ray.remote(**remote | {"num_returns": "streaming", "max_retries": 0})(_remote.train_fused)
    with connected(ray, init):
        _require_room(ray.nodes(), remote, is_private=init.get("address") == "local")
        places = num_places(ray.cluster_resources(), remote)
        progress = Progress(len(jobs), done, f"{places} at a time by Ray")
        tasks = _Tasks(ray, train, train_fused, remote, fallback, places, len(jobs), progress)
        try:
            with as_config_error("hydra.launcher.ray.remote"):
                if num_slots:
                    _fused.remove_old_errors(jobs)
                    tasks.start_fused(jobs, num_slots)
                else:
                    tasks.start_solo(jobs)
            while tasks.active:
                tasks.collect()
        finally:
            progress.close()


def cut(cohorts: list[list[Job]], places: int) -> list[list[Job]]:
    """Cut cohorts into programs. `places` is the number of programs that run at a time.

    If there are enough runs, the number of programs is a multiple of `places`. Smaller programs would gain nothing: a program
    refills its slots, and if it dies, only its unfinished runs are repeated.
    """
    counts = [1] * len(cohorts)
    while sum(counts) % places and sum(counts) < sum(map(len, cohorts)):
        longest = max(range(len(cohorts)), key=lambda i: len(cohorts[i]) / counts[i])
        counts[longest] += 1
    # The order of the jobs mixes small and large rates, so each part has about the same amount of work.
    parts = [part for cohort, count in zip(cohorts, counts, strict=True) for part in _parts(cohort, count)]
    return sorted(parts, key=len, reverse=True)


def _parts(jobs: list[Job], count: int) -> Iterator[list[Job]]:
    ends = [len(jobs) * i // count for i in range(count + 1)]
    return (jobs[start:end] for start, end in pairwise(ends))


@dataclass
class _Program:
    """A fused task. We retry it ourselves, because Ray does not know which records have arrived."""

    missing: dict[int, Job]  # position → job; the jobs whose records have not arrived
    num_slots: int
    retries_left: int  # negative: no limit, as in Ray


@dataclass
class _Tasks:
    """The tasks that Ray has not finished."""

    ray: Any
    train: Any
    train_fused: Any
    remote: dict[str, Any]  # the options of a task
    fallback: bool
    places: int
    num_total: int
    progress: Progress
    active: dict[Any, Job | _Program] = field(default_factory=dict)  # Ray's handle → the job or program

    def start_solo(self, jobs: list[Job], reason: str = "") -> None:
        if reason:
            self.progress.write(f"{len(jobs)} of {self.num_total} runs run solo: {reason}")
        for job in jobs:
            task = self.train.remote(job.run, machine_for(job, self.remote), job.folder, self.places)
            self.active[task] = job

    def start_fused(self, jobs: list[Job], num_slots: int) -> None:
        by_reason: dict[str, list[Job]] = {}
        for job in jobs:
            by_reason.setdefault(_fused.reason_not_fusable(job) or "", []).append(job)
        fusable = by_reason.pop("", [])
        programs = cut(list(_fused.cohorts(fusable)), self.places)
        self.progress.write(f"{len(fusable)} of {self.num_total} runs are fused; programs: {len(programs)}")
        for program in programs:
            self._start_program(program, num_slots, self.remote.get("max_retries", _DEFAULT_RETRIES))
        for reason, group in by_reason.items():
            self.start_solo(group, reason)

    def _start_program(self, jobs: list[Job], num_slots: int, retries: int) -> None:
        runs, folders = [job.run for job in jobs], [job.folder for job in jobs]
        task = self.train_fused.remote(runs, folders, machine_for(jobs[0], self.remote), num_slots)
        self.active[task] = _Program(dict(enumerate(jobs)), num_slots, retries)

    def collect(self) -> None:
        """Store the records that are ready within a second."""
        ready, _ = self.ray.wait(list(self.active), num_returns=len(self.active), timeout=_POLL_SECONDS)
        for task in ready:
            work = self.active[task]
            if isinstance(work, Job):
                del self.active[task]
                _remote.fetch_and_store(work, partial(self.ray.get, task), self.progress)
            else:
                self._collect_program(task, work)

    def _collect_program(self, task: Any, program: _Program) -> None:
        while task.next_ready():
            try:
                i, record = self.ray.get(next(task))
            except Exception as error:  # the program raised it, or its worker has died
                del self.active[task]
                self._retry(program, error)
                return
            _remote.store_record(program.missing.pop(i), record, self.progress)
        if task.is_finished():
            del self.active[task]

    def _retry(self, program: _Program, error: Any) -> None:
        """If the worker died, start the missing runs again in a new program. If the program itself failed, see reason_ended."""
        missing = list(program.missing.values())
        if not missing:
            return
        has_failed = isinstance(error, self.ray.exceptions.RayTaskError)
        if has_failed or not program.retries_left:
            failure = failure_of(error.cause if has_failed else error, traceback=str(error))
            self.start_solo(missing, _fused.reason_ended(failure, missing[0].folder, self.fallback, self.progress))
        else:
            self.progress.write(f"{len(missing)} runs start again: {first_line(error)}")
            self._start_program(missing, program.num_slots, program.retries_left - 1)


def machine_for(job: Job, remote: dict[str, Any]) -> MachineConfig:
    """Use the CPU if the task asks for no GPU, because Ray hides GPUs only from tasks that ask for one."""
    machine = job.app.machine
    return replace(machine, device="cpu") if machine.device == "auto" and not remote.get("num_gpus") else machine


def _require_room(nodes: list[dict[str, Any]], remote: dict[str, Any], *, is_private: bool) -> None:
    """Raise ConfigError if no machine is large enough for a task, because Ray would wait for ever.

    An existing cluster may still grow, so there, only print a message.
    """
    needed = {"CPU": remote.get("num_cpus"), "GPU": remote.get("num_gpus"), "memory": remote.get("memory")}
    needed |= remote.get("resources") or {}
    rooms = [node["Resources"] for node in nodes if node["Alive"]]
    for name, number in needed.items():
        largest = max((room.get(name, 0) for room in rooms), default=0)
        if isinstance(number, int | float) and number > largest:
            message = f"hydra.launcher.ray.remote: a run needs {name}={number:g}, but the largest machine has {largest:g}"
            if is_private:
                raise ConfigError(message)
            print(f"{message}. The runs wait until the cluster grows.", flush=True)


def num_places(resources: dict[str, float], remote: dict[str, Any]) -> int:
    """The number of tasks that the cluster can run at a time."""
    needed = {"CPU": remote.get("num_cpus"), "GPU": remote.get("num_gpus")}
    return max(1, min((int(resources.get(kind, 0) / number) for kind, number in needed.items() if number), default=1))
