"""The launchers' pure parts; test_sweep.py and test_fused_sweep.py run the rest for real."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.lrsweep_launchers import _core, _fused, _pool
from hydra_plugins.lrsweep_launchers._core import Job, coarse_to_fine, refuse_shared_weights, split_by_store
from hydra_plugins.lrsweep_launchers.launchers import _StoreLauncher
from lrsweep.cli import execution
from lrsweep.config import (
    AppConfig,
    ConfigError,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    StudyConfig,
    TrainingConfig,
    run_id,
)
from lrsweep.fused import scheduler
from lrsweep.records import RunRecord
from lrsweep.storage import store

ROOT = Path(__file__).parents[2]


def jobs_of(num_rates: int, num_seeds: int) -> list[Job]:
    """Seeds vary fastest, as Hydra's product of `optimizer.lr=… seed=…` gives them."""
    settings = [
        AppConfig(seed=seed, optimizer=OptimizerConfig(lr=float(i + 1))) for i in range(num_rates) for seed in range(num_seeds)
    ]
    return [Job(app, app.run, run_id(app.run)) for app in settings]


@pytest.mark.slow
@given(num_rates=st.integers(1, 50), num_seeds=st.integers(1, 3))
def test_the_order_loses_no_job_and_repeats_none(num_rates: int, num_seeds: int) -> None:
    jobs = jobs_of(num_rates, num_seeds)
    assert sorted(job.run_id for job in coarse_to_fine(jobs)) == sorted(job.run_id for job in jobs)


def test_a_run_that_one_study_has_is_still_to_do_in_another(tmp_path: Path, make_record: Callable[..., RunRecord]) -> None:
    machine = MachineConfig(results_dir=str(tmp_path))
    settings = [AppConfig(study=StudyConfig(name=name), machine=machine) for name in ("a", "b")]
    jobs = [Job(app, app.run, run_id(app.run)) for app in settings]
    store.save(tmp_path / "a", replace(make_record(), run_id=jobs[0].run_id))
    pending, done = split_by_store(jobs)
    assert [job.key for job in pending] == [jobs[1].key]
    assert [record.run_id for record in done] == [jobs[0].run_id]
    assert store.read_expected(tmp_path / "b") == {jobs[1].run_id}


def test_the_model_that_a_study_shows_is_its_first_jobs_whatever_is_still_to_do(
    tmp_path: Path, make_record: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launchers' common part, with nothing run."""

    class Idle(_StoreLauncher):
        def _check(self, jobs: list[Job]) -> None:
            pass

        def _run(self, pending: list[Job], done: list[RunRecord]) -> None:
            asked.append(len(pending))

    machine, asked = MachineConfig(results_dir=str(tmp_path)), list[int]()
    settings = [AppConfig(model=ModelConfig(batch_norm=has_it), machine=machine) for has_it in (False, True)]
    jobs = [Job(app, app.run, run_id(app.run)) for app in settings]
    idle = Idle()
    idle.hydra_context = idle.config = None  # type: ignore[assignment]
    monkeypatch.setattr(_core, "compose", lambda *_: jobs)
    monkeypatch.setattr(_core, "finish", lambda *_: [])
    for _ in range(2):
        idle.launch([], 0)
        assert (jobs[0].folder / "model.txt").read_text().count("BatchNorm2d") == 0
        store.save(jobs[0].folder, replace(make_record(), run_id=jobs[0].run_id, config=asdict(jobs[0].run)))
    assert asked == [2, 1]


@pytest.mark.parametrize("name", ["w-{seed}-LR.pt", None])
def test_runs_that_keep_their_weights_apart_or_nowhere_are_not_refused(name: str | None) -> None:
    """Nor is a run that the multirun names twice."""
    apart = [
        replace(
            job, app=replace(job.app, machine=MachineConfig(save_weights=name and name.replace("LR", str(job.run.optimizer.lr))))
        )
        for job in jobs_of(2, 2)
    ]
    refuse_shared_weights(apart * 2)


def test_a_seed_is_done_before_the_next_begins() -> None:
    assert [job.run.seed for job in coarse_to_fine(jobs_of(5, 3))] == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("num_first", [4, 8, 16, 32])
def test_the_first_runs_leave_no_large_gap_in_the_grid(num_first: int) -> None:
    rates = sorted(int(job.run.optimizer.lr) for job in coarse_to_fine(jobs_of(46, 1))[:num_first])
    edges = [0, *rates, 47]
    assert max(after - before for before, after in pairwise(edges)) <= 2 * 64 // num_first


@pytest.mark.parametrize(("asked", "has_gpu", "expected"), [(None, False, 6), (None, True, 1), (3, False, 3), (2, True, 2)])
def test_as_many_workers_as_cores_and_one_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, has_gpu: bool, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(_pool, "num_cores", lambda: 6)
    assert _pool.num_workers(asked, MachineConfig()) == expected


def test_no_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hydra.launcher.workers must be at least 1, got 0"):
        _pool.num_workers(0, MachineConfig())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (MemoryError("no memory"), "MemoryError: no memory"),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
    ],
)
def test_what_ended_a_run_is_told(error: BaseException, told: str) -> None:
    assert _pool._reason(error) == told


