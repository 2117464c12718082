"""The claims file, the rule that judges a claim, and the false discovery rate over all of them."""

import inspect
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrsweep.analysis.block_design import METRICS
from lrsweep.analysis.claims import CONTRASTS, LEVEL, Audit, Claim, Judged, Test, Verdict, Word, judge, judge_all, read_claims
from lrsweep.analysis.contrasts import Effect
from lrsweep.analysis.study import Study
from lrsweep.analysis.suggestions import suggest

INF = math.inf
CLAIMS = read_claims()


def effect_of(low: float, high: float, **more: object) -> Effect:
    return Effect((low + high) / 2, low, high, "accuracy", 3, 18, **more)  # type: ignore[arg-type]


def test_there_are_35_claims_with_different_ids() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS) == 35


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_is_complete_and_its_tests_fit_their_contrasts(claim: Claim) -> None:
    assert claim.documents
    assert set(claim.documents) <= {"000", "001", "002", "003", "004"}
    assert claim.claim.endswith(".")
    assert len(claim.tests) <= 3
    assert bool(claim.tests) != bool(claim.not_measured)
    for test in claim.tests:
        assert set(test.settings) <= set(inspect.signature(CONTRASTS[test.contrast]).parameters), test
        assert test.settings.get("metric", "seconds") in METRICS
        assert test.margin >= test.beyond
        assert (test.study == "") == (test.contrast == "shape")
        # A headline shows the question alone, so it must not refer to another one.
        assert not re.match(r"And\b|\w+ (it|they|the same|such)\b", test.asks)


@pytest.mark.parametrize(
    ("low", "high", "beyond", "margin", "word"),
    [
        (0.001, 0.02, 0.0, 0.0, "supported"),
        (-0.02, -0.001, 0.0, 0.0, "refuted"),
        (-0.001, 0.02, 0.0, 0.0, "inconclusive"),
        (0.0, 0.02, 0.0, 0.0, "inconclusive"),  # the claim says larger than 0
        (-0.0005, 0.0005, 0.0, 0.001, "refuted"),  # too small to matter
        (0.0001, 0.0005, 0.0, 0.001, "refuted"),
        (0.0001, 0.02, 0.0, 0.001, "supported"),
        (-0.004, 0.02, -0.005, -0.005, "supported"),  # not worse by more than 0.005
        (-0.02, -0.006, -0.005, -0.005, "refuted"),
        (math.nan, math.nan, 0.0, 0.0, "inconclusive"),
    ],
)
def test_the_interval_decides(low: float, high: float, beyond: float, margin: float, word: Word) -> None:
    assert judge(effect_of(low, high), beyond, margin).word == word


@pytest.mark.parametrize(
    ("unit", "word"),
    [("answer", "filled in"), ("number", "true by definition"), ("bound", "supported"), ("accuracy", "supported")],
)
def test_facts_that_were_not_tested_have_words_of_their_own_and_no_interval(unit: str, word: Word) -> None:
    verdict = judge(replace(effect_of(0.1, 0.2 if unit == "accuracy" else 0.1), unit=unit))
    assert verdict.word == word
    assert ("interval" in verdict.reason) == (unit == "accuracy")


def test_an_effect_with_doubts_is_inconclusive() -> None:
    verdict = judge(effect_of(0.1, 0.2, doubts=("18 of 24 runs",)))
    assert (verdict.word, verdict.reason) == ("inconclusive", "18 of 24 runs")


@pytest.mark.parametrize(
    ("low", "high", "reach_low", "reach_high", "word"),
    [
        (0.01, 0.02, 0.02, 0.0, "inconclusive"),
        (0.01, 0.02, 0.005, INF, "supported"),
        (-0.02, -0.01, 0.0, 0.05, "inconclusive"),
        (-0.02, -0.01, INF, 0.005, "refuted"),
    ],
)
def test_a_best_rate_at_the_edge_matters_only_if_it_could_change_the_verdict(
    low: float, high: float, reach_low: float, reach_high: float, word: Word
) -> None:
    assert judge(effect_of(low, high, reach_low=reach_low, reach_high=reach_high)).word == word


def test_a_claim_is_as_strong_as_its_weakest_test() -> None:
    words: list[Word] = ["supported", "inconclusive", "refuted"]
    for num_tests in (1, 2, 3):
        judged = Judged(CLAIMS[0], tuple(Verdict(word, "") for word in words[:num_tests]))
        assert judged.word == words[num_tests - 1]


def test_without_runs_only_definitions_are_decided() -> None:
    judged = judge_all(CLAIMS, lambda name: None, lambda name: suggest(())).judged
    assert {one.claim.id for one in judged if one.word == "true by definition"} == {"one-cycle", "exponential-tenfold"}
    assert {one.word for one in judged} == {"true by definition", "inconclusive"}
    assert "no runs of lr" in {verdict.reason for one in judged for verdict in one.verdicts}


def audit_of(p_values: list[float]) -> Audit:
    """One claim per p-value, whose interval excludes 0 at every level above that p-value."""

    def fake_contrast(study: object, level: float, p_value: float, **settings: object) -> Effect:
        return effect_of(0.1, 0.2) if p_value <= level else effect_of(-0.1, 0.2)

    study = Study("made", pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    tests = [Test("?", "difference", "made", settings={"p_value": p_value}) for p_value in p_values]
    claims = [Claim(str(i), ("000",), "It is.", "", (test,)) for i, test in enumerate(tests)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(CONTRASTS, "difference", fake_contrast)
        return judge_all(claims, lambda name: study, lambda name: suggest(()))


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=30))
def test_the_decided_tests_are_those_that_scipy_rejects_by_benjamini_and_hochberg(p_values: list[float]) -> None:
    audit = audit_of(p_values)
    rejected = stats.false_discovery_control(p_values) <= LEVEL * (1 + 1e-12)
    assert [one.word == "supported" for one in audit.judged] == rejected.tolist()
    assert audit.num_decided == rejected.sum()
    assert audit.level == pytest.approx(LEVEL * max(1, rejected.sum()) / len(p_values))
    assert audit.weaker == {str(i) for i, p in enumerate(p_values) if rejected[i] and p > LEVEL / len(p_values)}


def test_without_any_effect_an_audit_decides_something_no_more_often_than_the_level() -> None:
    draws = np.random.default_rng(0)
    wrong = [audit_of(draws.uniform(size=45).tolist()).num_decided > 0 for _ in range(400)]
    assert sum(wrong) <= stats.binom.isf(1e-3, 400, LEVEL)
