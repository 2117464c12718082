"""scripts/missing.py: only what the interpreter lacks goes into the folder; scripts/wheelhouse.py: wheels to take it from."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import missing  # noqa: E402
import wheelhouse  # noqa: E402


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


def test_the_wheelhouse_is_for_the_python_asked_for_and_without_torch(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["wheelhouse.py", "wheels", "3.12", "x86_64"])
    wheelhouse.main()
    built, downloaded = calls
    assert built[-2:] == ["wheels", "antlr4-python3-runtime==4.9.*"]  # the only one that is no wheel
    asked = {re.split(r"[^\w-]", word)[0] for word in downloaded[downloaded.index("--only-binary=:all:") + 1 :]}
    assert asked == {re.split(r"[^\w-]", line)[0] for line in missing.requirements()} - {"torch", "torchvision"} | {"setuptools"}
    assert downloaded[downloaded.index("--python-version") + 1] == "3.12"
    assert "manylinux_2_28_x86_64" in downloaded
