"""Do some work batch by batch. On a GPU, the work is recorded as CUDA graphs, which replay it without Python.

Shapes: K runs, B batch.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor

_WARM_UPS = 3  # batches at most, as the PyTorch documentation recommends

_R = TypeVar("_R")


class Batches:
    """Do `work(number_1, columns_B)` for every batch: the number of the batch and the columns of its images, on the device.

    The current position is also kept on the device, and every batch advances it. So one recording serves all batches of the same
    size, takes no arguments, and never waits for the host.
    """

    def __init__(self, num_images: int, batch_size: int, device: torch.device, work: Callable[[Tensor, Tensor], None]) -> None:
        self.sizes = [min(batch_size, num_images - first) for first in range(0, num_images, batch_size)]
        self._work = work
        self._replays: dict[int, Callable[[], None]] = {}
        # One addition advances the number of the batch and all columns.
        self._start = torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(self.sizes[0])]).to(device)
        self._stride = torch.full_like(self._start, batch_size)
        self._stride[0] = 1
        self._position = self._start.clone()

    def record(self, pool: Any, *, is_first: bool) -> None:
        """Record a batch of each size. The first recording of its kind in a program also does a few batches to warm up."""
        for size in sorted(set(self.sizes)):
            warm_up = [size] * min(_WARM_UPS, self.sizes.count(size)) if is_first else []
            self._replays[size] = record(partial(self._do, size), partial(self.run, warm_up, replay=False), pool)

    def run(self, sizes: Sequence[int] | None = None, *, replay: bool = True) -> None:
        """Start at the first image and do all batches, or batches of these sizes. With `replay`, replay the recorded batches."""
        self._rewind()
        for size in self.sizes if sizes is None else sizes:
            recorded = self._replays.get(size) if replay else None
            recorded() if recorded else self._do(size)

    def _rewind(self) -> None:
        self._position.copy_(self._start)

    def _do(self, size: int) -> None:
        self._work(self._position[:1], self._position[1 : 1 + size])
        self._position += self._stride


def record(work: Callable[[], _R], warm_up: Callable[[], object], pool: Any) -> Callable[[], _R]:
    """Warm up, then record the work. Returns a function that replays the work and returns its results.

    Recordings with the same `pool` share memory for intermediate results. That is safe, because they are replayed one after the
    other, on one stream. Each replay overwrites the results of the previous one.
    """
    stream = _recording_stream(torch.cuda.current_device())
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        warm_up()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream):
        results = work()

    def replay() -> _R:
        graph.replay()
        return results

    return replay


@cache
def _recording_stream(device_index: int) -> torch.cuda.Stream:
    """One stream for all recordings: every new stream allocates workspaces that are never freed."""
    return torch.cuda.Stream(device_index)


def check_replay(what: str, replayed: Tensor, expected: Tensor, tolerance: float) -> None:
    """Raise an error if the replayed results of a run differ from the expected ones. The first axis of both tensors is the run.

    The tolerance is relative to the norm of the run's results. Runs with NaN or infinite results cannot be compared.
    """
    difference_K, size_K = (tensor.double().flatten(1).norm(dim=1) for tensor in (replayed - expected, expected))
    if (size_K.isfinite() & ~(difference_K <= tolerance * size_K)).any():
        shares = ", ".join(f"{share:.2g}" for share in (difference_K / size_K).tolist())
        raise RuntimeError(
            f"replayed CUDA graphs give different results from the same steps without graphs: the {what} of the runs in a block "
            f"differ by these fractions of their size: {shares}. Training stops here, because its results would be wrong. "
            "hydra/launcher=pool trains without graphs, one run at a time."
        )
