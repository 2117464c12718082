"""Own networks and own data: mistakes are one line, before anything is trained, and a run depends on the code and the data."""

import copy
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from at_work import alive, finish, start, until

import lrsweep
from hydra_plugins.lrsweep_launchers import _core
from lrsweep.cli import execution
from lrsweep.cli.main import compose, to_app_config, with_own_groups
from lrsweep.config import AppConfig, ConfigError, run_id
from lrsweep.config.source_hash import source_hash
from lrsweep.data.images import forget_images
from lrsweep.storage import files, store

Command = Callable[..., int]
DRAWS = np.random.default_rng(0)
LABELS = np.arange(60) % 3
IMAGES = DRAWS.integers(0, 60, (60, 1, 8, 8), dtype=np.uint8) + (80 * LABELS[:, None, None, None]).astype(np.uint8)
FLOATS = (IMAGES / 255).astype(np.float32)

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2))
        self.head = nn.Linear(36 * width, num_classes)

    def forward(self, x):
        return self.head(self.features(x))
"""


@pytest.fixture
def lrsweep_command(lrsweep: Command) -> Command:
    """The fixture `lrsweep` under another name than the package."""
    return lrsweep


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would hide an edit that is made within the same second
    forget_images()
    return tmp_path


def app(*overrides: str) -> AppConfig:
    return to_app_config(compose(*overrides))


def write_arrays(path: Path, **arrays: Any) -> None:
    np.savez(path, **({"x": IMAGES, "y": LABELS} | arrays))


# Wrong networks.

WRONG_NETS = {
    "no such module": (
        "",
        "missing_nets:Net",
        "missing_nets cannot be imported (ModuleNotFoundError: No module named 'missing_nets')",
    ),
    "no such class": (NET, "my_nets:Nett", "my_nets has no class or function Nett; it has Net"),
    "a syntax error": ("class Net(:", "my_nets:Net", "my_nets cannot be imported (SyntaxError: "),
    "a module that exits": ("raise SystemExit(3)", "my_nets:Net", "my_nets cannot be imported (SystemExit: 3)"),
    "a constructor that exits": (
        NET.replace("super().__init__()", "super().__init__(); raise SystemExit(0)"),
        "my_nets:Net",
        "cannot be built: SystemExit: 0",
    ),
    "a forward pass that exits": (
        NET.replace("        return", "        raise SystemExit(0)\n        return"),
        "my_nets:Net",
        "SystemExit: 0",
    ),
    "no colon": (NET, "my_nets.Net", "model.target must be module:name, such as my_nets:Net, got 'my_nets.Net'"),
    "not a module": ("Net = dict", "my_nets:Net", "must give an nn.Module, got dict"),
    "an unknown argument": (
        NET,
        "my_nets:Net model.args={depth:3}",
        "TypeError: Net.__init__() got an unexpected keyword argument 'depth'",
    ),
    "no parameters": ("from torch import nn\nNet = nn.Flatten", "my_nets:Net", "has no parameters to train"),
    "a wrong number of outputs": (
        NET.replace("36 * width, num_classes", "36 * width, 7"),
        "my_nets:Net",
        "must give floats of the shape [2, 3] (images, classes) for images [2, 1, 8, 8], got [2, 7]",
    ),
    "a wrong input size": (
        NET.replace("36 *", "576 *"),
        "my_nets:Net",
        "fails on images of the shape [2, 1, 8, 8]: RuntimeError: mat1",
    ),
    "a tuple as output": (NET.replace("self.head(", "1, self.head("), "my_nets:Net", "got tuple"),
    "outputs that are not numbers": (
        NET.replace("self.head(", "float('nan') * self.head("),
        "my_nets:Net",
        "my_nets:Net gives NaN or infinite outputs before it is trained",
    ),
    "an error only in training": (
        NET.replace("        return", "        assert not self.training or len(x) > 50\n        return"),
        "my_nets:Net",
        "AssertionError",
    ),
    "a batch of one image that batch norm refuses": (
        NET.replace("nn.Flatten(),", "nn.Flatten(), nn.BatchNorm1d(36 * width),"),
        "my_nets:Net data.num_train=33",
        "fails on images of the shape [1, 1, 8, 8]: ValueError: Expected more than 1 value per channel",
    ),
    "a setting of the CNN": (
        NET,
        "my_nets:Net model.dropout=0.5",
        "model.dropout belongs to model=cnn; my_nets:Net has only model.args",
    ),
    "rates of a layer that is not there": (
        NET,
        "my_nets:Net optimizer.rates={body.:0.1}",
        "optimizer.rates.body.: no parameter starts so; there are features.0.weight, features.0.bias",
    ),
}


@pytest.mark.parametrize(("code", "words", "message"), WRONG_NETS.values(), ids=WRONG_NETS)
def test_a_wrong_network_is_one_line_before_anything_is_trained(
    lrsweep_command: Command, folder: Path, capsys: pytest.CaptureFixture[str], code: str, words: str, message: str
) -> None:
    (folder / "my_nets.py").write_text(code)
    write_arrays(folder / "scans.npz")
    target, *others = words.split()
    assert (
        lrsweep_command("study=lr", "grid.step=2", "data=arrays", "data.path=scans.npz", f"model.target={target}", *others) == 2
    )
    out, error = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"ConfigError: [^\n]+\n", error)
    assert message in error
    assert not list(folder.glob("results/*/runs"))


# Wrong data.

NOT_FINITE = FLOATS.copy()
NOT_FINITE[3, 0, 1, 1] = np.nan
WRONG_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "one dimension too few": ({"x": IMAGES[:, 0, 0]}, "x must be images [N, C, H, W] or [N, H, W], got the shape [60, 8]"),
    "channels last": ({"x": np.zeros((60, 8, 8, 3), np.uint8)}, "with the channels last; they must be second"),
    "whole numbers that are not bytes": ({"x": IMAGES.astype(np.int64)}, "x must be uint8 or float, got int64"),
    "NaN": ({"x": NOT_FINITE}, "x holds NaN or infinite pixels"),
    "a negative label": ({"y": LABELS - 1}, "y holds the label -1; labels count from 0"),
    "a label out of range": ({"num_classes": 2}, "with 2 classes, labels must be from 0 to 1, got 2"),
    "one-hot labels": ({"y": np.eye(3)[LABELS]}, "y must be whole numbers [N], got float64 [60, 3]"),
    "too few labels": ({"y": LABELS[:50]}, "x holds 60 images, but y 50 labels"),
    "a class missing from training": ({"num_classes": 5}, "of 5 classes, these have no training image: 3, 4"),
    "a number of classes that is no number": ({"num_classes": "three"}, "num_classes must be a whole number"),
    "a complex mean": ({"mean": 1j}, "mean must be one number"),
    "a label that is too high": ({"y": LABELS * 10_000}, "y holds the label 20000; labels must be below 10000"),
    "one class": ({"y": LABELS * 0}, "there must be 2 to 10000 classes, got 1"),
    "no images": ({"x": IMAGES[:0], "y": LABELS[:0]}, "no images are left for training"),
    "test images of another size": ({"x_test": IMAGES[:, :, :4], "y_test": LABELS}, "only their numbers of images may differ"),
    "test images without labels": ({"x_test": IMAGES}, "y_test are missing"),
    "an unknown name": ({"labels": LABELS}, "labels are not known; the names are x, y, x_test, y_test"),
    "a std of 0": ({"std": 0.0}, "std must be positive"),
    "two means for one channel": ({"mean": [0.1, 0.2]}, "mean must be one number, or one per channel (1)"),
    "pickled objects": ({"y": np.array([object()] * 60)}, "it holds pickled objects, which could run code"),
}


@pytest.mark.parametrize(("arrays", "message"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_wrong_data_are_one_line_before_anything_is_trained(
    lrsweep_command: Command, folder: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, Any], message: str
) -> None:
    write_arrays(folder / "scans.npz", **arrays)
    assert lrsweep_command("study=lr", "grid.step=2", "data=arrays", "data.path=scans.npz", "model=mlp") == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"DataError: [^\n]+\n", error)
    assert message in error
    assert not list(folder.glob("results/*/runs"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.path=none.npz"], "DataError: data.path=none.npz cannot be read: No such file or directory"),
        (["data.path=text.npz"], "DataError: data.path=text.npz cannot be read: "),
        (["data.path=array.npy"], "DataError: data.path=array.npy is not an .npz file, which numpy.savez writes"),
        ([], "DataError: data=arrays needs data.path=FILE.npz, a file with the arrays x, y and perhaps x_test, y_test"),
        (
            ["data.path=scans.npz", "data.num_train=40"],
            "ConfigError: data.skip + data.num_train + data.num_valid must be at most 48, got ",
        ),
        (["data.path=scans.npz", "data.num_train=48"], "ConfigError: data.num_valid must be at least 1, got 0"),
        (["data.path=scans.npz", "data.num_test=13"], "ConfigError: data.num_test must be from 1 to 12, got 13"),
        (
            ["data.path=scans.npz", "data.classes=[0,3]"],
            "ConfigError: data.classes must be at least two different classes from 0 to 2",
        ),
        (["data.path=scans.npz", "data.max_shift=5"], "ConfigError: data.max_shift must be from 0 to 4, got 5.0"),
        (
            ["data.path=scans.npz", f"data.content={'0' * 64}"],
            f"ConfigError: data.content={'0' * 64} does not match the data of ",
        ),
        (
            ["data.path=scans.npz", "model=cnn"],
            "ConfigError: model=cnn needs at least 16 × 16 pixels, got 8 × 8; model=mlp takes any size",
        ),
        (["data.target=sys:nothing"], "ConfigError: data.target=sys:nothing: sys has no class or function nothing; it has "),
        (
            ["data.target=time:time", "data.path=null"],
            "DataError: data.target=time:time must give (x, y), (x, y, x_test, y_test) or a ",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused(
    lrsweep_command: Command, folder: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    write_arrays(folder / "scans.npz")
    np.save(folder / "array.npy", IMAGES)
    (folder / "text.npz").write_text("no zip file")
    models = [] if "model=cnn" in overrides else ["model=mlp"]
    if "data.num_train=40" in overrides:
        overrides = [*overrides, "data.num_valid=9"]
    assert lrsweep_command("data=arrays", *models, *overrides) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"[^\n]+\n", error)
    assert error.startswith(message)


# What the settings become.


def test_the_data_fill_in_shape_classes_and_sizes(folder: Path) -> None:
    write_arrays(folder / "scans.npz")
    data = app("data=arrays", "data.path=scans.npz", "model=mlp").data
    assert (data.shape, data.num_classes) == ([1, 8, 8], 3)
    assert (data.num_test, data.num_valid, data.num_train) == (12, 9, 39)  # a fifth of 60, a fifth of the other 48, the rest
    write_arrays(folder / "more.npz", x_test=IMAGES[:10], y_test=LABELS[:10])
    data = app("data=arrays", "data.path=more.npz", "model=mlp", "data.num_valid=20").data
    assert (data.num_test, data.num_valid, data.num_train) == (10, 20, 40)


def test_a_run_depends_on_the_images_and_not_on_their_place(folder: Path) -> None:
    write_arrays(folder / "a.npz")
    write_arrays(folder / "b.npz")
    write_arrays(folder / "c.npz", x=IMAGES + np.eye(8, dtype=np.uint8))
    names = [run_id(app("data=arrays", f"data.path={name}.npz", "model=mlp").run) for name in "abc"]
    assert names[0] == names[1] != names[2]


def test_a_run_depends_on_the_code_of_its_network_and_of_what_that_imports(folder: Path) -> None:
    write_arrays(folder / "scans.npz")
    (folder / "my_layers.py").write_text("width = 8")
    code = NET.replace("width=8", "width=width").replace("from torch", "from my_layers import width\nfrom torch")

    def name_of_the_run(**files: str) -> str:
        for file, text in files.items():
            (folder / f"{file}.py").write_text(text)
        return run_id(app("data=arrays", "data.path=scans.npz", "model.target=my_nets:Net").run)

    first = name_of_the_run(my_nets=code)
    assert name_of_the_run(other="a file that is not imported") == first
    assert name_of_the_run(my_nets=code + "\n") != first
    assert name_of_the_run(my_nets=code) == first
    assert name_of_the_run(my_layers="import my_nets\nwidth = 8 + 0") != first


def test_an_edited_module_is_imported_again_even_if_its_network_could_not_be(folder: Path) -> None:
    write_arrays(folder / "scans.npz")
    (folder / "my_nets.py").write_text(NET.replace("from torch import nn", "from torch import nn\nfrom my_layers import width"))
    (folder / "my_layers.py").write_text("depth = 3\n")
    words = ["data=arrays", "data.path=scans.npz", "model.target=my_nets:Net"]
    with pytest.raises(ConfigError, match="cannot import name 'width' from 'my_layers'"):
        app(*words)
    (folder / "my_layers.py").write_text("width = 8\n")
    app(*words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("data.target=a:b", "data.target=a:b data=own"),
        ("data=arrays data.target=a:b", "data=arrays data.target=a:b"),
        ("model.target=a:b,a:c -m", "model.target=a:b,a:c -m model=own"),
        ("data.path=x.npz", "data.path=x.npz"),
        ("seed=1", "seed=1"),
    ],
)
def test_a_target_alone_chooses_its_group(words: str, expected: str) -> None:
    assert with_own_groups(words.split()) == expected.split()


CLASS = """
def double(x):
    return 2 * x

