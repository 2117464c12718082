"""Runs on other machines: a real Ray cluster on loopback that loses workers and machines, and submitit's jobs."""

import importlib.util
import os
import re
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from at_work import WITHOUT_REPORT, alive, children, command_of, descendants, finish, num_lost, python_path, start, until

from hydra_plugins.lrsweep_launchers import _ray, _remote
from hydra_plugins.lrsweep_launchers._core import Job
from lrsweep.cli import execution, main
from lrsweep.config import AppConfig, ConfigError, GridConfig, MachineConfig, RunConfig, log_grid
from lrsweep.records import RunRecord
from lrsweep.storage import store

ROOT = Path(__file__).parents[2]
GRID = GridConfig(start=-5.0, stop=-2.0, step=1.0)
SWEEP = [
    *("study=lr", f"grid.start={GRID.start}", f"grid.stop={GRID.stop}", f"grid.step={GRID.step}"),
    *("data.num_train=320", "data.num_valid=200", "data.num_test=200", "training.patience=8", "training.max_epochs=8"),
    *("machine.checkpoint_seconds=0", f"machine.data_dir={ROOT / 'data'}"),
]
RAY = ["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"]
LOCAL = ["hydra/launcher=submitit_local"]
ONE_RUN = ["grid.stop=-5"]
TWO_RUNS = ["grid.stop=-4"]
SLOW = ROOT / "tests" / "faults" / "slow_epochs"  # its sitecustomize.py lets a run wait until a test has acted
ENDLESS = ["training.patience=100000", "training.max_epochs=100000"]

has_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")
has_submitit = pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="the extra slurm is not installed")


