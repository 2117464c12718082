"""lrsweep.storage.checkpoints: a resumed run equals an uninterrupted one, and a damaged checkpoint does no harm."""

import dataclasses
import hashlib
import io
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lrsweep.cli import execution
from lrsweep.config import (
    DataConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
    run_id,
)
from lrsweep.data import dataset
from lrsweep.data.dataset import Mnist
from lrsweep.records import EpochRecord, Outcome
from lrsweep.storage import checkpoints, files, store
from lrsweep.storage.checkpoints import Checkpoint, CheckpointError, decode, encode
from lrsweep.training import solo
from lrsweep.training.solo import State, train

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., RunConfig]
MADE_BY: dict[str, Any] = {"run_id": "a", "threads": 1, "git_commit": None, "versions": {"torch": "2"}}
SIZES = {"num_train": 64, "num_valid": 50, "num_test": 50}


class Interrupted(Exception):
    """In the place of a kill."""


# Stopped after every epoch, and on again.

RUNS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "rmsprop": {"optimizer": OptimizerConfig(name="rmsprop")},
    "adadelta": {"optimizer": OptimizerConfig(name="adadelta", lr=1.0)},
    "gd": {"optimizer": OptimizerConfig(name="gd", lr=0.1)},
    "one_cycle": {
        "optimizer": OptimizerConfig(name="nesterov", lr=0.01, layerwise="falling"),
        "schedule": ScheduleConfig(name="one_cycle", length=4.0),
    },
    "plateau": {"schedule": ScheduleConfig(name="plateau", patience=1, threshold=0.5)},
    "grow_batch": {"schedule": ScheduleConfig(name="grow_batch", every=1.0, factor=0.5)},
    "dropout and augmentation": {
        "model": ModelConfig(dropout=0.5),
        "data": DataConfig(**SIZES, max_shift=2.0, max_rotation=10.0),
    },
    "batch_norm": {"model": ModelConfig(batch_norm=True)},
    "bf16": {"training": TrainingConfig(max_epochs=4, precision="bf16")},
    "patience": {"optimizer": OptimizerConfig(lr=1e-30), "training": TrainingConfig(patience=3)},
}


def timeless(outcome: Outcome) -> Outcome:
    curve = tuple(replace(epoch, seconds=0.0) for epoch in outcome.curve)
    return replace(outcome, curve=curve, wall_seconds=None, cpu_seconds=None)


def assert_equal(found: Any, expected: Any) -> None:
    """Trees of tensors and plain values, bit for bit, but for times."""
    assert type(found) is type(expected)
    if isinstance(expected, Tensor):
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected.keys() - {"wall_seconds", "cpu_seconds", "seconds"}:
            assert_equal(found[name], expected[name])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected


class Leg:
    """Trains from a state until the next epoch's end, or to the end of the run."""

    def __init__(self, run: RunConfig, mnist: Mnist) -> None:
        self.run, self.mnist = run, mnist
        self.best: list[dict[str, Tensor]] = []
        self.files: list[bytes] = []

    def stop(self, make_state: Callable[[], State]) -> None:
        self.keep(make_state)
        raise Interrupted

    def keep(self, make_state: Callable[[], State]) -> None:
        self.files.append(encode(make_state(), MADE_BY))

    def train(self, on_state: Callable[[Callable[[], State]], None], resume_from: State | None = None) -> Outcome:
        split = dataset.split(self.mnist, self.run.data, self.run.seed)
        return train(self.run, split, on_best=self.best.append, on_state=on_state, resume_from=resume_from)

    def train_in_parts(self) -> Outcome:
        while True:
            try:
                return self.train(self.stop, decode(self.files[-1], MADE_BY) if self.files else None)
            except Interrupted:
                pass


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "adamw" else pytest.mark.slow) for name in RUNS])
def test_a_run_that_is_stopped_after_every_epoch_is_the_same_run(mnist: Mnist, make_run: MakeRun, name: str) -> None:
    run = replace(make_run(**SIZES, max_epochs=4), **RUNS[name])
    whole, parts = Leg(run, mnist), Leg(run, mnist)
    expected, found = whole.train(whole.keep), parts.train_in_parts()
    assert found.epochs == 4
    assert timeless(found) == timeless(expected)
    assert_equal(parts.best, whole.best)
    assert len(whole.files) == 3  # none after the last epoch
    assert_equal([decode(file, MADE_BY) for file in parts.files], [decode(file, MADE_BY) for file in whole.files])


