"""lrsweep.winograd against PyTorch's own convolution, its outputs and its gradients.

Shapes: K runs, B batch, I and O channels in and out, H × W pixels, P × P pixels of a kernel.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lrsweep import winograd

SIDES = [6, 10, 14]


def arguments(sizes: tuple[int, int, int, int, int], dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Pixels of a batch, kernels and biases."""
    num_images, num_in, num_out, height, width = sizes
    draws = torch.Generator().manual_seed(sum(sizes) + seed)
    shapes = [(num_images, num_in, height, width), (num_out, num_in, 3, 3), (num_out,)]
    return [torch.randn(shape, generator=draws, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def outputs_and_gradients(convolve: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    out = convolve(*inputs)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)]


@given(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from(SIDES), st.sampled_from(SIDES)))
def test_it_is_torchs_convolution(sizes: tuple[int, int, int, int, int]) -> None:
    inputs = arguments(sizes, torch.float64)
    ours, theirs = (outputs_and_gradients(convolve, inputs) for convolve in (winograd.conv2d, F.conv2d))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_its_gradients_are_finite_differences() -> None:
    inputs = arguments((1, 2, 2, 10, 6), torch.float64)
    assert torch.autograd.gradcheck(winograd.conv2d, inputs)


@pytest.mark.parametrize("sizes", [(32, 32, 64, 14, 14), (32, 64, 64, 6, 6)], ids=["conv2", "conv3"])
def test_float32_rounds_it_by_a_few_millionths(sizes: tuple[int, int, int, int, int]) -> None:
    inputs = arguments(sizes, torch.float32)
    exact = outputs_and_gradients(F.conv2d, [tensor.detach().double().requires_grad_() for tensor in inputs])
    for a, b in zip(outputs_and_gradients(winograd.conv2d, inputs), exact, strict=True):
        assert (a - b).norm() < 3e-6 * b.norm()


def test_it_is_channels_last_whatever_it_is_given() -> None:
    x, weight, bias = arguments((2, 3, 4, 6, 10), torch.float32)
    out = winograd.conv2d(x, weight, bias)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, winograd.conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias))


@pytest.mark.parametrize("side", [5, 7, 8, 12])
def test_pixels_that_tiles_do_not_cover_are_refused(side: int) -> None:
    with pytest.raises(AssertionError, match=f"{side} × 6 pixels"):
        winograd.conv2d(*arguments((1, 1, 1, side, 6), torch.float32))


@given(st.integers(1, 3), st.sampled_from([(2, 3, 4, 10, 6), (1, 5, 2, 6, 6), (3, 1, 2, 14, 10)]))
def test_runs_have_kernels_of_their_own(num_runs: int, sizes: tuple[int, int, int, int, int]) -> None:
    runs = [arguments(sizes, torch.float64, seed=k) for k in range(num_runs)]
    together = [torch.stack(tensors).detach().requires_grad_() for tensors in zip(*runs, strict=True)]

    def one_by_one(x_KBIHW: Tensor, weight_KOIPP: Tensor, bias_KO: Tensor) -> Tensor:
        return torch.stack([F.conv2d(*own) for own in zip(x_KBIHW, weight_KOIPP, bias_KO, strict=True)])

    def at_once(x_KBIHW: Tensor, weight_KOIPP: Tensor, bias_KO: Tensor) -> Tensor:
        return winograd.conv2d_of_runs(x_KBIHW.permute(0, 1, 3, 4, 2), weight_KOIPP, bias_KO).permute(0, 1, 4, 2, 3)

    ours, theirs = (outputs_and_gradients(convolve, together) for convolve in (at_once, one_by_one))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("num_images", [32, 24])
@pytest.mark.parametrize("sizes", [(32, 64, 14, 14), (64, 64, 6, 6)], ids=["conv2", "conv3"])
def test_how_many_runs_there_are_changes_no_bit_of_one(sizes: tuple[int, int, int, int], num_images: int) -> None:
    runs = [arguments((num_images, *sizes), torch.float32, seed=k) for k in range(4)]
    together = inputs_of_runs(*(torch.stack(tensors).detach() for tensors in zip(*runs, strict=True)))
    of_runs = outputs_and_gradients_of_runs(together)
    for k in range(4):
        alone = outputs_and_gradients_of_runs([tensor[k : k + 1].detach().requires_grad_() for tensor in together])
        for a, b in zip(of_runs, alone, strict=True):
            assert torch.equal(a[k], b[0])


def outputs_and_gradients_of_runs(inputs: list[Tensor]) -> list[Tensor]:
    """Of the squares, so that a run's gradients are its own whatever is beside it."""
    out = winograd.conv2d_of_runs(*inputs)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), inputs)]


def test_a_run_that_is_not_finite_leaves_the_others_alone() -> None:
    x, weight, bias = (torch.stack([tensor.detach()] * 3) for tensor in arguments((2, 3, 4, 10, 10), torch.float32))
    clean = outputs_and_gradients(winograd.conv2d_of_runs, inputs_of_runs(x, weight, bias))
    x[1, 0, 0], weight[1, 0] = torch.nan, torch.inf
    spoilt = outputs_and_gradients(winograd.conv2d_of_runs, inputs_of_runs(x, weight, bias))
    assert not spoilt[0][1].isfinite().all()
    for a, b in zip(clean, spoilt, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])


def inputs_of_runs(x_KBIHW: Tensor, *weights: Tensor) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in (x_KBIHW.permute(0, 1, 3, 4, 2), *weights)]
