"""The launchers' decisions around training: which runs, in which order, and with which engine. Nothing is trained here."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from at_work import DATA, lrsweep

from hydra_plugins.lrsweep_launchers import _fused, _pool
from hydra_plugins.lrsweep_launchers._core import (
    Job,
    coarse_to_fine,
    refuse_shared_weights,
    split_by_store,
    write_model_summaries,
)
from hydra_plugins.lrsweep_launchers._processes import Sweep, Worker, failure_of
from lrsweep.cli import execution
from lrsweep.cli.main import SweepIncomplete
from lrsweep.config import (
    AppConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    StudyConfig,
    TrainingConfig,
    run_id,
)
from lrsweep.records import RunRecord
from lrsweep.storage import store

ROOT = Path(__file__).parents[2]


def job_of(app: AppConfig) -> Job:
    return Job(app)


def grid(num_rates: int, num_seeds: int) -> list[Job]:
    """Seeds vary fastest, as in Hydra's product of `optimizer.lr=… seed=…`."""
    points = [(i + 1, seed) for i in range(num_rates) for seed in range(num_seeds)]
    return [job_of(AppConfig(seed=seed, optimizer=OptimizerConfig(lr=float(lr)))) for lr, seed in points]


@pytest.mark.parametrize(("num_rates", "num_seeds"), [(1, 1), (2, 3), (5, 3), (16, 2), (46, 1)])
def test_every_job_is_ordered_once_and_seed_by_seed(num_rates: int, num_seeds: int) -> None:
    jobs = grid(num_rates, num_seeds)
    ordered = coarse_to_fine(jobs)
    assert sorted(job.run_id for job in ordered) == sorted(job.run_id for job in jobs)
    assert [job.run.seed for job in ordered] == [seed for seed in range(num_seeds) for _ in range(num_rates)]


@pytest.mark.parametrize("num_first", [4, 8, 16, 32])
def test_the_first_runs_leave_no_large_gap_in_the_grid(num_first: int) -> None:
    rates = sorted(int(job.run.optimizer.lr) for job in coarse_to_fine(grid(46, 1))[:num_first])
    edges = [0, *rates, 47]
    assert max(after - before for before, after in pairwise(edges)) <= 2 * 64 // num_first


def test_a_run_that_is_finished_in_one_study_still_runs_in_another(tmp_path: Path, make_record: Callable[..., RunRecord]) -> None:
    machine = MachineConfig(results_dir=str(tmp_path))
    jobs = [job_of(AppConfig(study=StudyConfig(name=name), machine=machine)) for name in ("a", "b")]
    store.save(tmp_path / "a", replace(make_record(), run_id=jobs[0].run_id))
    pending, finished = split_by_store(jobs)
    assert [job.key for job in pending] == [jobs[1].key]
    assert [record.run_id for record in finished] == [jobs[0].run_id]
    assert store.read_expected(tmp_path / "b") == {jobs[1].run_id}


def test_later_batches_of_a_sweep_add_to_the_runs_that_are_expected(tmp_path: Path) -> None:
    """hydra.sweeper.max_batch_size launches a sweep in batches. A new sweep begins with job 0, and expects only its own runs."""
    app = AppConfig(machine=MachineConfig(results_dir=str(tmp_path)))
    jobs = [replace(job_of(replace(app, seed=seed)), number=seed) for seed in range(3)]
    for batch, expected in ((jobs[:2], jobs[:2]), (jobs[2:], jobs), (jobs[:1], jobs[:1])):
        split_by_store(batch)
        assert store.read_expected(batch[0].folder) == {job.run_id for job in expected}


def test_a_study_shows_the_model_of_its_first_job(tmp_path: Path) -> None:
    machine = MachineConfig(results_dir=str(tmp_path))
    jobs = [job_of(AppConfig(model=ModelConfig(batch_norm=has_norm), machine=machine)) for has_norm in (False, True)]
    write_model_summaries(jobs)
    assert "BatchNorm2d" not in (jobs[0].folder / "model.txt").read_text()