def test_a_run_that_diverges_later_is_the_same_run(mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(schedule: ScheduleConfig, base_lr: float, step: int, pace: Any) -> float:
        return 1e-3 if step < 4 else 1e30

    monkeypatch.setattr(solo, "lr_at", rate)
    run = make_run(**SIZES, max_epochs=5)
    whole, parts = Leg(run, mnist), Leg(run, mnist)
    expected, found = whole.train(whole.keep), parts.train_in_parts()
    assert (found.status, found.diverged_step, found.epochs) == ("diverged", 5, 2)
    assert timeless(found) == timeless(expected)


def test_keeping_states_changes_nothing(mnist: Mnist, make_run: MakeRun) -> None:
    leg = Leg(make_run(**SIZES, max_epochs=3), mnist)
    assert timeless(leg.train(leg.keep)) == timeless(leg.train(lambda make_state: None))


def test_the_time_of_the_parts_is_added_up(mnist: Mnist, make_run: MakeRun) -> None:
    leg = Leg(make_run(**SIZES, max_epochs=3), mnist)
    outcome = leg.train_in_parts()
    last = decode(leg.files[-1], MADE_BY)
    assert [epoch.seconds for epoch in outcome.curve[:2]] == [epoch["seconds"] for epoch in last["curve"]]
    assert outcome.wall_seconds == pytest.approx(sum(epoch.seconds for epoch in outcome.curve))
    assert outcome.wall_seconds == pytest.approx(last["wall_seconds"] + outcome.curve[-1].seconds)
    assert outcome.cpu_seconds is not None
    assert outcome.cpu_seconds > last["cpu_seconds"] > 0


def test_what_a_state_holds_is_a_format(mnist: Mnist, make_run: MakeRun) -> None:
    """Another one? Then raise checkpoints._FORMAT as well, so that older files are of no use."""
    leg = Leg(make_run(**SIZES, max_epochs=2), mnist)
    leg.train(leg.keep)
    state = decode(leg.files[0], MADE_BY)
    assert checkpoints._FORMAT == 2
    assert {name: set(part) if isinstance(part, dict) else None for name, part in state.items() if name != "model"} == {
        "optimizer": {"state", "param_groups"},
        "best_weights": set(state["model"]),
        "generators": {"order", "augmentation", "dropout"},
        "num_epochs": None,
        "num_steps": None,
        "plateau": {"lr_scale", "best", "num_bad", "cooldown"},
        "stopping": {"patience", "epoch", "best_epoch", "best_accuracy"},
        "curve": None,
        "num_finite": None,
        "last_finite_loss": None,
        "wall_seconds": None,
        "cpu_seconds": None,
    }
    assert set(state["curve"][0]) == {of.name for of in dataclasses.fields(EpochRecord)}


# Files that are of no use.

STATE: State = {"weights": torch.arange(6.0).view(2, 3), "best": math.inf, "curve": [{"epoch": 1}], "none": None}
CONTENT = encode(STATE, MADE_BY)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "runs" / "a.checkpoint", MADE_BY, every_seconds=0)
    assert kept.read() is None
    kept.keep(lambda: STATE)
    assert_equal(kept.read(), STATE)


@given(length=st.integers(0, len(CONTENT) - 1))
def test_a_file_cut_short_is_of_no_use(length: int) -> None:
    with pytest.raises(CheckpointError, match="cut short or altered"):
        decode(CONTENT[:length], MADE_BY)


@given(place=st.integers(0, len(CONTENT) - 1), mask=st.integers(1, 255))
def test_a_file_altered_at_any_byte_is_of_no_use(place: int, mask: int) -> None:
    content = bytearray(CONTENT)
    content[place] ^= mask
    with pytest.raises(CheckpointError, match="cut short or altered"):
        decode(bytes(content), MADE_BY)


@pytest.mark.parametrize(
    "change", [{"run_id": "b"}, {"threads": 2}, {"git_commit": "0a1b"}, {"versions": {"torch": "3"}}], ids=str
)
def test_what_another_run_machine_or_version_made_is_of_no_use(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="is of another run, machine, commit or version"):
        decode(CONTENT, MADE_BY | change)


def test_another_format_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_FORMAT", 3)
    with pytest.raises(CheckpointError, match="is of another"):
        decode(CONTENT, MADE_BY)


class Code:
    """Read as the object that it says it is, it makes a folder of this name."""

    def __init__(self, name: Path) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.name),)


def sealed(content: bytes) -> bytes:
    """With the digest that it should have: made on purpose."""
    return hashlib.sha256(content).digest() + content


@given(content=st.binary(max_size=200))
def test_a_sealed_file_of_anything_is_of_no_use(content: bytes) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint of this program"):
        decode(sealed(content), MADE_BY)


def test_a_sealed_file_of_code_runs_none_of_it(tmp_path: Path) -> None:
    code, before_zip = Code(tmp_path / "ran"), io.BytesIO()
    torch.save(code, before_zip, _use_new_zipfile_serialization=False)
    for content in (before_zip.getvalue(), encode({"code": code}, MADE_BY)[len(sealed(b"")) :]):
        with pytest.raises(CheckpointError, match="no checkpoint of this program"):
            decode(sealed(content), MADE_BY)
        assert list(tmp_path.iterdir()) == []
        torch.load(io.BytesIO(content), weights_only=False)  # to trust it is to run it
        (tmp_path / "ran").rmdir()


def test_what_cannot_be_read_is_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        Checkpoint(tmp_path, MADE_BY, every_seconds=0).read()


# When it is written, and when it is gone.


