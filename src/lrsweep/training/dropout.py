"""Dropout with masks from a run's own generator, which neither nn.Dropout nor F.dropout accepts."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_OF_CHANNELS = (F.dropout1d, F.dropout2d, F.dropout3d)  # drop whole channels


class DropoutMasks(TorchFunctionMode):
    """While active, F.dropout and F.dropout1d to F.dropout3d, and so their modules, call `mask(keep_probability, shape)`."""

    def __init__(self, mask: Callable[[float, torch.Size], Tensor]) -> None:
        super().__init__()
        self._mask = mask

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.dropout or function in _OF_CHANNELS:
            return self._drop(function in _OF_CHANNELS, *args, **kwargs or {})
        return function(*args, **kwargs or {})

    def _drop(self, is_of_channels: bool, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return x
        shape = torch.Size([*x.shape[:2], *[1] * (x.dim() - 2)]) if is_of_channels else x.shape
        dropped = x * self._mask(1 - p, shape).to(x) / ((1 - p) or 1)
        return x.copy_(dropped) if inplace else dropped


def draw_mask(keep_probability: float, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """1 with this probability, else 0. On the generator's device, so that a seed gives the same mask on every device."""
    return torch.empty(shape, device=generator.device).bernoulli_(keep_probability, generator=generator)
