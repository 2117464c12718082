"""The Makefile, with a program in Python's place that writes down what it is asked."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"]}  # without the variables of a make that runs these tests
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then case "$2" in *sys*) echo mine;; *) echo pool;; esac; else echo "$LRSWEEP_COMMAND: $*" >> told; fi
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the Makefile's targets need to be there."""
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "scripts/missing.py"):
        (tmp_path / name).touch()
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def told(folder: Path, *words: str) -> list[str]:
    """Of each call of Python: the command that it would name to go on with, and its arguments."""
    command = ["make", "--file", str(ROOT / "Makefile"), "--directory", str(folder), "PYTHON=./python", *words]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    return (folder / "told").read_text().splitlines()


def test_a_sweep_makes_the_environment_once_finds_the_data_and_names_the_command_it_was(folder: Path) -> None:
    again = "make sweep PYTHON='./python' ARGS='seed=0,1': "
    first = told(folder, "sweep", "ARGS=seed=0,1")
    asked = ["scripts/missing.py .site/mine", "-m lrsweep.data.download data", "-m lrsweep study=lr seed=0,1"]
    assert first == [again + words for words in asked]
    assert told(folder, "sweep", "ARGS=seed=0,1")[3:] == first[1:]


def test_seeds_are_replicated_by_what_suits_the_machine(folder: Path) -> None:
    *_, last = told(folder, "replicate", "SEEDS=10", "STUDY=wide")
    assert (
        last
        == "make replicate STUDY='wide' SEEDS='10' PYTHON='./python': -m lrsweep study=wide seed=range(10) hydra/launcher=pool"
    )


def test_the_quick_tests_are_those_not_marked_slow(folder: Path) -> None:
    *_, last = told(folder, "quick", "ARGS=-k store")
    assert last.endswith("-m not network and not slow -k store")


def test_help_lists_every_target() -> None:
    targets = re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(), re.M)
    shown = subprocess.run(["make", "help"], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("  make ")] == targets
