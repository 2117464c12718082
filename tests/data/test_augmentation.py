"""Images are moved by the right amounts, which are uniform within their bounds.

Shapes: B batch, H × W pixels.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lrsweep.config import DataConfig
from lrsweep.data.augmentation import augment
from lrsweep.data.seeding import generator

Choose = Callable[..., None]


def images(num_images: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(num_images, 1, 28, 28, generator=torch.Generator().manual_seed(7), dtype=dtype) * 2 - 1


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Choose the move of every image, as a fraction from -1 to 1 of its bound."""

    def choose(*, right: float = 0, down: float = 0, counterclockwise: float = 0) -> None:
        draw = torch.tensor([right, down, counterclockwise]) / 2 + 0.5
        monkeypatch.setattr(torch, "rand", lambda *shape, generator: draw.expand(shape))

    return choose


def test_without_bounds_the_images_are_unchanged_and_nothing_is_drawn() -> None:
    batch, source = images(3), generator(0, "augment")
    before = source.get_state()
    assert augment(DataConfig(), batch, source) is batch
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (-3, 0), (0, 3), (0, -3), (2, -1)])
def test_a_shift_by_whole_pixels_is_exact_and_fills_with_black(choose: Choose, right: int, down: int) -> None:
    batch = images(2)
    choose(right=right / 4, down=down / 4)
    moved = augment(DataConfig(max_shift=4), batch, generator(0, "augment"))
    expected = torch.full_like(batch, -1)
    rows, columns = (slice(max(by, 0), 28 + min(by, 0)) for by in (down, right))
    source_rows, source_columns = (slice(max(-by, 0), 28 + min(-by, 0)) for by in (down, right))
    expected[..., rows, columns] = batch[..., source_rows, source_columns]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_quarters", [1, -1, 2])
def test_a_rotation_by_quarters_equals_rot90(choose: Choose, num_quarters: int) -> None:
    batch = images(2)
    choose(counterclockwise=num_quarters / 2)
    rotated = augment(DataConfig(max_rotation=180), batch, generator(0, "augment"))
    torch.testing.assert_close(rotated, torch.rot90(batch, num_quarters, dims=(2, 3)), rtol=0, atol=1e-7)


def test_images_are_rotated_before_they_are_shifted(choose: Choose) -> None:
    batch = images(2)
    choose(right=1, counterclockwise=1)
    moved = augment(DataConfig(max_shift=5, max_rotation=90), batch, generator(0, "augment"))
    torch.testing.assert_close(moved[..., 5:], torch.rot90(batch, 1, dims=(2, 3))[..., :-5], rtol=0, atol=1e-7)
    assert (moved[..., :5] + 1).abs().max() < 1e-6


@pytest.mark.parametrize(("height", "width"), [(28, 56), (56, 28)])
def test_images_that_are_not_square_move_by_pixels_and_keep_their_shapes(choose: Choose, height: int, width: int) -> None:
    batch = torch.full((1, 1, height, width), -1.0, dtype=torch.float64)
    middle_row, middle_column = height // 2, width // 2
    batch[0, 0, middle_row - 1 : middle_row + 1, middle_column - 1 : middle_column + 7] = 1  # a bar, 8 pixels to the right
    choose(down=1, counterclockwise=1)
    moved = augment(DataConfig(max_shift=3, max_rotation=90), batch, generator(0, "augment"))
    expected = torch.full_like(batch, -1)  # the bar points upwards, and is 3 pixels lower
    expected[0, 0, middle_row - 7 + 3 : middle_row + 1 + 3, middle_column - 1 : middle_column + 1] = 1
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)


def test_a_shift_by_a_quarter_of_a_pixel_interpolates_linearly(choose: Choose) -> None:
    batch = images(2)
    choose(right=0.5)
    moved = augment(DataConfig(max_shift=0.5), batch, generator(0, "augment"))
    torch.testing.assert_close(moved[..., 1:], 0.75 * batch[..., 1:] + 0.25 * batch[..., :-1], rtol=0, atol=1e-12)


def centroids(batch: Tensor) -> tuple[Tensor, Tensor]:
    """[B] each: pixels to the right of the image's centre, and below it."""
    light_BHW = batch[:, 0] + 1
    place = torch.arange(28, dtype=batch.dtype) - 13.5
    total_B = light_BHW.sum(dim=(1, 2))
    return (light_BHW.sum(dim=1) @ place) / total_B, (light_BHW.sum(dim=2) @ place) / total_B


def assert_uniform(values: Tensor, bound: float) -> None:
    """Check the bounds, and the mean and variance within four standard errors."""
    fractions, num = values / bound, len(values)
    assert fractions.abs().max() <= 1.001
    assert fractions.mean().abs() < 4 / math.sqrt(3 * num)
    assert abs(fractions.square().mean() - 1 / 3) < 4 * math.sqrt(4 / 45 / num)


def spot(right: float, down: float) -> Tensor:
    """[1, 1, 28, 28]: a soft white spot on black."""
    place = torch.arange(28, dtype=torch.float64) - 13.5
    return (2 * torch.exp(-((place - right) ** 2 + (place[:, None] - down) ** 2) / 4.5) - 1)[None, None]


def test_shifts_are_uniform_and_independent_in_both_directions() -> None:
    batch = spot(0, 0).expand(4_000, -1, -1, -1)
    right, down = centroids(augment(DataConfig(max_shift=3), batch, generator(0, "augment")))
    assert_uniform(right, 3)
    assert_uniform(down, 3)
    assert abs(torch.corrcoef(torch.stack([right, down]))[0, 1]) < 4 / math.sqrt(4_000)


def test_rotations_are_uniform_and_about_the_centre() -> None:
    batch = spot(6, 0).expand(4_000, -1, -1, -1)
    right, down = centroids(augment(DataConfig(max_rotation=30), batch, generator(0, "augment")))
    torch.testing.assert_close(right.hypot(down), torch.full_like(right, 6), rtol=0, atol=0.01)
    assert_uniform(torch.atan2(-down, right), math.radians(30))


def test_the_moves_depend_only_on_the_generator() -> None:
    config, batch, before = DataConfig(max_shift=2, max_rotation=15), images(4, torch.float32), torch.get_rng_state()
    kept, source = batch.clone(), generator(0, "augment")
    first, second = (augment(config, batch, source) for _ in range(2))
    assert torch.equal(first, augment(config, batch, generator(0, "augment")))
    assert not torch.equal(first, second)
    assert not torch.equal(first, augment(config, batch, generator(1, "augment")))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(batch, kept)
    assert (first.shape, first.dtype) == (batch.shape, batch.dtype)
    assert first.min() >= -1
    assert first.max() <= 1 + 1e-6
