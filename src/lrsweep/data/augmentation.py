"""Random shifts and rotations of training images.

Shapes: B batch, C channels, H × W pixels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsweep.config import DataConfig


def is_augmented(config: DataConfig) -> bool:
    return config.max_shift > 0 or config.max_rotation > 0


def augment(config: DataConfig, images_BCHW: Tensor, generator: torch.Generator, black: Sequence[float] = (-1.0,)) -> Tensor:
    """Rotate each normalised image about its centre, then shift it. Pixels from outside the image are black.

    `black` is that pixel in each channel, normalised.
    """
    if not is_augmented(config):
        return images_BCHW
    return move(config, images_BCHW, draw_moves(len(images_BCHW), generator), black)


def draw_moves(num_images: int, generator: torch.Generator) -> Tensor:
    """[B, 3]: how far to move each image to the right, down and counterclockwise, as fractions of the bounds.

    On the CPU, so that a seed gives the same moves on every device.
    """
    return 2 * torch.rand(num_images, 3, generator=generator) - 1


def move(config: DataConfig, images_BCHW: Tensor, fractions_B3: Tensor, black: Sequence[float]) -> Tensor:
    """Move each image as drawn by `draw_moves`."""
    fractions_B3 = fractions_B3.to(images_BCHW.dtype)
    height, width = images_BCHW.shape[-2:]
    # In grid units, an image is 2 wide and 2 high.
    bounds_21 = fractions_B3.new_tensor([[2 * config.max_shift / width], [2 * config.max_shift / height]])
    shift_B21 = fractions_B3[:, :2, None] * bounds_21
    angle_B = fractions_B3[:, 2] * math.radians(config.max_rotation)
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    # affine_grid takes the inverse transform: from each output pixel to its source.
    rotation_B4 = torch.stack([cos_B, -sin_B * (height / width), sin_B * (width / height), cos_B], dim=1)
    rotation_B22 = rotation_B4.view(-1, 2, 2)
    inverse_B23 = torch.cat([rotation_B22, -rotation_B22 @ shift_B21], dim=2).to(images_BCHW.device)
    grid_BHW2 = F.affine_grid(inverse_B23, list(images_BCHW.shape), align_corners=False)
    # grid_sample pads with 0, so black is moved to 0 and back.
    black_C11 = images_BCHW.new_tensor(black)[:, None, None]
    return F.grid_sample(images_BCHW - black_C11, grid_BHW2, align_corners=False) + black_C11
