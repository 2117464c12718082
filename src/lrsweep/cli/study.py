"""Run a study from Python: start the command `lrsweep` in a new process and show its output."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

from lrsweep.cli.main import compose, to_app_config


class StudyError(Exception):
    """The command exited with an error, or runs failed or are missing. The message ends with its last lines of output."""


def run_study(study: str, *overrides: str) -> Path:
    """See `lrsweep.run_study`."""
    command = [sys.executable, "-m", "lrsweep", f"study={study}", *overrides]
    lines = []
    # Through a pipe, because a notebook cell shows only what this process prints.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # the sweep stops its workers and keeps finished runs
            print(process.stdout.read(), end="")
            raise
    if process.returncode:
        raise StudyError(f"{shlex.join(command[2:])} ended with exit code {process.returncode}:\n{''.join(lines[-5:])}")
    named = [override for override in overrides if override.startswith(("study.name=", "machine.results_dir="))]
    return to_app_config(compose(f"study={study}", *named)).folder
