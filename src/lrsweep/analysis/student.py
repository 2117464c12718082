"""Student's t distribution, for confidence intervals."""

from typing import Any

from scipy import special  # not scipy.stats, which takes as long to import as pandas


def critical_t(level: float, df: Any) -> Any:
    """The value that |t| exceeds with probability `level`. `df` may be an array; NaN where it is not positive."""
    return -special.stdtrit(df, level / 2)
