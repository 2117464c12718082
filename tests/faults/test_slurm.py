"""Slurm stops the jobs of a sweep during training, or cannot be reached. The tests use a real Slurm on this machine."""

import importlib.util
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from at_work import alive, command_of, finish, num_lost, python_path, start, until
from slurm import Slurm, has_slurm, slurm
from small_sweep import LONG, SWEEP, RecordLoss, sweep_in_process, undisturbed_results

from lrsweep.storage import store

TWO_RUNS = ["grid.start=-3", LONG]
ONE_RUN = ["grid.start=-2", LONG]  # where a second job would only repeat the first
SLOW = Path(__file__).with_name("slow_epochs")  # its sitecustomize.py lets a run wait until Slurm has acted
# The command, but without the report, and with shorter waiting times than a large cluster needs.
PROGRAM = """
from hydra_plugins.lrsweep_launchers import _core, _slurm_queue
from lrsweep.cli.main import main
_core.report_command = lambda app: ["true"]
_slurm_queue._ASK_SECONDS, _slurm_queue._SURE_SECONDS = 1, 4
main()
"""

pytestmark = [
    pytest.mark.slow,
    has_slurm,
    pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="the extra slurm is not installed"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def two_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the two runs, trained by the pool."""
    return undisturbed_results(tmp_path_factory.mktemp("two"), *TWO_RUNS)


@pytest.fixture(scope="module")
def one_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the one run."""
    return undisturbed_results(tmp_path_factory.mktemp("one"), *ONE_RUN)


@contextmanager
def training(folder: Path, *overrides: str, runs: list[str] = TWO_RUNS) -> Iterator["subprocess.Popen[str]"]:
    """Start the sweep, and wait until each of its jobs has written a checkpoint. Until `hold` is deleted, they wait there."""
    num_jobs = 1 if runs == ONE_RUN or "hydra.launcher.runs_per_job=2" in overrides else 2
    slurm_jobs = ["hydra/launcher=submitit_slurm", *overrides]
    hold = folder / "hold"
    hold.touch()
    environment = {"PYTHONPATH": python_path(SLOW), "HOLD": str(hold)}
    with start(folder, *SWEEP, *runs, *slurm_jobs, program=("-c", PROGRAM), **environment) as process:
        try:
            until(lambda: len(checkpoints(folder)) == num_jobs)
            yield process
        finally:
            process.kill()


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "results" / "lr" / "runs").glob("*.checkpoint"))


def logs(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("results/lr/hydra/submitit/*/*.out"))


def num_lost_after_resuming(folder: Path, reference: Path, runs: list[str] = TWO_RUNS) -> int:
    """Each run must have a checkpoint and no record. Let the pool finish the sweep, and count the lost runs."""
    num_runs = len(store.scan(reference / "lr").records)
    assert len(checkpoints(folder)) == num_runs
    assert not store.scan(folder / "results" / "lr").records
    code, out, err = sweep_in_process(folder, *runs)
    assert code == 0, err
    assert out.count("resumes after epoch") == num_runs
    return num_lost(folder / "results" / "lr", reference / "lr")


PREEMPTED = pytest.mark.fault(
    "Slurm preempts jobs: without a signal; with a signal and GraceTime; with preempt_send_user_signal and no GraceTime",
    "they are queued again and continue from their checkpoints; exit code 0",
)


@PREEMPTED
def test_preempted(cluster: Slurm, tmp_path: Path, two_undisturbed: Path, record_loss: RecordLoss) -> None:
    with training(tmp_path, "hydra.launcher.partition=requeue") as process:
        cluster.preempt()
        code, _, err = finish(process)
    assert code == 0, err
    assert logs(tmp_path).count("resumes after epoch") == 2
    record_loss(num_lost(tmp_path / "results" / "lr", two_undisturbed / "lr"))


