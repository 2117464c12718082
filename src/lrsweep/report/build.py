"""Build the report of a study: read its records, and write texts, tables and figures into its folder."""

import hashlib
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.confirmation import optimism
from lrsweep.analysis.findings import BUDGET, CONFIRM, Analysis, Findings, analyse, fresh_runs
from lrsweep.analysis.shortfall import DELTA
from lrsweep.analysis.study import Study
from lrsweep.report.arm_comparison import comparison, comparison_note
from lrsweep.report.early_stopping import early_stopping_section, with_own_runs
from lrsweep.report.explorer.chart import explorer_spec
from lrsweep.report.figures.files import draw, remove_figures_not_in
from lrsweep.report.figures.study_figures import main_figures, shortfall_figure
from lrsweep.report.page.render import Progress, render_page
from lrsweep.report.range_test import finder_figure
from lrsweep.report.texts import markdown_tables
from lrsweep.report.texts.answer_box import name_for_readers, title, title_and_answer, what_ran_section
from lrsweep.report.texts.commands import rerun_commands
from lrsweep.report.texts.conclusions_en import conclusions_en, explained
from lrsweep.report.texts.conclusions_ko import conclusions_ko
from lrsweep.report.texts.language import LANGUAGES, Language, file_name, is_korean, language, markdown_file, say
from lrsweep.report.texts.wording import code_block, counted, escaped, fold, seeds_text
from lrsweep.storage import files

RATES_NOTE = (
    "*Loses*: how much lower the mean test accuracy is than the best rate's, in percentage points, with its simultaneous 95% "
    "interval. *Class*: good if shown to lose less than δ, worse if shown to lose more or if a run did not learn. A rate that "
    "*varies too much* between seeds is not chosen as the best, so its loss may be below 0. Accuracies and epochs are means over "
    "the seeds, ± half of their own 95% interval. Seconds are of runs that had the machine to themselves, scaled to the mean "
    "epochs of all runs."
)


def build(folder: Path, study: str | None = None, delta: float | None = None, reload_seconds: int | None = None) -> Path:
    """Write the whole report in both languages and return report.md. StoreError if there are no runs.

    `study` is the study's name if it differs from the folder's. `delta` is the smallest difference in test accuracy that matters;
    see `find_best`. `reload_seconds` is for a sweep that still runs: the page reloads itself so often.
    """
    name = study or folder.name
    tables = analyse(folder, delta)
    progress = None if reload_seconds is None else _progress(tables, reload_seconds)
    _write(folder / "runs.csv", tables.runs.to_csv(index=False))
    reports: dict[Language, str] = {}
    for chosen in LANGUAGES:
        with language(chosen):
            if tables.main is not None:
                _write(folder / f"conclusions.{chosen}.md", _conclusions(tables.main))
            reports[chosen] = _markdown(folder, name, tables)
            _write(folder / file_name("report.md"), markdown_file(reports[chosen], "report.md"))
    remove_figures_not_in("".join(reports.values()), folder)
    for chosen in reversed(LANGUAGES):  # report.html comes last: if it is new, everything is
        with language(chosen):
            page = render_page(title(name, tables), reports[chosen], folder, _explorer(tables), "report.html", progress)
            _write(folder / file_name("report.html"), page)
    return folder / "report.md"


def _markdown(folder: Path, study: str, tables: Analysis) -> str:
    """The report in one language. Draws the figures."""
    main = tables.main
    parts = [
        title_and_answer(study, tables),
        *([f"## {say('Conclusions')}", *_about(main), _conclusions(main).strip()] if main is not None else []),
        *_comparison_parts(folder, study, tables),
        *(_evidence_parts(folder, tables, main) if main is not None else []),
        *(_arm_part(folder, tables, arm) for arm in list(tables.findings)[1:]),
        markdown_tables.longest_section(tables.runs),
        what_ran_section(tables),
        markdown_tables.data_section(tables.class_counts, tables.main_runs),
        *_network_part(folder),
        markdown_tables.environment_section(tables.runs, _commands(study, tables)),
    ]
    return "\n\n".join(parts) + "\n"


