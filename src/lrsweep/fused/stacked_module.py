"""Any nn.Module for K runs at once, by torch.func.

Shapes: K runs, B batch, C channels or classes, H × W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lrsweep.fused.rows import Weights
from lrsweep.training.dropout import DropoutMasks


def forward_module(
    module: nn.Module, weights: Weights, buffers: Weights, images_KBCHW: Tensor, masks: Sequence[Tensor], *, training: bool
) -> Tensor:
    """[K, B, C, H, W] → logits [K, B, C]. The module's own parameters and buffers are not used."""

    def of_one_run(weights: Weights, buffers: Weights, images_BCHW: Tensor, masks: Sequence[Tensor]) -> tuple[Tensor, Weights]:
        tensors, left = weights | buffers, iter(masks)
        with DropoutMasks(lambda keep_probability, shape: next(left)):
            logits_BC = functional_call(module, tensors, (images_BCHW,))
        return logits_BC, {name: tensors[name] for name in buffers}

    module.train(training)
    logits_KBC: Tensor
    logits_KBC, changed = torch.vmap(of_one_run, randomness="error")(weights, buffers, images_KBCHW, masks)
    for name, buffer in changed.items():
        if not buffer.is_set_to(buffers[name]):  # the module did not change the buffer in place, but replaced it
            buffers[name].copy_(buffer.detach())
    return logits_KBC


def tensors_without_gradient(module: nn.Module) -> dict[str, Tensor]:
    """Buffers and frozen parameters, by name."""
    return dict(module.named_buffers()) | {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}


def dropout_calls(module: nn.Module, images_BCHW: Tensor) -> list[tuple[float, torch.Size]]:
    """The arguments of `dropout.draw_mask` in a training step, call by call."""
    calls: list[tuple[float, torch.Size]] = []

    def mask(keep_probability: float, shape: torch.Size) -> Tensor:
        calls.append((keep_probability, shape))
        return torch.ones(())

    module.train()
    with torch.no_grad(), DropoutMasks(mask):
        module(images_BCHW)
    return calls
