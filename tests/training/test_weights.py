"""Files of weights: what lrsweep.model writes it reads, and it refuses all else in one line, running nothing of it."""

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
from lrsweep.training.weights import holds_weights_of, load_weights, start_from, weights_file

RUN_ID = "0123456789abcdef"


def cnn(seed: int = 0, **fields: Any) -> nn.Module:
    return build_model(ModelConfig(**fields), generator(seed, "weights"), torch.device("cpu"))


def save_weights(path: Path, state_dict: dict[str, Any]) -> None:
    path.write_bytes(weights_file(state_dict, RUN_ID))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_what_is_written_is_read(tmp_path: Path, batch_norm: bool) -> None:
    path = tmp_path / "seed-0.pt"
    written, model = cnn(batch_norm=batch_norm), cnn(seed=1, batch_norm=batch_norm)
    save_weights(path, written.state_dict())
    start_from(model, load_weights(path))
    for name, weights in written.state_dict().items():
        assert torch.equal(model.state_dict()[name], weights)
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_file_says_whose_weights_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save_weights(path, cnn().state_dict())
    assert holds_weights_of(path, RUN_ID)
    assert not holds_weights_of(path, RUN_ID[::-1])
    assert torch.load(path, weights_only=True).keys() == cnn().state_dict().keys()  # for others it is a file like any other


def test_a_file_that_does_not_say_so_can_be_started_from(tmp_path: Path) -> None:
    """As they were written before."""
    path = tmp_path / "weights.pt"
    torch.save(cnn().state_dict(), path)
    assert not holds_weights_of(path, RUN_ID)
    start_from(cnn(seed=1), load_weights(path))


@pytest.mark.parametrize("what", ["missing", "text", "folder"])
def test_what_is_no_file_of_weights_holds_nobodys(tmp_path: Path, what: str) -> None:
    (tmp_path / "text").write_text(RUN_ID)
    (tmp_path / "folder").mkdir()
    assert not holds_weights_of(tmp_path / what, RUN_ID)


class Code:
    """Read as the object that it says it is, it makes a folder of this name."""

    def __init__(self, name: Path) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.name),)


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


def flipped(path: Path) -> None:
    """One bit of one weight is another: PyTorch alone would read on."""
    save_weights(path, cnn().state_dict())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    save_weights(path, cnn().state_dict())
    path.write_bytes(path.read_bytes()[:10_000])


NO_WEIGHTS: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello world\n"),
    "other zip": other_zip,
    "flipped bit": flipped,
    "cut short": cut,
    "code": lambda path: torch.save(Code(path.with_name("ran")), path),
    "code among weights": lambda path: torch.save(cnn().state_dict() | {"code": Code(path.with_name("ran"))}, path),
    "code before zip": lambda path: torch.save(Code(path.with_name("ran")), path, _use_new_zipfile_serialization=False),
    "module": lambda path: torch.save(cnn(), path),
    "list": lambda path: torch.save([torch.zeros(1)], path),
    "numbers": lambda path: torch.save({"conv1.weight": 1}, path),
}


@pytest.mark.parametrize("write", NO_WEIGHTS.values(), ids=NO_WEIGHTS.keys())
def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(ConfigError) as refusal:
        load_weights(path)
    assert str(refusal.value) == f"model.init_from={path} is not an intact file of weights; machine.save_weights writes one"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["code", "code among weights", "code before zip"])
def test_such_code_runs_where_a_file_is_trusted(tmp_path: Path, name: str) -> None:
    """What the test above refuses is no straw man."""
    NO_WEIGHTS[name](tmp_path / "weights.pt")
    torch.load(tmp_path / "weights.pt", weights_only=False)
    assert (tmp_path / "ran").is_dir()


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        load_weights(tmp_path / "none.pt")
    assert str(missing.value) == f"model.init_from={tmp_path}/none.pt cannot be read: No such file or directory"
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"output.bias": torch.zeros(9)}, "output.bias is [9] there and [10] here"),
        ({"norm1.weight": torch.ones(32)}, "norm1.weight is [32] there and missing here"),
        ({"conv1.bias": None}, "conv1.bias is missing there and [32] here"),
    ],
    ids=["shape", "extra", "missing"],
)
def test_weights_of_another_model_are_refused_and_change_nothing(change: dict[str, Any], told: str) -> None:
    model = cnn()
    weights = {name: tensor for name, tensor in (cnn(seed=1).state_dict() | change).items() if tensor is not None}
    with pytest.raises(ConfigError) as refusal:
        start_from(model, weights)
    assert str(refusal.value) == f"model.init_from holds weights of another model: {told}"
    for name, tensor in cnn().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
