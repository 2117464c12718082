"""Build torch.optim optimizers from config, with a separate learning rate for each layer if the config sets one."""

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
_HAS_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)  # these accept fused=True on a CPU and on a GPU


def build_optimizer(config: OptimizerConfig, parameters: Iterable[Tensor] | list[dict[str, Any]]) -> torch.optim.Optimizer:
    """`parameters` are tensors, or the parameter groups from `layer_groups`."""
    kind = _OPTIMIZERS[config.name]
    settings: dict[str, Any] = {}
    if kind in _HAS_FUSED:
        settings["fused"] = True  # PyTorch's implementation that updates all tensors in one call
    if config.name in ("momentum", "nesterov"):
        settings |= {"momentum": config.momentum, "nesterov": config.name == "nesterov"}
    if config.weight_decay is not None:
        settings["weight_decay"] = config.weight_decay
    optimizer = kind(parameters, **settings)
    set_lr(optimizer, config.lr)
    return optimizer


def layer_groups(config: OptimizerConfig, model: nn.Module) -> list[dict[str, Any]]:
    """The model's parameters in one group per `layer_lr_scale`."""
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(layer_lr_scale(config, name), []).append(parameter)
    return [{"params": parameters, "lr_scale": lr_scale} for lr_scale, parameters in groups.items()]


def layer_lr_scale(config: OptimizerConfig, parameter: str) -> float:
    """The factor that multiplies a parameter's learning rate ("conv1.weight"). A norm has the factor of its convolution."""
    layer = config.layer_rates().get(parameter.split(".")[0].replace("norm", "conv"), 1.0)
    fitting = [start for start in config.rates if parameter.startswith(start)]
    return layer * (config.rates[max(fitting, key=len)] if fitting else 1.0)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
