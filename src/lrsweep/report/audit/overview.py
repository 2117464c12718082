"""The two ways into the audit: its claims by verdict, and what each document says in the order of its text."""

from collections.abc import Iterable, Sequence

from lrsweep.analysis.claims import LEVEL, Audit, Document, Judged
from lrsweep.analysis.study import Study
from lrsweep.analysis.verdicts import Word
from lrsweep.report.audit.claim_texts import WORDS, anchor, caveat, found, found_briefly, reason, to_settle, verdict_of
from lrsweep.report.texts.language import is_korean, own, say
from lrsweep.report.texts.wording import counted, escaped


def audit_title() -> str:
    return say("What the documents claim, and what the runs say")


def headline(audit: Audit, studies: Sequence[Study]) -> str:
    """The title and the answer box: how many claims have each verdict, and where to go on."""
    by_word = _by_word(audit)
    num_runs = sum(len(study.measured) for study in studies)
    what = say(
        "Five documents on learning rates make {num} statements. This page tests them with {runs} of {studies} studies. *Here* "
        "always means one small CNN on 3,000 MNIST images; this page says nothing about other networks or data.",
        num=len(audit.judged),
        runs=counted(num_runs, "run"),
        studies=len(studies),
    )
    ways = say(
        "Below, the claims are [sorted by verdict](#{first}). To read them in the order of the texts, go to [Document by "
        "document](#{documents}).",
        first=anchor(say(next(WORDS[word][1] for word in WORDS if by_word[word]))),
        documents=anchor(say("Document by document")),
    )
    reading = say(
        "One test decides each claim. It measures an effect; above zero, or above ×1, the effect is on the claim's side. Its "
        "interval is in brackets. The intervals of the {num} deciding tests hold together with a probability of "
        "{probability:.0%}; the two blanks of document 003 have intervals of their own ([how it was judged](#{method})). What "
        "limits a verdict is in italics. A *decade* of learning rate is a factor of ten; the *edge of learning* is the "
        "rate at which half of the seeds learn.",
        num=audit.num_tests,
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


def verdict_sections(audit: Audit) -> list[str]:
    """One section per verdict, one line per claim. An open claim says why, and what would settle it."""
    sections = []
    for word, claims in _by_word(audit).items():
        if claims and word == "open":
            sections.append(_open_section(claims, audit.level))
        elif claims:
            sections.append("\n".join([f"## {say(WORDS[word][1])}", "", *(_line(one, found_briefly(one)) for one in claims)]))
    return sections


def _open_section(claims: Sequence[Judged], level: float) -> str:
    parts = [f"## {say('Open')}"]
    measured = [one for one in claims if _is_measured(one)]
    unmeasured = [one for one in claims if not _is_measured(one)]
    if measured:
        lines = [_line(one, f"{found_briefly(one)} {reason(one)} {to_settle(one, level)}") for one in measured]
        parts.append("\n".join([f"### {say('Measured, but not decided')}", "", *lines]))
    if unmeasured:
        note = say("Each line ends with what would settle the claim: the planned seeds, the number of runs, and the command.")
        lines = [_line(one, f"{found(one)} {to_settle(one, level)}") for one in unmeasured]
        parts.append("\n".join([f"### {say('Not measured')}", "", note, "", *lines]))
    return "\n\n".join(parts)


def _is_measured(one: Judged) -> bool:
    return one.result is not None and one.result.effect is not None


def _line(one: Judged, answer: str) -> str:
    return f"* **{escaped(own(one.claim, 'claim'))}** {answer}{caveat(one)} ([{one.claim.id}](#{one.claim.id}))"


def document_sections(documents: Iterable[Document], audit: Audit) -> str:
    """What each document says, and what was found. A claim of several documents stands at the first one."""
    by_id = {one.claim.id: one for one in audit.judged}
    shown: dict[str, str] = {}  # claim → its first document
    note = say("A claim that several documents make stands at the first of them. The links lead to the details of each claim.")
    parts = [f"## {say('Document by document')}", note]
    for document in documents:
        own_claims = [by_id[name] for name in document.claims if name in by_id]
        new = [one for one in own_claims if one.claim.id not in shown]
        again = [one.claim.id for one in own_claims if one.claim.id in shown]
        shown |= dict.fromkeys((one.claim.id for one in new), document.id)
        parts += [f"### {say('Document {id}', id=document.id)}: {own(document, 'title')}", own(document, "says")]
        parts.append("\n".join(_told(one, document.id) for one in new))
        if again:
            links = ", ".join(f"[{name}](#{name}) ({shown[name]})" for name in again)
            parts.append(say("Also in this document: {claims}.", claims=links))
    return "\n\n".join(filter(None, parts))


def _told(one: Judged, document: str) -> str:
    """What the document says, in its own words on the Korean page; what was asked; what was found."""
    says, quote = f"**{escaped(own(one.claim, 'claim'))}**", f"“{escaped(one.claim.quote)}”"
    if is_korean() and one.claim.documents[0] == document:
        says = f"**{quote}**" if one.claim.quote.endswith(".") else f"{says} {quote}"  # a fragment says too little
    asks = f" {escaped(own(one.result.test, 'asks'))}" if one.result else ""
    lines = [f"* {says} ([{one.claim.id}](#{one.claim.id}))", f"  * {verdict_of(one)}:{asks} {found(one)}"]
    return "\n".join(lines + ([f"  *{caveat(one)}"] if caveat(one) else []))
