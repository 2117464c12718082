"""The launcher's pure parts; test_sweep.py runs the rest for real."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig

from hydra_plugins.lrsweep_launchers import _pool
from hydra_plugins.lrsweep_launchers._core import Job, coarse_to_fine, split_by_store
from lrsweep import store
from lrsweep.config import AppConfig, ConfigError, MachineConfig, OptimizerConfig, StudyConfig, run_id
from lrsweep.records import RunRecord


def jobs_of(num_rates: int, num_seeds: int) -> list[Job]:
    """Seeds vary fastest, as Hydra's product of `optimizer.lr=… seed=…` gives them."""
    settings = [
        AppConfig(seed=seed, optimizer=OptimizerConfig(lr=float(i + 1))) for i in range(num_rates) for seed in range(num_seeds)
    ]
    return [Job(app, app.run, run_id(app.run), DictConfig({})) for app in settings]


@given(num_rates=st.integers(1, 50), num_seeds=st.integers(1, 3))
def test_the_order_loses_no_job_and_repeats_none(num_rates: int, num_seeds: int) -> None:
    jobs = jobs_of(num_rates, num_seeds)
    assert sorted(job.run_id for job in coarse_to_fine(jobs)) == sorted(job.run_id for job in jobs)


def test_a_run_that_one_study_has_is_still_to_do_in_another(tmp_path: Path, make_record: Callable[..., RunRecord]) -> None:
    machine = MachineConfig(results_dir=str(tmp_path))
    settings = [AppConfig(study=StudyConfig(name=name), machine=machine) for name in ("a", "b")]
    jobs = [Job(app, app.run, run_id(app.run), DictConfig({})) for app in settings]
    store.save(tmp_path / "a", replace(make_record(), run_id=jobs[0].run_id))
    pending, done = split_by_store(jobs)
    assert [job.key for job in pending] == [jobs[1].key]
    assert [record.run_id for record in done] == [jobs[0].run_id]
    assert store.read_expected(tmp_path / "b") == {jobs[1].run_id}


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


def test_a_refresh_waits_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    now = [100.0]
    monkeypatch.setattr(_pool, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        _pool.subprocess, "Popen", lambda command, **_: started.append(command) or SimpleNamespace(poll=lambda: 0)
    )
    refresh = _pool._Refresh(every_seconds=60)
    (job,) = jobs_of(1, 1)
    for seconds, num_started in ((0, 1), (59, 1), (60, 2), (61, 2)):
        now[0] = 100.0 + seconds
        refresh.after_a_run(job)
        assert len(started) == num_started
    assert started[0][-2:] == ["study=single", "machine.results_dir=results"]
