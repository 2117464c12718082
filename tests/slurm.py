"""A real Slurm on this machine, from a private folder and on loopback, for the tests of the Slurm launcher."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from at_work import command_of, processes
from at_work import until as wait_until

until = partial(wait_until, every=0.2)  # asking Slurm takes CPU time, which its jobs need

has_slurm = pytest.mark.skipif(
    not all(map(shutil.which, ("sbatch", "slurmctld", "slurmd", "munged"))) or os.getuid() != 0,
    reason="needs root and Slurm: apt-get install --no-install-recommends slurm-wlm munge",
)

# Jobs in `high` preempt jobs in the other partitions, which are named after what Slurm does with a preempted job.
_CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4096
PartitionName=requeue Nodes=node PriorityTier=1 PreemptMode=REQUEUE Default=YES
PartitionName=cancel Nodes=node PriorityTier=1 PreemptMode=CANCEL
PartitionName=grace Nodes=node PriorityTier=1 PreemptMode=REQUEUE GraceTime=3
PartitionName=high Nodes=node PriorityTier=9 PreemptMode=OFF
"""


@dataclass
class Slurm:
    """One node of two cores."""

    folder: Path
    daemons: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen([name, *arguments], stdout=log, stderr=log)

    def stop(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.terminate()
        daemon.wait(120)

    def start_node(self) -> None:
        self.start("slurmd", "-D", "-N", "node")

    def start_controller(self) -> None:
        self.start("slurmctld", "-D")
        until(lambda: self.ask("sinfo", "--noheader", "--partition=high", "--format=%T") in ("idle", "mixed", "allocated"))

    def ask(self, *command: str) -> str:
        """The output of a command of Slurm, without an error if it fails."""
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout.strip()

    def states(self) -> dict[str, str]:
        """The state of each job, also of jobs that have ended. An element of an array has an id such as 12_3."""
        command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
        answers = list[subprocess.CompletedProcess[str]]()

        def has_answered() -> bool:
            answers.append(subprocess.run(command, capture_output=True, text=True, timeout=120))
            return answers[-1].returncode == 0

        until(has_answered)  # on a busy machine, squeue may fail once
        return dict(line.split() for line in answers[-1].stdout.splitlines())

    def active(self) -> list[str]:
        return [job for job, state in self.states().items() if state in ("PENDING", "RUNNING", "COMPLETING", "SIGNALING")]

    def job_processes(self) -> list[int]:
        """The processes of the jobs on the node, and Slurm's processes that look after them."""
        pids, parents = list[int](), processes()
        for pid in parents:
            with suppress(OSError):  # the process may have ended
                variables = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
                if f"SLURM_CONF={self.folder / 'slurm.conf'}" in variables and "SLURMD_NODENAME=node" in variables:
                    pids.append(pid)
        return pids + [pid for pid in {parents[pid] for pid in pids} if command_of(pid).startswith("slurmstepd: [")]

    def preempt(self) -> None:
        """Let a job of high priority take the node. Jobs that Slurm requeues would then wait for two minutes; they need not."""
        before = self.active()
        high = self.ask("sbatch", "--parsable", "--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap", "sleep 1")
        until(lambda: self.states().get(high) == "COMPLETED")
        until(lambda: not {"RUNNING", "COMPLETING", "SIGNALING"} & {self.states()[job] for job in before})
        self.begin_again(before)

    def begin_again(self, jobs: list[str]) -> None:
        """Let requeued jobs begin without Slurm's wait of two minutes."""
        time.sleep(3)  # for a second, a node starts no job that it has just killed; Slurm would end the job as FAILED
        for job in jobs:
            until(lambda job=job: self._has_begun(job))

    def _has_begun(self, job: str) -> bool:
        if self.states()[job] == "PENDING":
            self.ask("scontrol", "update", f"jobid={job}", "StartTime=now")  # Slurm refuses that in the first seconds
        return self.states()[job] != "PENDING"


def _server() -> socket.socket:
    """A server on a port that the system gives to nobody by itself, because Slurm will bind it later. Ray uses none of these."""
    while True:
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", 20_000 + secrets.randbelow(12_000)))


@contextmanager
def slurm(folder: Path, *more_config: str) -> Iterator[Slurm]:
    """Start Slurm, and make it the one that all commands of this process and its children use. Its processes end with it."""
    with ExitStack() as sockets:
        ports = [sockets.enter_context(_server()).getsockname()[1] for _ in range(2)]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    config, key = folder / "slurm.conf", folder / "munge.key"
    host = socket.gethostname().split(".")[0]
    text = _CONFIG.format(folder=folder, ctld_port=ports[0], slurmd_port=ports[1], host=host)
    config.write_text("\n".join([text, *more_config, ""]))
    key.write_bytes(secrets.token_bytes(64))
    key.chmod(0o600)
    folder.chmod(0o755)  # munge refuses others
    files = {"key-file": key, **{f"{name}-file": folder / f"munged.{name}" for name in ("pid", "log", "seed")}}
    cluster = Slurm(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(config))
        try:
            cluster.start(
                "munged", "--foreground", "--force", f"--socket={folder}/munge.sock", *(f"--{k}={v}" for k, v in files.items())
            )
            until((folder / "munge.sock").exists)
            cluster.start_node()
            cluster.start_controller()
            yield cluster
        finally:
            with ExitStack() as last:
                for name in list(cluster.daemons):
                    last.callback(cluster.stop, name)
                controller = cluster.daemons.get("slurmctld")
                if controller and controller.poll() is None:
                    cluster.ask("scancel", f"--user={os.getuid()}")
                    until(lambda: not cluster.active())
