"""The Slurm launcher, with a real Slurm on this machine and with fakes. tests/faults/test_slurm.py tests stopped jobs."""

import importlib.util
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from at_work import DATA, num_lost, until
from slurm import Slurm, has_slurm, slurm

from hydra_plugins.lrsweep_launchers import _core, _fused, _pool, _remote, _slurm_queue, _submitit, _submitit_job
from hydra_plugins.lrsweep_launchers._core import Job
from lrsweep.config import AppConfig, ConfigError, MachineConfig, OptimizerConfig, run_id
from lrsweep.records import RunRecord
from lrsweep.storage import store

SWEEP = [
    *("study=lr", "grid.start=-5", "grid.stop=-2", "grid.step=1", "data.num_train=160", "data.num_valid=100"),
    *("data.num_test=100", "training.max_epochs=2", "machine.device=cpu", DATA),
]
SLURM = ["hydra/launcher=submitit_slurm"]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="the extra slurm is not installed")


# A real Slurm.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.mark.slow
@has_slurm
def test_jobs_of_several_runs_give_the_records_of_the_pool(
    cluster: Slurm,
    tmp_path: Path,
    lrsweep: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_core, "report_command", lambda app_config: ["true"])
    assert lrsweep(*SWEEP, "machine.results_dir=pool", "hydra.launcher.workers=2") == 0
    assert lrsweep(*SWEEP, *SLURM, "hydra.launcher.runs_per_job=2") == 0
    out = capsys.readouterr().out
    assert "0 of 4 runs are in the store, Slurm jobs: 2, at most 256 at a time" in out
    assert out.count("4 expected: 4 ok, 0 diverged, 0 failed, 0 missing") == 2
    assert num_lost(tmp_path / "results" / "lr", tmp_path / "pool" / "lr") == 0
    assert {record.environment["workers"] for record in store.read(tmp_path / "results" / "lr")} == {1}
    until(lambda: not cluster.active())  # a job has its result shortly before it ends
    assert list(cluster.states().values()) == ["COMPLETED", "COMPLETED"]
    assert len({job.split("_")[0] for job in cluster.states()}) == 1


@has_slurm
@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("hydra.launcher.partition=nope", "Invalid partition name specified"),
        ("hydra.launcher.constraint=nope", "Invalid feature specification"),
        ("hydra.launcher.mem_gb=4000", "Requested node configuration is not available"),
        ("hydra.launcher.gpus_per_node=1", "Invalid generic resource (gres) specification"),
    ],
)
def test_a_refusal_of_sbatch_is_one_line(
    cluster: Slurm, lrsweep: Callable[..., int], capfd: pytest.CaptureFixture[str], override: str, reason: str
) -> None:
    assert lrsweep(*SWEEP, *SLURM, override) == 2
    err = capfd.readouterr().err
    assert err.startswith("ConfigError: hydra/launcher=submitit_slurm: sbatch refused the jobs: ")
    assert reason in err
    assert err.count("\n") == 1
    assert not cluster.active()


# Fakes.


@dataclass(eq=False)
class Submitted:
    """submitit's object for a job that has written its result."""

    job_id: str
    paths: Any = None
    result: Any = None


def make_jobs(folder: Path, number: int) -> list[Job]:
    machine = MachineConfig(device="cpu", results_dir=str(folder))
    apps = [AppConfig(optimizer=OptimizerConfig(lr=1e-3 / (i + 1)), machine=machine) for i in range(number)]
    return [Job(app) for app in apps]


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return make_jobs(tmp_path, 3)


def record_of(job: Job, make_record: Callable[..., RunRecord], **outcome: Any) -> RunRecord:
    return replace(make_record(lr=job.run.optimizer.lr, **outcome), run_id=job.run_id)


