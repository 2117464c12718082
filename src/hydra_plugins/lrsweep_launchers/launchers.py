"""The launchers as Hydra sees them. Every Hydra app imports this file when it starts, so it imports only Hydra."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
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
    refresh_seconds: int = 60  # least time between two reports during the sweep; 0: only one report, at the end
    run_seconds: float | None = None  # a run that takes longer is ended and recorded as failed; None: no limit
    measure: bool = False  # repeat fused runs, whose time was not measured


@dataclass
class FusedConf:
    _target_: str = "hydra_plugins.lrsweep_launchers.launchers.FusedLauncher"
    runs: int | None = None  # number of runs that train at a time; None: as many as fit into GPU memory, or 8 on a CPU
    refresh_seconds: int = 60  # as above
    fallback: bool = False  # if a program fails, its unfinished runs run solo; otherwise the sweep ends


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
    """Compose and check every job, run the unfinished ones, and report how complete the sweep is.

    `module` has two functions: check(jobs, **settings) raises ConfigError if the jobs cannot run; run_all(jobs, done,
    **settings) runs them.
    """

    module: str
    measure = False  # repeat runs whose time was not measured?

    def __init__(self, refresh_seconds: int, **settings: Any) -> None:
        self.refresh_seconds = refresh_seconds
        self.settings = {
            name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for name, value in settings.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra_plugins.lrsweep_launchers._compose import refuse_too_many_jobs

        refuse_too_many_jobs(hydra_context.config_loader, config)
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from hydra_plugins.lrsweep_launchers import _core, _refresh
        from lrsweep.config import require

        is_time = type(self.refresh_seconds) is int and self.refresh_seconds >= 0  # some launchers' configs have no schema
        require(is_time, "hydra.launcher.refresh_seconds", "a whole number of at least 0", self.refresh_seconds)
        module = import_module(f"hydra_plugins.lrsweep_launchers.{self.module}")
        refresh = _refresh.Refresh(self.refresh_seconds)
        jobs = _core.compose(self.hydra_context, self.config, job_overrides, initial_job_idx, refresh)
        module.check(jobs, **self.settings)
        with _core.hold_studies(jobs):
            pending, done = _core.split_by_store(jobs, measure=self.measure)
            if pending:
                _core.write_model_summaries(jobs)
                try:
                    module.run_all(pending, done, **self.settings)
                finally:
                    refresh.stop()
            return _core.finish(self.hydra_context, self.config, jobs, pending)


class PoolLauncher(_StoreLauncher):
    """`hydra/launcher=pool`: several processes at a time. On a CPU, each trains one run; on a GPU, one run after another."""

    module = "_pool"

    def __init__(self, workers: int | None, refresh_seconds: int, run_seconds: float | None, measure: bool) -> None:
        super().__init__(refresh_seconds, workers=workers, run_seconds=run_seconds)
        self.measure = measure


class FusedLauncher(_StoreLauncher):
    """`hydra/launcher=fused`: many runs in one program, `runs` at a time."""

    module = "_fused"

    def __init__(self, runs: int | None, refresh_seconds: int, fallback: bool) -> None:
        super().__init__(refresh_seconds, num_slots=runs, fallback=fallback)


class RayLauncher(_StoreLauncher):
    """`hydra/launcher=ray`: one Ray task per run or fused program. Settings are named as in hydra-ray-launcher."""

    module = "_ray"

    def __init__(self, ray: DictConfig, fused: int | None, refresh_seconds: int, fallback: bool) -> None:
        super().__init__(refresh_seconds, num_slots=fused, fallback=fallback, init=ray.init, remote=ray.remote)


class SlurmLauncher(_StoreLauncher):
    """`hydra/launcher=submitit_slurm`: a Slurm job for every `runs_per_job` runs.

    The other settings are named as in hydra-submitit-launcher.
    """

    module = "_submitit"

    def __init__(self, **settings: Any) -> None:
        super().__init__(cluster="slurm", **settings)


class LocalLauncher(_StoreLauncher):
    """`hydra/launcher=submitit_local`: the same jobs as local processes, to try submitit without Slurm."""

    module = "_submitit"

    def __init__(self, **settings: Any) -> None:
        super().__init__(cluster="local", **settings)
