"""The pool launcher: several processes train runs. A run that dies harms no other, and no process outlives this one."""

import gc
import math
from collections import Counter, deque
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._processes import Failure, Sweep, Worker, end_all
from hydra_plugins.lrsweep_launchers._progress import Progress, label
from lrsweep.cli import execution, preparation
from lrsweep.config import ConfigError, MachineConfig, require
from lrsweep.data.images import read_images
from lrsweep.records import RunRecord
from lrsweep.training.device import describe, num_cores, prepare_device

_MAX_TRIES = 2  # for a run whose process dies or raises an error
_POLL_SECONDS = 0.2


def num_workers(wanted: int | None, machine: MachineConfig) -> int:
    """`wanted`, or by default as many as there are cores for their threads, or one on a GPU.

    Raises ConfigError if the GPU of `machine.device` is missing.
    """
    device = prepare_device(machine)
    if wanted is not None and wanted < 1:
        raise ConfigError(f"hydra.launcher.workers must be at least 1, got {wanted}")
    return wanted or (1 if device.type == "cuda" else max(1, num_cores() // machine.threads))


def check(jobs: list[Job], workers: int | None, run_seconds: float | None) -> None:
    num_workers(workers, jobs[0].app.machine)
    require(run_seconds is None or 0 < run_seconds < math.inf, "hydra.launcher.run_seconds", "positive and finite", run_seconds)


def run_all(jobs: list[Job], done: list[RunRecord], workers: int | None = None, run_seconds: float | None = None) -> None:
    """Run every job and store its record; a failed run leaves a failed record. KeyboardInterrupt ends all processes first.

    `done` are the records of the sweep's finished runs. A run that takes longer than `run_seconds` has failed.
    """
    workers = num_workers(workers, jobs[0].app.machine)
    read_images(jobs[0].run.data, Path(jobs[0].app.machine.data_dir))  # downloads them once, before any worker needs them
    preparation.report_cpu_fallback(jobs[0].app.machine.device)
    # Describe the machine before training, because a GPU that fails later cannot be queried. This creates no CUDA context in this
    # process; otherwise no worker could use a GPU in exclusive mode.
    environments = {job.key: describe(prepare_device(job.app.machine), workers) for job in jobs}
    trains_many = _trains_many(jobs[0].app.machine)
    waiting = deque(jobs)
    active: dict[Worker, _Training] = {}
    idle: list[Worker] = []
    tries: Counter[str] = Counter()
    progress = Progress(len(jobs), done, f"{workers} workers", num_lines=min(workers, len(jobs)))
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                job = waiting.popleft()
                tries[job.key] += 1
                worker = idle.pop() if idle else Worker(_train_each, workers, not trains_many)
                worker.send((job.run, job.app.machine, job.folder))
                active[worker] = _Training(job, late_at=monotonic() + (run_seconds or math.inf))
                progress.started(job.key, label(job.run.optimizer.lr, job.run.seed))
            ready = wait([worker.connection for worker in active], timeout=_POLL_SECONDS)
            for worker, (job, late_at) in list(active.items()):
                is_late = monotonic() >= late_at
                if not is_late and worker.connection not in ready:
                    continue
                news = Failure(f"took longer than {run_seconds} s") if is_late else worker.receive()
                if not isinstance(news, RunRecord | Failure):
                    progress.receive(job.key, news)
                    continue
                del active[worker]
                if trains_many and isinstance(news, RunRecord):
                    idle.append(worker)
                else:  # after a failure too, because a process cannot use its GPU after an error
                    worker.end()
                if isinstance(news, Failure):
                    if not is_late and tries[job.key] < _MAX_TRIES:
                        waiting.appendleft(job)
                        progress.retried(job.key, f"{news.reason}; trying once more")
                        continue
                    reason = news.reason if is_late else f"{news.reason}, {_MAX_TRIES} times"
                    news = execution.record_failure(job.run, job.folder, environments[job.key], reason)
                    if news.is_done:
                        progress.write(f"{label(job.run.optimizer.lr, job.run.seed)}: {reason}; its earlier record is kept")
                progress.ended(job.key, news)
                job.recorded(news)
    finally:
        end_all()
        progress.close()


class _Training(NamedTuple):
    """The current job of a worker, and the time at which it has taken too long."""

    job: Job
    late_at: float


def _trains_many(machine: MachineConfig) -> bool:
    """Does a process train one run after another? True on a GPU, because each new process needs seconds to create a CUDA context.

    On a CPU, each run has its own process, so that its peak memory is known.
    """
    return prepare_device(machine).type == "cuda"


def _train_each(sweep: Sweep, workers: int, has_own_process: bool) -> None:
    """Runs in the worker process, until the sweep ends it. A record is stored before it is sent."""
    gc.freeze()  # modules live as long as the process; excluding them, a collection takes only milliseconds
    while True:
        run, machine, folder = sweep.receive()
        record = execution.run_one(
            run,
            machine,
            folder,
            workers=workers,
            on_epoch=sweep.send,
            on_message=sweep.send,
            has_own_process=has_own_process,
        )
        sweep.send(record)
        gc.collect()  # frees optimizers, which refer to themselves; the next run's peak GPU memory must not include their tensors
