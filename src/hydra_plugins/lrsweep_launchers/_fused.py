"""The fused launcher: many runs in one program, in this process. Runs that cannot be fused run solo, in the pool."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic

import torch

from hydra_plugins.lrsweep_launchers import _pool
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress, first_line
from lrsweep.cli import execution
from lrsweep.config import ConfigError
from lrsweep.data.download import load_mnist
from lrsweep.fused import scheduler
from lrsweep.records import RunRecord
from lrsweep.training.device import prepare_device


def check(jobs: list[Job], num_slots: int | None) -> None:
    """Raise ConfigError if the jobs cannot run with these settings or on this machine."""
    if num_slots is not None and num_slots < 1:
        raise ConfigError(f"hydra.launcher.runs must be at least 1, got {num_slots}")
    for job in jobs:
        prepare_device(job.app.machine)


def run_all(jobs: list[Job], done: list[RunRecord], num_slots: int | None) -> None:
    """Run every job and store each record as soon as its run ends. `done` are the records of the sweep's finished runs."""
    load_mnist(Path(jobs[0].app.machine.data_dir))
    execution.report_cpu_fallback(jobs[0].app.machine.device)
    reasons = {job.key: reason_not_fusable(job) for job in jobs}
    fusable = [job for job in jobs if reasons[job.key] is None]
    records = _run_fused(fusable, done, num_slots, len(jobs), reasons) if fusable else {}
    solo = [job for job in jobs if job.key not in records]
    for reason, count in Counter(reasons[job.key] for job in solo).items():
        print(f"{count} of {len(jobs)} runs run solo: {reason}", flush=True)
    if solo:
        _pool.run_all(solo, [*done, *records.values()])


def reason_not_fusable(job: Job) -> str | None:
    """Why this job cannot share a program; None if it can."""
    if job.app.machine.save_weights:
        return "only solo runs save weights (machine.save_weights)"
    return scheduler.reason_not_fusable(job.run)


def reason_ended(error: BaseException) -> str:
    """The reason why the unfinished runs of a fused program run solo."""
    if isinstance(error, torch.OutOfMemoryError):
        return "not even one of them fits into memory in a fused program"
    return f"the fused program ended with {first_line(error)}"


def cohorts(jobs: list[Job]) -> Iterator[list[Job]]:
    """The groups of jobs that can share a program. A program has one machine config."""
    by_machine: dict[str, list[Job]] = {}
    for job in jobs:
        by_machine.setdefault(repr(replace(job.app.machine, results_dir="")), []).append(job)
    for group in by_machine.values():
        yield from ([group[i] for i in positions] for positions in scheduler.cohorts([job.run for job in group]))


def _run_fused(
    jobs: list[Job], done: list[RunRecord], num_slots: int | None, num_total: int, reasons: dict[str, str | None]
) -> dict[str, RunRecord]:
    """Return the new records by job key. If a program fails, the reason is put into `reasons` for each of its jobs."""
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
                cohort[i].tracking.log_run(record)

            try:
                execution.run_cohort(
                    [job.run for job in cohort],
                    [job.folder for job in cohort],
                    cohort[0].app.machine,
                    num_slots=num_slots,
                    on_record=on_record,
                    on_epoch=on_epoch,
                    on_halved=on_halved,
                    on_message=progress.write,
                )
            except Exception as error:  # of any kind: a solo run may succeed, and otherwise leaves a failed record
                reasons |= {job.key: reason_ended(error) for job in cohort}
    finally:
        progress.close()
        if torch.cuda.is_initialized():
            with suppress(RuntimeError):  # a GPU that has failed raises its error again
                torch.cuda.empty_cache()  # frees the memory for the processes of the solo runs
    seconds = monotonic() - start
    print(f"{len(records)} runs in {seconds:.0f} s, {len(records) / seconds:.2f} runs per second", flush=True)
    return records
