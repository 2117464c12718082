"""The opening of the audit, its claims by verdict, and the way to them in the order of the documents."""

from collections.abc import Callable, Iterable, Sequence

from lrsweep.analysis.claims import LEVEL, Audit, Document, Judged
from lrsweep.analysis.study import Study
from lrsweep.analysis.verdicts import DELTA, Word
from lrsweep.report.audit.claim_texts import WORDS, anchor, caveat, claim_section, effect_of, is_measured, link_to
from lrsweep.report.audit.effect_texts import size_text
from lrsweep.report.texts.language import own, say
from lrsweep.report.texts.wording import counted


def audit_title() -> str:
    return say("What the documents claim, and what the runs say")


def headline(audit: Audit, studies: Sequence[Study]) -> str:
    """The title and the answer box: how many claims have each verdict, and where to go on."""
    by_word = _by_word(audit)
    num_runs = sum(len(study.measured) for study in studies)
    what = say(
        "This page judges {num} statements of five documents on learning rates, counting two blanks that they leave, with "
        "{runs} of {studies} studies. It does not cover every sentence of the documents. Where a document only names a method, "
        "the test asks about a consequence. *Here* always means one small CNN on 3,000 MNIST images, or on 300 where a claim "
        "says so; this page says nothing about other networks or data.",
        num=len(audit.judged),
        runs=counted(num_runs, "run"),
        studies=len({study.name.split("/")[0] for study in studies}),
    )
    ways = say(
        "Below, the claims are [sorted by verdict](#{first}). To read them in the order of the texts, go to [Document by "
        "document](#{documents}).",
        first=anchor(say(next(WORDS[word][1] for word in WORDS if by_word[word]))),
        documents=anchor(say("Document by document")),
    )
    reading = say(
        "One test decides each claim. It measures an effect; above zero, or above ×1, the effect is on the claim's side; a "
        "*loss* or a *fall of the loss* counts against it. Its interval is in brackets. A claim that something costs no "
        "accuracy holds if the whole interval is above -{delta}, instead of above zero. The intervals of the {num} deciding "
        "tests hold together with a probability of {probability:.0%}; the two blanks of document 003 have intervals of their "
        "own ([how it was judged](#{method})). Limits of a verdict are in italics. A *decade* of learning rate is a factor of "
        "ten. A run has *learned* if its validation accuracy is above chance. The *edge of learning* is the lowest or the "
        "highest rate at which a seed learns, averaged over the seeds (as a logarithm). The word *base* stands for the "
        "defaults of all settings that a test compares.",
        num=audit.num_tests,
        delta=size_text(DELTA["accuracy"], "accuracy"),
        probability=1 - LEVEL,
        method=anchor(say("How it was judged")),
    )
    counts = "\n".join(f"* {_count(word, len(by_word[word]))}" for word in WORDS)
    return "\n\n".join([f"# {audit_title()}", what, counts, ways, reading])


def _by_word(audit: Audit) -> dict[Word, list[Judged]]:
    return {word: [one for one in audit.judged if one.word == word] for word in WORDS}


def _count(word: Word, num: int) -> str:
    mark, title = WORDS[word]
    name = say(title)
    return f"**{mark} {num}** " + (f"[{name}](#{anchor(name)})" if num else name)


def verdict_sections(audit: Audit, figure_of: Callable[[Judged], str]) -> list[str]:
    """The claims by verdict. The open ones come in two parts, because most were not measured."""
    parts = []
    for word, claims in _by_word(audit).items():
        groups = [("", claims)]
        if word == "open":
            measured = [one for one in claims if is_measured(one)]
            groups = [("Measured, but not decided", measured), ("Not measured", [one for one in claims if not is_measured(one)])]
        parts += [f"## {say(WORDS[word][1])}"] * bool(claims)
        for title, group in groups:
            parts += [f"### {say(title)}"] * bool(title and group)
            heading = "####" if title else "###"
            parts += [claim_section(one, audit.level, figure_of(one), heading) for one in group]
    return parts


def document_sections(documents: Iterable[Document], audit: Audit) -> str:
    """The claims in the order of the texts, each with the mark of its verdict, its effect, and what limits it."""
    by_id = {one.claim.id: one for one in audit.judged}
    marks = ", ".join(f"{mark} {say(title)}" for mark, title in WORDS.values())
    parts = [f"## {say('Document by document')}", say("The marks: {marks}.", marks=marks)]
    for document in documents:
        parts += [f"### {say('Document {id}', id=document.id)}: {own(document, 'title')}", own(document, "says")]
        claims = [by_id[name] for name in document.claims if name in by_id]
        parts.append("\n".join(map(_line, claims)))
    return "\n\n".join(filter(None, parts))


def _line(one: Judged) -> str:
    effect = f" {effect_of(one.result.test, one.result.effect)}" if one.result and one.result.effect else ""
    return f"* {WORDS[one.word][0]} {link_to(one.claim)}{effect}{caveat(one)}"
