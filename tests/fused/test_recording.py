"""Recorded batches: before their first use, they are compared with unrecorded batches. No recorded batch waits for the host.

Only a GPU can record, so most tests replace `record` by a function that records nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrsweep.config import LossConfig, ModelConfig, OptimizerConfig, RunConfig
from lrsweep.data.dataset import DataSet
from lrsweep.fused import block as block_module
from lrsweep.fused import recording
from lrsweep.fused.block import Block, EpochResult
from lrsweep.fused.row_optimizer import RowOptimizer
from lrsweep.training import optimizers

MakeRun = Callable[..., RunConfig]
Work = Callable[[], None]
Record = Callable[..., Work]


def faithful(work: Work, warm_up: Work, pool: Any) -> Work:
    warm_up()
    return work


def with_stale(name: str) -> Record:
    """A faulty recording: it uses the value that one of the block's tensors had during recording, and loses changes to it."""

    def record(work: Any, warm_up: Work, pool: Any) -> Work:
        batches = work.func.__self__
        stale = getattr(batches, name) if hasattr(batches, name) else getattr(batches._work.__self__, name)
        recorded = stale.clone()

        def replay() -> None:
            current = stale.clone()
            stale.copy_(recorded)
            work()
            stale.copy_(current)

        return replay

    return record


@pytest.fixture
def epoch_of(mnist: DataSet, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Block, EpochResult]]:
    """Train a new block for one epoch with two training batches and two validation batches. Use `record` for it, if given."""

    def epoch(record: Record | None, num_slots: int = 2, pool: Any = None) -> tuple[Block, EpochResult]:
        monkeypatch.setattr(RowOptimizer, "can_be_recorded", record is not None)
        monkeypatch.setattr(recording, "record", record)
        runs = [make_run(seed=seed, num_train=40, num_valid=20) for seed in range(num_slots)]
        block = Block(runs[0], num_slots, mnist, torch.float32, pool)
        for k, run in enumerate(runs):
            block.load(k, run)
        return block, block.epoch(torch.arange(40).expand(num_slots, 40), torch.full((2, num_slots), 1e-3))

    return epoch


def test_checking_a_recording_does_not_change_the_results(epoch_of: Callable[..., tuple[Block, EpochResult]]) -> None:
    (plain, expected), (recorded, result) = epoch_of(None), epoch_of(faithful)
    assert torch.equal(recorded.rows_KP, plain.rows_KP)
    for ours, theirs in zip(result, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("stale", "what"),
    [
        ("rows_KP", "updates"),  # no optimizer step
        ("_rates_SK", "updates"),
        ("_order_KN", "updates"),  # always the same images
        ("_position", "updates"),  # always the first batch of the epoch
        ("_losses_SK", "training losses"),
        ("_valid_KN", "validation losses"),
        ("_valid_loss_K", "validation losses"),
    ],
)
def test_a_recording_that_does_something_else_stops_the_program(
    epoch_of: Callable[..., tuple[Block, EpochResult]], stale: str, what: str
) -> None:
    with pytest.raises(RuntimeError, match=f"the {what} of the runs"):
        epoch_of(with_stale(stale))


def test_a_recording_that_validates_old_weights_stops_the_program(epoch_of: Callable[..., tuple[Block, EpochResult]]) -> None:
    def record(work: Any, warm_up: Work, pool: Any) -> Work:
        is_validation = work.func.__self__._work.__name__ == "_validate_batch"
        return (with_stale("rows_KP") if is_validation else faithful)(work, warm_up, pool)

    with pytest.raises(RuntimeError, match="the validation losses of the runs"):
        epoch_of(record)


def test_each_block_size_of_a_program_is_checked_once(
    epoch_of: Callable[..., tuple[Block, EpochResult]], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []
    check = Block._check_recordings
    monkeypatch.setattr(Block, "_check_recordings", lambda block: (checked.append(block.num_slots), check(block)))
    for num_slots, pool in [(2, "program 1"), (1, "program 1"), (2, "program 1"), (2, "program 2")]:
        epoch_of(faithful, num_slots, pool)
    assert checked == [2, 1, 2]


def test_runs_with_infinite_results_are_not_compared() -> None:
    expected = torch.tensor([[1.0, 2.0], [torch.inf, 1.0], [torch.nan, 1.0]])
    recording.check_replay("losses", torch.tensor([[1.0, 2.0], [1.0, 1.0], [1.0, 1.0]]), expected, tolerance=0.01)
    with pytest.raises(RuntimeError, match=r"fractions of their size: nan"):
        recording.check_replay("losses", torch.full((3, 2), torch.nan), expected, tolerance=0.01)


# No waiting for the host.


class OnDevice(TorchDispatchMode):
    """Fails if an operation uses a tensor on another device. "meta" tensors have no values, so PyTorch fails if one is read."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = operation(*args, **(kwargs or {}))
        tensors = [value for value in tree_leaves((args, kwargs, results)) if isinstance(value, Tensor)]
        assert all(tensor.device.type == "meta" for tensor in tensors), f"{operation} uses the host"
        return results


def run_batches_without_host(run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "_HAS_FUSED", ())  # the fused optimizers refuse "meta"
    monkeypatch.setitem(block_module._EVAL_BATCH, "meta", 16)
    shapes = ([60_000, 1, 28, 28], [60_000], [10_000, 1, 28, 28], [10_000])
    kinds = (torch.uint8, torch.int64, torch.uint8, torch.int64)
    mnist = DataSet(*(torch.empty(shape, dtype=kind, device="meta") for shape, kind in zip(shapes, kinds, strict=True)))
    block = Block(replace(run, optimizer=OptimizerConfig(name="sgd")), 2, mnist, torch.float32)
    for mode in (torch.no_grad(), OnDevice()):  # as in a warm-up, the first time may use the host
        with mode, torch.enable_grad():
            block._training.run()
            block._validation.run()


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "double_softmax, l1, l2": {"loss": LossConfig(name="double_softmax", l1=0.1, l2=0.1)},
    "linear network": {"model": ModelConfig(activation="linear", conv_activation="linear", pool="mean")},
    "batch norm": {"model": ModelConfig(batch_norm=True)},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_batch_does_not_wait_for_the_host(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    run_batches_without_host(replace(make_run(num_train=40, num_valid=20), **settings), monkeypatch)


WAITING: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda logits: logits.sum().item(),
    "if": lambda logits: 1 if logits.sum() > 0 else 0,
    "nonzero": lambda logits: logits.nonzero().sum(),
    "mask": lambda logits: logits[logits > 0].sum(),
    "copy to the host": lambda logits: logits.cpu().sum(),
    "copy from the host": lambda logits: torch.tensor([1, 2]).to(logits.device),
}


@pytest.mark.parametrize("wait", WAITING.values(), ids=WAITING)
def test_that_test_would_notice(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, wait: Callable[[Tensor], Any]) -> None:
    count = block_module.num_correct
    monkeypatch.setattr(block_module, "num_correct", lambda logits, labels: count(logits, labels) + wait(logits))
    with pytest.raises((RuntimeError, AssertionError)):
        run_batches_without_host(make_run(num_train=40, num_valid=20), monkeypatch)
