"""A run, or many at once: trained from a checkpoint on where there is one, and stored. What of a study is done already."""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any, Literal

import torch
from torch import Tensor

from lrsweep.config import AppConfig, ConfigError, MachineConfig, RunConfig, ScheduleConfig, per_seed, run_id
from lrsweep.data import dataset
from lrsweep.data.dataset import Mnist
from lrsweep.fused import scheduler
from lrsweep.records import EpochRecord, Outcome, RunRecord, State
from lrsweep.storage import files, store
from lrsweep.storage.checkpoints import Checkpoint, CheckpointError
from lrsweep.training import solo
from lrsweep.training.device import describe, prepare_device
from lrsweep.training.models import summarise_model
from lrsweep.training.weights import holds_weights_of, weights_file

OnEpoch = Callable[[EpochRecord], None]
Say = Callable[[str], None]

_NO_PEAKS = dict.fromkeys(("peak_memory_bytes", "peak_gpu_memory_bytes"))  # where this process's are not the run's
_MADE_BY = ("device", "device_name", "threads", "precision", "versions", "git_commit", "git_dirty")
_CPU_SLOTS = 8
_CALIBRATION_EPOCHS = 3
_CALIBRATION_LR = 1e-3  # trains; an epoch takes as long at any rate


def is_done(record: RunRecord) -> bool:
    """A diverged run is done: divergence is a result. A failed one is tried again."""
    return record.outcome.status != "failed"


def is_finished(record: RunRecord, settings: AppConfig) -> bool:
    """Done, and its weights, no other run's, are where they were asked for."""
    path = settings.machine.save_weights
    is_kept = not path or holds_weights_of(per_seed(path, settings.seed), record.run_id)
    return is_done(record) and (is_kept or record.outcome.best_epoch is None)


def check_files(run: RunConfig, machine: MachineConfig) -> None:
    """Refuse, before anything runs, what the disk lacks or does not take."""
    if run.model.init_from and not per_seed(run.model.init_from, run.seed).exists():
        raise ConfigError(f"model.init_from: there is no {per_seed(run.model.init_from, run.seed)}")
    if machine.save_weights:
        _refuse_unwritable(per_seed(machine.save_weights, run.seed))


