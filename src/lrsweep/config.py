"""The schema: every setting with its unit and its bound, the grid's resolver, and the name of a run.

`RunConfig` is what defines a run; `AppConfig` adds what does not (study, grid, machine). Hydra composes an `AppConfig`;
below app.py only these dataclasses are known.
"""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
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


def _require_one_of(name: str, known: tuple[str, ...], value: str) -> None:
    _require(value in known, name, "one of " + ", ".join(known), value)


@dataclass(kw_only=True)
class DataConfig:
    num_train: int = 3_000  # images, drawn from MNIST's 60,000 training images
    num_valid: int = 5_000  # images, drawn from the rest of them
    num_test: int = NUM_MNIST_TEST  # images; fewer only for a quick try

    def __post_init__(self) -> None:
        for name in ("num_train", "num_valid"):
            _require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        _require(
            self.num_train + self.num_valid <= NUM_MNIST_TRAIN,
            "data.num_train + data.num_valid",
            f"at most {NUM_MNIST_TRAIN}",
            self.num_train + self.num_valid,
        )
        _require(1 <= self.num_test <= NUM_MNIST_TEST, "data.num_test", f"from 1 to {NUM_MNIST_TEST}", self.num_test)


@dataclass(kw_only=True)
class ModelConfig:
    name: str = "cnn"

    def __post_init__(self) -> None:
        _require_one_of("model.name", ("cnn",), self.name)


@dataclass(kw_only=True)
class LossConfig:
    name: str = "cross_entropy"

    def __post_init__(self) -> None:
        _require_one_of("loss.name", ("cross_entropy", "double_softmax"), self.name)


@dataclass(kw_only=True)
class OptimizerConfig:
    name: str = "adamw"  # all settings but the rate are PyTorch's defaults
    lr: float = 1e-3

    def __post_init__(self) -> None:
        _require_one_of("optimizer.name", ("adamw",), self.name)
        self.lr = float(self.lr)  # 1 and 1.0 are one rate, and one name of a run
        _require(math.isfinite(self.lr) and self.lr > 0, "optimizer.lr", "positive and finite", self.lr)


@dataclass(kw_only=True)
class ScheduleConfig:
    name: str = "constant"

    def __post_init__(self) -> None:
        _require_one_of("schedule.name", ("constant",), self.name)


@dataclass(kw_only=True)
class TrainingConfig:
    batch_size: int = 32  # images; the last batch of an epoch may be shorter
    patience: int = 5  # epochs without a new best validation accuracy
    max_epochs: int = 1_000

    def __post_init__(self) -> None:
        for name in ("batch_size", "patience", "max_epochs"):
            _require(getattr(self, name) >= 1, f"training.{name}", "at least 1", getattr(self, name))


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


@dataclass(kw_only=True)
class StudyConfig:
    name: str = "single"  # the folder below machine.results_dir

    def __post_init__(self) -> None:
        parts = Path(self.name).parts
        inside = parts and not Path(self.name).is_absolute() and ".." not in parts and self.name.isprintable()
        _require(bool(inside), "study.name", "a relative path without '..'", self.name)


@dataclass(kw_only=True)
class GridConfig:
    """Learning rates 10^start, 10^(start+step), …, 10^stop, both ends included."""

    start: float = -6.0  # exponent
    stop: float = -1.5  # exponent
    step: float = 0.1  # decades

    def __post_init__(self) -> None:
        for name in ("start", "stop", "step"):
            _require(math.isfinite(getattr(self, name)), f"grid.{name}", "finite", getattr(self, name))
        _require(self.step > 0, "grid.step", "positive", self.step)
        _require(self.start <= self.stop, "grid.start", f"at most grid.stop ({self.stop})", self.start)
        _require(self.start >= -300, "grid.start", "at least -300", self.start)
        _require(self.stop <= 300, "grid.stop", "at most 300", self.stop)
        _require((self.stop - self.start) / self.step < 10_000, "grid.step", "coarse enough for 10,000 points", self.step)


@dataclass(kw_only=True)
class MachineConfig:
    """Where and how fast, never what: nothing here is part of a run's name."""

    device: str = "auto"  # auto | cpu | cuda | cuda:N
    threads: int = 1  # CPU threads of one run; sums are ordered by it, so keep it to get the same bits
    precision: str = "fp32"  # fp32 | tf32: of a GPU's matrix products and convolutions; a CPU's are fp32 always
    data_dir: str = "data"
    results_dir: str = "results"

    def __post_init__(self) -> None:
        known = re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", self.device) is not None
        _require(known, "machine.device", "auto, cpu, cuda or cuda:N", self.device)
        _require(self.threads >= 1, "machine.threads", "at least 1", self.threads)
        _require_one_of("machine.precision", ("fp32", "tf32"), self.precision)


@dataclass(kw_only=True)
class AppConfig(RunConfig):
    study: StudyConfig = field(default_factory=StudyConfig)
    grid: GridConfig = field(default_factory=GridConfig)
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
    start, stop, step = (Decimal(str(x)) for x in (grid.start, grid.stop, grid.step))
    num_points = int((stop - start) / step) + 1
    return [10 ** float(start + i * step) for i in range(num_points)]


def resolve_log_grid(start: float, stop: float, step: float) -> str:
    """`${log_grid:start,stop,step}` in a config: the grid as a Hydra choice sweep."""
    return ",".join(repr(lr) for lr in log_grid(GridConfig(start=start, stop=stop, step=step)))


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
