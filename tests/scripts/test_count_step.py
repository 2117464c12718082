"""count_step.py: its rules, and how much a step of the fused engine may cost."""

from collections.abc import Callable

import count_step as counting
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lrsweep.config import RunConfig
from lrsweep.fused import stacked_cnn

FLOATS = 4  # bytes


def ones(*shape: int) -> Tensor:
    return torch.ones(shape)


# Each case: what is done, kernels, floats read and written.
CASES: dict[str, tuple[Callable[[Tensor], object], int, int]] = {
    "a view": (lambda x: x.view(8, 2).T[1:], 0, 0),
    "an allocation": (lambda x: torch.empty_like(x), 0, 0),
    "a sum": (lambda x: x + 1, 1, 16 + 16),
    "a sum in place": (lambda x: x.add_(1), 1, 16 + 16),
    "a sum into another tensor": (lambda x: torch.add(x, x[:1], out=x.new_empty(4, 4)), 1, 16 + 4 + 16),
    "a fill": (lambda x: x.zero_(), 1, 16),
    "new zeros": (lambda x: x.new_zeros(3), 1, 3),
    "a copy": (lambda x: x[:2].copy_(x[2:]), 1, 8 + 8),
    "a copy of a tensor to itself": (lambda x: x[:2].copy_(x[:2]), 0, 0),
    "an expanded view": (lambda x: x[:1].expand(4, 4).clone(memory_format=torch.contiguous_format), 1, 4 + 16),
    "an overlapping view": (lambda x: x.flatten().unfold(0, 3, 1).clone(memory_format=torch.contiguous_format), 1, 16 + 42),
    "a product": (lambda x: torch.bmm(x.view(1, 4, 4), x.view(1, 4, 4)), 1, 16 + 16 + 16),
    "a product with a bias": (lambda x: torch.baddbmm(x[:1], x.view(1, 4, 4), x.view(1, 4, 4)), 2, 4 + 16 + 16 + 3 * 16),
}


@pytest.mark.parametrize(("work", "kernels", "floats"), CASES.values(), ids=CASES)
def test_kernels_and_traffic_follow_the_rules(work: Callable[[Tensor], object], kernels: int, floats: int) -> None:
    x = ones(4, 4)
    with counting.CountingMode() as mode:
        work(x)
    assert (mode.count.kernels.total(), mode.count.bytes.total()) == (kernels, FLOATS * floats)


def test_an_index_reads_only_what_it_looks_up() -> None:
    index = torch.tensor([0, 0, 5])
    with counting.CountingMode() as mode:
        ones(1_000, 4).index_select(0, index)
    assert mode.count.bytes["index_select"] == 3 * 8 + 2 * 3 * 4 * FLOATS


def test_a_step_of_eight_runs_stays_below_a_limit() -> None:
    """What docs/performance.md says, rounded up. A change that adds a pass over a large tensor fails here."""
    with FakeTensorMode():
        one, two = (counting.count_epoch(RunConfig(), 8, num_train, 0) for num_train in (32, 64))
    stacked_cnn._places_of_pixels.cache_clear()  # it holds fake tensors
    step = two.minus(one)
    assert step.kernels.total() <= 75
    assert step.bytes.total() <= 0.72e9
