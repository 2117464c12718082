"""Did a schedule act? If it never changed the rate, its arm is the same as a fixed rate and tells nothing about schedules."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.phrases import Phrase
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.config import ConfigError, ScheduleConfig
from lrsweep.config.schedule import DEFAULT_LENGTH
from lrsweep.storage.tables import DEFAULT_SETTINGS
from lrsweep.training.schedules import Pace, PlateauState, batch_size_at, lr_at

_GROUP = "schedule."


def share_that_acted(study: Study, runs: pd.DataFrame) -> float:
    """The share of one arm's `runs` in which the schedule changed the rate or the batch size; 1 for a fixed rate.

    A warm-up counts only if there is no other schedule: a step that never came is no step, also after a warm-up.
    Reduce-on-plateau is replayed from the recorded validation losses, and all other schedules from the number of steps.
    Methods other than schedules (penalties, dropout, augmentation) act in every step.
    """
    schedule = schedule_of(runs.iloc[0])
    if schedule.name == "constant" and not schedule.warmup:
        return 1.0
    if schedule.name == "plateau":
        losses = dict(list(study.curves.sort_values("epoch").groupby("run_id")["valid_loss"]))
        replayed = [
            plateau_scale(schedule, lr, losses.get(run_id, ())) for run_id, lr in zip(runs["run_id"], runs["lr"], strict=True)
        ]
        return float(np.mean(np.array(replayed) < 1))
    lengths = ["lr", "epochs", "data.num_train", "training.batch_size", "training.patience", "training.max_epochs"]
    counts = runs[lengths].value_counts().reset_index()
    return float(np.average(counts.apply(lambda run: _moves(schedule, run), axis="columns"), weights=counts["count"]))


def schedule_of(run: pd.Series) -> ScheduleConfig:
    """The schedule of a stored run. NoSuchRuns if this version refuses its settings, which an earlier one accepted."""
    names = [name for name in DEFAULT_SETTINGS if name.startswith(_GROUP) and name in run]
    try:
        return ScheduleConfig(**{name.removeprefix(_GROUP): _from_cell(run[name]) for name in names})
    except ConfigError as error:
        raise NoSuchRuns(Phrase("the stored runs have a schedule that is refused now: {error}", error=error)) from None


def plateau_scale(schedule: ScheduleConfig, lr: float, valid_losses: Any) -> float:
    """The factor on the rate in the last epoch of a run with these validation losses."""
    state = PlateauState()
    for loss in list(valid_losses)[:-1]:  # the last loss comes after the last step
        state = state.after(schedule, lr, float(loss))
    return state.lr_scale


def _moves(schedule: ScheduleConfig, run: pd.Series) -> bool:
    batch_size, num_epochs = int(run["training.batch_size"]), max(1, int(run["epochs"]))  # 0 epochs if it diverged at once
    if schedule.name == "grow_batch":
        return batch_size_at(schedule, batch_size, num_epochs - 1) != batch_size
    pace = Pace(
        epoch_steps=math.ceil(run["data.num_train"] / batch_size),
        num_epochs=int(run["training.max_epochs"]) if run["training.patience"] == "null" else DEFAULT_LENGTH,
    )
    warmup = {name: getattr(schedule, name) for name in ("unit", "warmup", "warmup_start", "warmup_start_lr")}
    without = ScheduleConfig() if schedule.name == "constant" or not schedule.warmup else ScheduleConfig(**warmup)
    steps = range(num_epochs * pace.epoch_steps)
    return any(not math.isclose(*(lr_at(one, run["lr"], step, pace) for one in (schedule, without))) for step in steps)


def _from_cell(cell: Any) -> Any:
    """A setting from its cell in a table: see tables.setting_cell."""
    return json.loads(cell) if isinstance(cell, str) and (cell == "null" or cell.startswith("[")) else cell
