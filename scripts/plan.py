"""Write into each file of conf/study/ what the study costs and can detect, and print a table of all. `make plan` calls it."""

import math
import re
import textwrap
from pathlib import Path

import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from studies import STUDIES

from lrsweep.analysis.claims import LEVEL, num_sharing_level, read_claims
from lrsweep.analysis.evidence import read_study
from lrsweep.analysis.plan import PAIRED_SD, Plan, detectable, paired_sd, run_cost
from lrsweep.analysis.verdicts import POWER
from lrsweep.cli.main import compose, to_app_config
from lrsweep.config import CONF_DIR, TrainingConfig

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
PLANNED = [*STUDIES, "budget", "demo"]
WIDTH = 126


def path_of(study: str) -> Path:
    return CONF_DIR / "study" / f"{study}.yaml"


def plan(study: str) -> Plan:
    config = compose(f"study={study}", return_hydra_config=True)
    params = {name: str(values) for name, values in config.hydra.sweeper.params.items()}
    params |= dict(override.split("=", 1) for override in STUDIES.get(study, ()))
    values = {name: _values(name, text) for name, text in params.items()}
    first = to_app_config(compose(f"study={study}", *(f"{name}={tried[0]}" for name, tried in values.items())))
    exponents = [math.log10(float(lr)) for lr in values.get("optimizer.lr", [])]
    exponents += [float(offset) for offset in values.get("grid.offset", [])]
    num_arms = math.prod(len(tried) for name, tried in values.items() if name not in ("optimizer.lr", "grid.offset", "seed"))
    return Plan(first.study, num_arms, tuple(exponents or [0.0]), len(values.get("seed", "0")), first.run)


def _values(name: str, text: str) -> list[str]:
    (override,) = OverridesParser.create().parse_overrides([f"{name}={text}"])
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else [text]


def never_stops(training: TrainingConfig) -> bool:
    return training.patience is None or training.patience >= training.max_epochs


def texts(planned: Plan, num_tests: int) -> list[str]:
    """The sentences at the top of the study's file."""
    study, training = planned.study, planned.run.training
    sizes = [(planned.num_arms, "arm"), (len(planned.exponents), "rate"), (planned.num_seeds, "seed")]
    product = " × ".join(f"{number} {word}{'s' if number > 1 else ''}" for number, word in sizes)
    cost = f"Cost{' with ' if STUDIES.get(study.name) else ''}{' '.join(STUDIES.get(study.name, ()))}: "
    cost += f"{planned.num_tuning:,} runs ({product})"
    if planned.num_fresh:
        cost += f", then {planned.num_fresh:,} on {study.fresh_seeds} fresh seeds (lrsweep-confirm study={study.name})"
    if never_stops(training):
        cost += f", of {training.max_epochs} epochs each: as much work as {planned.cost:,.0f} epochs of study=lr."
    else:
        cost += f", of at most {training.max_epochs:,} epochs each; early stopping decides how many."
    if not planned.compares:
        return [cost]
    num_seeds = planned.num_deciding_seeds
    points = 100 * detectable(num_seeds, PAIRED_SD, LEVEL / num_tests)
    can = f"Can detect: a difference of {points:.2f} points between two arms or rates on {num_seeds} seeds, with {POWER:.0%} "
    can += f"probability, at level {LEVEL} / {num_tests} tests, if its standard deviation is {100 * PAIRED_SD:.2f} points."
    return [cost, can]


def with_plan(text: str, sentences: list[str]) -> str:
    """The text of a study's file, with `sentences` at the end of its opening comment."""
    opening, rest = re.split(r"^(?=study:)", text, maxsplit=1, flags=re.M)
    opening = re.split(r"^# Cost\b", opening, flags=re.M)[0]
    lines = [
        line for sentence in sentences for line in textwrap.wrap(sentence, WIDTH, initial_indent="# ", subsequent_indent="# ")
    ]
    return opening + "\n".join(lines) + "\n" + rest


def table(plans: list[Plan], num_tests: int) -> pd.DataFrame:
    """One row per study; the last columns are from results/reference. With early stopping, cost uses these measured epochs."""
    rows = []
    for planned in plans:
        measured = read_study(REFERENCE, planned.study.name)
        epochs = math.nan if measured is None else float(measured.measured["epochs"].mean())
        deciding_runs = read_study(REFERENCE, f"{planned.study.name}/confirm") or measured
        sd = math.nan if deciding_runs is None else paired_sd(deciding_runs)
        cost = planned.cost
        if not never_stops(planned.run.training):
            runs = planned.num_tuning + planned.num_fresh
            cost = math.nan if measured is None else runs * run_cost(planned.run, epochs)
        deciding = (planned.num_deciding_seeds, PAIRED_SD if math.isnan(sd) else sd, LEVEL / num_tests)
        rows.append(
            {
                "study": planned.study.name,
                "arms": planned.num_arms,
                "runs": planned.num_tuning,
                "fresh runs": planned.num_fresh,
                "epochs": planned.run.training.max_epochs,
                "cost": cost,
                "detects, points": 100 * detectable(*deciding) if planned.compares else math.nan,
                "mean epochs, measured": epochs,
                "paired sd, measured": 100 * sd,
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    num_tests = num_sharing_level(read_claims())
    plans = [plan(study) for study in PLANNED]
    for planned in plans:
        path = path_of(planned.study.name)
        path.write_text(with_plan(path.read_text(encoding="utf-8"), texts(planned, num_tests)), encoding="utf-8")
    shown = table(plans, num_tests)
    print(shown.to_string(index=False, float_format="{:,.2f}".format, na_rep="–", formatters={"cost": "{:,.0f}".format}))
    print(f"\nCost is in epochs of study=lr (docs/methods.md). {num_tests} tests decide the claims.")
    others = shown[~shown["study"].isin(["lr", "budget", "demo"])]
    unknown = ", ".join(others.loc[others["cost"].isna(), "study"]) or "none"
    print(
        f"All studies but lr, budget and demo: {others['cost'].sum():,.0f} epochs. Not included, because not measured: {unknown}."
    )


if __name__ == "__main__":
    main()
