"""Weights in files: write them, read them back safely, and load them into a model."""

import io
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from lrsweep.config import ConfigError

_BAD_FILE = "model.init_from={} is damaged or is not a weights file; machine.save_weights writes weights files"


def weights_file(state_dict: dict[str, Tensor], run_id: str) -> bytes:
    """The bytes of a torch.save file. The archive comment, which PyTorch ignores, holds the id of the run."""
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = run_id.encode()
    return buffer.getvalue()


def holds_weights_of(path: Path, run_id: str) -> bool:
    """Whether the file's archive comment names this run. False if the file cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment == run_id.encode()
    except (OSError, zipfile.BadZipFile):
        return False


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file to the CPU. Only tensors are loaded: a file of other objects, which could run code, is refused."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not verify the checksums
            is_damaged = archive.testzip() is not None
        weights = None if is_damaged else torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"model.init_from={path} cannot be read: {error.strerror}") from error
    except Exception as error:  # zipfile and torch.load raise many kinds of exceptions for other files
        raise ConfigError(_BAD_FILE.format(path)) from error
    if not (isinstance(weights, dict) and all(isinstance(weight, Tensor) for weight in weights.values())):
        raise ConfigError(_BAD_FILE.format(path))
    return weights


def set_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load the weights into the model. Names, shapes and types must match exactly."""
    expected, given = ({name: list(t.shape) for name, t in tensors.items()} for tensors in (model.state_dict(), weights))
    for name in expected | given:
        if expected.get(name) != given.get(name):
            there, here = given.get(name, "missing"), expected.get(name, "missing")
            raise ConfigError(
                f"model.init_from holds the weights of a different model: {name} is {there} in the file, but {here} in this model"
            )
    for name, tensor in model.state_dict().items():
        if weights[name].dtype != tensor.dtype:  # PyTorch would convert it, even from complex numbers
            raise ConfigError(f"model.init_from holds other numbers: {name} is {weights[name].dtype}, not {tensor.dtype}")
    model.load_state_dict(weights)
