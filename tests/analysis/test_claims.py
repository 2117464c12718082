"""The claims file, and how an audit comes to its verdicts."""

import re
from dataclasses import replace
from typing import Any

import pytest
from made_study import evidence_of

from lrsweep.analysis.claims import (
    CONTRASTS,
    LEVEL,
    OWN_LEVEL,
    SECONDARY_LEVEL,
    Audit,
    Claim,
    Test,
    judge_all,
    num_sharing_level,
    read_claims,
)
from lrsweep.analysis.metrics import METRICS
from lrsweep.analysis.study import NoSuchRuns
from lrsweep.analysis.verdicts import DELTA, Effect
from lrsweep.config import CONF_DIR

CLAIMS = read_claims()


def test_the_claims_have_different_ids_and_only_definitions_are_not_testable() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS) == 36
    assert [claim.id for claim in CLAIMS if claim.test is None] == ["one-cycle", "exponential-tenfold"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_is_complete_and_its_tests_fit_their_contrasts(claim: Claim) -> None:
    assert claim.documents
    assert set(claim.documents) <= {"000", "001", "002", "003", "004"}
    assert claim.claim.endswith(".")
    assert claim.quote
    assert bool(claim.test) == bool(claim.reading) != bool(claim.not_testable)
    for test in filter(None, (claim.test, *claim.also)):
        assert (test.study == "") == (test.contrast == "shape")
        assert bool(test.because) == (test.delta is not None)


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.test], ids=lambda claim: claim.id)
def test_a_deciding_test_has_a_smallest_difference(claim: Claim) -> None:
    assert claim.test is not None
    assert claim.test.contrast not in ("share", "shape")  # a share of runs decides nothing, because runs are not independent
    metric = claim.test.settings.get("metric")
    assert metric is None or METRICS[metric] in DELTA or claim.test.delta is not None


COSTS_NOTHING = {"best-range", "best-trade-off", "no-learning", "accuracy-is-fair", "local-minimum", "adam-1e-3", "grow-batch"}
COSTS_NOTHING |= {"cosine-warmup-best", "step-simple-start", "finder-works"}


def test_only_claims_that_something_costs_nothing_are_judged_against_minus_delta() -> None:
    assert {claim.id for claim in CLAIMS if claim.test and claim.test.costs_nothing} == COSTS_NOTHING


def test_tuned_studies_decide_by_fresh_seeds() -> None:
    tuned = {"optimizers", "schedules", "schedules_sgd", "restarts", "grow_batch", "layerwise", "regularisers", "augmentation"}
    tuned |= {"activations", "initialisation", "mini_batch", "double_softmax", "adam"}
    for claim in CLAIMS:
        assert claim.test is None or claim.test.study not in tuned


def test_without_runs_every_claim_but_the_definitions_is_open() -> None:
    judged = judge_all(CLAIMS, evidence_of()).judged
    assert {one.claim.id for one in judged if one.word == "not testable"} == {"one-cycle", "exponential-tenfold"}
    assert {one.word for one in judged} == {"not testable", "open"}
    assert {one.result.missing for one in judged if one.result} == {"not measured yet"}


def test_tests_with_their_own_level_do_not_share_the_common_level() -> None:
    own = [claim for claim in CLAIMS if claim.test and claim.test.contrast in OWN_LEVEL]
    assert {claim.id for claim in own} == {"best-range", "best-trade-off", "accuracy-is-fair"}
    assert num_sharing_level(CLAIMS) == 36 - 2 - len(own)


DECISIVE, UNDECIDED = (0.01, 0.02), (-0.01, 0.02)


def audit_of(*claims: Claim, levels: list[float] | None = None) -> Audit:
    """Judge claims by a fake contrast, which finds the interval in a test's settings. No settings: nothing was measured."""

    def fake_contrast(evidence: Any, level: float, low: float | None = None, high: float = 0.0, caveat: str = "") -> Effect:
        if levels is not None:
            levels.append(level)
        if low is None:
            raise NoSuchRuns("not measured yet")
        return Effect((low + high) / 2, low, high, "accuracy", 20, 40, caveats=(caveat,) if caveat else ())

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(CONTRASTS, "difference", fake_contrast)
        return judge_all(list(claims), evidence_of())


def test_of(interval: tuple[float, float] | None, **more: Any) -> Test:
    return Test("Is it?", "difference", settings={} if interval is None else {"low": interval[0], "high": interval[1]} | more)


test_of.__test__ = False  # type: ignore[attr-defined]


def claim_of(test: Test | None, *also: Test, **more: Any) -> Claim:
    return Claim("a-claim", ("000",), "It is.", "", test, also, **more)


def test_one_test_decides_and_the_others_never_do() -> None:
    audit = audit_of(
        claim_of(test_of(UNDECIDED), test_of(DECISIVE)), claim_of(test_of(DECISIVE), test_of(UNDECIDED), test_of(None))
    )
    assert [one.word for one in audit.judged] == ["open", "holds"]


def test_all_deciding_tests_share_the_level_even_those_not_measured() -> None:
    levels: list[float] = []
    audit = audit_of(
        *(claim_of(test_of(interval), test_of(DECISIVE)) for interval in (DECISIVE, UNDECIDED, None, None)), levels=levels
    )
    assert (audit.level, audit.num_tests) == (LEVEL / 4, 4)
    assert levels == [SECONDARY_LEVEL, LEVEL / 4] * 4


def test_a_test_judges_by_its_own_delta() -> None:
    strict = replace(test_of((-0.001, 0.001)), delta=0.0005, because="It says so.")
    assert [one.word for one in audit_of(claim_of(strict), claim_of(test_of((-0.001, 0.001)))).judged] == [
        "open",
        "no difference that matters",
    ]


@pytest.mark.parametrize(
    ("settings", "more", "commands", "seeds"),
    [
        ({"study": "schedules/confirm"}, {}, "lrsweep study=schedules && lrsweep-confirm study=schedules", 20),
        ({"study": "warmup"}, {}, "lrsweep study=warmup", 10),
        ({"study": "long"}, {"seeds": 5}, "lrsweep study=long", 5),
        ({"study": "lr"}, {"runs": "lrsweep study=lr seed=0,1"}, "lrsweep study=lr seed=0,1", 10),
    ],
)
def test_a_test_names_the_commands_that_run_its_study(settings: Any, more: Any, commands: str, seeds: int) -> None:
    test = Test("Is it?", "difference", settings=settings, **more)
    assert (test.commands, test.num_planned) == (commands, seeds)


def test_only_pairs_of_arms_in_the_same_study_are_counted() -> None:
    arms = [{"schedule.name": "step"}, {"study": "other"}, {"study": "other", "schedule.name": "cosine"}]
    settings = {"study": "one", "reduce": "any", "arms": arms, "against": [{}, {"study": "other"}]}
    assert Test("Is it?", "difference", settings=settings).num_pairs == 3
    assert Test("Is it?", "difference", settings=settings | {"reduce": "mean"}).num_pairs == 1


def test_the_commands_of_the_claims_name_studies_that_exist() -> None:
    commands = " ".join(test.commands for claim in CLAIMS for test in (claim.test, *claim.also) if test and test.study)
    names = set(re.findall(r" study=(\w+)", commands))
    assert len(names) > 10
    assert names <= {path.stem for path in (CONF_DIR / "study").glob("*.yaml")}
