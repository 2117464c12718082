"""The losses of K runs at once, for any network.

Shapes: K runs, B batch, C classes, M = K·B rows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsweep.config import LossConfig
from lrsweep.fused.rows import Weights


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
