"""Train runs on other machines, which need not share a folder with this one, and store the returned records here."""

import importlib.util
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress, first_line, label
from lrsweep.cli import execution
from lrsweep.config import ConfigError, MachineConfig, RunConfig
from lrsweep.records import RunRecord
from lrsweep.storage import store
from lrsweep.training.device import describe, prepare_device


def require(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"this launcher needs {package}, which is not installed; pip install 'lrsweep[{extra}]'")


def train(run: RunConfig, machine: MachineConfig, folder: Path, workers: int) -> RunRecord:
    """Runs on the worker. Returns the record, and stores it there too, in case the folder is shared."""
    name = label(run.optimizer.lr, run.seed)
    environment = describe(prepare_device(machine), workers)  # before training, because a GPU that fails later cannot be queried

    def on_message(text: str) -> None:
        print(f"{name}: {text}", flush=True)

    try:
        return execution.run_one(run, machine, folder, workers=workers, on_epoch=lambda _: None, on_message=on_message)
    except Exception as error:  # if the whole process dies instead, Ray or Slurm may try again
        message = f"{type(error).__name__}: {error}"
        on_message(message)  # the only trace of the error if an earlier record is kept
        return execution.record_failure(run, folder, environment, message)


def train_fused(
    runs: list[RunConfig], folders: list[Path], machine: MachineConfig, num_slots: int
) -> Generator[tuple[int, RunRecord]]:
    """Runs on the worker: train many runs in one program. Yields the position and record of each run as soon as it ends."""
    ended: SimpleQueue[tuple[int, RunRecord] | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as thread:  # turns the program's callbacks into a generator
        program = thread.submit(
            execution.run_cohort,
            runs,
            folders,
            machine,
            num_slots=num_slots,
            on_record=lambda i, record: ended.put((i, record)),
            on_epoch=lambda _: None,
            on_halved=lambda number: print(f"Out of memory: continuing with {number} runs at a time", flush=True),
            on_message=partial(print, flush=True),
        )
        program.add_done_callback(lambda _: ended.put(None))
        while (item := ended.get()) is not None:
            yield item  # not `yield from iter(...)`: Ray calls send(), which a plain iterator lacks
        program.result()  # raises the program's error


def fetch_and_store(job: Job, fetch: Callable[[], RunRecord], progress: Progress) -> None:
    """Store the record that a worker returned. If there is none, print why; the sweep will report the run as missing."""
    try:
        record = fetch()
    except Exception as error:  # any error of Ray, or an error of the worker before training
        reason = first_line(getattr(error, "cause", error))  # Ray wraps the worker's error
        progress.write(f"{label(job.run.optimizer.lr, job.run.seed)}: no record: {reason}")
        return
    store_record(job, record, progress)


def store_record(job: Job, record: RunRecord, progress: Progress) -> None:
    store.save(job.folder, record)  # if the folder is shared, this writes the same bytes again
    progress.recorded(record)
    job.recorded(record)
