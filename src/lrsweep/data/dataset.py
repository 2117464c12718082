"""A data set on the device: a seeded split, normalised images and a seeded batch order.

All images fit in memory, so there is no DataLoader.

Shapes: N images, B batch, C channels, H × W pixels.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lrsweep.config import DataConfig
from lrsweep.data.images import Images, read_images
from lrsweep.data.seeding import generator


@dataclass(frozen=True)
class Part:
    images: Tensor  # [N, C, H, W], float32, normalised
    labels: Tensor  # [N], int64
    black: tuple[float, ...] = (-1.0,)  # a pixel of 0 in each channel, normalised

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class DataSet:
    """All images, uint8 or float32, on the device."""

    train_images: Tensor  # [N, C, H, W]
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    num_classes: int = 10
    mean: tuple[float, ...] = (0.5,)  # of each channel, if pixels are scaled to [0, 1]
    std: tuple[float, ...] = (0.5,)

    @cached_property
    def train(self) -> Part:
        """All training images, normalised once for all runs that share a program."""
        return self.part(self.train_images, self.train_labels)

    @cached_property
    def test(self) -> Part:
        return self.part(self.test_images, self.test_labels)

    def normalise(self, images_NCHW: Tensor) -> Tensor:
        """float32: scaled to [0, 1] if they are uint8, then minus the mean, divided by the std."""
        scaled = images_NCHW.float().div_(255) if images_NCHW.dtype == torch.uint8 else images_NCHW
        mean_C11, std_C11 = (scaled.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return scaled.sub(mean_C11).div_(std_C11)

    def part(self, images: Tensor, labels: Tensor) -> Part:
        black = tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))
        return Part(self.normalise(images), labels, black)


@dataclass(frozen=True)
class Split:
    train: Part
    valid: Part
    test: Part
    num_classes: int = 10

    @property
    def class_counts(self) -> dict[str, list[int]]:
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: torch.bincount(part.labels, minlength=self.num_classes).tolist() for name, part in parts.items()}


def load(config: DataConfig, folder: Path, device: torch.device) -> DataSet:
    """The images of `config.target`, or MNIST, on the device. `folder` is machine.data_dir."""
    return _on_device(read_images(config, folder), device)


@lru_cache(maxsize=2)
def _on_device(images: Images, device: torch.device) -> DataSet:
    return DataSet(
        train_images=torch.tensor(images.train_images, device=device),
        train_labels=torch.tensor(images.train_labels, device=device),
        test_images=torch.tensor(images.test_images, device=device),
        test_labels=torch.tensor(images.test_labels, device=device),
        num_classes=images.num_classes,
        mean=images.mean,
        std=images.std,
    )


def split_indices(config: DataConfig, seed: int, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Disjoint indices of training and validation images. `labels` are those of all training images.

    Images are skipped before classes are chosen, so `skip` leaves out the same images whatever the classes are.
    """
    shuffled = torch.randperm(len(labels), generator=generator(seed, "split")).to(labels.device)[config.skip :]
    chosen = _of_classes(config, shuffled, labels)
    return chosen[: config.num_train], chosen[config.num_train :][: config.num_valid]


def indices_of_test(config: DataConfig, labels: Tensor) -> Tensor:
    """Indices of the test images, in the order of the data set. `labels` are those of all test images."""
    return _of_classes(config, torch.arange(len(labels), device=labels.device), labels)[: config.num_test]


def _of_classes(config: DataConfig, indices: Tensor, labels: Tensor) -> Tensor:
    """Keep the indices whose image is of one of `config.classes`, in the same order."""
    if config.classes is None:
        return indices
    return indices[torch.isin(labels[indices], torch.tensor(config.classes, device=labels.device))]


def split(data_set: DataSet, config: DataConfig, seed: int) -> Split:
    train, valid = split_indices(config, seed, data_set.train_labels)
    test = indices_of_test(config, data_set.test_labels)
    return Split(
        train=data_set.part(data_set.train_images[train], data_set.train_labels[train]),
        valid=data_set.part(data_set.train_images[valid], data_set.train_labels[valid]),
        test=data_set.part(data_set.test_images[test], data_set.test_labels[test]),
        num_classes=data_set.num_classes,
    )


def batch_order(num_images: int, batch_size: int, order: torch.Generator) -> tuple[Tensor, ...]:
    """One epoch's batches of indices, shuffled. A short last batch is kept, because the documents count 94 steps per epoch."""
    return torch.split(torch.randperm(num_images, generator=order), batch_size)
