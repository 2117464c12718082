"""The fused launcher: many runs in one program, in a worker process. Runs that cannot be fused run solo, in the pool.

The launcher's own process never creates a CUDA context. When a program's process ends, its memory is free, its GPU is free (also
in exclusive mode), and its GPU errors are gone, before the next program or a solo run starts.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

from hydra_plugins.lrsweep_launchers import _pool
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._processes import Failure, Sweep, Worker, end_all
from hydra_plugins.lrsweep_launchers._progress import Progress
from lrsweep.cli import execution, preparation
from lrsweep.cli.main import SweepIncomplete
from lrsweep.config import ConfigError, MachineConfig, RunConfig
from lrsweep.data.images import read_images
from lrsweep.fused import fusable, scheduler
from lrsweep.records import RunRecord
from lrsweep.storage.files import write_atomically
from lrsweep.training.device import prepare_device


def check(jobs: list[Job], num_slots: int | None, fallback: bool) -> None:
    """Raise ConfigError if the jobs cannot run with these settings or on this machine."""
    if num_slots is not None and num_slots < 1:
        raise ConfigError(f"hydra.launcher.runs must be at least 1, got {num_slots}")
    for job in jobs:
        prepare_device(job.app.machine)


def run_all(jobs: list[Job], done: list[RunRecord], num_slots: int | None, fallback: bool) -> None:
    """Run every job and store each record as soon as its run ends. `done` are the records of the sweep's finished runs.

    If a program fails, its unfinished runs run solo with `fallback`; otherwise the sweep ends with SweepIncomplete.
    """
    read_images(jobs[0].run.data, Path(jobs[0].app.machine.data_dir))  # downloads them once, before any worker needs them
    preparation.report_cpu_fallback(jobs[0].app.machine.device)
    remove_old_errors(jobs)
    reasons = {job.key: reason_not_fusable(job) for job in jobs}
    fusable = [job for job in jobs if reasons[job.key] is None]
    records = _run_fused(fusable, done, num_slots, fallback, len(jobs), reasons) if fusable else {}
    solo = [job for job in jobs if job.key not in records]
    for reason, count in Counter(reasons[job.key] for job in solo).items():
        print(f"{count} of {len(jobs)} runs run solo: {reason}", flush=True)
    if solo:
        _pool.run_all(solo, [*done, *records.values()])


def reason_not_fusable(job: Job) -> str | None:
    """Why this job cannot share a program; None if it can."""
    if job.app.machine.save_weights:
        return "only solo runs save weights (machine.save_weights)"
    return fusable.reason_not_fusable(job.run)


def error_file(folder: Path) -> Path:
    """The file in the study's folder for the traceback of a failed fused program."""
    return folder / "fused-error.txt"


def remove_old_errors(jobs: list[Job]) -> None:
    for folder in {job.folder for job in jobs}:
        error_file(folder).unlink(missing_ok=True)


def reason_ended(failure: Failure, folder: Path, fallback: bool, progress: Progress) -> str:
    """Why the unfinished runs of a fused program run solo. Without `fallback`, a failure ends the sweep instead.

    If not even one run fits into memory, the sweep continues without `fallback`, too: no result can be wrong, and a solo run
    needs less memory.
    """
    if failure.is_out_of_memory:
        return "not even one of them fits into memory in a fused program"
    reason = f"the fused program failed: {next(iter(failure.reason.strip().splitlines()), '')}"
    if not fallback:
        progress.write(f"The sweep ends, because {reason}", sys.stderr)
    path = error_file(folder)
    write_atomically(path, (failure.traceback or f"{failure.reason}\n").encode(errors="replace"))
    if fallback:
        return f"{reason} (full error: {path})"
    progress.write(
        f"The full error is in {path}. Finished runs are kept, and the same command continues the sweep. "
        "With hydra.launcher.fallback=true, the other runs run solo.",
        sys.stderr,
    )
    raise SweepIncomplete


def cohorts(jobs: list[Job]) -> Iterator[list[Job]]:
    """Group the jobs that can share a program. All jobs of a program have the same machine config."""
    by_machine: dict[str, list[Job]] = {}
    for job in jobs:
        by_machine.setdefault(repr(replace(job.app.machine, results_dir="any")), []).append(job)
    for group in by_machine.values():
        yield from ([group[i] for i in positions] for positions in scheduler.cohorts([job.run for job in group]))


def _run_fused(
    jobs: list[Job], done: list[RunRecord], num_slots: int | None, fallback: bool, num_total: int, reasons: dict[str, str | None]
) -> dict[str, RunRecord]:
    """Return the new records by job key. If a program fails, `reasons` gets the reason for each of its jobs."""
    records: dict[str, RunRecord] = {}
    progress = Progress(num_total, done, f"{len(jobs)} to run in one program")
    start, num_epochs = monotonic(), 0

    def on_epoch(num_active: int) -> None:
        nonlocal num_epochs
        num_epochs += num_active
        progress.describe(f"{num_active} runs at a time, {num_epochs} epochs")

    def on_halved(num_slots: int) -> None:
        progress.write(f"Out of memory: continuing with {num_slots} runs at a time; unfinished runs start again.")

    try:
        for cohort in cohorts(jobs):

            def on_record(i: int, record: RunRecord, cohort: list[Job] = cohort) -> None:
                records[cohort[i].key] = record
                progress.recorded(record)
                cohort[i].recorded(record)

            callbacks: dict[str, Callable[..., None]] = {
                "on_record": on_record,
                "on_epoch": on_epoch,
                "on_halved": on_halved,
                "on_message": progress.write,
            }
            failure = _run_program(cohort, num_slots, callbacks)
            if failure:
                reason = reason_ended(failure, cohort[0].folder, fallback, progress)
                reasons |= {job.key: reason for job in cohort}
    finally:
        end_all()
        progress.close()
    seconds = monotonic() - start
    print(f"{len(records)} runs in {seconds:.0f} s, {len(records) / seconds:.2f} runs per second", flush=True)
    return records


def _run_program(cohort: list[Job], num_slots: int | None, callbacks: dict[str, Callable[..., None]]) -> Failure | None:
    """Run the program in a worker process. Return why it failed, if it did."""
    runs, folders = [job.run for job in cohort], [job.folder for job in cohort]
    worker = Worker(_train_cohort, runs, folders, cohort[0].app.machine, num_slots)
    while (news := worker.receive()) is not None and not isinstance(news, Failure):
        name, arguments = news
        callbacks[name](*arguments)
    worker.end()
    return news


def _train_cohort(
    sweep: Sweep, runs: list[RunConfig], folders: list[Path], machine: MachineConfig, num_slots: int | None
) -> None:
    """Runs in the worker process. Sends the name and the arguments of every callback, and None at the end."""

    def forward(name: str) -> Callable[..., None]:
        return lambda *arguments: sweep.send((name, arguments))

    execution.run_cohort(
        runs,
        folders,
        machine,
        num_slots=num_slots,
        on_record=forward("on_record"),
        on_epoch=forward("on_epoch"),
        on_halved=forward("on_halved"),
        on_message=forward("on_message"),
    )
    sweep.send(None)
