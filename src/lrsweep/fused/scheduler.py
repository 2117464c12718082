"""Train many runs in one program: runs share every step, and when a run ends, the next one takes its slot.

Each run trains as in solo.py: with the same split, initial weights and batches, its own learning rate, the same stopping rule,
and the same scores on the test set. Only the order of floating-point sums differs, so the weights drift apart after some steps,
as they also do between two machines.

Shapes: K slots, N images, S steps per epoch.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lrsweep.config import LayerFactors, RunConfig
from lrsweep.data.dataset import Mnist, batch_order
from lrsweep.data.seeding import generator
from lrsweep.fused.block import BLOCK_SLOTS, Block, EpochResult
from lrsweep.fused.stacked_cnn import FORWARD
from lrsweep.records import EpochRecord, Outcome, StopReason
from lrsweep.training.early_stopping import EarlyStopping
from lrsweep.training.schedules import Pace, PlateauState, lr_at, pace_of
from lrsweep.training.solo import Score

_USABLE_MEMORY = 0.8  # fraction of the free GPU memory


class EpochSeconds(NamedTuple):
    """The seconds to record for an epoch. A fused run has no wall time of its own, because it shares every step."""

    with_validation: float
    without_validation: float


def reason_not_fusable(run: RunConfig) -> str | None:
    """Why this run cannot be fused, or None if it can."""
    if run.schedule.name == "grow_batch":
        return "schedule=grow_batch cannot be fused"
    if run.training.precision != "fp32":
        return f"training.precision={run.training.precision} cannot be fused"
    if run.data.max_shift or run.data.max_rotation:
        return "augmentation (data.max_shift, data.max_rotation) cannot be fused"
    if run.model.name not in FORWARD:
        return f"model.name={run.model.name} cannot be fused"
    if run.model.dropout:
        return f"model.dropout={run.model.dropout} cannot be fused"
    if run.model.batch_norm:
        return "model.batch_norm=true cannot be fused"
    return None


def cohorts(runs: Sequence[RunConfig]) -> list[list[int]]:
    """Group the positions of runs that can train in one program.

    They may differ in learning rate, seed, schedule, layer factors, patience, max_epochs, score and validate_every, but in
    nothing else.
    """
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        optimizer = replace(run.optimizer, lr=1.0, layerwise="uniform", layer_factor=2.0, layers=LayerFactors())
        key = (run.data, run.model, run.loss, optimizer, run.training.batch_size)
        groups.setdefault(repr(key), []).append(i)
    return list(groups.values())


def train(
    runs: Sequence[RunConfig],
    mnist: Mnist,
    *,
    num_slots: int,
    epoch_seconds: EpochSeconds,
    on_outcome: Callable[[int, Outcome], None],
    on_epoch: Callable[[int], None] = lambda num_active: None,
    on_halved: Callable[[int], None] = lambda num_slots: None,
    dtype: torch.dtype = torch.float32,
    block_slots: int | None = None,
) -> None:
    """Train the runs of one cohort, at most `num_slots` at a time.

    `on_outcome` gets each run's position and outcome as soon as the run ends. If memory runs out, the unfinished runs start
    again with half the slots, and `on_halved` gets the new number; with one slot, torch.OutOfMemoryError is raised.
    """
    unfinished = list(range(len(runs)))
    num_slots = min(num_slots, len(runs))
    while unfinished:
        try:
            for i, outcome in _train_in_slots(runs, unfinished, mnist, num_slots, block_slots, dtype, epoch_seconds, on_epoch):
                on_outcome(i, outcome)
                unfinished.remove(i)
            return
        except torch.OutOfMemoryError:
            if num_slots == 1:
                raise
        # Not inside `except`: there, the traceback would keep the tensors of the interrupted step alive.
        num_slots = min(num_slots // 2, len(unfinished))
        if mnist.train_images.is_cuda:
            torch.cuda.empty_cache()
        on_halved(num_slots)


def num_slots_that_fit(template: RunConfig, mnist: Mnist) -> int:
    """How many slots the free GPU memory holds, estimated by building two blocks."""
    block_slots = BLOCK_SLOTS["cuda"]
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(mnist.train_images.device)[0]
    try:
        shared, per_block = _memory_of_blocks(template, mnist, block_slots)
    except torch.OutOfMemoryError:
        return block_slots // 2  # if that is still too many, `train` halves it again
    return max(1, int((_USABLE_MEMORY * free - shared) / per_block * block_slots))


def _memory_of_blocks(template: RunConfig, mnist: Mnist, block_slots: int) -> tuple[int, int]:
    """The bytes that all blocks share (temporary tensors, library workspaces), and the bytes that each block keeps."""
    device = mnist.train_images.device
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    pool = torch.cuda.graph_pool_handle()
    blocks = [Block(template, block_slots, mnist, torch.float32, pool)]
    with_one = torch.cuda.memory_allocated(device)
    blocks.append(Block(template, block_slots, mnist, torch.float32, pool))
    per_block = torch.cuda.memory_allocated(device) - with_one
    order_KN = torch.zeros(block_slots, template.data.num_train, dtype=torch.int64)
    blocks[1].epoch(order_KN, torch.zeros(template.epoch_steps, block_slots))
    return torch.cuda.max_memory_allocated(device) - before - 2 * per_block, per_block


@dataclass
class _ActiveRun:
    """The run in a slot, with the state that solo would have after the same number of epochs."""

    position: int
    run: RunConfig
    epoch_seconds: EpochSeconds
    order: torch.Generator = field(init=False)
    stopping: EarlyStopping = field(init=False)
    pace: Pace = field(init=False)
    plateau: PlateauState = field(default_factory=PlateauState)
    curve: list[EpochRecord] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of every step
    wall_seconds: float = 0.0  # as in solo, the diverged epoch counts
    stop_reason: StopReason | None = None  # None while the run continues

    def __post_init__(self) -> None:
        self.order = generator(self.run.seed, "order")
        self.stopping = EarlyStopping(patience=self.run.training.patience)
        self.pace = pace_of(self.run)

    def next_order(self) -> Tensor:
        return torch.cat(batch_order(self.run.data.num_train, self.run.training.batch_size, self.order))

    def next_rates(self) -> list[float]:
        first = len(self.losses)
        steps = range(first, first + self.run.epoch_steps)
        return [lr_at(self.run.schedule, self.run.optimizer.lr, step, self.pace) * self.plateau.lr_scale for step in steps]

    @property
    def is_validated(self) -> bool:
        """Is the next epoch validated?"""
        return self.run.training.validates(len(self.curve) + 1)

    def after_epoch(self, losses: list[float], train_accuracy: float, valid: Score | None) -> None:
        """Apply the stopping rule of solo.py."""
        self.losses += losses
        seconds = self.epoch_seconds.with_validation if valid else self.epoch_seconds.without_validation
        self.wall_seconds += seconds
        if not all(map(math.isfinite, [*losses, valid.loss if valid else 0.0])):
            self.stop_reason = "diverged"
            return
        if valid is not None:
            self.plateau = self.plateau.after(self.run.schedule, self.run.optimizer.lr, valid.loss)
        self.stopping = self.stopping.after(valid.accuracy if valid else None)
        self.curve.append(
            EpochRecord(
                epoch=self.stopping.epoch,
                train_loss=self._mean_loss(losses),
                train_accuracy=train_accuracy,
                highest_loss=max(losses),
                valid_loss=valid.loss if valid else None,
                valid_accuracy=valid.accuracy if valid else None,
                seconds=seconds,
            )
        )
        if self.stopping.is_over:
            self.stop_reason = "patience"
        elif len(self.curve) >= self.run.training.max_epochs:
            self.stop_reason = "max_epochs"

    def outcome(self, best: Score | None, last: Score | None) -> Outcome:
        """`best` and `last` are the test scores of the best and the last epoch. None if the run has no such epoch."""
        assert self.stop_reason is not None
        test = {"best": best, "last": last}[self.run.training.score]
        last_accuracy = self.curve[-1].valid_accuracy if self.curve else None
        valid_accuracy = {"best": self.stopping.best_accuracy, "last": last_accuracy}[self.run.training.score]
        is_diverged = self.stop_reason == "diverged"
        num_finite = next((step for step, loss in enumerate(self.losses) if not math.isfinite(loss)), len(self.losses))
        return Outcome(
            status="diverged" if is_diverged else "ok",
            stop_reason=self.stop_reason,
            curve=tuple(self.curve),
            best_epoch=self.stopping.best_epoch or None,
            valid_accuracy=valid_accuracy if test else None,
            test_loss=test.loss if test else None,
            test_accuracy=test.accuracy if test else None,
            best_test_accuracy=best.accuracy if best else None,
            last_test_accuracy=last.accuracy if last else None,
            wall_seconds=self.wall_seconds,
            diverged_step=num_finite if is_diverged else None,
            last_finite_loss=self.losses[num_finite - 1] if num_finite else None,
        )

    def _mean_loss(self, losses: list[float]) -> float:
        size, num_train = self.run.training.batch_size, self.run.data.num_train
        sizes = [min(size, num_train - first) for first in range(0, num_train, size)]
        return sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / num_train


def _train_in_slots(
    runs: Sequence[RunConfig],
    positions: Sequence[int],
    mnist: Mnist,
    num_slots: int,
    block_slots: int | None,
    dtype: torch.dtype,
    epoch_seconds: EpochSeconds,
    on_epoch: Callable[[int], None],
) -> Iterator[tuple[int, Outcome]]:
    """Yield each run's position and outcome when it ends. Free slots are filled between epochs, in the order of the runs."""
    waiting = deque(positions)
    device = mnist.train_images.device
    pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
    per_block = block_slots or BLOCK_SLOTS[device.type]
    sizes = [min(per_block, num_slots - first) for first in range(0, num_slots, per_block)]
    blocks = [Block(runs[positions[0]], size, mnist, dtype, pool) for size in sizes]
    slots: list[list[_ActiveRun | None]] = [[None] * size for size in sizes]
    while True:
        for block, block_runs in zip(blocks, slots, strict=True):
            for k, active in enumerate(block_runs):
                if active is None and waiting:
                    position = waiting.popleft()
                    block.load(k, runs[position])
                    block_runs[k] = _ActiveRun(position, runs[position], epoch_seconds)
        busy = [(block, block_runs) for block, block_runs in zip(blocks, slots, strict=True) if any(block_runs)]
        if not busy:
            return
        # All blocks start before the first one finishes, so that a GPU always has work.
        results = [_start_epoch(block, block_runs) for block, block_runs in busy]
        on_epoch(sum(active is not None for _, block_runs in busy for active in block_runs))
        for (block, block_runs), result in zip(busy, results, strict=True):
            yield from _finish_epoch(block, block_runs, result)


