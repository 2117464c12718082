"""What the launchers share: compose and check every job, see what the store lacks, say what came of it."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from hydra_plugins.lrsweep_launchers._compose import compose_each
from lrsweep.cli import execution, main
from lrsweep.cli.main import SweepIncomplete
from lrsweep.config import AppConfig, ConfigError, RunConfig, per_seed, run_id
from lrsweep.records import RunRecord
from lrsweep.storage import lock, store
from lrsweep.storage.study_settings import refuse_changes
from lrsweep.tracking.tracker import Tracking


@dataclass(frozen=True)
class Job:
    """One point of the multirun."""

    app: AppConfig
    run: RunConfig
    run_id: str
    overrides: Sequence[str] = ()
    number: int = 0  # Hydra's
    tracking: Tracking = field(default_factory=lambda: Tracking(AppConfig()))  # its study's

    @property
    def folder(self) -> Path:
        return self.app.folder

    @property
    def key(self) -> str:
        """The run in its study: a multirun may name one run in two studies."""
        return str(self.folder / self.run_id)

    @property
    def is_known_to_hydra(self) -> bool:
        """Looked up where conf/config.yaml has Hydra's directories; elsewhere it is told again."""
        return (self.folder / "hydra" / self.run_id / ".hydra" / "overrides.yaml").exists()


