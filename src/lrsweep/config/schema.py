"""The schema: every setting with its unit and its bound, and the name of a run. One door: what it imports, others take from here.

`RunConfig` is what defines a run; `AppConfig` adds what does not (study, grid, machine, tracker). Hydra composes an `AppConfig`;
below app.py only these dataclasses are known.
"""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lrsweep.config.grid import GridConfig
from lrsweep.config.optimizer import OptimizerConfig
from lrsweep.config.schedule import DEFAULT_LENGTH, ScheduleConfig
from lrsweep.config.validation import ConfigError, read_floats, refuse_unused, require, require_inside, require_one_of

CONF_DIR = next(p for p in (Path(__file__).parents[1] / "conf", Path(__file__).parents[3] / "conf") if p.is_dir())

NUM_MNIST_TRAIN = 60_000
NUM_MNIST_TEST = 10_000


@dataclass(kw_only=True)
class DataConfig:
    num_train: int = 3_000  # images, drawn from MNIST's 60,000 training images
    num_valid: int = 5_000  # images, drawn from the rest of them
    num_test: int = NUM_MNIST_TEST  # images; fewer only for a quick try
    skip: int = 0  # images of the seed's shuffled order to leave out first: 8,000 are those that the documents' split uses
    max_shift: float = 0.0  # pixels, each way: every training image is moved by a random amount, anew each epoch
    max_rotation: float = 0.0  # degrees, either way: likewise

    def __post_init__(self) -> None:
        read_floats(self)
        for name in ("num_train", "num_valid"):
            require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        require(self.skip >= 0, "data.skip", "at least 0", self.skip)
        num_drawn = self.skip + self.num_train + self.num_valid
        require(
            num_drawn <= NUM_MNIST_TRAIN, "data.skip + data.num_train + data.num_valid", f"at most {NUM_MNIST_TRAIN}", num_drawn
        )
        require(0 <= self.max_shift <= 14, "data.max_shift", "from 0 to 14", self.max_shift)
        require(0 <= self.max_rotation <= 180, "data.max_rotation", "from 0 to 180", self.max_rotation)
        require(1 <= self.num_test <= NUM_MNIST_TEST, "data.num_test", f"from 1 to {NUM_MNIST_TEST}", self.num_test)


@dataclass(kw_only=True)
class ModelConfig:
    name: str = "cnn"
    activation: str = "sigmoid"  # of the dense layer: sigmoid | tanh | relu | leaky_relu | elu
    dropout: float = 0.0  # share of the dense layer's outputs that a training step leaves out
    batch_norm: bool = False  # after every convolution
    init: str = "pytorch"  # of weights: pytorch (its default, He's for leaky ReLU of slope √5) | xavier | he
    init_from: str | None = None  # a file of weights to start from (machine.save_weights); {seed} in it is the run's

    def __post_init__(self) -> None:
        read_floats(self)
        require_one_of("model.name", ("cnn",), self.name)
        require_one_of("model.activation", ("sigmoid", "tanh", "relu", "leaky_relu", "elu"), self.activation)
        require(0 <= self.dropout < 1, "model.dropout", "from 0 to below 1", self.dropout)
        require_one_of("model.init", ("pytorch", "xavier", "he"), self.init)
        if self.init_from is not None and self.init != "pytorch":
            raise ConfigError(f"model.init={self.init} means nothing where model.init_from gives the weights; drop one of them")


@dataclass(kw_only=True)
class LossConfig:
    name: str = "cross_entropy"
    l1: float = 0.0  # times the sum of the absolute values of all weights but biases, added to the loss that is minimised
    l2: float = 0.0  # times half the sum of their squares, likewise; no optimizer's weight decay

    def __post_init__(self) -> None:
        read_floats(self)
        require_one_of("loss.name", ("cross_entropy", "double_softmax"), self.name)
        for name in ("l1", "l2"):
            require(0 <= getattr(self, name) < math.inf, f"loss.{name}", "finite and at least 0", getattr(self, name))