@contextmanager
def running(folder: Path, *overrides: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`lrsweep …` in a folder. Its processes end with the test."""
    environment |= {"RAY_memory_monitor_refresh_ms": "0"}
    with start(folder, *SWEEP, *overrides, program=WITHOUT_REPORT, **environment) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                for pid in [*descendants(process.pid), process.pid]:
                    os.kill(pid, signal.SIGKILL)


def sweep(folder: Path, *overrides: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with running(folder, *overrides) as process:
        return finish(process)


def ray_tasks(name: str, pid: int) -> list[int]:
    """The descendants of `pid` that run the function `name` for Ray."""
    return [each for each in descendants(pid) if command_of(each).startswith(f"ray::{name}")]


def files_in(results: Path, suffix: str) -> list[Path]:
    return list((results / "lr" / "runs").glob(f"*.{suffix}"))


def runs_of_the_sweep() -> list[RunConfig]:
    return [main.to_app_config(main.compose(*SWEEP, f"optimizer.lr={lr}")).run for lr in log_grid(GRID)]


MACHINE = MachineConfig(device="cpu", data_dir=str(ROOT / "data"), checkpoint_seconds=None)


@pytest.fixture(scope="module")
def solo_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep's runs, trained one after another in this process."""
    folder = tmp_path_factory.mktemp("solo")
    for run in runs_of_the_sweep():
        execution.run_one(run, MACHINE, folder, workers=1, on_epoch=lambda _: None, on_message=lambda _: None)
    return folder


@pytest.fixture(scope="module")
def fused_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep's runs, trained in one fused program in this process."""
    folder, runs = tmp_path_factory.mktemp("fused"), runs_of_the_sweep()
    ignore = dict.fromkeys(("on_epoch", "on_halved", "on_message"), lambda _: None) | {"on_record": lambda i, record: None}
    execution.run_cohort(runs, [folder] * len(runs), MACHINE, num_slots=2, **ignore)
    return folder


# A new Ray for one sweep.


def listening_addresses(pids: list[int]) -> set[str]:
    """The addresses on which processes listen, as /proc writes them: the last four bytes, in reverse order."""
    sockets = {str(target) for pid in pids for target in open_files(pid)}
    rows = [line.split() for kind in ("tcp", "tcp6") for line in Path("/proc/net", kind).read_text().splitlines()[1:]]
    return {row[1].split(":")[0][-8:] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def open_files(pid: int) -> Iterator[Path]:
    with suppress(OSError):  # the process may have ended
        yield from (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.slow
@has_ray
def test_a_new_ray_gives_solo_results_and_listens_on_loopback_only(tmp_path: Path, solo_store: Path) -> None:
    with running(tmp_path, *RAY, *TWO_RUNS) as process:
        until(lambda: files_in(tmp_path / "results", "checkpoint"))
        members = descendants(process.pid)
        assert listening_addresses([process.pid, *members]) == {"0100007F"}
        code, out, err = finish(process)
    assert code == 0, err
    assert "2 expected: 2 ok, 0 diverged, 0 failed, 0 missing" in out
    assert num_lost(solo_store, tmp_path / "results" / "lr") == 0
    until(lambda: not alive(members))


@pytest.mark.slow
@has_ray
def test_ctrl_c_ends_a_new_ray(tmp_path: Path) -> None:
    with running(tmp_path, *RAY, "hydra.launcher.fused=2", *ENDLESS) as process:
        until(lambda: ray_tasks("train_fused", process.pid))
        members = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        code, _, err = finish(process)
    assert code == 130, err
    assert "Traceback" not in err
    until(lambda: not alive(members))


# One existing cluster for all tests below. Each has its own folder of results.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head that runs no task and two machines, on loopback, with a token. They share no folder with the sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # see _ray_cluster.py
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("PYTHONPATH", python_path(SLOW))
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # otherwise Ray may kill tasks when other tests use much memory
        patch.chdir(tmp_path_factory.mktemp("far"))
        patch.setenv("HOLD", str(Path.cwd() / "hold"))
        from ray.cluster_utils import Cluster

        ray = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(2):
                ray.add_node(num_cpus=1)
            overrides = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={ray.address}"]
            yield SimpleNamespace(ray=ray, folder=Path.cwd(), overrides=overrides)
        finally:
            ray.shutdown()


@pytest.mark.slow
@has_ray
def test_a_cluster_fuses_what_it_can_and_gives_fused_results(cluster: Any, tmp_path: Path, fused_store: Path) -> None:
    overrides = ["schedule=constant,grow_batch", "hydra.launcher.fused=2", "machine.results_dir=mixed"]
    code, out, err = sweep(tmp_path, *cluster.overrides, *overrides)
    assert code == 0, err
    assert "4 of 8 runs are fused; programs: 2" in out
    assert "4 of 8 runs run solo: schedule=grow_batch cannot be fused" in out
    assert "8 expected: 8 ok, 0 diverged, 0 failed, 0 missing" in out
    assert num_lost(tmp_path / "mixed" / "lr", fused_store) == 0
    for record in store.read(tmp_path / "mixed" / "lr"):
        is_fused = record.config["schedule"]["name"] == "constant"
        assert (record.engine, record.timing) == (("fused", "calibrated") if is_fused else ("solo", "measured"))
        assert record.environment.get("slots") == (2 if is_fused else None)


@pytest.mark.slow
@has_ray
def test_records_that_have_arrived_are_kept_when_a_program_dies(cluster: Any, tmp_path: Path, fused_store: Path) -> None:
    with running(tmp_path, *cluster.overrides, "seed=0,1,2", "hydra.launcher.fused=1", "machine.results_dir=dies") as process:
        until(lambda: files_in(tmp_path / "dies", "json"))
        before = {path: path.stat().st_mtime_ns for path in files_in(tmp_path / "dies", "json")}
        os.kill(ray_tasks("train_fused", os.getpid())[0], signal.SIGKILL)
        code, out, err = finish(process)
    assert code == 0, err
    assert "runs start again: " in out
    assert "12 expected: 12 ok, 0 diverged, 0 failed, 0 missing" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert num_lost(tmp_path / "dies" / "lr", fused_store) == 0


@pytest.mark.slow
@has_ray
def test_a_failed_program_ends_the_sweep_and_with_fallback_its_runs_run_solo(cluster: Any, tmp_path: Path) -> None:
    overrides = [*ONE_RUN, "machine.device=cuda:99", "hydra.launcher.fused=2", "machine.results_dir=broken"]
    code, out, err = sweep(tmp_path, *cluster.overrides, *overrides)
    assert (code, err.count("Traceback")) == (1, 0)
    assert "The sweep ends, because the fused program failed: ConfigError: machine.device is cuda:99" in err
    assert "expected:" not in out
    error = (tmp_path / "broken" / "lr" / "fused-error.txt").read_text()
    assert "in prepare_device" in error
    code, out, err = sweep(tmp_path, *cluster.overrides, *overrides, "hydra.launcher.fallback=true")
    assert (code, err.count("Traceback")) == (1, 0)
    assert "1 of 1 runs run solo: the fused program failed: ConfigError: machine.device is cuda:99" in out
    assert "lr 1.00e-05 seed 0: no record: ConfigError: machine.device is cuda:99" in out
    assert "1 expected: 0 ok, 0 diverged, 0 failed, 1 missing" in out


@pytest.mark.slow
@has_ray
def test_runs_of_a_lost_machine_resume_on_another(cluster: Any, tmp_path: Path, solo_store: Path) -> None:
    """Must be the last test with the cluster, because only one machine is left after it."""
    hold = cluster.folder / "hold"
    hold.touch()
    with running(tmp_path, *cluster.overrides, *TWO_RUNS) as process:
        until(lambda: len(files_in(cluster.folder / "results", "checkpoint")) == 2)
        cluster.ray.remove_node(next(iter(cluster.ray.worker_nodes)), allow_graceful=False)
        hold.unlink()
        code, out, err = finish(process)
    assert code == 0, err
    assert "resumes after epoch" in out
    assert "2 expected: 2 ok, 0 diverged, 0 failed, 0 missing" in out
    assert num_lost(solo_store, tmp_path / "results" / "lr") == 0


# submitit.


def tasks_of(pid: int) -> list[int]:
    """The PIDs of the processes that train. submitit starts each from a controller process, which stands in for Slurm."""
    return [task for controller in children(pid) for task in children(controller)]


@pytest.mark.slow
@has_submitit
def test_a_preempted_job_resumes_from_its_checkpoint(tmp_path: Path, solo_store: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    with running(tmp_path, *LOCAL, *ONE_RUN, PYTHONPATH=python_path(SLOW), HOLD=str(hold)) as process:
        until(lambda: files_in(tmp_path / "results", "checkpoint"))
        tasks = tasks_of(process.pid)
        for task in tasks:
            os.kill(task, signal.SIGUSR2)  # the signal that Slurm sends
        until(lambda: not alive(tasks))
        hold.unlink()
        code, out, err = finish(process)
    assert code == 0, err
    assert "1 expected: 1 ok, 0 diverged, 0 failed, 0 missing" in out
    assert not files_in(tmp_path / "results", "checkpoint")
    logs = [path.read_text() for path in tmp_path.glob("results/lr/hydra/submitit/*/*.out")]
    assert any("this job is preempted" in log and "resumes after epoch" in log for log in logs)
    assert num_lost(solo_store, tmp_path / "results" / "lr") == 0


@pytest.mark.slow
@has_submitit
def test_ctrl_c_ends_submitits_jobs(tmp_path: Path) -> None:
    with running(tmp_path, *LOCAL, *TWO_RUNS, *ENDLESS) as process:
        until(lambda: files_in(tmp_path / "results", "checkpoint"))
        members = descendants(process.pid)
        process.send_signal(signal.SIGINT)  # to this process alone, because a job may have no terminal
        code, _, err = finish(process)
    assert code == 130, err
    assert "To continue, run the same command again" in err
    until(lambda: not alive(members))


@has_submitit
def test_submitit_passes_the_settings_to_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_plugins.lrsweep_launchers import _submitit

    settings = {
        "submitit_folder": str(tmp_path / "%j"),
        "max_num_timeout": 2,
        "timeout_min": 60,
        "partition": "short",
        "qos": None,
    }
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"hydra/launcher=submitit_slurm: Could not detect \"srun\""):
        _submitit.make_executor("slurm", dict(settings))
    (tmp_path / "srun").touch(mode=0o755)
    executor = _submitit.make_executor("slurm", dict(settings))
    assert executor._executor.parameters == {"time": 60, "partition": "short"}
    assert executor._executor.max_num_timeout == 2
    with pytest.raises(ConfigError, match="Unknown argument 'no_such'"):
        _submitit.make_executor("slurm", settings | {"no_such": 1})


# Tests that need neither Ray nor submitit.


@pytest.fixture
def job(tmp_path: Path) -> Job:
    app = AppConfig(machine=replace(MACHINE, results_dir=str(tmp_path)))
    return Job(app)


def test_a_missing_extra_is_one_line_with_the_command_to_install_it() -> None:
    with pytest.raises(ConfigError, match=r"needs no_such, which is not installed; pip install 'lrsweep\[ray\]'"):
        _remote.require("no_such", extra="ray")


def test_a_run_that_raises_leaves_a_failed_record_even_if_its_gpu_is_lost(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_one(*_: Any, **__: Any) -> None:
        for module in (_remote, execution):  # from now on the device cannot be described
            monkeypatch.delattr(module, "prepare_device")
            monkeypatch.delattr(module, "describe")
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(execution, "run_one", run_one)
    record = _remote.train(job.run, job.app.machine, job.folder, workers=1)
    assert (record.outcome.status, record.outcome.error) == ("failed", "ZeroDivisionError: no such thing")
    assert (record.environment["device"], record.environment["peak_memory_bytes"]) == ("cpu", None)
    assert store.read_run(job.folder, job.run_id) == record


def test_a_fetched_record_replaces_a_failed_one(job: Job, make_record: Callable[..., RunRecord]) -> None:
    progress: Any = SimpleNamespace(recorded=lambda record: None)
    for record in (make_record(status="failed"), make_record()):
        _remote.fetch_and_store(job, lambda record=record: record, progress)  # type: ignore[misc]
        assert store.read_run(job.folder, record.run_id) == record


@pytest.mark.parametrize(
    ("device", "num_gpus", "expected"), [("auto", 0, "cpu"), ("auto", 0.25, "auto"), ("cuda:1", 0, "cuda:1"), ("cpu", 1, "cpu")]
)
def test_a_run_uses_no_gpu_that_ray_has_not_assigned(job: Job, device: str, num_gpus: float, expected: str) -> None:
    job = replace(job, app=replace(job.app, machine=MachineConfig(device=device)))
    assert _ray.machine_for(job, {"num_gpus": num_gpus}).device == expected


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ({"num_cpus": 1}, 16),
        ({"num_cpus": 4, "num_gpus": 0}, 4),
        ({"num_cpus": 1, "num_gpus": 0.25}, 8),
        ({"num_cpus": 32}, 1),
        ({}, 1),
    ],
)
def test_the_number_of_tasks_at_a_time_follows_the_clusters_resources(remote: dict[str, float], expected: int) -> None:
    assert _ray.num_places({"CPU": 16.0, "GPU": 2.0}, remote) == expected


@pytest.mark.parametrize(
    ("cohorts", "places", "expected"),
    [
        ([46], 4, [12, 12, 11, 11]),
        ([10], 1, [10]),
        ([3], 8, [1, 1, 1]),
        ([200, 10], 4, [67, 67, 66, 10]),
        # With five programs, three places would be idle while the fifth runs.
        ([40, 40, 40, 40, 40], 4, [40, 40, 20, 20, 20, 20, 20, 20]),
        ([], 4, []),
    ],
)
def test_runs_are_cut_into_programs_that_fill_the_places(job: Job, cohorts: list[int], places: int, expected: list[int]) -> None:
    jobs = [[replace(job, number=1_000 * name + i) for i in range(size)] for name, size in enumerate(cohorts)]
    programs = _ray.cut(jobs, places)
    assert [len(program) for program in programs] == expected
    assert all(len({job.number // 1_000 for job in program}) == 1 for program in programs)
    assert {job.number for program in programs for job in program} == {job.number for cohort in jobs for job in cohort}


@has_ray
@pytest.mark.parametrize("address", ["{}", "ray://{}"])
def test_an_address_without_a_cluster_is_refused_at_once(
    lrsweep: Callable[..., int], capsys: pytest.CaptureFixture[str], address: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        target = address.format(f"127.0.0.1:{free.getsockname()[1]}")
    assert lrsweep("study=lr", "grid.step=4", "hydra/launcher=ray", f"hydra.launcher.ray.init.address='{target}'") == 2
    assert capsys.readouterr().err.startswith(f"ConfigError: hydra.launcher.ray.init.address: nothing answers at {target} (")


NODES = [
    {"Alive": True, "Resources": {"CPU": 4.0, "memory": 1e9}},
    {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


@pytest.mark.parametrize(
    ("remote", "message"),
    [
        ({}, None),
        ({"num_cpus": 4, "num_gpus": None, "resources": None}, None),
        ({"num_cpus": 64}, "a run needs CPU=64, but the largest machine has 4"),
        ({"num_cpus": 1, "num_gpus": 2}, "a run needs GPU=2, but the largest machine has 1"),
        ({"memory": 1e12}, "a run needs memory=1e+12, but the largest machine has 1e+09"),
        ({"resources": {"tpu": 1}}, "a run needs tpu=1, but the largest machine has 0"),
    ],
)
def test_a_run_that_fits_no_machine_is_refused_or_announced(
    capsys: pytest.CaptureFixture[str], remote: dict[str, Any], message: str | None
) -> None:
    if message is None:
        _ray._require_room(NODES, remote, is_private=True)
        return
    with pytest.raises(ConfigError, match=re.escape(f"hydra.launcher.ray.remote: {message}")):
        _ray._require_room(NODES, remote, is_private=True)
    _ray._require_room(NODES, remote, is_private=False)  # a cluster may grow
    assert capsys.readouterr().out == f"hydra.launcher.ray.remote: {message}. The runs wait until the cluster grows.\n"


@pytest.mark.slow
@has_ray
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+hydra.launcher.ray.init.nope=1", "hydra.launcher.ray.init: "),
        ("+hydra.launcher.ray.remote.nope=1", "hydra.launcher.ray.remote: Invalid option keyword nope"),
        ("hydra.launcher.ray.remote.num_cpus=64000", "hydra.launcher.ray.remote: a run needs CPU=64000"),
    ],
)
def test_options_that_ray_cannot_use_are_one_line(tmp_path: Path, override: str, message: str) -> None:
    code, out, err = sweep(tmp_path, *RAY, *ONE_RUN, override)
    assert (code, out) == (2, "")
    assert err.startswith(f"ConfigError: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("num_slots", [0, -1, 1.5, True, "many"])
def test_an_invalid_number_of_fused_runs_is_refused(num_slots: Any) -> None:
    with pytest.raises(ConfigError, match=r"hydra.launcher.fused must be a whole number of at least 1, or null, got"):
        _ray.check([], num_slots, False, {}, {})


def test_a_fused_program_returns_each_record_at_once_and_then_raises_its_error(
    job: Job, make_record: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    has_arrived = threading.Event()

    def run_cohort(*_: Any, on_record: Callable[[int, RunRecord], None], **__: Any) -> None:
        on_record(1, make_record())
        assert has_arrived.wait(60)
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(execution, "run_cohort", run_cohort)
    records = _remote.train_fused([job.run], [job.folder], job.app.machine, num_slots=2)
    assert records.send(None) == (1, make_record())  # Ray calls send()
    has_arrived.set()
    with pytest.raises(ZeroDivisionError, match="no such thing"):
        records.send(None)
