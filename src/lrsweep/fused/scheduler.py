"""Train many runs in one program: runs share every step, and when a run ends, the next one takes its slot.

Each run trains as in solo.py: with the same split, initial weights and batches, its own learning rate, the same stopping rule,
and the same scores on the test set. Only the order of floating-point sums differs, so the weights drift apart after some steps,
as they also do between two machines.

Shapes: K slots of a block, N images, S steps per epoch.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch

from lrsweep.config import LayerFactors, RunConfig
from lrsweep.data.dataset import DataSet
from lrsweep.fused.active_run import ActiveRun, EpochSeconds
from lrsweep.fused.block import BLOCK_SLOTS, Block, EpochResult
from lrsweep.fused.rows import row_layout
from lrsweep.records import Outcome, State
from lrsweep.training.course import Score
from lrsweep.training.models import build_model

_USABLE_MEMORY = 0.8  # fraction of the free GPU memory
# Generous upper bounds: too many slots cost a restart, but too few cost nothing, because blocks take turns anyway. A slot needs
# about 5 MB for the weights, their gradient and the optimizer's state, and about 1 MB for its part of the block's CUDA graphs,
# because the driver takes about 64 kB per recorded kernel (reported by users, not measured here).
_SLOT_BYTES = 16 * 2**20
_PARAMETER_BYTES = 40  # per parameter of a larger network: seven floats with AdamW, and three to spare
# Temporary tensors of a step, per image of 28 × 28 pixels and slot. The CNN's, measured: training 0.6 MB, validation 0.2 MB.
_IMAGE_BYTES = 2**20
_VALIDATED_IMAGES = 500  # at a time
# PyTorch raises torch.OutOfMemoryError only if its own allocator fails. CUDA graphs and cuBLAS allocate memory themselves.
_OUT_OF_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def cohorts(runs: Sequence[RunConfig]) -> list[list[int]]:
    """Group the positions of runs that can train in one program.

    They may differ in learning rate, seed, schedule, factors of the rate, patience, max_epochs, score and validate_every, and in
    where their data are, but in nothing else.
    """
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        optimizer = replace(run.optimizer, lr=1.0, layerwise="uniform", layer_factor=2.0, layers=LayerFactors(), rates={})
        key = (replace(run.data, path=None), run.model, run.loss, optimizer, run.training.batch_size)
        groups.setdefault(repr(key), []).append(i)
    return list(groups.values())


def train(
    runs: Sequence[RunConfig],
    data_set: DataSet,
    *,
    num_slots: int,
    epoch_seconds: EpochSeconds,
    on_outcome: Callable[[int, Outcome], None],
    on_epoch: Callable[[int], None] = lambda num_active: None,
    on_halved: Callable[[int], None] = lambda num_slots: None,
    on_state: Callable[[int, Callable[[], State]], None] = lambda position, make_state: None,
    resume_from: Mapping[int, State] | None = None,
    dtype: torch.dtype = torch.float32,
    block_slots: int | None = None,
) -> None:
    """Train the runs of one cohort, at most `num_slots` at a time.

    `on_outcome` receives each run's position and outcome as soon as the run ends. After every epoch except a run's last one,
    `on_state` receives the run's position and a function that returns its state. `resume_from` maps positions to such states;
    these runs continue from them, and all other runs start from the beginning.

    If memory runs out, the unfinished runs start again (those in `resume_from` from there) with half the slots, and `on_halved`
    receives the new number of slots. If there was only one slot, torch.OutOfMemoryError is raised.
    """

    def start(position: int, block: Block, k: int) -> ActiveRun:
        active = ActiveRun(position, runs[position], epoch_seconds)
        if resume_from and position in resume_from:
            block.restore(k, resume_from[position]["slot"])
            active.load_state(resume_from[position]["run"])
        else:
            block.load(k, active.run)
        return active

    unfinished = list(range(len(runs)))
    num_slots = min(num_slots, len(runs))
    while unfinished:
        try:
            outcomes = _train_in_slots(
                _blocks(runs[0], data_set, num_slots, block_slots, dtype), deque(unfinished), start, on_epoch, on_state
            )
            for i, outcome in outcomes:
                on_outcome(i, outcome)
                unfinished.remove(i)
            return
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if num_slots == 1:
                raise torch.OutOfMemoryError(str(error)) from error
        # Not inside `except`: there, the traceback would keep the tensors of the interrupted step alive.
        num_slots = min(num_slots // 2, len(unfinished))
        if data_set.train_images.is_cuda:
            torch.cuda.empty_cache()
        on_halved(num_slots)


def num_slots_that_fit(template: RunConfig, data_set: DataSet) -> int:
    """The number of slots that surely fit into the free GPU memory, and at least one block. If one block is too much, `train`
    halves the number.
    """
    block_slots = BLOCK_SLOTS["cuda"]
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(data_set.train_images.device)
    image_bytes = _IMAGE_BYTES * max(1, math.prod(template.data.shape) / 28**2)
    shared = block_slots * max(template.training.batch_size, _VALIDATED_IMAGES) * image_bytes
    num_floats = row_layout(build_model(template.model, torch.Generator(), torch.device("cpu"), template.data)).num_floats
    return max(block_slots, int((_USABLE_MEMORY * free - shared) / max(_SLOT_BYTES, _PARAMETER_BYTES * num_floats)))


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Also look at the contexts of the error: if an error ends the recording of a CUDA graph, it can cause a second error."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in _OUT_OF_MEMORY):
            return True
        error = error.__context__
    return False


def _blocks(template: RunConfig, data_set: DataSet, num_slots: int, block_slots: int | None, dtype: torch.dtype) -> list[Block]:
    device = data_set.train_images.device
    pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
    size = block_slots or BLOCK_SLOTS[device.type]
    return [Block(template, min(size, num_slots - first), data_set, dtype, pool) for first in range(0, num_slots, size)]


def _train_in_slots(
    blocks: list[Block],
    waiting: deque[int],
    start: Callable[[int, Block, int], ActiveRun],
    on_epoch: Callable[[int], None],
    on_state: Callable[[int, Callable[[], State]], None],
) -> Iterator[tuple[int, Outcome]]:
    """Yield each run's position and outcome when it ends. Free slots are filled between epochs, in the order of the runs.

    Active runs always fill the first slots, and only blocks that have work take part in an epoch.
    """
    places = [(block, k) for block in blocks for k in range(block.num_slots)]
    size = blocks[0].num_slots  # of all blocks but the last
    active: list[ActiveRun] = []  # in the first places
    while active or waiting:
        while waiting and len(active) < len(places):
            active.append(start(waiting.popleft(), *places[len(active)]))
        busy = [(blocks[first // size], active[first : first + size]) for first in range(0, len(active), size)]
        # All blocks start before the first one finishes, so that a GPU always has work.
        results = [_start_epoch(block, block_runs) for block, block_runs in busy]
        on_epoch(len(active))
        for (block, block_runs), result in zip(busy, results, strict=True):
            yield from _finish_epoch(block, block_runs, result)
        _close_gaps(active, places)
        for run, (block, k) in zip(active, places, strict=False):
            on_state(run.position, partial(_state, run, block, k))


def _close_gaps(active: list[ActiveRun], places: list[tuple[Block, int]]) -> None:
    """Move the last active run into the place of each run that has ended."""
    for i in reversed(range(len(active))):  # from the end, so that the last run is still active
        if active[i].course.stop_reason is not None:
            last = active.pop()
            if i < len(active):
                (block, k), (source, source_k) = places[i], places[len(active)]
                block.restore(k, source.state(source_k))
                active[i] = last


def _state(run: ActiveRun, block: Block, k: int) -> State:
    return {"run": run.state(), "slot": {name: tensor.to("cpu", copy=True) for name, tensor in block.state(k).items()}}


def _start_epoch(block: Block, runs: list[ActiveRun]) -> EpochResult:
    """Start an epoch of the runs in the first slots of a block."""
    template = runs[0].run
    order_KN = torch.zeros(block.num_slots, template.data.num_train, dtype=torch.int64)
    rates_SK = torch.zeros(template.epoch_steps, block.num_slots, dtype=torch.float64)
    for k, active in enumerate(runs):
        order_KN[k] = active.next_order()
        rates_SK[:, k] = torch.tensor(active.next_rates(), dtype=torch.float64)
    validated = [k for k, active in enumerate(runs) if active.course.is_validated]
    random = [active.random for active in runs]
    return block.epoch(order_KN, rates_SK, None if len(validated) == len(runs) else validated, random)


def _finish_epoch(block: Block, runs: list[ActiveRun], result: EpochResult) -> Iterator[tuple[int, Outcome]]:
    """Keep the weights of runs that improved, and yield the position and outcome of runs that ended."""
    losses_KS, train_K, valid_loss_K, valid_K = (tensor.tolist() for tensor in result)
    improved, ended = [], []
    for k, active in enumerate(runs):
        data = active.run.data
        valid = Score(valid_loss_K[k], valid_K[k] / data.num_valid) if active.course.is_validated else None
        active.after_epoch(losses_KS[k], train_K[k] / data.num_train, valid)
        if active.course.is_improvement:
            improved.append(k)
        if active.course.stop_reason is not None:
            ended.append((k, active))
    if improved:
        block.keep_best(improved)
    best = _score_test(block, "best", [k for k, active in ended if active.course.stopping.best_epoch])
    only_last = [k for k, active in ended if not active.course.has_diverged and k not in improved]
    last = {k: best[k] for k in improved if k in best} | _score_test(block, "last", only_last)
    for k, active in ended:
        yield active.position, active.course.outcome(best.get(k), last.get(k))


def _score_test(block: Block, which: Literal["best", "last"], slots: list[int]) -> dict[int, Score]:
    """Score these slots on the test set. Returns the score of each slot."""
    return dict(zip(slots, block.score_test(slots, which), strict=True)) if slots else {}
