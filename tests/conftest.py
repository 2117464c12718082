"""Fixtures for many tests: MNIST, small run configs, records without training, and commands run in this process."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from on_device import DEVICE

from lrsweep.cli import main
from lrsweep.config import DataConfig, LossConfig, OptimizerConfig, RunConfig, TrainingConfig, run_id
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet
from lrsweep.records import EpochRecord, Outcome, RunRecord

ROOT = Path(__file__).parents[1]

# Every test run tries the same examples, without time limits, and writes nothing to the working directory.
hypothesis.settings.register_profile("lrsweep", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("lrsweep")

# These files take longest: their tests start commands and wait for them. If they came last, cores would be idle at the end.
_FIRST = (
    "faults/test_slurm.py",
    "launchers/test_ray_and_submitit.py",
    "faults/test_killed.py",
    "faults/",
    "launchers/",
    "end_to_end/",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of `_FIRST` first. With --no-loadscope-reorder, xdist hands out the files in this order."""

    def rank(item: pytest.Item) -> int:
        file = str(item.path.relative_to(ROOT / "tests"))
        return next((i for i, beginning in enumerate(_FIRST) if file.startswith(beginning)), len(_FIRST))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Hydra changes the root logger for its jobs and does not restore it."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal() -> None:
    """A command that was stopped in this process ignores further signals, and its child processes would do so too."""
    for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _forget_modules_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Modules that a test wrote and imported would hide those of the same name in later tests."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path_factory.getbasetemp()) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`in_process(main, "lrsweep", …)` runs a command in this process, in an empty folder, on the CPU. Returns the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for child processes
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def command(main: Callable[[], None], name: str, *overrides: str) -> int:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # main() sets it, so monkeypatch must restore it
        monkeypatch.setattr(sys, "argv", [name, f"machine.data_dir={ROOT / 'data'}", *overrides])
        try:
            main()
        except SystemExit as exit_:
            return int(exit_.code or 0)
        return 0

    return command


@pytest.fixture
def lrsweep(in_process: Callable[..., int]) -> Callable[..., int]:
    """`lrsweep(…)` runs the command lrsweep in the same way."""
    return partial(in_process, main.main, "lrsweep")


@pytest.fixture(scope="session")
def mnist() -> DataSet:
    return dataset.load(DataConfig(), ROOT / "data", DEVICE)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunConfig]:
    """Build a run with few images. Keywords set fields of `training` and `data`."""

    def make(*, lr: float = 1e-3, seed: int = 0, loss: str = "cross_entropy", **fields: Any) -> RunConfig:
        sizes = {"num_train": 64, "num_valid": 100, "num_test": 100}
        limits = {"patience": 5, "max_epochs": 3}
        settings = sizes | limits | fields
        return RunConfig(
            seed=seed,
            data=DataConfig(**{name: settings.pop(name) for name in sizes}),
            loss=LossConfig(name=loss),
            optimizer=OptimizerConfig(lr=lr),
            training=TrainingConfig(**settings),
        )

    return make


@pytest.fixture(scope="session")
def make_record() -> Callable[..., RunRecord]:
    """Build a record with the documents' split sizes. Keywords other than `lr`, `seed` and `loss` set fields of its outcome."""

    def make(*, lr: float = 1e-3, seed: int = 0, loss: str = "cross_entropy", **outcome: Any) -> RunRecord:
        run = RunConfig(seed=seed, optimizer=OptimizerConfig(lr=lr), loss=LossConfig(name=loss))
        return RunRecord(
            run_id=run_id(run),
            config=asdict(run),
            outcome=Outcome(**_OUTCOMES[outcome.get("status", "ok")] | outcome),
            engine="solo",
            timing="measured",
            class_counts={"train": [300] * 10, "valid": [500] * 10, "test": [1000] * 10},
            environment={"device": "cpu", "cores": 2},
        )

    return make


_CURVE = tuple(
    EpochRecord(epoch=i, train_loss=2.0 / i, train_accuracy=0.5, valid_loss=2.1 / i, valid_accuracy=accuracy, seconds=1.1)
    for i, accuracy in enumerate((0.3, 0.6, 0.6), start=1)
)
_OUTCOMES: dict[str, dict[str, Any]] = {
    "ok": {
        "status": "ok",
        "stop_reason": "patience",
        "curve": _CURVE,
        "best_epoch": 2,
        "valid_accuracy": 0.6,
        "test_accuracy": 0.59,
        "test_loss": 1.2,
        "best_test_accuracy": 0.59,
        "last_test_accuracy": 0.58,
        "wall_seconds": 3.3,
        "cpu_seconds": 3.2,
        "last_finite_loss": 0.7,
    },
    "diverged": {
        "stop_reason": "diverged",
        "wall_seconds": 1.1,
        "cpu_seconds": 1.0,
        "diverged_step": 1,
        "last_finite_loss": 2.3,
    },
    "failed": {"stop_reason": "error", "error": "its process was killed by signal 9, 2 times"},
}
