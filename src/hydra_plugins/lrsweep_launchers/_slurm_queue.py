"""Ask Slurm which jobs have ended, and cancel jobs. This uses only squeue and scancel, so a cluster needs no accounting."""

import os
import subprocess
import time
from collections.abc import Callable, Collection
from typing import Any

_ASK_SECONDS = 10  # asking more often would burden Slurm
# A job without a result counts as lost if squeue has shown it as ended for this long. There are two reasons to wait: if a node
# dies, its jobs are shown as ended for some seconds before Slurm queues them again; and in a shared folder, it may take seconds
# until a result appears.
_SURE_SECONDS = 15
_CANCEL_SECONDS = 60
_FORGOTTEN = "no longer known to Slurm"  # Slurm forgets a job some minutes after its end
# A job in any other state, such as REQUEUED, has not ended.
_ENDED = {
    _FORGOTTEN,
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
_USUAL_REASONS = {"None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime"}  # for which a job waits in the queue


class SlurmQueue:
    """The jobs of one sweep. They are submitit's objects, of which only `job_id` is used."""

    def __init__(self, write: Callable[[str], None]) -> None:
        """`write` prints a line for the user."""
        self._write = write
        self._asked_at = time.monotonic()
        self._answers = True
        self._reasons = set(_USUAL_REASONS)  # usual reasons, and those that were already printed
        self._ended: dict[str, tuple[str, float]] = {}  # job id → the final state, and when we first saw it

    def final_states(self, jobs: Collection[Any]) -> dict[Any, str]:
        """The final states of the jobs that have ended. Leaves out jobs that Slurm queues again."""
        now = time.monotonic()
        if now - self._asked_at >= _ASK_SECONDS:
            self._asked_at = now
            ended = self._ask(jobs)
            self._ended = {job_id: (state, self._ended.get(job_id, ("", now))[1]) for job_id, state in ended.items()}
        sure = {job_id: state for job_id, (state, since) in self._ended.items() if now - since >= _SURE_SECONDS}
        return {job: sure[job.job_id] for job in jobs if job.job_id in sure}

    def cancel(self, jobs: Collection[Any]) -> None:
        """Cancel the jobs and wait for their end. Otherwise the next sweep could train a run that is still training."""
        arrays = sorted({job.job_id.split("_")[0] for job in jobs})
        if not arrays:
            return
        command = ["scancel", "--quiet", *arrays]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode:
            self._write(f"The jobs are not cancelled ({_in_one_line(answer.stderr)}). Cancel them with: {' '.join(command)}")
            return
        deadline = time.monotonic() + _CANCEL_SECONDS
        while len(self._ask(jobs)) < len(jobs) and time.monotonic() < deadline:
            time.sleep(1)

    def _ask(self, jobs: Collection[Any]) -> dict[str, str]:
        """The states of the jobs that squeue shows as ended now, by job id. Empty if Slurm does not answer."""
        command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%r"]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode:
            if self._answers:
                self._write(f"Slurm does not answer ({_in_one_line(answer.stderr)}). The sweep waits for it.")
            self._answers = False
            return {}
        self._answers = True
        rows = {job_id: row for job_id, *row in (line.split("|", 2) for line in answer.stdout.splitlines())}
        ended = {}
        for job in jobs:
            state, reason = rows.get(job.job_id, (_FORGOTTEN, ""))
            if state in _ENDED:
                ended[job.job_id] = state
            elif state == "PENDING" and reason not in self._reasons:
                self._write(f"Job {job.job_id} waits in the Slurm queue: {reason}")
                self._reasons.add(reason)
        return ended


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
