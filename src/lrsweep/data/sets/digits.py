"""data=digits: 1,797 digits of 8 × 8 pixels, which come with scikit-learn (pip install 'lrsweep[digits]')."""

from typing import Any

import numpy as np

from lrsweep.data.download import DataError


def load() -> tuple[Any, Any]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("data=digits needs scikit-learn: pip install 'lrsweep[digits]'") from error
    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target
