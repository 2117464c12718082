"""Did the schedule of an arm move the rate?"""

from typing import Any

import numpy as np
import pytest
from made_study import NUM_EPOCHS, make_study

from lrsweep.analysis.acting import plateau_scale, share_that_acted
from lrsweep.analysis.study import NoSuchRuns
from lrsweep.config import ScheduleConfig


@pytest.mark.parametrize(
    ("settings", "acted"),
    [
        ({}, 1.0),
        ({"model.dropout": 0.5}, 1.0),
        ({"schedule.name": "cosine"}, 1.0),
        ({"schedule.name": "step", "schedule.every": 2.0}, 1.0),
        ({"schedule.name": "step", "schedule.every": 10.0}, 0.0),  # the first step would come after the last epoch
        ({"schedule.name": "step", "schedule.every": 2.0, "schedule.warmup": 1.0}, 1.0),
        ({"schedule.name": "step", "schedule.every": 10.0, "schedule.warmup": 1.0}, 0.0),  # only the warm-up acted
        ({"schedule.name": "multi_step", "schedule.milestones": "[2.0,3.0]"}, 1.0),
        ({"schedule.name": "multi_step", "schedule.milestones": "[18.0,25.5]"}, 0.0),
        ({"schedule.warmup": 2.0}, 1.0),
        ({"schedule.name": "grow_batch", "schedule.every": 2.0}, 1.0),
        ({"schedule.name": "grow_batch", "schedule.every": float(NUM_EPOCHS)}, 0.0),
        ({"schedule.name": "plateau", "schedule.patience": 2}, 0.0),  # the loss always falls
        ({"schedule.name": "plateau", "schedule.patience": 2, "schedule.warmup": 1.0}, 0.0),
    ],
)
def test_a_schedule_acts_if_rate_or_batch_moves_within_the_run(settings: dict[str, Any], acted: float) -> None:
    study = make_study(np.full((2, 1, 3), 0.9), [settings])
    assert share_that_acted(study, study.runs) == acted


def test_the_share_that_acted_is_a_share_of_runs_and_not_of_lengths() -> None:
    study = make_study(np.full((10, 1, 1), 0.9), [{"schedule.name": "step", "schedule.every": 10.0}], rates=[1e-3])
    runs = study.runs.assign(epochs=[6] * 9 + [30])
    assert share_that_acted(study, runs) == pytest.approx(0.1)


def test_the_warm_up_acted_even_if_the_run_diverged_in_its_first_epoch() -> None:
    study = make_study([[[0.1]]], [{"schedule.warmup": 2.0}], rates=[1e-1], epochs=0)
    assert share_that_acted(study, study.runs) == 1.0


def test_stored_runs_whose_schedule_is_refused_now_give_a_reason_instead_of_an_error() -> None:
    study = make_study([[[0.9]]], [{"schedule.name": "multi_step"}], rates=[1e-3])  # without milestones
    with pytest.raises(NoSuchRuns, match=r"refused now: schedule\.milestones must be given"):
        share_that_acted(study, study.runs)


def test_plateau_acts_on_the_runs_whose_loss_stopped_falling() -> None:
    study = make_study(np.full((4, 1, 1), 0.9), [{"schedule.name": "plateau", "schedule.patience": 1}], rates=[1e-3])
    study.curves.loc[study.curves["run_id"] == "made-2", "valid_loss"] = 1.0
    assert share_that_acted(study, study.runs) == 0.25


def test_a_plateau_found_after_the_last_epoch_does_not_lower_the_rate() -> None:
    schedule = ScheduleConfig(name="plateau", patience=2, factor=0.1)
    losses = [1.0, 2.0, 2.0, 2.0]
    assert plateau_scale(schedule, 1e-3, losses) == 1.0
    assert plateau_scale(schedule, 1e-3, [*losses, 2.0]) == pytest.approx(0.1)
