"""From a config to a record: in the store already? If not, train and keep what came. The Hydra entry.

Hydra and OmegaConf end here (refusal.py words their errors): below, everything takes the dataclasses of config.py.
"""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, Literal, NoReturn

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from tqdm import tqdm

from lrsweep import data, lock, store
from lrsweep.checkpoint import Checkpoint, CheckpointError
from lrsweep.config import (
    CONF_DIR,
    RESOLVERS,
    AppConfig,
    ConfigError,
    MachineConfig,
    RunConfig,
    ScheduleConfig,
    flatten,
    per_seed,
    run_id,
)
from lrsweep.data import Mnist
from lrsweep.engine import fused, solo
from lrsweep.environment import describe, prepare_device
from lrsweep.model import save_weights, summarise_model
from lrsweep.records import EpochRecord, Outcome, RunRecord
from lrsweep.refusal import REFUSALS, explain
from lrsweep.tracker import Tracking

OnEpoch = Callable[[EpochRecord], None]
Say = Callable[[str], None]

_MADE_BY = ("device", "device_name", "threads", "precision", "versions", "git_commit", "git_dirty")
_CPU_SLOTS = 8
_CALIBRATION_EPOCHS = 3
_CALIBRATION_LR = 1e-3  # trains; an epoch takes as long at any rate


class Stopped(KeyboardInterrupt):
    """By Ctrl-C, or by SIGTERM, which is taken as Ctrl-C."""

    def __init__(self, signal_number: int) -> None:
        self.exit_code = 128 + signal_number  # as a shell has it


class SweepIncomplete(Exception):
    """A sweep that left runs failed or missing; the sweep itself has said which."""


def register() -> None:
    """Tell Hydra the schema and the resolvers of conf/."""
    ConfigStore.instance().store(name="schema", node=AppConfig)
    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def to_app_config(cfg: DictConfig) -> AppConfig:
    """The composed config as dataclasses, every bound checked."""
    known = flatten(asdict(AppConfig()))
    for name in flatten(OmegaConf.to_container(cfg)):  # type: ignore[arg-type]  # a dict, since cfg is one
        if name not in known:  # Hydra lets +name=value through, and the dataclasses would ignore it
            raise ConfigError(f"{name} is not a setting; lrsweep --cfg job lists them all")
    app = OmegaConf.to_object(cfg)
    assert isinstance(app, AppConfig)
    return app


def is_done(record: RunRecord) -> bool:
    """A diverged run is done: divergence is a result. A failed one is tried again."""
    return record.outcome.status != "failed"


def is_finished(record: RunRecord, settings: AppConfig) -> bool:
    """Done, and its weights are where they were asked for."""
    is_kept = not settings.machine.save_weights or per_seed(settings.machine.save_weights, settings.seed).exists()
    return is_done(record) and (is_kept or record.outcome.best_epoch is None)


def check_inputs(run: RunConfig) -> None:
    """Refuse, before anything runs, what the disk lacks."""
    if run.model.init_from and not per_seed(run.model.init_from, run.seed).exists():
        raise ConfigError(f"model.init_from: there is no {per_seed(run.model.init_from, run.seed)}")


def run_one(run: RunConfig, machine: MachineConfig, folder: Path, *, workers: int, on_epoch: OnEpoch, say: Say) -> RunRecord:
    """Train one run on this process's device, from its checkpoint on if there is one, and store its record."""
    device = prepare_device(machine)
    split = data.split(_mnist(Path(machine.data_dir), device), run.data, run.seed)
    checkpoint = _checkpoint(run, machine, folder, device)
    state = _read(checkpoint, say)
    try:
        outcome = solo.train(
            run,
            split,
            on_epoch,
            on_best=partial(_save_weights, machine, run),
            on_state=checkpoint.keep,
            resume_from=state,
        )
    except Exception:  # not a kill or Ctrl-C
        checkpoint.remove()  # from there it would raise again
        raise
    record = _keep(run, folder, outcome, split.class_counts, describe(device, workers))
    checkpoint.remove()
    return record


def _checkpoint(run: RunConfig, machine: MachineConfig, folder: Path, device: torch.device) -> Checkpoint:
    """Of use to the same run where it would give the same bits, in times that can be added up."""
    here = describe(device, workers=1)
    made_by = {"run_id": run_id(run)} | {name: here[name] for name in _MADE_BY}
    return Checkpoint(store.checkpoint_path(folder, run_id(run)), made_by, machine.checkpoint_seconds)


def _read(checkpoint: Checkpoint, say: Say) -> solo.State | None:
    try:
        state = checkpoint.read()
    except CheckpointError as error:
        say(f"starts anew: {checkpoint.path.name} {error}")
        return None
    if state is not None:
        say(f"goes on after epoch {len(state['curve'])}")
    return state