@pytest.mark.parametrize("name", ["w-{seed}-LR.pt", None])
def test_runs_that_save_no_weights_or_separate_weights_are_allowed(name: str | None) -> None:
    """A run that the multirun names twice is one run."""
    jobs = []
    for job in grid(2, 2):
        path = name and name.replace("LR", str(job.run.optimizer.lr))
        jobs.append(replace(job, app=replace(job.app, machine=MachineConfig(save_weights=path))))
    refuse_shared_weights(jobs * 2)


@pytest.mark.parametrize(
    ("wanted", "threads", "has_gpu", "expected"),
    [(None, 1, False, 6), (None, 2, False, 3), (None, 8, False, 1), (None, 2, True, 1), (3, 4, False, 3), (2, 1, True, 2)],
)
def test_the_threads_of_all_workers_fit_on_the_cores_and_a_gpu_has_one_worker(
    monkeypatch: pytest.MonkeyPatch, wanted: int | None, threads: int, has_gpu: bool, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(_pool, "num_cores", lambda: 6)
    assert _pool.num_workers(wanted, MachineConfig(threads=threads)) == expected


def _describe_process(sweep: Sweep) -> None:
    before = set(sys.modules)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    sweep.send((set(sys.modules) - before, torch.cuda._is_in_bad_fork()))


@pytest.mark.slow
def test_a_worker_can_use_cuda_and_has_already_imported_all_that_an_optimizer_needs() -> None:
    worker = Worker(_describe_process)
    assert worker.receive() == (set(), False)
    worker.end()


# The fused launcher.


def jobs_in(folder: Path, apps: list[AppConfig]) -> list[Job]:
    machine = MachineConfig(device="cpu", results_dir=str(folder), data_dir=str(ROOT / "data"))
    return [
        job_of(replace(app, machine=replace(machine, threads=app.machine.threads, save_weights=app.machine.save_weights)))
        for app in apps
    ]


class WorkerInThisProcess:
    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self._news: list[Any] = []
        try:
            target(SimpleNamespace(send=self._news.append), *arguments)
        except Exception as error:
            self._news.append(failure_of(error, traceback.format_exc()))

    def receive(self) -> Any:
        return self._news.pop(0)

    def end(self) -> None:
        assert self._news == []


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., RunRecord]) -> dict[str, list[str]]:
    """Replace both engines, and return the runs that each one receives. The fused engine fails at the rates 8 and 9."""
    calls: dict[str, list[str]] = {"fused": [], "pool": [], "finished before the pool": []}

    def run_cohort(runs: list[Any], folders: list[Path], machine: MachineConfig, **options: Any) -> None:
        for i, run in enumerate(runs):
            if run.optimizer.lr == 9:
                raise torch.OutOfMemoryError("CUDA out of memory")
            if run.optimizer.lr == 8:
                raise ZeroDivisionError("no such thing\nin this world")
            calls["fused"].append(run_id(run))
            options["on_record"](i, replace(make_record(), run_id=run_id(run), config=asdict(run)))

    def run_all(jobs: list[Job], done: list[RunRecord]) -> None:
        calls["pool"] = [job.run_id for job in jobs]
        calls["finished before the pool"] = [record.run_id for record in done]

    monkeypatch.setattr(execution, "run_cohort", run_cohort)
    monkeypatch.setattr(_fused, "Worker", WorkerInThisProcess)
    monkeypatch.setattr(_pool, "run_all", run_all)
    return calls


def at_rate(lr: float) -> AppConfig:
    return AppConfig(optimizer=OptimizerConfig(lr=lr))


