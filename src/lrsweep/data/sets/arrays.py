"""data=arrays: images and labels in a NumPy file."""

import os
import zipfile
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
            with file, zipfile.ZipFile(path) as archive:
                num_bytes = sum(member.file_size for member in archive.infolist())
                if num_bytes > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
                    sizes = f"{num_bytes / 1e6:,.1f} MB of arrays, but this machine has {memory / 1e6:,.1f} MB of memory"
                    raise DataError(f"data.path={path} holds {sizes}")
                return {name: file[name] for name in file.files}
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds of errors for damaged files
        hint = "it holds pickled objects, which could run code" if "allow_pickle" in str(error) else str(error)
        raise DataError(f"data.path={path} cannot be read: {hint}") from error
    raise DataError(f"data.path={path} is not an .npz file, which numpy.savez writes")
