"""torch.optim from config, with a learning rate of its own for each layer where that is asked for."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lrsweep.config import OptimizerConfig

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "gd": torch.optim.SGD,
    "sgd": torch.optim.SGD,
    "momentum": torch.optim.SGD,
    "nesterov": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adadelta": torch.optim.Adadelta,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
_HAS_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)  # on every device


def build_optimizer(config: OptimizerConfig, parameters: Iterable[Tensor] | list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Parameters, or the groups of them that `layer_groups` makes, from rate `config.lr` on."""
    kind = _OPTIMIZERS[config.name]
    settings: dict[str, Any] = {}
    if kind in _HAS_FUSED:
        settings["fused"] = True  # PyTorch's own version of the same update in one call for all tensors
    if config.name in ("momentum", "nesterov"):
        settings |= {"momentum": config.momentum, "nesterov": config.name == "nesterov"}
    if config.weight_decay is not None:
        settings["weight_decay"] = config.weight_decay
    optimizer = kind(parameters, **settings)
    set_lr(optimizer, config.lr)
    return optimizer


def layer_groups(config: OptimizerConfig, model: nn.Module) -> list[dict[str, Any]]:
    """The model's parameters, a group for each share of the rate that a layer has."""
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(layer_lr_scale(config, name), []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in groups.items()]


def layer_lr_scale(config: OptimizerConfig, parameter: str) -> float:
    """What the rate of a parameter ("conv1.weight") is multiplied by: its layer's factor. A norm goes with its layer."""
    return config.layer_rates()[parameter.split(".")[0].replace("norm", "conv")]


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("share", 1.0)
