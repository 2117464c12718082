"""Every claim finds the arms that it compares in the file of its study (conf/study/)."""

import itertools
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from made_study import make_study

from lrsweep.analysis.claims import Claim, judge_all, read_claims
from lrsweep.analysis.evidence import Evidence
from lrsweep.analysis.study import Study
from lrsweep.cli.main import compose, to_app_config
from lrsweep.config import flatten
from lrsweep.storage.tables import DRAWN_BY, setting_cell

NUM_SEEDS = 4
EXPONENTS = np.arange(-6.0, -1.4, 0.5)
ACCURACY = np.select([EXPONENTS < -5.25, EXPONENTS > -1.75], [0.1, 0.1], 0.98 - 0.02 * (EXPONENTS + 2.5) ** 2)


@cache
def arms_of(study: str) -> tuple[dict[str, Any], ...]:
    """The settings of each arm that the study's file sweeps, as table cells."""
    params = dict(compose(f"study={study}", return_hydra_config=True).hydra.sweeper.params)
    if study == "lr":
        params["loss"] = "cross_entropy,double_softmax"
    swept = {}
    for name, values in params.items():
        (override,) = OverridesParser.create().parse_overrides([f"{name}={values}"])
        tried = list(override.sweep_string_iterator()) if override.is_sweep_override() else [str(values)]
        swept[name] = tried[:1] if name in ("seed", "optimizer.lr", "grid.offset") else tried
    runs = [
        to_app_config(compose(f"study={study}", *(f"{name}={value}" for name, value in zip(swept, row, strict=True)))).run
        for row in itertools.product(*swept.values())
    ]
    cells = [{name: setting_cell(value) for name, value in flatten(asdict(run)).items()} for run in runs]
    return tuple({name: value for name, value in arm.items() if name not in ("seed", "optimizer.lr")} for arm in cells)


@cache
def read(name: str) -> Study:
    """Made-up runs of the study, or of its fresh seeds."""
    study = name.removesuffix("/confirm")
    arms = arms_of(study)
    noise = np.random.default_rng(0).normal(0, 0.001, (NUM_SEEDS, len(arms), len(EXPONENTS)))
    made = make_study(
        ACCURACY + noise,
        arms,
        10**EXPONENTS,
        name=name,
        first_seed=1000 if name != study else 0,
        num_epochs=min(int(arms[0]["training.max_epochs"]), 60),
        best_test_accuracy=0.97,
        last_test_accuracy=0.97,
        balanced_test_accuracy=0.97,
        peak_memory_bytes=5e8,
    )
    counts = dict(made.runs[DRAWN_BY].iloc[0]) | {"split": "test"} | {str(digit): 1000 for digit in range(10)}
    made = replace(made, curves=made.curves.assign(highest_loss=3.0), class_counts=pd.DataFrame([counts]))
    return made if name == study else replace(made, tuning=read(study))


def suggestions(name: str) -> pd.DataFrame:
    rules = ["valley", "slide", "minimum/10", "steepest", "cycle low", "cycle high"]
    seeds = range(1000, 1000 + NUM_SEEDS) if "/fresh/" in name else range(NUM_SEEDS)
    rows = [(rule, seed, 10 ** (-2.5 - 0.2 * i)) for i, rule in enumerate(rules) for seed in seeds]
    return pd.DataFrame(rows, columns=["rule", "seed", "lr"])


@pytest.mark.slow
@pytest.mark.parametrize("claim", [claim for claim in read_claims() if claim.test], ids=lambda claim: claim.id)
def test_every_test_of_a_claim_finds_its_runs(claim: Claim) -> None:
    (judged,) = judge_all([claim], Evidence(read, suggestions)).judged
    for result in filter(None, (judged.result, *judged.also)):
        if result.effect is None:
            assert "stopped by patience" in result.missing  # patience stopped no made-up run
        else:
            assert not result.effect.doubts, result.test.asks
