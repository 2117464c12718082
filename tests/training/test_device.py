"""The device, and the description of the machine."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from lrsweep.config import ConfigError, MachineConfig
from lrsweep.training import device
from lrsweep.training.device import describe, num_cores, prepare_device, same_settings_after

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _restore_settings() -> Iterator[None]:
    with same_settings_after():
        yield


@pytest.mark.parametrize(
    ("setting", "num_gpus", "expected"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda"),
        ("cpu", 0, "cpu"),
        ("cpu", 2, "cpu"),
        ("cuda", 2, "cuda"),
        ("cuda:1", 2, "cuda:1"),
        ("cuda", 0, "machine.device is cuda, but PyTorch finds no GPU here; use machine.device=cpu"),
        ("cuda:1", 0, "machine.device is cuda:1, but PyTorch finds no GPU here; use machine.device=cpu"),
        ("cuda:1", 1, "machine.device is cuda:1, but the last GPU here is cuda:0"),
    ],
)
def test_the_device_is_selected_or_refused(monkeypatch: pytest.MonkeyPatch, setting: str, num_gpus: int, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    try:
        actual = str(prepare_device(MachineConfig(device=setting)))
    except ConfigError as error:
        actual = str(error)
    assert actual == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_set(threads: int) -> None:
    prepare_device(MachineConfig(device="cpu", threads=threads))
    assert torch.get_num_threads() == threads
    assert describe(CPU, workers=1)["threads"] == threads


@pytest.mark.parametrize(("precision", "is_tf32"), [("fp32", False), ("tf32", True)])
def test_the_precision_holds_for_convolutions_and_for_matrix_products(precision: str, is_tf32: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not is_tf32
    prepare_device(MachineConfig(device="cpu", precision=precision))
    assert torch.backends.cuda.matmul.allow_tf32 is is_tf32
    assert torch.backends.cudnn.allow_tf32 is is_tf32


@pytest.mark.parametrize(
    ("kind", "setting", "described"),
    [("cuda", "fp32", "fp32"), ("cuda", "tf32", "tf32"), ("cpu", "fp32", "fp32"), ("cpu", "tf32", "fp32")],
)
def test_precision_and_names_are_those_of_the_device(
    monkeypatch: pytest.MonkeyPatch, kind: str, setting: str, described: str
) -> None:
    prepare_device(MachineConfig(device="cpu", precision=setting))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5)
    machine = describe(torch.device(kind), workers=1)
    assert machine["precision"] == described
    is_gpu = kind == "cuda"
    assert (machine["device_name"] == "a GPU", machine["peak_gpu_memory_bytes"]) == (is_gpu, 5 if is_gpu else None)
    assert machine["cpu_name"] == describe(CPU, workers=1)["device_name"]


@pytest.mark.parametrize(("setting", "is_tf32"), [("fp32", False), ("tf32", True)])
def test_a_description_of_a_gpu_says_which_modes_were_set(monkeypatch: pytest.MonkeyPatch, setting: str, is_tf32: bool) -> None:
    prepare_device(MachineConfig(device="cpu", precision=setting))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert describe(torch.device("cuda"), workers=1)["modes"] == {
        **{"matmul_tf32": is_tf32, "cudnn_tf32": is_tf32, "cudnn_benchmark": True},
        **{"cudnn_deterministic": False, "deterministic_algorithms": False},
    }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_description_of_a_gpu_creates_no_context_on_it() -> None:
    describes = (
        "import torch; from lrsweep.config import MachineConfig; from lrsweep.training.device import describe, prepare_device; "
        "describe(prepare_device(MachineConfig()), workers=1); print(torch._C._cuda_hasPrimaryContext(0))"
    )
    assert subprocess.run([sys.executable, "-c", describes], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_description_of_this_machine() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    machine = describe(CPU, workers=3)
    assert json.loads(json.dumps(machine)) == machine
    assert set(machine) == {
        *("finished_at", "device", "device_name", "cpu_name", "cores", "threads", "workers", "precision"),
        *("peak_memory_bytes", "peak_gpu_memory_bytes", "versions", "git_commit", "git_dirty"),
    }
    assert before <= datetime.fromisoformat(machine["finished_at"]) <= datetime.now(UTC)
    assert (machine["device"], machine["workers"], machine["precision"], machine["cores"]) == ("cpu", 3, "fp32", num_cores())
    assert machine["device_name"]
    assert machine["peak_memory_bytes"] > 2**24  # bytes, not KiB: Python with PyTorch needs more than 16 MiB
    assert machine["versions"] == {
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in ("torch", "numpy", "hydra-core")},
        **({"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())} if torch.version.cuda else {}),
    }


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("", 8)],
    ids=["no quota", "two cores", "half a core", "more than there are", "not a quota"],
)
def test_the_quota_of_a_container_limits_the_cores(monkeypatch: pytest.MonkeyPatch, quota: str, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(Path, "read_text", lambda path: quota)
    assert num_cores() == cores


# The commit.


@pytest.fixture(autouse=True)
def _no_outer_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook of git sets variables that name the repository, whatever the working directory is."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


def git(folder: Path, *arguments: str) -> None:
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True)


def test_the_commit_is_that_of_the_code_in_every_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    expected = done.stdout.strip() if done.returncode == 0 else None  # None in an unpacked archive
    monkeypatch.chdir(tmp_path)
    assert device._git_state()["git_commit"] == expected


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device._git_state() == {"git_commit": None, "git_dirty": None}
    monkeypatch.setenv("LRSWEEP_COMMIT", "abc")
    assert device._git_state() == {"git_commit": "abc", "git_dirty": False}


def test_a_package_installed_inside_another_repository_has_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "x")
    monkeypatch.setattr(device, "__file__", str(tmp_path / "training" / "device.py"))
    assert device._git_state() == {"git_commit": None, "git_dirty": None}


@pytest.mark.parametrize(
    ("file", "is_dirty"),
    [("src/lrsweep/new.py", True), ("conf/study/new.yaml", True), ("results/reference/lr/expected.json", False)],
)
def test_only_changed_code_and_configs_make_the_commit_dirty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, is_dirty: bool
) -> None:
    package = tmp_path / "src" / "lrsweep"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").touch()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "x")
    monkeypatch.setattr(device, "__file__", str(package / "training" / "device.py"))
    assert device._git_state()["git_dirty"] is False
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert device._git_state()["git_dirty"] is is_dirty


def test_a_commit_made_after_the_import_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = describe(CPU, workers=1)["git_commit"]
    monkeypatch.setattr(device, "__file__", str(tmp_path / "training" / "device.py"))
    assert describe(CPU, workers=1)["git_commit"] == before
