"""The code that runs inside a submitit job. It trains the job's runs, and loses no progress when Slurm stops the job."""

import os
import signal
import subprocess
from contextlib import suppress
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

from hydra_plugins.lrsweep_launchers import _fused, _pool, _processes, _remote
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import first_line
from lrsweep.cli import preparation
from lrsweep.cli.main import SweepIncomplete
from lrsweep.config import AppConfig, run_id
from lrsweep.records import RunRecord
from lrsweep.storage import store
from lrsweep.training.device import prepare_device

_ASK_SECONDS = 20


class Train:
    """The function that a job calls. If a job is queued again, it skips finished runs and resumes the others from checkpoints."""

    def __call__(self, apps: list[AppConfig], workers: int, fallback: bool) -> list[RunRecord | None]:
        """Train the runs of one job. Returns their records; None for a run without a valid record.

        If a job has several runs, `workers` of them train at a time, each in its own process. On a GPU, they share fused programs
        instead; if a program fails, its unfinished runs run solo with `fallback`.
        """
        number = _handle_signals()
        pending = [app for app in apps if finished_record(app) is None]  # others ended earlier, in this or another job
        if pending and len(apps) == 1:
            return [_remote.train(apps[0].run, apps[0].machine, apps[0].folder, workers)]
        if pending:
            _start_deaf_server(number)
            jobs = [Job(app) for app in pending]
            if prepare_device(pending[0].machine).type == "cuda":
                with suppress(SweepIncomplete):  # its message says why, at the end of the log
                    _fused.run_all(jobs, [], None, fallback)
            else:
                _pool.run_all(jobs, [], workers)
        return [store.read_run(app.folder, run_id(app.run)) for app in apps]

    def checkpoint(self, *arguments: Any) -> Any:
        """submitit calls this before it queues the job again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)


def finished_record(app: AppConfig) -> RunRecord | None:
    record = store.read_run(app.folder, run_id(app.run))
    return record if record and preparation.is_finished(record, app.machine) else None


def _handle_signals() -> signal.Signals:
    """Change how the job reacts to Slurm's signals. Returns the signal that Slurm sends before the time limit.

    For that signal, submitit's handler queues the job again, and raises an error if it cannot. The training code would take this
    error for an error of the run, remove its checkpoint and record it as failed. And submitit ignores SIGTERM. So our handler
    ends this process at once, without unwinding: the checkpoint on disk is complete, and pool workers end with this process.
    """
    import submitit

    before_the_limit = signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]
    queue_again: Any = signal.getsignal(before_the_limit)

    def handle(number: int, frame: FrameType | None) -> None:
        # A preempted job may get both signals at once. submitit must not be interrupted while it writes its files.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [before_the_limit, signal.SIGTERM])
        try:
            if number == before_the_limit:
                queue_again(number, frame)
            elif not _is_running():
                os._exit(128 + number)
        except SystemExit as ended:  # submitit has queued the job again
            os._exit(int(ended.code or 0) & 0xFF)
        except Exception as error:
            print(first_line(error), flush=True)  # the launcher quotes the last line of the log
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

    signal.signal(before_the_limit, handle)
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)  # submitit would write a line into the log
    return before_the_limit


def _is_running() -> bool:
    """Should the job continue after SIGTERM?

    With GraceTime, SIGTERM announces a preemption, and the job still runs. Slurm does not requeue a job that ends before its
    preemption.
    """
    import submitit

    job = submitit.JobEnvironment()
    if job.cluster != "slurm":
        return False
    command = ["squeue", "--noheader", f"--jobs={job.job_id}", "--format=%T"]  # not SLURM_JOB_ID, which may be the whole array
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS)
    except subprocess.TimeoutExpired:
        return True  # if Slurm does not answer, go on: a cancelled job is killed a little later, and its checkpoint is safe
    return answer.returncode != 0 or answer.stdout.strip() in ("RUNNING", "SIGNALING")


def _start_deaf_server(before_the_limit: signal.Signals) -> None:
    """Start the server of the worker processes with Slurm's signals blocked. Workers inherit this.

    Slurm sends its signals to every process of the job, but only this process must react.
    """
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [before_the_limit])
    resource_tracker.ensure_running()  # its start would unblock SIGTERM
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        _processes.ensure_server()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
