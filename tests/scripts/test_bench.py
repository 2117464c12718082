"""scripts/bench.py and scripts/baseline.py: the sums are right, and the two sides compared do the same work."""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from lrsweep.config import DataConfig, ModelConfig
from lrsweep.data.dataset import normalise
from lrsweep.training.models import CNN

ROOT = Path(__file__).parents[2]
needs_mnist = pytest.mark.skipif(
    not (ROOT / "data" / "mnist.zip").is_file(), reason="no MNIST in data/: python -m lrsweep.data.download data"
)


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_script("bench")


@pytest.fixture(scope="module")
def baseline() -> ModuleType:
    return load_script("baseline")


@needs_mnist
@pytest.mark.slow
def test_a_tiny_bench_writes_what_it_measured(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), "--out", str(tmp_path)]
    command += ["--rounds", "1", "--epochs", "1", "--images", "30"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    [json_file], [markdown_file] = tmp_path.glob("*.json"), tmp_path.glob("*.md")
    report, markdown = json.loads(json_file.read_text()), markdown_file.read_text()
    assert json_file.stem == markdown_file.stem
    assert markdown in done.stdout
    assert "| GPU " in markdown
    assert "not measured" in markdown

    cores, summary = report["machine"]["cores"], report["summary"]
    assert json_file.stem.endswith(f"-{cores}-cores")
    assert [m["contender"] for m in report["measurements"]] == ["baseline", *["lrsweep"] * cores, "lrsweep_alone"]
    assert all(len(m["seconds_per_epoch"]) == 1 for m in report["measurements"])  # the warm-up epoch is left out
    assert {m["threads"] for m in report["measurements"][1:]} == {1}

    theirs, *together, alone = [m["seconds_per_epoch"][0] for m in report["measurements"]]
    expected = {"lrsweep": cores * theirs / statistics.median(together), "lrsweep_alone": theirs / alone}
    for name, times in expected.items():
        assert summary[name]["times_baseline"]["median"] == pytest.approx(times)
        assert f"{times:.2f} (" in markdown
    products = report["measurements"][-1]["product_flops_per_second"]
    fraction = report["flops"]["per_epoch"] / alone / statistics.median(products)
    assert summary["core"]["fraction"]["median"] == pytest.approx(fraction)


def test_rates_are_of_rounds_and_ratios_are_taken_within_a_round(bench: ModuleType) -> None:
    runners = [
        bench.Contender(name="baseline", label="plain", device="cpu", is_baseline=True),
        bench.Contender(name="lrsweep", label="shipped", device="cpu", processes=2),
        bench.Contender(name="lrsweep_alone", label="alone", device="cpu", shows_core=True),
    ]
    seconds = {  # (round, contender): each process's epochs; the machine was twice as slow in round 2
        (1, "baseline"): [[8.0, 8.0]],
        (1, "lrsweep"): [[3.0, 5.0], [4.0, 4.0]],
        (1, "lrsweep_alone"): [[2.0, 2.0]],
        (2, "baseline"): [[16.0, 16.0]],
        (2, "lrsweep"): [[8.0, 8.0], [8.0, 8.0]],
        (2, "lrsweep_alone"): [[4.0, 4.0]],
    }
    measurements = [
        bench.Measurement(
            round=number,
            contender=name,
            threads=1,
            seconds_per_epoch=of_process,
            peak_memory_bytes=100,
            cpu_share=0.9 if name == "lrsweep" else None,
            product_flops_per_second=[40.0 / number] * 3 if name == "lrsweep_alone" else [],
        )
        for (number, name), processes in seconds.items()
        for of_process in processes
    ]
    summary = bench.summarise(runners, measurements, flops_per_epoch=20)

    assert summary["lrsweep"]["seconds_per_epoch"] == {"median": 6.5, "min": 3.0, "max": 8.0, "of": 8}
    assert summary["lrsweep"]["epochs_per_hour"] == {"median": 1350.0, "min": 900.0, "max": 1800.0, "of": 2}
    assert summary["lrsweep"]["times_baseline"] == {"median": 4.0, "min": 4.0, "max": 4.0, "of": 2}
    assert summary["lrsweep_alone"]["times_baseline"]["median"] == 4.0
    assert summary["baseline"]["times_baseline"]["median"] == 1.0
    assert summary["core"]["product_flops_per_second"] == {"median": 30.0, "min": 20.0, "max": 40.0, "of": 6}
    assert summary["core"]["fraction"] == {"median": 0.25, "min": 0.25, "max": 0.25, "of": 2}
    assert summary["lowest_cpu_share"] == 0.9


def test_flops_are_those_counted_by_hand(bench: ModuleType) -> None:
    conv1 = 32 * (1 * 3 * 3) * 28 * 28  # padded: 28 × 28 in and out; pooled to 14 × 14
    conv2 = 64 * (32 * 3 * 3) * 12 * 12  # pooled to 6 × 6
    conv3 = 64 * (64 * 3 * 3) * 4 * 4
    dense, output = 64 * 4 * 4 * 64, 64 * 10
    forward = conv1 + conv2 + conv3 + dense + output
    assert forward == 3_536_000
    training = 3 * forward - conv1  # no gradient of the images
    assert bench.count_flops(DataConfig(num_train=3, num_valid=5)) == {
        "train_per_image": 2 * training,
        "valid_per_image": 2 * forward,
        "per_epoch": 3 * 2 * training + 5 * 2 * forward,
    }


def test_sizes_keep_the_documents_proportions(bench: ModuleType) -> None:
    assert bench.data_config(3_000) == DataConfig()


def test_a_file_is_named_by_machine_and_cores(bench: ModuleType) -> None:
    assert bench.file_name({"name": "AMD EPYC 7R13 (tm)", "cores": 2}) == "amd-epyc-7r13-tm-2-cores"


def test_both_sides_train_the_same_function(baseline: ModuleType) -> None:
    theirs, ours = baseline.Net(), CNN(ModelConfig(), torch.Generator().manual_seed(0))
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(7, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(theirs(images), ours.to(memory_format=torch.channels_last)(images))


def test_both_sides_see_the_same_images(baseline: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    mnist = SimpleNamespace(
        train_images=chance.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        train_labels=np.arange(6, dtype=np.uint8),
        test_images=chance.integers(0, 256, (4, 28, 28), dtype=np.uint8),
        test_labels=np.arange(4, dtype=np.uint8),
    )
    monkeypatch.setattr(baseline, "load_mnist", lambda folder: mnist)
    baseline.write_idx_files(tmp_path)
    train, valid, test = baseline.load_datasets(tmp_path, 3, 2, 4)

    expected = normalise(torch.tensor(mnist.train_images))
    seen = [*train, *valid]
    assert len({label for _, label in seen}) == 5  # disjoint
    for image, label in seen:
        torch.testing.assert_close(image, expected[label])
    assert [label for _, label in test] == [0, 1, 2, 3]


def test_the_baseline_stops_after_five_epochs_without_a_record(baseline: ModuleType) -> None:
    images, labels = torch.zeros(8, 1, 28, 28), torch.arange(8)
    result = baseline.run(lr=1e-30, epochs=100, datasets=[TensorDataset(images, labels)] * 3, device=torch.device("cpu"))
    assert result["epochs"] == len(result["seconds_per_epoch"]) == 6
