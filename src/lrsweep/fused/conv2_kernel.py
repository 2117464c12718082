"""A probe: conv2 of the documents' CNN with pooling, bias and ReLU, as Triton kernels over a list of active runs.

No run uses it. `make gpu` compares its speed with that of stacked_cnn.py. The gain decides whether more layers get kernels.
Importing this module imports Triton, so nothing else in lrsweep imports it.

A 3 × 3 convolution is a matrix product. Its result has a row for each output pixel and a column for each output channel. Each
entry is a sum of J = 9·I products of a window's pixels and a kernel's weights. stacked_cnn.py writes these windows to memory
(im2col). Here each Triton program reads its windows directly from x. Windows overlap, so most of these reads hit the cache.

    forward      a program computes some pooled pixels of a run, for all output channels. It keeps four sums in registers for
                 each pooled pixel, one for each pixel of its 2 × 2 square. It writes only the largest, after bias and ReLU,
                 and one byte that says which pixel was the largest (`winner`; 4 if ReLU returned zero).
    grad_x       the same with input and output channels exchanged: a program computes the gradient of some pixels of x. The
                 gradient of the convolution's result is never written to memory. It is the gradient of the pooled pixel if
                 `winner` names this pixel, and 0 otherwise.
    grad_weight  a program sums over the pooled pixels of a few images, for some of the J columns. A column of ones follows the
                 J columns; its sum is the gradient of the bias. A second pass adds up the partial sums. There are no atomic
                 operations, so the same inputs always give the same bits.

In memory, a pixel's channels are adjacent (NHWC), and so are a kernel's input channels ([O, R, S, I]). A program reads whole
pixels: 32 channels in 128 bytes, 16 bytes per thread. It reads the weights directly from the runs' rows, without a copy.

Precision: "ieee" multiplies in fp32. "tf32x3" splits each factor into two TF32 numbers and adds three of the four products on
tensor cores; its error is as small as that of fp32 (tests/fused/test_split_tf32.py). A NaN never leaves its run.

Compiled for an H100 (Triton 3.7.1, both precisions, all tilings): no kernel spills registers, and each leaves room for at least
8 warps on a multiprocessor. The first tiling of each precision (tests/fused/compiled_kernels.py prints all tilings):

    precision  kernel       registers  shared memory  warps on a multiprocessor  products
    ieee       forward            168          8 KiB                         12  FFMA
    ieee       grad_x              83         24 KiB                         20  FFMA
    ieee       grad_weight        111          8 KiB                         16  FFMA
    tf32x3     forward            254         28 KiB                          8  HGMMA (tensor cores)
    tf32x3     grad_x             128         48 KiB                         16  HGMMA
    tf32x3     grad_weight        158          8 KiB                         12  HGMMA

Times on a GPU: not measured.

Shapes: K runs, A active runs, B batch, H × W pixels of x, Y × X pixels after pooling, I and O channels in and out, R × S pixels
of a kernel, J = R·S·I products in that order, C chunks of images.
"""

from typing import Any, Literal, NamedTuple

import torch
import triton
from torch import Tensor

from lrsweep.fused.conv2_triton import forward_kernel, grad_weight_kernel, grad_x_kernel

Precision = Literal["ieee", "tf32x3"]

CHUNK_IMAGES = 8  # per partial sum of grad_weight


class Tile(NamedTuple):
    """How the work of one kernel is divided into programs."""

    pixels: int  # pixels that a program handles at once
    width: int  # forward and grad_x: channels per product; grad_weight: columns
    num_warps: int
    num_stages: int  # 1: loads use the L1 cache. More: loads bypass it, and this many overlap with the products


class Tiling(NamedTuple):
    forward: Tile
    grad_x: Tile
    grad_weight: Tile


# Chosen by their use of registers and shared memory only; time each of them on a GPU. The first is the default.
TILINGS: dict[Precision, tuple[Tiling, ...]] = {
    "ieee": (
        Tiling(Tile(32, 16, 4, 1), Tile(64, 64, 4, 1), Tile(16, 64, 4, 1)),
        Tiling(Tile(64, 16, 8, 2), Tile(128, 64, 8, 2), Tile(16, 64, 4, 2)),
    ),
    "tf32x3": (
        Tiling(Tile(64, 16, 4, 2), Tile(64, 64, 4, 1), Tile(32, 32, 4, 1)),
        Tiling(Tile(32, 16, 4, 1), Tile(128, 64, 8, 1), Tile(32, 64, 4, 1)),
        Tiling(Tile(64, 32, 4, 1), Tile(64, 64, 4, 2), Tile(32, 32, 4, 1)),
    ),
}


