"""bench_fused.py: its figures, and a tiny run."""

import sys
from pathlib import Path
from typing import Any

import bench_fused as bench
import pytest
import torch

from lrsweep.config import DataConfig, RunConfig
from lrsweep.data.dataset import Split
from lrsweep.records import Outcome
from lrsweep.training import solo


def measurement(seconds: float, slots: int, rate: float | None = None) -> dict[str, Any]:
    peak = 2e9 if rate else None
    return {"slots": slots, "seconds_per_run_epoch": seconds, "peak_memory_bytes": peak, "product_flops_per_second": rate}


def test_speeds_are_compared_with_solo_within_a_round() -> None:
    solo, fused = bench.CONTENDERS[:2]
    measured = {
        solo.label: [measurement(seconds, 1) for seconds in (1.0, 2.0, 4.0)],
        fused.label: [measurement(seconds, 8) for seconds in (2.0, 2.0, 2.0)],
    }
    assert bench.speed_row(solo, measured, DataConfig())[1:] == ["1", "1,500", "1", "–", "–"]
    assert bench.speed_row(fused, measured, DataConfig())[1:] == ["8", "1,500", "1.00 (0.50–2.00; 3)", "–", "–"]


def test_on_a_gpu_the_speed_is_a_share_of_the_matrix_products_rate() -> None:
    solo, fused = bench.Contender("cuda", "fp32", 0), bench.Contender("cuda", "fp32", 46)
    rate = bench.flops_per_epoch(DataConfig()) / 0.1
    measured = {solo.label: [measurement(1.0, 1, rate)], fused.label: [measurement(0.25, 46, rate)]}
    assert bench.speed_row(fused, measured, DataConfig())[1:] == ["46", "12,000", "4.00 (4.00–4.00; 1)", "0.40", "2,000"]


def test_operations_of_an_epoch_are_those_counted_by_hand() -> None:
    assert bench.flops_per_epoch(DataConfig()) == 3_000 * 20_764_416 + 5_000 * 7_072_000


def test_solo_can_be_measured_without_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = []
    train = solo.train

    def seen(run: RunConfig, split: Split) -> Outcome:
        weight = solo.initial_model(run.model, run.seed, torch.device("cpu")).get_parameter("conv2.weight")
        layouts.append(weight.is_contiguous())
        return train(run, split)

    monkeypatch.setattr(solo, "train", seen)
    template = RunConfig(data=DataConfig(num_train=6, num_valid=10, num_test=20))
    for nchw in (False, True, False):
        bench.measure(bench.Contender("cpu", "fp32", 0, nchw=nchw), template, epochs=1)
    assert layouts == [False, True, False]


def test_a_tiny_run_measures_the_cpu_and_leaves_the_gpu_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench_fused.py", "--rounds=1", "--epochs=1", "--images=6", f"--out={tmp_path}"])
    bench.main()
    [file] = tmp_path.glob("*-fused.md")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.startswith("| CPU") and "not measured" not in line]) == 2
    assert len([line for line in lines if "not measured" in line]) == len([c for c in bench.CONTENDERS if c.device == "cuda"]) > 0
