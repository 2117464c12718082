"""scripts/bench_fused.py: its rows, from measurements made up."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


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


def test_a_gpus_row_names_its_share_of_the_product(bench: dict[str, Any]) -> None:
    solo, fused, *_ = bench["contenders"]("cuda")
    measured = {solo.label: [measurement(1.0, 0, 1e12)], fused.label: [measurement(0.25, 46, 1e12)]}
    _, _, row = bench["rows_of"](measured, [solo, fused], images=3_000, flops=10**11)
    assert row == ["CUDA, fp32, fused, K = 46", "46", "12,000", "4.00 (4.00–4.00; 1)", "0.40", "2,000"]
