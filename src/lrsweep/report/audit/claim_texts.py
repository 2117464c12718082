"""The texts of the audit: the claims with their verdicts, effects and tests, and how they were judged."""

import math
from collections.abc import Sequence

from lrsweep.analysis.block_design import NEAR, WINDOW
from lrsweep.analysis.claims import LEVEL, Audit, Judged, Test, Verdict, Word
from lrsweep.analysis.contrasts import Effect
from lrsweep.analysis.study import Study
from lrsweep.report.texts.markdown_tables import markdown_table
from lrsweep.report.texts.wording import counted, escaped

TITLE = "What the documents claim, and what the runs say"
WORDS: dict[Word, tuple[str, str]] = {  # in the order of the page
    "refuted": ("✗", "반박됨"),
    "supported": ("✓", "지지됨"),
    "filled in": ("✎", "빈칸을 채움"),
    "true by definition": ("≡", "정의에 따름"),
    "inconclusive": ("?", "판단 불가"),
}


def headline(audit: Audit, studies: Sequence[Study]) -> str:
    by_word = {word: [one for one in audit.judged if one.word == word] for word in WORDS}
    counts = [
        f"* **{mark} {len(by_word[word])} {word}** ({korean}){_links(by_word[word])}" for word, (mark, korean) in WORDS.items()
    ]
    intervals = (
        f"In brackets stands the {1 - audit.level:.2%} interval of each effect ([why so much](#how-it-was-judged)), after it the "
        "bar that all of it lies below, or above where the claim holds."
    )
    return "\n\n".join(
        [
            f"# {TITLE}",
            f"{len(audit.judged)} statements of five documents on learning rates, each held against runs of their CNN on MNIST: "
            f"{counted(sum(len(study.measured) for study in studies), 'run')} of {len(studies)} studies, most of "
            "them short (study by study, below).",
            "\n".join(counts),
            "## What the documents get wrong",
            intervals,
            "\n".join(map(_answer, by_word["refuted"])) or "Nothing was refuted.",
            "## What holds here",
            "\n".join(map(_answer, by_word["supported"])) or "Nothing was supported.",
            "## What the documents leave blank, filled in",
            "\n".join(map(_answer, by_word["filled in"])) or "Nothing could be filled in.",
            "## What is true by definition",
            "\n".join(map(_answer, by_word["true by definition"])),
        ]
    )


def _answer(one: Judged) -> str:
    """The claim and the result of its weakest test. A refuted claim has its caveat too."""
    i = one.verdicts.index(one.weakest)
    test, effect = one.claim.tests[i], one.weakest.effect
    assert effect is not None
    result = f"{effect_text(effect)}{_side_of_bar(one.word, test, effect)}; {_evidence(effect, test)}."
    caveat = f" *{escaped(one.claim.caveat)}*" if one.word == "refuted" and one.claim.caveat else ""
    return f"* **{escaped(one.claim.claim)}** {escaped(test.asks)} {result}{caveat} ([{one.claim.id}](#{one.claim.id}))"


def _side_of_bar(word: Word, test: Test, effect: Effect) -> str:
    """The bar that the whole interval lies above or below."""
    if not test.is_statistical:
        return ""
    if word == "supported":
        return f", above {_in_unit(test.beyond, effect.unit)}"
    if effect.high < test.beyond:
        return f", below {_in_unit(test.beyond, effect.unit)}"
    return f", below {_in_unit(test.margin, effect.unit)}, the least worth having"


def _links(judged: Sequence[Judged]) -> str:
    """Inconclusive claims have no links: the table gives their reasons."""
    if not judged or judged[0].word == "inconclusive":
        return ""
    return ": " + ", ".join(f"[{one.claim.id}](#{one.claim.id})" for one in judged)


def claims_table(audit: Audit) -> str:
    rows = [
        [
            f"[{one.claim.id}](#{one.claim.id})",
            f"**{WORDS[one.word][0]} {one.word}**" + (" °" if one.claim.id in audit.weaker else ""),
            escaped(one.claim.claim),
            effect_text(one.weakest.effect) if one.weakest.effect else escaped(one.weakest.reason),
            *_bars(one),
            str(one.weakest.effect.num_seeds or "—") if one.weakest.effect else "—",
            ", ".join(one.claim.documents),
        ]
        for one in audit.judged
    ]
    intro = (
        "The effect is that of the claim's weakest test, with its interval. The claim is supported where all of that lies above "
        "the first bar, refuted where all of it lies below the second. °: another verdict under the strictest correction, see "
        "below."
    )
    header = ["id", "verdict", "claim", "effect", "supported above", "refuted below", "seeds", "documents"]
    table = markdown_table(header, rows)
    return f"## Every claim\n\n{intro}\n\n<details open><summary>{counted(len(rows), 'claim')}</summary>\n\n{table}\n\n</details>"


def _bars(one: Judged) -> tuple[str, str]:
    """The bars of the weakest test."""
    effect = one.weakest.effect
    if effect is None or not (test := one.claim.tests[one.verdicts.index(one.weakest)]).is_statistical:
        return "—", "—"
    return _in_unit(test.beyond, effect.unit), _in_unit(test.refuted_below, effect.unit)


