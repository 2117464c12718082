"""3 × 3 convolutions to train with on one core: the same sums with a quarter of the multiplications.

Winograd's F(4 × 4, 3 × 3), as Lavin and Gray (2016) tabulate it. A tile of 6 × 6 pixels gives 4 × 4 outputs. Pixels and
kernel are polynomials; at each of 36 points of evaluation the convolution is a plain product of matrices over the channels,
and the outputs are interpolated from those: 36 multiplications where the sums written out have 144. All of it is matrix
products, so autograd's backward is that cheap as well. It rounds four to eight times as much as those do, which in float32
is near 1e-6 of the result.

Shapes: K runs, B batch, I and O channels in and out, N = B·I, H × W pixels of an image and R × S tiles, P × P pixels of a
kernel.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

_OUT = 4  # pixels of a tile's side that come out
_IN = 6  # and that go in: neighbours overlap by two
_POINTS = _IN**2

# Evaluation of pixels and of a kernel at 0, ±1, ±2 and infinity, and interpolation, along one side.
_PIXELS = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_KERNEL = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUTS = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]


def pays(x: Tensor) -> bool:
    """Is it the fastest way? PyTorch's own is slow backward, on a CPU; forward alone, and on several threads, it is faster."""
    on_one_core = x.device.type == "cpu" and torch.get_num_threads() == 1
    return on_one_core and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def conv2d(x_BIHW: Tensor, weight_OIPP: Tensor, bias_O: Tensor) -> Tensor:
    """F.conv2d of 3 × 3 kernels without padding, to rounding; channels_last. H - 2 and W - 2 are multiples of 4."""
    x_1BHWI = x_BIHW.permute(0, 2, 3, 1).unsqueeze(0)
    return conv2d_of_runs(x_1BHWI, weight_OIPP.unsqueeze(0), bias_O.unsqueeze(0)).squeeze(0).permute(0, 3, 1, 2)


def conv2d_of_runs(x_KBHWI: Tensor, weight_KOIPP: Tensor, bias_KO: Tensor) -> Tensor:
    """[K, B, H-2, W-2, O]: the same of K runs, each with kernels of its own.

    Every product is a run's own, so that how many there are does not change how one is rounded.
    """
    num_runs, num_images, height, width, num_in = x_KBHWI.shape
    assert height % _OUT == width % _OUT == 2, f"{height} × {width} pixels are not covered by whole tiles"
    num_out = weight_KOIPP.shape[1]
    rows, columns = height // _OUT, width // _OUT
    of_pixels, of_kernel, of_outputs = (m.expand(num_runs, -1, -1) for m in _transforms(x_KBHWI.dtype, x_KBHWI.device))
    pixels = torch.bmm(of_pixels, _Tiles.apply(x_KBHWI))
    kernels = torch.bmm(of_kernel, weight_KOIPP.permute(0, 3, 4, 2, 1).reshape(num_runs, 9, -1))
    products = torch.bmm(pixels.view(num_runs * _POINTS, -1, num_in), kernels.view(num_runs * _POINTS, num_in, num_out))
    outputs = torch.bmm(of_outputs, products.view(num_runs, _POINTS, -1))
    tiles = outputs.view(num_runs, _OUT, _OUT, rows, columns, num_images, num_out)
    out_KBHWO = tiles.permute(0, 5, 3, 1, 4, 2, 6).reshape(num_runs, num_images, height - 2, width - 2, num_out)
    return out_KBHWO + bias_KO[:, None, None, None]


@cache
def _transforms(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of whole tiles, rows and columns at once: [36, 36], [36, 9], [16, 36]."""
    sides = (torch.tensor(matrix, dtype=torch.float64) for matrix in (_PIXELS, _KERNEL, _OUTPUTS))
    of_pixels, of_kernel, of_outputs = (torch.kron(side, side).to(device, dtype) for side in sides)
    return of_pixels, of_kernel, of_outputs


class _Tiles(torch.autograd.Function):
    """[K, B, H, W, I] → [K, 36, R·S·N]: the tiles' pixels.

    Its own backward, because autograd's adds up float by float: four times as long.
    """

    @staticmethod
    def forward(ctx: Any, x_KBHWI: Tensor) -> Tensor:
        ctx.shape = x_KBHWI.shape
        x_KHWN = x_KBHWI.permute(0, 2, 3, 1, 4).flatten(3)  # one copy: what follows moves all of a run's channels at once
        return x_KHWN.unfold(1, _IN, _OUT).unfold(2, _IN, _OUT).permute(0, 4, 5, 1, 2, 3).reshape(len(x_KHWN), _POINTS, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        num_runs, num_images, height, width, num_in = ctx.shape
        tiles_K66RSN = grad.view(num_runs, _IN, _IN, height // _OUT, width // _OUT, -1)
        grad_KHWN = tiles_K66RSN[..., 0, 0, :] if height == width == _IN else _overlapped(tiles_K66RSN)
        return grad_KHWN.view(num_runs, height, width, num_images, num_in).permute(0, 3, 1, 2, 4).contiguous()


def _overlapped(tiles_K66RSN: Tensor) -> Tensor:
    """[K, H, W, N]: where tiles overlap, their pixels add up, first along columns, then along rows."""
    num_runs, _, _, rows, columns, num_values = tiles_K66RSN.shape
    height, width = rows * _OUT + 2, columns * _OUT + 2
    strips_KH6SN = tiles_K66RSN.new_zeros(num_runs, height, _IN, columns, num_values)
    for i in range(_IN):
        strips_KH6SN[:, _in_each_tile(i, height)] += tiles_K66RSN[:, i].transpose(1, 2)
    pixels_KHWN: Tensor = tiles_K66RSN.new_zeros(num_runs, height, width, num_values)
    for i in range(_IN):
        pixels_KHWN[:, :, _in_each_tile(i, width)] += strips_KH6SN[:, :, i]
    return pixels_KHWN


def _in_each_tile(i: int, num_pixels: int) -> slice:
    """Where the tiles along a side of so many pixels have their pixel i."""
    return slice(i, i + num_pixels - _IN + 1, _OUT)