def _save_weights(machine: MachineConfig, run: RunConfig, weights: dict[str, Tensor]) -> None:
    if machine.save_weights:
        save_weights(per_seed(machine.save_weights, run.seed), weights)


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
    num_slots = num_slots or (fused.num_slots_that_fit(runs[0], mnist) if device.type == "cuda" else _CPU_SLOTS)
    classes = cache(lambda seed: data.split(mnist, runs[0].data, seed).class_counts)

    def keep(i: int, outcome: Outcome) -> None:
        environment = describe(device, workers=1) | {
            "peak_memory_bytes": None,  # the program's is not the run's
            "slots": min(num_slots, len(runs)),
            "solo_epoch_seconds": solo_epochs,
        }
        on_record(i, _keep(runs[i], folders[i], outcome, classes(runs[i].seed), environment, engine="fused", timing="calibrated"))

    fused.train(
        runs,
        mnist,
        num_slots=num_slots,
        epoch_seconds=median(solo_epochs),
        on_outcome=keep,
        on_epoch=on_epoch,
        on_halved=on_halved,
    )


def _time_solo_epochs(like: RunConfig, mnist: Mnist) -> list[float]:
    brief = replace(
        like,
        optimizer=replace(like.optimizer, lr=_CALIBRATION_LR),
        schedule=ScheduleConfig(),
        training=replace(like.training, max_epochs=_CALIBRATION_EPOCHS, patience=_CALIBRATION_EPOCHS),
    )
    return [epoch.seconds for epoch in solo.train(brief, data.split(mnist, brief.data, brief.seed)).curve]


def stored(folder: Path) -> dict[str, RunRecord]:
    """The study's records by name. Damaged ones are set aside, and it is said: their runs are to be done again."""
    found = store.scan(folder)
    for damaged in found.damaged:
        print(f"Set aside {store.set_aside(damaged)}: {damaged.reason}. Its run is done again.", file=sys.stderr)
    return found.records


def record_failure(run: RunConfig, machine: MachineConfig, folder: Path, *, workers: int, error: str) -> RunRecord:
    """A run that gave nothing leaves a record as well: 46 points in, 46 records out."""
    told = error.encode(errors="replace").decode()  # an error may quote bytes that no file could hold
    outcome = Outcome(status="failed", stop_reason="error", error=told)
    device = prepare_device(machine)
    environment = describe(device, workers) | {"peak_memory_bytes": None}  # ours is not the run's
    record = _keep(run, folder, outcome, {}, environment)
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
    return data.load(folder, device)


def keep_model_summary(run: RunConfig, folder: Path) -> str:
    summary = summarise_model(run.model, run.training.batch_size)
    store.write_atomically(folder / "model.txt", (summary + "\n").encode())
    return summary


def run_single(cfg: DictConfig) -> float | None:
    """What `lrsweep` does without a sweep: one run, here, with its summary and its progress. The validation accuracy.

    A record of the fused engine is replaced, because this run measures its time.
    """
    app = to_app_config(cfg)
    check_inputs(app.run)
    with lock.hold(app.folder, run_id(app.run)):
        return _run_held(app)


def _run_held(app: AppConfig) -> float | None:
    run, folder = app.run, app.folder
    tracking = Tracking(app)
    print(keep_model_summary(run, folder))
    record = stored(folder).get(run_id(run))
    if record is None or not is_finished(record, app) or record.timing == "calibrated":
        with tqdm(unit="epoch", desc=f"lr {run.optimizer.lr:.2e}", disable=None) as bar:

            def show(epoch: EpochRecord) -> None:
                bar.update(epoch.epoch - bar.n)  # by more than 1 where the run goes on from its checkpoint
                bar.set_postfix(train_loss=f"{epoch.train_loss:.4f}", valid_accuracy=f"{epoch.valid_accuracy:.4f}")

            record = run_one(run, app.machine, folder, workers=1, on_epoch=show, say=lambda told: tqdm.write(f"This run {told}."))
    else:
        print("This run is in the store already.")
    tracking.log_run(record)
    print(_describe_outcome(record.outcome))
    print(f"Record: {store.path_of(folder, record.run_id)}")
    return record.outcome.valid_accuracy


def _describe_outcome(outcome: Outcome) -> str:
    test = "not scored" if outcome.test_accuracy is None else f"{outcome.test_accuracy:.2%}"
    return (
        f"{outcome.status}, stopped by {outcome.stop_reason} after {outcome.epochs} epochs (best: {outcome.best_epoch}); "
        f"test accuracy {test}; {outcome.wall_seconds:.1f} s"
    )


def main() -> None:
    """The console command."""
    command = os.environ.get("LRSWEEP_COMMAND") or shlex.join(["lrsweep", *sys.argv[1:]])
    run_command(run_single, f"What is done is kept. To go on, give the same command again:\n  {command}")


def run_command(task: Callable[[DictConfig], Any], if_stopped: str) -> None:
    """Compose and run. A person's mistake is one line and exit code 2; Ctrl-C is 130, SIGTERM 143; runs missing or failed, 1."""
    register()
    show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands us its exceptions instead of printing them over several lines

    def job(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except REFUSALS as error:
            if show_tracebacks:
                raise
            _refuse(error)  # here already: on its way through Hydra it would be announced by a second line

    entry: Callable[[], Any] = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(job)
    try:
        with _stopped_by_signals():
            entry()
    except SweepIncomplete:
        sys.exit(1)
    except Stopped as stopped:
        print(f"\nStopped. {if_stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except REFUSALS as error:
        if show_tracebacks:
            raise
        _refuse(error)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)  # the way out is short, and a second Ctrl-C would cut it shorter
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:  # else the process is on its way out
                signal.signal(number, handler)


def _refuse(error: BaseException) -> NoReturn:
    print(explain(error), file=sys.stderr)
    sys.exit(2)
