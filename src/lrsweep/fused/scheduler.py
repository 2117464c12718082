"""Many runs in one program: what they share is done once for all, and a slot whose run ends takes the next.

Each run has what solo gives it: the same split, initial weights and batches, its own learning rate, solo's rule for
stopping, one score of the test set. Only the order of sums differs, so that weights part after some steps, as they do
between two machines.

Shapes: K slots, N images, S steps of an epoch.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lrsweep.config import LayerFactors, RunConfig
from lrsweep.data.dataset import Mnist, batch_order
from lrsweep.data.seeding import generator
from lrsweep.fused.block import BLOCK_SLOTS, Block, EpochResult
from lrsweep.fused.stacked_cnn import reason_not_fusable as reason_not_stacked
from lrsweep.records import EpochRecord, Outcome, StopReason
from lrsweep.training.early_stopping import EarlyStopping
from lrsweep.training.schedules import Pace, PlateauState, lr_at, pace_of

_SHARE_OF_FREE_MEMORY = 0.8
_OWN_LAYERS: dict[str, Any] = {"layerwise": "uniform", "layer_factor": 2.0, "layers": LayerFactors()}  # any, in one program


def reason_not_fusable(run: RunConfig) -> str | None:
    """Why this run cannot be fused; None if it can."""
    if run.schedule.name == "grow_batch":
        return "schedule=grow_batch gives each epoch its own batch size"
    if run.training.precision != "fp32":
        return f"training.precision={run.training.precision} has no stacked form"
    if run.data.max_shift or run.data.max_rotation:
        return "images that move (data.max_shift, data.max_rotation) have no stacked form"
    return reason_not_stacked(run.model)


def cohorts(runs: Sequence[RunConfig]) -> list[list[int]]:
    """The runs, by their positions, in groups that can share a program: equal but for rate, seed, schedule, layers and limits."""
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        optimizer = replace(run.optimizer, lr=1.0, **_OWN_LAYERS)
        key = (run.data, run.model, run.loss, optimizer, run.training.batch_size)
        groups.setdefault(repr(key), []).append(i)
    return list(groups.values())


def train(
    runs: Sequence[RunConfig],
    mnist: Mnist,
    *,
    num_slots: int,
    epoch_seconds: float,
    on_outcome: Callable[[int, Outcome], None],
    on_epoch: Callable[[int], None] = lambda num_active: None,
    on_halved: Callable[[int], None] = lambda num_slots: None,
    dtype: torch.dtype = torch.float32,
    block_slots: int | None = None,
) -> None:
    """Train the runs of one cohort, at most `num_slots` at a time.

    Each is handed to `on_outcome`, by its position, as soon as it ends. Its wall time is not measured, because it has none
    of its own: every epoch counts as `epoch_seconds`. Where memory runs out, the runs under way begin again with half the
    slots, which `on_halved` is told; with one slot, torch.OutOfMemoryError is raised.
    """
    unfinished = list(range(len(runs)))
    num_slots = min(num_slots, len(runs))
    while unfinished:
        try:
            for i, outcome in _lockstep(runs, unfinished, mnist, num_slots, block_slots, dtype, epoch_seconds, on_epoch):
                on_outcome(i, outcome)
                unfinished.remove(i)
            return
        except torch.OutOfMemoryError:
            if num_slots == 1:
                raise
        # Outside of `except`, where the error would keep the memory of what it interrupted.
        num_slots = min(num_slots // 2, len(unfinished))
        if mnist.train_images.is_cuda:
            torch.cuda.empty_cache()
        on_halved(num_slots)


def num_slots_that_fit(like: RunConfig, mnist: Mnist) -> int:
    """On a GPU: how many slots the free memory holds, from what two blocks of them take."""
    block_slots = BLOCK_SLOTS["cuda"]
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(mnist.train_images.device)[0]
    try:
        shared, kept = _memory_of_blocks(like, mnist, block_slots)
    except torch.OutOfMemoryError:
        return block_slots // 2  # `train` halves it further, if need be
    return max(1, int((_SHARE_OF_FREE_MEMORY * free - shared) / kept * block_slots))


def _memory_of_blocks(like: RunConfig, mnist: Mnist, block_slots: int) -> tuple[int, int]:
    """Bytes that all blocks share, such as a step's tensors and the libraries' workspaces, and bytes that each keeps."""
    device = mnist.train_images.device
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    pool = torch.cuda.graph_pool_handle()
    blocks = [Block(like, block_slots, mnist, torch.float32, pool)]
    with_one = torch.cuda.memory_allocated(device)
    blocks.append(Block(like, block_slots, mnist, torch.float32, pool))
    kept = torch.cuda.memory_allocated(device) - with_one
    order_KN = torch.zeros(block_slots, like.data.num_train, dtype=torch.int64)
    blocks[1].epoch(order_KN, torch.zeros(_num_steps(like), block_slots))
    return torch.cuda.max_memory_allocated(device) - before - 2 * kept, kept


@dataclass
class _Slot:
    """The run in a slot and what solo would know of it after as many epochs."""

    position: int
    run: RunConfig
    epoch_seconds: float
    order: torch.Generator = field(init=False)
    stopping: EarlyStopping = field(init=False)
    pace: Pace = field(init=False)
    plateau: PlateauState = field(default_factory=PlateauState)
    curve: list[EpochRecord] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of every step
    stop_reason: StopReason | None = None  # None: goes on

    def __post_init__(self) -> None:
        self.order = generator(self.run.seed, "order")
        self.stopping = EarlyStopping(patience=self.run.training.patience)
        self.pace = pace_of(self.run)

    def next_order(self) -> Tensor:
        return torch.cat(batch_order(self.run.data.num_train, self.run.training.batch_size, self.order))

    def next_rates(self) -> list[float]:
        first = len(self.losses)
        steps = range(first, first + _num_steps(self.run))
        return [lr_at(self.run.schedule, self.run.optimizer.lr, step, self.pace) * self.plateau.lr_scale for step in steps]

    def after_epoch(self, losses: list[float], train_accuracy: float, valid_loss: float, valid_accuracy: float) -> bool:
        """Solo's rule. True if the weights are the best so far."""
        self.losses += losses
        if not all(map(math.isfinite, [*losses, valid_loss])):
            self.stop_reason = "diverged"
            return False
        self.plateau = self.plateau.after(self.run.schedule, self.run.optimizer.lr, valid_loss)
        self.stopping = self.stopping.after(valid_accuracy)
        self.curve.append(
            EpochRecord(
                epoch=self.stopping.epoch,
                train_loss=self._mean_loss(losses),
                train_accuracy=train_accuracy,
                valid_loss=valid_loss,
                valid_accuracy=valid_accuracy,
                seconds=self.epoch_seconds,
            )
        )
        if self.stopping.is_over:
            self.stop_reason = "patience"
        elif len(self.curve) >= self.run.training.max_epochs:
            self.stop_reason = "max_epochs"
        return self.stopping.is_record

    def outcome(self, test: tuple[float, float] | None) -> Outcome:
        """What the run leaves; `test` is loss and accuracy with the best weights, None where no epoch left any."""
        assert self.stop_reason is not None
        is_diverged = self.stop_reason == "diverged"
        num_finite = next((step for step, loss in enumerate(self.losses) if not math.isfinite(loss)), len(self.losses))
        return Outcome(
            status="diverged" if is_diverged else "ok",
            stop_reason=self.stop_reason,
            curve=tuple(self.curve),
            best_epoch=self.stopping.best_epoch or None,
            valid_accuracy=self.stopping.best_accuracy if self.stopping.best_epoch else None,
            test_loss=test[0] if test else None,
            test_accuracy=test[1] if test else None,
            wall_seconds=(len(self.curve) + is_diverged) * self.epoch_seconds,  # solo counts the epoch that diverged, too
            diverged_step=num_finite if is_diverged else None,
            last_finite_loss=self.losses[num_finite - 1] if num_finite else None,
        )

    def _mean_loss(self, losses: list[float]) -> float:
        size, num_train = self.run.training.batch_size, self.run.data.num_train
        sizes = [min(size, num_train - first) for first in range(0, num_train, size)]
        return sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / num_train


