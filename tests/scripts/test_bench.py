"""bench.py and baseline.py: the figures are right, and both sides do the same work."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import baseline
import bench
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import flop_registry

from lrsweep.config import ModelConfig, RunConfig
from lrsweep.data.dataset import DataSet, Part, Split
from lrsweep.training.models import CNN

ROOT = Path(__file__).parents[2]


def two_cores() -> None:
    """Bench starts a process per core, while other tests run."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


@pytest.mark.skipif(not (ROOT / "data" / "mnist.zip").is_file(), reason="no MNIST in data/: python -m lrsweep.data.download data")
@pytest.mark.slow
def test_a_tiny_bench_measures_every_contender_on_the_cpu(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), "--out", str(tmp_path)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, "--rounds=1", "--epochs=1", "--images=30"], env=environment, preexec_fn=two_cores, check=True)
    [json_file], [markdown_file] = tmp_path.glob("*.json"), tmp_path.glob("*.md")
    assert json_file.stem == markdown_file.stem
    report, markdown = json.loads(json_file.read_text()), markdown_file.read_text()
    [plain], [together], [alone] = report["measurements"].values()
    assert len(plain["seconds_per_epoch"]) == len(alone["seconds_per_epoch"]) == len(alone["layer_seconds"]) == 1
    assert len(together["seconds_per_epoch"]) == report["machine"]["cores"]
    assert f"{plain['seconds_per_epoch'][0] / alone['seconds_per_epoch'][0]:.2f} (" in markdown
    assert f"{alone['layer_seconds'][0] / alone['seconds_per_epoch'][0]:.2f} (" in markdown
    assert markdown.count("not measured") == 6 * 4  # on a GPU


def test_speeds_are_compared_within_a_round() -> None:
    plain, together, *_ = bench.CONTENDERS
    together = bench.Contender(together.label, num_processes=2)
    measured = {  # the machine was twice as slow in round 2
        plain.label: [{"seconds_per_epoch": [s, s], "peak_memory_bytes": 1e8} for s in (8.0, 16.0)],
        together.label: [{"seconds_per_epoch": s, "peak_memory_bytes": 2e8} for s in ([3.0, 5.0, 4.0, 4.0], [8.0] * 4)],
    }
    _, seconds, rate, times, peak = bench.speed_row(together, measured)
    assert seconds == "6.50 (3.00–8.00; 8)"
    assert rate == "1,350 (900–1,800; 2)"
    assert times == "4.00 (4.00–4.00; 2)"
    assert peak == "200 (200–200; 2)"


def test_the_cpu_goal_is_the_share_of_the_same_rounds_epoch() -> None:
    rounds = [{"layer_seconds": [s, s], "seconds_per_epoch": [2 * s, 4 * s]} for s in (1.0, 2.0)]
    assert bench.layer_rows(rounds)[-1] == ["share of the epoch", "0.33 (0.33–0.33; 2)"]


class FlopCounter(TorchDispatchMode):
    """PyTorch's counts of operations. Its FlopCounterMode cannot count gradients of a module's input."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # inference mode passes whole operations, such as conv2d
            if (out := func.decompose(*args, **kwargs)) is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if count := flop_registry.get(func.overloadpacket):
            self.flops += count(*args, **kwargs, out_val=out)
        return out


def test_the_layers_alone_do_the_operations_of_an_epoch() -> None:
    conv1 = 32 * (1 * 3 * 3) * 28 * 28  # padded: 28 × 28 in and out; pooled to 14 × 14
    conv2 = 64 * (32 * 3 * 3) * 12 * 12  # pooled to 6 × 6
    conv3 = 64 * (64 * 3 * 3) * 4 * 4
    forward = conv1 + conv2 + conv3 + 64 * 4 * 4 * 64 + 64 * 10
    training = 3 * forward - conv1  # the gradient of the images is not needed
    draws = torch.Generator().manual_seed(0)
    train, valid, test = (Part(torch.randn(n, 1, 28, 28, generator=draws), torch.zeros(n, dtype=torch.int64)) for n in (40, 3, 1))
    layers = bench.LayersAlone(RunConfig(), Split(train, valid, test))
    with FlopCounter() as counter:
        layers.run_epoch()
    assert counter.flops == 2 * (40 * training + 3 * forward)


def test_both_sides_train_the_same_function() -> None:
    theirs, ours = baseline.Net(), CNN(ModelConfig(), torch.Generator().manual_seed(0))
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(7, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(theirs(images), ours.to(memory_format=torch.channels_last)(images))


def test_both_sides_see_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    mnist = SimpleNamespace(
        train_images=draws.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        train_labels=np.arange(6, dtype=np.uint8),
        test_images=draws.integers(0, 256, (4, 28, 28), dtype=np.uint8),
        test_labels=np.arange(4, dtype=np.uint8),
    )
    monkeypatch.setattr(baseline, "load_mnist", lambda folder: mnist)
    train, valid, test = baseline.load_datasets(3, 2, 4)
    images, labels = torch.tensor(mnist.train_images).unsqueeze(1), torch.tensor(mnist.train_labels)
    expected = DataSet(images, labels, images, labels).normalise(images)
    seen = [*train, *valid]
    assert len({label for _, label in seen}) == 5  # no image is in both
    for image, label in seen:
        torch.testing.assert_close(image, expected[label])
    assert [label for _, label in test] == [0, 1, 2, 3]


def test_the_baseline_stops_after_five_epochs_without_improvement() -> None:
    images, labels = torch.zeros(8, 1, 28, 28), torch.arange(8)
    result = baseline.run(lr=1e-30, epochs=100, datasets=[TensorDataset(images, labels)] * 3, device=torch.device("cpu"))
    assert result["epochs"] == len(result["seconds_per_epoch"]) == 6
