"""The submitit launchers: train runs in the jobs of a Slurm array, or in local processes to try it without Slurm."""

import io
import math
import signal
import time
from collections import deque
from collections.abc import Collection
from contextlib import redirect_stderr, suppress
from typing import Any

from hydra_plugins.lrsweep_launchers import _remote
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress, label
from hydra_plugins.lrsweep_launchers._slurm_queue import SlurmQueue
from hydra_plugins.lrsweep_launchers._submitit_job import Train, finished_record
from lrsweep.config import ConfigError, require
from lrsweep.records import RunRecord
from lrsweep.training.device import num_cores

_POLL_SECONDS = 1
# The whole sweep is one array, so that Slurm itself enforces array_parallelism. By default, Slurm allows arrays of 1,001 jobs.
_MAX_JOBS = 1_000
# These settings of submitit have the same name on every kind of cluster. All other settings are for Slurm only.
_SHARED = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name", "stderr_to_stdout")


def check(jobs: list[Job], /, runs_per_job: Any, fallback: Any, array_parallelism: Any = 1, **settings: Any) -> None:
    for name, value in {"runs_per_job": runs_per_job, "array_parallelism": array_parallelism}.items():
        is_count = type(value) is int and value >= 1  # the launcher's config has no schema, so check the type
        require(is_count, f"hydra.launcher.{name}", "a whole number of at least 1", value)
    require(type(fallback) is bool, "hydra.launcher.fallback", "true or false", fallback)
    _remote.require("submitit", extra="slurm")  # before any function below imports submitit


def run_all(jobs: list[Job], done: list[RunRecord], /, cluster: str, runs_per_job: int, fallback: bool, **settings: Any) -> None:
    """Run every job. A run that ends without a record is reported and left missing. Ctrl-C ends all jobs first."""
    cores = settings["cpus_per_task"] or 1
    if cluster == "slurm":
        bundles = bundle(jobs, max(runs_per_job, math.ceil(len(jobs) / _MAX_JOBS)))
        max_active, workers = len(bundles), 1
        how = f"Slurm jobs: {len(bundles)}, at most {settings['array_parallelism']} at a time"
    else:
        bundles = bundle(jobs, runs_per_job)
        max_active = workers = max(1, num_cores() // cores)
        how = f"{workers} jobs at a time by submitit"
    if len(bundles[0]) > 1:
        workers = max(1, cores // jobs[0].app.machine.threads)
    # The user's limit is for each run, and submitit's limit is for each job.
    executor = make_executor(cluster, settings | {"max_num_timeout": settings["max_num_timeout"] * len(bundles[0])})
    progress = Progress(len(jobs), done, how)
    queue = SlurmQueue(progress.write) if cluster == "slurm" else _LocalQueue()
    waiting, active = deque(bundles), dict[Any, list[Job]]()
    try:
        while waiting or active:
            batch = [waiting.popleft() for _ in range(min(len(waiting), max_active - len(active)))]
            if batch:
                active |= zip(_submit(cluster, executor, batch, workers, fallback), batch, strict=True)
            states = queue.final_states(active)  # before looking for results, because a job leaves its result before it ends
            ended = [submitted for submitted in active if _has_result(submitted) or submitted in states]
            for submitted in ended:
                _collect(active.pop(submitted), submitted, states.get(submitted, "FAILED"), progress)
            if not ended:
                time.sleep(_POLL_SECONDS)
    finally:
        queue.cancel(active)
        progress.close()


def bundle(jobs: list[Job], runs_per_job: int) -> list[list[Job]]:
    """Divide the runs evenly among as few jobs as possible. The sweep's first runs are the first runs of their jobs."""
    num_jobs = math.ceil(len(jobs) / runs_per_job)
    return [jobs[i::num_jobs] for i in range(num_jobs)]


def make_executor(cluster: str, settings: dict[str, Any]) -> Any:
    """Set up submitit's executor. A setting for only one kind of cluster has the cluster's name as a prefix."""
    import submitit

    folder, max_num_timeout = settings.pop("submitit_folder"), settings.pop("max_num_timeout")
    try:
        executor = submitit.AutoExecutor(folder, cluster, **{f"{cluster}_max_num_timeout": max_num_timeout})
        executor.update_parameters(
            **{name if name in _SHARED else f"{cluster}_{name}": value for name, value in settings.items()}
        )
    except (RuntimeError, ValueError, NameError, AssertionError) as error:
        raise ConfigError(f"hydra/launcher=submitit_{cluster}: {' '.join(str(error).split())}") from error
    return executor


def _submit(cluster: str, executor: Any, bundles: list[list[Job]], workers: int, fallback: bool) -> list[Any]:
    import submitit

    apps = [[job.app for job in jobs] for jobs in bundles]
    # Ctrl-C between sbatch and the code that cancels jobs would leave the jobs running, so defer it. Not for local jobs: they
    # would inherit the blocked signals.
    deferred = [signal.SIGINT, signal.SIGTERM] if cluster == "slurm" else []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, deferred)
    try:
        with redirect_stderr(io.StringIO()):  # submitit prints sbatch's error and raises it as well
            jobs: list[Any] = executor.map_array(Train(), apps, [workers] * len(apps), [fallback] * len(apps))
        return jobs
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in str(error).splitlines()]
        raise ConfigError(f"hydra/launcher=submitit_slurm: sbatch refused the jobs: {'; '.join(lines)}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _has_result(submitted: Any) -> bool:
    folder = submitted.paths.folder
    with suppress(OSError):
        folder.chmod(folder.stat().st_mode)  # makes an NFS client look at the folder again
    return bool(submitted.paths.result_pickle.exists())


def _collect(jobs: list[Job], submitted: Any, state: str, progress: Progress) -> None:
    """Store the records of a job that has ended. If runs have no record, print why; the sweep reports them as missing."""
    records: list[RunRecord | None]
    try:
        if not _has_result(submitted):
            raise LookupError("the job is lost")
        records = submitted.result()
    except Exception:  # the job raised an error or is lost, but it may have finished runs before
        records = [finished_record(job.app) for job in jobs]
    for job, record in zip(jobs, records, strict=True):
        if record is not None:
            _remote.store_record(job, record, progress)
    missing = [job for job, record in zip(jobs, records, strict=True) if record is None]
    if missing:
        others = f" and {len(missing) - 1} more" if missing[1:] else ""
        first = label(missing[0].run.optimizer.lr, missing[0].run.seed)
        progress.write(f"{first}{others}: no record: job {submitted.job_id} {state}: {_last_words(submitted)}")


def _last_words(submitted: Any) -> str:
    """The last line of the job's log that may say why the job ended, and the path of the log."""
    path = submitted.paths.stderr if submitted.paths.stderr.exists() else submitted.paths.stdout
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("submitit INFO")]
    telling = [line for line in lines if not line.startswith("srun: ")] or lines  # srun only says that something else has failed
    return f"{telling[-1] if telling else 'its log is empty'} ({path})"


class _LocalQueue:
    """The same interface as SlurmQueue, for local jobs."""

    def final_states(self, jobs: Collection[Any]) -> dict[Any, str]:
        return {job: job.state for job in jobs if job.done()}

    def cancel(self, jobs: Collection[Any]) -> None:
        for job in jobs:
            job.cancel()
        while not all(job.done() for job in jobs):
            time.sleep(_POLL_SECONDS)
