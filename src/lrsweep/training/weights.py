"""Files of weights: writing them, reading them back safely, and starting a model from one."""

import io
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from lrsweep.config import ConfigError

_NO_WEIGHTS = "model.init_from={} is not an intact file of weights; machine.save_weights writes one"


def weights_file(state_dict: dict[str, Tensor], run_id: str) -> bytes:
    """As torch.save writes it, and whose weights they are in the archive's comment, which PyTorch passes over."""
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = run_id.encode()
    return buffer.getvalue()


def holds_weights_of(path: Path, run_id: str) -> bool:
    """False also of a file that does not say whose they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment == run_id.encode()
    except (OSError, zipfile.BadZipFile):
        return False


def load_weights(path: Path) -> dict[str, Tensor]:
    """What `weights_file` gave, on the CPU. Only tensors are read: a file of other objects, which could be code, is refused."""
    try:
        with zipfile.ZipFile(path) as archive:  # as torch.save writes; PyTorch itself does not look at the checksums
            damaged = archive.testzip() is not None
        weights = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"model.init_from={path} cannot be read: {error.strerror}") from error
    except Exception as error:  # of many kinds, as zipfile and PyTorch meet what is no file of tensors
        raise ConfigError(_NO_WEIGHTS.format(path)) from error
    if not (isinstance(weights, dict) and all(isinstance(weight, Tensor) for weight in weights.values())):
        raise ConfigError(_NO_WEIGHTS.format(path))
    return weights


def start_from(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Take these weights, all of them, for the model's own."""
    wanted, found = ({name: list(t.shape) for name, t in tensors.items()} for tensors in (model.state_dict(), weights))
    for name in wanted | found:
        if wanted.get(name) != found.get(name):
            theirs, ours = found.get(name, "missing"), wanted.get(name, "missing")
            raise ConfigError(f"model.init_from holds weights of another model: {name} is {theirs} there and {ours} here")
    model.load_state_dict(weights)
