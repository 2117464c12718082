"""The report's figures in the order that a reader needs them: each with its title, how to read it, and what draws it."""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure as MatplotlibFigure

from lrsweep import store
from lrsweep.report import figures
from lrsweep.report.findings import Findings, Tables
from lrsweep.report.wording import TIMES_EN, escaped, seeds_text

PIXELS_PER_INCH = 150  # of a PNG
_MANY = 2_000  # points that an SVG has as such; of more, it has a picture


@dataclass(frozen=True)
class Figure:
    name: str
    title: str
    reading: str  # how to read it, in a sentence
    plot: Callable[[Axes], Axes]


def main_figures(tables: Tables, main: Findings) -> list[Figure]:
    best = main.best
    summary, runs, target = tables.summary, tables.of_arm(best.arm), tables.target
    assert target is not None  # there is one where there is a main arm
    seeds, arm = seeds_text(best.num_seeds), best.arm
    time = TIMES_EN[best.best["time"]]
    rates = figures.telling_rates(summary, best)
    first_seed = int(runs.loc[runs["epochs"] > 0, "seed"].min())
    sizes = int(runs["data.num_valid"].iloc[0]), int(runs["data.num_test"].iloc[0])
    to_target = f"to {target.accuracy:.0%} validation accuracy"
    return [
        Figure(
            "error",
            f"Test error against the learning rate ({arm}, {seeds})",
            "Lower is better; both axes are logarithmic. Every run is a point; the shaded range is the answer.",
            lambda ax: figures.plot_error(summary, runs, best, ax),
        ),
        Figure(
            "accuracy-and-time",
            f"Accuracy and {time} against the learning rate ({arm}, {seeds})",
            f"The documents' figure: accuracy on the left axis, {time} of a run on the right one.",
            lambda ax: figures.plot_accuracy_and_cost(summary, runs, best, "seconds", ax),
        ),
        Figure(
            "accuracy-and-epochs",
            f"Accuracy and epochs against the learning rate ({arm}, {seeds})",
            "The same with epochs, which do not depend on the machine.",
            lambda ax: figures.plot_accuracy_and_cost(summary, runs, best, "epochs", ax),
        ),
        Figure(
            "plateau",
            f"The highest accuracies, enlarged ({arm}, {seeds}; bars: "
            + ("95% intervals)" if best.plateau.is_tested else "one binomial standard error)"),
            "Rates are chosen by validation accuracy; test accuracy is only reported.",
            lambda ax: figures.plot_plateau(summary, best, *sizes, ax),
        ),
        Figure(
            "bad",
            f"Runs that diverged or stayed at chance ({arm}, {seeds}; bars: 95% Wilson intervals)",
            "Where training breaks: 0% is every run learned, 100% is none did. Few runs leave wide bars.",
            lambda ax: figures.plot_bad(summary, best, ax),
        ),
        Figure(
            "trade-off",
            f"Validation error against {time}, a point a rate ({arm}, {seeds})",
            "Down and to the left is better; no rate beats one on the Pareto front in both.",
            lambda ax: figures.plot_trade_off(summary, best, ax),
        ),
        *(
            Figure(
                f"{cost}-to-target",
                f"{label[0].upper()}{label[1:]} {to_target} ({arm}, {seeds})",
                "An open triangle is a run that ended before it got there; the line is broken where half of the runs did.",
                lambda ax, cost=cost, label=label: figures.plot_time_to_target(  # type: ignore[misc]  # of this turn of the loop
                    target.times, target.medians, cost, f"{label} {to_target}", best, ax
                ),
            )
            for cost, label in (("epochs", "epochs"), ("seconds", f"seconds of {time}"))
        ),
        Figure(
            "training-curves",
            f"Training at {len(rates)} telling rates ({arm}, seed {first_seed}; a mark: the best epoch)",
            _run_ends(runs.iloc[0]),
            lambda ax: figures.plot_training_curves(tables.curves, rates, arm, first_seed, ax),
        ),
    ]


def _run_ends(run: pd.Series) -> str:
    patience, budget = escaped(run["training.patience"]), escaped(run["training.max_epochs"])
    return f"Every run has {budget} epochs." if patience == "null" else f"A run ends when {patience} epochs set no new record."


def draw_all(folder: Path, wanted: Sequence[Figure], *, in_two: bool = False) -> list[str]:
    """Draw figures; return the Markdown of each.

    `in_two`: a second process draws half of them, where there is a core for it. It is a fork, which has what they are drawn
    from: for a command, not for a process whose other threads may hold a lock just then.
    """
    can_fork = sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1
    beside = wanted[::2] if in_two and can_fork else []
    with _drawing_beside(folder, beside) if beside else nullcontext():
        for figure in wanted:
            if figure not in beside:
                draw(folder, figure)
    return [_markdown(figure) for figure in wanted]


@contextmanager
def _drawing_beside(folder: Path, wanted: Sequence[Figure]) -> Iterator[None]:
    """Where the second process fails, all is drawn here, so that what it met is met again, and told."""
    helper = multiprocessing.get_context("fork").Process(target=_draw_or_exit, args=(folder, wanted), daemon=True)
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: here NumPy's, which are idle, and one that waits for a process.
        warnings.simplefilter("ignore", DeprecationWarning)
        helper.start()
    yield
    helper.join()
    if helper.exitcode:
        draw_all(folder, wanted)


def _draw_or_exit(folder: Path, wanted: Sequence[Figure]) -> None:
    try:
        draw_all(folder, wanted)
    except BaseException:
        os._exit(1)


def draw(folder: Path, figure: Figure) -> str:
    """Draw one figure as PNG and SVG; return its Markdown."""
    drawn, ax = figures.figure_with(figure.title)
    figure.plot(ax)
    for axes in drawn.axes:
        for points in axes.collections:
            points.set_rasterized(isinstance(points, PathCollection) and np.shape(points.get_offsets())[0] > _MANY)
    save(drawn, folder / "figures" / figure.name)
    return _markdown(figure)


def _markdown(figure: Figure) -> str:
    image = f"![{escaped(figure.title)}](figures/{figure.name}.png)"
    return f"{image}\n\n{figure.reading}" if figure.reading else image


def save(drawn: MatplotlibFigure, path: Path) -> None:
    """As `path`.png and `path`.svg."""
    for form, content in (("png", _png(drawn)), ("svg", _svg(drawn))):
        store.write_atomically(path.with_name(f"{path.name}.{form}"), content)
    plt.close(drawn)


# Not savefig: it draws everything once more before it draws into the file. No date, no version: the same data give the same file.


def _png(drawn: MatplotlibFigure) -> bytes:
    buffer = BytesIO()
    drawn.set_dpi(PIXELS_PER_INCH)
    FigureCanvasAgg(drawn).print_png(buffer, metadata={"Software": None})
    drawn.set_layout_engine("none")  # laid out once for both files: it takes as long as drawing
    return buffer.getvalue()


def _svg(drawn: MatplotlibFigure) -> bytes:
    buffer = BytesIO()
    FigureCanvasSVG(drawn).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def remove_figures_not_in(report: str, folder: Path) -> None:
    """Those of an arm that is gone."""
    for path in (folder / "figures").glob("*.*"):
        if f"(figures/{path.stem}.png)" not in report and path.suffix in (".png", ".svg"):
            path.unlink()
