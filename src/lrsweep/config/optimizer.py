"""The optimizer's settings: which optimizers there are, and which settings each of them reads."""

import math
from dataclasses import dataclass, field

from lrsweep.config.validation import read_floats, refuse_unused, require, require_one_of

_OPTIMIZER_USES: dict[str, tuple[str, ...]] = {
    "gd": (),  # gradient descent on all training images at once
    "sgd": (),
    "momentum": ("momentum",),
    "nesterov": ("momentum",),
    "adagrad": (),
    "rmsprop": (),
    "adadelta": (),
    "adam": (),
    "adamw": (),
}
LAYERS = ("conv1", "conv2", "conv3", "dense", "output")  # from the input on


@dataclass(kw_only=True)
class LayerFactors:
    """What each layer's learning rate is multiplied by. 0 freezes a layer."""

    conv1: float = 1.0
    conv2: float = 1.0
    conv3: float = 1.0
    dense: float = 1.0
    output: float = 1.0

    def __post_init__(self) -> None:
        read_floats(self)
        for name in LAYERS:
            value = getattr(self, name)
            require(0 <= value < math.inf, f"optimizer.layers.{name}", "finite and at least 0", value)


@dataclass(kw_only=True)
class OptimizerConfig:
    """What is not here is PyTorch's default."""

    name: str = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float | None = None  # None: PyTorch's default, 0.01 for AdamW and 0 for all others
    layerwise: str = "uniform"  # uniform | rising | falling: the rates from the input to the output
    layer_factor: float = 2.0  # from one layer to the next; the middle one has the rate itself
    layers: LayerFactors = field(default_factory=LayerFactors)  # by name, on top of it

    def __post_init__(self) -> None:
        read_floats(self)
        require_one_of("optimizer.name", _OPTIMIZER_USES, self.name)
        require(math.isfinite(self.lr) and self.lr > 0, "optimizer.lr", "positive and finite", self.lr)
        refuse_unused("optimizer", self, _OPTIMIZER_USES)
        require(0 < self.momentum < 1, "optimizer.momentum", "between 0 and 1", self.momentum)
        decay = self.weight_decay or 0.0
        require(0 <= decay < math.inf, "optimizer.weight_decay", "finite and at least 0", self.weight_decay)
        require_one_of("optimizer.layerwise", ("uniform", "rising", "falling"), self.layerwise)
        require(1 < self.layer_factor <= 100, "optimizer.layer_factor", "above 1 and at most 100", self.layer_factor)

    def layer_rates(self) -> dict[str, float]:
        """Each layer's share of the learning rate."""
        sign = {"uniform": 0, "rising": 1, "falling": -1}[self.layerwise]
        middle = len(LAYERS) // 2
        return {name: getattr(self.layers, name) * self.layer_factor ** (sign * (i - middle)) for i, name in enumerate(LAYERS)}