@pytest.mark.parametrize(("code", "told"), [(-9, "was killed by signal 9"), (3, "ended with exit code 3")])
def test_how_a_process_ended_is_told(code: int, told: str) -> None:
    assert _pool._reason(_pool.ProcessExpired("Abnormal termination", code=code)) == f"its process {told}"


def _imported_for_an_optimizer(writer: Connection) -> None:
    before = set(sys.modules)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    writer.send(sorted(set(sys.modules) - before))


@pytest.mark.slow
def test_a_worker_finds_what_its_optimizer_imports_there_already() -> None:
    _pool._start_server()
    reader, writer = Pipe(duplex=False)
    worker = _pool._CONTEXT.Process(target=_imported_for_an_optimizer, args=(writer,))
    worker.start()
    assert reader.poll(60)
    assert reader.recv() == []
    worker.join()


def test_a_refresh_waits_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    now = [100.0]
    monkeypatch.setattr(_pool, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        _pool.subprocess, "Popen", lambda command, **_: started.append(command) or SimpleNamespace(poll=lambda: 0)
    )
    refresh = _pool._Refresh(every_seconds=60, _last=100.0)
    (job,) = jobs_of(1, 1)
    for seconds, num_started in ((0, 0), (59, 0), (60, 1), (61, 1), (120, 2)):
        now[0] = 100.0 + seconds
        refresh.after_a_run(job)
        assert len(started) == num_started
    assert started[0][-2:] == ["study=single", "machine.results_dir=results"]


