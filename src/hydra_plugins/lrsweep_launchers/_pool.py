"""One process a run, several at a time: a run that dies takes nothing with it, and no process outlives this one."""

import math
import multiprocessing
import os
import signal
import subprocess
import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

from pebble import ProcessExpired, concurrent

from hydra_plugins.lrsweep_launchers._core import Job, report_command
from hydra_plugins.lrsweep_launchers._progress import Note, Progress, Update, label
from lrsweep.cli import execution
from lrsweep.config import ConfigError, MachineConfig, RunConfig, require
from lrsweep.data.download import load_mnist
from lrsweep.records import EpochRecord, RunRecord
from lrsweep.storage.files import StoreError
from lrsweep.training.device import num_cores, prepare_device

_TRIES = 2  # of a run whose process dies or raises
_POLL_SECONDS = 0.2

# Processes are forked from a server that has imported PyTorch once and done nothing else: a start costs milliseconds, and
# CUDA, which does not survive a fork, has not been touched there. The second is what PyTorch imports for its first optimizer,
# which takes 1.6 s: every run would do it.
_PRELOAD = [__name__, "torch._dynamo"]
_CONTEXT = multiprocessing.get_context("forkserver")


def num_workers(asked: int | None, machine: MachineConfig) -> int:
    device = prepare_device(machine)  # also where a number was asked for: a GPU that is not there is refused here
    if asked is not None and asked < 1:
        raise ConfigError(f"hydra.launcher.workers must be at least 1, got {asked}")
    return asked or (1 if device.type == "cuda" else num_cores())


def check(refresh_seconds: int, run_seconds: float | None) -> None:
    require(refresh_seconds >= 0, "hydra.launcher.refresh_seconds", "at least 0", refresh_seconds)
    require(run_seconds is None or 0 < run_seconds < math.inf, "hydra.launcher.run_seconds", "positive and finite", run_seconds)


def run_all(jobs: list[Job], done: list[RunRecord], workers: int, refresh_seconds: int, run_seconds: float | None = None) -> None:
    """Run every job and leave a record of each, failed ones included. KeyboardInterrupt ends all processes first.

    `done` are the sweep's runs that are in the store already. A run that takes longer than `run_seconds` has failed.
    """
    load_mnist(Path(jobs[0].app.machine.data_dir))  # fetched once, and a reason to stop before any worker starts
    _start_server()
    # pebble documents `mp_context`, and ignores it; `context` is what it reads.
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
                progress.hear(reader.recv())
            for future in ended:
                job = active.pop(future)
                error = future.exception()
                if isinstance(error, StoreError):
                    raise error  # what this run could not keep, no other can
                is_late = _is_late(error, run_seconds)
                if error is not None and not is_late and tries[job.key] < _TRIES:
                    waiting.appendleft(job)
                    progress.again(job.key, f"{_reason(error)}; tried once more")
                    continue
                if error is None:
                    record = future.result()
                else:
                    told = f"took longer than {run_seconds} s" if is_late else f"{_reason(error)}, {_TRIES} times"
                    record = execution.record_failure(job.run, job.app.machine, job.folder, workers=workers, error=told)
                    if execution.is_done(record):
                        progress.say(f"{label(job.run.optimizer.lr, job.run.seed)}: {told}; its earlier record stays")
                progress.ended(job.key, record)
                job.tracking.log_run(record)
                refresh.after_a_run(job)
    finally:
        # Not future.cancel(): pebble's own thread may be setting the result of a process that ends just then, and complains.
        for process in multiprocessing.active_children():
            process.kill()  # not terminate(), which a process that hangs would not hear
            process.join()
        progress.close()
        refresh.stop()


def _train(run: RunConfig, machine: MachineConfig, folder: Path, name: str, workers: int, updates: Connection) -> RunRecord:
    """In the worker. What counts is in the store when it returns; `updates` only feeds the progress lines."""
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def send(word: Update | Note) -> None:
        # Far below PIPE_BUF, so written whole or not at all: no lock that a killed worker could keep.
        with suppress(BrokenPipeError):  # the parent has died, and so will this process; it is no error of the run
            updates.send(word)

    def tell(epoch: EpochRecord) -> None:
        send(Update(name, epoch.epoch, epoch.valid_accuracy))

    return execution.run_one(run, machine, folder, workers=workers, on_epoch=tell, say=lambda text: send(Note(name, text)))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _start_server() -> None:
    """Start the server with Ctrl-C blocked, for itself and all that it forks: it is the parent that answers Ctrl-C."""
    _CONTEXT.set_forkserver_preload(_PRELOAD)
    resource_tracker.ensure_running()  # else the server's start begins with this one's, which unblocks Ctrl-C
    with _blocked(signal.SIGINT):
        forkserver.ensure_running()


@contextmanager
def _blocked(signal_number: signal.Signals) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal_number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_late(error: BaseException | None, run_seconds: float | None) -> bool:
    """By what pebble says; a run may end with a TimeoutError of its own."""
    return isinstance(error, TimeoutError) and error.args == ("Task Timeout", run_seconds)


def _reason(error: BaseException) -> str:
    if isinstance(error, ProcessExpired):
        code = error.exitcode
        return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with exit code {code}"
    return f"{type(error).__name__}: {error}"


@dataclass
class _Refresh:
    """Rebuilds the report now and then in the background, so that a long sweep can be watched."""

    every_seconds: int
    _last: float = field(default_factory=monotonic)  # a short sweep has one at its end
    _process: subprocess.Popen[bytes] | None = None

    def after_a_run(self, job: Job) -> None:
        is_busy = self._process is not None and self._process.poll() is None
        if self.every_seconds and not is_busy and monotonic() - self._last >= self.every_seconds:
            self._last = monotonic()
            command = ["nice", *report_command(job.app)]  # it must not take the runs' time
            self._process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)  # with the process that draws beside it, and would draw on
            self._process.wait()
