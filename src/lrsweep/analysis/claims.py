"""The documents' claims, read from conf/claims.yaml, and the rule that judges them.

A claim has up to three tests. Its verdict is that of its weakest test.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import yaml  # type: ignore[import-untyped]

from lrsweep.analysis import contrasts
from lrsweep.analysis.contrasts import Effect
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.config import CONF_DIR

Word = Literal["refuted", "inconclusive", "supported", "filled in", "true by definition"]  # the weakest first
LEVEL = 0.05  # false discovery rate: expected share of wrong verdicts among the tests that are decided
CONTRASTS: dict[str, Callable[..., Effect]] = {
    "difference": contrasts.difference,
    "share": contrasts.share,
    "blank": contrasts.blank,
    "balance": contrasts.balance,
    "shape": contrasts.shape,
    "suggestions": contrasts.suggestions,
}
STATISTICAL = ("difference", "share", "suggestions")  # the other contrasts state facts, which need no significance level


@dataclass(frozen=True)
class Test:
    asks: str  # the question, in one sentence
    contrast: str
    study: str = ""
    finder: str = ""  # study folder of lrsweep-find's range tests
    beyond: float = 0.0  # the claim says that the effect is larger than this
    margin: float = 0.0  # a smaller effect than this is too small for the claim to matter
    settings: Mapping[str, Any] = field(default_factory=dict)  # other arguments of the contrast

    __test__ = False  # pytest must not collect it

    @property
    def is_statistical(self) -> bool:
        return self.contrast in STATISTICAL

    @property
    def refuted_below(self) -> float:
        return max(self.beyond, self.margin)


@dataclass(frozen=True)
class Claim:
    id: str
    documents: tuple[str, ...]
    claim: str
    korean: str
    tests: tuple[Test, ...]
    caveat: str = ""
    not_measured: str = ""  # why there is no test


@dataclass(frozen=True)
class Verdict:
    word: Word
    reason: str
    effect: Effect | None = None


@dataclass(frozen=True)
class Judged:
    claim: Claim
    verdicts: tuple[Verdict, ...]  # one per test

    @property
    def word(self) -> Word:
        return self.weakest.word

    @property
    def weakest(self) -> Verdict:
        if not self.verdicts:
            return Verdict("inconclusive", f"not measured: {self.claim.not_measured}")
        return min(self.verdicts, key=lambda verdict: _STRENGTH.index(verdict.word))


_STRENGTH: tuple[Word, ...] = get_args(Word)


def read_claims(path: Path = CONF_DIR / "claims.yaml") -> list[Claim]:
    return [_claim(row) for row in yaml.safe_load(path.read_text(encoding="utf-8"))["claims"]]


def _claim(row: dict[str, Any]) -> Claim:
    tests = tuple(_test(test) for test in row.pop("tests", ()))
    return Claim(documents=tuple(row.pop("documents")), korean=row.pop("korean", ""), tests=tests, **row)


def _test(row: dict[str, Any]) -> Test:
    fields = {name: row.pop(name) for name in ("asks", "contrast", "study", "finder", "beyond", "margin") if name in row}
    if fields["contrast"] not in CONTRASTS:
        raise ValueError(f"unknown contrast {fields['contrast']!r}; choose one of {', '.join(CONTRASTS)}")
    return Test(**{"margin": fields.get("beyond", 0.0)} | fields, settings=row)


@dataclass(frozen=True)
class Audit:
    judged: tuple[Judged, ...]
    level: float  # significance level of each statistical test: its confidence interval is at 1 - level
    num_tests: int  # number of statistical tests
    num_decided: int  # those with a verdict other than inconclusive
    weaker: frozenset[str]  # ids of the claims that would be inconclusive at the stricter Bonferroni level


def judge_all(claims: list[Claim], read: Callable[[str], Study | None], suggestions: Callable[[str], pd.DataFrame]) -> Audit:
    """Judge every claim, with the false discovery rate held at LEVEL.

    `read` returns the study with a given name, or None if it has no runs. `suggestions` returns the table of `suggest` for the
    range tests in a given study folder.

    The level is Benjamini and Hochberg's: with m tests, the largest k·LEVEL/m at which at least k tests are decided. Confidence
    intervals at that level are Benjamini and Yekutieli's (2005): of the intervals that decide a test, on average at most a share
    LEVEL misses the true effect.
    """
    num_tests = sum(test.is_statistical for claim in claims for test in claim.tests)

    def judge_at(level: float) -> tuple[Judged, ...]:
        return tuple(_judge(claim, level, read, suggestions) for claim in claims)

    k = max(1, num_tests)
    while True:
        level = LEVEL * k / max(1, num_tests)
        judged = judge_at(level)
        num_decided = sum(map(_num_decided, judged))
        if num_decided >= k or k == 1:
            break
        k = max(1, num_decided)
    at_bonferroni = judge_at(LEVEL / max(1, num_tests))
    weaker = frozenset(usual.claim.id for usual, strict in zip(judged, at_bonferroni, strict=True) if usual.word != strict.word)
    return Audit(judged, level, num_tests, num_decided, weaker)


def _num_decided(judged: Judged) -> int:
    verdicts = zip(judged.claim.tests, judged.verdicts, strict=True)
    return sum(test.is_statistical and verdict.word != "inconclusive" for test, verdict in verdicts)


def _judge(claim: Claim, level: float, read: Callable[[str], Study | None], suggestions: Callable[[str], pd.DataFrame]) -> Judged:
    def verdict_on(test: Test) -> Verdict:
        study = read(test.study) if test.study else None
        if study is None and test.study:
            return Verdict("inconclusive", f"no runs of {test.study}")
        arguments = dict(test.settings)
        if study is not None:
            arguments |= {"study": study, "level": level}
        if test.is_statistical:
            arguments["beyond"] = test.beyond
        if test.contrast == "suggestions":
            arguments["table"] = suggestions(test.finder)
        try:
            return judge(CONTRASTS[test.contrast](**arguments), test.beyond, test.margin)
        except NoSuchRuns as missing:
            return Verdict("inconclusive", str(missing))

    return Judged(claim, tuple(map(verdict_on, claim.tests)))


def judge(effect: Effect, beyond: float = 0.0, margin: float = 0.0) -> Verdict:
    """Supported if the confidence interval lies above `beyond`; refuted if it lies below `beyond` or `margin`.

    Otherwise inconclusive. An effect with doubts (missing runs, too few seeds) is inconclusive too, and so is an effect whose
    verdict could change if an arm with its best rate at the edge of the grid were tried beyond the edge. Effects without a
    statistical test have verdicts of their own, see _UNTESTED.
    """
    if effect.doubts:
        return Verdict("inconclusive", ", ".join(effect.doubts), effect)
    word = _word(effect.low, effect.high, beyond, margin)
    if word != _word(effect.low - effect.reach_low, effect.high + effect.reach_high, beyond, margin):
        return Verdict("inconclusive", f"it would be {word}, but a best rate lies at the edge of those tried", effect)
    subject = "the whole interval" if effect.low < effect.high else "the effect"
    if word == "supported":
        name, reason = _UNTESTED.get(effect.unit, (word, f"{subject} is above the bar"))
        return Verdict(name, reason, effect)
    if word == "inconclusive":
        return Verdict(word, "the interval holds both what the claim says and what it denies", effect)
    return Verdict(word, f"{subject} is below {'the bar' if effect.high < beyond else 'the least effect worth having'}", effect)


_UNTESTED: dict[str, tuple[Word, str]] = {  # unit of an effect without an interval → verdict and reason if it is as claimed
    "answer": ("filled in", "the document leaves a blank, and the runs fill it in; nothing was tested"),
    "number": ("true by definition", "this program's own formula is so; no run was asked"),
    "bound": ("supported", "even at this bound the difference is as small as the claim needs"),
}


def _word(low: float, high: float, beyond: float, margin: float) -> Word:
    if math.isnan(low) or math.isnan(high):
        return "inconclusive"
    if high < max(beyond, margin):
        return "refuted"
    return "supported" if low > beyond else "inconclusive"
