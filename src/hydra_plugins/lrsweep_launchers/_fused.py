"""Many runs in one program, in this process. What cannot be fused runs solo, in the pool, and it is said."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic

import torch

from hydra_plugins.lrsweep_launchers import _pool
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._progress import Progress, in_a_line
from lrsweep.cli import execution
from lrsweep.config import ConfigError
from lrsweep.data.download import load_mnist
from lrsweep.fused import scheduler
from lrsweep.records import RunRecord
from lrsweep.training.device import prepare_device

_NO_MEMORY = "there is no memory for one of them in a fused program"


def check(asked: int | None, jobs: list[Job]) -> None:
    """Refuse, before anything runs, what cannot run."""
    if asked is not None and asked < 1:
        raise ConfigError(f"hydra.launcher.runs must be at least 1, got {asked}")
    for job in jobs:
        prepare_device(job.app.machine)


def run_all(jobs: list[Job], done: list[RunRecord], num_slots: int | None) -> None:
    """Run every job and leave a record of each as soon as it ends. `done` are the sweep's runs in the store already."""
    load_mnist(Path(jobs[0].app.machine.data_dir))
    reasons = {job.key: reason_not_fusable(job) for job in jobs}
    fusible = [job for job in jobs if reasons[job.key] is None]
    records = _run_fused(fusible, done, num_slots, len(jobs), reasons) if fusible else {}
    alone = [job for job in jobs if job.key not in records]
    for reason, count in Counter(reasons[job.key] for job in alone).items():
        print(f"{count} of {len(jobs)} runs run solo: {reason}", flush=True)
    if alone:
        workers = _pool.num_workers(None, alone[0].app.machine)
        _pool.run_all(alone, [*done, *records.values()], workers, refresh_seconds=0)


def reason_not_fusable(job: Job) -> str | None:
    """Why this job cannot share a program; None if it can."""
    return "machine.save_weights is of solo runs" if job.app.machine.save_weights else scheduler.reason_not_fusable(job.run)


def why_ended(error: BaseException) -> str:
    """Why what a program has left undone runs solo."""
    return _NO_MEMORY if isinstance(error, torch.OutOfMemoryError) else f"the fused program ended with {in_a_line(error)}"


def cohorts(jobs: list[Job]) -> Iterator[list[Job]]:
    """Jobs that can share a program, which runs on one machine's settings."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(repr(replace(job.app.machine, results_dir="")), []).append(job)
    for group in groups.values():
        yield from ([group[i] for i in positions] for positions in scheduler.cohorts([job.run for job in group]))


def _run_fused(
    jobs: list[Job], done: list[RunRecord], num_slots: int | None, total: int, reasons: dict[str, str | None]
) -> dict[str, RunRecord]:
    """The records by key. Where a program ends before its runs do, `reasons` is told why, and they are still to be done."""
    records: dict[str, RunRecord] = {}
    progress = Progress(total, done, f"{len(jobs)} to run in one program")
    start, num_epochs = monotonic(), 0

    def on_epoch(num_active: int) -> None:
        nonlocal num_epochs
        num_epochs += num_active
        progress.beat(f"{num_active} runs at a time, {num_epochs} epochs")

    def on_halved(num_slots: int) -> None:
        progress.say(f"Out of memory: on with {num_slots} runs at a time; those under way begin again.")

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
                )
            except Exception as error:  # whatever it is, solo may do better, and leaves a failed record where it does not
                reasons |= {job.key: why_ended(error) for job in cohort}
    finally:
        progress.close()
        if torch.cuda.is_initialized():
            with suppress(RuntimeError):  # a GPU that has failed says so again
                torch.cuda.empty_cache()  # for the processes of what runs solo
    seconds = monotonic() - start
    print(f"{len(records)} runs in {seconds:.0f} s, {len(records) / seconds:.2f} runs per second", flush=True)
    return records
