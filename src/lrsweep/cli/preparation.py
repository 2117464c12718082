"""Before training: find out which runs are finished, and check that the others can run and be stored."""

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

from lrsweep.config import ConfigError, MachineConfig, RunConfig, StudyConfig, per_seed
from lrsweep.records import RunRecord
from lrsweep.storage import files, store
from lrsweep.storage.study_settings import refuse_new_arms
from lrsweep.training.models import initial_model, summarise_model
from lrsweep.training.weights import holds_weights_of


def is_finished(record: RunRecord, machine: MachineConfig) -> bool:
    """Done, and its weights are saved if `machine` asks for them. A run without a scored epoch has no weights to save."""
    path = machine.save_weights
    has_weights = not path or holds_weights_of(per_seed(path, record.config["seed"]), record.run_id)
    return record.is_done and (has_weights or record.outcome.test_accuracy is None)


def check_files(run: RunConfig, machine: MachineConfig) -> None:
    """Raise ConfigError if the initial weights are missing or do not fit, or if the final weights cannot be written."""
    if run.model.init_from:
        path = per_seed(run.model.init_from, run.seed)
        if not path.is_file():
            how = "create it with machine.save_weights, as lrsweep study=pretrain does"
            raise ConfigError(f"model.init_from: {path} {'is not a file' if path.exists() else 'does not exist'}; {how}")
        initial_model(run.model, run.seed, torch.device("cpu"), data=run.data)
    if machine.save_weights:
        _refuse_unwritable(per_seed(machine.save_weights, run.seed))


def _refuse_unwritable(path: Path) -> None:
    try:
        if path.is_dir():
            raise ConfigError(f"machine.save_weights={path} is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.remove_leftovers(path.parent, of=f"{path.name}.")
        temporary = files.temporary_path(path)
        temporary.touch()
        temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"machine.save_weights={path} cannot be written ({error.strerror})") from error


def load_records(folder: Path) -> dict[str, RunRecord]:
    """The study's records by run_id. Damaged records are moved aside with a message, so that their runs are repeated.

    Removes the temporary files of processes that were killed while they wrote to the study's folder.
    """
    for place in (folder, folder / "runs"):
        files.remove_leftovers(place)
    scan = store.scan(folder)
    for damaged in scan.damaged:
        print(f"Damaged record moved to {store.set_aside(damaged)}: {damaged.reason}. Its run is repeated.", file=sys.stderr)
    return scan.records


def refuse_other_settings(
    study: StudyConfig, folder: Path, records: dict[str, RunRecord], requested: Iterable[RunConfig]
) -> None:
    """Raise ConfigError if the runs would add an arm to the study and `study.extend` is not set. Failed runs do not count."""
    if not study.is_open:
        done = (record.config for record in records.values() if record.is_done)
        refuse_new_arms(folder, done, store.read_expected(folder) or set(), requested)


@cache  # so that a command prints the line once
def report_cpu_fallback(device: str) -> None:
    """Print a line if `machine.device=auto` finds no GPU."""
    if device == "auto" and not torch.cuda.is_available():
        print("machine.device=auto: no GPU found, so the runs use the CPU.", flush=True)


def write_model_summary(run: RunConfig, folder: Path) -> str:
    summary = summarise_model(run.model, run.training.batch_size, run.data)
    files.write_atomically(folder / "model.txt", (summary + "\n").encode())
    return summary
