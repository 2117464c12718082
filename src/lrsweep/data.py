"""MNIST on the device: one seeded split, normalised, and a seeded batch order. No DataLoader.

Shapes: N images, B batch, C = 1 channel, H × W = 28 × 28 pixels.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsweep.config import NUM_MNIST_TRAIN, DataConfig
from lrsweep.download import load_mnist

NUM_CLASSES = 10


def generator(seed: int, purpose: str) -> torch.Generator:
    """A stream of its own for each purpose ("split", "weights", "order"): one never shifts another.

    On the CPU whatever the device, so that a seed means the same everywhere.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


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
    """uint8 [N, 28, 28] → float32 [N, 1, 28, 28] from -1 to 1: scaled to [0, 1], then mean 0.5, standard deviation 0.5."""
    return images.unsqueeze(1).float().div_(255).sub_(0.5).div_(0.5)


def split_indices(config: DataConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Disjoint indices of training and validation images; the same at every learning rate."""
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
    """One epoch's batches of indices. The last is short where it must be: dropping it would change the 94 steps."""
    return torch.split(torch.randperm(num_images, generator=order), batch_size)


def augment(config: DataConfig, images_BCHW: Tensor, draws: torch.Generator) -> Tensor:
    """Normalised images, each turned about its centre and then shifted by amounts of its own; what comes in is black."""
    if config.max_shift == config.max_rotation == 0:
        return images_BCHW
    # Drawn on the CPU whatever the device, so that a seed means the same moves everywhere.
    shares_B3 = 2 * torch.rand(len(images_BCHW), 3, generator=draws) - 1  # of the bounds: right, down, counterclockwise
    shares_B3 = shares_B3.to(images_BCHW.dtype)
    shift_B21 = shares_B3[:, :2, None] * (2 * config.max_shift / images_BCHW.shape[-1])  # an image is 2 wide
    angle_B = shares_B3[:, 2] * math.radians(config.max_rotation)
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    # Where in the image each pixel of the result comes from: the way back.
    turn_B22 = torch.stack([cos_B, -sin_B, sin_B, cos_B], dim=1).view(-1, 2, 2)
    way_B23 = torch.cat([turn_B22, -turn_B22 @ shift_B21], dim=2).to(images_BCHW.device)
    grid_BHW2 = F.affine_grid(way_B23, list(images_BCHW.shape), align_corners=False)
    # Outside of an image, sampling finds 0: black, where images begin at 0.
    return F.grid_sample(images_BCHW + 1, grid_BHW2, align_corners=False) - 1
