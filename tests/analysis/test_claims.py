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

from lrsweep.analysis import contrasts
from lrsweep.analysis.block_design import METRICS
from lrsweep.analysis.claims import CONTRASTS, LEVEL, Audit, Claim, Judged, Test, Verdict, Word, judge, judge_all, read_claims
from lrsweep.analysis.contrasts import Effect
from lrsweep.analysis.suggestions import suggest

IDS = [
    "best-range",
    "best-trade-off",
    "no-learning",
    "stops-at-once",
    "slow-and-lower",
    "early-record-gap",
    "accuracy-is-fair",
    "too-large-diverges",
    "local-minimum",
    "adamw-best",
    "adam-1e-3",
    "optimizer-scale",
    "adaptive-robust",
    "mini-batch",
    "schedule-beats-fixed",
    "cosine-warmup-best",
    "step-simple-start",
    "adaptive-needs-schedule",
    "restarts-help",
    "one-cycle",
    "exponential-tenfold",
    "warmup-stabilises",
    "cyclic-range",
    "finder-works",
    "batch-allows-larger",
    "grow-batch",
    "layerwise",
    "fine-tuning-small",
    "regularisers",
    "batch-norm-faster",
    "initialisation",
    "augmentation",
    "activations",
    "mixed-precision",
    "double-softmax",
]
INF = math.inf
CLAIMS = read_claims()


def effect_of(low: float, high: float, **more: object) -> Effect:
    return Effect((low + high) / 2, low, high, "accuracy", 3, 18, **more)  # type: ignore[arg-type]


def test_every_statement_is_there_once() -> None:
    assert [claim.id for claim in CLAIMS] == IDS


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_is_whole(claim: Claim) -> None:
    assert claim.documents
    assert set(claim.documents) <= {"000", "001", "002", "003", "004"}
    assert claim.claim.endswith(".")
    assert len(claim.tests) <= 3
    assert bool(claim.tests) != bool(claim.not_measured)
    for test in claim.tests:
        takes = set(inspect.signature(CONTRASTS[test.contrast]).parameters)
        assert set(test.settings) <= takes, test
        assert test.settings.get("metric", "seconds") in METRICS
        assert test.margin >= test.beyond
        assert (test.study == "") == (test.contrast == "shape")


@pytest.mark.parametrize("asks", [test.asks for claim in CLAIMS for test in claim.tests])
def test_a_question_can_be_read_alone_as_headlines_show_it(asks: str) -> None:
    assert not re.match(r"And\b|\w+ (it|they|the same|such)\b", asks)


@pytest.mark.parametrize(
    ("low", "high", "beyond", "margin", "word"),
    [
        (0.001, 0.02, 0.0, 0.0, "supported"),
        (-0.02, -0.001, 0.0, 0.0, "refuted"),
        (-0.001, 0.02, 0.0, 0.0, "inconclusive"),
        (0.0, 0.02, 0.0, 0.0, "inconclusive"),  # the claim says above
        (-0.0005, 0.0005, 0.0, 0.001, "refuted"),  # too small to matter
        (0.0001, 0.0005, 0.0, 0.001, "refuted"),
        (0.0001, 0.02, 0.0, 0.001, "supported"),
        (-0.004, 0.02, -0.005, -0.005, "supported"),  # not worse by more than …
        (-0.02, -0.006, -0.005, -0.005, "refuted"),
        (math.nan, math.nan, 0.0, 0.0, "inconclusive"),
    ],
)
def test_the_rule(low: float, high: float, beyond: float, margin: float, word: Word) -> None:
    assert judge(effect_of(low, high), beyond, margin).word == word


@pytest.mark.parametrize(
    ("unit", "word"),
    [("answer", "filled in"), ("number", "true by definition"), ("bound", "supported"), ("accuracy", "supported")],
)
def test_what_was_not_tested_is_not_called_supported_and_has_no_interval(unit: str, word: Word) -> None:
    verdict = judge(replace(effect_of(0.1, 0.2 if unit == "accuracy" else 0.1), unit=unit))
    assert verdict.word == word
    assert ("interval" in verdict.reason) == (unit == "accuracy")


