"""The Makefile, with a stub in place of Python that writes its arguments to a file."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"]}  # without the variables of a make that runs these tests
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then case "$2" in *sys*) echo mine;; *) echo pool;; esac; else echo "$LRSWEEP_COMMAND: $*" >> calls; fi
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "scripts/missing.py"):
        (tmp_path / name).touch()
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def calls(folder: Path, *words: str) -> list[str]:
    """All calls of Python so far: the command that continues an interrupted sweep, and the arguments."""
    command = ["make", "--file", str(ROOT / "Makefile"), "--directory", str(folder), "PYTHON=./python", *words]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    return (folder / "calls").read_text().splitlines()


def test_a_sweep_installs_packages_once_and_names_the_command_that_continues_it(folder: Path) -> None:
    prefix = "make sweep PYTHON='./python' ARGS='seed=0,1': "
    first = calls(folder, "sweep", "ARGS=seed=0,1")
    arguments = ["scripts/missing.py .site/mine", "-m lrsweep.data.download data", "-m lrsweep study=lr seed=0,1"]
    assert first == [prefix + words for words in arguments]
    assert calls(folder, "sweep", "ARGS=seed=0,1")[3:] == first[1:]


def test_replicate_uses_the_launcher_for_this_machine(folder: Path) -> None:
    *_, last = calls(folder, "replicate", "SEEDS=10", "STUDY=wide")
    prefix = "make replicate STUDY='wide' SEEDS='10' PYTHON='./python': "
    assert last == prefix + "-m lrsweep study=wide seed=range(10) hydra/launcher=pool"


@pytest.mark.parametrize(("words", "seeds"), [([], ""), (["SEEDS=3"], " seeds=3")], ids=["default", "SEEDS"])
def test_confirm_leaves_the_number_of_seeds_to_the_study(folder: Path, words: list[str], seeds: str) -> None:
    *_, last = calls(folder, "confirm", "STUDY=schedules", *words)
    assert last.endswith(f"-m lrsweep.cli.confirm study=schedules{seeds}")


def test_quick_leaves_out_slow_tests(folder: Path) -> None:
    *_, last = calls(folder, "quick", "ARGS=-k store")
    assert last.endswith("-m not network and not slow -k store")


def test_gpu_installs_only_what_it_needs_and_passes_on_where_results_go(folder: Path) -> None:
    arguments = ["WHEELHOUSE=wheels", "OUT=home", "ARGS=--minutes 30"]
    assert [line.removeprefix(": ") for line in calls(folder, "gpu", *arguments)] == [
        "scripts/missing.py .site/mine wheels --for-gpu",
        "-m lrsweep.data.download data",
        "scripts/gpu.py --wheelhouse wheels --out home --minutes 30",
    ]


def test_help_lists_every_target() -> None:
    targets = re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(), re.M)
    output = subprocess.run(["make", "help"], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout
    assert [line.split()[1] for line in output.splitlines() if line.startswith("  make ")] == targets
