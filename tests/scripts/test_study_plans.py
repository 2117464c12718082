"""The study files say what they cost and can detect, and `make studies` runs all of them."""

from functools import cache
from pathlib import Path

import pytest
from plan import PLANNED, path_of, plan, texts, with_plan
from studies import STUDIES, commands

from lrsweep.analysis.claims import Test, num_sharing_level, read_claims
from lrsweep.config import CONF_DIR

ROOT = Path(__file__).parents[2]

CLAIMS = read_claims()
plan = cache(plan)  # composing a study takes long, and several claims have the same


@pytest.mark.slow
@pytest.mark.parametrize("study", PLANNED)
def test_a_study_opens_with_its_cost_and_what_it_can_detect(study: str) -> None:
    """After a change to a study or to the claims, run `make plan` to update the files."""
    text = path_of(study).read_text(encoding="utf-8")
    assert with_plan(text, texts(plan(study), num_sharing_level(CLAIMS))) == text


@pytest.mark.slow
def test_the_plan_of_a_study_counts_its_runs() -> None:
    opening = path_of("schedules_sgd").read_text(encoding="utf-8").split("\nstudy:")[0]
    assert "60 runs (3 arms × 4 rates × 5 seeds), then 90 on 30 fresh seeds" in opening
    assert "as much work as 3,300 epochs" in " ".join(opening.split("\n# "))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("README.md", "on {seeds} seeds, then compare all on {fresh} fresh seeds"),
        ("README.ko.md", "시드 {seeds}개로 각각 가장 좋은 학습률을 고른 뒤, 새 시드 {fresh}개로"),
        ("docs/recipes.md", "4 rates × {seeds} seeds, {tuning} runs"),
        ("docs/recipes.md", "8 schedules × {fresh} fresh seeds, {fresh_runs} runs"),
    ],
)
def test_the_pages_say_how_many_runs_the_schedules_need(page: str, text: str) -> None:
    size = plan("schedules")
    numbers = {"seeds": size.num_seeds, "fresh": size.study.fresh_seeds, "tuning": size.num_tuning, "fresh_runs": size.num_fresh}
    assert text.format(**numbers) in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("test", [claim.test for claim in CLAIMS if claim.test], ids=lambda test: test.asks[:30])
def test_a_claim_plans_the_seeds_that_its_study_runs(test: Test) -> None:
    planned = plan(test.study.removesuffix("/confirm"))
    assert test.num_planned == (planned.study.fresh_seeds if test.is_fresh else planned.num_seeds)


def test_every_study_is_run() -> None:
    files = {path.stem for path in (CONF_DIR / "study").glob("*.yaml")}
    assert files - set(STUDIES) == {"single", "budget", "demo"}  # a single run; `make sensitivity`; `make demo`


def test_weights_are_trained_before_they_are_used() -> None:
    order = list(STUDIES)
    assert order.index("pretrain") < order.index("finetune")


def test_a_study_is_confirmed_if_it_has_fresh_seeds() -> None:
    assert commands("schedules") == [["lrsweep", "study=schedules"], ["lrsweep.cli.confirm", "study=schedules"]]
    assert commands("batch_norm") == [["lrsweep", "study=batch_norm"]]
    assert [command[-1] for command in commands("lr")] == ["study.extend=true"] * 2  # after `make sweep`, the second loss is new


def test_fresh_runs_get_no_overrides_that_change_a_run() -> None:
    sweep, confirm = commands("schedules", ["training.max_epochs=4", "technique=relu", "hydra/launcher=fused"])
    assert sweep[2:] == ["training.max_epochs=4", "technique=relu", "hydra/launcher=fused"]
    assert confirm[2:] == ["hydra/launcher=fused"]
