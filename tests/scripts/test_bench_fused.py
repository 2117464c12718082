"""bench_fused.py: its figures, and a tiny run."""

import sys
from pathlib import Path
from typing import Any

import bench_fused as bench
import pytest

from lrsweep.config import DataConfig, RunConfig, TrainingConfig


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
    solo, fused = bench.CONTENDERS[2:4]
    rate = bench.flops_per_epoch(DataConfig()) / 0.1
    measured = {solo.label: [measurement(1.0, 1, rate)], fused.label: [measurement(0.25, 46, rate)]}
    assert bench.speed_row(fused, measured, DataConfig())[1:] == ["46", "12,000", "4.00 (4.00–4.00; 1)", "0.40", "2,000"]


def test_a_sweep_is_compared_with_its_epochs_at_the_matrix_products_rate() -> None:
    sweep = bench.SWEEPS[0]
    rate = 2_000 * bench.flops_per_epoch(DataConfig()) / 2.0
    sweeps = {sweep.label: {"seconds": 6.0, "epochs": 2_000, "product_flops_per_second": rate}}
    assert bench.sweep_row(sweep, sweeps)[1:] == ["6.0", "3.0"]


def test_operations_of_an_epoch_are_those_counted_by_hand() -> None:
    assert bench.flops_per_epoch(DataConfig()) == 3_000 * 20_764_416 + 5_000 * 7_072_000


@pytest.mark.slow
def test_a_whole_sweep_is_timed_and_its_epochs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PRODUCT_SIZE", 64)
    template = RunConfig(data=DataConfig(num_train=20, num_valid=10, num_test=10), training=TrainingConfig(max_epochs=2))
    result = bench.measure_sweep(bench.SWEEPS[0], template, "cpu")
    assert result["epochs"] == 46 * 2
    assert result["seconds"] > 0


def test_a_tiny_run_measures_the_cpu_and_leaves_the_gpu_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench_fused.py", "--rounds=1", "--epochs=1", "--images=6", f"--out={tmp_path}"])
    bench.main()
    [file] = tmp_path.glob("*-fused.md")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.startswith("| CPU") and "not measured" not in line]) == 2
    assert len([line for line in lines if "not measured" in line]) == 8 + len(bench.SWEEPS)
