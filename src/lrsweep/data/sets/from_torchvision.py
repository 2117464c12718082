"""Data sets that torchvision downloads, into subfolders of machine.data_dir. Their MD5 sums are pinned there."""

from pathlib import Path
from typing import Any

import numpy as np

from lrsweep.data.download import DataError
from lrsweep.data.sources import import_torchvision, reason


def fashion_mnist(folder: Path) -> dict[str, Any]:
    return _both_parts("FashionMNIST", folder)


def kmnist(folder: Path) -> dict[str, Any]:
    return _both_parts("KMNIST", folder)


def cifar10(folder: Path) -> dict[str, Any]:
    return _both_parts("CIFAR10", folder)


def _both_parts(name: str, folder: Path) -> dict[str, Any]:
    try:
        kind = getattr(import_torchvision().datasets, name)
        train, test = (kind(str(folder), train=is_train, download=True) for is_train in (True, False))
    except Exception as error:
        raise DataError(f"{name} is not in {folder.resolve()}, and torchvision cannot download it: {reason(error)}") from error
    (x, y), (x_test, y_test) = ((_channels_second(np.asarray(part.data)), np.asarray(part.targets)) for part in (train, test))
    return {"x": x, "y": y, "x_test": x_test, "y_test": y_test}


def _channels_second(images: Any) -> Any:
    return images.transpose(0, 3, 1, 2) if images.ndim == 4 else images
