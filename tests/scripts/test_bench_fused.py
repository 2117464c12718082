"""scripts/bench_fused.py: its rows, from measurements made up."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from lrsweep.config import DataConfig, RunConfig, TrainingConfig

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def bench() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
        return runpy.run_path(str(SCRIPTS / "bench_fused.py"))


def measurement(seconds: float, slots: int, rate: float | None = None) -> dict[str, Any]:
    return {
        "slots": slots,
        "seconds_per_run_epoch": seconds,
        "peak_memory_bytes": 2e9 if rate else None,
        "product_flops_per_second": rate,
    }


def test_ratios_are_taken_within_a_round_and_gpu_rows_are_not_estimated(bench: dict[str, Any]) -> None:
    cpu, gpu = bench["contenders"]("cpu"), bench["contenders"]("cuda")
    measured = {
        cpu[0].label: [measurement(seconds, 0) for seconds in (1.0, 2.0, 4.0)],
        cpu[1].label: [measurement(seconds, 8) for seconds in (2.0, 2.0, 2.0)],
    }
    _, solo, fused, *others = bench["rows_of"](measured, cpu + gpu, images=3_000, flops=10**11)
    assert solo[1:] == ["1", "1,500", "1", "–", "–"]
    assert fused[1:] == ["8", "1,500", "1.00 (0.50–2.00; 3)", "–", "–"]
    assert len(others) == 8
    assert all(row[1:] == ["not measured"] * 5 for row in others)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fused", "solo"])
def test_a_whole_sweep_is_timed_and_its_epochs_counted(bench: dict[str, Any], monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setitem(bench["measure_sweep"].__globals__, "_PRODUCT_SIZE", 64)
    sizes = DataConfig(num_train=20, num_valid=10, num_test=10)
    like = RunConfig(data=sizes, training=TrainingConfig(max_epochs=2))
    found = bench["measure_sweep"](bench["Sweep"](how=how, num_seeds=1), like, "cpu")
    assert found["epochs"] == 46 * 2
    assert found["seconds"] > 0


def test_a_sweeps_floor_is_its_epochs_at_the_products_rate(bench: dict[str, Any]) -> None:
    label = bench["SWEEPS"][0].label
    found = {label: {"seconds": 6.0, "epochs": 2_000, "product_flops_per_second": 1e14}}
    _, first, *others = bench["sweep_rows"](found, 10**11)
    assert first == ["46 rates × 1, fp32, fused, warm", "6.0", "3.0"]
    assert len(others) == 6
    assert all(row[1:] == ["not measured"] * 2 for row in others)


def test_a_gpus_row_names_its_share_of_the_product(bench: dict[str, Any]) -> None:
    solo, fused, *_ = bench["contenders"]("cuda")
    measured = {solo.label: [measurement(1.0, 0, 1e12)], fused.label: [measurement(0.25, 46, 1e12)]}
    _, _, row = bench["rows_of"](measured, [solo, fused], images=3_000, flops=10**11)
    assert row == ["CUDA, fp32, fused, K = 46", "46", "12,000", "4.00 (4.00–4.00; 1)", "0.40", "2,000"]


def test_what_stops_it_costs_only_the_rest(bench: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([measurement(1.0, 0), measurement(2.0, 8), measurement(3.0, 0)])
    monkeypatch.setitem(bench["main"].__globals__, "measure", lambda *args: next(found))  # and then StopIteration
    monkeypatch.setattr(sys, "argv", ["bench_fused.py", "--out", str(tmp_path)])
    with pytest.raises(StopIteration):
        bench["main"]()
    (file,) = tmp_path.glob("*-fused.md")
    assert "| 0.50 (0.50–0.50; 1)" in file.read_text(encoding="utf-8")