def _refuse_unwritable(path: Path) -> None:
    """Found by trying, as a disk has many ways to refuse."""
    try:
        if path.is_dir():
            raise ConfigError(f"machine.save_weights={path} is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent).close()
    except OSError as error:
        raise ConfigError(f"machine.save_weights={path} cannot be written ({error.strerror})") from error


def run_one(run: RunConfig, machine: MachineConfig, folder: Path, *, workers: int, on_epoch: OnEpoch, say: Say) -> RunRecord:
    """Train one run on this process's device, from its checkpoint on if there is one, and store its record."""
    device = prepare_device(machine)
    split = dataset.split(_mnist(Path(machine.data_dir), device), run.data, run.seed)
    checkpoint = _checkpoint(run, machine, folder, device)
    state = _read(checkpoint, say)
    weights: dict[str, Tensor] = {}
    try:
        outcome = solo.train(
            run,
            split,
            on_epoch,
            on_best=weights.update,
            on_state=checkpoint.keep,
            resume_from=state,
        )
    except Exception:  # not a kill or Ctrl-C
        checkpoint.remove()  # from there it would raise again
        raise
    record = _keep(run, folder, outcome, split.class_counts, describe(device, workers))
    if machine.save_weights and weights:
        files.write_atomically(per_seed(machine.save_weights, run.seed), weights_file(weights, record.run_id))
    checkpoint.remove()
    return record


def _checkpoint(run: RunConfig, machine: MachineConfig, folder: Path, device: torch.device) -> Checkpoint:
    """Of use to the same run where it would give the same bits, in times that can be added up."""
    here = describe(device, workers=1)
    made_by = {"run_id": run_id(run)} | {name: here[name] for name in _MADE_BY}
    return Checkpoint(store.checkpoint_path(folder, run_id(run)), made_by, machine.checkpoint_seconds)


def _read(checkpoint: Checkpoint, say: Say) -> State | None:
    try:
        state = checkpoint.read()
    except CheckpointError as error:
        say(f"starts anew: {checkpoint.path.name} {error}")
        return None
    if state is not None:
        say(f"goes on after epoch {len(state['curve'])}")
    return state


def run_cohort(
    runs: list[RunConfig],
    folders: list[Path],
    machine: MachineConfig,
    *,
    num_slots: int | None,
    on_record: Callable[[int, RunRecord], None],
    on_epoch: Callable[[int], None],
    on_halved: Callable[[int], None],
) -> None:
    """Train runs of one cohort in one program, and store each one's record in its folder as soon as it ends.

    A fused run has no wall time of its own: its epochs count as the median of a few solo epochs, measured here first.
    `num_slots` None: as many as fit a GPU's memory, or 8 on a CPU.
    """
    device = prepare_device(machine)
    if device.index is not None:
        torch.cuda.set_device(device)  # where graphs are recorded
    mnist = _mnist(Path(machine.data_dir), device)
    solo_epochs = _time_solo_epochs(runs[0], mnist)
    num_slots = num_slots or (scheduler.num_slots_that_fit(runs[0], mnist) if device.type == "cuda" else _CPU_SLOTS)
    classes = cache(lambda seed: dataset.split(mnist, runs[0].data, seed).class_counts)

    slots = min(num_slots, len(runs))

    def halved(num_left: int) -> None:
        nonlocal slots
        slots = num_left
        on_halved(num_left)

    def keep(i: int, outcome: Outcome) -> None:
        environment = describe(device, workers=1) | {
            **_NO_PEAKS,
            "slots": slots,
            "solo_epoch_seconds": solo_epochs,
        }
        on_record(i, _keep(runs[i], folders[i], outcome, classes(runs[i].seed), environment, engine="fused", timing="calibrated"))

    scheduler.train(
        runs,
        mnist,
        num_slots=num_slots,
        epoch_seconds=median(solo_epochs),
        on_outcome=keep,
        on_epoch=on_epoch,
        on_halved=halved,
    )


def _time_solo_epochs(like: RunConfig, mnist: Mnist) -> list[float]:
    brief = replace(
        like,
        optimizer=replace(like.optimizer, lr=_CALIBRATION_LR),
        schedule=ScheduleConfig(),
        training=replace(like.training, max_epochs=_CALIBRATION_EPOCHS, patience=_CALIBRATION_EPOCHS),
    )
    outcome = solo.train(brief, dataset.split(mnist, brief.data, brief.seed))
    assert outcome.wall_seconds is not None
    return [epoch.seconds for epoch in outcome.curve] or [outcome.wall_seconds]  # else its first epoch diverged, at any rate


def stored(folder: Path) -> dict[str, RunRecord]:
    """The study's records by name. Damaged ones are set aside, and it is said: their runs are to be done again."""
    found = store.scan(folder)
    for damaged in found.damaged:
        print(f"Set aside {store.set_aside(damaged)}: {damaged.reason}. Its run is done again.", file=sys.stderr)
    return found.records


def record_failure(run: RunConfig, machine: MachineConfig, folder: Path, *, workers: int, error: str) -> RunRecord:
    """A run that gave nothing leaves a record as well: 46 points in, 46 records out. What it gave before is not lost."""
    told = error.encode(errors="replace").decode()  # an error may quote bytes that no file could hold
    outcome = Outcome(status="failed", stop_reason="error", error=told)
    device = prepare_device(machine)
    environment = describe(device, workers) | _NO_PEAKS
    before = store.read_run(folder, run_id(run))  # there where only its weights were to be made again
    record = before if before is not None and is_done(before) else _keep(run, folder, outcome, {}, environment)
    _checkpoint(run, machine, folder, device).remove()  # it may be what killed the run
    return record


def _keep(
    run: RunConfig,
    folder: Path,
    outcome: Outcome,
    class_counts: dict[str, list[int]],
    environment: dict[str, Any],
    *,
    engine: str = "solo",
    timing: Literal["measured", "calibrated"] = "measured",
) -> RunRecord:
    """Store what came of a run, and return it. A measured record is not replaced by a calibrated one."""
    if timing == "calibrated" and store.path_of(folder, run_id(run)).exists():  # of another process, meanwhile
        before = store.read_run(folder, run_id(run))
        if before is not None and is_done(before) and before.timing == "measured":
            return before
    record = RunRecord(
        run_id=run_id(run),
        config=asdict(run),
        outcome=outcome,
        engine=engine,
        timing=timing,
        class_counts=class_counts,
        environment=environment,
    )
    store.save(folder, record)
    return record


@cache
def _mnist(folder: Path, device: torch.device) -> Mnist:
    return dataset.load(folder, device)


def keep_model_summary(run: RunConfig, folder: Path) -> str:
    summary = summarise_model(run.model, run.training.batch_size)
    files.write_atomically(folder / "model.txt", (summary + "\n").encode())
    return summary
