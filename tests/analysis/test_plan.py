"""What a study costs and can detect."""

import math
from pathlib import Path

import numpy as np
import pytest
from made_runs import study_of
from scipy import stats

from lrsweep.analysis.evidence import read_study
from lrsweep.analysis.plan import PAIRED_SD, Plan, detectable, paired_sd, run_cost
from lrsweep.analysis.verdicts import POWER
from lrsweep.config import DataConfig, RunConfig, StudyConfig, TrainingConfig

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


@pytest.mark.parametrize("num_seeds", [3, 10, 20])
@pytest.mark.parametrize("level", [0.05, 0.05 / 40])
def test_the_detectable_difference_is_found_with_the_stated_probability(num_seeds: int, level: float) -> None:
    sd = 0.002
    draws = np.random.default_rng(0).normal(detectable(num_seeds, sd, level), sd, (20_000, num_seeds))
    found = stats.ttest_1samp(draws, 0.0, axis=1)
    assert (found.pvalue < level).mean() == pytest.approx(POWER, abs=0.01)


def test_the_difference_that_twenty_seeds_detect_agrees_with_power_tables() -> None:
    """G*Power gives a Cohen's d of 0.66 for n = 20, α = 0.05 and a power of 0.8."""
    assert detectable(20, 1.0, 0.05) == pytest.approx(0.6604, abs=0.0005)


def run_of(*, num_train: int = 3_000, num_valid: int = 5_000, max_epochs: int, validate_every: int = 1) -> RunConfig:
    training = TrainingConfig(patience=None, max_epochs=max_epochs, validate_every=validate_every)
    return RunConfig(data=DataConfig(num_train=num_train, num_valid=num_valid), training=training)


@pytest.mark.parametrize(
    ("run", "num_epochs", "cost"),
    [
        (run_of(max_epochs=30), None, 30),
        (run_of(max_epochs=30), 12.5, 12.5 * 2 / 3 + 13 / 3),
        (run_of(max_epochs=30, validate_every=30), None, 30 * 2 / 3 + 1 / 3),
        (run_of(max_epochs=30, validate_every=7), None, 30 * 2 / 3 + 5 / 3),  # epochs 7, 14, 21, 28 and the last
        (run_of(max_epochs=100, num_train=300), None, 100 * (0.2 + 1) / 3),
        (run_of(max_epochs=10, num_valid=2_500), None, 10 * 2.5 / 3),
    ],
)
def test_the_cost_of_a_run_is_counted_in_epochs_of_the_documents_experiment(
    run: RunConfig, num_epochs: float | None, cost: float
) -> None:
    assert run_cost(run, num_epochs) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("study", "num_fresh", "num_deciding_seeds"),
    [
        (StudyConfig(confirm_decades=0), 2 * 20, 20),
        (StudyConfig(confirm_decades=0, fresh_seeds=5), 2 * 5, 5),
        (StudyConfig(confirm_decades=0, confirm_also=[{"at": -3}]), (2 + 1) * 20, 20),
        (StudyConfig(confirm_decades=0.5), 2 * 3 * 20, 20),
        (StudyConfig(fresh_seeds=0), 0, 4),
    ],
)
def test_the_size_of_a_study(study: StudyConfig, num_fresh: int, num_deciding_seeds: int) -> None:
    plan = Plan(study, num_arms=2, exponents=(-4.0, -3.5, -3.0, -2.5), num_seeds=4, run=run_of(max_epochs=10))
    assert (plan.num_tuning, plan.num_fresh, plan.num_deciding_seeds) == (2 * 4 * 4, num_fresh, num_deciding_seeds)
    assert plan.cost == pytest.approx((32 + num_fresh) * 10)


def test_the_paired_sd_leaves_out_effects_of_the_seed_and_distant_arms() -> None:
    rng = np.random.default_rng(0)
    seeds, sd = rng.normal(0.9, 0.003, 3_000), 0.001
    arms = {name: [[value] for value in seeds + rng.normal(0, sd, 3_000)] for name in ("adam", "adamw", "sgd")}
    far = {"rmsprop": [[value] for value in rng.normal(0.5, 0.1, 3_000)]}
    assert paired_sd(study_of(**arms | far)) == pytest.approx(sd * math.sqrt(2), rel=0.05)


def test_one_arm_has_no_paired_sd() -> None:
    assert math.isnan(paired_sd(study_of(adam=[[0.9], [0.8]])))


@pytest.mark.slow
def test_the_sd_behind_the_plans_agrees_with_the_committed_studies() -> None:
    names = [str(path.parent.relative_to(REFERENCE)) for path in REFERENCE.rglob("runs.jsonl.gz")]
    studies = [study for study in (read_study(REFERENCE, name) for name in names) if study and study.runs["arm"].nunique() >= 4]
    measured = [sd for sd in map(paired_sd, studies) if not math.isnan(sd)]  # not yet known for a study that has just begun
    assert len(measured) >= 3
    pooled = math.sqrt(np.mean(np.square(measured)))
    assert pooled == pytest.approx(PAIRED_SD, rel=0.25)
