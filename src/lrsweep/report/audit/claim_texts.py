"""The texts of single claims: what was found, why it is decided or open, and what would settle it."""

import functools
import math
import re
from collections.abc import Sequence

from lrsweep.analysis.claims import Claim, Judged, Result, Test
from lrsweep.analysis.metrics import METRICS
from lrsweep.analysis.plan import PAIRED_SD, detectable
from lrsweep.analysis.shortfall import MAX_SEEDS
from lrsweep.analysis.verdicts import DELTA, POWER, Effect, Word
from lrsweep.config import CONF_DIR
from lrsweep.report.audit.effect_texts import effect_text, loss_text, negated, signed, size_text
from lrsweep.report.texts.claim_names import name_in_english, name_in_korean
from lrsweep.report.texts.language import is_korean, own, say, translated
from lrsweep.report.texts.markdown_tables import markdown_table
from lrsweep.report.texts.wording import counted, escaped, fold

WORDS: dict[Word, tuple[str, str]] = {  # mark and title, in the order of the page
    "does not hold": ("✗", "Does not hold here"),
    "no difference that matters": ("≈", "No difference that matters"),
    "holds": ("✓", "Holds here"),
    "open": ("?", "Open"),
    "not testable": ("–", "Not testable here"),
}
LOSSES = ("blank", "finder", "balance")  # contrasts whose effect is minus a loss


def anchor(heading: str) -> str:
    """The id of a heading, on GitHub as in the page."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))


def name_of(claim: Claim) -> str:
    """The short name of a claim, which is the heading of its section."""
    return name_in_korean(claim.id) if is_korean() else name_in_english(claim.id)


def link_to(claim: Claim) -> str:
    """A link to the claim's section."""
    return f"[{escaped(name_of(claim))}](#{anchor(name_of(claim))})"


def is_measured(one: Judged) -> bool:
    return one.result is not None and one.result.effect is not None


def found(one: Judged) -> str:
    """The effect and what it is about. The blanks of document 003 are answered by rates."""
    if one.result is None:
        return escaped(own(one.claim, "not_testable"))
    test, effect = one.result.test, one.result.effect
    assert effect is not None
    text = f"{effect_of(test, effect)}{_seeds_of(test, effect)}."
    return f"{text} {_sentence(effect.detail)}" if test.contrast == "blank" else text


def effect_of(test: Test, effect: Effect) -> str:
    return ": ".join(filter(None, [escaped(own(test, "measures")), _effect(test, effect)]))


def _seeds_of(test: Test, effect: Effect) -> str:
    return f", {_num_seeds(test, effect.num_seeds)}" if test.study else ""


def _num_seeds(test: Test, num: int) -> str:
    return counted(num, "fresh seed" if test.is_fresh else "seed")


def _effect(test: Test, effect: Effect) -> str:
    if test.contrast in LOSSES:
        return _capital(loss_text(effect))
    return effect_text(negated(effect) if _counts_against(test) else effect)


def _counts_against(test: Test) -> bool:
    """Whether the number in the text is minus the effect, because a large one contradicts the claim."""
    return test.contrast in LOSSES or test.settings.get("metric") == "late_fall"


def caveat(one: Judged) -> str:
    """What limits the verdict, in italics: the claim's own caveat, and those that follow from the runs."""
    effect = one.result.effect if one.result else None
    parts = [escaped(own(one.claim, "caveat")), _small_estimate(one), *map(_sentence, effect.caveats if effect else ())]
    text = " ".join(filter(None, parts))
    return f" *{text}*" if text else ""


def _small_estimate(one: Judged) -> str:
    """A remark on an effect that was shown, but whose estimate is smaller than what matters."""
    test, effect = (one.result.test, one.result.effect) if one.result else (None, None)
    if test is None or effect is None or test.costs_nothing or one.word not in ("holds", "does not hold"):
        return ""
    if abs(effect.effect) >= test.delta_of(effect):
        return ""
    return say(
        "The estimate is smaller than {delta}, the smallest difference that matters; with far more seeds, the verdict would "
        "probably be “{word}”.",
        delta=size_text(test.delta_of(effect), effect.unit),
        word=say(WORDS["no difference that matters"][1]),
    )


