"""Independent random generators for the split, the weights, the batch order and so on."""

import hashlib

import torch


def generator(seed: int, purpose: str) -> torch.Generator:
    """A separate stream for each purpose ("split", "weights", "order"), so that draws from one never shift another.

    It lives on the CPU, so that a seed gives the same numbers on every device.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def training_generators(seed: int) -> dict[str, torch.Generator]:
    """The generators that training draws from, by purpose."""
    return {purpose: generator(seed, purpose) for purpose in ("order", "augmentation", "dropout")}