@dataclass(kw_only=True)
class TrainingConfig:
    batch_size: int = 32  # images; the last batch of an epoch may be shorter
    patience: int | None = 5  # epochs without a new best validation accuracy; None: the budget is fixed
    max_epochs: int = 1_000
    precision: str = "fp32"  # fp32 | bf16: mixed precision, where PyTorch's autocast deems it safe

    def __post_init__(self) -> None:
        for name in ("batch_size", "patience", "max_epochs"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"training.{name}", "at least 1", value)
        require(self.batch_size <= NUM_MNIST_TRAIN, "training.batch_size", f"at most {NUM_MNIST_TRAIN}", self.batch_size)
        require_one_of("training.precision", ("fp32", "bf16"), self.precision)


@dataclass(kw_only=True)
class RunConfig:
    """What defines a run: two equal ones give the same bits on a CPU with as many threads and the same versions."""

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", "from 0 to 2147483647", self.seed)
        if self.optimizer.name == "gd":
            self._take_all_images()
        if self.schedule.name == "grow_batch":
            most, first = self.schedule.max_batch_size, self.training.batch_size
            require(most >= first, "schedule.max_batch_size", f"at least training.batch_size ({first})", most)
            require(most <= NUM_MNIST_TRAIN, "schedule.max_batch_size", f"at most {NUM_MNIST_TRAIN}", most)
        self._check_rates()
        self._check_warmup()

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps of an epoch; of `grow_batch`, before the batch grows."""
        return -(-self.data.num_train // self.training.batch_size)

    @property
    def num_scheduled(self) -> int:
        """How long a schedule that ends is, in epochs, where `schedule.length` does not say."""
        return DEFAULT_LENGTH if self.training.patience is not None else self.training.max_epochs

    def _check_rates(self) -> None:
        """A schedule's own rates are no larger than the rate that it is a share of."""
        for name in ("warmup_start_lr", "final_lr"):
            rate, most = getattr(self.schedule, name), self.optimizer.lr
            require(rate is None or rate <= most, f"schedule.{name}", f"at most optimizer.lr ({most})", rate)

    def _check_warmup(self) -> None:
        """It ends before the schedule does (where `schedule.length` says when, that was checked) and before the run."""
        ends = self.schedule.ends and self.schedule.length is None
        most = min(self.num_scheduled, self.training.max_epochs) if ends else self.training.max_epochs
        if self.schedule.unit == "step":
            most *= self.epoch_steps
        bound = f"shorter than the {'schedule' if ends else 'run'} ({most} {self.schedule.unit}s)"
        require(self.schedule.warmup == 0 or self.schedule.warmup < most, "schedule.warmup", bound, self.schedule.warmup)

    def _take_all_images(self) -> None:
        """Gradient descent without "stochastic": its batch is all training images, and its record says so."""
        if self.schedule.name == "grow_batch":
            raise ConfigError("schedule=grow_batch has nothing to grow: the batch of optimizer=gd is all training images")
        if self.training.batch_size not in (TrainingConfig.batch_size, self.data.num_train):
            raise ConfigError(
                f"training.batch_size={self.training.batch_size} contradicts optimizer=gd, whose batch is all training images; "
                "optimizer=sgd takes a batch size"
            )
        self.training = replace(self.training, batch_size=self.data.num_train)


ALL_STUDIES = "all"  # what a report is asked for, in the place of a study's name


@dataclass(kw_only=True)
class StudyConfig:
    name: str = "single"  # the folder below machine.results_dir
    size: str = "small"  # small | full: of the studies that have two
    extend: bool = False  # a sweep may add runs whose settings none of the study's runs has

    def __post_init__(self) -> None:
        require_one_of("study.size", ("small", "full"), self.size)
        require_inside("study.name", self.name)
        require(self.name != ALL_STUDIES, "study.name", "another (to a report, that is every study)", self.name)

    @property
    def is_open(self) -> bool:
        """May runs of any settings be added? Always to those that belong to no study."""
        return self.extend or self.name == StudyConfig.name