def test_a_refresh_that_is_stopped_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report forks, and what stands for it here."""
    reader, writer = os.pipe()  # its end comes when nobody is left who could write
    forks = f"import os, time; os.fork(); os.write({writer}, b'.'); time.sleep(60); os.write({writer}, b'!')"
    monkeypatch.setattr(_pool, "report_command", lambda app_config: [sys.executable, "-c", forks])
    monkeypatch.setattr(_pool.subprocess, "Popen", partial(subprocess.Popen, pass_fds=[writer]))
    refresh = _pool._Refresh(every_seconds=60, _last=-math.inf)
    refresh.after_a_run(*jobs_of(1, 1))
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        assert told.read(2) == b".."
        refresh.stop()
        assert told.read() == b""


# The fused launcher, with nothing trained.


def jobs_in(folder: Path, settings: list[AppConfig]) -> list[Job]:
    machine = MachineConfig(device="cpu", results_dir=str(folder), data_dir=str(ROOT / "data"))
    placed = [replace(app_config, machine=replace(machine, threads=app_config.machine.threads)) for app_config in settings]
    return [Job(app, app.run, run_id(app.run)) for app in placed]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., RunRecord]) -> dict[str, list[str]]:
    """The runs that each engine was asked for. Nothing is trained; where the rate is 9, there is no memory to fuse."""
    asked: dict[str, list[str]] = {"fused": [], "pool": []}

    def run_cohort(runs: list[Any], folders: list[Path], machine: MachineConfig, **options: Any) -> None:
        for i, run in enumerate(runs):
            if run.optimizer.lr == 9:
                raise torch.OutOfMemoryError("CUDA out of memory")
            if run.optimizer.lr == 8:
                raise ZeroDivisionError("no such thing")
            asked["fused"].append(run_id(run))
            options["on_record"](i, replace(make_record(), run_id=run_id(run), config=asdict(run)))

    def run_all(jobs: list[Job], done: list[RunRecord], workers: int, refresh_seconds: int) -> None:
        asked["pool"] += [job.run_id for job in jobs]
        asked["done"] = [record.run_id for record in done]

    monkeypatch.setattr(execution, "run_cohort", run_cohort)
    monkeypatch.setattr(_pool, "run_all", run_all)
    return asked


def test_all_that_can_be_fused_is(tmp_path: Path, trained: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    jobs = jobs_in(tmp_path, [AppConfig(seed=seed) for seed in range(3)])
    _fused.run_all(jobs, [], None)
    assert trained == {"fused": [job.run_id for job in jobs], "pool": []}
    assert "3 runs in" in capsys.readouterr().out


def test_what_cannot_be_fused_runs_solo_and_says_so(
    tmp_path: Path, trained: dict[str, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "reason_not_fusable", lambda run: "its seed is odd" if run.seed % 2 else None)
    jobs = jobs_in(tmp_path, [AppConfig(seed=seed) for seed in range(5)])
    _fused.run_all(jobs, [], None)
    names = [job.run_id for job in jobs]
    assert trained == {"fused": names[::2], "pool": names[1::2], "done": names[::2]}
    assert "2 of 5 runs run solo: its seed is odd" in capsys.readouterr().out


def test_what_finds_no_memory_runs_solo_and_says_so(
    tmp_path: Path, trained: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_in(tmp_path, [AppConfig(optimizer=OptimizerConfig(lr=lr)) for lr in (1, 9, 2)])
    _fused.run_all(jobs, [], None)
    names = [job.run_id for job in jobs]
    assert trained == {"fused": names[:1], "pool": names[1:], "done": names[:1]}
    assert "2 of 3 runs run solo: there is no memory" in capsys.readouterr().out


def test_what_a_broken_program_leaves_runs_solo_and_says_so(
    tmp_path: Path, trained: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_in(tmp_path, [AppConfig(optimizer=OptimizerConfig(lr=lr)) for lr in (1, 8, 2)])
    _fused.run_all(jobs, [], None)
    names = [job.run_id for job in jobs]
    assert trained == {"fused": names[:1], "pool": names[1:], "done": names[:1]}
    assert "2 of 3 runs run solo: the fused program ended with ZeroDivisionError: no such thing" in capsys.readouterr().out


def test_runs_whose_weights_are_to_be_kept_run_solo(tmp_path: Path, trained: dict[str, list[str]]) -> None:
    (job,) = jobs_in(tmp_path, [AppConfig()])
    app_config = replace(job.app, machine=replace(job.app.machine, save_weights=str(tmp_path / "weights.pt")))
    _fused.run_all([replace(job, app=app_config)], [], None)
    assert trained["fused"] == []


def test_a_program_is_of_one_machines_settings(tmp_path: Path) -> None:
    settings = [AppConfig(seed=seed, machine=MachineConfig(threads=1 + seed % 2)) for seed in range(4)]
    settings.append(AppConfig(training=TrainingConfig(batch_size=16)))
    jobs = jobs_in(tmp_path, settings)
    assert [[jobs.index(job) for job in cohort] for cohort in _fused.cohorts(jobs)] == [[0, 2], [4], [1, 3]]


def test_no_runs_at_a_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hydra.launcher.runs must be at least 1, got 0"):
        _fused.check(0, jobs_in(tmp_path, [AppConfig()]))
