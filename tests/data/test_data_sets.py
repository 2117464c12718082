"""The data sets that ship, besides MNIST. Those of torchvision are read from small files in their formats."""

import gzip
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lrsweep.config import DataConfig
from lrsweep.config.targets import register_own
from lrsweep.data import dataset
from lrsweep.data.download import DataError
from lrsweep.data.images import filled_in, forget_images, read_images
from lrsweep.data.sets import from_torchvision
from lrsweep.data.sources import import_torchvision

DRAWS = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def pin(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Pin the checksums of the files that a test has written."""
    for name in from_torchvision.SHA256:
        if (folder / name).exists():
            monkeypatch.setitem(from_torchvision.SHA256, name, hashlib.sha256((folder / name).read_bytes()).hexdigest())


def write_mnist_like(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """As torchvision stores Fashion-MNIST and KMNIST. Returns the training images and labels."""
    folder.mkdir(parents=True)
    images, labels = DRAWS.integers(0, 256, (30, 28, 28)), np.arange(30) % 10
    for part, count in (("train", 30), ("t10k", 20)):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{part}-{name}-ubyte").write_bytes(idx(array[:count]))
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array[:count])))
    return images, labels


@pytest.mark.parametrize(("name", "subfolder"), [("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_a_data_set_like_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, subfolder: str) -> None:
    images, labels = write_mnist_like(tmp_path / subfolder / "raw")
    pin(monkeypatch, tmp_path)
    config = DataConfig(target=f"lrsweep.data.sets.from_torchvision:{name}", num_train=20, num_valid=10, num_test=0)
    read = read_images(config, tmp_path)
    assert np.array_equal(read.train_images[:, 0], images)
    assert np.array_equal(read.train_labels, labels)
    assert len(read.test_labels) == 20
    filled = filled_in(config, tmp_path)
    assert (filled.shape, filled.num_classes, filled.num_test) == ([1, 28, 28], 10, 20)


@pytest.fixture
def save_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Write an archive, and this object as each of the unpacked files. torchvision accepts their MD5."""

    def save(batch: object) -> None:
        kind = import_torchvision().datasets.CIFAR10
        folder = tmp_path / kind.base_folder
        folder.mkdir()

        def write(name: str, content: object) -> str:
            (folder / name).write_bytes(pickle.dumps(content))
            return hashlib.md5((folder / name).read_bytes()).hexdigest()

        sums = {name: write(name, batch) for name, _ in [*kind.train_list, *kind.test_list]}
        monkeypatch.setattr(kind, "train_list", [[name, sums[name]] for name, _ in kind.train_list])
        monkeypatch.setattr(kind, "test_list", [[name, sums[name]] for name, _ in kind.test_list])
        meta = write(kind.meta["filename"], {"label_names": [str(i) for i in range(10)]})
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": meta})
        (tmp_path / kind.filename).write_bytes(b"the archive")

    return save


CIFAR10 = DataConfig(target="lrsweep.data.sets.from_torchvision:cifar10", num_train=0, num_valid=0, num_test=0)


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_cifar10: Callable[[object], None]) -> None:
    images = DRAWS.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    save_cifar10({"data": images.reshape(10, -1), "labels": list(range(10))})
    pin(monkeypatch, tmp_path)
    read = read_images(CIFAR10, tmp_path)
    assert np.array_equal(read.train_images, np.tile(images, (5, 1, 1, 1)))
    assert read.train_images.shape == (50, 3, 32, 32)
    np.testing.assert_allclose(read.mean, images.mean(axis=(0, 2, 3)) / 255)
    np.testing.assert_allclose(read.std, images.std(axis=(0, 2, 3)) / 255)


class RunsCode:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_no_code_of_an_unknown_cifar10_archive_runs(tmp_path: Path, save_cifar10: Callable[[object], None]) -> None:
    save_cifar10(RunsCode(tmp_path / "it ran"))
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz has another SHA-256 than the published file"):
        read_images(CIFAR10, tmp_path)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("content", [None, b"other bytes"], ids=["absent", "changed"])
