"""The schema: every setting with its unit and its bound, the grid's resolver, and the name of a run.

`RunConfig` is what defines a run; `AppConfig` adds what does not (study, grid, machine). Hydra composes an `AppConfig`;
below app.py only these dataclasses are known.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

CONF_DIR = next(p for p in (Path(__file__).parent / "conf", Path(__file__).parents[2] / "conf") if p.is_dir())

NUM_MNIST_TRAIN = 60_000
NUM_MNIST_TEST = 10_000


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line for the person who set it."""


def _require(holds: bool, name: str, bound: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {bound}, got {value!r}")


def _require_one_of(name: str, known: Iterable[str], value: str) -> None:
    _require(value in known, name, "one of " + ", ".join(known), value)


def _require_inside(name: str, folder: str) -> None:
    parts = Path(folder).parts
    inside = parts and not Path(folder).is_absolute() and ".." not in parts and folder.isprintable()
    _require(bool(inside), name, "a relative path without '..'", folder)


def _refuse_unused(group: str, config: Any, uses: dict[str, tuple[str, ...]]) -> None:
    """A setting that this choice of the group does not read is a mistake, not a wish to be ignored."""
    default = type(config).__dataclass_fields__
    for name in sorted({name for names in uses.values() for name in names} - set(uses[config.name])):
        if getattr(config, name) != _default(default[name]):
            users = ", ".join(user for user, names in uses.items() if name in names)
            raise ConfigError(f"{group}.{name} means nothing to {group}={config.name}; it is a setting of {users}")


def _default(of: Field[Any]) -> Any:
    return of.default if of.default_factory is MISSING else of.default_factory()


def _read_floats(config: Any) -> None:
    """1 and 1.0 are one setting, and one name of a run."""
    for of in fields(config):
        value = getattr(config, of.name)
        if of.type in (float, float | None) and isinstance(value, int):
            setattr(config, of.name, float(value))
        elif of.type == list[float]:
            setattr(config, of.name, [float(x) for x in value])


@dataclass(kw_only=True)
class DataConfig:
    num_train: int = 3_000  # images, drawn from MNIST's 60,000 training images
    num_valid: int = 5_000  # images, drawn from the rest of them
    num_test: int = NUM_MNIST_TEST  # images; fewer only for a quick try
    skip: int = 0  # images of the seed's shuffled order to leave out first: 8,000 are those that the documents' split uses
    max_shift: float = 0.0  # pixels, each way: every training image is moved by a random amount, anew each epoch
    max_rotation: float = 0.0  # degrees, either way: likewise

    def __post_init__(self) -> None:
        _read_floats(self)
        for name in ("num_train", "num_valid"):
            _require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        _require(self.skip >= 0, "data.skip", "at least 0", self.skip)
        num_drawn = self.skip + self.num_train + self.num_valid
        _require(
            num_drawn <= NUM_MNIST_TRAIN, "data.skip + data.num_train + data.num_valid", f"at most {NUM_MNIST_TRAIN}", num_drawn
        )
        _require(0 <= self.max_shift <= 14, "data.max_shift", "from 0 to 14", self.max_shift)
        _require(0 <= self.max_rotation <= 180, "data.max_rotation", "from 0 to 180", self.max_rotation)
        _require(1 <= self.num_test <= NUM_MNIST_TEST, "data.num_test", f"from 1 to {NUM_MNIST_TEST}", self.num_test)


@dataclass(kw_only=True)
class ModelConfig:
    name: str = "cnn"
    activation: str = "sigmoid"  # of the dense layer: sigmoid | tanh | relu | leaky_relu | elu
    dropout: float = 0.0  # share of the dense layer's outputs that a training step leaves out
    batch_norm: bool = False  # after every convolution
    init: str = "pytorch"  # of weights: pytorch (its default, He's for leaky ReLU of slope √5) | xavier | he
    init_from: str | None = None  # a file of weights to start from (machine.save_weights); {seed} in it is the run's

    def __post_init__(self) -> None:
        _read_floats(self)
        _require_one_of("model.name", ("cnn",), self.name)
        _require_one_of("model.activation", ("sigmoid", "tanh", "relu", "leaky_relu", "elu"), self.activation)
        _require(0 <= self.dropout < 1, "model.dropout", "from 0 to below 1", self.dropout)
        _require_one_of("model.init", ("pytorch", "xavier", "he"), self.init)
        if self.init_from is not None and self.init != "pytorch":
            raise ConfigError(f"model.init={self.init} means nothing where model.init_from gives the weights; drop one of them")


@dataclass(kw_only=True)
class LossConfig:
    name: str = "cross_entropy"
    l1: float = 0.0  # times the sum of the absolute values of all weights but biases, added to the loss that is minimised
    l2: float = 0.0  # times half the sum of their squares, likewise; no optimizer's weight decay

    def __post_init__(self) -> None:
        _read_floats(self)
        _require_one_of("loss.name", ("cross_entropy", "double_softmax"), self.name)
        for name in ("l1", "l2"):
            _require(0 <= getattr(self, name) < math.inf, f"loss.{name}", "finite and at least 0", getattr(self, name))


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
        _read_floats(self)
        for name in LAYERS:
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"optimizer.layers.{name}", "finite and at least 0", value)


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
        _read_floats(self)
        _require_one_of("optimizer.name", _OPTIMIZER_USES, self.name)
        _require(math.isfinite(self.lr) and self.lr > 0, "optimizer.lr", "positive and finite", self.lr)
        _refuse_unused("optimizer", self, _OPTIMIZER_USES)
        _require(0 < self.momentum < 1, "optimizer.momentum", "between 0 and 1", self.momentum)
        decay = self.weight_decay or 0.0
        _require(0 <= decay < math.inf, "optimizer.weight_decay", "finite and at least 0", self.weight_decay)
        _require_one_of("optimizer.layerwise", ("uniform", "rising", "falling"), self.layerwise)
        _require(1 < self.layer_factor <= 100, "optimizer.layer_factor", "above 1 and at most 100", self.layer_factor)

    def layer_rates(self) -> dict[str, float]:
        """Each layer's share of the learning rate."""
        sign = {"uniform": 0, "rising": 1, "falling": -1}[self.layerwise]
        middle = len(LAYERS) // 2
        return {name: getattr(self.layers, name) * self.layer_factor ** (sign * (i - middle)) for i, name in enumerate(LAYERS)}


