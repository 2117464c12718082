"""The steps that all launchers share: compose and check the jobs, skip finished runs, report the result."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from hydra_plugins.lrsweep_launchers._compose import compose_each
from hydra_plugins.lrsweep_launchers._refresh import Refresh, is_of_running_sweep, report_command
from lrsweep.cli import main, preparation
from lrsweep.cli.main import SweepIncomplete
from lrsweep.config import AppConfig, ConfigError, RunConfig, per_seed, run_id
from lrsweep.records import RunRecord
from lrsweep.storage import lock, store
from lrsweep.tracking.tracker import Tracking


@dataclass(frozen=True)
class Job:
    """One point of the multirun."""

    app: AppConfig
    overrides: Sequence[str] = ()
    number: int = 0  # Hydra's job number
    tracking: Tracking = field(default_factory=lambda: Tracking(AppConfig()))  # shared by the jobs of a study
    refresh: Refresh = field(default_factory=lambda: Refresh(0))  # shared by the jobs of a sweep

    @property
    def run(self) -> RunConfig:
        return self.app.run

    @cached_property
    def run_id(self) -> str:
        return run_id(self.run)

    @property
    def folder(self) -> Path:
        return self.app.folder

    @property
    def key(self) -> str:
        """Identifies the run and its study, because a multirun may have the same run in two studies."""
        return str(self.folder / self.run_id)

    @property
    def has_hydra_folder(self) -> bool:
        """True if the run's `.hydra` folder is where conf/config.yaml puts it. A folder elsewhere counts as missing."""
        return (self.folder / "hydra" / self.run_id / ".hydra" / "overrides.yaml").exists()

    def recorded(self, record: RunRecord) -> None:
        """To be called when the job's record has been stored."""
        self.tracking.log_run(record)
        self.refresh.after_a_run(self.app)


def compose(
    context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int, refresh: Refresh
) -> list[Job]:
    """Compose and check the config of every job, before any of them runs."""
    setup_globals()
    jobs = []
    trackings: dict[Path, Tracking] = {}
    configs = compose_each(context.config_loader, config, job_overrides, with_hydra=False)
    for number, (overrides, task_config) in enumerate(zip(job_overrides, configs, strict=True), start=first):
        app = main.to_app_config(task_config)
        preparation.check_files(app.run, app.machine)
        if app.folder not in trackings:
            trackings[app.folder] = Tracking(app)
        jobs.append(Job(app, overrides, number, trackings[app.folder], refresh))
    refuse_shared_weights(jobs)
    return jobs


def refuse_shared_weights(jobs: list[Job]) -> None:
    """Raise ConfigError if two runs would save their weights to the same file.

    One of the files would be overwritten, and the next sweep would repeat the run that lost its file.
    """
    writers: dict[Path, str] = {}
    for job in jobs:
        if name := job.app.machine.save_weights:
            path = per_seed(name, job.run.seed)
            if writers.setdefault(path, job.run_id) != job.run_id:
                raise ConfigError(
                    f"machine.save_weights={name} would save several runs of this sweep to one file, {path}; "
                    "tell them apart with {seed} or ${optimizer.lr} in the name"
                )


@contextmanager
def hold_studies(jobs: list[Job]) -> Iterator[None]:
    """Lock the studies, because two sweeps at once would train the same runs twice."""
    with ExitStack() as locks:
        for folder in sorted({job.folder for job in jobs}):
            locks.enter_context(lock.hold(folder))
        yield


def split_by_store(jobs: list[Job], *, measure: bool = False) -> tuple[list[Job], list[RunRecord]]:
    """Return the jobs to run, in an order that covers the whole grid early, and the records of the finished runs.

    Repeated jobs count once. With `measure`, a run with a calibrated record is not finished. The list of expected runs
    and study.delta are stored in the folder of each study.
    """
    distinct = {job.key: job for job in jobs}.values()
    by_study: dict[Path, list[Job]] = {}
    for job in distinct:
        by_study.setdefault(job.folder, []).append(job)
    stored: dict[Path, dict[str, RunRecord]] = {}
    for folder, study_jobs in by_study.items():
        stored[folder] = preparation.load_records(folder)
        preparation.refuse_other_settings(study_jobs[0].app.study, folder, stored[folder], (job.run for job in study_jobs))
    for folder, study_jobs in by_study.items():  # after all checks, so that a refused sweep changes no study
        earlier = store.read_expected(folder) if jobs[0].number else None  # of hydra.sweeper.max_batch_size's earlier batches
        store.expect(folder, [*{*(earlier or ()), *(job.run_id for job in study_jobs)}], study_jobs[0].app.study.delta)
    pending, finished = [], []
    for job in distinct:
        record = stored[job.folder].get(job.run_id)
        if record and preparation.is_finished(record, job.app.machine) and not (measure and record.timing == "calibrated"):
            finished.append(record)
        else:
            pending.append(job)
    return coarse_to_fine(pending), finished