class Base:
    size = 3

class Net(Base):
    def __init__(self, width=4):
        self.width = double(width)

    @staticmethod
    def of():
        return 1
"""


def hash_in_a_notebook(code: str) -> str:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(code, names)
    return source_hash("__main__:Net", names["Net"])


@pytest.mark.parametrize(
    ("old", "new"),
    [("width=4", "width=5"), ("2 * x", "3 * x"), ("size = 3", "size = 4"), ("return 1", "return 2"), ("Net(Base)", "Net")],
)
def test_a_class_of_a_notebook_depends_on_all_of_its_code(old: str, new: str) -> None:
    assert hash_in_a_notebook(CLASS) == hash_in_a_notebook(f"# moved\n\n{CLASS}")
    assert hash_in_a_notebook(CLASS) != hash_in_a_notebook(CLASS.replace(old, new))


USING = """
import enum, functools, numpy, torch, types
from dataclasses import dataclass
from torch import relu, tanh

settings = types.SimpleNamespace(width=4)
sizes, pixels, weights = {"a", "b"}, numpy.zeros(3), torch.zeros(3)
width = 4
activation = relu

@dataclass
class Shape:
    depth: int

class Kind(enum.Enum):
    NARROW = "narrow"
    WIDE = "wide"

shape, kind = Shape(1), Kind.WIDE