_SCHEDULE_USES: dict[str, tuple[str, ...]] = {
    "constant": (),
    "step": ("factor", "every"),
    "multi_step": ("factor", "milestones"),
    "piecewise": ("milestones", "shares"),
    "exponential": ("factor", "every"),
    "power": ("every", "power"),
    "polynomial": ("length", "power", "final", "final_lr"),
    "cosine": ("length", "final", "final_lr"),
    "cosine_restarts": ("period", "period_growth", "final", "final_lr"),
    "triangular": ("period", "low"),
    "triangular2": ("period", "low"),
    "exp_range": ("period", "low", "factor", "every"),
    "one_cycle": ("length", "low", "final", "final_lr", "tail"),
    "one_cycle_torch": ("length", "low", "final", "final_lr", "rise"),
    "plateau": ("factor", "patience", "threshold", "cooldown", "final", "final_lr"),
    "grow_batch": ("factor", "every", "max_batch_size"),
}
MAX_LENGTH = 1_000_000_000  # epochs or steps: longer than any run, and still a number of steps
DEFAULT_LENGTH = 20  # epochs, of a schedule that ends, where early stopping leaves the run's length open


@dataclass(kw_only=True)
class ScheduleConfig:
    """The rate at every step as a share of `optimizer.lr`. Lengths are in `unit`s; each name reads what it needs."""

    name: str = "constant"
    unit: str = "epoch"  # of all lengths here: epoch | step
    warmup: float = 0.0  # length of a linear rise in front of any schedule, which begins after it
    warmup_start: float = 0.001  # share of the rate that the rise begins at
    warmup_start_lr: float | None = None  # or that rate itself
    length: float | None = None  # until the end, warm-up included; None: all of a fixed budget, else 20 epochs
    final: float = 0.0  # share of the rate at the end; of `plateau`, the least
    final_lr: float | None = None  # or that rate itself
    factor: float = 0.1  # the rate is multiplied by it …
    every: float = 10.0  # … so often; of `power`, the length after which the rate is halved (for power 1)
    milestones: list[float] = field(default_factory=list)  # lengths from the schedule's begin, ascending
    shares: list[float] = field(default_factory=list)  # of the rate: before the first milestone, and after each
    power: float = 1.0
    period: float = 10.0  # length of the first cycle
    period_growth: float = 1.0  # each cycle's length over the one before
    low: float = 0.04  # share of the rate where a cycle begins
    tail: float = 0.1  # share of the length that 1cycle spends below `low`
    rise: float = 0.3  # share of the length that PyTorch's 1cycle spends rising
    patience: int = 2  # epochs without a lower validation loss before the rate is lowered
    threshold: float = 1e-4  # share by which a validation loss must be lower to count
    cooldown: int = 0  # epochs after a lowering that do not count
    max_batch_size: int = 512  # images; growing stops there

    def __post_init__(self) -> None:
        _read_floats(self)
        _require_one_of("schedule.name", _SCHEDULE_USES, self.name)
        _refuse_unused("schedule", self, _SCHEDULE_USES)
        _require_one_of("schedule.unit", ("epoch", "step"), self.unit)
        self._check_lengths()
        for name in ("warmup_start", "final", "tail", "rise"):
            _require(0 <= getattr(self, name) < 1, f"schedule.{name}", "from 0 to below 1", getattr(self, name))
        for name in ("factor", "low"):
            _require(0 < getattr(self, name) <= 1, f"schedule.{name}", "above 0 and at most 1", getattr(self, name))
        for name in ("warmup_start", "final"):
            self._check_rate(name, f"{name}_lr")
        _require(0 < self.power < math.inf, "schedule.power", "positive and finite", self.power)
        _require(0 <= self.threshold < 1, "schedule.threshold", "from 0 to below 1", self.threshold)
        _require(self.patience >= 1, "schedule.patience", "at least 1", self.patience)
        _require(self.cooldown >= 0, "schedule.cooldown", "at least 0", self.cooldown)

    @property
    def ends(self) -> bool:
        """Whether it has a length after which the rate stays as it is."""
        return "length" in _SCHEDULE_USES[self.name]

    def _check_rate(self, share: str, rate: str) -> None:
        value = getattr(self, rate)
        _require(value is None or 0 <= value < math.inf, f"schedule.{rate}", "finite and at least 0", value)
        if value is not None and getattr(self, share) != getattr(type(self), share):
            raise ConfigError(f"schedule.{share} means nothing where schedule.{rate} gives the rate; drop one of them")

    def _check_lengths(self) -> None:
        _require(0 <= self.warmup <= MAX_LENGTH, "schedule.warmup", f"from 0 to {MAX_LENGTH:,}", self.warmup)
        for name in ("every", "period", "length"):
            value = getattr(self, name)
            _require(value is None or 0 < value <= MAX_LENGTH, f"schedule.{name}", f"above 0 and at most {MAX_LENGTH:,}", value)
        _require(1 <= self.period_growth <= 100, "schedule.period_growth", "from 1 to 100", self.period_growth)
        _require(self.length is None or self.warmup < self.length, "schedule.warmup", "below schedule.length", self.warmup)
        ascending = all(a < b <= MAX_LENGTH for a, b in pairwise([0.0, *self.milestones]))
        _require(ascending, "schedule.milestones", f"above 0, ascending and at most {MAX_LENGTH:,}", self.milestones)
        if self.name in ("multi_step", "piecewise"):
            _require(bool(self.milestones), "schedule.milestones", "given, as [5,10]", self.milestones)
        if self.name == "piecewise":
            wanted = f"{len(self.milestones) + 1} shares of the rate, one more than schedule.milestones"
            _require(len(self.shares) == len(self.milestones) + 1, "schedule.shares", wanted, self.shares)
        _require(all(0 <= share < math.inf for share in self.shares), "schedule.shares", "finite and at least 0", self.shares)
        if self.name == "grow_batch":
            _require(self.unit == "epoch" and self.every == int(self.every), "schedule.every", "whole epochs", self.every)