def compose(context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
    """Every job's config, each checked before any runs."""
    setup_globals()
    jobs = []
    trackings: dict[Path, Tracking] = {}
    configs = compose_each(context.config_loader, config, job_overrides, with_hydra=False)
    for number, (overrides, task_config) in enumerate(zip(job_overrides, configs, strict=True), start=first):
        settings = main.to_app_config(task_config)
        execution.check_files(settings.run, settings.machine)
        if settings.folder not in trackings:
            trackings[settings.folder] = Tracking(settings)
        jobs.append(Job(settings, settings.run, run_id(settings.run), overrides, number, trackings[settings.folder]))
    refuse_shared_weights(jobs)
    return jobs


def refuse_shared_weights(jobs: list[Job]) -> None:
    """Of two runs that write one file, one would always lack its weights, and be done again for ever."""
    writers: dict[Path, str] = {}
    for job in jobs:
        if name := job.app.machine.save_weights:
            path = per_seed(name, job.run.seed)
            if writers.setdefault(path, job.run_id) != job.run_id:
                raise ConfigError(
                    f"machine.save_weights={name} gives several runs of this sweep one file, {path}; name in it what they "
                    "differ in, as {seed} or ${optimizer.lr} do"
                )


@contextmanager
def held(jobs: list[Job]) -> Iterator[None]:
    """The studies of a sweep are its own while it works: two sweeps would train the same runs twice."""
    with ExitStack() as locks:
        for folder in sorted({job.folder for job in jobs}):
            locks.enter_context(lock.hold(folder))
        yield


def split_by_store(jobs: list[Job], *, measure: bool = False) -> tuple[list[Job], list[RunRecord]]:
    """The jobs whose run the store lacks, in an order that covers the whole grid early, and the records of the others.

    To `measure`, a record whose time was not measured is none.
    Each run is there once, however often the multirun names it. What is expected of each study is kept beside its records.
    """
    distinct = {(job.folder, job.run_id): job for job in jobs}
    found: dict[Path, dict[str, RunRecord]] = {}
    for folder in {job.folder for job in jobs}:
        found[folder] = execution.stored(folder)
        here = [job for job in distinct.values() if job.folder == folder]
        done_here = (record.config for record in found[folder].values() if execution.is_done(record))
        if not here[0].app.study.is_open:
            refuse_changes(folder, done_here, (job.run for job in here))
    for folder in found:  # no sooner: a sweep that is refused leaves every study as it was
        store.expect(folder, [name for place, name in distinct if place == folder])
    done = {(folder, name): found[folder][name] for folder, name in distinct if name in found[folder]}
    done = {
        key: record
        for key, record in done.items()
        if execution.is_finished(record, distinct[key].app) and not (measure and record.timing == "calibrated")
    }
    return coarse_to_fine([job for key, job in distinct.items() if key not in done]), list(done.values())


def keep_model_summaries(jobs: list[Job]) -> None:
    """Each study's is of its first job in the multirun's order, whatever is done already."""
    for job in {job.folder: job for job in reversed(jobs)}.values():
        execution.keep_model_summary(job.run, job.folder)


def coarse_to_fine(jobs: list[Job]) -> list[Job]:
    """Seed by seed; within a seed halves, quarters, eighths … of the list (van der Corput's sequence)."""
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
    """Say how complete the sweep is, by what the store holds and not by exit codes; write the reports; answer Hydra.

    A report is written where anything `ran`, or where there is none yet that has seen all records.
    """
    stored = {folder: store.scan(folder).records for folder in {job.folder for job in jobs}}
    distinct = {(job.folder, job.run_id): stored[job.folder].get(job.run_id) for job in jobs}
    counts = Counter(record.outcome.status if record else "missing" for record in distinct.values())
    told = ", ".join(f"{counts[status]} {status}" for status in ("ok", "diverged", "failed", "missing"))
    print(f"{len(distinct)} expected: {told}", flush=True)
    for (folder, name), record in distinct.items():
        if record and record.outcome.status == "failed":
            print(f"Failed: {store.path_of(folder, name)}: {record.outcome.error}", file=sys.stderr)
    is_reported = []
    for job in {job.folder: job for job in jobs}.values():
        is_reported.append(_report(job, has_run=bool(ran)))
        job.tracking.log_study()
    if counts["missing"] or not all(is_reported):
        raise SweepIncomplete
    # Of a record that a stopped sweep or a single run has left, or that came packed, Hydra knows nothing.
    has_run = {job.key for job in ran}
    known = {job.key for job in jobs if job.key not in has_run and job.is_known_to_hydra}
    overrides = (job.overrides for job in jobs if job.key not in known)
    configs = compose_each(context.config_loader, config, overrides, with_hydra=True)
    return [
        _stored_return(job, record) if job.key in known else _job_return(context, next(configs).copy(), job, record)
        for job in jobs
        if (record := distinct[job.folder, job.run_id])  # of every job: none is missing
    ]


def _report(job: Job, *, has_run: bool) -> bool:
    report, page = job.folder / "report.md", job.folder / "report.html"
    if not has_run and report.exists() and _is_current(page):
        print(f"Report: {report} and {page}")  # as lrsweep-report says it
        return True
    return subprocess.run(report_command(job.app), check=False).returncode == 0


def _is_current(page: Path) -> bool:
    """Is no record newer than the report's last file? One is where a sweep was killed before it had written that."""
    newest = max((path.stat().st_mtime_ns for path in page.parent.glob("runs/*.json")), default=0)
    return page.exists() and page.stat().st_mtime_ns >= newest


def report_command(app_config: AppConfig) -> list[str]:
    """What (re)builds a study's report: a process of its own, because the report must not import torch, nor we plots."""
    settings = [f"study={app_config.study.name}", f"machine.results_dir={app_config.machine.results_dir}"]
    return [sys.executable, "-m", "lrsweep.cli.report", *settings]


def _stored_return(job: Job, record: RunRecord) -> JobReturn:
    """Of a job that an earlier sweep has finished: Hydra has nothing to do."""
    return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=record.outcome.valid_accuracy)


def _job_return(context: HydraContext, hydra_config: DictConfig, job: Job, record: RunRecord) -> JobReturn:
    """Hydra's own bookkeeping for one job: its directory, `.hydra/`, callbacks. Its value is the validation accuracy."""
    with open_dict(hydra_config):
        hydra_config.hydra.job.id = job.run_id
        hydra_config.hydra.job.num = job.number

    def result(_: Any) -> float | None:
        if record.outcome.status == "failed":
            raise SweepIncomplete
        return record.outcome.valid_accuracy

    return run_job(
        task_function=result,
        config=hydra_config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
