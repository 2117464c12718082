"""The settings that define a run, and its run_id."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lrsweep.config.optimizer import OptimizerConfig
from lrsweep.config.schedule import DEFAULT_LENGTH, ScheduleConfig
from lrsweep.config.validation import ConfigError, convert_floats, require, require_choices, require_path

# Images of each digit.
_MNIST_TRAIN = (5_923, 6_742, 5_958, 6_131, 5_842, 5_421, 5_918, 6_265, 5_851, 5_949)
_MNIST_TEST = (980, 1_135, 1_032, 1_010, 982, 892, 958, 1_028, 974, 1_009)
NUM_MNIST_TRAIN = sum(_MNIST_TRAIN)
NUM_MNIST_TEST = sum(_MNIST_TEST)


@dataclass(kw_only=True)
class DataConfig:
    num_train: int = 3_000
    """Training images, drawn from MNIST's 60,000."""

    num_valid: int = 5_000
    """Validation images, drawn from the other training images of MNIST."""

    num_test: int = NUM_MNIST_TEST
    """Test images. Use fewer only for a quick try. With `classes`, the default is all test images of these classes."""

    skip: int = 0
    """Leave out this many images at the start of the seed's shuffled order. 8,000 are all images of the default split."""

    max_shift: float = 0.0
    """Largest random shift of a training image, in pixels in each direction. Each epoch draws a new one."""

    max_rotation: float = 0.0
    """Largest random rotation of a training image, in degrees in each direction. Each epoch draws a new one."""

    classes: list[int] | None = None
    """Use only images of these digits to train, validate and test. The network keeps its ten outputs. None: all digits."""

    def __post_init__(self) -> None:
        convert_floats("data", self)
        for name in ("num_train", "num_valid"):
            require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        require(self.skip >= 0, "data.skip", "at least 0", self.skip)
        self._sort_classes()
        num_train, num_test = (self._num_of_classes(numbers) for numbers in (_MNIST_TRAIN, _MNIST_TEST))
        if self.num_test == NUM_MNIST_TEST:
            self.num_test = num_test  # so that the record of the run shows it
        # Strict, because in the worst case all images that `skip` leaves out are of these classes.
        total = self.skip + self.num_train + self.num_valid
        require(
            total <= num_train, "data.skip + data.num_train + data.num_valid", f"at most {num_train}{self._of_classes}", total
        )
        require(0 <= self.max_shift <= 14, "data.max_shift", "from 0 to 14", self.max_shift)
        require(0 <= self.max_rotation <= 180, "data.max_rotation", "from 0 to 180", self.max_rotation)
        require(1 <= self.num_test <= num_test, "data.num_test", f"from 1 to {num_test}{self._of_classes}", self.num_test)

    def _sort_classes(self) -> None:
        """In ascending order, so that the same classes give the same run_id."""
        if self.classes is not None:
            is_list = isinstance(self.classes, list) and all(isinstance(digit, int) for digit in self.classes)
            is_valid = is_list and len(set(self.classes)) == len(self.classes) >= 2 and set(self.classes) <= set(range(10))
            require(is_valid, "data.classes", "at least two different digits from 0 to 9", self.classes)
            self.classes = sorted(self.classes)

    def _num_of_classes(self, numbers: tuple[int, ...]) -> int:
        return sum(numbers if self.classes is None else (numbers[digit] for digit in self.classes))

    @property
    def _of_classes(self) -> str:
        return "" if self.classes is None else " (all images of data.classes)"


@dataclass(kw_only=True)
class ModelConfig:
    name: Literal["cnn"] = "cnn"

    activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "linear"] = "sigmoid"
    """Activation of the dense layer. `linear`: no activation."""

    conv_activation: Literal["relu", "linear"] = "relu"
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
        require_path("model.init_from", self.init_from)
        require(0 <= self.dropout < 1, "model.dropout", "from 0 to below 1", self.dropout)
        has_use = self.init_from is not None or not self.new_output
        require(has_use, "model.new_output", "false unless model.init_from is set", self.new_output)
        if self.init_from is not None and self.init != "pytorch" and not self.new_output:
            raise ConfigError(f"model.init={self.init} has no effect because model.init_from sets the weights; drop one of them")


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
        require(self.batch_size <= NUM_MNIST_TRAIN, "training.batch_size", f"at most {NUM_MNIST_TRAIN}", self.batch_size)
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
        if self.optimizer.name == "gd":
            self._use_full_batch()
        if self.schedule.name == "grow_batch":
            largest, first = self.schedule.max_batch_size, self.training.batch_size
            require(largest >= first, "schedule.max_batch_size", f"at least training.batch_size ({first})", largest)
            require(largest <= NUM_MNIST_TRAIN, "schedule.max_batch_size", f"at most {NUM_MNIST_TRAIN}", largest)
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
    """Nested dicts as one dict with dotted names: {"optimizer": {"lr": 1}} becomes {"optimizer.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def run_id(run: RunConfig) -> str:
    """The id of a run: a hash of all settings that differ from their defaults.

    Because defaults are left out, adding a setting keeps the ids of stored runs, as long as its default changes nothing. But
    changing a default gives old ids a new meaning: raise records.SCHEMA_VERSION when you do. A test compares the defaults.
    """
    defaults = flatten(asdict(RunConfig()))
    chosen = {name: value for name, value in flatten(asdict(run)).items() if name in defaults and value != defaults[name]}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]
