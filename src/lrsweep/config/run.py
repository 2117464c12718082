"""The settings that define a run, and its run_id."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lrsweep.config.data import DataConfig
from lrsweep.config.model import ModelConfig
from lrsweep.config.optimizer import OptimizerConfig
from lrsweep.config.schedule import DEFAULT_LENGTH, ScheduleConfig
from lrsweep.config.validation import ConfigError, convert_floats, require, require_choices

_MAX_BATCH = 60_000  # all training images of MNIST
# Settings that are one value, although they are dicts.
DICTS = ("data.args", "model.args", "optimizer.rates")
# Settings that do not change a run.
WITHOUT_EFFECT = ("data.path", "data.name", "model.name")


@dataclass(kw_only=True)
class LossConfig:
    name: Literal["cross_entropy", "double_softmax"] = "cross_entropy"
    """`double_softmax` applies softmax to the output layer and again in the cross-entropy."""

    l1: float = 0.0
    """L1 penalty: this times the sum of the absolute weights is added to the loss. Biases have no penalty."""

    l2: float = 0.0
    """L2 penalty: this times half the sum of the squared weights is added to the loss. It is not the optimizer's weight decay."""

    def __post_init__(self) -> None:
        convert_floats("loss", self)
        require_choices("loss", self)
        for name in ("l1", "l2"):
            require(0 <= getattr(self, name) < math.inf, f"loss.{name}", "finite and at least 0", getattr(self, name))


@dataclass(kw_only=True)
class TrainingConfig:
    batch_size: int = 32
    """Images per batch. The last batch of an epoch may be smaller."""

    patience: int | None = 5
    """Epochs without a new best validation accuracy before training stops. None: no early stopping."""

    max_epochs: int = 1_000
    """Epochs after which training stops in any case."""

    score: Literal["best", "last"] = "best"
    """Score the weights of the epoch with the highest validation accuracy, or of the last epoch. Use `last` without early
    stopping if the rate falls until the last epoch."""

    validate_every: int = 1
    """Validate after every N-th epoch, and always after the last. More than 1 needs patience=null. Validating only the last
    epoch makes a run take about 0.7 times as long."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` is mixed precision with PyTorch's autocast."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "patience", "max_epochs", "validate_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"training.{name}", "at least 1", value)
        require(self.batch_size <= _MAX_BATCH, "training.batch_size", f"at most {_MAX_BATCH}", self.batch_size)
        require_choices("training", self)
        is_used = self.patience is None or self.validate_every == 1
        require(is_used, "training.validate_every", "1 for early stopping (training.patience)", self.validate_every)

    def validates(self, epoch: int) -> bool:
        """Is the validation set scored after this epoch? Epochs count from 1."""
        return epoch % self.validate_every == 0 or epoch == self.max_epochs


@dataclass(kw_only=True)
class RunConfig:
    """Everything that defines a run. On a CPU, equal configs give equal bits if threads and library versions are equal too."""

    seed: int = 0
    """Seed of everything random: the split, the initial weights, the batch order, augmentation and dropout."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", "from 0 to 2147483647", self.seed)
        if self.model.target is not None and self.optimizer.sets_layers:
            raise ConfigError(
                "optimizer.layerwise and optimizer.layers name layers of model=cnn; other networks take optimizer.rates"
            )
        if self.data.is_open:  # the checks below need the number of training images
            return
        if self.optimizer.name == "gd":
            self._use_full_batch()
        if self.schedule.name == "grow_batch":
            largest, first = self.schedule.max_batch_size, self.training.batch_size
            require(largest >= first, "schedule.max_batch_size", f"at least training.batch_size ({first})", largest)
            require(largest <= _MAX_BATCH, "schedule.max_batch_size", f"at most {_MAX_BATCH}", largest)
        every = self.training.validate_every
        has_losses = self.schedule.name != "plateau" or every == 1
        require(has_losses, "training.validate_every", "1 for schedule=plateau, which needs the loss of every epoch", every)
        for name in ("warmup_start_lr", "final_lr"):
            rate, lr = getattr(self.schedule, name), self.optimizer.lr
            require(rate is None or rate <= lr, f"schedule.{name}", f"at most optimizer.lr ({lr})", rate)
        self._check_warmup()

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps per epoch. With `grow_batch`, before the batch grows."""
        return math.ceil(self.data.num_train / self.training.batch_size)

    @property
    def last_batch(self) -> int:
        """Images in the last batch of an epoch, which may be short."""
        return self.data.num_train % self.training.batch_size or self.training.batch_size

    @property
    def num_scheduled(self) -> int:
        """The length in epochs of a schedule that ends, used if `schedule.length` is None."""
        return DEFAULT_LENGTH if self.training.patience is not None else self.training.max_epochs

    def _check_warmup(self) -> None:
        """The warm-up must end before the schedule and the run do. ScheduleConfig compares it with `schedule.length`."""
        ends = self.schedule.ends and self.schedule.length is None
        limit = min(self.num_scheduled, self.training.max_epochs) if ends else self.training.max_epochs
        if self.schedule.unit == "step":
            limit *= self.epoch_steps
        bound = f"shorter than the {'schedule' if ends else 'run'} ({limit} {self.schedule.unit}s)"
        require(self.schedule.warmup == 0 or self.schedule.warmup < limit, "schedule.warmup", bound, self.schedule.warmup)

    def _use_full_batch(self) -> None:
        """Set the batch size of gradient descent, so that the record of the run shows it."""
        if self.schedule.name == "grow_batch":
            raise ConfigError("schedule=grow_batch cannot grow the batch of optimizer=gd, which holds all training images")
        if self.training.batch_size not in (TrainingConfig.batch_size, self.data.num_train):
            raise ConfigError(
                f"training.batch_size={self.training.batch_size} contradicts optimizer=gd, whose batch is all training images; "
                "optimizer=sgd takes a batch size"
            )
        self.training = replace(self.training, batch_size=self.data.num_train)


def per_seed(path: str, seed: int) -> Path:
    """The path, with {seed} replaced by the seed."""
    return Path(path.replace("{seed}", str(seed)))


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted names: {"optimizer": {"lr": 1}} becomes {"optimizer.lr": 1}.

    A setting whose value is a dict, such as model.args, stays whole.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) and name not in DICTS else {name: value}
    return flat


def run_id(run: RunConfig) -> str:
    """The id of a run: a hash of all settings that differ from their defaults, except those that do not change a run.

    Because defaults are left out, adding a setting keeps the ids of stored runs, as long as its default changes nothing. But
    changing a default gives old ids a new meaning: raise records.SCHEMA_VERSION when you do. A test compares the defaults.
    """
    defaults = {name: value for name, value in flatten(asdict(RunConfig())).items() if name not in WITHOUT_EFFECT}
    chosen = {name: value for name, value in flatten(asdict(run)).items() if name in defaults and value != defaults[name]}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]
