"""Random shifts and rotations of training images.

Shapes: B batch, C = 1 channel, H × W = 28 × 28 pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsweep.config import DataConfig


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