def _sentence(text: str) -> str:
    return escaped(f"{_capital(translated(text))}.")


def _capital(text: str) -> str:
    return text if is_korean() else f"{text[:1].upper()}{text[1:]}"


def _detail(test: Test, effect: Effect) -> str:
    if test.contrast == "difference":
        return say("Means: {means}.", means=escaped(translated(effect.detail)))
    return _sentence(effect.detail)


def to_settle(one: Judged, level: float) -> str:
    """For an open claim: the planned seeds, what they can decide, how many runs that takes, and the command."""
    assert one.result is not None
    test = one.result.test
    seeds = say("Plan: {seeds}", seeds=_num_seeds(test, test.num_planned))
    plan = f"{seeds}{_can_show(test, level)}"
    if num := num_planned_runs(test.commands):  # none if range tests decide
        plan += f"; {say('at most {num:,} runs in all', num=num)}"
    return f"{plan}: `{test.commands}`."


def _can_show(test: Test, level: float) -> str:
    if not test.is_fresh or METRICS.get(str(test.settings.get("metric"))) != "accuracy":
        return ""
    if test.settings.get("reduce") == "all":  # every pair must show it; taking them as independent is cautious
        difference = detectable(test.num_planned, PAIRED_SD, level, POWER ** (1 / test.num_pairs))
    else:
        difference = detectable(test.num_planned, PAIRED_SD, level / test.num_pairs)
    show = f"[{say('probably show')}](#{anchor(say('How it was judged'))})"
    if not test.costs_nothing:
        return say(", which {show} a difference of {points} points", show=show, points=f"{difference * 100:.2f}")
    delta = DELTA["accuracy"] if test.delta is None else test.delta
    text = ", which {show} that less than {delta} are lost, if the true difference is {lead} points or more"
    if difference > delta:  # not enough seeds for arms that are equal
        text = ", which {show} that less than {delta} are lost only if the true difference is {lead} points or more"
    lead = signed(max(difference - delta, 0.0), "accuracy")
    return say(text, show=show, delta=size_text(delta, "accuracy"), lead=lead)


def num_planned_runs(commands: str) -> int:
    """How many runs these commands make in all, finished ones included. `make plan` writes the numbers into the study files."""
    return sum(map(_num_runs, dict.fromkeys(re.findall(r"\bstudy=(\w+)", commands))))


@functools.cache
def _num_runs(study: str) -> int:
    opening = (CONF_DIR / "study" / f"{study}.yaml").read_text(encoding="utf-8").split("\nstudy:")[0].replace("\n# ", " ")
    planned = re.search(r"\bCost[^:]*: ([\d,]+) runs \([^)]*\)(?:, then ([\d,]+) )?", opening)
    assert planned, study
    return sum(int(count.replace(",", "")) for count in planned.groups(default="0"))


def reason(one: Judged) -> str:
    """The reason for the verdict."""
    assert one.result is not None
    assert one.result.effect is not None
    test, effect = one.result.test, one.result.effect
    delta = size_text(test.delta_of(effect), effect.unit)
    zero = "×1" if effect.unit == "factor" else say("zero")
    bar = delta if _counts_against(test) else f"-{delta}" if test.costs_nothing else zero
    is_above = (one.word == "holds") != _counts_against(test)
    match one.word:
        case "holds" | "does not hold" if is_above:
            return say("All of the interval lies above {bar}.", bar=bar)
        case "holds" | "does not hold":
            return say("All of the interval lies below {bar}.", bar=bar)
        case "no difference that matters":
            text = say("All of the interval lies within ±{delta}.", delta=delta)
            small = say("It does not contain {zero}, so there is a difference, but too small to matter.", zero=zero)
            return f"{text} {small}" if effect.low > 0 or effect.high < 0 else text
    if effect.doubts:
        return " ".join(map(_sentence, effect.doubts))
    if math.isnan(effect.sd):
        return say("There are too few seeds for an interval.")
    if forecast := one.forecast:
        return say(
            "About {num:,} seeds would probably decide it: if the estimates are right, the verdict would most likely be "
            "“{word}”.",
            num=forecast.num_seeds,
            word=say(WORDS[forecast.word][1]),
        )
    return say("Even {num:,} seeds would probably not decide it.", num=MAX_SEEDS)