@pytest.mark.parametrize(("every_seconds", "written_at"), [(10, [110, 121]), (0, [100, 109, 110, 119, 121]), (None, [])])
def test_it_is_written_when_it_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_seconds: float | None, written_at: list[int]
) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoints, "monotonic", lambda: now[0])
    kept = Checkpoint(tmp_path / "a.checkpoint", MADE_BY, every_seconds, now[0])
    written: list[float] = []

    def make_state() -> State:
        written.append(now[0])
        return STATE

    for now[0] in (100.0, 109.0, 110.0, 119.0, 121.0):
        kept.keep(make_state)
    assert written == written_at


def test_what_a_killed_write_left_goes_with_it(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "a.checkpoint", MADE_BY, every_seconds=0)
    kept.keep(lambda: STATE)
    for name in (".a.checkpoint.123", ".b.checkpoint.123", "a.json"):
        (tmp_path / name).touch()
    kept.remove()
    kept.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.checkpoint.123", "a.json"]


class Study:
    """One run of a study, on the way from its settings to its record."""

    def __init__(self, run: RunConfig, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.machine = MachineConfig(device="cpu", data_dir=str(ROOT / "data"), checkpoint_seconds=0)
        self.path = store.checkpoint_path(folder, run_id(run))
        self.said: list[str] = []
        self.epochs: list[int] = []

    def train(self, until: int = 100, error: BaseException | None = None) -> Any:
        """Until that epoch has ended and its state is kept; then the error comes, in the next one."""

        def on_epoch(epoch: EpochRecord) -> None:
            self.epochs.append(epoch.epoch)
            if error is not None and epoch.epoch > until:
                raise error

        return execution.run_one(self.run, self.machine, self.folder, workers=1, on_epoch=on_epoch, on_message=self.said.append)


@pytest.fixture
def study(tmp_path: Path, make_run: MakeRun) -> Study:
    return Study(make_run(**SIZES, max_epochs=4), tmp_path)


def test_ctrl_c_leaves_a_checkpoint_and_the_record_takes_its_place(study: Study) -> None:
    with pytest.raises(KeyboardInterrupt):
        study.train(2, KeyboardInterrupt())
    assert study.path.exists()
    assert store.scan(study.folder) == ({}, [])
    record = study.train()
    assert study.said == ["resumes after epoch 2"]
    assert study.epochs == [1, 2, 3, 3, 4]
    assert record.outcome.epochs == 4
    assert [path.name for path in study.path.parent.iterdir()] == [f"{run_id(study.run)}.json"]


def test_an_error_leaves_no_checkpoint_to_meet_it_again_from(study: Study) -> None:
    with pytest.raises(RuntimeError, match="at epoch 3"):
        study.train(2, RuntimeError("at epoch 3"))
    assert list(study.path.parent.iterdir()) == []
    assert study.train().outcome.epochs == 4
    assert study.said == []


def test_a_run_recorded_as_failed_leaves_no_checkpoint(study: Study) -> None:
    with pytest.raises(KeyboardInterrupt):
        study.train(2, KeyboardInterrupt())
    execution.record_failure(study.run, study.folder, environment={}, error="killed twice")
    assert not study.path.exists()


def test_weights_that_cannot_be_written_cost_no_record(study: Study, tmp_path: Path) -> None:
    """A folder has come to be where they should be, after the run began."""
    (tmp_path / "weights.pt").mkdir()
    study.machine = replace(study.machine, save_weights=str(tmp_path / "weights.pt"))
    with pytest.raises(files.StoreError, match=r"weights\.pt cannot be written \(Is a directory\)"):
        study.train()
    kept = store.read_run(study.folder, run_id(study.run))
    assert kept is not None
    assert kept.outcome.status == "ok"
    assert execution.record_failure(study.run, study.folder, environment={}, error="no weights") == kept
    assert store.read_run(study.folder, run_id(study.run)) == kept


@pytest.mark.parametrize("content", [b"", b"torn", sealed(b"torn"), CONTENT], ids=["empty", "torn", "foreign", "other"])
def test_a_checkpoint_of_no_use_is_one_line_and_the_run_starts_anew(study: Study, content: bytes) -> None:
    study.path.parent.mkdir()
    study.path.write_bytes(content)
    assert store.scan(study.folder) == ({}, [])
    assert study.train().outcome.epochs == 4
    assert study.epochs == [1, 2, 3, 4]
    (line,) = study.said
    assert line.startswith(f"starts from the beginning: {study.path.name} is ")
    assert not study.path.exists()


def test_a_checkpoint_of_other_threads_is_of_no_use(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        study.train(2, KeyboardInterrupt())
    described = execution.describe
    monkeypatch.setattr(execution, "describe", lambda *args, **options: described(*args, **options) | {"threads": 2})
    study.train()
    assert study.said == [f"starts from the beginning: {study.path.name} is of another run, machine, commit or version"]


def test_none_is_written_where_none_is_wanted(study: Study) -> None:
    study.machine = replace(study.machine, checkpoint_seconds=None)
    with pytest.raises(KeyboardInterrupt):
        study.train(2, KeyboardInterrupt())
    assert not study.path.parent.exists()
