"""Many machines: a real Ray cluster on loopback, one of whose machines dies; submitit's jobs, one of which is preempted."""

import importlib.util
import os
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
from at_work import alive, children, descendants, finish, num_lost, start, until

from hydra_plugins.lrsweep_launchers import _ray, _remote
from hydra_plugins.lrsweep_launchers._core import Job
from lrsweep.config import AppConfig, ConfigError, MachineConfig, run_id
from lrsweep.records import RunRecord
from lrsweep.storage import store

ROOT = Path(__file__).parents[2]
# Four runs of some seconds each, two at a time.
SWEEP = [
    *("study=lr", "grid.start=-5", "grid.stop=-2", "grid.step=1"),
    *("data.num_train=320", "data.num_valid=200", "data.num_test=200", "training.patience=8", "training.max_epochs=8"),
    *("machine.checkpoint_seconds=0", f"machine.data_dir={ROOT / 'data'}"),
]
POOL = ["hydra/launcher=pool", "hydra.launcher.workers=2"]
RAY = ["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"]
LOCAL = ["hydra/launcher=submitit_local"]
ONE_RUN = ["grid.stop=-5"]

has_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")
has_submitit = pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="the extra slurm is not installed")


@contextmanager
def running(folder: Path, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """`lrsweep …` in a folder and a process group of its own. Whatever becomes of the test, none of it outlives it."""
    folder.mkdir(exist_ok=True)
    with start(folder, *SWEEP, *overrides, RAY_memory_monitor_refresh_ms="0") as process:
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
    """The processes below `pid` in which a function is at work for Ray."""
    return [found for found in descendants(pid) if command_of(found).startswith(f"ray::{name}")]


def command_of(pid: int) -> str:
    with suppress(OSError):  # it may have ended
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def runs_in(folder: Path, suffix: str) -> list[Path]:
    return list((folder / "results" / "lr" / "runs").glob(f"*.{suffix}"))


def assert_same_results(folder: Path, reference: Path) -> None:
    """To the last bit, all but the times and the machine's state."""
    found, expected = (store.scan(place / "results" / "lr").records for place in (folder, reference))
    assert found.keys() == expected.keys()
    assert num_lost(folder / "results" / "lr", reference / "results" / "lr") == 0


@pytest.fixture(scope="module")
def by_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    code, _, err = sweep(folder, *POOL)
    assert code == 0, err
    return folder


# Ray.


def listening_addresses(pids: list[int]) -> set[str]:
    """The addresses on which processes listen, as /proc writes them: the last four bytes of each, reversed."""
    sockets = {str(target) for pid in pids for target in open_files(pid)}
    rows = [line.split() for kind in ("tcp", "tcp6") for line in Path("/proc/net", kind).read_text().splitlines()[1:]]
    return {row[1].split(":")[0][-8:] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def open_files(pid: int) -> Iterator[Path]:
    with suppress(OSError):  # it may end meanwhile
        yield from (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.slow
@has_ray
def test_a_ray_of_ones_own_gives_the_pools_table_and_listens_on_loopback_only(tmp_path: Path, by_pool: Path) -> None:
    with running(tmp_path, *RAY) as process:
        until(lambda: runs_in(tmp_path, "checkpoint"))
        members = descendants(process.pid)
        assert listening_addresses([process.pid, *members]) == {"0100007F"}
        code, out, err = finish(process)
    assert code == 0, err
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert_same_results(tmp_path, by_pool)
    until(lambda: not alive(members))


@pytest.mark.slow
@has_ray
@pytest.mark.parametrize("fused", [[], ["hydra.launcher.fused=2", "training.patience=100000", "training.max_epochs=100000"]])
def test_ctrl_c_ends_a_ray_of_ones_own(tmp_path: Path, fused: list[str]) -> None:
    with running(tmp_path, *RAY, *fused) as process:
        until(lambda: ray_tasks("train_fused", process.pid) if fused else runs_in(tmp_path, "checkpoint"))
        members = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        code, _, err = finish(process, seconds=60)
    assert code == 130, err
    assert "Traceback" not in err
    until(lambda: not alive(members))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head that runs nothing and two machines, on loopback, with a token. They share no folder with who asks them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # see _ray.py
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("PYTHONPATH", str(ROOT / "src"))
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # which would end tasks for what others take of the memory
        patch.chdir(tmp_path_factory.mktemp("far"))
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(2):
                made.add_node(num_cpus=1)
            yield SimpleNamespace(
                ray=made,
                folder=Path.cwd(),
                overrides=["hydra/launcher=ray", f"hydra.launcher.ray.init.address={made.address}"],
            )
        finally:
            made.shutdown()


# Before the test that takes a machine away for good. Each has a folder of its own on the cluster, which keeps what was done.


@pytest.fixture(scope="module")
def by_fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    code, _, err = sweep(folder, "hydra/launcher=fused", "hydra.launcher.runs=2")
    assert code == 0, err
    return folder / "results" / "lr"


@pytest.mark.slow
@has_ray
def test_fused_programs_on_a_cluster_give_the_fused_launchers_table(cluster: Any, tmp_path: Path, by_fused: Path) -> None:
    code, out, err = sweep(tmp_path, *cluster.overrides, "hydra.launcher.fused=2", "machine.results_dir=fused")
    assert code == 0, err
    assert "4 of 4 runs are fused; programs: 2" in out
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert num_lost(tmp_path / "fused" / "lr", by_fused) == 0
    for record in store.read(tmp_path / "fused" / "lr"):
        assert (record.engine, record.timing, record.environment["slots"]) == ("fused", "calibrated", 2)


@pytest.mark.slow
@has_ray
@pytest.mark.parametrize(("max_retries", "told"), [(3, "runs begin again: "), (0, "run solo: the fused program ended with ")])
def test_what_has_come_home_is_not_done_again_where_a_program_dies(
    cluster: Any, tmp_path: Path, by_fused: Path, max_retries: int, told: str
) -> None:
    place = f"dies_{max_retries}"
    one_by_one = ["hydra.launcher.fused=1", f"hydra.launcher.ray.remote.max_retries={max_retries}"]
    with running(tmp_path, *cluster.overrides, *one_by_one, f"machine.results_dir={place}") as process:
        until(lambda: list(tmp_path.glob(f"{place}/lr/runs/*.json")))
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"{place}/lr/runs/*.json")}
        os.kill(ray_tasks("train_fused", os.getpid())[0], signal.SIGKILL)
        if max_retries:
            cluster.ray.remove_node(next(iter(cluster.ray.worker_nodes)), allow_graceful=False)
            cluster.ray.add_node(num_cpus=1)
        code, out, err = finish(process)
    assert code == 0, err
    assert told in out
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    if max_retries:
        assert num_lost(tmp_path / place / "lr", by_fused) == 0


@pytest.mark.slow
@has_ray
def test_what_cannot_be_fused_is_a_task_of_its_own_and_said(cluster: Any, tmp_path: Path) -> None:
    overrides = [*ONE_RUN, "data.max_shift=0,1", "hydra.launcher.fused=2", "machine.results_dir=mixed"]
    code, out, err = sweep(tmp_path, *cluster.overrides, *overrides)
    assert code == 0, err
    assert "1 of 2 runs are fused; programs: 1" in out
    assert "1 of 2 runs run solo: augmentation (data.max_shift, data.max_rotation) cannot be fused" in out
    found = {record.config["data"]["max_shift"]: record.engine for record in store.read(tmp_path / "mixed" / "lr")}
    assert found == {0.0: "fused", 1.0: "solo"}


@pytest.mark.slow
@has_ray
def test_what_a_broken_program_leaves_is_given_to_solo_tasks_and_said(cluster: Any, tmp_path: Path) -> None:
    overrides = [*ONE_RUN, "machine.device=cuda:99", "hydra.launcher.fused=2", "machine.results_dir=broken"]
    code, out, err = sweep(tmp_path, *cluster.overrides, *overrides)
    assert (code, err.count("Traceback")) == (1, 0)
    assert "1 of 1 runs run solo: the fused program ended with ConfigError: machine.device is cuda:99" in out
    assert "lr 1.00e-05 seed 0: no record: ConfigError: machine.device is cuda:99" in out


@pytest.mark.slow
@has_ray
def test_nothing_is_lost_with_a_machine_and_records_come_home(cluster: Any, tmp_path: Path, by_pool: Path) -> None:
    with running(tmp_path, *cluster.overrides) as process:
        until(lambda: len(runs_in(cluster.folder, "checkpoint")) == 2)
        cluster.ray.remove_node(next(iter(cluster.ray.worker_nodes)), allow_graceful=False)
        code, out, err = finish(process)
    assert code == 0, err
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert_same_results(tmp_path, by_pool)


@pytest.mark.slow
@has_ray
def test_a_run_that_ray_gives_up_is_missing_and_the_same_command_goes_on(cluster: Any, tmp_path: Path) -> None:
    overrides = [*cluster.overrides, *ONE_RUN, "machine.results_dir=given_up"]
    with running(tmp_path, *overrides, "hydra.launcher.ray.remote.max_retries=0") as process:
        until(lambda: list(cluster.folder.glob("given_up/lr/runs/*.checkpoint")))
        for pid in ray_tasks("train", os.getpid()):
            os.kill(pid, signal.SIGKILL)
        code, out, err = finish(process)
    assert (code, err.count("Traceback")) == (1, 0)
    assert "lr 1.00e-05 seed 0: no record: " in out
    assert "1 expected: 0 ok, 0 diverged, 0 failed, 1 missing" in out
    code, out, err = sweep(tmp_path, *overrides)
    assert code == 0, err
    assert "goes on after epoch" in out


# submitit.


def tasks_of(pid: int) -> list[int]:
    """The processes that train, each below the one that stands in for Slurm."""
    return [task for controller in children(pid) for task in children(controller)]


@pytest.mark.slow
@has_submitit
def test_a_preempted_job_goes_on_from_its_checkpoint(tmp_path: Path, by_pool: Path) -> None:
    with running(tmp_path, *LOCAL) as process:
        until(lambda: runs_in(tmp_path, "checkpoint"))
        (preempted,) = runs_in(tmp_path, "checkpoint")[:1]
        for task in tasks_of(process.pid):
            os.kill(task, signal.SIGUSR2)  # as Slurm does
        code, out, err = finish(process)
    assert code == 0, err
    assert "4 expected: 4 ok, 0 diverged, 0 failed, 0 missing" in out
    assert not preempted.exists()
    logs = [path.read_text() for path in tmp_path.glob("results/lr/hydra/submitit/*/*.out")]
    assert any("this job is preempted" in log and "goes on after epoch" in log for log in logs)
    assert_same_results(tmp_path, by_pool)


@pytest.mark.slow
@has_submitit
def test_ctrl_c_ends_submitits_jobs(tmp_path: Path) -> None:
    with running(tmp_path, *LOCAL) as process:
        until(lambda: runs_in(tmp_path, "checkpoint"))
        members = descendants(process.pid)
        process.send_signal(signal.SIGINT)  # to this process alone: a job must not depend on the terminal's
        code, _, err = finish(process, seconds=60)
    assert code == 130, err
    assert "To go on, give the same command again" in err  # beside what submitit's own processes print of the interrupt
    until(lambda: not alive(members))


@has_submitit
def test_slurm_is_asked_for_what_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


# The parts that need neither.


@pytest.fixture
def job(tmp_path: Path) -> Job:
    settings = AppConfig(machine=MachineConfig(device="cpu", data_dir=str(ROOT / "data"), results_dir=str(tmp_path)))
    return Job(settings, settings.run, run_id(settings.run))


def test_a_missing_extra_is_one_line_that_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"needs no_such, which is not installed; pip install 'lrsweep\[ray\]'"):
        _remote.require("no_such", extra="ray")