@dataclass(kw_only=True)
class FindConfig:
    """The range test of `lrsweep-find`: a short training whose learning rate rises at every step."""

    num_seeds: int = 3  # seed, seed + 1, …
    low: float = 1e-7  # the first step's learning rate
    high: float = 10.0  # the last step's
    num_steps: int = 300
    spacing: str = "exponential"  # exponential | linear: of the rates between them
    smoothing: float = 0.98  # weight of the past in the losses' moving average; fastai's
    against: str = "lr"  # the study whose sweep the suggestions are scored against, where it has the same settings

    def __post_init__(self) -> None:
        require(self.num_seeds >= 1, "find.num_seeds", "at least 1", self.num_seeds)
        require(0 < self.low < math.inf, "find.low", "positive and finite", self.low)
        require(self.low < self.high < math.inf, "find.high", f"finite and above find.low ({self.low})", self.high)
        require(self.num_steps >= 20, "find.num_steps", "at least 20", self.num_steps)
        require_one_of("find.spacing", ("exponential", "linear"), self.spacing)
        require(0 <= self.smoothing < 1, "find.smoothing", "from 0 to below 1", self.smoothing)
        require_inside("find.against", self.against)


@dataclass(kw_only=True)
class MachineConfig:
    """Where and how fast, never what: nothing here is part of a run's name."""

    device: str = "auto"  # auto | cpu | cuda | cuda:N
    threads: int = 1  # CPU threads of one run; sums are ordered by it, so keep it to get the same bits
    precision: str = "fp32"  # fp32 | tf32: of a GPU's matrix products and convolutions; a CPU's are fp32 always
    data_dir: str = "data"
    results_dir: str = "results"
    save_weights: str | None = None  # a file for the best epoch's weights; {seed} in it is the run's
    checkpoint_seconds: float | None = 10.0  # at least, between two checkpoints of a run; 0: one each epoch; None: none

    def __post_init__(self) -> None:
        known = re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", self.device) is not None
        require(known, "machine.device", "auto, cpu, cuda or cuda:N", self.device)
        require(1 <= self.threads <= 1024, "machine.threads", "from 1 to 1024", self.threads)
        require_one_of("machine.precision", ("fp32", "tf32"), self.precision)
        seconds = self.checkpoint_seconds
        require(seconds is None or 0 <= seconds < math.inf, "machine.checkpoint_seconds", "finite and at least 0", seconds)


@dataclass(kw_only=True)
class TrackerConfig:
    """Where runs are shown as well, never what they are: nothing here is part of a run's name."""

    name: str = "none"  # none | tensorboard | mlflow
    uri: str | None = None  # of MLflow's server or database; None: mlflow.db in machine.results_dir

    def __post_init__(self) -> None:
        uses: dict[str, tuple[str, ...]] = {"none": (), "tensorboard": (), "mlflow": ("uri",)}
        require_one_of("tracker.name", uses, self.name)
        refuse_unused("tracker", self, uses)


@dataclass(kw_only=True)
class AppConfig(RunConfig):
    study: StudyConfig = field(default_factory=StudyConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    find: FindConfig = field(default_factory=FindConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)

    @property
    def run(self) -> RunConfig:
        return RunConfig(**{f.name: getattr(self, f.name) for f in fields(RunConfig)})

    @property
    def folder(self) -> Path:
        """Where the study's records and report are."""
        return Path(self.machine.results_dir) / self.study.name


def per_seed(path: str, seed: int) -> Path:
    return Path(path.replace("{seed}", str(seed)))


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one level of dotted names: {"optimizer": {"lr": 1}} gives {"optimizer.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def run_id(run: RunConfig) -> str:
    """The run's name: a hash of the settings that differ from the defaults.

    A setting added later, with a default that means "as before", leaves all earlier names as they are. A changed
    default would give old names a new meaning: raise records.SCHEMA_VERSION with it (a test holds the defaults).
    """
    default = flatten(asdict(RunConfig()))
    chosen = {name: value for name, value in flatten(asdict(run)).items() if name in default and value != default[name]}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]
