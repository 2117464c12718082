"""Settings of the optimizer."""

import math
from dataclasses import dataclass, field
from typing import Literal

from lrsweep.config.validation import convert_floats, require, require_choices, require_one_of, require_used

# Every optimizer, with those of its settings that not all optimizers use.
_OPTIMIZER_USES: dict[str, tuple[str, ...]] = {
    "gd": (),
    "sgd": (),
    "momentum": ("momentum",),
    "nesterov": ("momentum",),
    "adagrad": (),
    "rmsprop": (),
    "adadelta": (),
    "adam": (),
    "adamw": (),
}
LAYERS = ("conv1", "conv2", "conv3", "dense", "output")  # from the input to the output


@dataclass(kw_only=True)
class LayerFactors:
    """Factors that multiply the learning rate of each layer. 0 freezes a layer."""

    conv1: float = 1.0
    conv2: float = 1.0
    conv3: float = 1.0
    dense: float = 1.0
    output: float = 1.0

    def __post_init__(self) -> None:
        convert_floats("optimizer.layers", self)
        for name in LAYERS:
            value = getattr(self, name)
            require(0 <= value < math.inf, f"optimizer.layers.{name}", "finite and at least 0", value)


@dataclass(kw_only=True)
class OptimizerConfig:
    """Arguments of the optimizer that are not listed here keep PyTorch's defaults."""

    name: str = "adamw"
    """A key of `_OPTIMIZER_USES`. `gd` is gradient descent: every batch holds all training images."""

    lr: float = 1e-3
    """Base learning rate. The schedule and the layer factors multiply it."""

    momentum: float = 0.9
    """Share of the previous update that is kept in the next one."""

    weight_decay: float | None = None
    """None means PyTorch's default: 0.01 for AdamW, 0 for all others."""

    layerwise: Literal["uniform", "rising", "falling"] = "uniform"
    """How the learning rate changes from the input layer to the output layer."""

    layer_factor: float = 2.0
    """Ratio of the rates of two neighbouring layers. The middle layer keeps the base rate. Unused if layerwise is uniform."""

    layers: LayerFactors = field(default_factory=LayerFactors)
    """A further factor for each layer by name, in addition to `layerwise`."""

    rates: dict[str, float] = field(default_factory=dict)
    """Factors for the learning rates of all parameters whose names begin with a text, e.g. {features.: 0.1}. If several texts
    fit, the longest one counts. 0 freezes the parameters."""

    def __post_init__(self) -> None:
        convert_floats("optimizer", self)
        require_one_of("optimizer.name", _OPTIMIZER_USES, self.name)
        require_choices("optimizer", self)
        require(math.isfinite(self.lr) and self.lr > 0, "optimizer.lr", "positive and finite", self.lr)
        require_used("optimizer", self, _OPTIMIZER_USES)
        require(0 < self.momentum < 1, "optimizer.momentum", "between 0 and 1", self.momentum)
        decay = self.weight_decay or 0.0
        require(0 <= decay < math.inf, "optimizer.weight_decay", "finite and at least 0", self.weight_decay)
        require(1 < self.layer_factor <= 100, "optimizer.layer_factor", "above 1 and at most 100", self.layer_factor)
        for start, factor in self.rates.items():
            require(0 <= factor < math.inf, f"optimizer.rates.{start}", "finite and at least 0", factor)

    @property
    def sets_layers(self) -> bool:
        """Do settings name the layers of the documents' CNN?"""
        return self.layerwise != "uniform" or self.layers != LayerFactors()

    def layer_rates(self) -> dict[str, float]:
        """The factor that multiplies the learning rate of each layer: `layerwise` times `layers`."""
        sign = {"uniform": 0, "rising": 1, "falling": -1}[self.layerwise]
        middle = len(LAYERS) // 2
        return {name: getattr(self.layers, name) * self.layer_factor ** (sign * (i - middle)) for i, name in enumerate(LAYERS)}
