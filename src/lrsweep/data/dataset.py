"""MNIST on the device: a seeded split, normalised images and a seeded batch order.

All images fit in memory, so there is no DataLoader.

Shapes: N images, B batch, C = 1 channel, H × W = 28 × 28 pixels.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lrsweep.config import NUM_MNIST_TRAIN, DataConfig
from lrsweep.data.download import load_mnist
from lrsweep.data.seeding import generator

NUM_CLASSES = 10


@dataclass(frozen=True)
class Part:
    images: Tensor  # [N, 1, 28, 28], float32, normalised
    labels: Tensor  # [N], int64

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Mnist:
    """All images, uint8, on the device."""

    train_images: Tensor  # [60000, 28, 28]
    train_labels: Tensor
    test_images: Tensor  # [10000, 28, 28]
    test_labels: Tensor

    @cached_property
    def train(self) -> Part:
        """All training images, normalised once for all runs that share a program."""
        return Part(normalise(self.train_images), self.train_labels.long())

    @cached_property
    def test(self) -> Part:
        return Part(normalise(self.test_images), self.test_labels.long())


@dataclass(frozen=True)
class Split:
    train: Part
    valid: Part
    test: Part

    @property
    def class_counts(self) -> dict[str, list[int]]:
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: torch.bincount(part.labels, minlength=NUM_CLASSES).tolist() for name, part in parts.items()}


def load(folder: Path, device: torch.device) -> Mnist:
    raw = load_mnist(folder)
    arrays = (raw.train_images, raw.train_labels, raw.test_images, raw.test_labels)
    return Mnist(*(torch.tensor(array, device=device) for array in arrays))


def normalise(images: Tensor) -> Tensor:
    """uint8 [N, 28, 28] → float32 [N, 1, 28, 28] in [-1, 1]: scaled to [0, 1], then minus 0.5, divided by 0.5."""
    return images.unsqueeze(1).float().div_(255).sub_(0.5).div_(0.5)


def split_indices(config: DataConfig, seed: int, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Disjoint indices of training and validation images. `labels` are those of all 60,000.

    Images are skipped before classes are chosen, so `skip` leaves out the same images whatever the classes are.
    """
    shuffled = torch.randperm(NUM_MNIST_TRAIN, generator=generator(seed, "split")).to(labels.device)[config.skip :]
    chosen = _of_classes(config, shuffled, labels)
    return chosen[: config.num_train], chosen[config.num_train :][: config.num_valid]


def indices_of_test(config: DataConfig, labels: Tensor) -> Tensor:
    """Indices of the test images, in MNIST's order. `labels` are those of all 10,000."""
    return _of_classes(config, torch.arange(len(labels), device=labels.device), labels)[: config.num_test]


def _of_classes(config: DataConfig, indices: Tensor, labels: Tensor) -> Tensor:
    """Keep the indices whose image is of one of `config.classes`, in the same order."""
    if config.classes is None:
        return indices
    return indices[torch.isin(labels[indices], torch.tensor(config.classes, device=labels.device))]


def split(mnist: Mnist, config: DataConfig, seed: int) -> Split:
    def part(images: Tensor, labels: Tensor, indices: Tensor) -> Part:
        return Part(normalise(images[indices]), labels[indices].long())

    train, valid = split_indices(config, seed, mnist.train_labels)
    return Split(
        train=part(mnist.train_images, mnist.train_labels, train),
        valid=part(mnist.train_images, mnist.train_labels, valid),
        test=part(mnist.test_images, mnist.test_labels, indices_of_test(config, mnist.test_labels)),
    )


def batch_order(num_images: int, batch_size: int, order: torch.Generator) -> tuple[Tensor, ...]:
    """One epoch's batches of indices, shuffled. A short last batch is kept, because the documents count 94 steps per epoch."""
    return torch.split(torch.randperm(num_images, generator=order), batch_size)
