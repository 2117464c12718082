"""The settings of the commands that do not define a run: study, range test, machine and tracker."""

import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from lrsweep.config.grid import GridConfig
from lrsweep.config.run import RunConfig
from lrsweep.config.validation import ConfigError, convert_floats, require, require_choices, require_inside, require_path

CONF_DIR = next(p for p in (Path(__file__).parents[1] / "conf", Path(__file__).parents[3] / "conf") if p.is_dir())

ALL_STUDIES = "all"  # in place of the name of a study: a report on all of them


@dataclass(kw_only=True)
class StudyConfig:
    name: str = "single"
    """Folder of the study inside machine.results_dir. Runs that belong to no study are in `single`."""

    fresh_seeds: int = 20
    """Number of seeds for `lrsweep-confirm`. 0: nothing to confirm, because the study's own runs decide."""

    confirm_decades: float = 0.5
    """`lrsweep-confirm` runs each arm at its best rate, and at the other rates within this many decades of the best."""

    confirm_also: list[dict[str, Any]] = field(default_factory=list)
    """Further runs for `lrsweep-confirm`: an arm's settings and the exponent of a rate, e.g. [{optimizer.name: adam, at: -3}]."""

    arm: int = 0
    """Index of an arm in a sweep of `lrsweep-confirm`. It selects the values of the settings that differ between arms."""

    delta: float | None = None
    """The smallest difference in test accuracy that matters, as a fraction. A rate is good if it is shown to lose less. None:
    0.002, which is 0.2 percentage points. The study's folder remembers that of its last sweep for `lrsweep-confirm` and
    `lrsweep-report`."""

    extend: bool = False
    """Add runs whose settings, apart from seed and rate, no finished run of the study has. By default, they are refused."""

    def __post_init__(self) -> None:
        convert_floats("study", self)
        require_inside("study.name", self.name)
        require(0 <= self.fresh_seeds <= 9_999, "study.fresh_seeds", "from 0 to 9999", self.fresh_seeds)
        require(0 <= self.confirm_decades < math.inf, "study.confirm_decades", "finite and at least 0", self.confirm_decades)
        require(self.delta is None or 0 < self.delta < 1, "study.delta", "a fraction above 0 and below 1", self.delta)
        has_rates = isinstance(self.confirm_also, list) and all(map(_names_a_rate, self.confirm_also))
        require(
            has_rates, "study.confirm_also", "a list of arms, each with an exponent from -300 to 300 as `at`", self.confirm_also
        )
        require(self.name != ALL_STUDIES, "study.name", "another name, because study=all reports on every study", self.name)

    @property
    def is_open(self) -> bool:
        """Does the study accept runs with any settings?"""
        return self.extend or self.name == StudyConfig.name


def _names_a_rate(also: Any) -> bool:
    return isinstance(also, dict) and isinstance(at := also.get("at"), int | float) and -300 <= at <= 300


@dataclass(kw_only=True)
class FindConfig:
    """The range test of `lrsweep-find`: a short training run whose learning rate rises at every step."""

    num_seeds: int = 3
    """Number of tests. Their seeds are seed, seed + 1, …"""

    low: float = 1e-7
    """Learning rate of the first step."""

    high: float = 10.0
    """Learning rate of the last step."""

    num_steps: int = 300
    """Optimizer steps of one test."""

    spacing: Literal["exponential", "linear"] = "exponential"
    """How the learning rate rises from `low` to `high`."""

    smoothing: float = 0.98
    """Weight of the past in the moving average of the losses. 0.98 is the default of fastai."""

    against: str = "lr"
    """Study that scores the suggested rates, if its runs have the same settings."""

    def __post_init__(self) -> None:
        require(1 <= self.num_seeds <= 1_000, "find.num_seeds", "from 1 to 1000", self.num_seeds)
        require(0 < self.low < math.inf, "find.low", "positive and finite", self.low)
        require(self.low < self.high < math.inf, "find.high", f"finite and above find.low ({self.low})", self.high)
        require(20 <= self.num_steps <= 100_000, "find.num_steps", "from 20 to 100000", self.num_steps)
        require_choices("find", self)
        require(0 <= self.smoothing < 1, "find.smoothing", "from 0 to below 1", self.smoothing)
        require_inside("find.against", self.against)


@dataclass(kw_only=True)
class MachineConfig:
    """Where and how fast runs are executed. Nothing here changes a run_id."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    threads: int = 1
    """CPU threads of one run. Their number changes the order of floating-point sums, and with it the last bits of the results."""

    precision: Literal["fp32", "tf32"] = "fp32"
    """Precision of matrix products and convolutions on a GPU. A CPU always uses fp32."""

    data_dir: str = "data"
    """Folder of downloaded images, such as those of MNIST. A data function with the argument `folder` gets it."""

    results_dir: str = "results"
    """Folder of all studies."""

    save_weights: str | None = None
    """File for the weights of the scored epoch, see training.score. {seed} in the path is replaced by the seed of the run."""

    checkpoint_seconds: float | None = 10.0
    """Minimum seconds between two checkpoints of a run. 0: after every epoch. None: no checkpoints.

    Unless this is 0, a fused program waits at least 1/8 second per slot, so that writing does not slow it down.
    """

    def __post_init__(self) -> None:
        is_known = re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", self.device) is not None
        require(is_known, "machine.device", "auto, cpu, cuda or cuda:N", self.device)
        require(1 <= self.threads <= 1024, "machine.threads", "from 1 to 1024", self.threads)
        require_choices("machine", self)
        for name in ("data_dir", "results_dir", "save_weights"):
            require_path(f"machine.{name}", getattr(self, name))
        seconds = self.checkpoint_seconds
        require(seconds is None or 0 <= seconds < math.inf, "machine.checkpoint_seconds", "finite and at least 0", seconds)


@dataclass(kw_only=True)
class TrackerConfig:
    """A second place that shows the runs. Nothing here changes a run_id."""

    name: Literal["none", "tensorboard", "mlflow", "wandb"] = "none"

    uri: str | None = None
    """Server or database of MLflow; None: mlflow.db in machine.results_dir. Or server of W&B; None: the one of W&B's settings."""

    def __post_init__(self) -> None:
        require_choices("tracker", self)
        require_path("tracker.uri", self.uri)
        if self.uri is not None and self.name not in ("mlflow", "wandb"):
            raise ConfigError(f"tracker.uri is not used by tracker={self.name}, only by mlflow, wandb")
        is_address = self.name != "wandb" or self.uri is None or self.uri.startswith(("http://", "https://"))
        require(is_address, "tracker.uri", "the address of a W&B server, such as https://wandb.example.com", self.uri)


@dataclass(kw_only=True)
class AppConfig(RunConfig):
    """All settings, as Hydra composes them from conf/."""

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
        """The folder with the records and the report of the study."""
        return Path(self.machine.results_dir) / self.study.name