@pytest.mark.parametrize(
    ("apps", "num_fused", "fallback", "message"),
    [
        ([at_rate(1), at_rate(2)], 2, False, "2 runs in"),
        ([at_rate(1), AppConfig(training=TrainingConfig(precision="bf16"))], 1, False, "1 of 2 runs run solo: training."),
        ([at_rate(1), at_rate(9), at_rate(2)], 1, False, "2 of 3 runs run solo: not even one of them fits into memory"),
        ([at_rate(1), at_rate(8)], 1, True, "1 of 2 runs run solo: the fused program failed: ZeroDivisionError: no such thing"),
        ([AppConfig(machine=MachineConfig(save_weights="w.pt"))], 0, False, "1 of 1 runs run solo: only solo runs save weights"),
    ],
    ids=["all", "not fusable", "no memory", "error", "weights"],
)
def test_runs_that_cannot_be_fused_run_solo_with_a_message(
    tmp_path: Path,
    engines: dict[str, list[str]],
    capsys: pytest.CaptureFixture[str],
    apps: list[AppConfig],
    num_fused: int,
    fallback: bool,
    message: str,
) -> None:
    jobs = jobs_in(tmp_path, apps)
    _fused.run_all(jobs, [], None, fallback)
    names = [job.run_id for job in jobs]
    assert engines["fused"] == names[:num_fused]
    assert engines["pool"] == names[num_fused:]
    assert engines["finished before the pool"] == (names[:num_fused] if num_fused < len(names) else [])
    assert message in capsys.readouterr().out


def test_an_error_of_a_fused_program_ends_the_sweep_and_leaves_its_traceback(
    tmp_path: Path, engines: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_in(tmp_path, [at_rate(1), at_rate(8), AppConfig(training=TrainingConfig(batch_size=16))])
    with pytest.raises(SweepIncomplete):
        _fused.run_all(jobs, [], None, fallback=False)
    assert (engines["fused"], engines["pool"]) == ([jobs[0].run_id], [])
    out, err = capsys.readouterr()
    assert "runs in" not in out
    first, second = err.splitlines()
    assert first == "The sweep ends, because the fused program failed: ZeroDivisionError: no such thing"
    assert second.startswith(f"The full error is in {jobs[0].folder / 'fused-error.txt'}. ")
    text = (jobs[0].folder / "fused-error.txt").read_text()
    assert text.startswith("Traceback")
    assert text.endswith("ZeroDivisionError: no such thing\nin this world\n")
    _fused.run_all(jobs[:1], [], None, fallback=False)
    assert not (jobs[0].folder / "fused-error.txt").exists()


def test_a_program_has_runs_of_one_machine_config_and_one_shape(tmp_path: Path) -> None:
    apps = [AppConfig(seed=seed, machine=MachineConfig(threads=1 + seed % 2)) for seed in range(4)]
    jobs = jobs_in(tmp_path, [*apps, AppConfig(training=TrainingConfig(batch_size=16))])
    assert [[jobs.index(job) for job in cohort] for cohort in _fused.cohorts(jobs)] == [[0, 2], [4], [1, 3]]


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_process_of_a_sweep_creates_no_context_on_the_gpu(tmp_path: Path) -> None:
    """Otherwise a GPU in exclusive mode would refuse every worker."""
    program = (
        "import atexit, torch; from hydra_plugins.lrsweep_launchers import _core; from lrsweep.cli.main import main; "
        "_core.report_command = lambda app: ['true']; "
        "atexit.register(lambda: print('context:', torch._C._cuda_hasPrimaryContext(0))); main()"
    )
    sweep = ["study=lr", "grid.step=4", "training.precision=fp32,bf16", "training.max_epochs=1", "hydra/launcher=fused", DATA]
    code, out, err = lrsweep(tmp_path, *sweep, program=("-c", program), CUDA_VISIBLE_DEVICES="0")
    assert code == 0, err
    assert {record.engine for record in store.read(tmp_path / "results" / "lr")} == {"fused", "solo"}
    assert out.endswith("context: False\n")