def effect_text(effect: Effect) -> str:
    """An effect and its interval in their unit."""
    match effect.unit:
        case "answer":
            return escaped(effect.detail)
        case "bound":
            return f"at most {abs(effect.effect) * 100:.2f} points away"
        case "number":
            return "as stated" if effect.effect >= -1e-9 else "not as stated"
    low, middle, high = (_in_unit(value, effect.unit) for value in (effect.low, effect.effect, effect.high))
    unit = {"accuracy": " points", "decades": " decades", "nats": " nats"}.get(effect.unit, "")
    interval = "" if low == high or "nan" in low else f" [{low} to {high}]"
    return f"{middle}{unit}{interval}"


def _in_unit(value: float, unit: str) -> str:
    match unit:
        case "accuracy":
            return f"{value * 100:+.2f}"
        case "share":
            return f"{value * 100:.3g}%"
        case "factor":
            return f"×{10**value:.3g}"
        case _:
            return f"{value:+.2f}"


def claim_section(one: Judged) -> str:
    claim = one.claim
    mark, korean = WORDS[one.word]
    lines = [f"### {claim.id}", f"**{mark} {one.word} ({korean})** {escaped(claim.claim)}"]
    if claim.korean:
        where = "document" if len(claim.documents) == 1 else "documents"
        lines.append(f"> {escaped(claim.korean)} ({where} {', '.join(claim.documents)})")
    tests = zip(claim.tests, one.verdicts, strict=True)
    lines += [_test_text(i, test, verdict) for i, (test, verdict) in enumerate(tests, start=1)]
    if claim.not_measured:
        lines.append(f"Not measured: {escaped(claim.not_measured)}.")
    if claim.caveat:
        lines.append(f"*{escaped(claim.caveat)}*")
    return "\n\n".join(lines)


def _test_text(i: int, test: Test, verdict: Verdict) -> str:
    lines = [f"{i}. {escaped(test.asks)}", f"   **{verdict.word}**: {escaped(verdict.reason)}."]
    if (effect := verdict.effect) is not None:
        p_value = "" if math.isnan(effect.p_value) else f", p = {effect.p_value:.2g}"
        lines.append(f"   Effect: **{effect_text(effect)}**{_bar_text(test, effect)}{p_value}; {_evidence(effect, test)}.")
        if effect.unit != "answer":  # there the effect's text is the detail
            lines.append(f"   {escaped(effect.detail)}.")
    return "\n\n".join(lines)


def _bar_text(test: Test, effect: Effect) -> str:
    if not test.is_statistical:
        return ""
    bar, least = (_in_unit(value, effect.unit) for value in (test.beyond, test.refuted_below))
    return f", the bar is {bar}" if bar == least else f", supported above {bar}, refuted below {least}"


def _evidence(effect: Effect, test: Test) -> str:
    if not test.study:
        return "no runs needed"
    noun = "suggestion" if test.finder else "short run" if test.study.endswith("/small") else "run"
    return f"{counted(effect.num_runs, noun)}, {counted(effect.num_seeds, 'seed')} ([{test.study}](#{_anchor(test.study)}))"


def _anchor(study: str) -> str:
    return "study-" + study.replace("/", "-")


def method_section(audit: Audit) -> str:
    missing = [f"* {one.claim.id}: {escaped(one.weakest.reason)}" for one in audit.judged if one.weakest.effect is None]
    return f"""## How it was judged

* **The rule.** An effect is turned so that more of it is what the claim says. *Supported*: the whole interval is above the bar,
  which is mostly no effect (0, or ×1), and otherwise what the claim needs: so much more than that, or no more than so much less.
  *Refuted*: the whole interval is below the bar, or below the least effect worth having. Else *inconclusive*. A claim of several
  tests has the verdict of the weakest. A blank of the documents is *filled in*, and what they define is *true by definition*
  where this program's formula is so: neither was tested.
* **Never rounded up.** Inconclusive as well: runs are missing; fewer than 3 seeds; or an arm's best rate is the first or last one
  tried and the answer would change if one more step gained as much as the last one did.
* **Many tests.** {audit.num_decided} of {audit.num_tests} statistical tests are decided. So that no more than {LEVEL:.0%} of
  those are wrong on average (Benjamini and Hochberg's false discovery rate), every interval is at {1 - audit.level:.2%}; where a
  test compares several pairs, they share its part. This correction replaced Bonferroni's after a first look at the verdicts
  of two studies; what that one would not decide is marked °.
* **Each arm at its own best rate**, chosen by mean validation accuracy over the seeds; what is compared is test accuracy. Arms
  of a study have equally many rates, so that choosing flatters all alike.
* **Paired by seed.** A seed has the same images, initial weights and batch order in all arms. The standard error is what arms and
  seeds leave unexplained, pooled over the arms' rates within {NEAR:.0%} of their best; an arm that varies far more than the rest
  (an F test) has its own. Times and epochs are compared as ratios. Shares have exact
  (Clopper and Pearson) intervals, as if runs were independent, which those of one seed are not quite.
* **Shortfall**: by how many percentage points the mean over the rates within {WINDOW:g} decades of the best lies below it.
* Claims and their tests are data: conf/claims.yaml. This page: `lrsweep-report study=all`.

## Without a measurement

{chr(10).join(missing) or "Every claim has one."}"""
