"""bench_scale.py: a made-up run is stored like any other, and its figures."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bench_scale as bench

from lrsweep.config import MachineConfig, RunConfig
from lrsweep.storage import store


def test_made_up_runs_are_stored_and_scanned_like_others(tmp_path: Path, make_run: Callable[..., RunConfig]) -> None:
    low, high = (bench.make_up_run(make_run(lr=lr), MachineConfig(device="cpu"), tmp_path, workers=2) for lr in (1e-5, 3e-3))
    assert store.scan(tmp_path).records == {record.run_id: record for record in (low, high)}
    assert low.outcome.epochs == high.outcome.epochs == 50
    assert low.outcome.test_accuracy < high.outcome.test_accuracy
    assert subprocess.check_output([sys.executable, "-c", bench.SCAN, str(tmp_path)], text=True) == "2\n"


def test_the_cost_of_a_run_excludes_composing_and_the_report() -> None:
    *_, last = bench.to_markdown(2_000, {"sweep": 250.0, "resume": 30.0, "scan": 2.0, "report": 20.0})
    assert last.startswith("| so for each run, besides training: a process, its record, Hydra's folder")
    assert last.endswith("| 0.100   |")
