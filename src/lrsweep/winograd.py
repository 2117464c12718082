"""3 × 3 convolutions to train with on one core: the same sums with a quarter of the multiplications.

Winograd's F(4 × 4, 3 × 3), as Lavin and Gray (2016) tabulate it. A tile of 6 × 6 pixels gives 4 × 4 outputs. Pixels and
kernel are polynomials; at each of 36 points of evaluation the convolution is a plain product of matrices over the channels,
and the outputs are interpolated from those: 36 multiplications where the sums written out have 144. All of it is matrix
products, so autograd's backward is that cheap as well. It rounds four to eight times as much as those do, which in float32
is near 1e-6 of the result.

Shapes: B batch, I and O channels in and out, N = B·I, H × W pixels of an image and R × S tiles, K × K pixels of a kernel.
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


def conv2d(x_BIHW: Tensor, weight_OIKK: Tensor, bias_O: Tensor) -> Tensor:
    """F.conv2d of 3 × 3 kernels without padding, to rounding; channels_last. H - 2 and W - 2 are multiples of 4."""
    num_images, num_in, height, width = x_BIHW.shape
    assert height % _OUT == width % _OUT == 2, f"{height} × {width} pixels are not covered by whole tiles"
    num_out = len(weight_OIKK)
    rows, columns = height // _OUT, width // _OUT
    of_pixels, of_kernel, of_outputs = _transforms(x_BIHW.dtype)
    pixels = of_pixels @ _Tiles.apply(x_BIHW)
    kernel = of_kernel @ weight_OIKK.permute(2, 3, 1, 0).reshape(9, -1)
    products = torch.bmm(pixels.view(_POINTS, -1, num_in), kernel.view(_POINTS, num_in, num_out))
    tiles = (of_outputs @ products.view(_POINTS, -1)).view(_OUT, _OUT, rows, columns, num_images, num_out)
    out_BHWO = tiles.permute(4, 2, 0, 3, 1, 5).reshape(num_images, height - 2, width - 2, num_out) + bias_O
    return out_BHWO.permute(0, 3, 1, 2)


@cache
def _transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of whole tiles, rows and columns at once: [36, 36], [36, 9], [16, 36]."""
    sides = (torch.tensor(matrix, dtype=torch.float64) for matrix in (_PIXELS, _KERNEL, _OUTPUTS))
    of_pixels, of_kernel, of_outputs = (torch.kron(side, side).to(dtype) for side in sides)
    return of_pixels, of_kernel, of_outputs


class _Tiles(torch.autograd.Function):
    """[B, I, H, W] → [36, R·S·N]: the tiles' pixels.

    Its own backward, because autograd's adds up float by float: four times as long.
    """

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.shape = inputs[0].shape

    @staticmethod
    def forward(x_BIHW: Tensor) -> Tensor:
        x_HWN = x_BIHW.permute(2, 3, 0, 1).flatten(2)  # one copy: what follows moves all images' channels at once
        return x_HWN.unfold(0, _IN, _OUT).unfold(1, _IN, _OUT).permute(3, 4, 0, 1, 2).reshape(_POINTS, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        num_images, num_in, height, width = ctx.shape
        grad_HWBI = (grad if height == width == _IN else _overlapped(grad, height, width)).view(height, width, num_images, num_in)
        return grad_HWBI.permute(2, 0, 1, 3).contiguous().permute(0, 3, 1, 2)


def _overlapped(tiles: Tensor, height: int, width: int) -> Tensor:
    """Tiles' pixels → [H, W, N]: where they overlap they add up, first along columns, then along rows."""
    tiles_66RSN = tiles.view(_IN, _IN, height // _OUT, width // _OUT, -1)
    strips_H6SN = tiles.new_zeros(height, _IN, *tiles_66RSN.shape[3:])
    for i in range(_IN):
        strips_H6SN[_in_each_tile(i, height)] += tiles_66RSN[i].transpose(0, 1)
    pixels_HWN = tiles.new_zeros(height, width, tiles_66RSN.shape[-1])
    for i in range(_IN):
        pixels_HWN[:, _in_each_tile(i, width)] += strips_H6SN[:, i]
    return pixels_HWN


def _in_each_tile(i: int, num_pixels: int) -> slice:
    """Where the tiles along a side of so many pixels have their pixel i."""
    return slice(i, i + num_pixels - _IN + 1, _OUT)
