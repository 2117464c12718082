"""Hydra's own tests of launchers: composing, job folders, `.hydra/`, return values.

The configs of the suite are not lrsweep's, so the tests replace each one by a run with another seed. Nothing is trained: a
made-up record is stored instead. The calls between Hydra and the launcher are real. Only the pool launcher is tested, because
all launchers share this code.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import hydra.version
import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, LauncherTestSuite
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.lrsweep_launchers import _core, _pool
from hydra_plugins.lrsweep_launchers.launchers import FusedLauncher, PoolLauncher
from lrsweep.cli import main
from lrsweep.config import AppConfig, MachineConfig
from lrsweep.records import RunRecord
from lrsweep.storage import store

# The suite's apps set neither version_base nor hydra.job.chdir, so Hydra 1.3 warns.
pytestmark = pytest.mark.filterwarnings("ignore:\\s*Future Hydra versions will no longer change working directory")

# IntegrationTestSuite is left out: it reads the output of the task function, which our launchers never call.


@pytest.fixture(autouse=True)
def _made_up_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_record: Callable[..., RunRecord]) -> None:
    if hydra.__version__.startswith("1.3."):  # the suite expects that no version_base is set, but other tests may have set one
        monkeypatch.setattr(hydra.version.VersionBase.instance(), "version_base", hydra.version.__compat_version__)
    configs: list[str] = []

    def to_app_config(cfg: DictConfig) -> AppConfig:
        text = OmegaConf.to_yaml(cfg)
        if text not in configs:
            configs.append(text)
        return AppConfig(seed=configs.index(text), machine=MachineConfig(results_dir=str(tmp_path)))

    def run_all(pending: list[_core.Job], done: list[RunRecord], **settings: object) -> None:
        for job in pending:
            store.save(job.folder, replace(make_record(), run_id=job.run_id, config=asdict(job.run)))

    monkeypatch.setattr(main, "to_app_config", to_app_config)
    monkeypatch.setattr(_core, "report_command", lambda app: ["true"])
    monkeypatch.setattr(_pool, "run_all", run_all)


@pytest.mark.parametrize("launcher", [PoolLauncher, FusedLauncher])
def test_hydra_discovers_the_launcher(launcher: type[Launcher]) -> None:
    assert launcher.__name__ in [plugin.__name__ for plugin in Plugins.instance().discover(Launcher)]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher_name", "overrides"), [("pool", [])])
class TestLauncher(LauncherTestSuite):
    # Left out, because both check what the task function returns or raises.
    test_sweep_with_custom_resolver = None
    test_failure_preserves_task_traceback = None


@pytest.mark.slow
@pytest.mark.parametrize(("launcher_name", "overrides"), [("pool", ["hydra.sweeper.max_batch_size=2"])])
class TestBatches(BatchedSweeperTestSuite):
    pass
