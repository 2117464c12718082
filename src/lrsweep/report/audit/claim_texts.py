"""The texts of the audit: the claims with their verdicts, effects and tests, and how they were judged."""

import math
from collections.abc import Sequence

from lrsweep.analysis.block_design import METRICS
from lrsweep.analysis.claims import LEVEL, SECONDARY_LEVEL, Audit, Judged, Result, Test
from lrsweep.analysis.contrasts import ACTED
from lrsweep.analysis.plan import PAIRED_SD, detectable
from lrsweep.analysis.shortfall import MAX_SEEDS
from lrsweep.analysis.study import Study
from lrsweep.analysis.verdicts import DELTA, Effect, Word
from lrsweep.report.audit.effect_texts import effect_text, loss_text, signed, size_text
from lrsweep.report.texts.markdown_tables import markdown_table
from lrsweep.report.texts.wording import counted, escaped

TITLE = "What the documents claim, and what the runs say"
HERE = "*Here* always means one small CNN on 3,000 MNIST images; this page says nothing about other networks or data."
WORDS: dict[Word, tuple[str, str, str]] = {  # mark, title and Korean title, in the order of the page
    "does not hold": ("✗", "Does not hold here", "여기서는 성립하지 않음"),
    "no difference that matters": ("≈", "No difference that matters", "의미 있는 차이 없음"),
    "holds": ("✓", "Holds here", "여기서는 성립함"),
    "open": ("?", "Open", "아직 알 수 없음"),
    "not testable": ("–", "Not testable here", "여기서는 검증할 수 없음"),
}
LOSSES = ("blank", "finder", "balance")  # contrasts whose effect is minus a loss


def headline(audit: Audit, studies: Sequence[Study]) -> str:
    by_word = {word: [one for one in audit.judged if one.word == word] for word in WORDS}
    num_runs = sum(len(study.measured) for study in studies)
    parts = [
        f"# {TITLE}",
        f"{len(audit.judged)} statements of five documents on learning rates, each held against runs of their network: "
        f"{counted(num_runs, 'run')} of {len(studies)} studies. {HERE}",
        "\n".join(f"* {_count(word, len(by_word[word]))}" for word in WORDS),
        "An effect above zero, or above ×1, is on the claim's side. Its interval is in brackets. The intervals of the "
        f"{audit.num_tests} deciding tests hold together with a probability of {1 - LEVEL:.0%}; the two blanks of document 003 "
        "have intervals of their own ([how it was judged](#how-it-was-judged)). What limits a verdict is in italics.",
    ]
    for word, (_, title, _) in WORDS.items():
        if by_word[word]:
            parts += [f"## {title}", "\n".join(_line(one, audit.level) for one in by_word[word])]
    return "\n\n".join(parts)


def _count(word: Word, num: int) -> str:
    mark, title, korean = WORDS[word]
    link = f"[{title}](#{title.lower().replace(' ', '-')})" if num else title
    return f"**{mark} {num}** {link} ({korean})"


def _line(one: Judged, level: float) -> str:
    """The claim, the question, the answer, and what limits the verdict."""
    asks = f"{escaped(one.result.test.asks)} " if one.result else ""
    link = f"([{one.claim.id}](#{one.claim.id}))"
    return f"* **{escaped(one.claim.claim)}** {asks}{_answer(one, level)}{_caveat(one)} {link}"


def _answer(one: Judged, level: float) -> str:
    """The effect, its evidence and the reason for the verdict. If nothing was measured: how to measure it."""
    if one.result is None:
        return escaped(one.claim.not_testable)
    test, effect = one.result.test, one.result.effect
    if effect is None:
        return f"{escaped(_sentence(one.result.missing))} {_plan(test, level)}"
    detail = f" {escaped(_sentence(effect.detail))}" if test.contrast in LOSSES else ""
    return f"{_effect(test, effect)}; {_evidence(test, effect)}. {_reason(one, test, effect)}{detail}"


def _effect(test: Test, effect: Effect) -> str:
    text = loss_text(effect) if test.contrast in LOSSES else effect_text(effect)
    return f"{text[:1].upper()}{text[1:]}"


def _caveat(one: Judged) -> str:
    return f" *{escaped(' '.join(one.caveats))}*" if one.caveats else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _detail(test: Test, effect: Effect) -> str:
    return f"Means: {effect.detail}." if test.contrast == "difference" else _sentence(effect.detail)


