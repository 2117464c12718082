"""The losses, and the L1 and L2 penalties.

Shapes: B batch, C classes.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsweep.config import LossConfig


def loss_of(config: LossConfig, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """The mean loss of the batch.

    The documents' "softmax output" can be read in two ways. `cross_entropy` is log-softmax and NLL. `double_softmax` passes
    softmax outputs to a cross-entropy that applies softmax again; its minimum is log(e + 9) - 1 = 1.4612.
    """
    if config.name == "double_softmax":
        logits_BC = logits_BC.softmax(dim=1)
    return F.cross_entropy(logits_BC, labels_B)


def penalised_weights(model: nn.Module) -> list[nn.Parameter]:
    """All weights except biases and the scales of batch norm."""
    return [parameter for parameter in model.parameters() if parameter.dim() > 1]


def penalty(config: LossConfig, weights: Iterable[Tensor]) -> Tensor:
    """The L1 and L2 terms that training adds to the loss."""
    return torch.stack([config.l1 * weight.abs().sum() + config.l2 / 2 * weight.square().sum() for weight in weights]).sum()