@PREEMPTED
def test_preempted_after_a_grace_time(cluster: Slurm, tmp_path: Path, one_undisturbed: Path, record_loss: RecordLoss) -> None:
    with training(tmp_path, "hydra.launcher.partition=grace", runs=ONE_RUN) as process:
        cluster.preempt()
        code, _, err = finish(process)
    assert code == 0, err
    assert logs(tmp_path).count("resumes after epoch") == 1
    record_loss(num_lost(tmp_path / "results" / "lr", one_undisturbed / "lr"))


@PREEMPTED
def test_preempted_with_a_signal_and_at_once(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, one_undisturbed: Path, record_loss: RecordLoss
) -> None:
    config = "SlurmctldParameters=preempt_send_user_signal"
    folder = tmp_path_factory.mktemp("signal")
    with slurm(folder, config) as cluster, training(tmp_path, runs=ONE_RUN) as process:
        cluster.preempt()
        code, _, err = finish(process)
    assert code == 0, err
    assert "Caught signal SIGUSR2" in logs(tmp_path)
    assert logs(tmp_path).count("resumes after epoch") == 1
    record_loss(num_lost(tmp_path / "results" / "lr", one_undisturbed / "lr"))


@pytest.mark.fault(
    "a Slurm job with one run, or with two, gets the signal that comes before the time limit",
    "it is queued again and continues from its checkpoint; exit code 0",
)
@pytest.mark.parametrize("runs_per_job", [1, 2])
def test_time_limit(cluster: Slurm, tmp_path: Path, two_undisturbed: Path, record_loss: RecordLoss, runs_per_job: int) -> None:
    with training(tmp_path, f"hydra.launcher.runs_per_job={runs_per_job}") as process:
        jobs = cluster.active()
        for job in jobs:
            cluster.ask("scancel", "--signal=USR2", job)
        until(lambda: all(cluster.states()[job] == "PENDING" for job in jobs), every=0.2)
        cluster.begin_again(jobs)
        code, _, err = finish(process)
    assert code == 0, err
    assert logs(tmp_path).count("resumes after epoch") == len(jobs)
    assert "killed by signal" not in logs(tmp_path)  # only the process that queues the job again reacts
    record_loss(num_lost(tmp_path / "results" / "lr", two_undisturbed / "lr"))


@pytest.mark.fault("Slurm's node dies and comes back", "its jobs are queued again and continue; exit code 0")
def test_node_dies(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, one_undisturbed: Path, record_loss: RecordLoss
) -> None:
    with slurm(tmp_path_factory.mktemp("node")) as cluster, training(tmp_path, runs=ONE_RUN) as process:
        jobs = cluster.active()
        before = cluster.job_processes()
        cluster.ask("scontrol", "update", "nodename=node", "state=down", "reason=test")  # Slurm would need minutes to notice
        until(lambda: all(cluster.states()[job] == "PENDING" for job in jobs) and not alive(before), every=0.2)
        cluster.stop("slurmd")
        cluster.start_node()
        cluster.begin_again(jobs)
        code, _, err = finish(process)
    assert code == 0, err
    assert logs(tmp_path).count("resumes after epoch") == 1
    record_loss(num_lost(tmp_path / "results" / "lr", one_undisturbed / "lr"))


NOT_AGAIN = pytest.mark.fault(
    "Slurm does not queue a stopped job again: PreemptMode=CANCEL; JobRequeue=0; the job has used up `max_num_timeout`; "
    "it was cancelled; its process was killed",
    "one line shows the job's state and the end of its log; exit code 1; no record; the next sweep continues from the checkpoint",
)


@NOT_AGAIN
def test_cancelled_by_a_preemption(cluster: Slurm, tmp_path: Path, one_undisturbed: Path, record_loss: RecordLoss) -> None:
    with training(tmp_path, "hydra.launcher.partition=cancel", runs=ONE_RUN) as process:
        cluster.ask("sbatch", "--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap", "sleep 1")
        code, out, err = finish(process)
    assert code == 1, err
    assert "1 expected: 0 ok, 0 diverged, 0 failed, 1 missing" in out
    assert out.count(" PREEMPTED: slurmstepd") == 1, out
    record_loss(num_lost_after_resuming(tmp_path, one_undisturbed, ONE_RUN))


