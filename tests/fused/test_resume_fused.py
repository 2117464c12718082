"""A fused program that is interrupted continues from its checkpoints."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lrsweep.cli import execution
from lrsweep.config import MachineConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, run_id
from lrsweep.data.dataset import DataSet
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.fused.block import Block
from lrsweep.records import Outcome, RunRecord, State
from lrsweep.storage import checkpoints, store
from lrsweep.storage.checkpoints import decode, encode

MakeRun = Callable[..., RunConfig]
ROOT = Path(__file__).parents[2]


def without_times(outcome: Outcome) -> Outcome:
    curve = tuple(replace(epoch, seconds=0.0) for epoch in outcome.curve)
    return replace(outcome, curve=curve, wall_seconds=None)


class Program:
    """Runs of 1, 4, 4 and 5 epochs, two at a time, with a checkpoint after every epoch."""

    def __init__(self, make_run: MakeRun, folder: Path) -> None:
        sizes = {"num_train": 40, "num_valid": 30, "num_test": 30, "patience": None}
        runs = [make_run(seed=seed, lr=0.003, max_epochs=epochs, **sizes) for seed, epochs in enumerate((1, 4, 4, 5))]
        runs[2] = replace(runs[2], schedule=ScheduleConfig(name="plateau", patience=1, factor=0.5, threshold=0.5))
        self.runs, self.folder = runs, folder
        self.machine = MachineConfig(device="cpu", data_dir=str(ROOT / "data"), checkpoint_seconds=0)
        self.messages: list[str] = []

    def train(self, error: BaseException | None = None, after: int = 4, num_slots: int = 2) -> int:
        """Train the runs that have no record. Returns the number of epochs. `error`, if given, is raised in epoch `after`."""
        pending = [run for run in self.runs if run_id(run) not in self.records()]
        active: list[int] = []

        def on_epoch(num_active: int) -> None:
            active.append(num_active)
            if error is not None and len(active) == after:
                raise error

        execution.run_cohort(
            pending,
            [self.folder] * len(pending),
            self.machine,
            num_slots=num_slots,
            on_record=lambda i, record: None,
            on_epoch=on_epoch,
            on_halved=lambda num_slots: None,
            on_message=self.messages.append,
        )
        return sum(active)

    def records(self) -> dict[str, RunRecord]:
        return store.scan(self.folder).records

    def outcomes(self) -> dict[str, Outcome]:
        return {name: without_times(record.outcome) for name, record in self.records().items()}

    def with_checkpoint(self) -> list[int]:
        return [i for i, run in enumerate(self.runs) if store.checkpoint_path(self.folder, run_id(run)).exists()]


@pytest.fixture
def program(make_run: MakeRun, tmp_path: Path) -> Program:
    return Program(make_run, tmp_path / "interrupted")


@pytest.fixture
def interrupted(program: Program) -> Program:
    """Run 0 is finished, run 1 has trained for three epochs and run 2 for two, and run 3 waits."""
    with pytest.raises(KeyboardInterrupt):
        program.train(KeyboardInterrupt())
    assert len(program.records()) == 1
    assert program.with_checkpoint() == [1, 2]
    return program


def test_an_interrupted_program_goes_on_and_gives_the_same_bits(interrupted: Program, make_run: MakeRun, tmp_path: Path) -> None:
    whole = Program(make_run, tmp_path / "whole")
    assert whole.train() == 1 + 4 + 4 + 5
    assert interrupted.train() == (4 - 3) + (4 - 2) + 5
    assert interrupted.outcomes() == whole.outcomes()
    assert interrupted.messages == ["2 of 3 runs resume from their checkpoints"]
    assert {path.suffix for path in (interrupted.folder / "runs").iterdir()} == {".json"}


@pytest.mark.slow
def test_a_checkpoint_made_with_other_threads_is_reported_and_its_run_starts_again(
    interrupted: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert interrupted.train() == 4 + 4 + 5
    (message,) = interrupted.messages
    assert message.startswith("2 of 3 runs start from the beginning: their checkpoint comes from another run, engine, machine")


@pytest.mark.slow
def test_a_run_does_not_continue_in_the_other_engine(interrupted: Program) -> None:
    run, epochs, messages = interrupted.runs[1], [], []
    execution.run_one(
        *(run, interrupted.machine, interrupted.folder), workers=1, on_epoch=epochs.append, on_message=messages.append
    )
    assert len(epochs) == 4
    assert "starts from the beginning" in messages[0]
    assert interrupted.with_checkpoint() == [2]


@pytest.mark.slow
def test_after_an_error_the_next_program_continues(program: Program) -> None:
    with pytest.raises(torch.AcceleratorError):
        program.train(torch.AcceleratorError("CUDA error: unspecified launch failure"))
    assert program.with_checkpoint() == [1, 2]
    assert program.train() == (4 - 3) + (4 - 2) + 5


@pytest.mark.slow
def test_a_state_that_may_cause_an_error_is_used_once(interrupted: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Block, k: int, state: dict[str, Tensor]) -> None:
        raise RuntimeError("bad state")

    with monkeypatch.context() as patch:
        patch.setattr(Block, "restore", fail)
        with pytest.raises(RuntimeError, match="bad state"):
            interrupted.train()
    assert interrupted.with_checkpoint() == []
    assert interrupted.train() == 4 + 4 + 5


@pytest.mark.slow
def test_many_slots_are_written_less_often(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two slots, checkpoints are at least 0.25 s apart. The test takes less than 0.2 s."""
    now = count(0.0, 0.01)
    monkeypatch.setattr(checkpoints, "monotonic", lambda: next(now))
    program.machine = replace(program.machine, checkpoint_seconds=1e-9)
    with pytest.raises(KeyboardInterrupt):
        program.train(KeyboardInterrupt())
    assert next(now) < 0.2
    assert program.with_checkpoint() == []