def convolve_and_pool(
    x_KBHWI: Tensor,
    weight_KOIRS: Tensor,
    bias_KO: Tensor,
    active_A: Tensor,
    precision: Precision = "ieee",
    tiling: Tiling | None = None,
) -> Tensor:
    """[K, B, Y, X, O]: a 3 × 3 convolution without padding, then 2 × 2 max pooling, bias and ReLU. Differentiable, in float32.

    Only the runs in `active_A` (int32, on the device, each at most once) are computed. The results and gradients of all others
    are zero. `weight_KOIRS` and `bias_KO` are views of the runs' rows (rows.views). I and O are powers of two, and
    multiples of the tiles' widths.
    """
    _, _, height, width, num_in = x_KBHWI.shape
    assert height % 2 == width % 2 == 0, "height and width must be even, so that pooling covers all pixels"
    assert x_KBHWI.is_contiguous()
    assert weight_KOIRS.stride()[1:] == (9 * num_in, 1, 3 * num_in, num_in), "kernels must be stored as [O, R, S, I]"
    assert bias_KO.stride(1) == 1
    assert {x_KBHWI.dtype, weight_KOIRS.dtype, bias_KO.dtype} == {torch.float32}
    assert active_A.dtype == torch.int32
    tiling = tiling or TILINGS[precision][0]
    out_KBYXO: Tensor = _ConvolveAndPool.apply(x_KBHWI, weight_KOIRS, bias_KO, active_A, precision, tiling)
    return out_KBYXO


class _ConvolveAndPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_KBHWI: Tensor,
        weight_KOIRS: Tensor,
        bias_KO: Tensor,
        active_A: Tensor,
        precision: Precision,
        tiling: Tiling,
    ) -> Tensor:
        num_runs, num_images, height, width, num_in = x_KBHWI.shape
        num_out = bias_KO.shape[1]
        pooled_shape = num_runs, num_images, height // 2 - 1, width // 2 - 1, num_out
        out_KBYXO = _empty_or_zeros(pooled_shape, x_KBHWI, active_A)
        winner_KBYXO = torch.empty_like(out_KBYXO, dtype=torch.uint8)
        sizes = {"HEIGHT": height, "WIDTH": width, "IN": num_in, "OUT": num_out, "PRECISION": precision}
        tile = tiling.forward
        grid = triton.cdiv(out_KBYXO[0, ..., 0].numel(), tile.pixels), len(active_A)
        forward_kernel[grid](
            x_KBHWI,
            weight_KOIRS,
            bias_KO,
            active_A,
            out_KBYXO,
            winner_KBYXO,
            num_images,
            weight_KOIRS.stride(0),
            bias_KO.stride(0),
            **sizes,
            **_options(tile),
        )
        ctx.save_for_backward(x_KBHWI, weight_KOIRS, active_A, winner_KBYXO)
        ctx.sizes, ctx.tiling = sizes, tiling
        return out_KBYXO

    @staticmethod
    def backward(ctx: Any, grad_KBYXO: Tensor) -> tuple[Tensor | None, ...]:
        x_KBHWI, weight_KOIRS, active_A, winner_KBYXO = ctx.saved_tensors
        grad_KBYXO = grad_KBYXO.contiguous()
        num_runs, num_images, height, width, num_in = x_KBHWI.shape
        num_active, num_out = len(active_A), grad_KBYXO.shape[-1]

        grad_x_KBHWI = _empty_or_zeros(x_KBHWI.shape, x_KBHWI, active_A)
        tile = ctx.tiling.grad_x
        grid = triton.cdiv(num_images * height * width, tile.pixels), num_active
        grad_x_kernel[grid](
            grad_KBYXO,
            winner_KBYXO,
            weight_KOIRS,
            active_A,
            grad_x_KBHWI,
            num_images,
            weight_KOIRS.stride(0),
            **ctx.sizes,
            **_options(tile),
        )

        tile = ctx.tiling.grad_weight
        num_products = 9 * num_in
        num_blocks, num_chunks = triton.cdiv(num_products + 1, tile.width), triton.cdiv(num_images, CHUNK_IMAGES)
        partial_ACOJ = x_KBHWI.new_empty(num_active, num_chunks, num_out, num_blocks * tile.width)
        grad_weight_kernel[num_blocks, num_chunks, num_active](
            x_KBHWI,
            grad_KBYXO,
            winner_KBYXO,
            active_A,
            partial_ACOJ,
            num_images,
            **ctx.sizes,
            IMAGES=CHUNK_IMAGES,
            **_options(tile),
        )
        sum_AOJ = partial_ACOJ.sum(dim=1)
        grad_KOJ = x_KBHWI.new_zeros(num_runs, num_out, num_products + 1)
        grad_KOJ[active_A] = sum_AOJ[..., : num_products + 1]
        grad_weight_KOIRS = grad_KOJ[..., :num_products].unflatten(2, (3, 3, num_in)).permute(0, 1, 4, 2, 3)
        return grad_x_KBHWI, grad_weight_KOIRS, grad_KOJ[..., num_products], None, None, None


def _empty_or_zeros(shape: tuple[int, ...], like: Tensor, active_A: Tensor) -> Tensor:
    """Fill with zeros only if some runs are not computed, because the kernels overwrite everything else."""
    return like.new_empty(shape) if len(active_A) == shape[0] else like.new_zeros(shape)


def _options(tile: Tile) -> dict[str, int]:
    return {"PIXELS": tile.pixels, "STEP": tile.width, "num_warps": tile.num_warps, "num_stages": tile.num_stages}
