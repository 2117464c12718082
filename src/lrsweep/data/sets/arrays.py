"""data=arrays: images and labels in a NumPy file."""

from typing import Any

import numpy as np

from lrsweep.data.download import DataError


def load(path: str | None = None) -> dict[str, Any]:
    """The arrays of an .npz file. Pickled objects, which could run code, are refused."""
    if path is None:
        raise DataError("data=arrays needs data.path=FILE.npz, a file with the arrays x, y and perhaps x_test, y_test")
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.lib.npyio.NpzFile):
            with file:
                return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile and NumPy raise many kinds of errors for damaged files
        hint = "it holds pickled objects, which could run code" if "allow_pickle" in str(error) else str(error)
        raise DataError(f"data.path={path} cannot be read: {hint}") from error
    raise DataError(f"data.path={path} is not an .npz file, which numpy.savez writes")
