"""The order in which runs fill slots, and the reaction to a lack of memory. The blocks of these tests do not train."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrsweep.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from lrsweep.data.dataset import DataSet
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.fused.block import EpochResult
from lrsweep.records import Outcome
from lrsweep.storage import store
from lrsweep.training.course import Score

MakeRun = Callable[..., RunConfig]
ROOT = Path(__file__).parents[2]


@dataclass
class FakeGpu:
    """Makes blocks in which the training loss of a run is its epoch, and the validation loss is its seed."""

    fits: Callable[[int], None] = lambda num_slots: None  # raises if a block of this size does not fit
    launched: list[int] = field(default_factory=list)  # the slots of each block that took part in an epoch

    def block(self, template: RunConfig, num_slots: int, *_: Any) -> "FakeBlock":
        self.fits(num_slots)
        return FakeBlock(self, num_slots)


def accuracy(seed: int, epoch: int) -> float:
    """Rises and falls, differently for each seed."""
    return (7 * seed + 5 * epoch) % 11 / 100


class FakeBlock:
    def __init__(self, gpu: FakeGpu, num_slots: int) -> None:
        self.gpu, self.num_slots = gpu, num_slots
        self.seed_K, self.epoch_K, self.best_K = torch.zeros(3, num_slots, dtype=torch.int64)

    def load(self, k: int, run: RunConfig) -> None:
        self.seed_K[k], self.epoch_K[k] = run.seed, 0

    def state(self, k: int) -> dict[str, Tensor]:
        return {"seed": self.seed_K[k], "epoch": self.epoch_K[k], "best": self.best_K[k]}

    def restore(self, k: int, state: dict[str, Tensor]) -> None:
        for name, value in self.state(k).items():
            value.copy_(state[name])

    def epoch(self, order_KN: Tensor, rates_SK: Tensor, *args: Any) -> EpochResult:
        self.gpu.launched.append(self.num_slots)
        self.epoch_K += 1
        accuracies = [accuracy(seed, epoch) for seed, epoch in zip(self.seed_K.tolist(), self.epoch_K.tolist(), strict=True)]
        return EpochResult(
            losses=self.epoch_K.double().unsqueeze(1).expand(-1, len(rates_SK)),
            train_correct=torch.zeros(self.num_slots),
            valid_loss=self.seed_K.double(),
            valid_correct=torch.tensor(accuracies) * 100,
        )

    def keep_best(self, slots: list[int]) -> None:
        self.best_K[slots] = self.epoch_K[slots]

    def score_test(self, slots: list[int], which: str) -> list[Score]:
        epochs = (self.best_K if which == "best" else self.epoch_K)[slots].tolist()
        return [Score(loss=epoch, accuracy=0.5) for epoch in epochs]


def train(gpu: FakeGpu, runs: list[RunConfig], mnist: DataSet, **options: Any) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "Block", gpu.block)
        scheduler.train(runs, mnist, epoch_seconds=EpochSeconds(1.0, 1.0), on_outcome=outcomes.__setitem__, **options)
    return outcomes


# Active runs fill the first slots.


def useful_share(mnist: DataSet, make_run: MakeRun, all_epochs: list[int]) -> float:
    """Train runs of these lengths at the same time. Returns the fraction of the computed slot-epochs that belong to a run."""
    runs = [make_run(num_train=1, patience=None, max_epochs=epochs) for epochs in all_epochs]
    gpu = FakeGpu()
    outcomes = train(gpu, runs, mnist, num_slots=len(runs), block_slots=8)
    assert [outcomes[i].epochs for i in range(len(runs))] == all_epochs
    return sum(all_epochs) / sum(gpu.launched)


def test_most_slots_do_useful_work_in_the_reference_sweep(mnist: DataSet, make_run: MakeRun) -> None:
    """Replays the epochs of the committed runs, in the order of the sweep."""
    table = store.load(ROOT / "results" / "reference" / "lr")
    table = table[table.loss == "cross_entropy"].sort_values(["lr", "seed"])
    assert set(table.groupby("seed").size()) == {46}
    of_a_seed = [useful_share(mnist, make_run, of_seed.epochs.tolist()) for _, of_seed in table.groupby("seed")]
    of_three = useful_share(mnist, make_run, table[table.seed < 3].epochs.tolist())
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    low, high = (round(100 * share) for share in (min(of_a_seed), max(of_a_seed)))
    assert f"{low}–{high}% of the launched slots do useful work with 46 runs, and {of_three:.0%} with 138" in text


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(epochs=st.lists(st.integers(1, 6), min_size=1, max_size=12), num_slots=st.integers(1, 12), block_slots=st.integers(1, 4))
@example(epochs=[1, 1, 2, 3, 4, 1], num_slots=6, block_slots=4)  # moves within a block and between blocks; the last run ends
@example(epochs=[6, 1, 2, 3], num_slots=2, block_slots=1)  # the slots are filled again
def test_a_run_keeps_its_state_in_whatever_slots_it_trains(
    mnist: DataSet, make_run: MakeRun, epochs: list[int], num_slots: int, block_slots: int
) -> None:
    runs = [make_run(seed=seed, patience=None, max_epochs=last) for seed, last in enumerate(epochs)]
    gpu, needed = FakeGpu(), []
    outcomes = train(
        *(gpu, runs, mnist),
        num_slots=num_slots,
        block_slots=block_slots,
        on_epoch=lambda num_active: needed.append(-(-num_active // block_slots)),
    )
    for seed, last in enumerate(epochs):
        curve = outcomes[seed].curve
        assert [epoch.train_loss for epoch in curve] == list(range(1, last + 1))
        assert {epoch.valid_loss for epoch in curve} == {seed}
        assert outcomes[seed].test_loss == outcomes[seed].best_epoch  # the weights of the best epoch were kept
    assert len(gpu.launched) == sum(needed)  # no more blocks than the active runs fill


# Memory.

NO_MEMORY = "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"
INVALIDATED = "CUDA error: operation failed due to a previous error during capture\nCUDA kernel errors might be asynchronously …"


def raise_no_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def raise_while_recording() -> None:
    """As in torch.cuda.graph, the end of a failed recording raises a second error."""
    try:
        raise_no_memory()
    finally:
        raise torch.AcceleratorError(INVALIDATED)


def raise_while_instantiating() -> None:
    raise torch.AcceleratorError(NO_MEMORY)


def raise_in_cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


OUT_OF_MEMORY = [raise_no_memory, raise_while_recording, raise_while_instantiating, raise_in_cublas]


def gpu_for(num_slots: int, fail: Callable[[], None]) -> FakeGpu:
    return FakeGpu(fits=lambda size: fail() if size > num_slots else None)


@pytest.mark.parametrize("fail", OUT_OF_MEMORY)
def test_out_of_memory_halves_the_slots_wherever_it_comes_from(
    mnist: DataSet, make_run: MakeRun, fail: Callable[[], None]
) -> None:
    halved: list[int] = []
    runs = [make_run(seed=seed) for seed in range(9)]
    outcomes = train(gpu_for(3, fail), runs, mnist, num_slots=9, block_slots=9, on_halved=halved.append)
    assert (len(outcomes), halved) == (9, [4, 2])


@pytest.mark.parametrize("fail", OUT_OF_MEMORY)
def test_out_of_memory_with_one_slot_has_one_type_of_error(mnist: DataSet, make_run: MakeRun, fail: Callable[[], None]) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        train(gpu_for(0, fail), [make_run()], mnist, num_slots=1)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError(INVALIDATED),  # of another cause
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED"),
        MemoryError(),
        ZeroDivisionError(),
    ],
    ids=str,
)
def test_any_other_error_is_raised_as_it_is(mnist: DataSet, make_run: MakeRun, error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        train(gpu_for(0, fail), [make_run()] * 4, mnist, num_slots=4)
    assert raised.value is error


@pytest.mark.parametrize(
    ("gigabytes", "batch_size", "fitting"),
    [
        *((139, 32, range(460, 10_000)), (79, 32, range(460, 10_000)), (6, 32, range(9, 46)), (2, 32, range(8, 9))),
        *((79, 3_000, range(460, 10_000)), (24, 3_000, range(8, 9))),
    ],
)
def test_slots_are_counted_without_building_any(
    mnist: DataSet, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, gigabytes: int, batch_size: int, fitting: range
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gigabytes * 10**9, 0))
    monkeypatch.setattr(scheduler, "Block", None)
    run = replace(make_run(), training=TrainingConfig(batch_size=batch_size))
    assert scheduler.num_slots_that_fit(run, mnist) in fitting


def test_a_larger_network_or_larger_images_leave_room_for_fewer_slots(mnist: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (24 * 10**9, 0))

    def num_slots(width: int, side: int) -> int:
        model = ModelConfig(name="mlp", target="lrsweep.training.nets.mlp:MLP", source="0", args={"width": width, "depth": 1})
        data = DataConfig(target="any:images", content="0", shape=[1, side, side], num_train=64, num_valid=64, num_test=64)
        return scheduler.num_slots_that_fit(RunConfig(model=model, data=data), mnist)

    assert num_slots(width=64, side=28) == num_slots(width=128, side=28)  # a slot counts as 16 MiB at least
    assert num_slots(width=4096, side=28) < num_slots(width=128, side=28)
    assert num_slots(width=64, side=56) < num_slots(width=64, side=28)