def _num_steps(run: RunConfig) -> int:
    return -(-run.data.num_train // run.training.batch_size)


def _lockstep(
    runs: Sequence[RunConfig],
    positions: Sequence[int],
    mnist: Mnist,
    num_slots: int,
    block_slots: int | None,
    dtype: torch.dtype,
    epoch_seconds: float,
    on_epoch: Callable[[int], None],
) -> Iterator[tuple[int, Outcome]]:
    """Position and outcome of each run as it ends. Slots are refilled between epochs, in the runs' order."""
    waiting = deque(positions)
    device = mnist.train_images.device
    pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
    per_block = block_slots or BLOCK_SLOTS[device.type]
    sizes = [min(per_block, num_slots - first) for first in range(0, num_slots, per_block)]
    blocks = [Block(runs[positions[0]], size, mnist, dtype, pool) for size in sizes]
    slots: list[list[_Slot | None]] = [[None] * size for size in sizes]
    while True:
        for block, block_runs in zip(blocks, slots, strict=True):
            for k, slot in enumerate(block_runs):
                if slot is None and waiting:
                    position = waiting.popleft()
                    block.load(k, runs[position])
                    block_runs[k] = _Slot(position, runs[position], epoch_seconds)
        active = [(block, block_runs) for block, block_runs in zip(blocks, slots, strict=True) if any(block_runs)]
        if not active:
            return
        results = [_epoch(block, block_runs) for block, block_runs in active]  # a GPU works on while the next are set up
        on_epoch(sum(slot is not None for _, block_runs in active for slot in block_runs))
        for (block, block_runs), result in zip(active, results, strict=True):
            yield from _after_epoch(block, block_runs, result)


def _epoch(block: Block, slots: list[_Slot | None]) -> EpochResult:
    running = {k: slot for k, slot in enumerate(slots) if slot is not None}
    like = next(iter(running.values())).run
    order_KN = torch.zeros(len(slots), like.data.num_train, dtype=torch.int64)
    rates_SK = torch.zeros(_num_steps(like), len(slots), dtype=torch.float64)
    for k, slot in running.items():
        order_KN[k] = slot.next_order()
        rates_SK[:, k] = torch.tensor(slot.next_rates(), dtype=torch.float64)
    return block.epoch(order_KN, rates_SK)


def _after_epoch(block: Block, slots: list[_Slot | None], result: EpochResult) -> Iterator[tuple[int, Outcome]]:
    """Keep the weights of records, and empty the slots of runs that have ended."""
    losses_KS, train_K, valid_loss_K, valid_K = (tensor.tolist() for tensor in result)
    records, ended = [], []
    for k, slot in enumerate(slots):
        if slot is not None:
            data = slot.run.data
            if slot.after_epoch(losses_KS[k], train_K[k] / data.num_train, valid_loss_K[k], valid_K[k] / data.num_valid):
                records.append(k)
            if slot.stop_reason is not None:
                ended.append((k, slot))
    if records:
        block.keep_best(records)
    scored = [k for k, slot in ended if slot.stopping.best_epoch]
    tests = dict(zip(scored, block.score_test(scored), strict=True)) if scored else {}
    for k, slot in ended:
        slots[k] = None
        yield slot.position, slot.outcome(tests.get(k))
