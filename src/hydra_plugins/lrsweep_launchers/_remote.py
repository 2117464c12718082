"""Runs on a machine that may share nothing with ours: what is done there, and how a record comes home."""

import importlib.util
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress, in_a_line, label
from lrsweep.cli import execution
from lrsweep.config import ConfigError, MachineConfig, RunConfig
from lrsweep.records import RunRecord
from lrsweep.storage import store


def require(package: str, extra: str) -> None:
    """Refuse, before anything runs, what an extra is missing for."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"this launcher needs {package}, which is not installed; pip install 'lrsweep[{extra}]'")


def train(run: RunConfig, machine: MachineConfig, folder: Path, workers: int) -> RunRecord:
    """On the worker. The record is stored there, which a shared folder makes ours as well, and returned."""
    name = label(run.optimizer.lr, run.seed)
    try:
        return execution.run_one(
            run, machine, folder, workers=workers, on_epoch=lambda _: None, say=lambda told: print(f"{name}: {told}", flush=True)
        )
    except Exception as error:  # not what ends the process, which is to be tried again
        told = f"{type(error).__name__}: {error}"
        print(f"{name}: {told}", flush=True)  # of a run whose record is there already, only this says it
        return execution.record_failure(run, machine, folder, workers=workers, error=told)


def train_fused(
    members: list[RunConfig], folders: list[Path], machine: MachineConfig, num_slots: int
) -> Generator[tuple[int, RunRecord]]:
    """On the worker: many runs in one program. Position and record of each as soon as it ends, stored there as well."""
    ended: SimpleQueue[tuple[int, RunRecord] | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as thread:  # because the program calls back, and this must yield
        program = thread.submit(
            execution.run_cohort,
            members,
            folders,
            machine,
            num_slots=num_slots,
            on_record=lambda i, record: ended.put((i, record)),
            on_epoch=lambda _: None,
            on_halved=lambda number: print(f"Out of memory: on with {number} runs at a time", flush=True),
        )
        program.add_done_callback(lambda _: ended.put(None))
        while (what := ended.get()) is not None:
            yield what  # not from an iterator: Ray sends to this generator, which would send to that
        program.result()  # raises what the program raised


def bring_home(job: Job, fetch: Callable[[], RunRecord], progress: Progress) -> None:
    """Store what a worker returned; where that is nothing, say why. The sweep's end will say that the run is missing."""
    try:
        record = fetch()
    except Exception as error:  # of many kinds: the launcher's own, and whatever the worker raised before it could train
        why = in_a_line(getattr(error, "cause", error))  # Ray's own words are of where it was raised
        progress.say(f"{label(job.run.optimizer.lr, job.run.seed)}: no record: {why}")
        return
    keep(job, record, progress)


def keep(job: Job, record: RunRecord, progress: Progress) -> None:
    store.save(job.folder, record)  # the same bytes once more where the folder is shared
    progress.recorded(record)
    job.tracking.log_run(record)
