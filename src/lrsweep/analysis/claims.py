"""The documents' claims, read from conf/claims.yaml, and their verdicts.

One test decides a claim. Its other tests are shown beside it and never decide.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]

from lrsweep.analysis import contrasts, facts, range_test_contrasts
from lrsweep.analysis.evidence import Evidence
from lrsweep.analysis.study import NoSuchRuns
from lrsweep.analysis.verdicts import DELTA, Effect, Forecast, Word, judge, seeds_to_decide
from lrsweep.config import CONF_DIR, ConfigError

T = TypeVar("T")
LEVEL = 0.05  # probability that any verdict is wrong; those of OWN_LEVEL come on top
SECONDARY_LEVEL = 0.05  # of each test that is shown but never decides
CONTRASTS: dict[str, Callable[..., Effect]] = {
    "difference": contrasts.difference,
    "edge": contrasts.edge,
    "bracket": range_test_contrasts.bracket,
    "finder": range_test_contrasts.finder,
    "share": facts.share,
    "blank": facts.blank,
    "balance": facts.balance,
    "shape": facts.shape,
}
OWN_LEVEL = ("blank", "balance", "shape")  # exact answers, or intervals that need no further correction


@dataclass(frozen=True)
class Test:
    asks: str  # the question, in one sentence
    contrast: str
    measures: str = ""  # what the effect is, in a few words; a loss needs none
    asks_ko: str = ""
    measures_ko: str = ""
    costs_nothing: bool = False  # the claim says that something costs nothing that matters
    delta: float | None = None  # smallest difference that matters; None: that of the effect's unit
    because: str = ""  # why this test needs a delta of its own
    because_ko: str = ""
    seeds: int = 0  # planned number; 0: 20 for fresh runs, 10 for others
    runs: str = ""  # the commands that make the runs, if they do not follow from the study's name
    settings: Mapping[str, Any] = field(default_factory=dict)  # arguments of the contrast

    __test__ = False  # pytest must not collect it

    @property
    def study(self) -> str:
        return str(self.settings.get("study", ""))

    @property
    def studies(self) -> list[str]:
        """All studies that the test needs."""
        sides = [arm for side in ("arms", "against") for arm in self.settings.get(side, ())]
        names = [self.study, *(str(arm.get("study", "")) for arm in sides)]
        return [name for name in dict.fromkeys(names) if name]

    @property
    def is_fresh(self) -> bool:
        return self.study.endswith("/confirm")

    @property
    def num_planned(self) -> int:
        return self.seeds or (20 if self.is_fresh else 10)

    @property
    def commands(self) -> str:
        name = self.study.removesuffix("/confirm")
        tuning = f"lrsweep study={name}"
        return self.runs or (f"{tuning} && lrsweep-confirm study={name}" if self.is_fresh else tuning)

    @property
    def num_pairs(self) -> int:
        """How many comparisons share the level of this test."""
        if self.settings.get("reduce") not in ("all", "any", "most"):
            return 1
        own = [[arm.get("study", self.study) for arm in self.settings[side]] for side in ("arms", "against")]
        return sum(up == down for up in own[0] for down in own[1])

    def delta_of(self, effect: Effect) -> float:
        return DELTA[effect.unit] if self.delta is None else self.delta


@dataclass(frozen=True)
class Claim:
    id: str
    documents: tuple[str, ...]  # the quote is from the first one
    claim: str
    quote: str  # the document's own words
    test: Test | None  # it decides the verdict; None: not testable
    also: tuple[Test, ...] = ()  # they never decide
    reading: str = ""  # what the claim is taken to say
    caveat: str = ""
    notes: str = ""  # more about the tests
    not_testable: str = ""  # why there is no test
    claim_ko: str = ""  # the same in Korean; if empty, the Korean page shows the English text
    reading_ko: str = ""
    caveat_ko: str = ""
    notes_ko: str = ""
    not_testable_ko: str = ""


@dataclass(frozen=True)
class Document:
    id: str
    title: str
    says: str  # what it is about
    claims: tuple[str, ...]  # ids, in the order of its text
    title_ko: str = ""
    says_ko: str = ""


@dataclass(frozen=True)
class Result:
    """What a test found: an effect, or the reason why there is none."""

    test: Test
    effect: Effect | None
    missing: str = ""


@dataclass(frozen=True)
class Judged:
    claim: Claim
    word: Word
    result: Result | None  # of the test that decides
    also: tuple[Result, ...]

    @property
    def forecast(self) -> Forecast | None:
        """How many seeds would decide. None if unknown or more than MAX_SEEDS."""
        if self.result is None or self.result.effect is None:
            return None
        test, effect = self.result.test, self.result.effect
        return seeds_to_decide(effect, test.delta_of(effect), test.costs_nothing)


@dataclass(frozen=True)
class Audit:
    judged: tuple[Judged, ...]
    level: float  # significance level of each deciding test: its confidence interval is at 1 - level
    num_tests: int  # number of deciding tests that share LEVEL


def read_claims(path: Path = CONF_DIR / "claims.yaml") -> list[Claim]:
    """ConfigError if the file is not a list of claims, or a test has a contrast or an argument that does not exist."""
    return _read(path, "claims", _claim)


def read_documents(path: Path = CONF_DIR / "claims.yaml") -> list[Document]:
    """ConfigError if the file has no valid list of documents."""
    return _read(path, "documents", lambda row: Document(claims=tuple(row.pop("claims")), **row))


def _read(path: Path, name: str, make: Callable[[dict[str, Any]], T]) -> list[T]:
    try:
        return [make(row) for row in yaml.safe_load(path.read_text(encoding="utf-8"))[name]]
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} holds no valid {name} ({type(error).__name__}: {' '.join(str(error).split())})") from error


def _claim(row: dict[str, Any]) -> Claim:
    test, also = row.pop("test", None), row.pop("also", ())
    return Claim(documents=tuple(row.pop("documents")), test=_test(test) if test else None, also=tuple(map(_test, also)), **row)


def _test(row: dict[str, Any]) -> Test:
    names = {each.name for each in fields(Test)} - {"settings"}
    texts = {name: row[name] for name in names if name in row}
    if texts["contrast"] not in CONTRASTS:
        raise ValueError(f"unknown contrast {texts['contrast']!r}; choose one of {', '.join(CONTRASTS)}")
    settings = {name: value for name, value in row.items() if name not in names}
    inspect.signature(CONTRASTS[texts["contrast"]]).bind(None, LEVEL, **settings)  # TypeError if an argument does not exist
    return Test(**texts, settings=settings)


def num_sharing_level(claims: Iterable[Claim]) -> int:
    """How many deciding tests share LEVEL. Those without runs count too, so that a new study does not change old verdicts."""
    return sum(claim.test is not None and claim.test.contrast not in OWN_LEVEL for claim in claims)


def judge_all(claims: list[Claim], evidence: Evidence) -> Audit:
    """Judge every claim. The intervals of the deciding tests hold together with probability 1 - LEVEL (Bonferroni)."""
    num_tests = num_sharing_level(claims)
    level = LEVEL / max(1, num_tests)
    return Audit(tuple(_judge(claim, level, evidence) for claim in claims), level, num_tests)


def _judge(claim: Claim, level: float, evidence: Evidence) -> Judged:
    also = tuple(_result(test, SECONDARY_LEVEL, evidence) for test in claim.also)
    if claim.test is None:
        return Judged(claim, "not testable", None, also)
    result = _result(claim.test, level, evidence)
    word: Word = "open"
    if result.effect is not None:
        word = judge(result.effect, claim.test.delta_of(result.effect), claim.test.costs_nothing)
    return Judged(claim, word, result, also)


def _result(test: Test, level: float, evidence: Evidence) -> Result:
    try:
        return Result(test, CONTRASTS[test.contrast](evidence, level, **test.settings))
    except NoSuchRuns as missing:
        return Result(test, None, missing.args[0])
