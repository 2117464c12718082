"""Build the audit: every claim of the documents with its verdict, on one page."""

import functools
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lrsweep.analysis.claims import Judged, judge_all, read_claims
from lrsweep.analysis.evidence import Evidence, read_study, read_suggestions
from lrsweep.analysis.study import Study
from lrsweep.report.arm_comparison import comparison
from lrsweep.report.audit.claim_texts import TITLE, claim_section, claims_table, headline, method_section
from lrsweep.report.audit.effect_figures import SCALES, plot_effects, rows_by_unit
from lrsweep.report.audit.fresh_seeds import fresh_table
from lrsweep.report.figures.files import Figure, draw, remove_figures_not_in
from lrsweep.report.page.render import render_page
from lrsweep.report.texts.commands import rerun_commands
from lrsweep.report.texts.wording import counted, escaped, shell_block
from lrsweep.storage import files


def build_audit(folder: Path) -> Path:
    """Write audit.md, audit.html and the figures into `folder`, and return audit.md.

    Reads conf/claims.yaml, and the claims' studies below `folder`. A claim whose study is missing is open.
    """
    read = functools.cache(functools.partial(read_study, folder))
    claims = read_claims()
    audit = judge_all(claims, Evidence(read, functools.cache(functools.partial(read_suggestions, folder))))
    tests = [test for claim in claims for test in (claim.test, *claim.also) if test is not None]
    studies = [study for name in dict.fromkeys(name for test in tests for name in test.studies) if (study := read(name))]
    markdown = "\n\n".join(
        [
            headline(audit, studies),
            claims_table(audit),
            _effects_section(folder, audit.judged),
            "## Claim by claim",
            *(claim_section(judged, audit.level) for judged in audit.judged),
            "## Study by study",
            *(_study_section(folder, study) for study in studies),
            method_section(audit),
        ]
    )
    files.write_atomically(folder / "audit.md", (markdown + "\n").encode())
    files.write_atomically(folder / "audit.html", render_page(TITLE, markdown, folder, None).encode())
    remove_figures_not_in(markdown, folder)
    return folder / "audit.md"


def _effects_section(folder: Path, judged: Sequence[Judged]) -> str:
    reading = "The deciding effects, by unit. A claim holds where the whole interval is to the right of its bar."
    parts = ["## Effects at a glance", reading]
    for unit, rows in rows_by_unit(judged).items():
        title = f"Effects in {SCALES[unit][1]} ({counted(len(rows), 'claim')})"
        plot = functools.partial(plot_effects, unit, rows)
        parts.append(draw(folder, Figure(f"audit-effects-{unit}", title, "", plot, has_narrow=False)))
    return "\n\n".join(parts)


def _study_section(folder: Path, study: Study) -> str:
    missing = f" **{study.num_missing} missing.**" if study.num_missing else ""
    return "\n\n".join(
        [
            f"### Study: {escaped(study.name.replace('/', ', '))}",
            f"{counted(len(study.measured), 'run')}; {_sizes(study.runs)}.{missing}",
            _arms(folder, study),
            "<details><summary>The commands that make these runs again</summary>",
            shell_block(rerun_commands(study.name, study.runs)),
            "</details>",
        ]
    )


def _arms(folder: Path, study: Study) -> str:
    if study.tuning is not None:
        return f"*Chosen*: the rate that decides, which study={escaped(study.tuning.name)} chose.\n\n{fresh_table(study)}"
    return comparison(folder, study, f"audit-{study.name.replace('/', '-')}")


def _sizes(runs: pd.DataFrame) -> str:
    first = runs.iloc[0]
    patience = str(first["training.patience"])
    length = f"{first['training.max_epochs']} epochs" if patience == "null" else f"patience {patience}"
    parts = {"train": "training", "valid": "validation", "test": "test"}
    images = ", ".join(f"{first[f'data.num_{part}']:,} {word}" for part, word in parts.items())
    return f"{images} images; {length}"
