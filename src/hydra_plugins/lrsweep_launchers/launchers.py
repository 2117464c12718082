"""The launchers as Hydra sees them. Hydra imports this file at every start of every Hydra app, so it imports only Hydra."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf  # Hydra has no public name for it
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class PoolConf:
    _target_: str = "hydra_plugins.lrsweep_launchers.launchers.PoolLauncher"
    workers: int | None = None  # processes; None: one per core, or one if there is a GPU
    refresh_seconds: int = 300  # between two refreshes of the report while the sweep runs; 0: only at its end
    run_seconds: float | None = None  # a run that takes longer is ended and recorded as failed; None: no limit
    measure: bool = False  # repeat fused runs, whose time was not measured


@dataclass
class FusedConf:
    _target_: str = "hydra_plugins.lrsweep_launchers.launchers.FusedLauncher"
    runs: int | None = None  # at a time; None: as many as fit into GPU memory, or 8 on a CPU


@dataclass
class SweeperConf(BasicSweeperConf):
    _target_: str = "hydra_plugins.lrsweep_launchers.launchers.LazySweeper"


# The settings of the other launchers are in conf/hydra/launcher/.
ConfigStore.instance().store(group="hydra/launcher", name="pool", node=PoolConf, provider="lrsweep")
ConfigStore.instance().store(group="hydra/launcher", name="fused", node=FusedConf, provider="lrsweep")
ConfigStore.instance().store(group="hydra/sweeper", name="lazy", node=SweeperConf, provider="lrsweep")


class LazySweeper(BasicSweeper):
    """`hydra/sweeper=lazy`: Hydra's basic sweeper, but it does not compose the jobs, because our launchers do."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        pass


class _StoreLauncher(Launcher):
    """Compose and check every job, run the unfinished ones, and report how complete the sweep is."""

    measure = False  # repeat runs whose time was not measured?

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra_plugins.lrsweep_launchers._compose import refuse_endless

        refuse_endless(hydra_context.config_loader, config)
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from hydra_plugins.lrsweep_launchers import _core

        jobs = _core.compose(self.hydra_context, self.config, job_overrides, initial_job_idx)
        self._check(jobs)
        with _core.hold_studies(jobs):
            pending, done = _core.split_by_store(jobs, measure=self.measure)
            if pending:
                _core.write_model_summaries(jobs)
                self._run(pending, done)
            return _core.finish(self.hydra_context, self.config, jobs, pending)

    @abstractmethod
    def _check(self, jobs: list[Any]) -> None:
        """Raise ConfigError if the jobs cannot run."""

    @abstractmethod
    def _run(self, pending: list[Any], done: list[Any]) -> None:
        """Run the pending jobs. `done` are the records of the sweep's finished runs."""


class PoolLauncher(_StoreLauncher):
    """`hydra/launcher=pool`: one process per run, several at a time."""

    def __init__(self, workers: int | None, refresh_seconds: int, run_seconds: float | None, measure: bool) -> None:
        self.workers = workers
        self.refresh_seconds = refresh_seconds
        self.run_seconds = run_seconds
        self.measure = measure

    def _check(self, jobs: list[Any]) -> None:
        from hydra_plugins.lrsweep_launchers import _pool

        _pool.check(self.refresh_seconds, self.run_seconds)
        _pool.num_workers(self.workers, jobs[0].app.machine)

    def _run(self, pending: list[Any], done: list[Any]) -> None:
        from hydra_plugins.lrsweep_launchers import _pool

        workers = _pool.num_workers(self.workers, pending[0].app.machine)
        _pool.run_all(pending, done, workers, self.refresh_seconds, self.run_seconds)


class FusedLauncher(_StoreLauncher):
    """`hydra/launcher=fused`: many runs in one program, `runs` at a time."""

    def __init__(self, runs: int | None) -> None:
        self.runs = runs

    def _check(self, jobs: list[Any]) -> None:
        from hydra_plugins.lrsweep_launchers import _fused

        _fused.check(self.runs, jobs)

    def _run(self, pending: list[Any], done: list[Any]) -> None:
        from hydra_plugins.lrsweep_launchers import _fused

        _fused.run_all(pending, done, self.runs)


class RayLauncher(_StoreLauncher):
    """`hydra/launcher=ray`: one Ray task per run or fused program. Settings are named as in hydra-ray-launcher."""

    def __init__(self, ray: DictConfig, fused: int | None) -> None:
        self.settings: Any = OmegaConf.to_container(ray, resolve=True)
        self.fused = fused

    def _check(self, jobs: list[Any]) -> None:
        from hydra_plugins.lrsweep_launchers import _ray, _remote

        _ray.check(self.fused)
        _remote.require("ray", extra="ray")

    def _run(self, pending: list[Any], done: list[Any]) -> None:
        from hydra_plugins.lrsweep_launchers import _ray

        _ray.run_all(pending, done, self.fused, **self.settings)


class _SubmititLauncher(_StoreLauncher):
    """One submitit job per run. Settings are named as in hydra-submitit-launcher."""

    cluster: str

    def __init__(self, **settings: Any) -> None:
        self.settings = {
            name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for name, value in settings.items()
        }

    def _check(self, jobs: list[Any]) -> None:
        from hydra_plugins.lrsweep_launchers import _remote

        _remote.require("submitit", extra="slurm")

    def _run(self, pending: list[Any], done: list[Any]) -> None:
        from hydra_plugins.lrsweep_launchers import _submitit

        _submitit.run_all(pending, done, self.cluster, self.settings)


class SlurmLauncher(_SubmititLauncher):
    """`hydra/launcher=submitit_slurm`."""

    cluster = "slurm"


class LocalLauncher(_SubmititLauncher):
    """`hydra/launcher=submitit_local`."""

    cluster = "local"
