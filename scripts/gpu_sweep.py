"""Run `lrsweep …`, and write how long its fused programs trained, without start-up and report. `make gpu` calls it.

python scripts/gpu_sweep.py sweep.json study=lr seed=0 hydra/launcher=fused
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from lrsweep.cli.main import main as lrsweep
from lrsweep.fused import scheduler
from lrsweep.records import Outcome
from lrsweep.storage.files import write_atomically


def main() -> None:
    file = Path(sys.argv.pop(1))
    figures = {"training_seconds": 0.0, "runs": 0, "epochs": 0}
    train = scheduler.train

    def timed(*arguments: Any, **options: Any) -> None:
        on_outcome = options.pop("on_outcome")
        resumed = options.get("resume_from") or {}
        figures["epochs"] -= sum(len(state["curve"]) for state in resumed.values())  # trained by an earlier call

        def counted(i: int, outcome: Outcome) -> None:
            figures["runs"] += 1
            figures["epochs"] += len(outcome.curve) + (outcome.status == "diverged")
            on_outcome(i, outcome)

        start = time.perf_counter()
        try:
            train(*arguments, on_outcome=counted, **options)
        finally:
            figures["training_seconds"] += time.perf_counter() - start
            write_atomically(file, json.dumps(figures).encode())

    scheduler.train = timed
    lrsweep()


if __name__ == "__main__":
    main()