def block(n):
    return n + 1

@functools.cache
def cached():
    return 5

class Net:
    act = tanh

    def __init__(self):
        self.sum = sum(block(width) for _ in range(2)) + (lambda: inner_size())()
        self.all = settings, sizes, pixels, weights, shape, kind, cached(), activation

    @functools.cached_property
    def size(self):
        return 7

def inner_size():
    return 8
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n + 1", "n + 2"),  # in a generator expression
        ("width = 4", "width = 5"),
        ("return 8", "return 9"),  # in a lambda
        ("width=4", "width=5"),  # in an object
        ('{"a", "b"}', '{"a", "c"}'),
        ("numpy.zeros", "numpy.ones"),
        ("torch.zeros", "torch.ones"),
        ("Shape(1)", "Shape(2)"),
        ("Kind.WIDE", "Kind.NARROW"),
        ("return 5", "return 6"),
        ("return 7", "return 8"),
        ("act = tanh", "act = relu"),
        ("activation = relu", "activation = tanh"),
    ],
)
def test_a_class_of_a_notebook_depends_on_what_its_code_uses(old: str, new: str) -> None:
    assert hash_in_a_notebook(USING) == hash_in_a_notebook(f"# moved\n\nunused = 3\n{USING}")
    assert hash_in_a_notebook(USING) != hash_in_a_notebook(USING.replace(old, new))


