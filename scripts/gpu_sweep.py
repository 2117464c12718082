"""Run `lrsweep …` and write the training time of its fused programs to a file, without start-up and report. For `make gpu`.

python scripts/gpu_sweep.py sweep.json study=lr seed=0 hydra/launcher=fused
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lrsweep.cli.main import main as lrsweep
from lrsweep.fused import scheduler
from lrsweep.records import Outcome
from lrsweep.storage.files import write_atomically

_FILE = "LRSWEEP_SWEEP_FILE"  # tells the worker processes which file to write


def timed(train: Callable[..., None], file: Path) -> Callable[..., None]:
    """Wrap `train`. Whenever a run ends, add the new seconds, runs and epochs to those in the file."""

    def train_and_count(*arguments: Any, on_outcome: Callable[[int, Outcome], None], **options: Any) -> None:
        start = time.perf_counter()
        before = json.loads(file.read_text()) if file.exists() else {"training_seconds": 0.0, "runs": 0, "epochs": 0}
        resumed = options.get("resume_from") or {}
        figures = before | {"epochs": before["epochs"] - sum(len(state["run"]["curve"]) for state in resumed.values())}

        def count(i: int, outcome: Outcome) -> None:
            figures["runs"] += 1
            figures["epochs"] += len(outcome.curve) + (outcome.status == "diverged")
            figures["training_seconds"] = before["training_seconds"] + time.perf_counter() - start
            write_atomically(file, json.dumps(figures).encode())
            on_outcome(i, outcome)

        train(*arguments, on_outcome=count, **options)

    return train_and_count


def main() -> None:
    file = Path(sys.argv.pop(1)).resolve()
    file.unlink(missing_ok=True)
    os.environ[_FILE] = str(file)
    lrsweep()


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":  # in the launcher's worker processes, which import this file again
    scheduler.train = timed(scheduler.train, Path(os.environ[_FILE]))
