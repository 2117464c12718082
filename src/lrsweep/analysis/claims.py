"""The documents' claims as data (conf/claims.yaml), and the one rule that judges them.

A claim has up to three tests; its verdict is that of the weakest.
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
LEVEL = 0.05  # the share of wrong ones to expect, at most, among the tests that are decided
CONTRASTS: dict[str, Callable[..., Effect]] = {
    "difference": contrasts.difference,
    "share": contrasts.share,
    "blank": contrasts.blank,
    "balance": contrasts.balance,
    "shape": contrasts.shape,
    "suggestions": contrasts.suggestions,
}
TESTED = ("difference", "share", "suggestions")  # the others are facts, which need no level


@dataclass(frozen=True)
class Test:
    asks: str  # what is compared, in a sentence
    contrast: str
    study: str = ""
    finder: str = ""  # the study that lrsweep-find wrote into
    beyond: float = 0.0  # the claim says that the effect is above it
    margin: float = 0.0  # … and an effect below it is too small for the claim to matter
    settings: Mapping[str, Any] = field(default_factory=dict)  # the contrast's own

    __test__ = False  # no class of pytest's

    @property
    def is_statistical(self) -> bool:
        return self.contrast in TESTED

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
    not_measured: str = ""


@dataclass(frozen=True)
class Verdict:
    word: Word
    reason: str
    effect: Effect | None = None


@dataclass(frozen=True)
class Judged:
    claim: Claim
    verdicts: tuple[Verdict, ...]  # one a test

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
    own = {name: row.pop(name) for name in ("asks", "contrast", "study", "finder", "beyond", "margin") if name in row}
    if own["contrast"] not in CONTRASTS:
        raise ValueError(f"no contrast {own['contrast']!r}; there are {', '.join(CONTRASTS)}")
    return Test(**{"margin": own.get("beyond", 0.0)} | own, settings=row)


@dataclass(frozen=True)
class Audit:
    judged: tuple[Judged, ...]
    level: float  # of each statistical test: its interval is at 1 - level
    num_tests: int  # statistical ones
    num_decided: int
    weaker: frozenset[str]  # ids of the claims whose verdict falls to inconclusive where all tests share LEVEL (Bonferroni)


def judge_all(claims: list[Claim], read: Callable[[str], Study | None], suggestions: Callable[[str], pd.DataFrame]) -> Audit:
    """`read`: a study by its name, None where it has no runs; `suggestions`: its finder's, as `suggest` gives them.

    The level is Benjamini and Hochberg's: of m tests, the largest k·LEVEL/m at which at least k are decided. Intervals at that
    level are Benjamini and Yekutieli's (2005): of those that decide something, at most LEVEL miss, on average.
    """
    num_tests = sum(test.is_statistical for claim in claims for test in claim.tests)

    def judge_at(level: float) -> tuple[Judged, ...]:
        return tuple(_judge(claim, level, read, suggestions) for claim in claims)

    allowed = max(1, num_tests)
    while True:
        level = LEVEL * allowed / max(1, num_tests)
        judged = judge_at(level)
        num_decided = sum(map(_num_decided, judged))
        if num_decided >= allowed or allowed == 1:
            break
        allowed = max(1, num_decided)
    strict = judge_at(LEVEL / max(1, num_tests))
    weaker = frozenset(one.claim.id for one, same in zip(judged, strict, strict=True) if one.word != same.word)
    return Audit(judged, level, num_tests, num_decided, weaker)


def _num_decided(one: Judged) -> int:
    verdicts = zip(one.claim.tests, one.verdicts, strict=True)
    return sum(test.is_statistical and verdict.word != "inconclusive" for test, verdict in verdicts)


def _judge(claim: Claim, level: float, read: Callable[[str], Study | None], suggestions: Callable[[str], pd.DataFrame]) -> Judged:
    def evaluate(test: Test) -> Verdict:
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

    return Judged(claim, tuple(map(evaluate, claim.tests)))


def judge(effect: Effect, beyond: float = 0.0, margin: float = 0.0) -> Verdict:
    """Supported: the interval lies above `beyond`. Refuted: it lies below `margin` or below `beyond`. Else inconclusive.

    A blank of the documents that was filled in, and a definition that holds, are called that instead of supported.

    Inconclusive as well where runs or seeds are missing, and where arms whose best rate is the first or last one tried could
    change the answer by going on beyond it.
    """
    if effect.doubts:
        return Verdict("inconclusive", ", ".join(effect.doubts), effect)
    word = _word(effect.low, effect.high, beyond, margin)
    if word != _word(effect.low - effect.reach_low, effect.high + effect.reach_high, beyond, margin):
        return Verdict("inconclusive", f"it would be {word}, but a best rate lies at the edge of those tried", effect)
    what = "the whole interval" if effect.low < effect.high else "the effect"
    if word == "supported":
        name, reason = _AS_CLAIMED.get(effect.unit, (word, f"{what} is above the bar"))
        return Verdict(name, reason, effect)
    if word == "inconclusive":
        return Verdict(word, "the interval holds both what the claim says and what it denies", effect)
    return Verdict(word, f"{what} is below {'the bar' if effect.high < beyond else 'the least effect worth having'}", effect)


_AS_CLAIMED: dict[str, tuple[Word, str]] = {  # by an effect's unit: those that have no interval
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
