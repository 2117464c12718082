"""The documents' CNN as a plain nn.Module.

Shapes: B batch, C channels or classes, H × W pixels.
"""

import math

import torch
import torch.nn.functional as F
import torchinfo
from torch import Tensor, nn

from lrsweep.config import LossConfig, ModelConfig
from lrsweep.data import NUM_CLASSES


class CNN(nn.Module):
    """[B, 1, 28, 28] → logits [B, 10]. The output layer's softmax is part of the loss."""

    def __init__(self, weights: torch.Generator) -> None:
        super().__init__()
        make = nn.utils.skip_init  # without PyTorch's own draw of weights, which would come from the global generator
        self.conv1 = make(nn.Conv2d, 1, 32, kernel_size=3, padding=1)
        self.conv2 = make(nn.Conv2d, 32, 64, kernel_size=3)
        self.conv3 = make(nn.Conv2d, 64, 64, kernel_size=3)
        self.dense = make(nn.Linear, 64 * 4 * 4, 64)
        self.output = make(nn.Linear, 64, NUM_CLASSES)
        for layer in (self.conv1, self.conv2, self.conv3, self.dense, self.output):
            _reset(layer, weights)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        # ReLU never changes which pixel is the largest, so pooling first gives the same bits for a quarter of the work.
        x = F.relu(F.max_pool2d(self.conv1(images_BCHW), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.conv3(x))
        x = torch.sigmoid(self.dense(x.flatten(1)))
        logits_BC: Tensor = self.output(x)
        return logits_BC


def _reset(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """PyTorch's default initialisation, from a generator of our own."""
    assert layer.bias is not None
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=weights)
    fan_in = layer.weight[0].numel()
    nn.init.uniform_(layer.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=weights)


def build_model(config: ModelConfig, weights: torch.Generator, device: torch.device) -> nn.Module:
    # Drawn on the CPU whatever the device, so that a seed means the same weights everywhere.
    model = {"cnn": CNN}[config.name](weights)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # documented; the stub lacks it
    return model.to(device)


def loss_of(config: LossConfig, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """The batch's mean loss.

    The documents' "softmax output" reads two ways. `cross_entropy` is log-softmax and NLL. `double_softmax` hands softmax
    outputs to a cross-entropy that applies softmax again; it cannot fall below log(e + 9) - 1 = 1.4612.
    """
    if config.name == "double_softmax":
        logits_BC = logits_BC.softmax(dim=1)
    return F.cross_entropy(logits_BC, labels_B)


def summarise_model(config: ModelConfig, batch_size: int) -> str:
    """torchinfo's table of the layers, as the documents print it."""
    model = build_model(config, torch.Generator(), torch.device("cpu"))
    return str(torchinfo.summary(model, input_size=(batch_size, 1, 28, 28), device="cpu", verbose=0))
