"""Random shifts and rotations of training images.

Shapes: B batch, C = 1 channel, H × W = 28 × 28 pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsweep.config import DataConfig


def augment(config: DataConfig, images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate each normalised image about its centre, then shift it. Pixels from outside the image are black."""
    if config.max_shift == config.max_rotation == 0:
        return images_BCHW
    # Drawn on the CPU, so that a seed gives the same moves on every device.
    fractions_B3 = 2 * torch.rand(len(images_BCHW), 3, generator=generator) - 1  # of the bounds: right, down, counterclockwise
    fractions_B3 = fractions_B3.to(images_BCHW.dtype)
    shift_B21 = fractions_B3[:, :2, None] * (2 * config.max_shift / images_BCHW.shape[-1])  # in grid units an image is 2 wide
    angle_B = fractions_B3[:, 2] * math.radians(config.max_rotation)
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    # affine_grid takes the inverse transform: from each output pixel to its source.
    rotation_B22 = torch.stack([cos_B, -sin_B, sin_B, cos_B], dim=1).view(-1, 2, 2)
    inverse_B23 = torch.cat([rotation_B22, -rotation_B22 @ shift_B21], dim=2).to(images_BCHW.device)
    grid_BHW2 = F.affine_grid(inverse_B23, list(images_BCHW.shape), align_corners=False)
    # grid_sample pads with 0, so black (-1) is moved to 0 and back.
    return F.grid_sample(images_BCHW + 1, grid_BHW2, align_corners=False) - 1