@dataclass(kw_only=True)
class TrainingConfig:
    batch_size: int = 32  # images; the last batch of an epoch may be shorter
    patience: int | None = 5  # epochs without a new best validation accuracy; None: the budget is fixed
    max_epochs: int = 1_000
    precision: str = "fp32"  # fp32 | bf16: mixed precision, where PyTorch's autocast deems it safe

    def __post_init__(self) -> None:
        for name in ("batch_size", "patience", "max_epochs"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"training.{name}", "at least 1", value)
        _require_one_of("training.precision", ("fp32", "bf16"), self.precision)


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
        _require(0 <= self.seed < 2**31, "seed", "from 0 to 2147483647", self.seed)
        if self.optimizer.name == "gd":
            self._take_all_images()
        if self.schedule.name == "grow_batch":
            most, first = self.schedule.max_batch_size, self.training.batch_size
            _require(most >= first, "schedule.max_batch_size", f"at least training.batch_size ({first})", most)
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
            _require(rate is None or rate <= most, f"schedule.{name}", f"at most optimizer.lr ({most})", rate)

    def _check_warmup(self) -> None:
        """It ends before the schedule does (where `schedule.length` says when, that was checked) and before the run."""
        ends = self.schedule.ends and self.schedule.length is None
        most = min(self.num_scheduled, self.training.max_epochs) if ends else self.training.max_epochs
        if self.schedule.unit == "step":
            most *= self.epoch_steps
        bound = f"shorter than the {'schedule' if ends else 'run'} ({most} {self.schedule.unit}s)"
        _require(self.schedule.warmup == 0 or self.schedule.warmup < most, "schedule.warmup", bound, self.schedule.warmup)

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