NO_REQUEUE = ["~hydra.launcher.additional_parameters.requeue", "+hydra.launcher.additional_parameters.no_requeue=true"]
NO_TIMEOUT = ["hydra.launcher.max_num_timeout=0", "hydra.launcher.timeout_min=5"]


@NOT_AGAIN
@pytest.mark.parametrize(("overrides", "reason"), [(NO_REQUEUE, "'scontrol'"), (NO_TIMEOUT, "timed-out too many times")])
def test_stopped_for_good(
    cluster: Slurm, tmp_path: Path, one_undisturbed: Path, record_loss: RecordLoss, overrides: list[str], reason: str
) -> None:
    with training(tmp_path, *overrides, runs=ONE_RUN) as process:
        for job in cluster.active():
            cluster.ask("scancel", "--signal=USR2", job)
        code, out, err = finish(process)
    assert code == 1, err
    assert "1 expected: 0 ok, 0 diverged, 0 failed, 1 missing" in out
    assert out.count(" FAILED: ") == 1, out
    assert out.count(reason) == 1, out
    record_loss(num_lost_after_resuming(tmp_path, one_undisturbed, ONE_RUN))


@NOT_AGAIN
def test_cancelled_or_killed(cluster: Slurm, tmp_path: Path, two_undisturbed: Path, record_loss: RecordLoss) -> None:
    with training(tmp_path) as process:
        cancelled, killed = cluster.active()
        cluster.ask("scancel", cancelled)
        os.kill(trainer_of(cluster, killed), signal.SIGKILL)
        code, out, err = finish(process)
    assert code == 1, err
    assert f"no record: job {cancelled} CANCELLED: slurmstepd" in out
    assert f"no record: job {killed} FAILED: " in out
    assert f"{tmp_path}/results/lr/hydra/submitit/{killed}/{killed}_0_log.out" in out
    record_loss(num_lost_after_resuming(tmp_path, two_undisturbed), num_tries=2)


def trainer_of(cluster: Slurm, job: str) -> int:
    """The process that trains the job's run."""
    array, task = job.split("_")
    wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}", "SLURM_STEP_ID=0"}
    for pid in cluster.job_processes():
        if "submitit" in command_of(pid) and wanted <= set(Path(f"/proc/{pid}/environ").read_text().split("\0")):
            return pid
    raise AssertionError(f"job {job} trains nothing")


@pytest.mark.fault(
    "Ctrl-C and SIGTERM, with jobs in Slurm",
    "exit code 130, 143; all jobs end before the command does, and the next sweep continues",
)
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(
    cluster: Slurm, tmp_path: Path, two_undisturbed: Path, record_loss: RecordLoss, number: signal.Signals, expected: int
) -> None:
    with training(tmp_path) as process:
        trainers = [trainer_of(cluster, job) for job in cluster.active()]
        process.send_signal(number)
        code, _, err = finish(process)
    assert code == expected, err
    assert not cluster.active()
    assert not alive(trainers)
    record_loss(num_lost_after_resuming(tmp_path, two_undisturbed))


@pytest.mark.fault("slurmctld is stopped during the sweep and started again", "one line says so; the sweep waits; exit code 0")
def test_slurm_does_not_answer(cluster: Slurm, tmp_path: Path, one_undisturbed: Path, record_loss: RecordLoss) -> None:
    with training(tmp_path, runs=ONE_RUN) as process:
        cluster.stop("slurmctld")
        assert process.stdout is not None
        read = process.stdout.readline
        assert any("Slurm does not answer" in line for line in iter(read, "")), "the sweep has not noticed"
        (tmp_path / "hold").unlink()
        cluster.start_controller()
        code, _, err = finish(process)
    assert code == 0, err
    record_loss(num_lost(tmp_path / "results" / "lr", one_undisturbed / "lr"))
