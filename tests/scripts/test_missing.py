"""missing.py installs only missing packages; wheelhouse.py downloads all wheels except torch."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import code_version
import missing
import pytest
import wheelhouse

ROOT = Path(__file__).parents[2]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The pip commands that were run. The dry run lists two packages."""
    commands: list[list[str]] = []
    plan = {"install": [{"metadata": {"name": name, "version": "1.0"}} for name in ("pebble", "omegaconf")]}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(plan))

    monkeypatch.setattr(missing.subprocess, "run", run)
    return commands


def test_requirements_are_those_of_lrsweep_and_its_tests() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(missing.requirements()) == {*pyproject["project"]["dependencies"], *pyproject["dependency-groups"]["dev"]}


def test_make_gpu_needs_only_what_runs_need_and_pytest_and_hypothesis() -> None:
    dev = set(missing.requirements()) - set(missing.requirements(for_gpu=True))
    kept = {missing.name_of(line) for line in set(missing.requirements(for_gpu=True))}
    assert {"hydra-core", "pytest", "hypothesis"} <= kept
    assert {"ray", "mypy", "uv"} <= {missing.name_of(line) for line in dev}


def test_only_missing_packages_are_installed_into_the_folder(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["missing.py", ".site"])
    missing.main()
    planned, installed = calls
    assert "--dry-run" in planned
    assert installed[-5:] == ["--no-deps", "--target", ".site", "pebble==1.0", "omegaconf==1.0"]
    assert "--no-index" not in installed


def test_a_wheelhouse_replaces_the_package_index(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["missing.py", ".site", "wheels"])
    missing.main()
    for command in calls:
        assert command[command.index("--no-index") :][:3] == ["--no-index", "--find-links", "wheels"]


def test_a_wheelhouse_is_for_the_given_python_and_without_torch(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["wheelhouse.py", "wheels", "3.12", "x86_64"])
    monkeypatch.setattr(wheelhouse, "write_commit", lambda folder: None)
    wheelhouse.main()
    built, downloaded = calls
    assert built[-2:] == ["wheels", "antlr4-python3-runtime==4.9.*"]  # it has no wheel
    names = {re.split(r"[^\w-]", word)[0] for word in downloaded[downloaded.index("--only-binary=:all:") + 1 :]}
    assert names == {re.split(r"[^\w-]", line)[0] for line in missing.requirements()} - {"torch", "torchvision", "triton"} | {
        "setuptools"
    }
    assert downloaded[downloaded.index("--python-version") + 1] == "3.12"
    assert "manylinux_2_28_x86_64" in downloaded


def test_a_wheelhouse_for_make_gpu_is_small(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["wheelhouse.py", "wheels", "3.12", "x86_64", "--for-gpu"])
    monkeypatch.setattr(wheelhouse, "write_commit", lambda folder: None)
    wheelhouse.main()
    *_, downloaded = calls
    names = {missing.name_of(word) for word in downloaded[downloaded.index("--only-binary=:all:") + 1 :]}
    assert {"hydra-core", "vl-convert-python", "pytest"} <= names
    assert not names & {"torch", "numpy", "pandas", "scipy", "matplotlib", "ray", "mypy"}


@pytest.mark.parametrize(
    ("dirty", "changed", "expected"),
    [(False, False, "abc"), (False, True, None), (True, False, None)],
    ids=["same code", "changed since", "never committed"],
)
def test_a_copy_without_git_knows_its_commit_if_its_code_is_that_of_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dirty: bool, changed: bool, expected: str | None
) -> None:
    root = tmp_path / "checkout"
    (root / "src").mkdir(parents=True)
    (root / "src" / "code.py").write_text("1")
    monkeypatch.setattr(code_version, "ROOT", root)
    monkeypatch.setattr(code_version, "describe", lambda *_, **__: {"git_commit": "abc", "git_dirty": dirty})
    code_version.write_commit(tmp_path)
    if changed:
        (root / "src" / "code.py").write_text("2")
    assert code_version.read_commit(tmp_path) == expected
