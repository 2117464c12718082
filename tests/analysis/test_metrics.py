"""The target of `epochs_to_target`. test_block_design.py tests the metrics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.analysis.metrics import target_below


@pytest.mark.parametrize(
    ("accuracy", "target"),
    [(0.98, 0.97), (0.9899, 0.97), (0.99, 0.98), (0.57, 0.56), (0.58 - 1e-12, 0.57), (1.0, 0.99), (0.015, 0.01), (0.0, 0.01)],
)
def test_the_target_is_a_whole_percent_at_least_one_point_below_and_at_least_1_percent(accuracy: float, target: float) -> None:
    assert target_below(accuracy) == target


@given(num_correct=st.integers(100, 5000))
def test_the_target_is_the_highest_whole_percent_that_leaves_a_point(num_correct: int) -> None:
    """Computed in whole images of 5,000, which needs no rounding."""
    assert round(target_below(num_correct / 5000) * 100) == max(1, (num_correct - 50) // 50)
