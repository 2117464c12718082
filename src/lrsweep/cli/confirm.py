"""The command `lrsweep-confirm`: run a study's best rate and its neighbours again on fresh seeds.

    lrsweep-confirm study=lr [seeds=5] [machine.results_dir=DIR] [Hydra overrides]

The best of many noisy measurements looks better than it is, so a fair estimate needs new runs. They are stored in the folder
`confirm` inside the study's folder, and the study's report quotes them. Running the command again skips finished runs.
"""

import math
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from lrsweep.analysis.confirmation import FIRST_FRESH_SEED
from lrsweep.analysis.findings import CONFIRM, Analysis, analyse
from lrsweep.config import ConfigError, MachineConfig, StudyConfig, require
from lrsweep.report.texts.commands import settings, study_name
from lrsweep.storage.files import StoreError

CONFIRM_DECADES = 0.5  # how far from the best rate


def overrides(study: str, num_seeds: int, tables: Analysis) -> list[str]:
    """The overrides of the sweep on fresh seeds. Raises StoreError if the study has no best rate yet."""
    if tables.main is None:
        raise StoreError(f"{study}: no run was scored, so there is nothing to confirm yet")
    best = tables.main.best
    near = [lr for lr in best.rows["lr"] if abs(math.log10(lr / best.best["lr"])) <= CONFIRM_DECADES + 1e-6]
    seeds = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + num_seeds)
    shell_words = [study_name(f"{study}/{CONFIRM}"), *settings(tables.of_arm(best.arm))]
    return [
        f"optimizer.lr={','.join(map(str, near))}",
        f"seed={','.join(map(str, seeds))}",
        *shlex.split(" ".join(shell_words)),
    ]


def _arguments(words: list[str]) -> tuple[str, int, str, list[str]]:
    """Study, number of seeds, results folder, and the overrides for lrsweep."""
    values = {"study": "lr", "seeds": "5", "machine.results_dir": MachineConfig().results_dir}
    rest = []
    for word in words:
        name, equals, value = word.partition("=")
        name = "study" if name == "study.name" else name  # as in lrsweep-report
        if equals and name in values:
            values[name] = value
        else:
            rest.append(word)
    seeds = values["seeds"]
    require(re.fullmatch("[1-9][0-9]{0,3}", seeds) is not None, "seeds", "a whole number from 1 to 9999", seeds)
    return StudyConfig(name=values["study"]).name, int(seeds), values["machine.results_dir"], rest


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    try:
        study, num_seeds, results_dir, rest = _arguments(sys.argv[1:])
        sweep = overrides(study, num_seeds, analyse(Path(results_dir) / study))
    except (ConfigError, StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    folder = f"machine.results_dir={results_dir}"
    for command in (["lrsweep", "-m", *sweep, folder, *rest], ["lrsweep.cli.report", f"study={study}", folder]):
        exit_code = run_to_end([sys.executable, "-m", *command])
        if exit_code:
            sys.exit(exit_code)


def run_to_end(command: list[str]) -> int:
    """Run the command and return its exit code. SIGINT and SIGTERM are passed on, so that a sweep can end its processes."""
    with subprocess.Popen(command) as process:  # not subprocess.run, which kills the sweep after Ctrl-C
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda received, frame: process.send_signal(received))
        exit_code = process.wait()
    return exit_code if exit_code >= 0 else 128 - exit_code


if __name__ == "__main__":
    main()
