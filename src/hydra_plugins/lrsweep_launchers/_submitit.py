"""One Slurm job a run, by submitit; or the same on this machine, each run in a process of its own, to try that."""

import time
from collections import deque
from typing import Any

import submitit

from hydra_plugins.lrsweep_launchers import _remote
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress
from lrsweep.config import ConfigError
from lrsweep.records import RunRecord
from lrsweep.training.device import num_cores

_POLL_SECONDS = 1
_QUEUED = 1_000  # of Slurm's jobs at once; the largest array that it takes, where nobody has changed MaxArraySize, is 1,001
# What submitit calls by one name for every cluster; other settings are Slurm's own.
_SHARED = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name", "stderr_to_stdout")


class _Train:
    """What a job does. One that is preempted, or out of time, is queued again and goes on from the run's checkpoint."""

    def __call__(self, *what: Any) -> RunRecord:
        return _remote.train(*what)

    def checkpoint(self, *what: Any) -> Any:
        return submitit.helpers.DelayedSubmission(self, *what)


def run_all(jobs: list[Job], done: list[RunRecord], cluster: str, settings: dict[str, Any]) -> None:
    """Run every job. One that ends without a record is said and left missing. Ctrl-C ends all jobs first."""
    executor = make_executor(cluster, dict(settings))
    cores = settings["cpus_per_task"] or 1
    most, workers = (_QUEUED, settings["array_parallelism"]) if cluster == "slurm" else 2 * (max(1, num_cores() // cores),)
    waiting, active = deque(jobs), dict[Any, Job]()
    progress = Progress(len(jobs), done, f"{workers} at a time by submitit")
    try:
        while waiting or active:
            batch = [waiting.popleft() for _ in range(min(len(waiting), most - len(active)))]
            if batch:
                what = [(job.run, job.app.machine, job.folder, workers) for job in batch]
                active |= zip(executor.map_array(_Train(), *zip(*what, strict=True)), batch, strict=True)
            ended = [submitted for submitted in active if submitted.done()]
            for submitted in ended:
                _remote.bring_home(active.pop(submitted), submitted.result, progress)
            if not ended:
                time.sleep(_POLL_SECONDS)
    finally:
        _cancel(list(active), cluster)
        progress.close()


def make_executor(cluster: str, settings: dict[str, Any]) -> Any:
    """submitit's, set up. It names a setting of one kind of cluster after that."""
    folder, retries = settings.pop("submitit_folder"), settings.pop("max_num_timeout")
    try:
        executor = submitit.AutoExecutor(folder, cluster, **{f"{cluster}_max_num_timeout": retries})
        executor.update_parameters(
            **{name if name in _SHARED else f"{cluster}_{name}": value for name, value in settings.items()}
        )
    except (RuntimeError, ValueError, NameError, AssertionError) as error:
        raise ConfigError(f"hydra/launcher=submitit_{cluster}: {' '.join(str(error).split())}") from error
    return executor


def _cancel(active: list[Any], cluster: str) -> None:
    for submitted in active:
        submitted.cancel(check=False)
    while cluster == "local" and not all(submitted.done() for submitted in active):
        time.sleep(_POLL_SECONDS)