def test_a_global_with_the_name_of_an_attribute_does_not_count() -> None:
    code = "class Net:\n    def __init__(self):\n        self.data = 1\n"
    hashes = [hash_in_a_notebook(f"import numpy\ndata = numpy.{data}\n{code}") for data in ("zeros(3)", "ones(3)")]
    assert hashes[0] == hashes[1]


def test_the_hash_of_a_set_does_not_depend_on_its_order() -> None:
    program = (
        "from lrsweep.config.source_hash import source_hash\n"
        "names = {'a', 'b', 'c', 'd', 'e'}\ndef net():\n    return names\nprint(source_hash('__main__:net', net))"
    )
    hashes = {
        subprocess.check_output([sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}) for seed in "123"
    }
    assert len(hashes) == 1


def test_an_object_that_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"__main__:Net uses an object of the type generator .* create it inside __main__:Net"):
        hash_in_a_notebook("numbers = (n for n in [1])\nclass Net:\n    def __init__(self):\n        self.n = next(numbers)\n")


@pytest.mark.parametrize(
    "code",
    [
        "import functools, my_nets\nNet = functools.partial(my_nets.Net, width=8)",
        "import my_nets\nNet = lambda num_classes: my_nets.Net(num_classes)",
        "import my_nets as other\nNet = lambda num_classes: [other.Net(num_classes) for _ in [1]][0]",
        "from my_nets import Net as Base\nclass Net(Base):\n    pass",
        "def Net(num_classes):\n    from my_nets import Net\n    return Net(num_classes)",
        "import my_package.nets\nNet = lambda num_classes: my_package.nets.Net(num_classes)",
    ],
)
def test_a_function_of_a_notebook_depends_on_the_own_modules_that_it_uses(folder: Path, code: str) -> None:
    sys.path.insert(0, str(folder))
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").write_text("")
    hashes = []
    for text in (NET, NET.replace("0.2", "0.3"), NET):
        for file in (folder / "my_nets.py", folder / "my_package" / "nets.py"):
            file.write_text(text)
        hashes.append(hash_in_a_notebook(code))
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_run_depends_on_modules_of_packages_without_init_files(folder: Path) -> None:
    write_arrays(folder / "scans.npz")
    (vision := folder / "models" / "vision").mkdir(parents=True)
    (vision / "net.py").write_text(NET.replace("from torch", "from .layers import rate\nfrom torch").replace("0.2", "rate"))
    names = []
    for rate in (0.2, 0.3):
        (vision / "layers.py").write_text(f"rate = {rate}")
        names.append(run_id(app("data=arrays", "data.path=scans.npz", "model.target=models.vision.net:Net").run))
    assert names[0] != names[1]