def test_a_sweep_of_any_size_is_one_array_so_that_slurm_keeps_array_parallelism(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., RunRecord]
) -> None:
    jobs, arrays, settings_of = make_jobs(tmp_path, 1_101), [], []
    records = {job.run_id: record_of(job, make_record) for job in jobs}

    def map_array(_: Any, apps: list[list[AppConfig]], *others: Any) -> list[Any]:
        arrays.append(apps)
        paths = SimpleNamespace(folder=tmp_path, result_pickle=tmp_path)  # it exists: the job has written its result
        results = [[records[run_id(app.run)] for app in each] for each in apps]
        return [Submitted(f"7_{i}", paths, lambda r=r: r) for i, r in enumerate(results)]

    def make_executor(_: str, settings: dict[str, Any]) -> Any:
        settings_of.append(settings)
        return SimpleNamespace(map_array=map_array)

    monkeypatch.setattr(_submitit, "make_executor", make_executor)
    settings: Any = {"cluster": "slurm", "runs_per_job": 1, "fallback": False, "cpus_per_task": 1, "max_num_timeout": 10}
    _submitit.run_all(jobs, [], array_parallelism=4, **settings)
    (array,) = arrays
    assert [len(array), max(map(len, array)), min(map(len, array))] == [551, 2, 1]
    assert sorted(run_id(app.run) for apps in array for app in apps) == sorted(records)
    assert [apps[0] for apps in array] == [job.app for job in jobs[:551]]  # the sweep's first runs come first
    assert settings_of[0]["max_num_timeout"] == 20
    assert store.scan(jobs[0].folder).records == records


def test_a_lost_job_keeps_its_finished_runs_and_a_line_says_why_it_was_lost(
    jobs: list[Job],
    tmp_path: Path,
    fake_squeue: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    make_record: Callable[..., RunRecord],
    capsys: pytest.CaptureFixture[str],
) -> None:
    record, log, killed = (
        record_of(jobs[0], make_record),
        tmp_path / "log",
        "slurmstepd: error: *** CANCELLED DUE TO TIME LIMIT ***",
    )
    paths = SimpleNamespace(folder=tmp_path, result_pickle=tmp_path / "none", stderr=tmp_path / "none", stdout=log)

    def map_array(*_: Any) -> list[Any]:
        store.save(jobs[0].folder, record)
        log.write_text(f"lr 1.00e-03 seed 0: ok\n{killed}\nsrun: error: node: task 0: Terminated\n")
        fake_squeue("7|TIMEOUT|TimeLimit\n")
        return [Submitted("7", paths)]

    monkeypatch.setattr(_submitit, "make_executor", lambda *_: SimpleNamespace(map_array=map_array))
    monkeypatch.setattr(_slurm_queue, "_SURE_SECONDS", 0)
    settings: Any = {"cluster": "slurm", "cpus_per_task": 1, "max_num_timeout": 10, "array_parallelism": 4}
    _submitit.run_all(jobs, [], runs_per_job=3, fallback=False, **settings)
    lines = capsys.readouterr().out.splitlines()
    assert "lr 1.00e-03 seed 0: ok after 3 epochs, test 0.5900, 3 s" in lines
    assert f"lr 5.00e-04 seed 0 and 1 more: no record: job 7 TIMEOUT: {killed} ({log})" in lines