@dataclass(kw_only=True)
class StudyConfig:
    name: str = "single"  # the folder below machine.results_dir
    size: str = "small"  # small | full: of the studies that have two

    def __post_init__(self) -> None:
        _require_one_of("study.size", ("small", "full"), self.size)
        _require_inside("study.name", self.name)


@dataclass(kw_only=True)
class GridConfig:
    """Learning rates 10^start, 10^(start+step), …, 10^stop, both ends included."""

    start: float = -6.0  # exponent
    stop: float = -1.5  # exponent
    step: float = 0.1  # decades
    offset: float = 0.0  # decades, from a rate that a study centres each of its methods on

    def __post_init__(self) -> None:
        for name in ("start", "stop", "step", "offset"):
            _require(math.isfinite(getattr(self, name)), f"grid.{name}", "finite", getattr(self, name))
        _require(self.step > 0, "grid.step", "positive", self.step)
        _require(self.start <= self.stop, "grid.start", f"at most grid.stop ({self.stop})", self.start)
        _require(self.start >= -300, "grid.start", "at least -300", self.start)
        _require(self.stop <= 300, "grid.stop", "at most 300", self.stop)
        _require((self.stop - self.start) / self.step < 10_000, "grid.step", "coarse enough for 10,000 points", self.step)


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
        _require(self.num_seeds >= 1, "find.num_seeds", "at least 1", self.num_seeds)
        _require(0 < self.low < math.inf, "find.low", "positive and finite", self.low)
        _require(self.low < self.high < math.inf, "find.high", f"finite and above find.low ({self.low})", self.high)
        _require(self.num_steps >= 20, "find.num_steps", "at least 20", self.num_steps)
        _require_one_of("find.spacing", ("exponential", "linear"), self.spacing)
        _require(0 <= self.smoothing < 1, "find.smoothing", "from 0 to below 1", self.smoothing)
        _require_inside("find.against", self.against)


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
        _require(known, "machine.device", "auto, cpu, cuda or cuda:N", self.device)
        _require(self.threads >= 1, "machine.threads", "at least 1", self.threads)
        _require_one_of("machine.precision", ("fp32", "tf32"), self.precision)
        seconds = self.checkpoint_seconds
        _require(seconds is None or 0 <= seconds < math.inf, "machine.checkpoint_seconds", "finite and at least 0", seconds)


@dataclass(kw_only=True)
class AppConfig(RunConfig):
    study: StudyConfig = field(default_factory=StudyConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    find: FindConfig = field(default_factory=FindConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    @property
    def run(self) -> RunConfig:
        return RunConfig(**{f.name: getattr(self, f.name) for f in fields(RunConfig)})

    @property
    def folder(self) -> Path:
        """Where the study's records and report are."""
        return Path(self.machine.results_dir) / self.study.name


def log_grid(grid: GridConfig) -> list[float]:
    """The grid's learning rates, each exactly Python's `10 ** m` of the decimal exponent m."""
    return [10**exponent for exponent in _exponents(grid)]


def _exponents(grid: GridConfig) -> list[float]:
    start, stop, step = (Decimal(str(x)) for x in (grid.start, grid.stop, grid.step))
    num_points = int((stop - start) / step) + 1
    return [float(start + i * step) for i in range(num_points)]


def resolve_log_grid(start: float, stop: float, step: float) -> str:
    """`${log_grid:start,stop,step}` in a config: the grid as a Hydra choice sweep."""
    return ",".join(repr(lr) for lr in log_grid(GridConfig(start=start, stop=stop, step=step)))


def resolve_offsets(start: float, stop: float, step: float) -> str:
    """`${offsets:start,stop,step}`: a grid's exponents themselves, as a Hydra choice sweep."""
    return ",".join(map(repr, _exponents(GridConfig(start=start, stop=stop, step=step))))


def resolve_ten_to(*exponents: float) -> float:
    """`${ten_to:a,b}`: 10^(a+b), of decimal exponents."""
    _require(abs(sum(exponents)) <= 300, "a rate's exponent", "from -300 to 300", sum(exponents))
    return float(10 ** float(sum(Decimal(str(exponent)) for exponent in exponents)))


def resolve_pick(key: Any, *cases: Any) -> Any:
    """`${pick:key,a,1,b,2,else,3}`: the value after the word that equals the key."""
    known = dict(zip(cases[::2], cases[1::2], strict=True))
    if key in known:
        return known[key]
    if "else" not in known:
        raise ConfigError(f"{key!r} is none of this study's " + ", ".join(map(str, known)))
    return known["else"]


RESOLVERS: dict[str, Callable[..., Any]] = {
    "log_grid": resolve_log_grid,
    "offsets": resolve_offsets,
    "ten_to": resolve_ten_to,
    "pick": resolve_pick,
}


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
