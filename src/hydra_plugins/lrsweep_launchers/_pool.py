"""The pool launcher: one process per run, several at a time. A run that dies harms no other, and no process outlives this one."""

import math
import multiprocessing
import os
import signal
import subprocess
import threading
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

from pebble import ProcessExpired, concurrent

from hydra_plugins.lrsweep_launchers._core import Job, report_command
from hydra_plugins.lrsweep_launchers._progress import Message, Progress, Update, label
from lrsweep.cli import execution
from lrsweep.config import ConfigError, MachineConfig, RunConfig, require
from lrsweep.data.download import load_mnist
from lrsweep.records import EpochRecord, RunRecord
from lrsweep.storage.files import StoreError
from lrsweep.training.device import describe, num_cores, prepare_device

_MAX_TRIES = 2  # for a run whose process dies or raises an error
_POLL_SECONDS = 0.2

# Workers are forked from a server process that has only imported PyTorch. So a worker starts in milliseconds. The server never
# uses CUDA, because CUDA does not survive a fork. Creating the first optimizer imports torch._dynamo. The server imports this
# module in advance; otherwise every run would wait 1.6 s.
_PRELOAD = [__name__, "torch._dynamo"]
_CONTEXT = multiprocessing.get_context("forkserver")


def num_workers(wanted: int | None, machine: MachineConfig) -> int:
    """`wanted`, or by default one per core, or one on a GPU. Raises ConfigError if the GPU of `machine.device` is missing."""
    device = prepare_device(machine)
    if wanted is not None and wanted < 1:
        raise ConfigError(f"hydra.launcher.workers must be at least 1, got {wanted}")
    return wanted or (1 if device.type == "cuda" else num_cores())


def check(jobs: list[Job], workers: int | None, refresh_seconds: int, run_seconds: float | None) -> None:
    num_workers(workers, jobs[0].app.machine)
    require(refresh_seconds >= 0, "hydra.launcher.refresh_seconds", "at least 0", refresh_seconds)
    require(run_seconds is None or 0 < run_seconds < math.inf, "hydra.launcher.run_seconds", "positive and finite", run_seconds)


def run_all(
    jobs: list[Job],
    done: list[RunRecord],
    workers: int | None = None,
    refresh_seconds: int = 0,
    run_seconds: float | None = None,
) -> None:
    """Run every job and store its record; a failed run leaves a failed record. KeyboardInterrupt ends all processes first.

    `done` are the records of the sweep's finished runs. A run that takes longer than `run_seconds` has failed.
    """
    workers = num_workers(workers, jobs[0].app.machine)
    load_mnist(Path(jobs[0].app.machine.data_dir))  # downloads it once, before any worker needs it
    execution.report_cpu_fallback(jobs[0].app.machine.device)
    # Describe the machine before training, because a GPU that fails later cannot be queried.
    environments = {job.key: describe(prepare_device(job.app.machine), workers) for job in jobs}
    _start_server()
    # pebble documents the argument `mp_context`, but reads `context`.
    train = concurrent.process(context=_CONTEXT, timeout=run_seconds)(_train)  # type: ignore[call-overload]
    reader, writer = multiprocessing.Pipe(duplex=False)
    waiting = deque(jobs)
    active: dict[Future[RunRecord], Job] = {}
    tries: Counter[str] = Counter()
    refresh = _Refresh(refresh_seconds)
    progress = Progress(len(jobs), done, f"{workers} workers", num_lines=min(workers, len(jobs)))
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                job = waiting.popleft()
                tries[job.key] += 1
                active[train(job.run, job.app.machine, job.folder, job.key, workers, writer)] = job
                progress.started(job.key, label(job.run.optimizer.lr, job.run.seed))
            ended, _ = wait(active, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            while reader.poll():
                progress.receive(reader.recv())
            for future in ended:
                job = active.pop(future)
                error = future.exception()
                if isinstance(error, StoreError):
                    raise error  # the store cannot be written, so no other run could be stored either
                is_late = _is_late(error, run_seconds)
                if error is not None and not is_late and tries[job.key] < _MAX_TRIES:
                    waiting.appendleft(job)
                    progress.retried(job.key, f"{_reason(error)}; trying once more")
                    continue
                if error is None:
                    record = future.result()
                else:
                    reason = f"took longer than {run_seconds} s" if is_late else f"{_reason(error)}, {_MAX_TRIES} times"
                    record = execution.record_failure(job.run, job.folder, environments[job.key], reason)
                    if execution.is_done(record):
                        progress.write(f"{label(job.run.optimizer.lr, job.run.seed)}: {reason}; its earlier record is kept")
                progress.ended(job.key, record)
                job.tracking.log_run(record)
                refresh.after_a_run(job)
    finally:
        # Not future.cancel(), which fails if pebble's own thread sets the result of an ending process at the same moment.
        for process in multiprocessing.active_children():
            process.kill()  # not terminate(), which a process that hangs may ignore
            process.join()
        progress.close()
        refresh.stop()


def _train(run: RunConfig, machine: MachineConfig, folder: Path, key: str, workers: int, updates: Connection) -> RunRecord:
    """Runs in the worker process. The record is stored before this returns; `updates` carries only progress."""
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def send(news: Update | Message) -> None:
        # An update is shorter than PIPE_BUF, so writing it is atomic and needs no lock. A worker that is killed while it holds a
        # lock would block all others.
        with suppress(BrokenPipeError):  # the parent process has died, so this one ends too
            updates.send(news)

    def on_epoch(epoch: EpochRecord) -> None:
        send(Update(key, epoch.epoch, epoch.valid_accuracy))

    def on_message(text: str) -> None:
        send(Message(key, text))

    return execution.run_one(run, machine, folder, workers=workers, on_epoch=on_epoch, on_message=on_message)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _start_server() -> None:
    """Start the server with SIGINT blocked, for itself and all workers: the parent handles Ctrl-C."""
    _CONTEXT.set_forkserver_preload(_PRELOAD)
    resource_tracker.ensure_running()  # starting it later, as part of the server's start, would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_late(error: BaseException | None, run_seconds: float | None) -> bool:
    """Did pebble end the run? A run may also raise a TimeoutError itself."""
    return isinstance(error, TimeoutError) and error.args == ("Task Timeout", run_seconds)


def _reason(error: BaseException) -> str:
    if isinstance(error, ProcessExpired):
        code = error.exitcode
        return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with exit code {code}"
    return f"{type(error).__name__}: {error}"


@dataclass
class _Refresh:
    """Rebuilds the report in the background from time to time, so that a long sweep can be watched."""

    every_seconds: int
    _last: float = field(default_factory=monotonic)  # a short sweep gets a report only at its end
    _process: subprocess.Popen[bytes] | None = None

    def after_a_run(self, job: Job) -> None:
        is_busy = self._process is not None and self._process.poll() is None
        if self.every_seconds and not is_busy and monotonic() - self._last >= self.every_seconds:
            self._last = monotonic()
            command = ["nice", *report_command(job.app)]  # it must not slow the runs down
            self._process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)  # the whole group, because the report draws figures in another process
            self._process.wait()
