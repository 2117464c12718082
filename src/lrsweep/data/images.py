"""Read the images and labels of a data set, and check them. DataError says in one line what is wrong with them.

Shapes: N images, C channels, H × W pixels.
"""

import hashlib
import json
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrsweep.config import DataConfig
from lrsweep.config.targets import accepted_by, load_target
from lrsweep.data.download import DataError, load_mnist
from lrsweep.data.seeding import generator

Array = npt.NDArray[Any]

_PARTS = ("x", "y", "x_test", "y_test")
_OPTIONS = ("num_classes", "mean", "std")
_TEST_SHARE = 0.2  # of all images, if the data set has no test images
_MAX_CLASSES = 10_000  # a larger label is more likely a mistake


@dataclass(frozen=True, eq=False)
class Images:
    """A data set in memory. Images are [N, C, H, W], uint8 (then 255 counts as 1) or float32; labels are int64, from 0.

    A network gets (image - mean) / std, with one mean and one std per channel.
    """

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def counts(self, labels: Array) -> list[int]:
        """The number of images per class."""
        return np.bincount(labels, minlength=self.num_classes).tolist()  # type: ignore[no-any-return]

    @cached_property
    def content(self) -> str:
        """SHA-256 of everything here."""
        digest = hashlib.sha256(repr((self.num_classes, self.mean, self.std)).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def read_images(config: DataConfig, folder: Path) -> Images:
    """The images of the data set, read once per process. `folder` is machine.data_dir."""
    if config.target is None:
        return _read_mnist(folder)
    changed = _change_time(config.path) if config.path else None
    return _read_target(config.target, json.dumps(config.args), config.path, changed, folder)


def filled_in(config: DataConfig, folder: Path) -> DataConfig:
    """The settings, completed with what the images determine: their shape, classes, numbers and hash."""
    if config.target is None:
        return config
    images = read_images(config, folder)
    counts = images.counts(images.train_labels), images.counts(images.test_labels)
    return config.filled_in(images.train_images.shape[1:], *counts, images.content)


@lru_cache(maxsize=2)
def _read_mnist(folder: Path) -> Images:
    raw = load_mnist(folder)
    images = (raw.train_images[:, np.newaxis], raw.test_images[:, np.newaxis])
    labels = (raw.train_labels.astype(np.int64), raw.test_labels.astype(np.int64))
    return Images(images[0], labels[0], images[1], labels[1], 10, (0.5,), (0.5,))  # the documents scale pixels to [-1, 1]


def forget_images() -> None:
    """Read all images again, because what a target names has changed."""
    _read_target.cache_clear()


def _change_time(path: str) -> int:
    try:
        found = Path(path).stat()
    except (OSError, ValueError) as error:
        raise DataError(f"data.path={path} cannot be read: {getattr(error, 'strerror', error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"data.path={path} is not a file")
    return found.st_mtime_ns


@lru_cache(maxsize=2)
def _read_target(target: str, args: str, path: str | None, changed: int | None, folder: Path) -> Images:
    where = f"data.path={path}" if path and target.startswith("lrsweep.") else f"data.target={target}"
    function = load_target("data.target", target)
    given = json.loads(args) | ({} if path is None else {"path": path})
    if "folder" in accepted_by(function):
        given.setdefault("folder", folder)
    try:
        with warnings.catch_warnings(action="ignore"):  # of NumPy, about numbers that are checked here
            return _checked(where, _as_dict(where, function(**given)))
    except DataError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"{where}: {type(error).__name__}: {error}") from error


def _as_dict(where: str, found: Any) -> dict[str, Any]:
    """What a function returned: (x, y), (x, y, x_test, y_test), or a mapping with these names."""
    if isinstance(found, tuple | list) and len(found) in (2, 4):
        found = dict(zip(_PARTS, found, strict=False))
    if not isinstance(found, Mapping):
        raise DataError(f"{where} must give (x, y), (x, y, x_test, y_test) or a dict with these names, not {_kind(found)}")
    unknown = sorted(set(map(str, found)) - {*_PARTS, *_OPTIONS})
    absent = [name for name in ("x", "y") if name not in found]
    if ("x_test" in found) != ("y_test" in found):
        absent.append("y_test" if "x_test" in found else "x_test")
    if absent or unknown:
        problem = f"{' and '.join(absent)} are missing" if absent else f"{', '.join(unknown)} are not known"
        raise DataError(f"{where}: {problem}; the names are {', '.join((*_PARTS, *_OPTIONS))}")
    return dict(found)


def _checked(where: str, found: dict[str, Any]) -> Images:
    x, y = _labelled(where, found, "x", "y")
    if "x_test" in found:
        x_test, y_test = _labelled(where, found, "x_test", "y_test")
    else:
        shuffled = generator(0, "test").initial_seed()  # the same test images for every run
        order = np.random.default_rng(shuffled).permutation(len(y))
        num_test = int(_TEST_SHARE * len(y))
        x_test, y_test, x, y = x[order[:num_test]], y[order[:num_test]], x[order[num_test:]], y[order[num_test:]]
    for use, labels in (("training", y), ("testing", y_test)):
        if len(labels) == 0:
            raise DataError(f"{where}: no images are left for {use}")
    if x.shape[1:] != x_test.shape[1:] or x.dtype != x_test.dtype:
        raise DataError(f"{where}: x is {_shape(x)} and x_test {_shape(x_test)}; only their numbers of images may differ")
    largest = int(max(y.max(), y_test.max()))
    given = np.asarray(found.get("num_classes", largest + 1))
    if given.ndim or not np.issubdtype(given.dtype, np.integer):
        raise DataError(f"{where}: num_classes must be a whole number, got {_shape(given)}")
    num_classes = int(given)
    if not 2 <= num_classes <= _MAX_CLASSES:
        raise DataError(f"{where}: there must be 2 to {_MAX_CLASSES} classes, got {num_classes}")
    if largest >= num_classes:
        raise DataError(f"{where}: with {num_classes} classes, labels must be from 0 to {num_classes - 1}, got {largest}")
    absent = sorted(set(range(num_classes)) - set(np.unique(y).tolist()))
    if absent:
        named = ", ".join(map(str, absent[:10]))
        raise DataError(f"{where}: of {num_classes} classes, these have no training image: {named}")
    mean, std = (_per_channel(where, name, found, x) for name in ("mean", "std"))
    return Images(x, y, x_test, y_test, num_classes, mean, std)


def _labelled(where: str, found: dict[str, Any], x: str, y: str) -> tuple[Array, Array]:
    images, labels = _image_array(f"{where}: {x}", found[x]), _label_array(f"{where}: {y}", found[y])
    if len(images) != len(labels):
        raise DataError(f"{where}: {x} holds {len(images)} images, but {y} {len(labels)} labels")
    return images, labels


def _array(name: str, value: Any) -> Array:
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu()
    array = np.asarray(value)
    if array.dtype == object:
        raise DataError(f"{name} is an array of Python objects; it must be an array of numbers")
    return array


def _image_array(name: str, value: Any) -> Array:
    array = _array(name, value)
    if array.ndim == 3:
        array = array[:, np.newaxis]
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise DataError(f"{name} must be images [N, C, H, W] or [N, H, W], got the shape {list(array.shape)}")
    if array.shape[3] in (1, 3, 4) and array.shape[1] not in (1, 3, 4):
        raise DataError(f"{name} has the shape {list(array.shape)}, with the channels last; they must be second: [N, C, H, W]")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{name} must be uint8 or float, got {array.dtype}")
    array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{name} holds NaN or infinite pixels")
    return array


def _label_array(name: str, value: Any) -> Array:
    array = _array(name, value)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} must be whole numbers [N], got {_shape(array)}")
    if len(array) and array.min() < 0:
        raise DataError(f"{name} holds the label {array.min()}; labels count from 0")
    if len(array) and array.max() >= _MAX_CLASSES:
        raise DataError(f"{name} holds the label {array.max()}; labels must be below {_MAX_CLASSES}")
    return array.astype(np.int64)


def _per_channel(where: str, name: str, found: dict[str, Any], x: Array) -> tuple[float, ...]:
    """The given mean or std, or that of the training images."""
    num_channels = x.shape[1]
    if name in found:
        values = np.asarray(found[name])
        is_real = np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)
        if not is_real or values.size not in (1, num_channels) or not np.isfinite(values.astype(float)).all():
            raise DataError(f"{where}: {name} must be one number, or one per channel ({num_channels})")
        values = np.broadcast_to(values.astype(float).ravel(), num_channels)
    else:
        scale = 255 if x.dtype == np.uint8 else 1
        values = getattr(np, name)(x, axis=(0, 2, 3), dtype=np.float64) / scale
        values = np.where(values == 0, 1.0, values) if name == "std" else values  # a channel that never changes
    if name == "std" and (values <= 0).any():
        raise DataError(f"{where}: std must be positive, got {values.tolist()}")
    return tuple(values.tolist())


def _shape(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _kind(value: Any) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__
