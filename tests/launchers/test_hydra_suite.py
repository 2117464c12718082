"""Hydra's own tests of launchers, for both of ours: composing, jobs' directories, `.hydra/`, JobReturns.

The suite's jobs are not of lrsweep's schema and its store, so what makes a run of a config and what trains it are replaced;
all that the launchers do with Hydra is their own. What does not apply is left out below, each with its reason.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, LauncherTestSuite
from hydra.version import VersionBase, __compat_version__
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.lrsweep_launchers import _core, _fused, _pool
from hydra_plugins.lrsweep_launchers.launchers import FusedLauncher, PoolLauncher
from lrsweep.cli import main
from lrsweep.config import AppConfig, MachineConfig
from lrsweep.records import RunRecord
from lrsweep.storage import store

# The suite's own apps name no version of Hydra and leave hydra.job.chdir to it.
pytestmark = pytest.mark.filterwarnings("ignore:\\s*Future Hydra versions will no longer change working directory")

# IntegrationTestSuite is left out: each of its tests runs an app of its own and reads what the task function printed. Our
# launchers never call the task function; a job is a run of lrsweep.


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_record: Callable[..., RunRecord]) -> None:
    """Every config is a run, by a seed of its own; a run that is to be trained leaves a record made up."""
    # The suite asks for Hydra's behaviour where no version_base is named; another test may have named one.
    monkeypatch.setattr(VersionBase.instance(), "version_base", __compat_version__)
    seen: list[str] = []

    def to_app_config(cfg: DictConfig) -> AppConfig:
        text = OmegaConf.to_yaml(cfg)
        if text not in seen:
            seen.append(text)
        return AppConfig(seed=seen.index(text), machine=MachineConfig(results_dir=str(tmp_path)))

    def run_all(pending: list[_core.Job], *settings: object) -> None:
        for job in pending:
            store.save(job.folder, replace(make_record(), run_id=job.run_id, config=asdict(job.run)))

    monkeypatch.setattr(main, "to_app_config", to_app_config)
    monkeypatch.setattr(_core, "report_command", lambda app_config: ["true"])
    monkeypatch.setattr(_pool, "run_all", run_all)
    monkeypatch.setattr(_fused, "run_all", run_all)


@pytest.mark.parametrize("launcher", [PoolLauncher, FusedLauncher])
def test_hydra_discovers_it(launcher: type[Launcher]) -> None:
    assert launcher.__name__ in [found.__name__ for found in Plugins.instance().discover(Launcher)]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher_name", "overrides"), [("pool", []), ("fused", [])])
class TestLauncher(LauncherTestSuite):
    # Left out: it checks what the task function returns. A job's value here is its run's validation accuracy.
    test_sweep_with_custom_resolver = None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [(name, ["hydra.sweeper.max_batch_size=2"]) for name in ("pool", "fused")]
)
class TestBatches(BatchedSweeperTestSuite):
    pass
