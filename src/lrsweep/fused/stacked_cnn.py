"""The documents' CNN for K runs at once: plain functions of tensors whose first axis is the run.

A convolution is computed by im2col and a batched matrix product, in NHWC. Grouped convolutions, which vmap would also use, often
have a slow backward pass. No operation mixes runs, so a run that diverges does not affect the others.

Shapes: K runs, B batch, H × W pixels, I and O channels or features in and out, R × S pixels of a kernel, M = B·H·W rows,
J = R·S·I columns, C channels of images or classes, N pixels.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsweep.config import ModelConfig
from lrsweep.fused.rows import Weights
from lrsweep.training.models import ACTIVATIONS

_SIDE = 3  # pixels of every kernel
_ROWS_PER_PART = 1024  # at most, in a weight gradient


def forward_cnn(
    config: ModelConfig,
    weights: Weights,
    buffers: Weights,
    images_KBCHW: Tensor,
    masks: Sequence[Tensor],
    *,
    training: bool,
) -> Tensor:
    """[K, B, C, H, W] → logits [K, B, C]. The same function as models.CNN, for each run.

    Training with batch norm updates the `buffers`. Training with dropout needs one mask [K, B, outputs of the dense layer].
    """

    def convolve(x_KBHWI: Tensor, layer: str) -> Tensor:
        return _convolve(x_KBHWI, weights[f"{layer}.weight"])

    def activate(x_KBHWO: Tensor, layer: str) -> Tensor:
        x_KBHWO = x_KBHWO + weights[f"{layer}.bias"][:, None, None, None]
        if config.batch_norm:
            x_KBHWO = _normalise(x_KBHWO, layer.replace("conv", "norm"), weights, buffers, training=training)
        return ACTIVATIONS[config.conv_activation](x_KBHWO)

    def activate_and_pool(x_KBHWO: Tensor, layer: str) -> Tensor:  # in the order of models.CNN
        if config.pool == "mean":
            return _pool(F.avg_pool2d, activate(x_KBHWO, layer))
        if config.batch_norm:  # a negative scale changes which pixel is the largest
            return _pool(F.max_pool2d, activate(x_KBHWO, layer))
        # A bias does not change which pixel is the largest, so it is added after pooling, to a quarter of the pixels.
        return activate(_pool(F.max_pool2d, x_KBHWO), layer)

    def linear(x_KBI: Tensor, layer: str) -> Tensor:
        return _product(x_KBI, weights[f"{layer}.weight"]) + weights[f"{layer}.bias"].unsqueeze(1)

    x = F.pad(images_KBCHW, (1, 1, 1, 1)).permute(0, 1, 3, 4, 2)
    x = activate_and_pool(convolve(x, "conv1"), "conv1")
    x = activate_and_pool(convolve(x, "conv2"), "conv2")
    x = activate(convolve(x, "conv3"), "conv3")
    x = x.permute(0, 1, 4, 2, 3).flatten(2)  # the module flattens in the order C, H, W
    x = ACTIVATIONS[config.activation](linear(x, "dense"))
    if training and config.dropout:
        x = x * masks[0].to(x) / (1 - config.dropout)
    return linear(x, "output")


def _normalise(x_KBHWO: Tensor, norm: str, weights: Weights, buffers: Weights, *, training: bool) -> Tensor:
    """Batch norm with the statistics of each run."""
    if training:
        buffers[f"{norm}.num_batches_tracked"] += 1
    mean_KO, var_KO = buffers[f"{norm}.running_mean"], buffers[f"{norm}.running_var"]
    normalise = torch.vmap(partial(F.batch_norm, training=training))
    x_KBOHW = normalise(x_KBHWO.permute(0, 1, 4, 2, 3), mean_KO, var_KO, weights[f"{norm}.weight"], weights[f"{norm}.bias"])
    return x_KBOHW.permute(0, 1, 3, 4, 2)


def _product(x_KMJ: Tensor, weight_KOJ: Tensor) -> Tensor:
    """[K, M, O]: x · weightᵀ for each run."""
    product_KMO: Tensor = _Product.apply(x_KMJ, weight_KOJ)
    return product_KMO


class _Product(torch.autograd.Function):
    """Has its own backward, because autograd would return the weight gradient as [K, J, O], which is not the order of a row."""

    @staticmethod
    def forward(ctx: Any, x_KMJ: Tensor, weight_KOJ: Tensor) -> Tensor:
        ctx.save_for_backward(x_KMJ, weight_KOJ)
        return torch.bmm(x_KMJ, weight_KOJ.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad_KMO: Tensor) -> tuple[Tensor | None, Tensor]:
        x_KMJ, weight_KOJ = ctx.saved_tensors
        grad_x_KMJ = torch.bmm(grad_KMO, weight_KOJ) if ctx.needs_input_grad[0] else None
        return grad_x_KMJ, _sum_of_products(grad_KMO, x_KMJ)


def _sum_of_products(grad_KMO: Tensor, x_KMJ: Tensor) -> Tensor:
    """[K, O, J]: gradᵀ · x for each run.

    On a GPU, a batched product uses one thread block per tile of O × J, however many rows it sums. In conv1 that is one thread
    block per run. So if there are many rows, we sum them in parts first.
    """
    num_parts, num_rows = 1, grad_KMO.shape[1]
    while num_rows > _ROWS_PER_PART and num_rows % 2 == 0:
        num_parts, num_rows = 2 * num_parts, num_rows // 2
    grad_part, x_part = (tensor.reshape(-1, num_rows, tensor.shape[2]) for tensor in (grad_KMO, x_KMJ))
    parts_KpOJ: Tensor = torch.bmm(grad_part.transpose(1, 2), x_part).unflatten(0, (-1, num_parts))
    return parts_KpOJ.sum(dim=1) if num_parts > 1 else parts_KpOJ.squeeze(1)


def _convolve(x_KBHWI: Tensor, weight_KOIRS: Tensor) -> Tensor:
    """[K, B, H-2, W-2, O]: without padding and without bias."""
    num_runs, num_images, height, width, _ = x_KBHWI.shape
    columns_KMJ: Tensor = _Columns.apply(x_KBHWI)
    out_KMO = _product(columns_KMJ, weight_KOIRS.permute(0, 1, 3, 4, 2).flatten(2))
    return out_KMO.view(num_runs, num_images, height - _SIDE + 1, width - _SIDE + 1, -1)


def _columns(x_KBHWI: Tensor) -> Tensor:
    """im2col: every 3 × 3 window of [K, B, H, W, I] as a row of [K, M, J]."""
    windows_KBHWIRS = x_KBHWI.unfold(2, _SIDE, 1).unfold(3, _SIDE, 1)
    return windows_KBHWIRS.permute(0, 1, 2, 3, 5, 6, 4).flatten(4, 6).flatten(1, 3)


class _Columns(torch.autograd.Function):
    """`_columns` with its own backward, because autograd would write a full-sized tensor for each of the nine shifts."""

    @staticmethod
    def forward(ctx: Any, x_KBHWI: Tensor) -> Tensor:
        ctx.shape = x_KBHWI.shape
        return _columns(x_KBHWI)

    @staticmethod
    def backward(ctx: Any, grad_KMJ: Tensor) -> Tensor:
        num_runs, num_images, height, width, num_in = ctx.shape
        places, starts = _places_of_pixels(num_runs * num_images, height, width, grad_KMJ.device)
        grad_NI = F.embedding_bag(places, grad_KMJ.view(-1, num_in), starts, mode="sum")
        return grad_NI.view(ctx.shape)


@cache
def _places_of_pixels(num_images: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The positions of each pixel in the columns, one pixel after the other, and where the positions of each pixel start.

    A pixel occurs up to nine times. F.embedding_bag sums the gradients at these positions and reads the columns only once.
    """
    pixels = torch.arange(num_images * height * width, device=device)
    shown, places = _columns(pixels.view(1, num_images, height, width, 1)).flatten().sort(stable=True)
    return places.int(), torch.searchsorted(shown, pixels).int()


def _pool(pool: Callable[[Tensor, int], Tensor], x_KBHWO: Tensor) -> Tensor:
    """2 × 2 pooling. PyTorch treats the permuted NHWC tensor as channels_last."""
    pooled = pool(x_KBHWO.flatten(0, 1).permute(0, 3, 1, 2), 2)
    return pooled.permute(0, 2, 3, 1).view(*x_KBHWO.shape[:2], *pooled.shape[2:], -1)
