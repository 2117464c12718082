"""MNIST on the device: a seeded split, normalised images and a seeded batch order.

All images fit in memory, so there is no DataLoader.

Shapes: N images, B batch, C = 1 channel, H × W = 28 × 28 pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lrsweep.config import NUM_MNIST_TRAIN, DataConfig
from lrsweep.data.download import load_mnist
from lrsweep.data.seeding import generator

NUM_CLASSES = 10


@dataclass(frozen=True)
class Mnist:
    """All images, uint8, on the device."""

    train_images: Tensor  # [60000, 28, 28]
    train_labels: Tensor
    test_images: Tensor  # [10000, 28, 28]
    test_labels: Tensor


@dataclass(frozen=True)
class Part:
    images: Tensor  # [N, 1, 28, 28], float32, normalised
    labels: Tensor  # [N], int64

    def __len__(self) -> int:
        return len(self.labels)


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


def split_indices(config: DataConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Disjoint indices of training and validation images."""
    shuffled = torch.randperm(NUM_MNIST_TRAIN, generator=generator(seed, "split"))[config.skip :]
    return shuffled[: config.num_train], shuffled[config.num_train :][: config.num_valid]


def split(mnist: Mnist, config: DataConfig, seed: int) -> Split:
    def part(images: Tensor, labels: Tensor) -> Part:
        return Part(normalise(images), labels.long())

    device = mnist.train_images.device
    train, valid = (indices.to(device) for indices in split_indices(config, seed))
    return Split(
        train=part(mnist.train_images[train], mnist.train_labels[train]),
        valid=part(mnist.train_images[valid], mnist.train_labels[valid]),
        test=part(mnist.test_images[: config.num_test], mnist.test_labels[: config.num_test]),
    )


def batch_order(num_images: int, batch_size: int, order: torch.Generator) -> tuple[Tensor, ...]:
    """One epoch's batches of indices, shuffled. A short last batch is kept, because the documents count 94 steps per epoch."""
    return torch.split(torch.randperm(num_images, generator=order), batch_size)
