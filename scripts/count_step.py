"""Count the kernels and the memory traffic of the fused engine for a training step, a validation batch and an epoch.

    python scripts/count_step.py          (needs no GPU and computes nothing: the tensors are fake)

The counts follow simple rules. Each operation is one kernel. Exceptions are views and allocations, which need none, and the
operations in `KERNELS`. A kernel reads each input and writes each output once. Overlapping or expanded inputs count once,
because caches serve the repeated reads. Otherwise caches are ignored, so the count is an upper bound on the traffic to the
GPU's memory. On a GPU, large sums and products may need a second kernel; the rules do not count it.

Shapes: K runs, N images, S steps per epoch.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import torch
from benchmarking import table
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from lrsweep.config import DataConfig, RunConfig
from lrsweep.data.dataset import DataSet
from lrsweep.fused import block as block_module
from lrsweep.fused.block import BLOCK_SLOTS, Block
from lrsweep.training.models import build_model

CPU = torch.device("cpu")

ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
NO_KERNELS = {"detach", "alias", "lift_fresh", "_unsafe_view", *ALLOCATIONS}
KERNELS = {  # operations with two kernels; the first one fills the output
    "baddbmm": 2,  # the first one writes the bias; the second one adds the product
    "constant_pad_nd": 2,
    "max_pool2d_with_indices_backward": 2,
    "nll_loss_backward": 2,
}
FILLS = {"new_zeros", "new_full", "new_ones", "zeros_like", "ones_like", "full_like"}  # these use only the shape of their input
WRITES_ALL = {"copy_", "zero_", "fill_", "_foreach_copy_"}  # these do not read the tensor that they overwrite
LOOKS_UP = {"index_select", "gather", "index"}  # these read only as much of their first input as they write
PUTS = {"scatter_", "index_copy_"}  # these write only as much of their first input as their source holds


@dataclass
class Count:
    """Numbers of kernels and bytes, by the name of the operation."""

    kernels: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)

    def plus(self, other: "Count", factor: float = 1) -> "Count":
        def total(a: Counter[str], b: Counter[str]) -> Counter[str]:
            return Counter({name: a[name] + round(factor * b[name]) for name in [*a, *b]})

        return Count(total(self.kernels, other.kernels), total(self.bytes, other.bytes))

    def minus(self, other: "Count") -> "Count":
        return self.plus(other, -1)

    def times(self, factor: float) -> "Count":
        return Count().plus(self, factor)


class CountingMode(TorchDispatchMode):
    """While this mode is active, it counts every operation that PyTorch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.count = Count()

    def __torch_dispatch__(
        self, operation: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        results = operation(*args, **(kwargs or {}))
        namespace, name = operation._schema.name.split("::")
        is_free = namespace != "aten" or name in NO_KERNELS or operation.is_view or (name == "copy_" and _shows_same(*args[:2]))
        if not is_free:
            self.count.kernels[name] += KERNELS.get(name, 1)
            self.count.bytes[name] += _traffic(operation, name, args, kwargs or {}, results)
        return results


def _traffic(operation: OpOverload, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], results: Any) -> int:
    """The bytes that the operation reads and writes."""
    arguments = operation._schema.arguments
    given = [*zip(arguments, args, strict=False), *((a, kwargs[a.name]) for a in arguments if a.name in kwargs)]
    fresh = [] if any(r.alias_info for r in operation._schema.returns) else list(_tensors(results))
    changed = [t for a, value in given if a.alias_info for t in _tensors(value)]
    unchanged = [t for a, value in given if not a.alias_info for t in _tensors(value)]
    is_out = any(a.is_out for a in arguments if a.alias_info)
    if name in LOOKS_UP:
        unchanged = unchanged[1:] + fresh
    if name in FILLS:
        unchanged = []
    if name == "max_pool2d_with_indices_backward":
        unchanged.pop(1)  # the forward input, of which only the shape is read
    if name in PUTS:
        return _size(unchanged) + _size(unchanged[-1:])
    reads = unchanged + ([] if name in WRITES_ALL or is_out else changed)
    fills = fresh if KERNELS.get(name) == 2 else []
    return _size(reads + changed + fresh + fills + (fills if name == "baddbmm" else []))


