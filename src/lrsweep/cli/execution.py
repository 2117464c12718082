"""Train one run, or many runs in one program, and store their records."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor

from lrsweep.config import MachineConfig, RunConfig, ScheduleConfig, per_seed, run_id
from lrsweep.config.source_hash import source_hash
from lrsweep.config.targets import is_registered, load_target
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet
from lrsweep.data.images import filled_in
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.records import EpochRecord, Outcome, RunRecord, State
from lrsweep.storage import files, store
from lrsweep.storage.checkpoints import Checkpoint, CheckpointError
from lrsweep.training import solo
from lrsweep.training.device import describe, prepare_device
from lrsweep.training.weights import weights_file

OnEpoch = Callable[[EpochRecord], None]
OnMessage = Callable[[str], None]

_NO_PEAKS = dict.fromkeys(("peak_memory_bytes", "peak_gpu_memory_bytes"))  # peaks are known only if the process trained one run
# A checkpoint is resumed only if these are unchanged, so that a resumed run gives the same bits as an uninterrupted one.
_RESUME_ONLY_WITH_SAME = ("device", "device_name", "threads", "precision", "versions", "git_commit", "git_dirty")
# Writing the state of a run took 28 ms on a busy machine. So a program with more than 80 slots writes less often than every 10 s,
# the default: every 60 s with 480 slots.
_FUSED_CHECKPOINT_SECONDS = 1 / 8  # per slot
_CPU_SLOTS = 8
_CALIBRATION_EPOCHS = 3
_CALIBRATION_LR = 1e-3  # any rate that does not diverge: an epoch takes equally long at every rate


def run_one(
    run: RunConfig,
    machine: MachineConfig,
    folder: Path,
    *,
    workers: int,
    on_epoch: OnEpoch,
    on_message: OnMessage,
    has_own_process: bool = True,
) -> RunRecord:
    """Train one run in this process, from its checkpoint if there is one, and store its record.

    With `has_own_process`, the process trains no other run, so the peak memory of the process is that of the run.
    """
    _refuse_changed(run, machine)
    device = prepare_device(machine)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    split = dataset.split(dataset.load(run.data, Path(machine.data_dir), device), run.data, run.seed)
    environment = describe(device, workers)
    checkpoint = _checkpoint(run, folder, environment, "solo", machine.checkpoint_seconds)
    state = _read(checkpoint, on_message)
    weights: dict[str, Tensor] = {}
    try:
        outcome = solo.train(
            run,
            split,
            on_epoch,
            on_weights=weights.update,
            on_state=checkpoint.keep,
            resume_from=state,
        )
    except Exception:  # after a kill or Ctrl-C the checkpoint stays
        checkpoint.remove()  # resuming from it would raise the same error again
        raise
    environment = describe(device, workers) | ({} if has_own_process else {"peak_memory_bytes": None})
    record = _store(run, folder, outcome, split.class_counts, environment)
    if machine.save_weights and weights:
        files.write_atomically(per_seed(machine.save_weights, run.seed), weights_file(weights, record.run_id))
    checkpoint.remove()
    return record


def _refuse_changed(run: RunConfig, machine: MachineConfig) -> None:
    """ConfigError if own code or images have been edited since the sweep began, so that their hashes are no longer true."""
    filled_in(run.data, Path(machine.data_dir))
    target = run.model.target
    if target is not None and not is_registered(target):
        run.model.filled_in(source_hash(target, load_target("model.target", target)))


def _checkpoint(
    run: RunConfig, folder: Path, environment: dict[str, Any], engine: str, every_seconds: float | None
) -> Checkpoint:
    made_by = {name: environment[name] for name in _RESUME_ONLY_WITH_SAME} | {"run_id": run_id(run), "engine": engine}
    return Checkpoint(store.checkpoint_path(folder, run_id(run)), made_by, every_seconds)


def _read(checkpoint: Checkpoint, on_message: OnMessage) -> State | None:
    try:
        state = checkpoint.read()
    except CheckpointError as error:
        on_message(f"starts from the beginning: {checkpoint.path.name} {error}")
        return None
    if state is not None:
        on_message(f"resumes after epoch {len(state['curve'])}")
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
    on_message: OnMessage,
) -> None:
    """Train the runs of one cohort in one program, and store each record in the folder of its run as soon as the run ends.

    Each run has its own checkpoint, as in solo, so that any program of its cohort can continue it.

    The wall time of a single fused run cannot be measured. So a few solo epochs are timed first, and their median
    counts as the time of each fused epoch. Without `num_slots`, 8 runs train at a time, or on a GPU as many as fit.
    """
    _refuse_changed(runs[0], machine)
    device = prepare_device(machine)
    if device.index is not None:
        torch.cuda.set_device(device)  # CUDA graphs are recorded on the current device
    data_set = dataset.load(runs[0].data, Path(machine.data_dir), device)
    validated, unvalidated = _time_solo_epochs(runs, data_set)
    num_slots = num_slots or (scheduler.num_slots_that_fit(runs[0], data_set) if device.type == "cuda" else _CPU_SLOTS)
    class_counts = cache(lambda seed: dataset.split(data_set, runs[0].data, seed).class_counts)
    num_slots_used = min(num_slots, len(runs))
    every_seconds = machine.checkpoint_seconds and max(machine.checkpoint_seconds, num_slots_used * _FUSED_CHECKPOINT_SECONDS)
    environment = describe(device, workers=1)
    checkpoints = [
        _checkpoint(run, folder, environment, "fused", every_seconds) for run, folder in zip(runs, folders, strict=True)
    ]
    states = _read_all(checkpoints, on_message)

    def on_slots_halved(num_left: int) -> None:
        nonlocal num_slots_used
        num_slots_used = num_left
        on_halved(num_left)

    def on_outcome(i: int, outcome: Outcome) -> None:
        environment = describe(device, workers=1) | _NO_PEAKS | {"slots": num_slots_used, "solo_epoch_seconds": validated}
        if unvalidated:
            environment["solo_training_seconds"] = unvalidated
        counts = class_counts(runs[i].seed)
        record = _store(runs[i], folders[i], outcome, counts, environment, engine="fused", timing="calibrated")
        checkpoints[i].remove()
        on_record(i, record)

    try:
        scheduler.train(
            runs,
            data_set,
            num_slots=num_slots,
            epoch_seconds=EpochSeconds(median(validated), median(unvalidated or validated)),
            on_outcome=on_outcome,
            on_epoch=on_epoch,
            on_halved=on_slots_halved,
            on_state=lambda i, make_state: checkpoints[i].keep(make_state),
            resume_from=states,
        )
    except Exception:
        for i in states:  # they may have caused the error; keep the other checkpoints, in case the GPU failed
            checkpoints[i].remove()
        raise


def _read_all(checkpoints: list[Checkpoint], on_message: OnMessage) -> dict[int, State]:
    """The states of runs that can resume, by position."""
    states: dict[int, State] = {}
    errors: Counter[str] = Counter()
    for i, checkpoint in enumerate(checkpoints):
        try:
            if (state := checkpoint.read()) is not None:
                states[i] = state
        except CheckpointError as error:
            errors[str(error)] += 1
    for reason, count in errors.items():
        on_message(f"{count} of {len(checkpoints)} runs start from the beginning: their checkpoint {reason}")
    if states:
        on_message(f"{len(states)} of {len(checkpoints)} runs resume from their checkpoints")
    return states


def _time_solo_epochs(runs: list[RunConfig], data_set: DataSet) -> tuple[list[float], list[float]]:
    """The seconds of a few solo epochs with validation, and of as many without, if the runs have epochs without validation."""
    every = 2 if any(run.training.validate_every > 1 for run in runs) else 1
    run = replace(
        runs[0],
        optimizer=replace(runs[0].optimizer, lr=_CALIBRATION_LR),
        schedule=ScheduleConfig(),
        training=replace(runs[0].training, max_epochs=every * _CALIBRATION_EPOCHS, patience=None, validate_every=every),
    )
    outcome = solo.train(run, dataset.split(data_set, run.data, run.seed))
    assert outcome.wall_seconds is not None
    validated = [epoch.seconds for epoch in outcome.curve if epoch.valid_loss is not None]
    unvalidated = [epoch.seconds for epoch in outcome.curve if epoch.valid_loss is None]
    return validated or [outcome.wall_seconds], unvalidated  # the whole time if the first epoch diverged


def how_it_ended(exit_code: int | None) -> str:
    """The reason of a failed run: how its process ended."""
    if exit_code is not None and exit_code < 0:
        return f"its process was killed by signal {-exit_code}"
    return f"its process ended with exit code {exit_code}"


def record_failure(run: RunConfig, folder: Path, environment: dict[str, Any], error: str) -> RunRecord:
    """Store a failed record and return it. If an earlier record of the run is done, keep and return that one.

    `environment` describes the device as it was before the failure, because a lost GPU can no longer be queried.
    """
    message = error.encode(errors="replace").decode()  # an error may quote bytes that are not valid UTF-8
    outcome = Outcome(status="failed", stop_reason="error", error=message)
    environment = environment | _NO_PEAKS | {"finished_at": datetime.now(UTC).isoformat(timespec="seconds")}
    before = store.read_run(folder, run_id(run))  # exists if the run was repeated only for its weights
    record = before if before is not None and before.is_done else _store(run, folder, outcome, {}, environment)
    checkpoint = Checkpoint(store.checkpoint_path(folder, run_id(run)), made_by={}, every_seconds=None)
    checkpoint.remove()  # it may be the cause of the failure
    return record


def _store(
    run: RunConfig,
    folder: Path,
    outcome: Outcome,
    class_counts: dict[str, list[int]],
    environment: dict[str, Any],
    *,
    engine: str = "solo",
    timing: Literal["measured", "calibrated"] = "measured",
) -> RunRecord:
    """Store the record of a run and return it. A calibrated record does not replace a measured one."""
    if timing == "calibrated" and store.path_of(folder, run_id(run)).exists():  # another process may have stored it meanwhile
        before = store.read_run(folder, run_id(run))
        if before is not None and before.is_done and before.timing == "measured":
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
