"""What ten thousand runs cost beside their training, on this machine: a sweep of runs that train nothing.

    python scripts/bench_scale.py          (leave the machine idle meanwhile)

The command, the launcher, the processes, the store and the report are lrsweep's own; only what a worker would train is replaced
by a made-up outcome of as many epochs as a run of the reference has. Written to results/bench/<machine>-scale.md and .json.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import ROOT, describe_code, describe_machine, publish

from lrsweep.cli import execution
from lrsweep.cli.main import main as lrsweep
from lrsweep.config import GridConfig, MachineConfig, RunConfig, log_grid, run_id
from lrsweep.records import EpochRecord, Outcome, RunRecord
from lrsweep.storage import store
from lrsweep.training.device import describe, prepare_device

_EPOCHS = 50
_RATES = len(log_grid(GridConfig()))
_SCAN = "import sys; from pathlib import Path; from lrsweep import store; print(len(store.scan(Path(sys.argv[1])).records))"


def made_up(run: RunConfig, machine: MachineConfig, folder: Path, *, workers: int, **options: Any) -> RunRecord:
    """Replaces execution.run_one: a record whose accuracy is highest at a rate of 10^-2.5."""
    chance = int(run_id(run)[:8], 16) / 2**32
    top = 0.9 - 0.1 * abs(math.log10(run.optimizer.lr) + 2.5) + 0.01 * chance
    accuracies = [top * (1 - math.exp(-epoch / 5)) for epoch in range(1, _EPOCHS + 1)]
    curve = tuple(
        EpochRecord(epoch=epoch, train_loss=2.0, train_accuracy=0.5, valid_loss=2.0, valid_accuracy=accuracy, seconds=1.0)
        for epoch, accuracy in enumerate(accuracies, start=1)
    )
    outcome = Outcome(
        status="ok",
        stop_reason="max_epochs",
        curve=curve,
        best_epoch=_EPOCHS,
        valid_accuracy=accuracies[-1],
        test_accuracy=accuracies[-1],
        test_loss=2.0,
        wall_seconds=float(_EPOCHS),
        cpu_seconds=float(_EPOCHS),
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


execution.run_one = made_up  # in the workers as well, which import this file anew


def seconds_of(*command: str, folder: Path) -> float:
    start = time.monotonic()
    subprocess.run([sys.executable, *command], cwd=folder, check=True)
    return time.monotonic() - start


def measure(num_seeds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep = [__file__, "sweep", "study=lr", f"seed=range({num_seeds})", f"machine.data_dir={ROOT / 'data'}"]
        return {
            "sweep": seconds_of(*sweep, "hydra.launcher.refresh_seconds=0", folder=folder),
            "resume": seconds_of(*sweep, folder=folder),
            "scan": seconds_of("-c", _SCAN, "results/lr", folder=folder),
            "report": seconds_of("-m", "lrsweep.cli.report", "study=lr", folder=folder),
        }


def to_markdown(machine: dict[str, Any], num_runs: int, seconds: dict[str, float], command: str) -> str:
    each = (seconds["sweep"] - seconds["resume"] - seconds["report"]) / num_runs
    return "\n".join(
        [
            f"# {num_runs:,} runs that train nothing, on {machine['name']}",
            "",
            f"{machine['cores']} cores, {describe_code(machine)}, {machine['finished_at'][:10]}. Made by `{command}`.",
            f"Each was measured once, start-up included; a record has {_EPOCHS} epochs.",
            "",
            "| | seconds |",
            "|---|---|",
            f"| `lrsweep` from nothing to the report, hydra/launcher=pool | {seconds['sweep']:.0f} |",
            f"| the same command again: every job composed and checked, the store read | {seconds['resume']:.1f} |",
            f"| the store alone read, every checksum compared | {seconds['scan']:.1f} |",
            f"| `lrsweep-report` | {seconds['report']:.1f} |",
            f"| so for each run, beside training: a process, its record, Hydra's folder | {each:.3f} |",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What many runs cost beside their training.")
    parser.add_argument("--runs", type=int, default=10_000, help="at least this many (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench", help="folder (default: %(default)s)")
    arguments = parser.parse_args()

    num_seeds = math.ceil(arguments.runs / _RATES)
    seconds, machine = measure(num_seeds), describe_machine()
    command = " ".join(["python", "scripts/bench_scale.py", *sys.argv[1:]])
    report = {"command": command, "machine": machine, "runs": num_seeds * _RATES, "seconds": seconds}
    publish(arguments.out, report, to_markdown(machine, num_seeds * _RATES, seconds, command), "scale")


if __name__ == "__main__":
    if sys.argv[1:2] == ["sweep"]:
        del sys.argv[1]
        lrsweep()
    else:
        main()
