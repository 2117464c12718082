"""The documents' CNN for K runs at once: plain functions of tensors with a leading run axis.

A convolution is im2col and a batched matrix product, in NHWC. Grouped convolutions often have a slow backward pass, and vmap
turns a convolution into a grouped one. No operation mixes runs, so a run that diverges does not affect the others.

Shapes: K runs, B batch, H × W pixels, I and O channels or features in and out, R × S pixels of a kernel, M = B·H·W rows,
J = R·S·I columns, C classes, P floats per run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsweep.config import LossConfig, ModelConfig
from lrsweep.training.models import ACTIVATIONS

Weights = dict[str, Tensor]  # name in the module's state dict → [K, *shape in the module]

_ALIGNMENT = 32  # floats: each tensor of a row starts at a multiple of 128 bytes, which allows wide loads on a GPU
_SIDE = 3  # pixels of every kernel


@dataclass(frozen=True)
class RowLayout:
    """Where each tensor of a model is stored in its run's row of floats. The gaps between tensors stay zero."""

    places: dict[str, tuple[int, torch.Size]]  # name → first float, shape
    num_floats: int


def row_layout(model: nn.Module) -> RowLayout:
    places, end = {}, 0
    for name, parameter in model.named_parameters():
        places[name] = end, parameter.shape
        end += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
    return RowLayout(places, end)


def views(rows_KP: Tensor, layout: RowLayout) -> Weights:
    """Every tensor of every run, as views of the rows. Kernels are stored as [O, R, S, I]: channels_last, as in solo."""
    weights = {}
    for name, (start, shape) in layout.places.items():
        flat = rows_KP[:, start : start + shape.numel()]
        if len(shape) == 4:
            num_out, num_in, height, width = shape
            weights[name] = flat.unflatten(1, (num_out, height, width, num_in)).permute(0, 1, 4, 2, 3)
        else:
            weights[name] = flat.unflatten(1, shape)
    return weights


def forward_cnn(config: ModelConfig, weights: Weights, images_KBHW: Tensor) -> Tensor:
    """[K, B, 28, 28] → logits [K, B, 10]. The same function as models.CNN, for each run."""

    def convolve(x_KBHWI: Tensor, layer: str) -> Tensor:
        return _convolve(x_KBHWI, weights[f"{layer}.weight"], weights[f"{layer}.bias"])

    def linear(x_KBI: Tensor, layer: str) -> Tensor:
        weight_KOI, bias_KO = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        return torch.baddbmm(bias_KO.unsqueeze(1), x_KBI, weight_KOI.transpose(1, 2))

    def activate_and_pool(x_KBHWO: Tensor) -> Tensor:  # in the order of models.CNN
        if config.pool == "mean":
            return _pool(F.avg_pool2d, activate(x_KBHWO))
        return activate(_pool(F.max_pool2d, x_KBHWO))

    activate = ACTIVATIONS[config.conv_activation]
    x = F.pad(images_KBHW, (1, 1, 1, 1)).unsqueeze(-1)
    x = activate_and_pool(convolve(x, "conv1"))
    x = activate_and_pool(convolve(x, "conv2"))
    x = activate(convolve(x, "conv3"))
    x = x.permute(0, 1, 4, 2, 3).flatten(2)  # the module flattens in the order C, H, W
    return linear(ACTIVATIONS[config.activation](linear(x, "dense")), "output")


FORWARD: dict[str, Callable[[ModelConfig, Weights, Tensor], Tensor]] = {"cnn": forward_cnn}  # by model.name


def losses_of(config: LossConfig, logits_KBC: Tensor, labels_KB: Tensor) -> Tensor:
    """[K]: the mean loss of each run's batch. The same as losses.loss_of for each run."""
    if config.name == "double_softmax":
        logits_KBC = logits_KBC.softmax(dim=2)
    losses_M = F.cross_entropy(logits_KBC.flatten(0, 1), labels_KB.flatten(), reduction="none")
    return losses_M.view_as(labels_KB).mean(dim=1)


def penalties_of(config: LossConfig, weights: Weights) -> Tensor:
    """[K]: the same as losses.penalty for each run."""

    def sum_per_run(tensor: Tensor) -> Tensor:
        return tensor.sum(dim=tuple(range(1, tensor.dim())))

    penalised = [weight for weight in weights.values() if weight.dim() > 2]  # [K, out, in, …]; a bias is [K, out]
    terms = [config.l1 * sum_per_run(w.abs()) + config.l2 / 2 * sum_per_run(w.square()) for w in penalised]
    return torch.stack(terms).sum(dim=0)


def num_correct(logits_KBC: Tensor, labels_KB: Tensor) -> Tensor:
    """[K]: the number of correct answers of each run."""
    return (logits_KBC.argmax(dim=2) == labels_KB).sum(dim=1)


def _convolve(x_KBHWI: Tensor, weight_KOIRS: Tensor, bias_KO: Tensor) -> Tensor:
    """[K, B, H-2, W-2, O]: without padding."""
    num_runs, num_images, height, width, _ = x_KBHWI.shape
    columns_KMJ: Tensor = _Columns.apply(x_KBHWI)
    weight_KJO = weight_KOIRS.permute(0, 3, 4, 2, 1).flatten(1, 3)  # a view: kernels are channels_last
    out_KMO = torch.baddbmm(bias_KO.unsqueeze(1), columns_KMJ, weight_KJO)
    return out_KMO.view(num_runs, num_images, height - _SIDE + 1, width - _SIDE + 1, -1)


class _Columns(torch.autograd.Function):
    """im2col: every 3 × 3 window of [K, B, H, W, I] as a row of [K, M, J].

    It has its own backward, because autograd's would write a full-sized tensor for each of the nine shifts.
    """

    @staticmethod
    def forward(ctx: Any, x_KBHWI: Tensor) -> Tensor:
        ctx.shape = x_KBHWI.shape
        windows_KBHWIRS = x_KBHWI.unfold(2, _SIDE, 1).unfold(3, _SIDE, 1)
        return windows_KBHWIRS.permute(0, 1, 2, 3, 5, 6, 4).flatten(4, 6).flatten(1, 3)

    @staticmethod
    def backward(ctx: Any, grad_KMJ: Tensor) -> Tensor:
        num_runs, num_images, height, width, num_in = ctx.shape
        rows, columns = height - _SIDE + 1, width - _SIDE + 1
        grad_KBHWRSI = grad_KMJ.view(num_runs, num_images, rows, columns, _SIDE, _SIDE, num_in)
        grad_x_KBHWI = grad_KMJ.new_zeros(ctx.shape)
        for r in range(_SIDE):
            for s in range(_SIDE):
                grad_x_KBHWI[:, :, r : r + rows, s : s + columns] += grad_KBHWRSI[..., r, s, :]
        return grad_x_KBHWI


def _pool(pool: Callable[[Tensor, int], Tensor], x_KBHWO: Tensor) -> Tensor:
    """2 × 2 pooling. PyTorch treats the permuted NHWC tensor as channels_last."""
    pooled = pool(x_KBHWO.flatten(0, 1).permute(0, 3, 1, 2), 2)
    return pooled.permute(0, 2, 3, 1).view(*x_KBHWO.shape[:2], *pooled.shape[2:], -1)