def write_model_summaries(jobs: list[Job]) -> None:
    """Write the model summary of the first job of each study."""
    for job in {job.folder: job for job in reversed(jobs)}.values():
        preparation.write_model_summary(job.run, job.folder)


def coarse_to_fine(jobs: list[Job]) -> list[Job]:
    """Order jobs by seed; within a seed, visit the halves of the list first, then quarters, eighths, … (van der Corput)."""
    by_seed: dict[int, list[Job]] = {}
    for job in jobs:
        by_seed.setdefault(job.run.seed, []).append(job)
    ordered = []
    for group in by_seed.values():
        num_bits = max(1, (len(group) - 1).bit_length())
        mirrored = (int(f"{i:0{num_bits}b}"[::-1], 2) for i in range(2**num_bits))
        ordered += [group[i] for i in mirrored if i < len(group)]
    return ordered


def finish(context: HydraContext, config: DictConfig, jobs: list[Job], ran: list[Job]) -> Sequence[JobReturn]:
    """Print how complete the sweep is, write the reports, and return the results to Hydra.

    The store decides which runs are complete, not exit codes. A run whose weights should have been saved is missing without them.
    A report is written if any job ran or if the report is out of date.
    """
    stored = {folder: store.scan(folder).records for folder in {job.folder for job in jobs}}
    records = {}
    for job in jobs:
        record = stored[job.folder].get(job.run_id)
        has_result = record and (not record.is_done or preparation.is_finished(record, job.app.machine))
        records[job.folder, job.run_id] = record if has_result else None
    counts = Counter(record.outcome.status if record else "missing" for record in records.values())
    summary = ", ".join(f"{counts[status]} {status}" for status in ("ok", "diverged", "failed", "missing"))
    print(f"{len(records)} expected: {summary}", flush=True)
    for (folder, name), record in records.items():
        if record and record.outcome.status == "failed":
            print(f"Failed: {store.path_of(folder, name)}: {record.outcome.error}", file=sys.stderr)
    have_report = []
    for job in {job.folder: job for job in jobs}.values():
        have_report.append(_report(job, has_run=bool(ran)))
        job.tracking.log_study()
    if counts["missing"] or not all(have_report):
        raise SweepIncomplete
    # Runs of a stopped sweep, single runs and packed records may have no `.hydra` folder. Hydra writes the missing ones here.
    have_run = {job.key for job in ran}
    complete = {job.key for job in jobs if job.key not in have_run and job.has_hydra_folder}
    configs = compose_each(
        context.config_loader, config, (job.overrides for job in jobs if job.key not in complete), with_hydra=True
    )
    returns = []
    for job in jobs:
        record = records[job.folder, job.run_id]
        assert record is not None  # none is missing
        if job.key in complete:
            value = record.outcome.valid_accuracy
            returns.append(JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=value))
        else:
            returns.append(_job_return(context, next(configs).copy(), job, record))
    if counts["failed"]:
        raise SweepIncomplete
    return returns


def _report(job: Job, *, has_run: bool) -> bool:
    """Write the report if necessary. Return whether there is one."""
    report, page = job.folder / "report.md", job.folder / "report.html"
    newest = store.newest_input(job.folder)
    if not has_run and report.exists() and _is_current(page, newest):
        print(f"Report: {report} and {page}")  # the line that lrsweep-report prints
        return True
    is_built = subprocess.run(report_command(job.app), check=False).returncode == 0
    if is_built and page.exists() and page.stat().st_mtime_ns < newest:  # a file from a machine whose clock is ahead
        os.utime(page, ns=(newest, newest))
    return is_built


def _is_current(page: Path, newest: int) -> bool:
    """Is the report newer than all that it is made from? A sweep may have been killed before it wrote its last report."""
    return page.exists() and page.stat().st_mtime_ns >= newest and not is_of_running_sweep(page)


def _job_return(context: HydraContext, hydra_config: DictConfig, job: Job, record: RunRecord) -> JobReturn:
    """Let Hydra create the job's folder and `.hydra/` and call its callbacks. The job returns its validation accuracy."""
    with open_dict(hydra_config):
        hydra_config.hydra.job.id = job.run_id
        hydra_config.hydra.job.num = job.number

    def task(_: Any) -> float | None:
        if record.outcome.status == "failed":
            raise SweepIncomplete
        return record.outcome.valid_accuracy

    return run_job(
        task_function=task,
        config=hydra_config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
