"""lrsweep.training.device: the device, and what is kept of the machine."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from lrsweep.config import ConfigError, MachineConfig
from lrsweep.training import device
from lrsweep.training.device import describe, num_cores, prepare_device

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("asked", "has_gpu", "device"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cpu", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cuda", True, "cuda"),
        ("cuda:1", True, "cuda:1"),
    ],
)
def test_the_device_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch, asked: str, has_gpu: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert prepare_device(MachineConfig(device=asked)) == torch.device(device)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"machine.device is cuda:1, but there are 1 GPUs, from cuda:0 on"):
        prepare_device(MachineConfig(device="cuda:1"))


@pytest.mark.parametrize("asked", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as refusal:
        prepare_device(MachineConfig(device=asked))
    assert str(refusal.value) == f"machine.device is {asked}, but PyTorch finds no GPU here; use machine.device=cpu"


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_set(threads: int) -> None:
    prepare_device(MachineConfig(device="cpu", threads=threads))
    assert torch.get_num_threads() == threads
    assert describe(CPU, workers=1)["threads"] == threads


@pytest.fixture
def _modes() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("_modes")
@pytest.mark.parametrize(("precision", "is_tf32"), [("fp32", False), ("tf32", True)])
def test_the_precision_holds_for_convolutions_and_for_matrix_products(precision: str, is_tf32: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not is_tf32
    prepare_device(MachineConfig(device="cpu", precision=precision))
    assert torch.backends.cuda.matmul.allow_tf32 is is_tf32
    assert torch.backends.cudnn.allow_tf32 is is_tf32


@pytest.mark.usefixtures("_modes")
@pytest.mark.parametrize(
    ("kind", "asked", "kept"),
    [("cuda", "fp32", "fp32"), ("cuda", "tf32", "tf32"), ("cpu", "fp32", "fp32"), ("cpu", "tf32", "fp32")],
)
def test_the_precision_that_is_kept_is_the_devices(monkeypatch: pytest.MonkeyPatch, kind: str, asked: str, kept: str) -> None:
    prepare_device(MachineConfig(device="cpu", precision=asked))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5)
    described = describe(torch.device(kind), workers=1)
    assert described["precision"] == kept
    is_gpu = kind == "cuda"
    assert (described["device_name"] == "a GPU", described["peak_gpu_memory_bytes"]) == (is_gpu, 5 if is_gpu else None)
    assert described["cpu_name"] == describe(CPU, workers=1)["device_name"]


def test_fp32_is_the_default() -> None:
    assert MachineConfig().precision == "fp32"


def test_cores_are_those_this_process_may_use() -> None:
    assert 1 <= num_cores() <= (os.cpu_count() or 1)


def test_what_is_kept_of_the_machine() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    kept = describe(CPU, workers=3)
    assert json.loads(json.dumps(kept)) == kept
    assert set(kept) == {
        *("finished_at", "device", "device_name", "cpu_name", "cores", "threads", "workers", "precision"),
        *("peak_memory_bytes", "peak_gpu_memory_bytes", "versions", "git_commit", "git_dirty"),
    }
    assert before <= datetime.fromisoformat(kept["finished_at"]) <= datetime.now(UTC)
    assert (kept["device"], kept["workers"], kept["precision"], kept["cores"]) == ("cpu", 3, "fp32", num_cores())
    assert kept["device_name"]
    assert kept["peak_memory_bytes"] > 2**24  # bytes, not KiB: an interpreter with PyTorch takes more than 16 MiB
    assert kept["versions"] == {
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in ("torch", "numpy", "hydra-core")},
        **({"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())} if torch.version.cuda else {}),
    }


def test_the_commit_is_that_of_the_code_wherever_it_is_run_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    expected = done.stdout.strip() if done.returncode == 0 else None  # an unpacked archive has none
    monkeypatch.chdir(tmp_path)
    assert device._git_state()["git_commit"] == expected


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device._git_state() == {"git_commit": None, "git_dirty": None}


def test_a_repository_that_the_code_is_not_part_of_is_not_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As where the package is installed into a virtual environment inside somebody's checkout."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, "commit", "--quiet", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    monkeypatch.setattr(device, "__file__", str(tmp_path / "training" / "device.py"))
    assert device._git_state() == {"git_commit": None, "git_dirty": None}


@pytest.mark.parametrize(
    ("file", "is_dirty"),
    [("src/lrsweep/new.py", True), ("conf/study/new.yaml", True), ("results/reference/lr/expected.json", False)],
)
def test_the_tree_is_dirty_where_code_or_configs_differ(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, is_dirty: bool
) -> None:
    package = tmp_path / "src" / "lrsweep"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").touch()
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(device, "__file__", str(package / "training" / "device.py"))
    assert device._git_state()["git_dirty"] is False
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert device._git_state()["git_dirty"] is is_dirty


def test_the_commit_is_read_when_the_code_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = describe(CPU, workers=1)["git_commit"]
    monkeypatch.setattr(device, "__file__", str(tmp_path / "training" / "device.py"))
    assert describe(CPU, workers=1)["git_commit"] == before


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("", 8)],
    ids=["no quota", "two cores", "half a core", "more than there are", "not a quota"],
)
def test_a_containers_quota_counts(monkeypatch: pytest.MonkeyPatch, quota: str, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(Path, "read_text", lambda path: quota)
    assert device.num_cores() == cores
