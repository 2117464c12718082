"""Own networks for the tests of the fused engine: one that can be fused, and some that cannot.

Shapes: B batch, C channels or classes, H × W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SmallNet(nn.Module):
    """Convolution, batch norm and dropout, of channels and of features; one frozen layer."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, kernel_size=3)
        self.norm = nn.BatchNorm2d(4)
        self.drop_channels = nn.Dropout2d(0.25)
        self.hidden = nn.Linear(4 * 4, 16)
        self.hidden.requires_grad_(False)
        self.drop = nn.Dropout(0.5)
        self.output = nn.Linear(16, num_classes)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x = self.drop_channels(F.relu(self.norm(self.conv(images_BCHW))))
        x = F.relu(self.hidden(F.adaptive_avg_pool2d(x, 2).flatten(1)))
        logits_BC: Tensor = self.output(self.drop(x)) * self.scale
        return logits_BC


class Plain(nn.Module):
    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.output = nn.Linear(shape[1] * shape[2] * shape[0], num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.output(images_BCHW.flatten(1))
        return logits_BC


class Noisy(Plain):
    def forward(self, images_BCHW: Tensor) -> Tensor:
        return super().forward(images_BCHW + 0.1 * torch.randn_like(images_BCHW))


class Looking(Plain):
    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BC = super().forward(images_BCHW)
        return logits_BC if logits_BC.sum() > 0 else -logits_BC


class Item(Plain):
    def forward(self, images_BCHW: Tensor) -> Tensor:
        return super().forward(images_BCHW) * images_BCHW.mean().item()


class Hidden(Plain):
    """Random numbers of each run that are neither parameters nor buffers."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(shape, num_classes)
        self.offset = torch.randn(num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return super().forward(images_BCHW) + self.offset


class Unused(Plain):
    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(shape, num_classes)
        self.unused = nn.Linear(2, 2)


class Double(Plain):
    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(shape, num_classes)
        self.output.double()

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return super().forward(images_BCHW.double())


class NormOfFeatures(Plain):
    """Batch norm of features cannot train on one image."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(shape, num_classes)
        self.norm = nn.BatchNorm1d(num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.norm(super().forward(images_BCHW))
        return logits_BC
