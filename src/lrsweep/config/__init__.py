"""Every setting, with its unit and its bounds. Other packages import settings from here only.

`RunConfig` holds the settings that define a run; `AppConfig` adds those that do not (study, grid, find, machine, tracker).
"""

from lrsweep.config.app import ALL_STUDIES, CONF_DIR, AppConfig, FindConfig, MachineConfig, StudyConfig, TrackerConfig
from lrsweep.config.data import DataConfig
from lrsweep.config.grid import RESOLVERS, GridConfig, log_grid
from lrsweep.config.model import ModelConfig
from lrsweep.config.optimizer import LAYERS, LayerFactors, OptimizerConfig
from lrsweep.config.run import (
    DICTS,
    WITHOUT_EFFECT,
    LossConfig,
    RunConfig,
    TrainingConfig,
    flatten,
    per_seed,
    run_id,
)
from lrsweep.config.schedule import ScheduleConfig
from lrsweep.config.validation import ConfigError, require

__all__ = [
    "ALL_STUDIES",
    "CONF_DIR",
    "DICTS",
    "LAYERS",
    "RESOLVERS",
    "WITHOUT_EFFECT",
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
