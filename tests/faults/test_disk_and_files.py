"""Disks that cannot be written, damaged files, unusual paths, a jumping clock, and two sweeps at once."""

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
from small_sweep import RATES, RecordLoss, num_lost_after_repeat, start_sweep, sweep, sweep_in_process

from lrsweep.storage import store

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The results folder as a small file system."""
    folder = tmp_path / "results"
    folder.mkdir()
    mount = [shutil.which("mount") or "false", "-t", "tmpfs", "-o", "size=64m", "lrsweep", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def results(tmp_path: Path, undisturbed: Path) -> Path:
    """A results folder that holds the finished sweep."""
    return shutil.copytree(undisturbed, tmp_path / "results")


@pytest.mark.fault("the disk is full before the sweep; it fills up during the sweep", "one line, exit code 2; no partial files")
def test_a_full_disk(disk: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    filler = disk / "filler"
    for num_free_bytes in (0, 40_960):
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - num_free_bytes))
        code, _, err = sweep_in_process(disk.parent)
        assert code == 2
        assert "No space left on device" in err
        assert err.count("\n") == 1
        assert store.scan(disk / "lr").damaged == []
        assert not list(disk.glob("lr/.*.*")) + list(disk.glob("lr/runs/.*.json.*"))
        filler.unlink()
    record_loss(num_lost_after_repeat(undisturbed, disk.parent), num_tries=2)


@pytest.mark.fault("the results folder is read-only", "one line, exit code 2, before any run starts; existing results stay")
def test_a_read_only_folder(disk: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    shutil.copytree(undisturbed, disk, dirs_exist_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, out, err = sweep_in_process(disk.parent, "seed=1")
    assert (code, out) == (2, "")
    assert "Read-only file system" in err
    assert err.count("\n") == 1
    record_loss(num_lost(disk / "lr", undisturbed / "lr"))


def with_older_schema(text: str) -> str:
    record = json.loads(text)["record"] | {"schema_version": 0}
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"checksum": hashlib.sha256(canonical.encode()).hexdigest(), "record": record})


@pytest.mark.fault(
    "a record is cut short; is empty; belongs to another run; has an older schema", "it is set aside, and its run is repeated"
)
def test_damaged_records(tmp_path: Path, results: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    paths = sorted((results / "lr" / "runs").glob("*.json"))[:4]
    texts = [path.read_text() for path in paths]
    for path, damaged in zip(paths, (texts[0][:-100], "", texts[0], with_older_schema(texts[3])), strict=True):
        path.write_text(damaged)
    lost = num_lost_after_repeat(undisturbed, tmp_path)
    assert sorted(path.name for path in (results / "lr" / "runs" / "damaged").iterdir()) == [path.name for path in paths]
    record_loss(lost, num_tries=4)


@pytest.mark.fault(
    "without a network, the MNIST file is cut short; has an altered byte", "one line, exit code 2, before any run starts"
)
def test_damaged_data(
    tmp_path: Path, results: Path, undisturbed: Path, record_loss: RecordLoss, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = (ROOT / "data" / "mnist.zip").read_bytes(), tmp_path / "bad" / "mnist.zip"
    bad.parent.mkdir()
    monkeypatch.setenv("PATH", "")
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    for content in (good[:-1000], good[:5000] + bytes([good[5000] ^ 1]) + good[5001:]):
        bad.write_bytes(content)
        code, _, err = sweep_in_process(tmp_path, "seed=1", f"machine.data_dir={bad.parent}")
        assert code == 2
        assert err.startswith("DataError: ")
        assert err.count("\n") == 1
    record_loss(num_lost(results / "lr", undisturbed / "lr"), num_tries=2)


@pytest.mark.fault("the paths contain spaces and Korean letters", "nothing changes")
@pytest.mark.fault("the clock jumps by hours each time it is read", "nothing changes: times come from a clock that cannot jump")
def test_unusual_paths_and_a_jumping_clock(tmp_path: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    (tmp_path / "내 자료").symlink_to(ROOT / "data")
    paths = ["machine.data_dir='내 자료'", "machine.results_dir='학습률 결과'"]
    code, _, err = sweep(tmp_path, *paths, "hydra.launcher.run_seconds=200", FAULTY="clock")
    assert code == 0, err
    record_loss(num_lost(tmp_path / "학습률 결과" / "lr", undisturbed / "lr"))


@pytest.mark.fault("a GPU is asked for where there is none", "one line, exit code 2, before any run starts")
def test_no_gpu(tmp_path: Path, results: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    code, out, err = sweep_in_process(tmp_path, "seed=1", "machine.device=cuda")
    assert (code, out) == (2, "")
    assert err.startswith("ConfigError: machine.device")
    assert err.count("\n") == 1
    record_loss(num_lost(results / "lr", undisturbed / "lr"))


@pytest.mark.fault(
    "a second sweep, or a single run, is started in the study of a running sweep", "it stops with one line that names the first"
)
def test_two_at_once(tmp_path: Path, undisturbed: Path, record_loss: RecordLoss) -> None:
    tally, results = tmp_path / "tally", tmp_path / "results" / "lr"
    with start_sweep(tmp_path, TALLY=str(tally)) as first:
        until(tally.exists)
        os.killpg(first.pid, signal.SIGSTOP)  # so that it cannot end before the others start
        others = [sweep_in_process(tmp_path, *overrides) for overrides in ([], ["hydra.mode=RUN"])]
        os.killpg(first.pid, signal.SIGCONT)  # before any check, because a stopped process never ends
        for code, out, err in others:
            assert (code, out) == (2, "")
            assert err.startswith("InUseError: ")
            assert f"process {first.pid}" in err
            assert str(results) in err
            assert err.count("\n") == 1
        assert finish(first)[0] == 0
    assert tally.stat().st_size == 2 * len(RATES)
    record_loss(num_lost(results, undisturbed / "lr"), num_tries=2)
