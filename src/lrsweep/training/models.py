"""The documents' CNN as a plain nn.Module.

Shapes: B batch, C channels or classes, H × W pixels.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchinfo
from torch import Tensor, nn

from lrsweep.config import ModelConfig, per_seed
from lrsweep.data.dataset import NUM_CLASSES
from lrsweep.data.seeding import generator
from lrsweep.training.weights import load_weights, start_from

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,  # of slope 0.01, PyTorch's default
    "elu": F.elu,
}


class CNN(nn.Module):
    """[B, 1, 28, 28] → logits [B, 10]. The output layer's softmax is part of the loss."""

    def __init__(self, config: ModelConfig, weights: torch.Generator, dropout: torch.Generator | None = None) -> None:
        super().__init__()
        make = nn.utils.skip_init  # without PyTorch's own draw of weights, which would come from the global generator
        self.conv1 = make(nn.Conv2d, 1, 32, kernel_size=3, padding=1)
        self.conv2 = make(nn.Conv2d, 32, 64, kernel_size=3)
        self.conv3 = make(nn.Conv2d, 64, 64, kernel_size=3)
        self.dense = make(nn.Linear, 64 * 4 * 4, 64)
        self.output = make(nn.Linear, 64, NUM_CLASSES)
        for layer in (self.conv1, self.conv2, self.conv3, self.dense, self.output):
            _INITS[config.init](layer, weights)
        # norm1 is conv1's, and so on. They begin at scale 1 and shift 0, which no generator draws.
        self.norm1, self.norm2, self.norm3 = (nn.BatchNorm2d(n) if config.batch_norm else None for n in (32, 64, 64))
        self._activation = ACTIVATIONS[config.activation]
        self._dropout = config.dropout
        self._dropout_draws = dropout

    def forward(self, images_BCHW: Tensor) -> Tensor:
        # ReLU never changes which pixel is the largest, so pooling first gives the same bits for a quarter of the work.
        # A norm may (its scale can be negative), so it comes before the pooling.
        x = F.relu(F.max_pool2d(_normalised(self.conv1(images_BCHW), self.norm1), 2))
        x = F.relu(F.max_pool2d(_normalised(self.conv2(x), self.norm2), 2))
        x = F.relu(_normalised(self.conv3(x), self.norm3))
        x = self._dropped(self._activation(self.dense(x.flatten(1))))
        logits_BC: Tensor = self.output(x)
        return logits_BC

    def _dropped(self, x: Tensor) -> Tensor:
        """In training, each output is left out by chance and the rest scaled up. By hand: nn.Dropout takes no generator."""
        if not self.training or self._dropout == 0:
            return x
        draws, share_kept = self._dropout_draws, 1 - self._dropout
        assert draws is not None, "dropout needs a generator to train with"
        # Drawn where the generator is, whatever the device and type of x, so that a seed means the same everywhere.
        return x * torch.empty(x.shape, device=draws.device).bernoulli_(share_kept, generator=draws).to(x) / share_kept


def _normalised(x: Tensor, norm: nn.BatchNorm2d | None) -> Tensor:
    return x if norm is None else norm(x)


def _init_as_pytorch(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """PyTorch's default initialisation, from a generator of our own."""
    assert layer.bias is not None
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=weights)
    fan_in = layer.weight[0].numel()
    nn.init.uniform_(layer.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=weights)


def _init_xavier(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """Glorot and Bengio's: uniform within √(6 / (fan in + fan out))."""
    assert layer.bias is not None
    nn.init.xavier_uniform_(layer.weight, generator=weights)
    nn.init.zeros_(layer.bias)


def _init_he(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """He's, for ReLU: uniform within √(6 / fan in)."""
    assert layer.bias is not None
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=weights)
    nn.init.zeros_(layer.bias)


_INITS = {"pytorch": _init_as_pytorch, "xavier": _init_xavier, "he": _init_he}


def build_model(
    config: ModelConfig, weights: torch.Generator, device: torch.device, dropout: torch.Generator | None = None
) -> nn.Module:
    """Training with dropout needs its generator; `config.init_from` is left to `start_from`."""
    # Drawn on the CPU whatever the device, so that a seed means the same weights everywhere.
    model = {"cnn": CNN}[config.name](config, weights, dropout)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # documented; the stub lacks it
    return model.to(device)


def initial_model(config: ModelConfig, seed: int, device: torch.device, dropout: torch.Generator | None = None) -> nn.Module:
    """The model as a run of this seed begins with it."""
    model = build_model(config, generator(seed, "weights"), device, dropout)
    if config.init_from:
        start_from(model, load_weights(per_seed(config.init_from, seed)))
    return model


def summarise_model(config: ModelConfig, batch_size: int) -> str:
    """torchinfo's table of the layers, as the documents print it."""
    model = build_model(config, torch.Generator(), torch.device("cpu"))
    return str(torchinfo.summary(model, input_size=(batch_size, 1, 28, 28), device="cpu", verbose=0))
