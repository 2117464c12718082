"""Run a study from Python: the command `lrsweep` in a process of its own."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import hydra

from lrsweep.cli.main import register, to_app_config
from lrsweep.config import CONF_DIR


class StudyError(Exception):
    """The command was refused, or left runs missing. The message holds the last lines that it printed."""


def run_study(study: str, *overrides: str) -> Path:
    """See `lrsweep.run_study`."""
    command = [sys.executable, "-m", "lrsweep", f"study={study}", *overrides]
    # Through a pipe, because in a notebook only what this process prints reaches the cell.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        exit_code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)  # the sweep ends its workers and keeps what is finished
        process.wait()
        raise
    if exit_code:
        raise StudyError(f"{shlex.join(command[2:])} ended with exit code {exit_code}:\n{''.join(lines[-5:])}")
    return _folder(study, overrides)


def _folder(study: str, overrides: tuple[str, ...]) -> Path:
    register()
    names = [override for override in overrides if override.startswith(("study.", "machine.results_dir="))]
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = hydra.compose("config", [f"study={study}", *names])
    return to_app_config(config).folder
