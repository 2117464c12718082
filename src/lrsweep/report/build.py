"""Build the report of a study: read its records, and write texts, tables and figures into its folder."""

import hashlib
from pathlib import Path

from lrsweep.analysis.block_design import WINDOW
from lrsweep.analysis.findings import Analysis, Findings, analyse
from lrsweep.analysis.study import Study
from lrsweep.report.arm_comparison import comparison
from lrsweep.report.explorer.chart import explorer_spec
from lrsweep.report.figures.files import Figure, draw, remove_figures_not_in
from lrsweep.report.figures.plots import plot_error
from lrsweep.report.figures.study_figures import main_figures
from lrsweep.report.page.render import render_page
from lrsweep.report.texts import markdown_tables
from lrsweep.report.texts.answer_box import title_and_answer
from lrsweep.report.texts.commands import rerun_commands
from lrsweep.report.texts.conclusions_en import conclusions_en
from lrsweep.report.texts.conclusions_ko import conclusions_ko
from lrsweep.report.texts.wording import escaped, seeds_text
from lrsweep.storage import files


def build(folder: Path, study: str | None = None, delta: float | None = None) -> Path:
    """Write the whole report and return report.md. StoreError if there are no runs.

    `study` is the study's name if it differs from the folder's. `delta` is how much validation accuracy the best trade-off may
    give up compared with the best rate; see `find_best`.
    """
    name = study or folder.name
    tables = analyse(folder, delta)
    report = _write_parts(folder, name, tables)
    _write(folder / "report.html", render_page(f"{name}: which learning rate?", report, folder, _explorer(tables)))
    return folder / "report.md"


def _write_parts(folder: Path, study: str, tables: Analysis) -> str:
    """Write everything except the page, and return the report as Markdown."""
    main = tables.main
    _write(folder / "runs.csv", tables.runs.to_csv(index=False))
    if main is not None:
        _write(folder / "conclusions.en.md", conclusions_en(main))
        _write(folder / "conclusions.ko.md", conclusions_ko(main))
    parts = [
        title_and_answer(study, tables),
        *(_conclusion_parts(main) if main is not None else []),
        *_comparison_parts(folder, study, tables),
        *(_evidence_parts(folder, tables, main) if main is not None else []),
        *(_arm_part(folder, tables, arm) for arm in list(tables.findings)[1:]),
        markdown_tables.slowest_section(tables.runs),
        markdown_tables.data_section(tables.class_counts),
        markdown_tables.environment_section(tables.runs, _commands(study, tables)),
    ]
    report = "\n\n".join(parts) + "\n"
    _write(folder / "report.md", report)
    remove_figures_not_in(report, folder)
    return report


def _explorer(tables: Analysis) -> dict[str, object] | None:
    """The chart of the main arm; None if none of its runs learned."""
    if tables.main is None or not tables.of_arm(tables.main.best.arm)["learned"].any():
        return None
    runs = tables.of_arm(tables.main.best.arm)
    curves = tables.curves[tables.curves["run_id"].isin(runs["run_id"])]
    return explorer_spec(runs, curves, float(tables.main.best.trade_off["lr"]))


def _comparison_parts(folder: Path, name: str, tables: Analysis) -> list[str]:
    """A comparison of the arms, if there are several."""
    if tables.runs["arm"].nunique() == 1 or not tables.findings:
        return []
    study = Study(name, tables.runs, tables.curves, tables.class_counts)
    note = (
        "Each arm at its own best rate. *±*: to compare arms by, without what all have in common on a seed, the spread pooled; "
        "so less than that of a rate alone in the tables below. *Shortfall*: by how many percentage points the mean over the "
        f"rates within {WINDOW:g} decades of the best lies below it; *plateau*: how many decades are tied with the best. An arm "
        "whose best rate is an *edge* of those tried may have a better one beyond."
    )
    return [f"## Arms compared\n\n{note}\n\n{comparison(folder, study, 'arms')}"]


def _conclusion_parts(main: Findings) -> list[str]:
    return [f"## Conclusions\n\n{conclusions_en(main).strip()}", f"## 결론\n\n{conclusions_ko(main).strip()}"]


def _evidence_parts(folder: Path, tables: Analysis, main: Findings) -> list[str]:
    """The main arm: checks, figures, tables."""
    arm = main.best.arm
    images = [draw(folder, figure) for figure in main_figures(tables, main)]
    checks = []
    if main.confirmation:
        checks.append(
            "## On fresh seeds\n\nThe best of many noisy points looks better than it is. So the finalists ran again on "
            f"{seeds_text(main.confirmation.num_seeds)} that chose nothing. ±: half of a 95% interval; *study less fresh*: "
            f"percentage points; above 0, the study flattered it.\n\n{markdown_tables.confirmation_table(main.confirmation)}"
        )
    if main.sensitivity:
        checks.append(markdown_tables.sensitivity_section(main.sensitivity, main.best))
    return [
        *checks,
        "\n\n".join(["## The evidence", *images]),
        "## All learning rates\n\nMeans over the seeds, ± half of their 95% interval (none where some seeds learned and some did "
        "not); epochs and times are medians. *Wins*: in which share of resamples of the seeds the rate is the best. *Tied with "
        "the best*, outside the best range: a rate between them is not. *Varies too much between seeds*: its worst seed is too "
        "far off to depend on.\n\n"
        + markdown_tables.rates_table(tables.summary[tables.summary["arm"] == arm], main.best.plateau),
        f"## Every run\n\nTest accuracy.\n\n{markdown_tables.seeds_table(tables.of_arm(arm))}",
    ]


def _commands(study: str, tables: Analysis) -> str:
    """The commands that repeat the study, and the studies in subfolders that the report quotes."""
    studies = {study: tables.runs} | {f"{study}/{name}": runs for name, runs in tables.quoted.items()}
    return "\n".join(rerun_commands(name, runs) for name, runs in studies.items())


def _arm_part(folder: Path, tables: Analysis, arm: str) -> str:
    """Another arm: conclusions, error figure, table of rates."""
    findings = tables.findings[arm]
    best = findings.best
    title = f"Test error against the learning rate ({arm}, {seeds_text(best.num_seeds)})"
    figure = Figure(f"{_slug(arm)}-error", title, "", lambda ax: plot_error(tables.summary, tables.of_arm(arm), best, ax))
    return "\n\n".join(
        [
            f"## Also tried: {escaped(arm)}",
            conclusions_en(findings).strip(),
            draw(folder, figure),
            f"### All learning rates ({escaped(arm)})",
            markdown_tables.rates_table(tables.summary[tables.summary["arm"] == arm], best.plateau),
        ]
    )


def _slug(text: str) -> str:
    """A file name made from an arm's name. Long names are shortened, because file systems limit them."""
    plain = "".join(char if char.isalnum() else "-" for char in text)
    return plain if len(plain) <= 60 else f"{plain[:50]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _write(path: Path, text: str) -> None:
    # Atomic, so that nobody reads a half-written report.
    files.write_atomically(path, text.encode())
