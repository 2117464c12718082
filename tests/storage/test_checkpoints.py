"""A resumed run equals an uninterrupted one, and a damaged checkpoint does no harm."""

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
from lrsweep.data.dataset import DataSet
from lrsweep.records import EpochRecord, Outcome
from lrsweep.storage import checkpoints, files, store
from lrsweep.storage.checkpoints import Checkpoint, CheckpointError, decode, encode
from lrsweep.training import solo
from lrsweep.training.solo import State, train

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., RunConfig]
MADE_BY: dict[str, Any] = {"run_id": "a", "threads": 1, "git_commit": None, "versions": {"torch": "2"}}
SIZES = {"num_train": 64, "num_valid": 50, "num_test": 50}


# Runs that are interrupted after every epoch

RUNS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "momentum, layer-wise rates, one_cycle": {
        "optimizer": OptimizerConfig(name="nesterov", lr=0.01, layerwise="falling"),
        "schedule": ScheduleConfig(name="one_cycle", length=4.0),
    },
    "rmsprop, plateau": {
        "optimizer": OptimizerConfig(name="rmsprop"),
        "schedule": ScheduleConfig(name="plateau", patience=1, threshold=0.5),
    },
    "adadelta, grow_batch": {
        "optimizer": OptimizerConfig(name="adadelta", lr=1.0),
        "schedule": ScheduleConfig(name="grow_batch", every=1.0, factor=0.5),
    },
    "dropout, batch_norm, augmentation": {
        "model": ModelConfig(dropout=0.5, batch_norm=True),
        "data": DataConfig(**SIZES, max_shift=2.0, max_rotation=10.0),
    },
    "scored at the end, validated rarely, two classes": {
        "data": DataConfig(**SIZES, classes=[3, 8]),
        "training": TrainingConfig(patience=None, max_epochs=4, score="last", validate_every=3),
    },
    "patience": {"optimizer": OptimizerConfig(lr=1e-30), "training": TrainingConfig(patience=3)},
}


class Interrupted(Exception):
    pass


class Trained:
    """A run's outcome, its scored weights, and its encoded state after each epoch but the last."""

    def __init__(self, run: RunConfig, mnist: DataSet, *, interrupt: bool) -> None:
        """With `interrupt`, the run stops after each epoch and resumes from its state."""
        self.weights: list[dict[str, Tensor]] = []
        self.states: list[bytes] = []
        split = dataset.split(mnist, run.data, run.seed)

        def on_state(make_state: Callable[[], State]) -> None:
            self.states.append(encode(make_state(), MADE_BY))
            if interrupt:
                raise Interrupted

        while True:
            state = decode(self.states[-1], MADE_BY) if self.states else None
            try:
                self.outcome = train(run, split, on_weights=self.weights.append, on_state=on_state, resume_from=state)
                break
            except Interrupted:
                pass


def without_times(outcome: Outcome) -> Outcome:
    curve = tuple(replace(epoch, seconds=0.0) for epoch in outcome.curve)
    return replace(outcome, curve=curve, wall_seconds=None, cpu_seconds=None)


def comparable(tree: Any) -> Any:
    """A tree of tensors and plain values in a form that == compares bit for bit, without times."""
    if isinstance(tree, Tensor):
        return tree.dtype, tree.shape, tree.stride(), tree.numpy().tobytes()
    if isinstance(tree, dict):
        return {name: comparable(value) for name, value in tree.items() if "seconds" not in str(name)}
    return list(map(comparable, tree)) if isinstance(tree, list | tuple) else tree


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "adamw" else pytest.mark.slow) for name in RUNS])
def test_a_run_interrupted_after_every_epoch_gives_the_same_bits(mnist: DataSet, make_run: MakeRun, name: str) -> None:
    run = replace(make_run(**SIZES, max_epochs=4), **RUNS[name])
    whole, resumed = (Trained(run, mnist, interrupt=interrupt) for interrupt in (False, True))
    assert resumed.outcome.epochs == 4
    assert without_times(resumed.outcome) == without_times(whole.outcome)
    assert comparable(resumed.weights) == comparable(whole.weights)
    assert len(whole.states) == 3
    for resumed_state, whole_state in zip(resumed.states, whole.states, strict=True):
        assert comparable(decode(resumed_state, MADE_BY)) == comparable(decode(whole_state, MADE_BY))


def test_an_interrupted_run_that_diverges_gives_the_same_outcome(
    mnist: DataSet, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solo, "lr_at", lambda schedule, base_lr, step, pace: 1e-3 if step < 4 else 1e30)
    run = make_run(**SIZES, max_epochs=5)
    resumed = Trained(run, mnist, interrupt=True).outcome
    assert (resumed.status, resumed.diverged_step, resumed.epochs) == ("diverged", 5, 2)
    assert without_times(resumed) == without_times(train(run, dataset.split(mnist, run.data, run.seed)))


