"""From a study's records to its folder's tables, figures and texts.

    lrsweep-report study=lr [delta=0.002]
    lrsweep-report study=all

Reads the store and writes beside it: report.html (one file, nothing to load), report.md, figures/*.png and *.svg,
conclusions.en.md and .ko.md, runs.csv. `delta`: the validation accuracy that the best trade-off may lack (default: one
standard error of the best). `study=all`: every claim of the documents, from all studies (audit.py). Never imports torch, so
that a report can be built wherever the records are.
"""

import hashlib
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lrsweep import store
from lrsweep.analysis.layout import WINDOW
from lrsweep.analysis.study import Study
from lrsweep.config import ALL_STUDIES, ConfigError, MachineConfig, StudyConfig
from lrsweep.report import document
from lrsweep.report.answer import head
from lrsweep.report.audit import build_audit
from lrsweep.report.command import commands
from lrsweep.report.comparison import comparison
from lrsweep.report.conclusions_en import conclusions_en
from lrsweep.report.conclusions_ko import conclusions_ko
from lrsweep.report.explorer import explorer_spec
from lrsweep.report.figures import plot_error
from lrsweep.report.findings import Findings, Tables, analyse
from lrsweep.report.gallery import Figure, draw, draw_all, main_figures, remove_figures_not_in
from lrsweep.report.page import prepare, render_page
from lrsweep.report.wording import escaped, percent, seeds_text


def build(folder: Path, study: str | None = None, delta: float | None = None, *, in_two: bool = False) -> Path:
    """Write everything; return report.md. StoreError where there is no run to report.

    `study`: its name, if not the folder's. `in_two`: see `draw_all`.
    """
    name = study or folder.name
    with ThreadPoolExecutor(max_workers=1) as beside:
        beside.submit(prepare)  # 2 s outside of Python: meanwhile the figures are drawn
        tables = analyse(folder, delta)
        report = _write_parts(folder, name, tables, in_two)
    _write(folder / "report.html", render_page(f"{name}: which learning rate?", report, folder, _explorer(tables)))
    return folder / "report.md"


def _write_parts(folder: Path, study: str, tables: Tables, in_two: bool) -> str:
    """All but the page; return the report as Markdown."""
    main = tables.main
    _write(folder / "runs.csv", tables.runs.to_csv(index=False))
    if main is not None:
        _write(folder / "conclusions.en.md", conclusions_en(main))
        _write(folder / "conclusions.ko.md", conclusions_ko(main))
    parts = [
        head(study, tables),
        *(_conclusion_parts(main) if main is not None else []),
        *_comparison_parts(folder, study, tables),
        *(_evidence_parts(folder, tables, main, in_two) if main is not None else []),
        *(_arm_part(folder, tables, arm) for arm in list(tables.findings)[1:]),
        document.slowest_section(tables.runs),
        document.data_section(tables.class_counts),
        document.environment_section(tables.runs, _commands(study, tables)),
    ]
    report = "\n\n".join(parts) + "\n"
    _write(folder / "report.md", report)
    remove_figures_not_in(report, folder)
    return report


def _explorer(tables: Tables) -> dict[str, object] | None:
    """None where no run has learned: nothing to explore."""
    if tables.main is None or not tables.of_arm(tables.main.best.arm)["learned"].any():
        return None
    runs = tables.of_arm(tables.main.best.arm)
    curves = tables.curves[tables.curves["run_id"].isin(runs["run_id"])]
    return explorer_spec(runs, curves, float(tables.main.best.bargain["lr"]))


def _comparison_parts(folder: Path, name: str, tables: Tables) -> list[str]:
    """Of a study that has several arms."""
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


