"""The sweep of `lrsweep-confirm`: which of a study's rates it repeats, and the overrides that repeat them."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lrsweep.analysis.confirmation import FIRST_FRESH_SEED
from lrsweep.analysis.evidence import read_study
from lrsweep.analysis.findings import CONFIRM
from lrsweep.analysis.fresh import FreshRuns, plan_fresh_runs
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.study import Study
from lrsweep.config import CONF_DIR, DICTS, ConfigError, StudyConfig
from lrsweep.config.targets import TARGETS
from lrsweep.report.texts.commands import TEXTS, in_hydra, in_quotes, is_in_program, settings, study_name
from lrsweep.storage import store
from lrsweep.storage.files import StoreError
from lrsweep.storage.tables import DEFAULT_SETTINGS

SHIPPED = ("lrsweep.data.sets.", "lrsweep.training.nets.")


def fresh_sweep(results_dir: Path, name: str, config: StudyConfig, given: list[str], trusted: set[str]) -> list[str]:
    """Print which runs will start, and return the overrides that start them."""
    study = read_tuning(results_dir, name)
    require_trust(study, trusted)
    delta = store.read_delta(results_dir / name)
    fresh = plan_fresh_runs(study, config.confirm_decades, config.confirm_also)
    print(describe(study, fresh, config.fresh_seeds), flush=True)
    if not fresh.rates:
        raise StoreError(f"{name}: no run was scored, so there is nothing to confirm yet")
    where = f"machine.results_dir={in_quotes(str(results_dir))}"
    return [*overrides(study, fresh, config.fresh_seeds, given), *([] if delta is None else [f"study.delta={delta}"]), where]


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
    for setting in TARGETS:
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