def test_a_run_that_raises_leaves_a_failed_record(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_one(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(_remote.execution, "run_one", run_one)
    record = _remote.train(job.run, job.app.machine, job.folder, workers=1)
    assert (record.outcome.status, record.outcome.error) == ("failed", "ZeroDivisionError: no such thing")
    assert store.read_run(job.folder, job.run_id) == record


def test_what_comes_home_takes_a_failed_records_place(job: Job, make_record: Callable[..., RunRecord]) -> None:
    told = SimpleNamespace(recorded=lambda record: None)
    for record in (make_record(status="failed"), make_record()):
        _remote.bring_home(job, lambda record=record: record, told)  # type: ignore[arg-type]
        assert store.read_run(job.folder, record.run_id) == record


@pytest.mark.parametrize(
    ("device", "num_gpus", "given"), [("auto", 0, "cpu"), ("auto", 0.25, "auto"), ("cuda:1", 0, "cuda:1"), ("cpu", 1, "cpu")]
)
def test_a_run_takes_no_gpu_that_ray_has_not_given_it(device: str, num_gpus: float, given: str) -> None:
    app = AppConfig(machine=MachineConfig(device=device))
    job = Job(app, app.run, "")
    assert _ray.machine_for(job, {"num_gpus": num_gpus}).device == given


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
def test_how_many_runs_a_cluster_has_room_for(remote: dict[str, float], expected: int) -> None:
    assert _ray._num_at_a_time({"CPU": 16.0, "GPU": 2.0}, remote) == expected


@pytest.mark.parametrize(
    ("cohorts", "places", "expected"),
    [
        ([46], 4, [12, 12, 11, 11]),
        ([10], 1, [10]),
        ([3], 8, [1, 1, 1]),
        ([200, 10], 4, [67, 67, 66, 10]),
        ([40, 40, 40, 40, 40], 4, [40, 40, 20, 20, 20, 20, 20, 20]),  # not four, and then one for which three wait
        ([], 4, []),
    ],
)
def test_runs_are_cut_into_as_many_programs_as_the_cluster_has_places(
    job: Job, cohorts: list[int], places: int, expected: list[int]
) -> None:
    of_cohorts = [[replace(job, run_id=f"{name} {i}") for i in range(size)] for name, size in enumerate(cohorts)]
    programs = _ray.cut(of_cohorts, places)
    assert [len(program) for program in programs] == expected
    assert all(len({job.run_id.split()[0] for job in program}) == 1 for program in programs)
    assert {job.run_id for program in programs for job in program} == {job.run_id for cohort in of_cohorts for job in cohort}


@pytest.mark.parametrize("address", ["{}", "ray://{}"])
def test_a_cluster_that_is_not_there_is_refused_at_once(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = address.format(f"127.0.0.1:{free.getsockname()[1]}")
    with (
        pytest.raises(ConfigError, match=rf"hydra.launcher.ray.init.address: nothing answers at {place} \("),
        _ray._ray({"address": place}),
    ):
        pass


@pytest.mark.parametrize("num_slots", [0, -1, 1.5, True, "many"])
def test_no_runs_at_a_time_in_a_program_are_refused(num_slots: Any) -> None:
    with pytest.raises(ConfigError, match=r"hydra.launcher.fused must be a whole number of at least 1, or null, got"):
        _ray.check(num_slots)


def test_a_program_hands_back_each_record_as_it_ends_and_then_raises_what_ended_it(
    job: Job, make_record: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    came_home = threading.Event()

    def run_cohort(*_: Any, on_record: Callable[[int, RunRecord], None], **__: Any) -> None:
        on_record(1, make_record())
        assert came_home.wait(60)  # not before this one has been handed back
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(_remote.execution, "run_cohort", run_cohort)
    records = _remote.train_fused([job.run], [job.folder], job.app.machine, num_slots=2)
    assert records.send(None) == (1, make_record())  # as Ray asks for it
    came_home.set()
    with pytest.raises(ZeroDivisionError, match="no such thing"):
        records.send(None)