def _plan(test: Test, level: float) -> str:
    """What the planned seeds can decide, and the command that runs them."""
    plan = f"Planned: {counted(test.num_planned, 'fresh seed' if test.is_fresh else 'seed')}"
    if test.is_fresh and METRICS.get(str(test.settings.get("metric"))) == "accuracy":
        difference = detectable(test.num_planned, PAIRED_SD, level / test.num_pairs)
        plan += ", which [probably show](#how-it-was-judged) "
        if test.costs_nothing:
            delta = DELTA["accuracy"] if test.delta is None else test.delta
            lead = signed(max(difference - delta, 0.0), "accuracy")
            plan += f"that less than {size_text(delta, 'accuracy')} are lost, if the true difference is {lead} points or more"
        else:
            plan += f"a difference of {difference * 100:.2f} points"
    return f"{plan}: `{test.commands}`."


def _reason(one: Judged, test: Test, effect: Effect) -> str:
    """The reason for the verdict."""
    delta = size_text(test.delta_of(effect), effect.unit)
    side = ("below", "above") if test.contrast in LOSSES else ("above", "below")
    bar = delta if test.contrast in LOSSES else f"-{delta}" if test.costs_nothing else "zero"
    match one.word:
        case "holds":
            return f"All of the interval lies {side[0]} {bar}."
        case "does not hold":
            return f"All of the interval lies {side[1]} {bar}."
        case "no difference that matters":
            return f"All of the interval lies within ±{delta}."
    if effect.doubts:
        return escaped(_sentence("; ".join(effect.doubts)))
    if math.isnan(effect.sd):
        return "There are too few seeds for an interval."
    num = one.num_seeds_to_decide
    return f"About {num:,} seeds would probably decide it." if num else f"Even {MAX_SEEDS:,} seeds would probably not decide it."


def _evidence(test: Test, effect: Effect) -> str:
    if not test.study:
        return "no runs needed"
    seeds = counted(effect.num_seeds, "fresh seed" if test.is_fresh else "seed")
    noun = "range test" if test.contrast in ("bracket", "finder") else "run"
    return f"{counted(effect.num_runs, noun)}, {seeds} ([{test.study}](#{_anchor(test.study)}))"


def _anchor(study: str) -> str:
    return "study-" + study.replace("/", "-")


def claims_table(audit: Audit) -> str:
    header = ["id", "verdict", "what limits it", "claim", "effect", "judged against", "seeds", "documents"]
    rows = [_row(one) for one in audit.judged]
    table = markdown_table(header, rows)
    return f"## Every claim\n\n<details open><summary>{counted(len(rows), 'claim')}</summary>\n\n{table}\n\n</details>"


def _row(one: Judged) -> list[str]:
    mark, title, _ = WORDS[one.word]
    effect = one.result.effect if one.result else None
    missing = "not testable" if one.result is None else escaped(one.result.missing)
    return [
        f"[{one.claim.id}](#{one.claim.id})",
        f"**{mark} {title}**",
        escaped(" ".join(one.caveats)),
        escaped(one.claim.claim),
        _effect(one.result.test, effect) if one.result and effect else missing,
        _judged_against(one.result.test, effect) if one.result and effect else "–",
        str(effect.num_seeds or "–") if effect else "–",
        ", ".join(one.claim.documents),
    ]


def _judged_against(test: Test, effect: Effect) -> str:
    delta = size_text(test.delta_of(effect), effect.unit)
    if test.costs_nothing:
        return delta if test.contrast in LOSSES else f"-{delta}"
    return f"zero, ±{delta}" if test.delta_of(effect) else "zero"


def claim_section(one: Judged, level: float) -> str:
    claim = one.claim
    mark, title, korean = WORDS[one.word]
    where = "document" if len(claim.documents) == 1 else "documents"
    parts = [
        f"### {claim.id}",
        f"**{mark} {title} ({korean})** {escaped(claim.claim)}{_caveat(one)}",
        f"> {escaped(claim.korean)} ({where} {', '.join(claim.documents)})",
    ]
    if claim.reading:
        parts.append(f"Read as: {escaped(claim.reading)}")
    parts += _deciding(one, level) if one.result else [escaped(claim.not_testable)]
    if one.also:
        heading = "Beside it (95 % each; they decide nothing):" if one.result else "Drawn from the program's formula:"
        parts.append("\n".join([heading, "", *map(_secondary, one.also)]))
    return "\n\n".join(parts)


