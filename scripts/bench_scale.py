"""What ten thousand runs cost besides their training, measured with a sweep of runs that train nothing.

    python scripts/bench_scale.py          (about 20 minutes; leave the machine idle meanwhile)

Command, launcher, processes, store and report are lrsweep's own. Only the training in a worker is replaced: it returns a made-up
outcome with as many epochs as the average run in results/reference/lr. Each figure is measured once, start-up included.
Written to results/bench/<machine>-scale.md and .json.
"""

import math
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarking import ROOT, new_parser, table, write

from lrsweep.cli import execution
from lrsweep.cli.main import main as lrsweep
from lrsweep.config import GridConfig, MachineConfig, RunConfig, log_grid, run_id
from lrsweep.records import EpochRecord, Outcome, RunRecord
from lrsweep.storage import store
from lrsweep.training.device import describe, prepare_device

EPOCHS = 50
NUM_RATES = len(log_grid(GridConfig()))
SCAN = (
    "import sys; from pathlib import Path; from lrsweep.storage import store; print(len(store.scan(Path(sys.argv[1])).records))"
)


def make_up_run(run: RunConfig, machine: MachineConfig, folder: Path, *, workers: int, **_: Any) -> RunRecord:
    """Replaces execution.run_one: store a record whose accuracy is highest at a rate of 10^-2.5."""
    best = 0.9 - 0.1 * abs(math.log10(run.optimizer.lr) + 2.5) + 0.01 * int(run_id(run)[:8], 16) / 2**32
    curve = [
        EpochRecord(epoch=i, train_loss=2.0, train_accuracy=0.5, valid_loss=2.0, valid_accuracy=best * i / EPOCHS, seconds=1.0)
        for i in range(1, EPOCHS + 1)
    ]
    outcome = Outcome(
        status="ok",
        stop_reason="max_epochs",
        curve=tuple(curve),
        best_epoch=EPOCHS,
        valid_accuracy=best,
        test_accuracy=best,
        test_loss=2.0,
        wall_seconds=float(EPOCHS),
        cpu_seconds=float(EPOCHS),
        last_finite_loss=2.0,
    )
    record = RunRecord(
        run_id=run_id(run),
        config=asdict(run),
        outcome=outcome,
        engine="solo",
        timing="measured",
        class_counts={"train": [300] * 10, "valid": [500] * 10, "test": [1000] * 10},
        environment=describe(prepare_device(machine), workers),
    )
    store.save(folder, record)
    return record


if __name__ in ("__main__", "__mp_main__"):  # __mp_main__ in the pool's workers, which import this file again
    execution.run_one = make_up_run


def _seconds(*command: str, folder: str) -> float:
    start = time.monotonic()
    subprocess.run([sys.executable, *command], cwd=folder, check=True)
    return time.monotonic() - start


def measure(num_seeds: int) -> dict[str, float]:
    sweep = [__file__, "sweep", "study=lr", f"seed=range({num_seeds})", f"machine.data_dir={ROOT / 'data'}"]
    with tempfile.TemporaryDirectory() as folder:
        return {
            "sweep": _seconds(*sweep, "hydra.launcher.refresh_seconds=0", folder=folder),
            "resume": _seconds(*sweep, folder=folder),
            "scan": _seconds("-c", SCAN, "results/lr", folder=folder),
            "report": _seconds("-m", "lrsweep.cli.report", "study=lr", folder=folder),
        }


def to_markdown(num_runs: int, seconds: dict[str, float]) -> list[str]:
    per_run = (seconds["sweep"] - seconds["resume"] - seconds["report"]) / num_runs
    rows = [
        ["`lrsweep` from nothing to the report, hydra/launcher=pool", f"{seconds['sweep']:.0f}"],
        ["the same command again: every job composed and checked, the store read", f"{seconds['resume']:.1f}"],
        ["the store alone read, every checksum compared", f"{seconds['scan']:.1f}"],
        ["`lrsweep-report`", f"{seconds['report']:.1f}"],
        ["so for each run, besides training: a process, its record, Hydra's folder", f"{per_run:.3f}"],
    ]
    return [f"Each was measured once, start-up included; a record has {EPOCHS} epochs.", "", *table(["", "seconds"], rows)]


def main() -> None:
    arguments = new_parser("What many runs cost besides their training.", runs=10_000).parse_args()
    num_seeds = math.ceil(arguments.runs / NUM_RATES)
    num_runs, seconds = num_seeds * NUM_RATES, measure(num_seeds)
    title = f"{num_runs:,} runs that train nothing,"
    write(arguments, "scale", title, to_markdown(num_runs, seconds), {"runs": num_runs, "seconds": seconds})


if __name__ == "__main__":
    if sys.argv[1:2] == ["sweep"]:
        del sys.argv[1]
        lrsweep()
    else:
        main()
