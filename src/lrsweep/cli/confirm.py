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

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

import pandas as pd
import yaml  # type: ignore[import-untyped]

from lrsweep.analysis.confirmation import FIRST_FRESH_SEED
from lrsweep.analysis.evidence import read_study
from lrsweep.analysis.findings import CONFIRM
from lrsweep.analysis.fresh import FreshRuns, plan_fresh_runs
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.study import Study
from lrsweep.cli.streams import write_any_text
from lrsweep.config import CONF_DIR, DICTS, WITHOUT_EFFECT, ConfigError, MachineConfig, RunConfig, StudyConfig, require
from lrsweep.report.texts.commands import TEXTS, in_hydra, in_quotes, is_in_program, settings, study_name
from lrsweep.storage import store
from lrsweep.storage.files import StoreError
from lrsweep.storage.tables import DEFAULT_SETTINGS

OWN_CODE = ("data.target", "model.target")
SHIPPED = ("lrsweep.data.sets.", "lrsweep.training.nets.")
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


def read_tuning(results_dir: Path, name: str) -> Study:
    """The runs that choose the rates. Raises StoreError if there are none, if some are missing, or if some have fresh seeds."""
    study = read_study(results_dir, name)
    if study is None:
        has_file = (CONF_DIR / "study" / f"{name}.yaml").exists()
        first = f"run lrsweep study={name} first" if has_file else "check the study's name, or run its sweep first"
        raise StoreError(f"{results_dir / name} holds no runs to choose rates from; {first}")
    if study.num_missing:
        raise StoreError(
            f"{results_dir / name} lacks {study.num_missing} of its planned runs, which may change an arm's best rate; "
            "finish the study first, with the command that started it"
        )
    if study.runs["seed"].max() >= FIRST_FRESH_SEED:
        raise StoreError(f"{results_dir / name} has runs on seeds from {FIRST_FRESH_SEED} on, so no fresh seeds are left")
    return study


def require_trust(study: Study, trusted: set[str]) -> None:
    """Raise ConfigError if the runs name code that is not part of lrsweep, and the user has not named it.

    Anyone may have written the records, and training runs this code.
    """
    if is_in_program(study.runs):
        raise ConfigError(
            f"the network or the images of {study.name} are in the program that called lrsweep.sweep, and fresh runs cannot "
            f'import them from there; in that program, call lrsweep.sweep again with name="{study.name}/{CONFIRM}" and '
            f"seeds=range({FIRST_FRESH_SEED}, {FIRST_FRESH_SEED + StudyConfig.fresh_seeds}), then run lrsweep-report; or move "
            "the code into a module, and sweep again"
        )
    for setting in OWN_CODE:
        for target in study.runs[setting].unique():
            if target != "null" and not target.startswith(SHIPPED) and f"{setting}={target}" not in trusted:
                raise ConfigError(
                    f"the runs of {study.name} need code that is not part of lrsweep; if you trust it, add {setting}={target}"
                )


def describe(study: Study, fresh: FreshRuns, num_seeds: int) -> str:
    """Tell the user which runs will start, which are left out, and which best rates are doubtful."""
    lines = [f"Fresh runs of {study.name} on {num_seeds} seeds from {FIRST_FRESH_SEED} on:"]
    lines += [f"  {study.called(arm)}: {', '.join(map(decimal_rate, rates))}" for arm, rates in fresh.rates.items()]
    lines += [f"Left out: {reason}" for reason in fresh.left_out]
    lines += [f"Warning: {text}" for text in fresh.at_edge]
    return "\n".join(lines)


def overrides(study: Study, fresh: FreshRuns, num_seeds: int, given: Iterable[str] = ()) -> list[str]:
    """The overrides for one sweep over all arms, each at its own rates.

    Hydra sweeps every combination of values, but each arm has its own. So we sweep `study.arm`, and every setting that varies
    gets its value from `study.arm`. Settings whose overrides the user has `given` are left out.
    """
    names_given = {word.partition("=")[0].lstrip("+") for word in given}
    arms = study.runs.drop_duplicates("arm").set_index("arm").rename(columns={"loss": "loss.name"})
    names = [name for name in DEFAULT_SETTINGS if name in arms and name not in {"seed", *names_given}]
    rows = pd.DataFrame([dict(arms.loc[arm, names]) | {"optimizer.lr": lr} for arm, rates in fresh.rates.items() for lr in rates])
    varying = [name for name in rows if name == "optimizer.lr" or (rows[name] != rows[name].iloc[0]).any()]
    shell_words = [study_name(f"{study.name}/{CONFIRM}"), *settings(rows.drop(columns=varying))]
    return [
        f"study.arm=range({len(rows)})",
        f"seed=range({FIRST_FRESH_SEED},{FIRST_FRESH_SEED + num_seeds})",
        *shlex.split(" ".join(shell_words)),
        *(f"{name}={_chosen_by_arm(rows[name])}" for name in varying),
    ]