def train_solo(changed: AppConfig) -> None:
    execution.run_one(
        changed.run, changed.machine, changed.folder, workers=1, on_epoch=lambda epoch: None, on_message=lambda text: None
    )


def train_fused(changed: AppConfig) -> None:
    done: list[Any] = []
    execution.run_cohort(
        [changed.run],
        [changed.folder],
        changed.machine,
        num_slots=1,
        on_record=lambda i, record: done.append(record),
        on_epoch=done.append,
        on_halved=done.append,
        on_message=done.append,
    )


@pytest.mark.parametrize("train", [train_solo, train_fused])
def test_code_or_images_that_are_edited_during_a_sweep_do_not_train(folder: Path, train: Callable[[AppConfig], None]) -> None:
    write_arrays(folder / "scans.npz")
    (folder / "my_nets.py").write_text(NET)
    begun = app("data=arrays", "data.path=scans.npz", "model.target=my_nets:Net", "training.max_epochs=1")
    (folder / "my_nets.py").write_text(NET.replace("0.2", "0.3"))
    with pytest.raises(ConfigError, match=r"model\.source=\w+ does not match the code of my_nets:Net"):
        train(begun)
    (folder / "my_nets.py").write_text(NET)
    write_arrays(folder / "scans.npz", x=255 - IMAGES)
    with pytest.raises(ConfigError, match=r"data\.content=\w+ does not match the data of"):
        train(begun)
    assert not list(folder.glob("results/**/*.json"))
    write_arrays(folder / "scans.npz")
    train(begun)
    assert list(folder.glob("results/**/*.json"))


def test_installed_packages_in_the_folder_do_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = folder / ".venv" / "lib" / "site-packages"
    (installed / "big_package").mkdir(parents=True)
    monkeypatch.syspath_prepend(installed)
    write_arrays(folder / "scans.npz")
    (folder / "my_nets.py").write_text(NET + "\nimport big_package\n")
    sources = []
    for text in ("size = 1", "size = 22"):
        (installed / "big_package" / "__init__.py").write_text(text)
        sources.append(app("data=arrays", "data.path=scans.npz", "model.target=my_nets:Net").model.source)
    assert sources[0] == sources[1]


@pytest.mark.parametrize("site", ["site-packages", "dist-packages"])
def test_of_an_installed_package_its_other_files_do_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    (package := folder / site / "installed_nets").mkdir(parents=True)
    monkeypatch.syspath_prepend(folder / site)
    write_arrays(folder / "scans.npz")
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text(NET.replace("from torch", "from .layers import rate\nfrom torch").replace("0.2", "rate"))
    sources = []
    for rate in (0.2, 0.3):
        (package / "layers.py").write_text(f"rate = {rate}")
        sources.append(app("data=arrays", "data.path=scans.npz", "model.target=installed_nets.net:Net").model.source)
    assert sources[0] == sources[1]


# Whole sweeps.


def rows_of(study: Path) -> list[tuple[Any, ...]]:
    runs = store.load(study).sort_values(["lr", "seed"])
    return list(runs[["run_id", "lr", "seed", "epochs", "test_accuracy"]].itertuples(index=False, name=None))


SIZES = ["training.max_epochs=2", "optimizer.lr=1e-3,1e-2", "seed=0,1"]


def test_one_command_gives_a_report_on_an_own_network_and_own_images(lrsweep_command: Command, folder: Path) -> None:
    (folder / "my_nets.py").write_text(NET)
    (folder / "my_data.py").write_text(
        "import numpy as np\n\ndef load(noise=0.1):\n    y = np.arange(90) % 3\n"
        "    return np.random.default_rng(0).normal(y[:, None, None], noise, (90, 8, 8)), y\n"
    )
    words = ["-m", "study.name=mine", "data.target=my_data:load", "model.target=my_nets:Net", "model.args={width: 4}", *SIZES]
    assert lrsweep_command(*words) == 0
    before = rows_of(folder / "results" / "mine")
    assert len(before) == 4
    record = next(iter(store.scan(folder / "results" / "mine").records.values()))
    assert len(record.class_counts["train"]) == 3
    assert (folder / "results" / "mine" / "report.html").exists()
    assert "Net" in (folder / "results" / "mine" / "model.txt").read_text()
    assert lrsweep_command(*words) == 0
    assert rows_of(folder / "results" / "mine") == before