@pytest.mark.parametrize("setting", ["runs_per_job", "array_parallelism"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", None])
def test_invalid_numbers_are_refused(setting: str, value: Any) -> None:
    settings: dict[str, Any] = {"runs_per_job": 1, "array_parallelism": 1} | {setting: value}
    with pytest.raises(ConfigError, match=rf"hydra.launcher.{setting} must be a whole number of at least 1, got"):
        _submitit.check([], cluster="slurm", fallback=False, **settings)


@pytest.fixture
def train() -> Iterator[_submitit_job.Train]:
    """The function that a job calls. Afterwards, restore the signal handlers that it changes."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    yield _submitit_job.Train()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("num_runs", [1, 3])
def test_a_job_trains_no_run_that_has_a_record(
    train: _submitit_job.Train,
    jobs: list[Job],
    make_record: Callable[..., RunRecord],
    monkeypatch: pytest.MonkeyPatch,
    num_runs: int,
) -> None:
    for trains in ((_remote, "train"), (_pool, "run_all"), (_fused, "run_all")):
        monkeypatch.delattr(*trains)
    records = [record_of(job, make_record) for job in jobs[:num_runs]]
    for record in records:
        store.save(jobs[0].folder, record)
    assert train([job.app for job in jobs[:num_runs]], 1, False) == records


@pytest.mark.parametrize(("device", "module"), [("cpu", _pool), ("cuda", _fused)])
def test_a_job_of_several_runs_trains_the_unfinished_ones_in_the_pool_or_fused(
    train: _submitit_job.Train,
    jobs: list[Job],
    make_record: Callable[..., RunRecord],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    module: Any,
) -> None:
    records = [record_of(jobs[0], make_record), record_of(jobs[1], make_record, status="failed"), record_of(jobs[2], make_record)]
    store.save(jobs[0].folder, records[0])
    store.save(jobs[0].folder, replace(records[1], environment={}))  # a failed run is repeated
    trained = []

    def run_all(jobs: list[Job], *_: Any) -> None:
        trained.extend(jobs)
        for record in records[1:]:
            store.save(jobs[0].folder, record)

    monkeypatch.setattr(module, "run_all", run_all)
    monkeypatch.setattr(_submitit_job, "prepare_device", lambda machine: torch.device(device))
    assert train([job.app for job in jobs], 1, False) == records
    assert [job.run for job in trained] == [job.run for job in jobs[1:]]


@pytest.fixture
def fake_squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`fake_squeue(text, seconds=10)`: let this time pass; from then on, squeue prints the text, or fails without a text."""
    answer, clock = tmp_path / "answer", SimpleNamespace(now=0.0)
    (tmp_path / "squeue").write_text(f"#!/bin/sh\nexec cat {answer}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(_slurm_queue, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def answers(text: str | None, seconds: int = 10) -> None:
        clock.now += seconds
        answer.unlink(missing_ok=True)
        if text is not None:
            answer.write_text(text)

    return answers


def test_a_job_is_lost_if_slurm_says_for_long_that_it_has_ended(fake_squeue: Callable[..., None]) -> None:
    lines: list[str] = []
    jobs = [Submitted(job_id) for job_id in ("7_0", "7_1", "8")]
    queue = _slurm_queue.SlurmQueue(lines.append)

    def lost_after(seconds: int, text: str | None) -> dict[str, str]:
        fake_squeue(text, seconds)
        return {job.job_id: state for job, state in queue.final_states(jobs).items()}

    assert lost_after(10, "7_0|NODE_FAIL|None\n7_1|RUNNING|None\n8|RUNNING|None\n9_3|FAILED|None\n") == {}
    assert lost_after(10, "7_0|PENDING|None\n7_1|COMPLETED|None\n8|COMPLETING|None\n") == {}
    assert lost_after(10, "7_0|RUNNING|None\n7_1|COMPLETED|None\n8|REQUEUE_HOLD|None\n") == {}
    assert lost_after(10, "7_0|RUNNING|None\n7_1|COMPLETED|None\n") == {"7_1": "COMPLETED"}
    assert lost_after(10, None) == {}
    assert lost_after(10, None) == {}
    assert len(lines) == 1
    assert lines[0].startswith("Slurm does not answer (cat: ")
    assert lost_after(10, "7_0|RUNNING|None\n7_1|COMPLETED|None\n") == {}
    assert lost_after(20, "7_0|FAILED|None\n7_1|COMPLETED|None\n") == {"7_1": "COMPLETED", "8": "no longer known to Slurm"}


@pytest.mark.parametrize(
    ("answer", "goes_on"),
    [
        (CompletedProcess([], 0, stdout="RUNNING\n"), True),  # the signal announces a preemption
        (CompletedProcess([], 0, stdout="COMPLETING\n"), False),
        (CompletedProcess([], 1, stdout=""), True),
        (TimeoutExpired("squeue", 20), True),
    ],
    ids=["runs", "ends", "no answer", "slow answer"],
)
def test_a_job_ends_at_sigterm_only_if_slurm_says_that_it_ends(
    monkeypatch: pytest.MonkeyPatch, answer: CompletedProcess[str] | TimeoutExpired, goes_on: bool
) -> None:
    import submitit

    def run(*_: Any, **__: Any) -> CompletedProcess[str]:
        if isinstance(answer, TimeoutExpired):
            raise answer
        return answer

    monkeypatch.setattr(submitit, "JobEnvironment", lambda: SimpleNamespace(cluster="slurm", job_id="7"))
    monkeypatch.setattr(_submitit_job.subprocess, "run", run)
    assert _submitit_job._is_running() == goes_on


def test_a_line_says_once_why_slurm_lets_jobs_wait(fake_squeue: Callable[..., None]) -> None:
    lines: list[str] = []
    queue = _slurm_queue.SlurmQueue(lines.append)
    jobs = [Submitted("7_0"), Submitted("7_1")]
    for _ in range(2):
        fake_squeue("7_0|PENDING|PartitionConfig\n7_1|PENDING|PartitionConfig\n8|PENDING|JobHeldAdmin\n")
        queue.final_states(jobs)
    fake_squeue("7_0|RUNNING|None\n7_1|PENDING|Resources\n")
    queue.final_states(jobs)
    assert lines == ["Job 7_0 waits in the Slurm queue: PartitionConfig"]
