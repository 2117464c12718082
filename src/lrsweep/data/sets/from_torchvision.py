"""Data sets that torchvision downloads into subfolders of machine.data_dir. Each file must have its published SHA-256."""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lrsweep.data.download import DataError, parse_idx
from lrsweep.data.sources import import_torchvision, reason

SHA256 = {
    "FashionMNIST/raw/train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "FashionMNIST/raw/train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "FashionMNIST/raw/t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    "KMNIST/raw/train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    "KMNIST/raw/train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    "KMNIST/raw/t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
    "KMNIST/raw/t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
}


def fashion_mnist(folder: Path) -> dict[str, Any]:
    return _like_mnist("FashionMNIST", folder)


def kmnist(folder: Path) -> dict[str, Any]:
    return _like_mnist("KMNIST", folder)


def cifar10(folder: Path) -> dict[str, Any]:
    """The archive holds pickles, which can run code. So it is verified before torchvision unpacks and loads it."""
    name = "cifar-10-python.tar.gz"
    with _one_line("CIFAR10", folder):
        sets = import_torchvision().datasets
        if not (folder / name).exists():
            sets.utils.download_url(sets.CIFAR10.url, str(folder), name)
    _read_verified(folder, name)
    train, test = _download("CIFAR10", folder)  # checks the MD5 of what it unpacked
    (x, y), (x_test, y_test) = ((part.data.transpose(0, 3, 1, 2), np.asarray(part.targets)) for part in (train, test))
    return {"x": x, "y": y, "x_test": x_test, "y_test": y_test}


def _like_mnist(name: str, folder: Path) -> dict[str, Any]:
    """From the gzipped files, because torchvision does not check the unpacked ones."""
    _download(name, folder)
    files = [_read_verified(folder, path) for path in SHA256 if path.startswith(f"{name}/")]
    return dict(zip(("x", "y", "x_test", "y_test"), (parse_idx(gzip.decompress(file)) for file in files), strict=True))


def _download(name: str, folder: Path) -> list[Any]:
    with _one_line(name, folder):
        kind = getattr(import_torchvision().datasets, name)
        return [kind(str(folder), train=is_train, download=True) for is_train in (True, False)]


@contextmanager
def _one_line(name: str, folder: Path) -> Iterator[None]:
    """Turn torchvision's errors into a message of one line."""
    try:
        yield
    except Exception as error:
        raise DataError(f"{name} is not in {folder.resolve()}, and torchvision cannot download it: {reason(error)}") from error


def _read_verified(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({reason(error)})"
    else:
        if hashlib.sha256(content).hexdigest() == SHA256[name]:
            return content
        problem = "has another SHA-256 than the published file"
    unpacked = path.parent if "/" in name else folder / "cifar-10-batches-py"
    raise DataError(f"{path.resolve()} {problem}; to download it again, delete {unpacked.resolve()}")
