"""Every schedule as a pure function of the step: `lr_at(config, base_lr, step)`, step 0 first."""

from lrsweep.config import ScheduleConfig


def lr_at(config: ScheduleConfig, base_lr: float, step: int) -> float:
    match config.name:
        case "constant":
            return base_lr
    raise AssertionError(config.name)  # config.py lets no other name through
