"""One random generator for each source of chance."""

import hashlib

import torch


def generator(seed: int, purpose: str) -> torch.Generator:
    """A stream of its own for each purpose ("split", "weights", "order"): one never shifts another.

    On the CPU whatever the device, so that a seed means the same everywhere.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
