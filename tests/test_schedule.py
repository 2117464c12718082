"""lrsweep.schedule: what the learning rate is at each step."""

import pytest

from lrsweep.config import ScheduleConfig
from lrsweep.schedule import lr_at


@pytest.mark.parametrize("base_lr", [1e-6, 1e-3, 10**-1.5])
@pytest.mark.parametrize("step", [0, 1, 93, 94, 100_000])
def test_constant_is_constant(base_lr: float, step: int) -> None:
    assert lr_at(ScheduleConfig(name="constant"), base_lr, step) == base_lr
