"""bench_convolutions.py: all ways give the same gradients, and a tiny run."""

import sys
from pathlib import Path

import bench_convolutions as bench
import pytest
import torch

CPU = torch.device("cpu")


def test_every_way_gives_the_same_gradients() -> None:
    batch = bench.make_batch(2, CPU, torch.float64)
    shipped, *others = [bench.gradients(forward, *batch) for forward in bench.ways().values()]
    assert len(others) == 4
    for gradients in others:
        assert bench.largest_difference(gradients, shipped) < 1e-10


def test_a_way_that_computes_something_else_is_not_timed() -> None:
    shipped = bench.ways()[bench.SHIPPED]
    with pytest.raises(AssertionError, match="wrong gives other gradients"):
        bench.make_steps({bench.SHIPPED: shipped, "wrong": lambda weights, images: shipped(weights, 2 * images)}, 1, CPU)


def test_a_way_that_fails_says_why_and_the_others_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no compiler here")

    steps = bench.make_steps({bench.SHIPPED: bench.ways()[bench.SHIPPED], "broken": broken}, 1, CPU)
    assert [*steps] == [bench.SHIPPED]
    assert capsys.readouterr().err == "broken: no compiler here\n"


def test_a_row_has_milliseconds_per_run_and_ratios_within_a_round() -> None:
    measured = {4: {bench.SHIPPED: [0.1, 0.2, 0.4], "other": [0.2, 0.2, 0.2]}, 8: {bench.SHIPPED: [0.1]}}
    assert bench.speed_row(bench.SHIPPED, measured)[1:3] == ["50.00", "1"]
    assert bench.speed_row("other", measured)[1:] == ["50.00", "1.00 (0.50–2.00; 3)", "not measured", "not measured"]


def test_a_tiny_run_writes_a_row_for_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "NUM_RUNS", {"cpu": (1,), "cuda": ()})
    monkeypatch.setattr(bench, "STEPS", 1)
    monkeypatch.setattr(sys, "argv", ["bench_convolutions.py", "--rounds=1", f"--out={tmp_path}"])
    bench.main()
    [file] = tmp_path.glob("*-convolutions.md")
    text = file.read_text(encoding="utf-8")
    assert all(f"| {way} " in text for way in bench.ways())
    assert text.endswith("## CUDA\n\nNot measured.\n")
