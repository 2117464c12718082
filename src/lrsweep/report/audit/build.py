"""Build the audit: every claim of the documents with its verdict, on one page in each language."""

import functools
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lrsweep.analysis.claims import Audit, Document, Judged, judge_all, read_claims, read_documents
from lrsweep.analysis.evidence import Evidence, read_study, read_suggestions
from lrsweep.analysis.study import Study
from lrsweep.report.arm_comparison import comparison, comparison_note
from lrsweep.report.audit.claim_texts import name_of, study_heading
from lrsweep.report.audit.effect_figures import SCALES, plot_effects, rows_by_unit, rows_of
from lrsweep.report.audit.fresh_seeds import fresh_table
from lrsweep.report.audit.method import method_section
from lrsweep.report.audit.overview import audit_title, document_sections, headline, verdict_sections
from lrsweep.report.figures.files import Figure, draw, remove_figures_not_in
from lrsweep.report.page.render import render_page
from lrsweep.report.texts.commands import rerun_commands
from lrsweep.report.texts.language import LANGUAGES, file_name, language, markdown_file, say
from lrsweep.report.texts.wording import code_block, counted, escaped, fold
from lrsweep.storage import files


def build_audit(folder: Path) -> Path:
    """Write audit.md, audit.html, their Korean versions and the figures into `folder`, and return audit.md.

    Reads conf/claims.yaml, and the claims' studies below `folder`. A claim whose study is missing is open.
    """
    read = functools.cache(functools.partial(read_study, folder))
    claims = read_claims()
    audit = judge_all(claims, Evidence(read, functools.cache(functools.partial(read_suggestions, folder))))
    tests = [test for claim in claims for test in (claim.test, *claim.also) if test is not None]
    studies = [study for name in dict.fromkeys(name for test in tests for name in test.studies) if (study := read(name))]
    documents = read_documents()
    pages = []
    for chosen in LANGUAGES:
        with language(chosen):
            markdown = _markdown(folder, audit, studies, documents)
            pages.append(markdown)
            page = render_page(audit_title(), markdown, folder, None, "audit.html")
            files.write_atomically(folder / file_name("audit.md"), markdown_file(markdown, "audit.md").encode())
            files.write_atomically(folder / file_name("audit.html"), page.encode())
    remove_figures_not_in("".join(pages), folder)
    return folder / "audit.md"


def _markdown(folder: Path, audit: Audit, studies: Sequence[Study], documents: Sequence[Document]) -> str:
    """The audit in one language. Draws the figures."""
    return "\n\n".join(
        [
            headline(audit, studies),
            *verdict_sections(audit, functools.partial(_effect_figure, folder)),
            _effects_section(folder, audit.judged),
            document_sections(documents, audit),
            f"## {say('Study by study')}",
            comparison_note(has_fresh=False),
            *(_study_section(folder, study) for study in studies),
            method_section(audit),
        ]
    )


def _effects_section(folder: Path, judged: Sequence[Judged]) -> str:
    reading = say(
        "The deciding effects, by unit. The right is the claim's side. The grey band shows differences that are too small to "
        "matter. The claim holds where the whole interval is to the right of the vertical line. But if the line is in the middle "
        "of a band that contains the whole interval, there is no difference that matters."
    )
    parts = [f"## {say('Effects at a glance')}", reading]
    for unit, rows in rows_by_unit(judged).items():
        title = say("Effects in {unit} ({claims})", unit=say(SCALES[unit][1]), claims=counted(len(rows), "claim"))
        parts.append(draw(folder, Figure(f"audit-effects-{unit}", title, "", functools.partial(plot_effects, rows))))
    return "\n\n".join(parts)


def _effect_figure(folder: Path, one: Judged) -> str:
    """The deciding effect of a claim and the effects that it was selected from, if there are any."""
    rows = rows_of(one)
    if len(rows) < 2:
        return ""  # it is in the figure of all effects
    title = say("All effects; the colored one decides ({claim})", claim=name_of(one.claim))
    return draw(folder, Figure(f"audit-claim-{one.claim.id}", title, "", functools.partial(plot_effects, rows)))


def _study_section(folder: Path, study: Study) -> str:
    missing = f" **{say('{num} missing.', num=study.num_missing)}**" if study.num_missing else ""
    commands = code_block(rerun_commands(study.name, study.runs))
    return "\n\n".join(
        [
            f"### {escaped(study_heading(study.name))}",
            f"{counted(len(study.measured), 'run')}; {_sizes(study.runs)}.{missing}",
            fold(say("Results and commands"), f"{_arms(folder, study)}\n\n{say('To repeat all runs:')}\n\n{commands}"),
        ]
    )


def _arms(folder: Path, study: Study) -> str:
    if study.tuning is not None:
        chosen = say(
            "*Chosen*: the arm's best rate in study={study}; it decides. ±: half of the 95% interval of this mean alone.",
            study=escaped(study.tuning.name),
        )
        return f"{chosen}\n\n{fresh_table(study)}"
    return comparison(folder, study, f"audit-{study.name.replace('/', '-')}")


def _sizes(runs: pd.DataFrame) -> str:
    first = runs.iloc[0]
    patiences = [*dict.fromkeys(runs["training.patience"].astype(str))]
    length = say("patience {patience}", patience=say(" and ").join(patiences))
    if patiences == ["null"]:
        length = say("{epochs} epochs", epochs=first["training.max_epochs"])
    return say(
        "{train:,} training, {valid:,} validation, {test:,} test images; {length}",
        train=first["data.num_train"],
        valid=first["data.num_valid"],
        test=first["data.num_test"],
        length=length,
    )
