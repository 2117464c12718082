"""scripts/bench_scale.py: what it makes up is a record like any other, and what it says of made-up seconds."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrsweep.cli import execution
from lrsweep.config import MachineConfig, RunConfig
from lrsweep.storage import store

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def bench() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "run_one", execution.run_one)  # which the script replaces
        patch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
        return runpy.run_path(str(SCRIPTS / "bench_scale.py"))


def test_a_made_up_run_is_stored_as_any_other(bench: dict[str, Any], tmp_path: Path, make_run: Callable[..., RunConfig]) -> None:
    made = [
        bench["made_up"](make_run(lr=lr), MachineConfig(device="cpu"), tmp_path, workers=2, on_epoch=None) for lr in (1e-5, 3e-3)
    ]
    assert store.scan(tmp_path).records == {record.run_id: record for record in made}
    assert made[0].outcome.epochs == made[1].outcome.epochs == 50
    assert made[0].outcome.test_accuracy < made[1].outcome.test_accuracy


def test_a_runs_share_is_what_neither_the_resume_nor_the_report_takes(bench: dict[str, Any]) -> None:
    machine = {"name": "Any", "cores": 4, "git_commit": "0123456789", "git_dirty": True, "finished_at": "2026-01-02T03:04:05"}
    told = bench["to_markdown"](machine, 2000, {"sweep": 250.0, "resume": 30.0, "scan": 2.0, "report": 20.0}, "the command")
    assert told.startswith("# 2,000 runs that train nothing, on Any\n")
    assert "| so for each run, beside training: a process, its record, Hydra's folder | 0.100 |" in told
    assert "4 cores, commit 0123456 with changes, 2026-01-02. Made by `the command`." in told
