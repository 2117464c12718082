"""The grid of learning rates, and the resolvers of conf/."""

import math
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.config import ConfigError, GridConfig, log_grid
from lrsweep.config.grid import resolve_log_grid, resolve_offsets, resolve_pick, resolve_ten_to

NAN, INF = math.nan, math.inf


def test_the_default_grid_is_that_of_the_documents() -> None:
    grid = log_grid(GridConfig())
    assert grid == [10 ** round(-6 + 0.1 * i, 1) for i in range(46)]
    assert (grid[0], grid[-1]) == (1e-06, 10**-1.5)


@pytest.mark.parametrize(
    ("start", "stop", "step", "exponents"),
    [
        (-4.0, -2.0, 0.25, [-4, -3.75, -3.5, -3.25, -3, -2.75, -2.5, -2.25, -2]),
        (-3.0, -3.0, 0.1, [-3]),
        (-3.0, -2.0, 0.4, [-3, -2.6, -2.2]),  # the step does not divide the range: the grid ends below `stop`
        (-0.3, 0.0, 0.1, [-0.3, -0.2, -0.1, 0]),
        (-2.0, -1.0, 5.0, [-2]),
        (0.0, 2e-10, 1e-10, [0, 1e-10, 2e-10]),
    ],
)
def test_rates_are_powers_of_ten_and_offsets_are_their_exponents(
    start: float, stop: float, step: float, exponents: list[float]
) -> None:
    assert log_grid(GridConfig(start=start, stop=stop, step=step)) == [10 ** float(m) for m in exponents]
    assert resolve_offsets(start, stop, step) == ",".join(str(float(m)) for m in exponents)


@given(
    start=st.decimals(-10, 5, places=2),
    step=st.decimals("0.01", 2, places=2),
    num_steps=st.integers(0, 100),
    rest=st.decimals(0, 1, places=3).filter(lambda x: x < 1),
)
def test_every_rate_is_ten_to_a_decimal_exponent(start: Decimal, step: Decimal, num_steps: int, rest: Decimal) -> None:
    stop = start + (num_steps + rest) * step
    grid = GridConfig(start=float(start), stop=float(stop), step=float(step))
    rates = log_grid(grid)
    assert rates == [10 ** float(start + i * step) for i in range(num_steps + 1)]
    assert all(a < b for a, b in pairwise(rates))
    assert [float(text) for text in resolve_log_grid(grid.start, grid.stop, grid.step).split(",")] == rates


@pytest.mark.parametrize(
    ("exponents", "rate"),
    [((-3,), 1e-3), ((-0.25, -2.75), 1e-3), ((0.1, 0.2), 10**0.3), ((-300,), 1e-300), ((200, 100), 1e300)],
)
def test_ten_to_adds_decimal_exponents(exponents: tuple[float, ...], rate: float) -> None:
    assert resolve_ten_to(*exponents) == rate


@pytest.mark.parametrize("exponents", [(301,), (-200, -101), (INF,), (NAN,), (INF, -INF)])
def test_ten_to_refuses_exponents_out_of_range(exponents: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^the exponent of a learning rate must be from -300 to 300, got \S+$"):
        resolve_ten_to(*exponents)


@pytest.mark.parametrize(
    ("key", "cases", "value"),
    [
        ("full", ("small", 10, "full", 30), 30),
        (64, (32, -2.5, 64, -2.25), -2.25),
        ("cosine", ("step", 4, "else", 10), 10),
        ("step", ("else", 10, "step", 4), 4),
        (None, (None, "none", "else", "some"), "none"),
    ],
)
def test_pick_returns_the_value_after_the_key(key: Any, cases: tuple[Any, ...], value: Any) -> None:
    assert resolve_pick(key, *cases) == value


def test_pick_refuses_a_key_without_a_value() -> None:
    with pytest.raises(ConfigError, match=r"^this study has no value for 1024, only for 32, 64$"):
        resolve_pick(1024, 32, -2.5, 64, -2.25)
