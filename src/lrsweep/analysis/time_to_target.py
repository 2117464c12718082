"""The validation accuracy that runs are timed to reach."""

import math


def target_below(accuracy: float) -> float:
    """The highest whole percent that is at least one percentage point below `accuracy`, but no less than 1%."""
    return max(1, math.floor(round(accuracy * 100, 6) - 1)) / 100