def test_an_edited_network_does_not_add_to_the_old_runs(
    lrsweep_command: Command, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arrays(folder / "scans.npz")
    (folder / "my_nets.py").write_text(NET)
    words = ["data=arrays", "data.path=scans.npz", "model.target=my_nets:Net", "study.name=mine", "training.max_epochs=1"]
    assert lrsweep_command(*words) == 0
    (folder / "my_nets.py").write_text(NET.replace("0.2", "0.3"))
    capsys.readouterr()
    assert lrsweep_command(*words, "seed=1") == 2
    assert "results/mine holds runs with other settings: model.source " in capsys.readouterr().err


def test_the_command_and_python_give_the_same_table(
    lrsweep_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "my_nets.py").write_text(NET)
    write_arrays(folder / "scans.npz")
    words = ["data=arrays", "data.path=scans.npz", "model.target=my_nets:Net", "training.max_epochs=2"]
    with monkeypatch.context() as patch:
        patch.setattr(_core, "report_command", lambda app: ["true"])
        assert lrsweep_command("-m", "study.name=command", *words, *SIZES) == 0
    module = importlib.import_module("my_nets")
    for name, workers in (("one", 1), ("two", 2)):
        swept = lrsweep.sweep(
            "training.max_epochs=2", model=module.Net, data="scans.npz", lrs=[1e-3, 1e-2], seeds=2, name=name, workers=workers
        )
        assert rows_of(swept.folder) == rows_of(folder / "results" / "command")
        assert swept.report.exists()
        assert len(swept.table) == 2
        assert set(swept.plateau) <= {1e-3, 1e-2}


def test_a_process_that_dies_fails_its_run_only(folder: Path) -> None:
    dies_once = """        if multiprocessing.parent_process():
            with contextlib.suppress(FileExistsError):
                os.mkdir("died")
                os.kill(os.getpid(), 9)
        return"""
    (folder / "my_nets.py").write_text("import contextlib, multiprocessing, os\n" + NET.replace("        return", dies_once))
    data, rates = (IMAGES, LABELS), [1e-3, 2e-3, 3e-3]
    swept = lrsweep.sweep("training.max_epochs=1", model="my_nets:Net", data=data, lrs=rates, seeds=1, workers=2)
    failed = swept.runs[swept.runs["status"] != "ok"]
    assert failed["error"].tolist() == ["its process was killed by signal 9"]
    assert len(swept.runs) == 3


def test_processes_end_with_a_program_that_is_killed(folder: Path) -> None:
    """Otherwise they would train on, while a second call trains the same runs."""
    waits = """        if multiprocessing.parent_process():
            open(str(os.getpid()), "w").close()
            time.sleep(600)
        return"""
    (folder / "my_nets.py").write_text("import multiprocessing, os, time\n" + NET.replace("        return", waits))
    write_arrays(folder / "scans.npz")
    program = "import lrsweep; lrsweep.sweep(model='my_nets:Net', data='scans.npz', lrs=[0.1, 0.2], seeds=1, workers=2)"
    process = start(folder, program=("-c", program))
    until(lambda: len(list(folder.glob("[0-9]*"))) == 2)
    pids = [int(path.name) for path in folder.glob("[0-9]*")]
    assert alive(pids) == {*pids}
    process.kill()
    finish(process)
    until(lambda: not alive(pids), seconds=60)


def test_trying_a_network_leaves_the_global_random_numbers_alone(folder: Path) -> None:
    write_arrays(folder / "scans.npz")
    (folder / "my_nets.py").write_text("import torch\n" + NET.replace("self.features(x)", "self.features(torch.rand_like(x))"))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    app("data=arrays", "data.path=scans.npz", "model.target=my_nets:Net")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lrs": 0.1}, "lrs must be numbers, and seeds a whole number or several"),
        ({"seeds": [0.7]}, "seeds a whole number or several: 'float' object cannot be interpreted as an integer"),
        ({"lrs": []}, "a sweep needs at least one learning rate and one seed"),
        ({"model": 5}, "model must be a class, a function that builds the network, or a name, not int"),
        ({"model": torch.nn.Linear(1, 1)}, "because each run starts from new weights"),
        ({"data": "digitz"}, "data must be one of arrays, "),
        ({"name": "../out"}, "study.name must be a plain relative path"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
    ],
)
def test_a_mistake_in_python_is_a_config_error_of_one_line(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        lrsweep.sweep(**{"lrs": [1e-3], "data": (IMAGES, LABELS), "model": "mlp"} | arguments)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("machine.save_weights='{seed}.pt'", "would save several runs of this sweep to one file"),
        ("model.init_from=missing.pt", "model.init_from: missing.pt does not exist"),
    ],
)
def test_files_of_weights_are_checked_before_anything_is_trained(folder: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        lrsweep.sweep(override, lrs=[1e-3, 1e-2], seeds=1, data=(IMAGES, LABELS), model="mlp")
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("optimizer.lr=0.5", "the argument lrs, as in lrs=[0.001, 0.01]"),
        ("seed=7", "the argument seeds, as in seeds=[0, 1]"),
        ("grid.step=0.5", "the argument lrs, as in lrs=[0.001, 0.01]"),
        ("hydra/launcher=fused", "the argument workers, or the command lrsweep"),
        ("hydra.launcher.workers=2", "the argument workers, or the command lrsweep"),
        ("find.low=1e-6", "the command lrsweep-find"),
        ("study=lr", "lrsweep.run_study"),
        ("study.name=other", "the argument name"),
    ],
)
def test_an_override_without_effect_is_refused(folder: Path, override: str, instead: str) -> None:
    with pytest.raises(ConfigError) as error:
        lrsweep.sweep(override, lrs=[1e-3], seeds=1, data=(IMAGES, LABELS), model="mlp")
    assert str(error.value) == f"{override} has no effect in lrsweep.sweep; use {instead}"


