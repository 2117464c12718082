"""A disk that cannot be written, files that are damaged, and paths that are unusual."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from at_work import ROOT, finish, num_lost, until
from small_sweep import RATES, Tried, begin, lost_after, sweep

from lrsweep.storage import store

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, as the results folder."""
    place = tmp_path / "results"
    place.mkdir()
    mount = [shutil.which("mount") or "false", "-t", "tmpfs", "-o", "size=64m", "lrsweep", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves so many bytes."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - leave))
    return filler


@pytest.mark.parametrize("leave", [0, 40_960])
@pytest.mark.fault("the disk is full before a sweep, or gets full in it", "one line, exit code 2; nothing half-written")
def test_a_full_disk(disk: Path, undisturbed: Path, tried: Tried, leave: int) -> None:
    filler = fill(disk, leave)
    code, _, err = sweep(disk.parent)
    assert code == 2
    assert "No space left on device" in err
    assert err.count("\n") == 1
    assert store.scan(disk / "lr").damaged == []
    assert not list(disk.glob("lr/.*.*")) + list(disk.glob("lr/runs/.*.json.*"))
    filler.unlink()
    tried(lost=lost_after(undisturbed, disk.parent))


@pytest.mark.fault("the results folder is read-only", "one line, exit code 2, before anything runs; what is there is left alone")
def test_a_read_only_folder(disk: Path, undisturbed: Path, tried: Tried) -> None:
    shutil.copytree(undisturbed, disk, dirs_exist_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, out, err = sweep(disk.parent, "seed=1")
    assert (code, out) == (2, "")
    assert "Read-only file system" in err
    assert err.count("\n") == 1
    tried(lost=num_lost(disk / "lr", undisturbed / "lr"))


def of_older_schema(text: str) -> str:
    record = json.loads(text)["record"] | {"schema_version": 0}
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"checksum": hashlib.sha256(canonical.encode()).hexdigest(), "record": record})


@pytest.mark.fault("a record is torn, empty, another run's, of an older schema", "it is set aside, and its run done again")
def test_damaged_records(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    shutil.copytree(undisturbed, tmp_path / "results")
    runs = sorted((tmp_path / "results" / "lr" / "runs").glob("*.json"))
    texts = [path.read_text() for path in runs]
    for path, damaged in zip(runs, (texts[0][:-100], "", texts[0], of_older_schema(texts[3])), strict=True):
        path.write_text(damaged)
    lost = lost_after(undisturbed, tmp_path)
    assert sorted(path.name for path in (runs[0].parent / "damaged").iterdir()) == [path.name for path in runs]
    tried(lost=lost, times=4)


@pytest.mark.fault("the data are truncated, or altered, and there is no network", "one line, exit code 2, before anything runs")
def test_damaged_data(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    good, bad = (ROOT / "data" / "mnist.zip").read_bytes(), tmp_path / "bad" / "mnist.zip"
    bad.parent.mkdir()
    nowhere = "http://127.0.0.1:9"
    for content in (good[:-1000], good[:5000] + bytes([good[5000] ^ 1]) + good[5001:]):
        bad.write_bytes(content)
        options = {"PATH": "", "http_proxy": nowhere, "https_proxy": nowhere}
        code, _, err = sweep(tmp_path, f"machine.data_dir={bad.parent}", **options)
        assert code == 2
        assert err.startswith("DataError: MNIST is incomplete")
        assert err.count("\n") == 1
    tried(lost=lost_after(undisturbed, tmp_path), times=2)


@pytest.mark.fault("paths with spaces and Korean letters", "as any other")
def test_paths_of_any_letters(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    (tmp_path / "내 자료").symlink_to(ROOT / "data")
    code, _, err = sweep(tmp_path, "machine.data_dir='내 자료'", "machine.results_dir='학습률 결과'")
    assert code == 0, err
    tried(lost=num_lost(tmp_path / "학습률 결과" / "lr", undisturbed / "lr"))


@pytest.mark.fault("no GPU where one was asked for", "one line, exit code 2, before anything runs")
def test_no_gpu(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    code, out, err = sweep(tmp_path, "machine.device=cuda", CUDA_VISIBLE_DEVICES="")
    assert (code, out) == (2, "")
    assert err == "ConfigError: machine.device is cuda, but PyTorch finds no GPU here; use machine.device=cpu\n"
    tried(lost=lost_after(undisturbed, tmp_path))


@pytest.mark.fault(
    "two sweeps, or a sweep and a single run, in one study at once", "the second is refused in one line that names the first"
)
def test_two_at_once(tmp_path: Path, undisturbed: Path, tried: Tried) -> None:
    tally = tmp_path / "tally"
    with begin(tmp_path, TALLY=str(tally)) as first:
        until(tally.exists)
        os.killpg(first.pid, signal.SIGSTOP)  # at work for as long as this takes
        for second in ([], ["hydra.mode=RUN"]):
            code, out, err = sweep(tmp_path, *second)
            assert (code, out) == (2, "")
            assert err.startswith(f"InUseError: a sweep (process {first.pid}) is at work in results/lr;")
            assert err.count("\n") == 1
        os.killpg(first.pid, signal.SIGCONT)
        assert finish(first)[0] == 0
    assert tally.stat().st_size == 2 * len(RATES)
    tried(lost=num_lost(tmp_path / "results" / "lr", undisturbed / "lr"), times=2)