def _shows_same(a: Tensor, b: Tensor) -> bool:
    """Are both tensors views of the same memory? PyTorch then copies nothing, for example at the end of `x[i] += y`."""
    layouts = [(t.untyped_storage()._cdata, t.storage_offset(), t.shape, t.stride(), t.dtype) for t in (a, b)]
    return layouts[0] == layouts[1]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _size(tensors: list[Tensor]) -> int:
    """Bytes in memory. If an expanded or overlapping view shows the same bytes several times, they count once."""
    total = 0
    for tensor in tensors:
        shown = [(size, stride) for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
        span = 1 + sum((size - 1) * stride for size, stride in shown)
        numel = 1
        for size, _ in shown:
            numel *= size
        total += (min(span, numel) if tensor.numel() else 0) * tensor.element_size()
    return total


def count_epoch(run: RunConfig, num_slots: int, num_train: int, num_valid: int) -> Count:
    """One epoch of a block with these numbers of images, as a GPU would compute it. Needs a FakeTensorMode."""
    run = replace(run, data=DataConfig(num_train=num_train, num_valid=max(1, num_valid)))
    images, labels = torch.empty(70_000, 1, 28, 28, dtype=torch.uint8), torch.empty(70_000, dtype=torch.int64)
    data_set = DataSet(images[:60_000], labels[:60_000], images[60_000:], labels[60_000:])
    with unset_fake_temporarily():  # PyTorch cannot build a module of fake tensors
        model = build_model(run.model, torch.Generator(), CPU)
    with (
        mock.patch.object(block_module, "build_model", return_value=model),
        mock.patch.dict(block_module._EVAL_BATCH, cpu=block_module._EVAL_BATCH["cuda"]),
    ):
        block = Block(run, num_slots, data_set, torch.float32)
        order_KN = torch.zeros(num_slots, num_train, dtype=torch.int64)
        rates_SK = torch.zeros(run.epoch_steps, num_slots)
        block.epoch(order_KN, rates_SK, [])  # creates everything that is created only once
        mode = CountingMode()
        with mode:
            block.epoch(order_KN, rates_SK, None if num_valid else [])
    return mode.count


def measure(run: RunConfig, num_slots: int) -> dict[str, Count]:
    """Count by differences between short epochs, because these leave out the work that an epoch does only once.

    Needs a FakeTensorMode.
    """

    def epoch(num_train: int, num_valid: int = 0) -> Count:
        return count_epoch(run, num_slots, num_train, num_valid)

    size, eval_size = run.training.batch_size, block_module._EVAL_BATCH["cuda"]
    num_steps, short = divmod(run.data.num_train, size)
    one_step = epoch(size)
    step = epoch(2 * size).minus(one_step)
    batch = epoch(size, 2 * eval_size).minus(epoch(size, eval_size))
    training = step.times(num_steps).plus(epoch(size + short).minus(one_step))
    validation = batch.times(run.data.num_valid / eval_size)
    return {
        f"training step, {size} images a run": step,
        f"validation batch, {eval_size:,} images a run": batch,
        f"an epoch's training, {run.data.num_train:,} images a run": training,
        f"an epoch's validation, {run.data.num_valid:,} images a run": validation,
        "epoch": training.plus(validation),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the kernels and the memory traffic of the fused engine.")
    parser.add_argument("--slots", type=int, default=BLOCK_SLOTS["cuda"], help="runs in a block (default: %(default)s)")
    parser.add_argument("--operations", action="store_true", help="list the operations of a training step too, by traffic")
    arguments = parser.parse_args()
    with FakeTensorMode():
        counts = measure(RunConfig(), arguments.slots)
    head = [f"a block of {arguments.slots} runs", "kernels", "MB", "MB per run"]
    rows = []
    for name, count in counts.items():
        megabytes = count.bytes.total() / 1e6
        rows.append([name, f"{count.kernels.total():,}", f"{megabytes:,.0f}", f"{megabytes / arguments.slots:,.0f}"])
    print("\n".join(table(head, rows)))
    if arguments.operations:
        step = next(iter(counts.values()))
        print("\n".join(f"{step.kernels[name]:4} {traffic / 1e6:8.1f} MB  {name}" for name, traffic in step.bytes.most_common()))


if __name__ == "__main__":
    main()
