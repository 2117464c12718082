"""One row of floats per run holds the trained tensors of any network.

Shapes: K runs, P floats per run, O and I channels out and in, R × S pixels of a kernel.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]  # name in the module's state dict → [K, *shape in the module]

ALIGNMENT = 32  # floats: each tensor of a row starts at a multiple of 128 bytes, which allows wide loads on a GPU


@dataclass(frozen=True)
class RowLayout:
    """Where each trained parameter is stored in its run's row of floats. The gaps between them stay zero."""

    places: dict[str, tuple[int, torch.Size]]  # name → first float, shape
    num_floats: int

    def groups(self, name: str) -> slice:
        """The tensor's place in groups of ALIGNMENT floats. No two tensors share a group."""
        start, shape = self.places[name]
        return slice(start // ALIGNMENT, -(-(start + shape.numel()) // ALIGNMENT))


def row_layout(model: nn.Module) -> RowLayout:
    places, end = {}, 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            places[name] = end, parameter.shape
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
    return RowLayout(places, end)


def views(rows_KP: Tensor, layout: RowLayout) -> Weights:
    """Every tensor of every run, as views of the rows. Kernels are stored as [O, R, S, I]: channels_last, as in solo."""
    weights = {}
    for name, (start, shape) in layout.places.items():
        flat = rows_KP[:, start : start + shape.numel()]
        if len(shape) == 4:
            num_out, num_in, height, width = shape
            weights[name] = flat.unflatten(1, (num_out, height, width, num_in)).permute(0, 1, 4, 2, 3)
        else:
            weights[name] = flat.view(len(flat), *shape)
    return weights


def write_rows(parts: Iterable[Tensor], rows_KP: Tensor) -> None:
    """The inverse of `views`: write the tensors of every run, in the order of the layout, into its row in one pass."""
    pieces = []
    for part in parts:
        stored = part.permute(0, 1, 3, 4, 2) if part.dim() == 5 else part  # kernels [K, O, I, R, S], as in `views`
        pieces.append(stored.reshape(len(part), -1))
        if gap := -pieces[-1].shape[1] % ALIGNMENT:
            pieces.append(rows_KP.new_zeros(len(rows_KP), gap))
    torch.cat(pieces, dim=1, out=rows_KP)
