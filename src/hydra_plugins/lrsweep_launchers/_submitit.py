"""The submitit launchers: one Slurm job per run, or, to try that without Slurm, one local process per run."""

import time
from collections import deque
from typing import Any

from hydra_plugins.lrsweep_launchers import _remote
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress
from lrsweep.config import ConfigError
from lrsweep.records import RunRecord
from lrsweep.training.device import num_cores

_POLL_SECONDS = 1
_MAX_QUEUED = 1_000  # Slurm's default MaxArraySize allows arrays of 1,001 jobs
# These settings of submitit have the same name on every kind of cluster. All other settings are for Slurm only.
_SHARED = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name", "stderr_to_stdout")


class _Train:
    """The function of a Slurm job. A preempted or timed-out job is queued again and resumes from the run's checkpoint."""

    def __call__(self, *arguments: Any) -> RunRecord:
        return _remote.train(*arguments)

    def checkpoint(self, *arguments: Any) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)


def check(jobs: list[Job], /, **settings: Any) -> None:
    _remote.require("submitit", extra="slurm")  # before any function below imports submitit


def run_all(jobs: list[Job], done: list[RunRecord], /, cluster: str, **settings: Any) -> None:
    """Run every job. A job that ends without a record is reported and left missing. Ctrl-C ends all jobs first."""
    executor = make_executor(cluster, settings)
    if cluster == "slurm":
        max_active, workers = _MAX_QUEUED, settings["array_parallelism"]
    else:
        max_active = workers = max(1, num_cores() // (settings["cpus_per_task"] or 1))
    waiting, active = deque(jobs), dict[Any, Job]()
    progress = Progress(len(jobs), done, f"{workers} at a time by submitit")
    try:
        while waiting or active:
            batch = [waiting.popleft() for _ in range(min(len(waiting), max_active - len(active)))]
            if batch:
                arguments = [(job.run, job.app.machine, job.folder, workers) for job in batch]
                active |= zip(executor.map_array(_Train(), *zip(*arguments, strict=True)), batch, strict=True)
            ended = [submitted for submitted in active if submitted.done()]
            for submitted in ended:
                _remote.fetch_and_store(active.pop(submitted), submitted.result, progress)
            if not ended:
                time.sleep(_POLL_SECONDS)
    finally:
        for submitted in active:
            submitted.cancel(check=False)
        while cluster == "local" and not all(submitted.done() for submitted in active):
            time.sleep(_POLL_SECONDS)
        progress.close()


def make_executor(cluster: str, settings: dict[str, Any]) -> Any:
    """Set up submitit's executor. submitit prefixes the settings of one kind of cluster with the cluster's name."""
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