def test_the_times_before_and_after_an_interruption_are_added(mnist: DataSet, make_run: MakeRun) -> None:
    resumed = Trained(make_run(**SIZES, max_epochs=3), mnist, interrupt=True)
    outcome, last = resumed.outcome, decode(resumed.states[-1], MADE_BY)
    assert [epoch.seconds for epoch in outcome.curve[:2]] == [epoch["seconds"] for epoch in last["curve"]]
    assert outcome.wall_seconds == pytest.approx(sum(epoch.seconds for epoch in outcome.curve))
    assert outcome.wall_seconds == pytest.approx(last["wall_seconds"] + outcome.curve[-1].seconds)
    assert outcome.cpu_seconds is not None
    assert outcome.cpu_seconds > last["cpu_seconds"] > 0


def test_the_contents_of_a_state_belong_to_format_4(mnist: DataSet, make_run: MakeRun) -> None:
    """If you change the contents, raise checkpoints._FORMAT, so that older files are refused."""
    state = decode(Trained(make_run(**SIZES, max_epochs=2), mnist, interrupt=False).states[0], MADE_BY)
    assert checkpoints._FORMAT == 4
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
    assert set(state["curve"][0]) == {f.name for f in dataclasses.fields(EpochRecord)}


# Files that are refused

STATE: State = {"weights": torch.arange(6.0).view(2, 3), "best": math.inf, "curve": [{"epoch": 1}], "none": None}
CONTENT = encode(STATE, MADE_BY)


def test_a_checkpoint_is_read_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "runs" / "a.checkpoint", MADE_BY, every_seconds=0)
    assert checkpoint.read() is None
    checkpoint.keep(lambda: STATE)
    assert comparable(checkpoint.read()) == comparable(STATE)


def test_a_checkpoint_is_removed_with_the_temporary_file_of_a_killed_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def kill(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    removed, other = (Checkpoint(tmp_path / f"{name}.checkpoint", MADE_BY, every_seconds=0) for name in "ab")
    removed.keep(lambda: STATE)
    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", kill)
        killed.setattr(Path, "unlink", kill)
        for checkpoint in (removed, other):
            with pytest.raises(KeyboardInterrupt):
                checkpoint.keep(lambda: STATE)
    assert len(list(tmp_path.iterdir())) == 3
    removed.remove()
    removed.remove()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".b.checkpoint.")


@given(length=st.integers(0, len(CONTENT) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(CheckpointError, match="truncated or altered"):
        decode(CONTENT[:length], MADE_BY)


@given(at=st.integers(0, len(CONTENT) - 1), mask=st.integers(1, 255))
def test_a_file_with_a_changed_byte_is_refused(at: int, mask: int) -> None:
    with pytest.raises(CheckpointError, match="truncated or altered"):
        decode(CONTENT[:at] + bytes([CONTENT[at] ^ mask]) + CONTENT[at + 1 :], MADE_BY)


@pytest.mark.parametrize(
    ("change", "version"), [({"run_id": "b"}, 4), ({"threads": 2}, 4), ({"versions": {"torch": "3"}}, 4), ({}, 5)], ids=str
)
def test_a_checkpoint_of_another_run_machine_or_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], version: int
) -> None:
    monkeypatch.setattr(checkpoints, "_FORMAT", version)
    with pytest.raises(CheckpointError, match="comes from another run, engine, machine, commit or version"):
        decode(CONTENT, MADE_BY | change)


def with_digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


@given(content=st.binary(max_size=200))
def test_other_content_is_refused_although_its_digest_is_right(content: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        decode(with_digest(content), MADE_BY)


def test_a_state_that_is_no_dict_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        decode(encode([], MADE_BY), MADE_BY)  # type: ignore[arg-type]


class Code:
    """Unpickling it makes a folder."""

    def __init__(self, name: Path) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.name),)


def test_code_in_a_checkpoint_never_runs(tmp_path: Path) -> None:
    code, old_format = Code(tmp_path / "ran"), io.BytesIO()
    torch.save(code, old_format, _use_new_zipfile_serialization=False)
    for content in (old_format.getvalue(), encode({"code": code}, MADE_BY)[len(with_digest(b"")) :]):
        with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
            decode(with_digest(content), MADE_BY)
        assert list(tmp_path.iterdir()) == []
        torch.load(io.BytesIO(content), weights_only=False)  # would run the code
        (tmp_path / "ran").rmdir()


