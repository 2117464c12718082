"""Hydra's view of the launchers. Imports Hydra only: its plugin scanner runs this file at every start of every Hydra app."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class PoolConf:
    _target_: str = "hydra_plugins.lrsweep_launchers.launchers.PoolLauncher"
    workers: int | None = None  # processes; None: one a core, or one where there is a GPU
    refresh_seconds: int = 300  # between two refreshes of the report while the sweep runs; 0: only at its end


ConfigStore.instance().store(group="hydra/launcher", name="pool", node=PoolConf, provider="lrsweep")


class PoolLauncher(Launcher):
    """`hydra/launcher=pool`: one process a run, as many at a time as there are workers."""

    def __init__(self, workers: int | None, refresh_seconds: int) -> None:
        self.workers = workers
        self.refresh_seconds = refresh_seconds

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from hydra_plugins.lrsweep_launchers import _core, _pool

        jobs = _core.compose(self.hydra_context, self.config, job_overrides, initial_job_idx)
        workers = _pool.num_workers(self.workers, jobs[0].app.machine)
        pending, done = _core.split_by_store(jobs)
        if pending:
            _pool.run_all(pending, done, workers, self.refresh_seconds)
        return _core.finish(self.hydra_context, jobs, has_run=bool(pending))
