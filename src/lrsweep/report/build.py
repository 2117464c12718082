"""From a study's records to its folder's tables, figures and texts.

    lrsweep-report study=lr

Reads the store and writes beside it: runs.csv, figures/*.png and *.svg, conclusions.en.md and .ko.md, report.md.
Never imports torch, so that a report can be built wherever the records are.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from lrsweep import store
from lrsweep.analysis.best import find_best
from lrsweep.analysis.explain import check_patience, explain_small, explain_very_small
from lrsweep.analysis.summary import fewest_seeds, pareto_front, summarise, with_arms, with_chance, with_seconds
from lrsweep.config import ConfigError, MachineConfig, StudyConfig
from lrsweep.report import conclusions, document, figures
from lrsweep.report.conclusions import Findings

_MAIN_LOSS = "cross_entropy"  # its arm answers first


@dataclass(frozen=True)
class Tables:
    """A study, read and analysed once."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    class_counts: pd.DataFrame
    summary: pd.DataFrame
    patience: pd.DataFrame
    findings: dict[str, Findings]  # by arm, the main one first; arms without any accuracy are missing

    @property
    def main(self) -> Findings | None:
        return next(iter(self.findings.values()), None)


def analyse(folder: Path) -> Tables:
    records = store.read(folder)
    if not records:
        raise store.StoreError(f"{folder} holds no records to report; make some with lrsweep study=…")
    class_counts = store.class_counts_frame(records)
    runs = with_arms(with_seconds(with_chance(store.to_frame(records), class_counts)))
    curves = store.curves_frame(records).merge(runs[["run_id", "arm"]], on="run_id")
    summary = summarise(runs)
    patience = check_patience(runs, curves)
    findings = {}
    for arm in sorted(runs["arm"].unique(), key=lambda name: (not name.startswith(_MAIN_LOSS), name)):
        of_arm = runs[runs["arm"] == arm]
        num_seeds = fewest_seeds(summary, arm)
        best = find_best(summary, arm, int(of_arm["data.num_valid"].iloc[0]), num_seeds)
        if best is not None:
            small = explain_small(of_arm, patience, best)
            findings[arm] = Findings(best, explain_very_small(of_arm, patience), small)
    return Tables(runs, curves, class_counts, summary, patience, findings)


def build(folder: Path) -> Path:
    """Write everything; return report.md. StoreError where the study has no run to report."""
    tables = analyse(folder)
    _write(folder / "runs.csv", tables.runs.to_csv(index=False))
    if tables.main is not None:
        _write(folder / "conclusions.en.md", conclusions.conclusions_en(tables.main))
        _write(folder / "conclusions.ko.md", conclusions.conclusions_ko(tables.main))
    parts = [
        document.head(folder.name, tables.runs, tables.main, store.read_expected(folder)),
        *(_arm_section(folder, tables, arm) for arm in tables.findings),
        *([_arms_section(folder, tables)] if len(tables.findings) > 1 else []),
        document.data_section(tables.class_counts),
        document.environment_section(tables.runs),
    ]
    _write(folder / "report.md", "\n\n".join(parts) + "\n")
    return folder / "report.md"


def _arm_section(folder: Path, tables: Tables, arm: str) -> str:
    found = tables.findings[arm]
    best = found.best
    summary, runs = tables.summary, tables.runs[tables.runs["arm"] == arm]
    front = pareto_front(summary[summary["arm"] == arm])
    first_seed = int(runs.loc[runs["epochs"] > 0, "seed"].min())
    rates = figures.telling_rates(summary, best)
    num_valid, num_test = int(runs["data.num_valid"].iloc[0]), int(runs["data.num_test"].iloc[0])
    seeds = "one seed" if best.num_seeds == 1 else f"{best.num_seeds} seeds"
    time = conclusions.TIME_EN[best.best["time"]]
    plots: dict[str, tuple[str, Callable[[Axes], Axes]]] = {
        "accuracy-and-time": (
            f"Accuracy and {time} against the learning rate ({arm}, {seeds})",
            lambda ax: figures.plot_accuracy_and_cost(summary, runs, best, "seconds", ax),
        ),
        "accuracy-and-epochs": (
            f"Accuracy and epochs against the learning rate ({arm}, {seeds})",
            lambda ax: figures.plot_accuracy_and_cost(summary, runs, best, "epochs", ax),
        ),
        "plateau": (
            f"The highest accuracies, near by ({arm}, {seeds}; bars: one binomial standard error)",
            lambda ax: figures.plot_plateau(summary, best, num_valid, num_test, ax),
        ),
        "trade-off": (
            f"Test error against {time}, a point a rate ({arm}, {seeds})",
            lambda ax: figures.plot_trade_off(summary, front, best, ax),
        ),
        "training-curves": (
            f"Training at {len(rates)} telling rates ({arm}, seed {first_seed}; a mark: the best epoch)",
            lambda ax: figures.plot_training_curves(tables.curves, rates, arm, first_seed, ax),
        ),
    }
    prefix = "" if arm == next(iter(tables.findings)) else f"{_slug(arm)}-"
    images = [_draw(folder, prefix + name, title, plot) for name, (title, plot) in plots.items()]
    table = document.rates_table(summary[summary["arm"] == arm])
    first, *others = images
    return "\n\n".join(
        [f"## {arm}", first, conclusions.in_both_languages(found), *others, f"### All learning rates ({arm})", table]
    )


def _arms_section(folder: Path, tables: Tables) -> str:
    image = _draw(folder, "arms", "Test accuracy, compared", lambda ax: figures.plot_arms(tables.summary, ax))
    return f"## Compared\n\n{image}"


def _slug(text: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in text)


def _draw(folder: Path, name: str, title: str, plot: Callable[[Axes], Axes]) -> str:
    """Draw one figure as PNG and SVG; return its Markdown."""
    figure, ax = figures.figure_with(title)
    plot(ax)
    for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):  # the same data give the same file
        buffer = BytesIO()
        figure.savefig(buffer, format=form, metadata=metadata)
        store.write_atomically(folder / "figures" / f"{name}.{form}", buffer.getvalue())
    plt.close(figure)
    return f"![{title}](figures/{name}.png)"


def _write(path: Path, text: str) -> None:
    # Whole or not at all: a reader of a report that is being refreshed sees the old one or the new one.
    store.write_atomically(path, text.encode())


def folder_of(arguments: list[str]) -> Path:
    """The study's folder from `study=NAME` and, optionally, `machine.results_dir=DIR`: lrsweep's own names."""
    given = {"study": "lr", "machine.results_dir": MachineConfig().results_dir}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        name = "study" if name == "study.name" else name
        if not equals or name not in given:
            raise ConfigError(f"{argument!r} is not understood; usage: lrsweep-report study=NAME [machine.results_dir=DIR]")
        given[name] = value
    return Path(given["machine.results_dir"]) / StudyConfig(name=given["study"]).name


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    try:
        print(f"Report: {build(folder_of(sys.argv[1:]))}")
    except (ConfigError, store.StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
