"""The grid of learning rates, and the resolvers that files in conf/ use to build sweeps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lrsweep.config.validation import ConfigError, require, require_inside


@dataclass(kw_only=True)
class GridConfig:
    """The learning rates 10^start, 10^(start+step), …, 10^stop."""

    start: float = -6.0
    """Exponent of the smallest rate."""

    stop: float = -1.5
    """Exponent of the largest rate."""

    step: float = 0.1
    """Decades between two rates."""

    offset: float = 0.0
    """Decades from the central rate, in studies that give each optimizer or batch size a central rate."""

    def __post_init__(self) -> None:
        for name in ("start", "stop", "step", "offset"):
            require(math.isfinite(getattr(self, name)), f"grid.{name}", "finite", getattr(self, name))
        require(self.step > 0, "grid.step", "positive", self.step)
        require(self.start <= self.stop, "grid.start", f"at most grid.stop ({self.stop})", self.start)
        require(self.start >= -300, "grid.start", "at least -300", self.start)
        require(self.stop <= 300, "grid.stop", "at most 300", self.stop)
        require((self.stop - self.start) / self.step < 10_000, "grid.step", "coarse enough for 10,000 points", self.step)


def log_grid(grid: GridConfig) -> list[float]:
    """The learning rates of the grid. Each equals Python's `10 ** m` exactly, for a decimal exponent m."""
    return [10**exponent for exponent in _exponents(grid)]


def _exponents(grid: GridConfig) -> list[float]:
    start, stop, step = (Decimal(str(x)) for x in (grid.start, grid.stop, grid.step))
    num_points = int((stop - start) / step) + 1
    return [float(start + i * step) for i in range(num_points)]


def resolve_log_grid(start: float, stop: float, step: float) -> str:
    """`${log_grid:start,stop,step}`: the rates of a grid, as a Hydra choice sweep."""
    return ",".join(map(repr, log_grid(GridConfig(start=start, stop=stop, step=step))))


def resolve_offsets(start: float, stop: float, step: float) -> str:
    """`${offsets:start,stop,step}`: the exponents of a grid, as a Hydra choice sweep."""
    return ",".join(map(repr, _exponents(GridConfig(start=start, stop=stop, step=step))))


def resolve_ten_to(*exponents: float) -> float:
    """`${ten_to:a,b}`: 10^(a+b). The sum is taken in decimal, so 0.1 and 0.2 give exactly 10^0.3."""
    require(abs(sum(exponents)) <= 300, "the exponent of a learning rate", "from -300 to 300", sum(exponents))
    return float(10 ** float(sum(Decimal(str(exponent)) for exponent in exponents)))


def resolve_pick(key: Any, *cases: Any) -> Any:
    """`${pick:key,a,1,b,2,else,3}`: 1 if the key is a, 2 if it is b, otherwise 3."""
    choices = dict(zip(cases[::2], cases[1::2], strict=True))
    if key in choices:
        return choices[key]
    if "else" not in choices:
        raise ConfigError(f"this study has no value for {key!r}, only for {', '.join(map(str, choices))}")
    return choices["else"]


def resolve_inside(folder: str) -> str:
    """`${inside:${study.name}}`: the folder itself, checked before Hydra creates it."""
    require_inside("study.name", str(folder))
    return folder


RESOLVERS: dict[str, Callable[..., Any]] = {
    "log_grid": resolve_log_grid,
    "offsets": resolve_offsets,
    "ten_to": resolve_ten_to,
    "pick": resolve_pick,
    "inside": resolve_inside,
}