# The scheduler.


def train(runs: list[RunConfig], mnist: DataSet, **options: Any) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    scheduler.train(
        *(runs, mnist), epoch_seconds=EpochSeconds(1.0, 1.0), on_outcome=outcomes.__setitem__, dtype=torch.float64, **options
    )
    return outcomes


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("nesterov", marks=pytest.mark.slow)])
def test_a_run_continues_in_whatever_slots_and_company(mnist: DataSet, make_run: MakeRun, optimizer: str) -> None:
    few = {"num_train": 40, "num_valid": 30, "num_test": 30}
    runs = [make_run(seed=seed, max_epochs=4, **few) for seed in range(4)]
    runs = [replace(run, optimizer=OptimizerConfig(name=optimizer, lr=0.003)) for run in runs]
    states: dict[int, list[State]] = {}

    def on_state(i: int, make_state: Callable[[], State]) -> None:
        states.setdefault(i, []).append(decode(encode(make_state(), {}), {}))

    whole = train(runs, mnist, num_slots=4, block_slots=4, on_state=on_state)
    assert {i: len(of_run) for i, of_run in states.items()} == {0: 3, 1: 3, 2: 3, 3: 3}
    resumed = train(runs[1:], mnist, num_slots=3, block_slots=2, resume_from={0: states[1][0], 2: states[3][2]})
    for i in range(3):
        assert [epoch.train_loss for epoch in resumed[i].curve] == pytest.approx(
            [epoch.train_loss for epoch in whole[i + 1].curve], rel=1e-9
        )
        assert resumed[i].test_loss == pytest.approx(whole[i + 1].test_loss, rel=1e-9)
        assert resumed[i].best_epoch == whole[i + 1].best_epoch


def test_the_contents_of_a_state_belong_to_format_4(mnist: DataSet, make_run: MakeRun) -> None:
    """If you change the contents, raise checkpoints._FORMAT, so that older files are refused."""
    states: list[State] = []
    run = replace(make_run(max_epochs=2), model=ModelConfig(batch_norm=True))
    train([run], mnist, num_slots=1, on_state=lambda i, make_state: states.append(make_state()))
    assert checkpoints._FORMAT == 4
    statistics = [f"norm{i}.{name}" for i in (1, 2, 3) for name in ("running_mean", "running_var", "num_batches_tracked")]
    buffers = {f"{kind} {name}" for kind in ("buffer", "best buffer") for name in statistics}
    assert {name: set(part) for name, part in states[0].items()} == {
        "run": {"generators", "stopping", "plateau", "curve", "num_finite", "last_finite_loss", "wall_seconds"},
        "slot": buffers | {"weights", "best", "lr_scale", "train_indices", "valid_indices", "step", "exp_avg", "exp_avg_sq"},
    }
