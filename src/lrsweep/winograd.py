"""3 × 3 convolutions to train with on a CPU: the same sums with a quarter of the multiplications.

Winograd's F(4 × 4, 3 × 3), as Lavin and Gray (2016) tabulate it. A tile of 6 × 6 pixels gives 4 × 4 outputs. Pixels and
kernel are polynomials; at each of 36 points of evaluation the convolution is a plain product of matrices over the channels,
and the outputs are interpolated from those: 36 multiplications where the sums written out have 144. All of it is matrix
products, so autograd's backward is that cheap as well. Rounding is some five times that of the sums written out, and stays
near 1e-6 of the result in float32.

Shapes: B batch, I and O channels in and out, H × W pixels, R × S tiles of an image, N = R·S·B tiles.
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
    """[B, I, H, W] → [36, N·I]: the tiles' pixels.

    Its own backward, because autograd's adds up float by float.
    """

    @staticmethod
    def forward(ctx: Any, x_BIHW: Tensor) -> Tensor:
        ctx.shape = x_BIHW.shape
        x_HWBI = x_BIHW.permute(2, 3, 0, 1).flatten(2)  # one copy: what follows moves all images' channels at once
        return x_HWBI.unfold(0, _IN, _OUT).unfold(1, _IN, _OUT).permute(3, 4, 0, 1, 2).reshape(_POINTS, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        num_images, num_in, height, width = ctx.shape
        rows, columns = height // _OUT, width // _OUT
        grad_66RSBI = grad.view(_IN, _IN, rows, columns, -1)
        # Where tiles overlap they add up: first the rows of pixels, then the columns.
        grad_H6SBI = grad.new_zeros(height, _IN, columns, num_images * num_in)
        for i in range(_IN):
            grad_H6SBI[i : i + height - 5 : _OUT] += grad_66RSBI[i].transpose(0, 1)
        grad_HWBI = grad.new_zeros(height, width, num_images * num_in)
        for i in range(_IN):
            grad_HWBI[:, i : i + width - 5 : _OUT] += grad_H6SBI[:, i]
        grad_BHWI = grad_HWBI.view(height, width, num_images, num_in).permute(2, 0, 1, 3).contiguous()
        return grad_BHWI.permute(0, 3, 1, 2)
