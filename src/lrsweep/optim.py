"""torch.optim from config."""

from collections.abc import Iterable

import torch
from torch import nn

from lrsweep.config import OptimizerConfig

_OPTIMIZERS = {"adamw": torch.optim.AdamW}


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """`fused` is PyTorch's own version of the same update in one call for all tensors."""
    return _OPTIMIZERS[config.name](parameters, lr=config.lr, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