def _start_epoch(block: Block, slots: list[_ActiveRun | None]) -> EpochResult:
    active_runs = {k: active for k, active in enumerate(slots) if active is not None}
    template = next(iter(active_runs.values())).run
    order_KN = torch.zeros(len(slots), template.data.num_train, dtype=torch.int64)
    rates_SK = torch.zeros(template.epoch_steps, len(slots), dtype=torch.float64)
    for k, active in active_runs.items():
        order_KN[k] = active.next_order()
        rates_SK[:, k] = torch.tensor(active.next_rates(), dtype=torch.float64)
    validated = [k for k, active in active_runs.items() if active.is_validated]
    return block.epoch(order_KN, rates_SK, None if len(validated) == len(active_runs) else validated)


def _finish_epoch(block: Block, slots: list[_ActiveRun | None], result: EpochResult) -> Iterator[tuple[int, Outcome]]:
    """Keep the weights of runs that improved, and free the slots of runs that ended."""
    losses_KS, train_K, valid_loss_K, valid_K = (tensor.tolist() for tensor in result)
    improved, ended = [], []
    for k, active in enumerate(slots):
        if active is not None:
            data = active.run.data
            valid = Score(valid_loss_K[k], valid_K[k] / data.num_valid) if active.is_validated else None
            active.after_epoch(losses_KS[k], train_K[k] / data.num_train, valid)
            if active.stop_reason != "diverged" and active.stopping.is_improvement:
                improved.append(k)
            if active.stop_reason is not None:
                ended.append((k, active))
    if improved:
        block.keep_best(improved)
    best = _score_test(block, "best", [k for k, active in ended if active.stopping.best_epoch])
    only_last = [k for k, active in ended if active.stop_reason != "diverged" and k not in improved]
    last = {k: best[k] for k in improved if k in best} | _score_test(block, "last", only_last)
    for k, active in ended:
        slots[k] = None
        yield active.position, active.outcome(best.get(k), last.get(k))


def _score_test(block: Block, which: Literal["best", "last"], slots: list[int]) -> dict[int, Score]:
    """Score these slots on the test set. Returns the score of each slot."""
    return dict(zip(slots, block.score_test(slots, which), strict=True)) if slots else {}