def test_a_download_without_the_published_bytes_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    raw = tmp_path / "KMNIST" / "raw"
    write_mnist_like(raw)
    path = raw / "train-images-idx3-ubyte.gz"
    path.unlink() if content is None else path.write_bytes(content)
    problem = "cannot be read (No such file or directory)" if content is None else "has another SHA-256 than the published file"
    with pytest.raises(DataError) as error:
        read_images(DataConfig(target="lrsweep.data.sets.from_torchvision:kmnist"), tmp_path)
    assert str(error.value) == f"{path} {problem}; to download it again, delete {raw}"


def test_a_data_set_that_cannot_be_downloaded_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_torchvision().datasets.KMNIST, "mirrors", [])
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", raise_no_network)
    with pytest.raises(DataError) as error:
        read_images(DataConfig(target="lrsweep.data.sets.from_torchvision:kmnist"), tmp_path)
    assert str(error.value).startswith(f"KMNIST is not in {tmp_path}, and torchvision cannot download it: ")
    assert len(str(error.value).splitlines()) == 1


def raise_no_network(*args: object, **kwargs: object) -> None:
    raise OSError("no network")


def test_the_digits_of_scikit_learn(tmp_path: Path) -> None:
    config = filled_in(DataConfig(target="lrsweep.data.sets.digits:load", num_train=0, num_valid=0, num_test=0), tmp_path)
    assert (config.shape, config.num_classes) == ([1, 8, 8], 10)
    assert (config.num_train, config.num_valid, config.num_test) == (1_151, 287, 359)
    assert config.content == filled_in(config, tmp_path).content
    data_set = dataset.load(config, tmp_path, torch.device("cpu"))
    pixels = data_set.train.images
    assert abs(pixels.mean().item()) < 1e-5  # normalised with the mean and std of the training images
    assert abs(pixels.std(correction=0).item() - 1) < 1e-5
    assert data_set.train.black == pytest.approx([-data_set.mean[0] / data_set.std[0]])


def test_a_split_of_own_data_has_no_image_twice(tmp_path: Path) -> None:
    path = tmp_path / "numbered.npz"
    np.savez(path, x=np.arange(100, dtype=np.float32)[:, None, None], y=np.arange(100) % 2)
    target = "lrsweep.data.sets.arrays:load"
    config = filled_in(DataConfig(target=target, path=str(path), num_train=0, num_valid=0, num_test=0), tmp_path)
    data_set = dataset.load(config, tmp_path, torch.device("cpu"))
    seen: dict[int, list[int]] = {}
    for seed in (0, 1):
        parts = dataset.split(data_set, config, seed)
        numbers = [
            [round(float(value)) for value in part.images.flatten() * data_set.std[0] + data_set.mean[0]]
            for part in (parts.train, parts.valid, parts.test)
        ]
        assert sorted(number for part in numbers for number in part) == list(range(100))
        assert [int(label) for label in parts.train.labels] == [number % 2 for number in numbers[0]]
        seen[seed] = numbers[2]
    assert seen[0] == seen[1]  # every seed is tested on the same images


def test_a_file_with_more_arrays_than_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1000, 100), dtype=np.uint8), y=np.arange(1000) % 2)
    assert path.stat().st_size < 1e6
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 10_000, "SC_PAGE_SIZE": 4096}.get)
    with pytest.raises(DataError) as error:
        read_images(DataConfig(target="lrsweep.data.sets.arrays:load", path=str(path)), tmp_path)
    assert str(error.value) == f"data.path={path} holds 100.0 MB of arrays, but this machine has 41.0 MB of memory"


@pytest.mark.parametrize("as_kind", [np.asarray, torch.tensor], ids=["arrays", "tensors"])
def test_bytes_and_floats_give_the_same_pixels(tmp_path: Path, as_kind: Callable[..., Any]) -> None:
    images, labels = DRAWS.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8), as_kind(np.arange(40) % 2)
    pixels = []
    for given in (as_kind(images), as_kind(images / 255)):
        target = register_own(lambda given=given: (given, labels), "given")
        forget_images()
        config = DataConfig(target=target, num_train=10, num_valid=5, num_test=5)
        pixels.append(dataset.load(config, tmp_path, torch.device("cpu")).train.images)
    torch.testing.assert_close(*pixels)
