"""Randomly generated commands: each is accepted, or refused in one line. Nothing is trained."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from random_commands import COMMANDS, OVERRIDES
from small_sweep import Explore, RecordLoss

from hydra_plugins.lrsweep_launchers import _compose, _core
from lrsweep.cli import main, single_run
from lrsweep.cli.errors import explain, is_user_error
from lrsweep.config import CONF_DIR, AppConfig
from lrsweep.training.device import same_settings_after

pytestmark = [
    pytest.mark.slow,
    pytest.mark.fault(
        "a randomly generated config (hypothesis)",
        "it is composed and its bounds are checked, or it is refused in one line, exit code 2",
    ),
]


def test_a_random_config_is_composed_or_refused_in_one_line(
    explore: Explore, record_loss: RecordLoss, pytestconfig: pytest.Config
) -> None:
    refusals: list[str] = []  # an empty text for each config that is composed

    always = [["optimizer=null"], ["optimizer.lr=" + "9" * 400], ["optimizer.lr=" + "9" * 5000]]

    def is_composed_or_refused(overrides: list[str]) -> None:
        try:
            assert isinstance(main.to_app_config(compose("config", overrides)), AppConfig)
            refusals.append("")
        except Exception as error:
            if not is_user_error(error):
                raise
            refusals.append(explain(error))
            assert refusals[-1].splitlines() == [refusals[-1]]

    main.register()
    with initialize_config_dir(str(CONF_DIR), **main.VERSION_BASE):
        explore(OVERRIDES, is_composed_or_refused, 50, always)
    assert_both_happen(refusals.count(""), len(refusals), pytestconfig)
    record_loss(None, num_tries=len(refusals))


def assert_both_happen(num_accepted: int, num_tried: int, pytestconfig: pytest.Config) -> None:
    """A slow machine has time for few new examples, so that by chance only one of them may be accepted or refused."""
    is_new = pytestconfig.getoption("--fuzz-minutes", None) is not None
    least = 1 if is_new else 0.1 * num_tried
    assert least <= num_accepted <= num_tried - least


@pytest.fixture
def to_train(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[AppConfig]]:
    """The runs that would be trained, by a single run or by a launcher that has checked all of its jobs."""
    runs: list[AppConfig] = []

    def split_by_store(jobs: list[_core.Job], *, measure: bool) -> tuple[list[_core.Job], list[_core.Job]]:
        runs.extend(job.app for job in jobs)
        return [], []

    monkeypatch.setattr(single_run, "_run_held", runs.append)
    monkeypatch.setattr(_core, "split_by_store", split_by_store)
    monkeypatch.setattr(_core, "finish", lambda *_, **__: [])
    monkeypatch.setattr(_compose, "_MAX_JOBS", 4)  # composing more takes long
    with same_settings_after():
        yield runs


def test_a_random_command_succeeds_or_is_refused_in_one_line(
    explore: Explore,
    to_train: list[AppConfig],
    lrsweep: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_loss: RecordLoss,
    pytestconfig: pytest.Config,
) -> None:
    codes: list[int] = []
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(here / "results"))  # W&B keeps a log there

    always = [
        ["study.name=../../there"],
        ["hydra.mode=MULTIRUN", "study.name=../../there"],
        ["study=lr", "grid.step=4", "seed=range(1000000000)"],
        ["study=lr", "grid.step=4", "hydra.launcher.workers=" + str(2**64)],
        ["seed=1", "-m", "optimizer.lr=1e-3"],
        ["seed=1", "--nope"],
        ["study=lr", "grid.step=4", "tracker=wandb"],
    ]

    def succeeds_or_is_refused(overrides: list[str]) -> None:
        to_train.clear()
        codes.append(lrsweep(*overrides))
        out, err = capsys.readouterr()
        if codes[-1] == 0:
            assert to_train
            assert all(isinstance(run, AppConfig) for run in to_train)
        else:
            assert (codes[-1], out, to_train) == (2, "", [])
            assert err.endswith("\n")
            assert err.count("\n") == 1
        assert list(tmp_path.iterdir()) == [here]
        assert {path.name for path in here.iterdir()} <= {"results"}

    explore(COMMANDS, succeeds_or_is_refused, 15, always)
    assert_both_happen(codes.count(0), len(codes), pytestconfig)
    record_loss(None, num_tries=len(codes))
