"""Run the best rates of a study again on fresh seeds: the best of many noisy points looks better than it is.

    python scripts/confirm.py lr 5 [Hydra overrides]

What `make confirm` runs. The runs are a study of their own inside the study's folder, and the study's report quotes them.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from lrsweep.analysis.confirm import FIRST_FRESH_SEED, finalists
from lrsweep.bounds import require
from lrsweep.config import ConfigError, MachineConfig
from lrsweep.report.command import settings, study_name
from lrsweep.report.findings import CONFIRM, Tables, analyse
from lrsweep.store import StoreError

_RESULTS = "machine.results_dir="


def overrides(study: str, num_seeds: int, tables: Tables) -> list[str]:
    """The multirun of the finalists. StoreError where the study names no best rate yet."""
    if tables.main is None:
        raise StoreError(f"{study} has no rate that was scored on every seed: nothing to confirm yet")
    best = tables.main.best
    seeds = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + num_seeds)
    as_typed = [study_name(f"{study}/{CONFIRM}"), *settings(tables.of_arm(best.arm))]  # in the quotes that a shell takes away
    return [
        f"optimizer.lr={','.join(map(str, finalists(best)))}",
        f"seed={','.join(map(str, seeds))}",
        *shlex.split(" ".join(as_typed)),
    ]


def read_seeds(text: str) -> int:
    require(re.fullmatch("[1-9][0-9]{0,3}", text) is not None, "SEEDS", "a whole number from 1 to 9999", text)
    return int(text)


def main() -> None:
    study, num_seeds, *others = sys.argv[1:]
    results = next((word.removeprefix(_RESULTS) for word in others if word.startswith(_RESULTS)), MachineConfig().results_dir)
    try:
        chosen = overrides(study, read_seeds(num_seeds), analyse(Path(results) / study))
    except (ConfigError, StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    done = subprocess.run([sys.executable, "-m", "lrsweep", "-m", *chosen, *others], check=False)
    if done.returncode:
        sys.exit(done.returncode)
    subprocess.run([sys.executable, "-m", "lrsweep.report", f"study={study}", f"{_RESULTS}{results}"], check=True)


if __name__ == "__main__":
    main()