def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        Checkpoint(tmp_path, MADE_BY, every_seconds=0).read()


# When a checkpoint is written and removed


@pytest.mark.parametrize(("every_seconds", "written_at"), [(10, [110, 121]), (0, [100, 109, 110, 119, 121]), (None, [])])
def test_a_checkpoint_is_written_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_seconds: float | None, written_at: list[int]
) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoints, "monotonic", lambda: now[0])
    checkpoint = Checkpoint(tmp_path / "a.checkpoint", MADE_BY, every_seconds, now[0])
    written: list[float] = []

    def make_state() -> State:
        written.append(now[0])
        return STATE

    for now[0] in (100.0, 109.0, 110.0, 119.0, 121.0):
        checkpoint.keep(make_state)
    assert written == written_at


class Study:
    """A study with one run of four epochs."""

    def __init__(self, run: RunConfig, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.machine = MachineConfig(device="cpu", data_dir=str(ROOT / "data"), checkpoint_seconds=0)
        self.path = store.checkpoint_path(folder, run_id(run))
        self.messages: list[str] = []
        self.epochs: list[int] = []

    def train(self, error: BaseException | None = None) -> Any:
        """Train the run and store its record. The error, if any, is raised in the epoch after the second checkpoint."""

        def on_epoch(epoch: EpochRecord) -> None:
            self.epochs.append(epoch.epoch)
            if error is not None and epoch.epoch == 3:
                raise error

        return execution.run_one(
            self.run, self.machine, self.folder, workers=1, on_epoch=on_epoch, on_message=self.messages.append
        )


@pytest.fixture
def study(tmp_path: Path, make_run: MakeRun) -> Study:
    return Study(make_run(**SIZES, max_epochs=4), tmp_path)


@pytest.fixture
def interrupted(study: Study) -> Study:
    with pytest.raises(KeyboardInterrupt):
        study.train(KeyboardInterrupt())
    return study


def test_a_run_resumes_after_ctrl_c_and_its_record_replaces_the_checkpoint(interrupted: Study) -> None:
    assert interrupted.path.exists()
    assert store.scan(interrupted.folder) == ({}, [])
    record = interrupted.train()
    assert len(interrupted.messages) == 1
    assert interrupted.epochs == [1, 2, 3, 3, 4]
    assert record.outcome.epochs == 4
    assert [path.name for path in interrupted.path.parent.iterdir()] == [f"{run_id(interrupted.run)}.json"]


def test_a_checkpoint_made_with_other_threads_is_reported_and_the_run_starts_again(
    interrupted: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert interrupted.train().outcome.epochs == 4
    assert interrupted.epochs == [1, 2, 3, 1, 2, 3, 4]
    (message,) = interrupted.messages
    assert f"{interrupted.path.name} comes from another run, engine, machine, commit or version" in message


def test_a_damaged_checkpoint_is_reported_and_the_run_starts_again(study: Study) -> None:
    study.path.parent.mkdir()
    study.path.write_bytes(b"damaged")
    assert store.scan(study.folder) == ({}, [])
    assert study.train().outcome.epochs == 4
    (message,) = study.messages
    assert f"{study.path.name} is not a checkpoint" in message
    assert not study.path.exists()


def test_a_run_that_raises_leaves_no_checkpoint(study: Study) -> None:
    with pytest.raises(RuntimeError, match="at epoch 3"):
        study.train(RuntimeError("at epoch 3"))
    assert list(study.path.parent.iterdir()) == []


def test_a_run_recorded_as_failed_leaves_no_checkpoint(interrupted: Study) -> None:
    execution.record_failure(interrupted.run, interrupted.folder, environment={}, error="killed twice")
    assert not interrupted.path.exists()


def test_without_checkpoint_seconds_no_checkpoint_is_written(study: Study) -> None:
    study.machine = replace(study.machine, checkpoint_seconds=None)
    with pytest.raises(KeyboardInterrupt):
        study.train(KeyboardInterrupt())
    assert not study.path.parent.exists()


def test_a_record_is_kept_although_the_weights_cannot_be_written(study: Study, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").mkdir()
    study.machine = replace(study.machine, save_weights=str(tmp_path / "weights.pt"))
    with pytest.raises(files.StoreError, match=r"weights\.pt cannot be written \(Is a directory\)"):
        study.train()
    kept = store.read_run(study.folder, run_id(study.run))
    assert kept is not None
    assert kept.outcome.status == "ok"
    assert execution.record_failure(study.run, study.folder, environment={}, error="no weights") == kept
    assert store.read_run(study.folder, run_id(study.run)) == kept
