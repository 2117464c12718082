"""Settings of the network."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from lrsweep.config.targets import require_target
from lrsweep.config.validation import ConfigError, convert_floats, require, require_choices, require_path

_ONLY_CNN = ("activation", "conv_activation", "pool", "dropout", "batch_norm", "init", "new_output")


@dataclass(kw_only=True)
class ModelConfig:
    """The network. Without `target`, it is the documents' CNN. Only that one uses the settings from `activation` to `init`, and
    `new_output`."""

    name: str = "cnn"
    """What reports call the network."""

    target: str | None = None
    """The nn.Module class, or a function that returns a module, as module:name. It is looked for in the current folder and among
    the installed packages, and its code runs. None: the documents' CNN."""

    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class. `shape` (channels, height, width), `in_channels` and `num_classes` are those of the data set if
    the class has arguments of these names."""

    source: str | None = None
    """SHA-256 of the code that defines the class. Filled in; if it is set, other code is refused."""

    activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "linear"] = "sigmoid"
    """Activation of the dense layer. `linear`: no activation."""

    conv_activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "linear"] = "relu"
    """Activation of the convolutions. `linear`: no activation."""

    pool: Literal["max", "mean"] = "max"
    """Pooling after the first two convolutions. With `mean` and both activations linear, the network is a linear map."""

    dropout: float = 0.0
    """Probability of dropping an output of the dense layer in training."""

    batch_norm: bool = False
    """Batch normalisation after each convolution."""

    init: Literal["pytorch", "xavier", "he", "zero", "large"] = "pytorch"
    """Initial weights. `pytorch` is PyTorch's default: He initialisation for a leaky ReLU of slope √5.

    `zero` (all weights and biases) and `large` (10 times PyTorch's) are examples of bad initialisation.
    """

    init_from: str | None = None
    """File of weights to start from, as machine.save_weights writes it. {seed} in the path is replaced by the seed of the run."""

    new_output: bool = False
    """With `init_from`: do not load the output layer from the file, but initialise it with `init` and the seed."""

    def __post_init__(self) -> None:
        convert_floats("model", self)
        require_choices("model", self)
        self._check_target()
        require_path("model.init_from", self.init_from)
        require(0 <= self.dropout < 1, "model.dropout", "from 0 to below 1", self.dropout)
        has_use = self.init_from is not None or not self.new_output
        require(has_use, "model.new_output", "false unless model.init_from is set", self.new_output)
        if self.init_from is not None and self.init != "pytorch" and not self.new_output:
            raise ConfigError(f"model.init={self.init} has no effect because model.init_from sets the weights; drop one of them")

    def _check_target(self) -> None:
        if self.target is not None:
            require_target("model.target", self.target)
            for setting in fields(self):
                if setting.name in _ONLY_CNN and getattr(self, setting.name) != setting.default:
                    raise ConfigError(f"model.{setting.name} belongs to model=cnn; {self.name} has only model.args")
            return
        if self.name != "cnn":
            raise ConfigError(f"model.name={self.name} is not a network; choose model=… or, for your own, model.target=…")
        if self.args or self.source:
            raise ConfigError(f"model.{'args' if self.args else 'source'} is not used by model=cnn, only by model.target=…")

    @property
    def is_open(self) -> bool:
        """Is the code not known yet?"""
        return self.target is not None and self.source is None

    def filled_in(self, source: str) -> Self:
        """The settings for this code."""
        if self.source not in (None, source):
            raise ConfigError(f"model.source={self.source} does not match the code of {self.target}, whose hash is {source}")
        return replace(self, source=source)