def _deciding(one: Judged, level: float) -> list[str]:
    assert one.result is not None
    test, effect = one.result.test, one.result.effect
    parts = [f"**This decides:** {escaped(test.asks)}", _answer(one, level)]
    if effect is not None:
        if effect.detail and test.contrast not in LOSSES:
            parts.append(escaped(_detail(test, effect)))
        parts += _parts_table(test, effect)
    if test.because:
        parts.append(f"This test has its own smallest difference that matters, because {escaped(test.because)}.")
    return parts


def _parts_table(test: Test, effect: Effect) -> list[str]:
    if not effect.parts:
        return []
    rows = [[escaped(name), _effect(test, part), str(part.num_seeds)] for name, part in effect.parts]
    return [markdown_table(["one by one", "effect", "seeds"], rows)]


def _secondary(result: Result) -> str:
    test, effect = result.test, result.effect
    if effect is None:
        return f"* {escaped(test.asks)} {escaped(_sentence(result.missing))}"
    if test.contrast == "shape":
        return f"* {escaped(test.asks)} {escaped(_sentence(effect.detail))}"
    notes = [_detail(test, effect), *map(_sentence, (*effect.doubts, *effect.caveats))]
    return f"* {escaped(test.asks)} **{_effect(test, effect)}**; {_evidence(test, effect)}. {escaped(' '.join(notes))}"


def method_section(audit: Audit) -> str:
    return f"""## How it was judged

* **Read as its author would want it read.** Each claim has a reading, and one test that decides. Other tests are shown beside it
  and never decide. Some claims say that something costs nothing that matters. They are judged against minus the smallest
  difference that matters.
* **The smallest difference that matters** (δ): {size_text(DELTA["accuracy"], "accuracy")} of test accuracy (20 of 10,000 images;
  two standard errors of one score are 0.28 points), {size_text(DELTA["factor"], "factor")} of time or epochs,
  {size_text(DELTA["decades"], "decades")} of learning rate. A claim that needs another δ says why.
* **Five verdicts.** *No difference that matters*: the whole interval lies within ±δ, on either side of zero. Otherwise *holds
  here*: it lies above zero, the claim's side. *Does not hold here*: it lies below zero. *Open*: none of these. An open claim says
  how many seeds would probably decide it (80 %, if effect and spread are as estimated). *Not testable here*: a definition, or a
  statement about the literature.
* **What was not measured** is open, and names the planned seeds. *Probably show* means with a probability of 80 %, if the
  difference of two arms has a standard deviation of {PAIRED_SD * 100:.2f} points between seeds, as in the first, small studies.
* **Tuned, then confirmed.** The runs of a study choose the rate of each arm, by validation accuracy and with equal effort. Every
  arm then runs at that rate on fresh seeds, the same for all arms, and only these decide. Some studies ask where the best rate
  lies, or run all rates on several seeds; their own runs decide. If an arm's best rate is the lowest or highest tried, a caveat
  says so.
* **Scored where it counts.** Runs of a fixed length are scored at their last epoch, because keeping the best one hides what a
  falling rate does. Runs with early stopping are scored at their best epoch, as in the document.
* **Paired by seed.** A seed has the same images, initial weights and batch order in all arms. Effects are means of differences
  within seeds, with Student's intervals. Times and epochs are compared as ratios.
* **Many tests.** The {audit.num_tests} deciding tests share a level of {LEVEL:.0%} (Bonferroni), so every interval is at
  {1 - audit.level:.2%}. A test of several pairs divides its level among them where its question needs that. Intervals beside
  a verdict are at {1 - SECONDARY_LEVEL:.0%} each. A share of runs has no interval, because the runs of a seed are alike. The two
  blanks of document 003 have the intervals of the report on study=lr, which hold together over the rates at 95 %.
* **A method must act.** Every schedule is replayed on its records. If its rate or batch moved in fewer than {ACTED:.0%} of the
  runs, the arm gives no verdict.
* Claims and tests are data: conf/claims.yaml. `lrsweep-report study=all` makes this page from the records, always with the same
  bytes."""