def _evidence(test: Test, effect: Effect) -> str:
    if not test.study:
        return say("no runs needed")
    runs = counted(effect.num_runs, "range test" if test.contrast in ("bracket", "finder") else "run")
    return f"{runs}, {_num_seeds(test, effect.num_seeds)} ([{test.study}](#{study_anchor(test.study)}))"


def study_heading(study: str) -> str:
    name, _, part = study.partition("/")
    return say("Study: {study}", study=", ".join(filter(None, [name, say("fresh seeds") if part == "confirm" else part])))


def study_anchor(study: str) -> str:
    return anchor(study_heading(study))


def claim_section(one: Judged, level: float, figure: str, heading: str) -> str:
    """The claim and its answer; everything else is in a fold. Nothing is known of a claim that was not measured, so only the
    claim itself is in sight. `figure` is the Markdown of its figure; it may be empty.
    """
    claim, is_open = one.claim, one.word == "open"
    shown = [f"{heading} {escaped(name_of(claim))}"]
    summary = own(claim, "claim")
    if is_measured(one) or not is_open:
        why = f" {reason(one)}" if is_open else ""
        shown.append(f"{WORDS[one.word][0]} **{escaped(summary)}** {found(one)}{why}{caveat(one)}")
        summary = say("Quote and tests")
    source, *others = claim.documents
    where = say("Document {id}", id=source)
    if others:
        where = say("Document {id}; also in {others}", id=source, others=", ".join(sorted(others)))
    parts = [f"> {escaped(claim.quote)}\n\n{where}."]
    if claim.reading:
        parts.append(say("Read as: {reading}", reading=escaped(own(claim, "reading"))))
    if one.result:
        parts += _deciding(one, level, figure)
    if len(shown) == 1 and caveat(one):
        parts.append(caveat(one).strip())
    if claim.notes:
        parts.append(say("Notes: {notes}", notes=escaped(own(claim, "notes"))))
    if one.also:
        heading = say("Computed from the program's formula:")
        if one.result:
            heading = say("Other tests, with intervals at 95%, which do not decide:")
        parts.append("\n".join([heading, "", *map(_secondary, one.also)]))
    return "\n\n".join([*shown, fold(summary, "\n\n".join(parts))])


def _deciding(one: Judged, level: float, figure: str) -> list[str]:
    assert one.result is not None
    test, effect = one.result.test, one.result.effect
    parts = [say("**This decides:** {question}", question=escaped(own(test, "asks")))]
    if effect is None:
        parts.append(f"{_sentence(one.result.missing)} {to_settle(one, level)}")
    else:
        plan = f" {to_settle(one, level)}" if one.word == "open" else ""
        parts.append(f"{_effect(test, effect)}; {_evidence(test, effect)}. {reason(one)}{plan}")
        parts += [figure] if figure else []
        parts += [_detail(test, effect)] if effect.detail else []
        parts += _parts_table(test, effect.parts)
        if test.because:
            size, why = size_text(test.delta_of(effect), effect.unit), escaped(own(test, "because"))
            parts.append(say("In this test, the smallest difference that matters is {size}, because {why}.", size=size, why=why))
    return parts


def _parts_table(test: Test, parts: Sequence[tuple[str, Effect]]) -> list[str]:
    if not parts:
        return []
    rows = [[escaped(translated(name)), _effect(test, part), str(part.num_seeds)] for name, part in parts]
    selected = say(
        "The effect above is selected from these. Its interval allows for that, and its ends may come from different rows."
    )
    return [selected] * (test.contrast != "finder") + [markdown_table([say("one by one"), say("effect"), say("seeds")], rows)]


def _secondary(result: Result) -> str:
    test, effect = result.test, result.effect
    question = escaped(own(test, "asks"))
    if effect is None:
        return f"* {question} {_sentence(result.missing)}"
    if test.contrast == "shape":
        return f"* {question} {_sentence(effect.detail)}"
    notes = [_detail(test, effect), *map(_sentence, (*effect.doubts, *effect.caveats))]
    return f"* {question} **{_effect(test, effect)}**; {_evidence(test, effect)}. {' '.join(notes)}"