def _evidence_parts(folder: Path, tables: Tables, main: Findings, in_two: bool) -> list[str]:
    """Of the arm that answers: its checks, its figures, its tables."""
    arm = main.best.arm
    images = draw_all(folder, main_figures(tables, main), in_two=in_two)
    checks = []
    if main.confirmation:
        checks.append(
            "## On fresh seeds\n\nThe best of many noisy points looks better than it is. So the finalists ran again on "
            f"{seeds_text(main.confirmation.num_seeds)} that chose nothing. ±: half of a 95% interval; *study less fresh*: "
            f"percentage points; above 0, the study flattered it.\n\n{document.confirmation_table(main.confirmation)}"
        )
    if main.sensitivity:
        checks.append(document.sensitivity_section(main.sensitivity, main.best))
    return [
        *checks,
        "\n\n".join(["## The evidence", *images]),
        "## All learning rates\n\nMeans over the seeds, ± half of their 95% interval (none where some seeds learned and some did "
        "not); epochs and times are medians. *Wins*: in which share of resamples of the seeds the rate is the best. *Tied with "
        "the best*, outside the best range: a rate between them is not. *Varies too much between seeds*: its worst seed is too "
        "far off to depend on.\n\n" + document.rates_table(tables.summary[tables.summary["arm"] == arm], main.best.plateau),
        f"## Every run\n\nTest accuracy.\n\n{document.seeds_table(tables.of_arm(arm))}",
    ]


def _commands(study: str, tables: Tables) -> str:
    """Of the study, and of those in its folder that the report quotes."""
    return "\n".join([commands(study, tables.runs), *(commands(f"{study}/{name}", runs) for name, runs in tables.quoted.items())])


def _arm_part(folder: Path, tables: Tables, arm: str) -> str:
    """Another arm: its conclusions, its error beside the main one's, its table."""
    found = tables.findings[arm]
    best = found.best
    title = f"Test error against the learning rate ({arm}, {seeds_text(best.num_seeds)})"
    figure = Figure(f"{_slug(arm)}-error", title, "", lambda ax: plot_error(tables.summary, tables.of_arm(arm), best, ax))
    return "\n\n".join(
        [
            f"## Also tried: {escaped(arm)}",
            conclusions_en(found).strip(),
            draw(folder, figure),
            f"### All learning rates ({escaped(arm)})",
            document.rates_table(tables.summary[tables.summary["arm"] == arm], best.plateau),
        ]
    )


def _slug(text: str) -> str:
    """A file's name, as short as file systems want it."""
    plain = "".join(char if char.isalnum() else "-" for char in text)
    return plain if len(plain) <= 60 else f"{plain[:50]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _write(path: Path, text: str) -> None:
    # Whole or not at all: a reader of a report that is being refreshed sees the old one or the new one.
    store.write_atomically(path, text.encode())


def _arguments(words: list[str]) -> tuple[Path, str, float | None]:
    """Folder, study and delta from `study=NAME`, `machine.results_dir=DIR` and `delta=SHARE`: lrsweep's own names."""
    given = {"study": "lr", "machine.results_dir": MachineConfig().results_dir, "delta": ""}
    for word in words:
        name, equals, value = word.partition("=")
        name = "study" if name == "study.name" else name
        if not equals or name not in given:
            raise ConfigError(
                f"{word!r} is not understood; usage: lrsweep-report study=NAME [delta=SHARE] [machine.results_dir=DIR]"
            )
        given[name] = value
    study = given["study"] if given["study"] == ALL_STUDIES else StudyConfig(name=given["study"]).name
    return Path(given["machine.results_dir"]) / study, study, _to_delta(given["delta"])


def _to_delta(text: str) -> float | None:
    if not text:
        return None
    try:
        delta = float(text)
    except ValueError:
        delta = math.nan
    if not 0 <= delta < 1:
        raise ConfigError(f"delta must be a share of accuracy, from 0 to below 1 (0.002 is {percent(0.002)}), got {text!r}")
    return delta


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    try:
        folder, study, delta = _arguments(sys.argv[1:])
        report = build_audit(folder.parent) if study == ALL_STUDIES else build(folder, study, delta, in_two=True)
        print(f"Report: {report} and {report.with_suffix('.html')}")
    except (ConfigError, store.StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
