"""Every setting, with its unit and its bound. Other packages import settings from here only.

`RunConfig` holds the settings that define a run; `AppConfig` adds those that do not (study, grid, machine, tracker).
"""

from lrsweep.config.grid import RESOLVERS, GridConfig, log_grid
from lrsweep.config.optimizer import LAYERS, LayerFactors, OptimizerConfig
from lrsweep.config.schedule import ScheduleConfig
from lrsweep.config.schema import (
    ALL_STUDIES,
    CONF_DIR,
    NUM_MNIST_TEST,
    NUM_MNIST_TRAIN,
    AppConfig,
    DataConfig,
    FindConfig,
    LossConfig,
    MachineConfig,
    ModelConfig,
    RunConfig,
    StudyConfig,
    TrackerConfig,
    TrainingConfig,
    flatten,
    per_seed,
    run_id,
)
from lrsweep.config.validation import ConfigError, require

__all__ = [
    "ALL_STUDIES",
    "CONF_DIR",
    "LAYERS",
    "NUM_MNIST_TEST",
    "NUM_MNIST_TRAIN",
    "RESOLVERS",
    "AppConfig",
    "ConfigError",
    "DataConfig",
    "FindConfig",
    "GridConfig",
    "LayerFactors",
    "LossConfig",
    "MachineConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RunConfig",
    "ScheduleConfig",
    "StudyConfig",
    "TrackerConfig",
    "TrainingConfig",
    "flatten",
    "log_grid",
    "per_seed",
    "require",
    "run_id",
]