def _chosen_by_arm(values: pd.Series) -> str:
    """An expression that picks the value by `study.arm`. It lists only the arms whose value is not the most common one."""
    common = values.value_counts().index[0]
    cases = [(str(arm), value) for arm, value in enumerate(values) if value != common] + [("else", common)]
    name = str(values.name)
    return in_quotes("${pick:${study.arm}," + ",".join(f"{key},{_literal(name, value)}" for key, value in cases) + "}")


def _literal(name: str, value: object) -> str:
    """A table's cell as an argument of a resolver. Cells write None as `null`, and lists and dicts as JSON."""
    if name in DICTS:
        return in_hydra(json.loads(str(value)))
    is_text = name in TEXTS
    is_list = isinstance(value, str) and value.startswith("[") and not is_text
    return str(value) if not isinstance(value, str) or value == "null" or is_list else in_quotes(value, '"')


def _arguments(words: list[str]) -> tuple[str, StudyConfig, str, list[str], set[str]]:
    """The study's folder, its config, the results folder, the overrides for lrsweep, and the code that the user trusts.

    `seeds` sets fresh_seeds.
    """
    values = {"study": "", "study.name": "", "seeds": "", "machine.results_dir": MachineConfig().results_dir}
    rest, trusted = [], set()
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in values:
            values[name] = value
        elif name in OWN_CODE:
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
    study = values["study"] or values["study.name"] or "lr"
    config = study_config(StudyConfig(name=study).name)
    if not config.fresh_seeds:
        raise ConfigError(
            f"study={study} has no fresh seeds, because its own runs decide; lrsweep-report study={study} shows the results"
        )
    if any(word.startswith("seeds=") for word in words):
        seeds = values["seeds"]
        require(re.fullmatch("[1-9][0-9]{0,3}", seeds) is not None, "seeds", "a whole number from 1 to 9999", seeds)
        config.fresh_seeds = int(seeds)
    results_dir = MachineConfig(results_dir=values["machine.results_dir"]).results_dir
    return StudyConfig(name=values["study.name"] or study).name, config, results_dir, rest, trusted


def main() -> None:
    write_any_text()
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    try:
        name, config, results_dir, rest, trusted = _arguments(sys.argv[1:])
        study = read_tuning(Path(results_dir), name)
        require_trust(study, trusted)
        delta = store.read_delta(Path(results_dir) / name)
        fresh = plan_fresh_runs(study, config.confirm_decades, config.confirm_also)
        print(describe(study, fresh, config.fresh_seeds), flush=True)
        if not fresh.rates:
            raise StoreError(f"{name}: no rate was scored on every seed, so there is nothing to confirm yet")
    except (ConfigError, StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    words = [*overrides(study, fresh, config.fresh_seeds, rest), *([] if delta is None else [f"study.delta={delta}"])]
    after_interrupt = {"LRSWEEP_COMMAND": os.environ.get("LRSWEEP_COMMAND") or shlex.join(["lrsweep-confirm", *sys.argv[1:]])}
    sweep = ["lrsweep", "-m", *words, f"machine.results_dir={in_quotes(results_dir)}", *rest]
    report = ["lrsweep.cli.report", f"study={name}", f"machine.results_dir={results_dir}"]
    for command in (sweep, report):
        exit_code = run_to_end([sys.executable, "-m", *command], after_interrupt)
        if exit_code:
            sys.exit(exit_code)


def run_to_end(command: list[str], environment: Mapping[str, str] | None = None) -> int:
    """Run the command and return its exit code. SIGINT and SIGTERM are passed on, so that a sweep can end its processes.

    `environment` adds variables to those of this process.
    """
    variables = os.environ | dict(environment or {})
    with subprocess.Popen(command, env=variables) as process:  # not subprocess.run, which kills the sweep after Ctrl-C
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda received, frame: process.send_signal(received))
        exit_code = process.wait()
    return exit_code if exit_code >= 0 else 128 - exit_code


if __name__ == "__main__":
    main()