def test_a_tracker_shows_the_runs_of_a_sweep(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    swept = lrsweep.sweep(
        "tracker=tensorboard", "training.max_epochs=1", lrs=[1e-3], seeds=1, data=(IMAGES, LABELS), model="mlp", workers=1
    )
    [name] = swept.runs["run_id"]
    assert list((folder / "results").rglob(f"tensorboard/**/*{name}*"))


SETTINGS = """
import numpy as np
import torch

import lrsweep

torch.set_num_threads(2)
torch.rand(1000, 1000).exp().sum()  # starts two threads, as any computation in a notebook may
labels = np.arange(60) % 3
images = np.random.default_rng(0).random((60, 20, 20), dtype=np.float32)
settings = ["training.max_epochs=1", "machine.threads=2", "machine.device=cpu"]
swept = lrsweep.sweep(*settings, model="cnn", data=(images, labels), lrs=[1e-3, 1e-2], seeds=1, workers=2)
print(swept.runs["status"].tolist(), swept.runs["threads"].tolist())
torch.set_num_threads(3)
torch.backends.cuda.matmul.allow_tf32 = True
lrsweep.sweep(*settings, model="cnn", data=(images, labels), lrs=[1e-3], seeds=2, workers=1)
print(torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32)
"""


def test_two_workers_train_with_two_threads_each_and_the_caller_keeps_its_settings(folder: Path) -> None:
    code, out, error = finish(start(folder, program=("-c", SETTINGS)))
    assert (code, out) == (0, "['ok', 'ok'] [2, 2]\n3 True\n"), error


def test_several_workers_are_refused_where_there_is_a_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    arguments: dict[str, Any] = {"lrs": [1e-3], "seeds": 1, "data": (IMAGES, LABELS), "model": "mlp"}
    with pytest.raises(ConfigError, match="workers=2 is not possible where PyTorch sees a GPU; use workers=1, "):
        lrsweep.sweep("machine.device=cpu", "training.max_epochs=1", workers=2, **arguments)
    swept = lrsweep.sweep("machine.device=cpu", "training.max_epochs=1", **arguments)
    assert swept.runs["workers"].tolist() == [1]


def test_a_finished_run_is_repeated_for_its_weights(folder: Path) -> None:
    for weights in ([], ["machine.save_weights='{seed}.pt'"]):
        lrsweep.sweep("training.max_epochs=1", *weights, lrs=[1e-3], seeds=1, data=(IMAGES, LABELS), model="mlp")
    assert (folder / "0.pt").is_file()


def test_ctrl_c_says_how_to_continue(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "run_one", stop)
    with pytest.raises(KeyboardInterrupt):
        lrsweep.sweep("training.max_epochs=1", lrs=[1e-3], seeds=1, data=(IMAGES, LABELS), model="mlp", workers=1)
    assert "Stopped. Finished runs are kept. To continue, call lrsweep.sweep again." in capsys.readouterr().err


FAILS_LATER = "import multiprocessing, os\n" + NET.replace(
    "        return",
    """        if multiprocessing.parent_process() and os.path.exists("fail"):
            raise RuntimeError("boom")
        return""",
)


def test_a_run_that_fails_when_it_is_repeated_for_its_weights_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my_nets.py").write_text(FAILS_LATER)
    for weights in ([], ["machine.save_weights='{seed}.pt'"]):
        words = ["training.max_epochs=1", *weights]
        swept = lrsweep.sweep(*words, lrs=[1e-3], seeds=2, data=(IMAGES, LABELS), model="my_nets:Net", workers=2)
        (folder / "fail").touch()
    assert "failed: lr 1.00e-03, seed 0: RuntimeError: boom; its earlier record is kept" in capsys.readouterr().out
    assert swept.runs["status"].tolist() == ["ok", "ok"]


def test_a_command_whose_weights_were_not_saved_fails(
    lrsweep_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_core, "report_command", lambda app: ["true"])
    (folder / "my_nets.py").write_text(FAILS_LATER)
    write_arrays(folder / "scans.npz")
    words = ["-m", "data=arrays", "data.path=scans.npz", "model.target=my_nets:Net", "training.max_epochs=1", "seed=0,1"]
    assert lrsweep_command(*words) == 0
    (folder / "fail").touch()
    assert lrsweep_command(*words, "machine.save_weights='{seed}.pt'") == 1
    out, error = capfd.readouterr()
    assert "2 expected: 0 ok, 0 diverged, 0 failed, 2 missing" in out
    assert "RuntimeError: boom, 2 times; its earlier record is kept" in out + error


@pytest.mark.parametrize("workers", [1, 2])
def test_weights_that_cannot_be_written_end_a_sweep(folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    write = files.write_atomically

    def refuse(path: Path, data: bytes) -> None:
        if path.suffix == ".pt":
            raise files.StoreError(f"{path} cannot be written")
        write(path, data)

    monkeypatch.setattr(files, "write_atomically", refuse)
    words = ["training.max_epochs=1", "machine.save_weights='{seed}.pt'"]
    with pytest.raises(files.StoreError, match=r"0\.pt cannot be written"):
        lrsweep.sweep(*words, lrs=[1e-3], seeds=1, data=(IMAGES, LABELS), model="mlp", workers=workers)


def test_a_rate_or_seed_that_is_given_twice_is_trained_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, data = ["training.max_epochs=1"], (IMAGES, LABELS)
    swept = lrsweep.sweep(*words, lrs=[1e-3, 0.001], seeds=[1, np.int64(1)], data=data, model="mlp", workers=2)
    assert swept.runs["seed"].tolist() == [1]
    assert " 1/1 " in capsys.readouterr().err
    swept = lrsweep.sweep(*words, lrs=[1e-3], seeds=np.int64(2), data=data, model="mlp", name="numpy")  # type: ignore[arg-type]
    assert swept.runs["seed"].tolist() == [0, 1]


def flat(*layers: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), *layers)


SHARED_LAYER, SHARED_NORM = torch.nn.Linear(64, 3), torch.nn.BatchNorm1d(64, affine=False)
SHARED_NETWORK, TEMPLATE = flat(SHARED_LAYER), torch.nn.Linear(64, 3)
FROZEN = torch.nn.Parameter(torch.ones(64, 64), requires_grad=False)


def tied(num_classes: int) -> torch.nn.Module:
    layer = torch.nn.Linear(64, num_classes)
    layer.weight = torch.nn.Parameter(SHARED_LAYER.weight.data)
    return flat(layer)


@pytest.mark.parametrize(
    "model",
    [
        lambda: SHARED_NETWORK,
        lambda: flat(SHARED_LAYER),
        tied,
        lambda num_classes: flat(SHARED_NORM, torch.nn.Linear(64, num_classes)),
    ],
    ids=["network", "layer", "weights", "running means"],
)
def test_a_function_whose_networks_share_weights_is_refused(folder: Path, model: Callable[..., torch.nn.Module]) -> None:
    before = SHARED_LAYER.weight.detach().clone()
    with pytest.raises(ConfigError, match="must build a new network at each call, but its networks share weights"):
        lrsweep.sweep("training.max_epochs=1", lrs=[1e-3], seeds=1, data=(IMAGES, LABELS), model=model, workers=1)
    assert torch.equal(SHARED_LAYER.weight, before)
    assert not (folder / "results").exists()


def test_networks_may_share_frozen_weights_and_start_from_a_copy(folder: Path) -> None:
    def model() -> torch.nn.Module:
        frozen = torch.nn.Linear(64, 64)
        frozen.weight = FROZEN
        return flat(frozen, copy.deepcopy(TEMPLATE))

    swept = lrsweep.sweep("training.max_epochs=1", lrs=[1e-3], seeds=1, data=(IMAGES, LABELS), model=model, workers=1)
    assert swept.runs["status"].tolist() == ["ok"]


def test_names_may_hold_any_letters(folder: Path) -> None:
    swept = lrsweep.sweep(
        "training.max_epochs=1",
        model="mlp",
        data=(IMAGES, LABELS),
        lrs=[1e-3],
        seeds=1,
        name="이름",
        results_dir="내 결과, {1}",
        workers=1,
    )
    assert swept.folder == Path("내 결과, {1}") / "이름"
    assert "lrsweep.sweep again" in (swept.folder / "report.md").read_text(encoding="utf-8")
