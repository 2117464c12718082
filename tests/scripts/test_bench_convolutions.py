"""scripts/bench_convolutions.py: every way computes the same, and what it says of them."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "scripts"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
        return runpy.run_path(str(SCRIPTS / "bench_convolutions.py"))


def test_every_way_gives_the_same_gradients(bench: dict[str, Any]) -> None:
    weights, images, labels = bench["batch"](2, CPU, torch.float64)
    columns, *others = bench["ways"]().values()
    expected = bench["step_of"](columns, weights)(images, labels)
    assert len(others) == 4
    for forward in others:
        assert bench["largest_difference"](bench["step_of"](forward, weights)(images, labels), expected) < 1e-10


def test_a_way_that_computes_something_else_is_not_timed(bench: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    columns = bench["ways"]()[bench["COLUMNS"]]
    replaced = {bench["COLUMNS"]: columns, "wrong": lambda weights, images: columns(weights, 2 * images)}
    monkeypatch.setitem(bench["measure"].__globals__, "ways", lambda **_: replaced)
    with pytest.raises(AssertionError, match="wrong gives other gradients"):
        bench["measure"](1, CPU, 1)


def test_a_way_that_cannot_be_built_says_why_and_the_others_are_timed(
    bench: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no compiler here\nand much more")

    columns = bench["ways"]()[bench["COLUMNS"]]
    monkeypatch.setitem(bench["measure"].__globals__, "ways", lambda **_: {bench["COLUMNS"]: columns, "broken": broken})
    found = bench["measure"](1, CPU, 2)
    assert len(found[bench["COLUMNS"]]) == 2
    assert min(found[bench["COLUMNS"]]) > 0
    assert found["broken"] == "not measured: no compiler here"


def test_ratios_are_taken_within_a_round_and_a_gpu_is_not_estimated(bench: dict[str, Any]) -> None:
    measured = {4: {bench["COLUMNS"]: [0.1, 0.2, 0.4], "other": [0.2, 0.2, 0.2], "broken": "not measured: why"}}
    head, *rows = bench["rows_of"](measured)
    assert head == ["", "K = 4: ms a run", "K = 4: × the columns'"]
    assert rows == [
        [bench["COLUMNS"], "50.00", "1"],
        ["other", "50.00", "1.00 (0.50–2.00; 3)"],
        ["broken", "not measured: why", "not measured: why"],
    ]
    machine = {"name": "A", "versions": {"torch": "2"}, "git_commit": "0" * 40, "git_dirty": False, "finished_at": "2026-01-01"}
    told = bench["to_markdown"](machine, {"cpu": measured}, "command")
    assert "## CUDA\n\nNot measured.\n" in told
