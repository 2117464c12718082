"""The networks: the documents' CNN as a plain nn.Module, or the class of model.target.

Shapes: B batch, C channels or classes, H × W pixels.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchinfo
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lrsweep.config import ConfigError, DataConfig, ModelConfig, per_seed
from lrsweep.config.targets import accepted_by, load_target
from lrsweep.data.seeding import generator
from lrsweep.training.weights import load_weights, set_weights

_MNIST = DataConfig()

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,  # slope 0.01, PyTorch's default
    "elu": F.elu,
    "linear": lambda x: x,
}


class CNN(nn.Module):
    """[B, C, H, W] → logits [B, C]. The output layer's softmax is part of the loss."""

    def __init__(self, config: ModelConfig, weights: torch.Generator, data: DataConfig = _MNIST) -> None:
        super().__init__()
        num_channels, *sides = data.shape
        height, width = ((side // 2 - 2) // 2 - 2 for side in sides)  # of the output of conv3
        if min(height, width) < 1:
            raise ConfigError(f"model=cnn needs at least 16 × 16 pixels, got {sides[0]} × {sides[1]}; model=mlp takes any size")
        make = nn.utils.skip_init  # PyTorch's default initialisation would draw from the global generator
        self.conv1 = make(nn.Conv2d, num_channels, 32, kernel_size=3, padding=1)
        self.conv2 = make(nn.Conv2d, 32, 64, kernel_size=3)
        self.conv3 = make(nn.Conv2d, 64, 64, kernel_size=3)
        self.dense = make(nn.Linear, 64 * height * width, 64)
        self.output = make(nn.Linear, 64, data.num_classes)
        for layer in (self.conv1, self.conv2, self.conv3, self.dense, self.output):
            _INITS[config.init](layer, weights)
        # norm1 follows conv1, and so on. Scales start at 1 and shifts at 0, so no random draws are needed.
        self.norm1, self.norm2, self.norm3 = (nn.BatchNorm2d(n) if config.batch_norm else None for n in (32, 64, 64))
        self._activation = ACTIVATIONS[config.activation]
        self._conv_activation = ACTIVATIONS[config.conv_activation]
        self._pool = config.pool
        self._dropout = config.dropout

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x = self._activate_and_pool(_apply_norm(self.norm1, self.conv1(images_BCHW)))
        x = self._activate_and_pool(_apply_norm(self.norm2, self.conv2(x)))
        x = self._conv_activation(_apply_norm(self.norm3, self.conv3(x)))
        x = F.dropout(self._activation(self.dense(x.flatten(1))), self._dropout, self.training)
        logits_BC: Tensor = self.output(x)
        return logits_BC

    def _activate_and_pool(self, x: Tensor) -> Tensor:
        if self._pool == "mean":
            return F.avg_pool2d(self._conv_activation(x), 2)
        # No activation changes which pixel is the largest, so pooling first gives the same bits and saves most of the work.
        # A norm with a negative scale can change which pixel is the largest, so norms come before pooling.
        return self._conv_activation(F.max_pool2d(x, 2))


def _apply_norm(norm: nn.BatchNorm2d | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


def _init_as_pytorch(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """PyTorch's default initialisation, with our own generator."""
    assert layer.bias is not None
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=weights)
    fan_in = layer.weight[0].numel()
    nn.init.uniform_(layer.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=weights)


def _init_xavier(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """Glorot and Bengio (2010): uniform within ±√(6 / (fan_in + fan_out))."""
    assert layer.bias is not None
    nn.init.xavier_uniform_(layer.weight, generator=weights)
    nn.init.zeros_(layer.bias)


def _init_he(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """He et al. (2015), for ReLU: uniform within ±√(6 / fan_in)."""
    assert layer.bias is not None
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=weights)
    nn.init.zeros_(layer.bias)


def _init_zero(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """All weights and biases are 0, so the gradient of every convolution is 0 and the network cannot learn from the images."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _init_large(layer: nn.Conv2d | nn.Linear, weights: torch.Generator) -> None:
    """Ten times PyTorch's default, large enough to fail: 99 % of the sigmoids of the dense layer are saturated at the start.

    Tried on 600 images, 6 epochs, AdamW at 1e-3, 3e-3 and 1e-2: validation accuracy 9 % to 21 %, with PyTorch's default 90 % to
    93 %. Three times the default does not fail; at 3e-3 it reached 95 %.
    """
    _init_as_pytorch(layer, weights)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(10)


_INITS = {"pytorch": _init_as_pytorch, "xavier": _init_xavier, "he": _init_he, "zero": _init_zero, "large": _init_large}


def build_model(config: ModelConfig, weights: torch.Generator, device: torch.device, data: DataConfig = _MNIST) -> nn.Module:
    """A model for these data, with weights drawn from the `weights` generator.

    The class of `model.target` draws from PyTorch's global generator. So that is seeded before and restored afterwards.
    """
    # Built on the CPU and then moved, so that a seed gives the same weights on every device.
    if config.target is None:
        model: nn.Module = CNN(config, weights, data)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(weights.initial_seed())
            model = _own_model(config, data)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the stub
    return model.to(device)


_known_to_be_new: set[str] = set()


def _own_model(config: ModelConfig, data: DataConfig) -> nn.Module:
    model = _build_own(config, data)
    key = repr((config.target, config.source, config.args))
    if key not in _known_to_be_new:
        if _changed_by_training(model) & _changed_by_training(_build_own(config, data)):
            raise ConfigError(
                f"model.target={config.target} must build a new network at each call, but its networks share weights, so "
                "each run would train those of the run before it; create all layers inside the function, or use copy.deepcopy"
            )
        _known_to_be_new.add(key)
    return model


def _changed_by_training(model: nn.Module) -> set[int]:
    """The addresses of the trained weights, and the ids of layers with buffers, such as the running means of batch norms."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters() if weight.requires_grad and weight.numel()}
    return weights | {id(layer) for layer in model.modules() if next(layer.buffers(recurse=False), None) is not None}


def _build_own(config: ModelConfig, data: DataConfig) -> nn.Module:
    assert config.target is not None
    build = load_target("model.target", config.target)
    of_data = {"shape": tuple(data.shape), "in_channels": data.shape[0], "num_classes": data.num_classes}
    try:
        filled_in = {name: value for name, value in of_data.items() if name in accepted_by(build)}
        model = build(**filled_in | config.args)
        if isinstance(model, nn.Module) and any(isinstance(each, UninitializedParameter) for each in model.parameters()):
            with torch.no_grad():  # lazy layers get their sizes, and draw their weights
                model.eval()(torch.zeros(2, *data.shape))
            model.train()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"model.target={config.target} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model.target={config.target} must give an nn.Module, got {type(model).__name__}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"model.target={config.target} has no parameters to train")
    return model


def initial_model(config: ModelConfig, seed: int, device: torch.device, data: DataConfig = _MNIST) -> nn.Module:
    """The model at the start of a run with this seed: fresh weights, or those in the file `config.init_from`.

    With `config.new_output`, only the output layer has fresh weights.
    """
    model = build_model(config, generator(seed, "weights"), device, data)
    if config.init_from:
        weights = load_weights(per_seed(config.init_from, seed))
        if config.new_output:
            weights |= {name: weight for name, weight in model.state_dict().items() if name.startswith("output.")}
        set_weights(model, weights)
    return model


def summarise_model(config: ModelConfig, batch_size: int, data: DataConfig = _MNIST) -> str:
    """torchinfo's table of the layers, as the documents print it."""
    model = build_model(config, torch.Generator(), torch.device("cpu"), data=data)
    table = str(torchinfo.summary(model, input_size=(batch_size, *data.shape), device="cpu", verbose=0))
    return table.replace("(Units.MEGABYTES)", "(M)").replace("(Units.GIGABYTES)", "(G)")  # of torchinfo 1.8
