"""The command `lrsweep-confirm`: run a study's best rates again on fresh seeds.

    lrsweep-confirm study=schedules [seeds=20] [machine.results_dir=DIR] [overrides of machine, tracker and hydra]

The best of many noisy measurements looks better than it is, so a fair comparison needs new runs. The command finds each arm's
best rate in the study's runs, and trains every arm at its best rate on the same fresh seeds, in one sweep. The study's file in
conf/study/ sets the number of seeds and any further rates. The runs are stored in the folder `confirm` inside the study's
folder, and the study's report quotes them. Running the command again skips finished runs.

Overrides may change how the runs are executed (hydra/launcher=fused, machine.device=cuda, tracker=tensorboard). All other
settings come from the study's runs and cannot be changed. Own code has to be named, because it runs: model.target=my_nets:Net,
data.target=my_data:load. Settings that do not change a run may be given too: data.path=moved.npz.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from lrsweep.cli.signals import Stopped, stopped_by_signals
from lrsweep.cli.streams import write_any_text
from lrsweep.config import CONF_DIR, WITHOUT_EFFECT, ConfigError, MachineConfig, RunConfig, StudyConfig, require
from lrsweep.config.targets import TARGETS
from lrsweep.storage.files import StoreError

_DEFINE_RUNS = {"technique", "grid", *(field.name for field in fields(RunConfig))}


def defines_runs(word: str) -> bool:
    """Does this override change which runs are trained, and not only how they are executed?"""
    name = word.lstrip("+~")
    is_of_study = name.startswith("study.") and not name.startswith("study.extend=")
    return is_of_study or re.split("[=.@/]", name, maxsplit=1)[0] in _DEFINE_RUNS


def study_config(study: str) -> StudyConfig:
    """The settings of the group `study` from the study's file, or the defaults if there is no such file."""
    path = CONF_DIR / "study" / f"{study}.yaml"
    return StudyConfig(**yaml.safe_load(path.read_text(encoding="utf-8"))["study"]) if path.exists() else StudyConfig(name=study)


def _arguments(words: list[str]) -> tuple[str, StudyConfig, str, list[str], set[str]]:
    """The study's folder, its config, the results folder, the overrides for lrsweep, and the code that the user trusts.

    `seeds` sets fresh_seeds.
    """
    values = {"machine.results_dir": MachineConfig().results_dir}
    rest, trusted = [], set()
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in ("study", "study.name", "seeds", "machine.results_dir"):
            values[name] = value
        elif name in TARGETS:
            trusted.add(word)
        elif equals and name.lstrip("+") in WITHOUT_EFFECT:
            rest.append(word)
        elif not equals and not word.startswith(("-", "~")):
            raise ConfigError(f"cannot parse {word!r}; write name=value, as in lrsweep-confirm study=schedules seeds=20")
        elif defines_runs(word):
            how_many = "; seeds=N says how many fresh seeds" if name == "seed" else ""
            raise ConfigError(f"leave out {word}: fresh runs take this from the study's runs and its file{how_many}")
        else:
            rest.append(word)
    study = values.get("study") or values.get("study.name") or "lr"
    config = study_config(StudyConfig(name=study).name)
    seeds = values.get("seeds")
    if seeds is not None:
        require(re.fullmatch("[1-9][0-9]{0,3}", seeds) is not None, "seeds", "a whole number from 1 to 9999", seeds)
        config.fresh_seeds = int(seeds)
    if not config.fresh_seeds:
        raise ConfigError(
            f"study={study} plans no fresh seeds; seeds=20 runs 20, and lrsweep-report study={study} shows the results so far"
        )
    results_dir = MachineConfig(results_dir=values["machine.results_dir"]).results_dir
    return StudyConfig(name=values.get("study.name") or study).name, config, results_dir, rest, trusted


def main() -> None:
    write_any_text()
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    try:
        name, config, results_dir, rest, trusted = _arguments(sys.argv[1:])
        with stopped_by_signals():
            from lrsweep.cli.fresh_sweep import fresh_sweep  # this import takes a second

            words = fresh_sweep(Path(results_dir), name, config, rest, trusted)
    except (ConfigError, StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    after_interrupt = {"LRSWEEP_COMMAND": os.environ.get("LRSWEEP_COMMAND") or shlex.join(["lrsweep-confirm", *sys.argv[1:]])}
    sweep = ["lrsweep", "-m", *words, *rest]
    report = ["lrsweep.cli.report", f"study={name}", f"machine.results_dir={results_dir}"]
    for command in (sweep, report):
        exit_code = run_to_end([sys.executable, "-m", *command], after_interrupt)
        if exit_code:
            sys.exit(exit_code)


def run_to_end(command: list[str], environment: Mapping[str, str] | None = None) -> int:
    """Run the command and return its exit code. SIGINT and SIGTERM are passed on, so that a sweep can end its processes.

    `environment` adds variables to those of this process.
    """
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []  # signals that came before the command had started

    def pass_on(number: int, frame: object) -> None:
        if started:
            started[0].send_signal(number)
        else:
            early.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    variables = os.environ | dict(environment or {})
    with subprocess.Popen(command, env=variables) as process:  # not subprocess.run, which kills the sweep after Ctrl-C
        started.append(process)
        while early:
            process.send_signal(early.pop())
        exit_code = process.wait()
    return exit_code if exit_code >= 0 else 128 - exit_code


if __name__ == "__main__":
    main()
