"""model=mlp: dense layers with ReLU.

Shapes: B batch, C channels or classes, H × W pixels.
"""

import math
from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """[B, C, H, W] → logits [B, C]."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        sizes = [math.prod(shape), *[width] * depth]
        hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], num_classes))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.layers(images_BCHW)
        return logits_BC