def _network_part(folder: Path) -> list[str]:
    """torchinfo's table of the network, which the sweep wrote."""
    try:
        table = (folder / "model.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return [f"## {say('The network')}\n\n{code_block(table.strip(), 'text')}"]


def _about(found: Findings) -> list[str]:
    sections = say("5-2 and 5-3 are its sections") if any(explained(found)) else say("5-2 is its section on results")
    about = say("*The document* is the text that designed this experiment; {sections}.", sections=sections)
    return [about] if found.is_documents else []


def _conclusions(found: Findings) -> str:
    return conclusions_ko(found) if is_korean() else conclusions_en(found)


def _progress(tables: Analysis, reload_seconds: int) -> Progress:
    finished, expected = set(tables.runs["run_id"][tables.runs["status"] != "failed"]), tables.expected or set()
    return Progress(len(expected & finished), len(expected), datetime.now().astimezone(), reload_seconds)


def _explorer(tables: Analysis) -> dict[str, object] | None:
    """The chart of the main arm; None if none of its runs learned."""
    runs = tables.main_runs
    if tables.main is None or not runs["learned"].any():
        return None
    fresh = fresh_runs(runs, tables.quoted[CONFIRM]) if tables.main.confirmation else None
    return explorer_spec(tables.main, runs, tables.curves, fresh)


def _comparison_parts(folder: Path, name: str, tables: Analysis) -> list[str]:
    """A comparison of the arms, if there are several."""
    if len(set(tables.runs["arm"])) == 1 or not tables.findings:
        return []
    study = Study(name_for_readers(name), tables.runs, tables.curves, tables.class_counts)
    fresh = {arm: found.confirmation for arm, found in tables.findings.items() if found.confirmation}
    return [f"## {say('Arms compared')}\n\n{comparison(folder, study, 'arms', fresh)}\n\n{comparison_note(bool(fresh))}"]


def _evidence_parts(folder: Path, tables: Analysis, main: Findings) -> list[str]:
    """The main arm: figures, checks, tables."""
    if main.sensitivity:
        main = replace(main, sensitivity=with_own_runs(main.sensitivity, tables.quoted[BUDGET], tables.main_runs))
    finder = finder_figure(folder, main.headline)
    figures = [*main_figures(tables, main), *([finder] if finder else [])]
    images = {figure.name: draw(folder, figure) for figure in figures}
    fresh, stopping = (images.pop(name, "") for name in ("fresh-seeds", "early-stopping"))
    checks = []
    if main.confirmation:
        checks.append(f"## {say('On fresh seeds')}\n\n{_fresh_text(main.best, main.confirmation, fresh)}")
    if main.sensitivity:
        checks.append(early_stopping_section(main.sensitivity, float(main.best.best["lr"]), stopping))
    heading = say("All learning rates of the study") if main.confirmation else say("All learning rates")
    return [
        "\n\n".join([f"## {say('The evidence')}", *images.values()]),
        *checks,
        f"## {heading}\n\n{markdown_tables.rates_table(main.best.rows)}\n\n{_rates_note()}",
        f"## {say('Every run')}\n\n{say('Test accuracy.')}\n\n{markdown_tables.seeds_table(tables.main_runs)}",
    ]


def _rates_note() -> str:
    return fold(say("How to read the table"), say(RATES_NOTE))


def _fresh_text(best: Best, fresh: Best, figure: str = "") -> str:
    note = say(
        "The best of many noisy points looks better than it is. So {rates} ran again on {seeds} that were not used to choose "
        "them. *Study minus fresh*: how many points higher the validation accuracy was on the study's own seeds; above 0, those "
        "seeds made the rate look too good.",
        rates=counted(len(fresh.rows), "rate"),
        seeds=seeds_text(fresh.num_seeds),
    )
    table = markdown_tables.rates_table(fresh.rows, optimism(best, fresh))
    return "\n\n".join(filter(None, [note, figure, table, _rates_note()]))


def _commands(study: str, tables: Analysis) -> str:
    """The commands that repeat the study, and the studies in subfolders that the report quotes."""
    studies = {study: tables.runs} | {f"{study}/{name}": runs for name, runs in tables.quoted.items()}
    delta = DELTA if tables.main is None else tables.main.best.delta
    return "\n".join(rerun_commands(name, runs, delta) for name, runs in studies.items())


def _arm_part(folder: Path, tables: Analysis, arm: str) -> str:
    """The part on another arm: conclusions, main figure, table of rates, fresh seeds."""
    found = tables.findings[arm]
    parts = [
        _conclusions(found).strip(),
        draw(folder, shortfall_figure(f"{_slug(arm)}-shortfall", found)),
        f"### {say('All learning rates')} ({escaped(arm)})",
        markdown_tables.rates_table(found.best.rows),
    ]
    if found.confirmation:
        parts += [f"### {say('On fresh seeds')} ({escaped(arm)})", _fresh_text(found.best, found.confirmation)]
    seeds = seeds_text(found.best.num_seeds)
    answer = fold(say("Conclusions, figure and table ({seeds})", seeds=seeds), "\n\n".join(parts))
    return f"## {say('Also tried: {arm}', arm=escaped(arm))}\n\n{answer}"


def _slug(text: str) -> str:
    """A file name made from an arm's name. If it lacks something of the name, a hash tells it from others."""
    plain = re.sub(r"[^\w.-]", "-", text)
    is_whole = plain == text and len(plain) <= 60
    return plain if is_whole else f"{plain[:50]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _write(path: Path, text: str) -> None:
    # Atomic, so that nobody reads a half-written report.
    files.write_atomically(path, text.encode())
