"""scripts/missing.py: only what the interpreter lacks goes into the folder."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import missing  # noqa: E402


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The pip commands given; pip plans to install two packages."""
    given: list[list[str]] = []
    plan = {"install": [{"metadata": {"name": name, "version": "1.0"}} for name in ("pebble", "omegaconf")]}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        given.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(plan))

    monkeypatch.setattr(missing.subprocess, "run", run)
    return given


def test_it_asks_for_all_that_lrsweep_and_its_tests_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(missing.requirements()) == {*project["dependencies"], *project["optional-dependencies"]["dev"]}


def test_only_what_is_missing_is_installed_into_the_folder(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["missing.py", ".site"])
    missing.main()
    planned, installed = calls
    assert "--dry-run" in planned
    assert installed[-5:] == ["--no-deps", "--target", ".site", "pebble==1.0", "omegaconf==1.0"]
    assert "--no-index" not in installed


def test_a_wheelhouse_takes_the_place_of_the_network(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["missing.py", ".site", "wheels"])
    missing.main()
    for command in calls:
        assert command[command.index("--no-index") :][:3] == ["--no-index", "--find-links", "wheels"]