def test_a_doubt_leaves_it_inconclusive() -> None:
    verdict = judge(effect_of(0.1, 0.2, doubts=("18 of 24 runs",)))
    assert (verdict.word, verdict.reason) == ("inconclusive", "18 of 24 runs")


@pytest.mark.parametrize(
    ("low", "high", "reach_low", "reach_high", "word"),
    [
        (0.01, 0.02, 0.02, 0.0, "inconclusive"),
        (0.01, 0.02, 0.005, INF, "supported"),  # it could only be more so
        (-0.02, -0.01, 0.0, 0.05, "inconclusive"),
        (-0.02, -0.01, INF, 0.005, "refuted"),
    ],
)
def test_an_edge_counts_where_it_could_change_the_answer(
    low: float, high: float, reach_low: float, reach_high: float, word: Word
) -> None:
    assert judge(effect_of(low, high, reach_low=reach_low, reach_high=reach_high)).word == word


def test_a_claim_is_as_strong_as_its_weakest_test() -> None:
    words: list[Word] = ["supported", "inconclusive", "refuted"]
    for words_of, weakest in ((words[:1], "supported"), (words[:2], "inconclusive"), (words, "refuted")):
        judged = Judged(CLAIMS[0], tuple(Verdict(word, "") for word in words_of))
        assert judged.word == weakest


def test_without_runs_only_definitions_are_judged_and_nothing_is_refuted() -> None:
    judged = judge_all(CLAIMS, lambda name: None, lambda name: suggest(())).judged
    assert {one.claim.id for one in judged if one.word == "true by definition"} == {"one-cycle", "exponential-tenfold"}
    assert {one.word for one in judged} == {"true by definition", "inconclusive"}
    assert "no runs of lr" in {verdict.reason for one in judged for verdict in one.verdicts}


def judged_by_p_values(monkeypatch: pytest.MonkeyPatch, p_values: list[float]) -> Audit:
    """A claim for each p-value, whose interval leaves 0 out at every level above it."""

    def test_at(study: object, level: float, p_value: float, **settings: object) -> Effect:
        return effect_of(0.1, 0.2) if p_value <= level else effect_of(-0.1, 0.2)

    monkeypatch.setitem(CONTRASTS, "difference", test_at)
    study = contrasts.Study("made", pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    tests = [Test("?", "difference", "made", settings={"p_value": p_value}) for p_value in p_values]
    claims = [Claim(str(i), ("000",), "It is.", "", (test,)) for i, test in enumerate(tests)]
    return judge_all(claims, lambda name: study, lambda name: suggest(()))


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=30))
def test_as_many_are_decided_as_scipy_rejects_by_benjamini_and_hochberg(p_values: list[float]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        audit = judged_by_p_values(monkeypatch, p_values)
    rejected = stats.false_discovery_control(p_values) <= LEVEL * (1 + 1e-12)
    assert [one.word == "supported" for one in audit.judged] == rejected.tolist()
    assert audit.num_decided == rejected.sum()
    assert audit.level == pytest.approx(LEVEL * max(1, rejected.sum()) / len(p_values))
    assert audit.weaker == {str(i) for i, p in enumerate(p_values) if rejected[i] and p > LEVEL / len(p_values)}


def test_without_an_effect_hardly_any_verdict_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under no effect at all, to decide anything is wrong: it happens in at most LEVEL of the audits."""
    draws = np.random.default_rng(0)
    wrong = [judged_by_p_values(monkeypatch, draws.uniform(size=45).tolist()).num_decided > 0 for _ in range(400)]
    assert sum(wrong) <= stats.binom.isf(1e-3, 400, LEVEL)
