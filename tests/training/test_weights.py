"""Weights files: what is written can be read, and any other file is refused in one line, without running code from it."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lrsweep.config import ConfigError, ModelConfig
from lrsweep.data.seeding import generator
from lrsweep.training.models import build_model
from lrsweep.training.weights import holds_weights_of, load_weights, set_weights, weights_file

RUN_ID = "0123456789abcdef"


def cnn(seed: int = 0, **fields: Any) -> nn.Module:
    return build_model(ModelConfig(**fields), generator(seed, "weights"), torch.device("cpu"))


def save_weights(path: Path, state_dict: dict[str, Any]) -> None:
    path.write_bytes(weights_file(state_dict, RUN_ID))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_written_weights_are_read_back(tmp_path: Path, batch_norm: bool) -> None:
    path = tmp_path / "seed-0.pt"
    written, model = cnn(batch_norm=batch_norm), cnn(seed=1, batch_norm=batch_norm)
    save_weights(path, written.state_dict())
    set_weights(model, load_weights(path))
    for name, weights in written.state_dict().items():
        assert torch.equal(model.state_dict()[name], weights)
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_file_names_the_run_of_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save_weights(path, cnn().state_dict())
    assert holds_weights_of(path, RUN_ID)
    assert not holds_weights_of(path, RUN_ID[::-1])
    assert torch.load(path, weights_only=True).keys() == cnn().state_dict().keys()  # PyTorch can still read it


def test_a_plain_torch_file_names_no_run_but_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(cnn().state_dict(), path)
    assert not holds_weights_of(path, RUN_ID)
    set_weights(cnn(seed=1), load_weights(path))


@pytest.mark.parametrize("name", ["missing", "text", "folder"])
def test_other_files_hold_no_runs_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_text(RUN_ID)
    (tmp_path / "folder").mkdir()
    assert not holds_weights_of(tmp_path / name, RUN_ID)


class Code:
    """Unpickling this object creates a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def write_other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


def write_flipped_bit(path: Path) -> None:
    """One bit of one weight differs. PyTorch alone would not notice."""
    save_weights(path, cnn().state_dict())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_part(path: Path) -> None:
    save_weights(path, cnn().state_dict())
    path.write_bytes(path.read_bytes()[:10_000])


BAD_FILES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello world\n"),
    "other zip": write_other_zip,
    "flipped bit": write_flipped_bit,
    "truncated": write_part,
    "code": lambda path: torch.save(Code(path.with_name("ran")), path),
    "code among weights": lambda path: torch.save(cnn().state_dict() | {"code": Code(path.with_name("ran"))}, path),
    "code in the old format": lambda path: torch.save(Code(path.with_name("ran")), path, _use_new_zipfile_serialization=False),
    "module": lambda path: torch.save(cnn(), path),
    "list": lambda path: torch.save([torch.zeros(1)], path),
    "numbers": lambda path: torch.save({"conv1.weight": 1}, path),
}


@pytest.mark.parametrize("write", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_of_anything_but_weights_is_refused_in_one_line(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(ConfigError) as error:
        load_weights(path)
    message = f"model.init_from={path} is damaged or is not a weights file; machine.save_weights writes weights files"
    assert str(error.value) == message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["code", "code among weights", "code in the old format"])
def test_the_code_in_these_files_would_run_without_the_check(tmp_path: Path, name: str) -> None:
    BAD_FILES[name](tmp_path / "weights.pt")
    torch.load(tmp_path / "weights.pt", weights_only=False)
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize(("name", "reason"), [("none.pt", "No such file or directory"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_weights(tmp_path / name)
    assert str(error.value) == f"model.init_from={tmp_path / name} cannot be read: {reason}"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"output.bias": torch.zeros(9)}, "output.bias is [9] in the file, but [10] in this model"),
        ({"norm1.weight": torch.ones(32)}, "norm1.weight is [32] in the file, but missing in this model"),
        ({"conv1.bias": None}, "conv1.bias is missing in the file, but [32] in this model"),
    ],
    ids=["shape", "extra", "missing"],
)
def test_weights_of_another_model_are_refused_and_change_nothing(change: dict[str, Any], difference: str) -> None:
    model = cnn()
    weights = {name: tensor for name, tensor in (cnn(seed=1).state_dict() | change).items() if tensor is not None}
    with pytest.raises(ConfigError) as error:
        set_weights(model, weights)
    assert str(error.value) == f"model.init_from holds the weights of a different model: {difference}"
    for name, tensor in cnn().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
