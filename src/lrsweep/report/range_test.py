"""The learning-rate finder's figure and table, and the sweep that it is scored against."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.findings import analyse
from lrsweep.config import RunConfig, flatten
from lrsweep.records import RangeTest
from lrsweep.report.figures.axes import legend_below, lr_axis
from lrsweep.report.figures.files import save
from lrsweep.report.figures.plots import LINES, MARKERS, figure_with, mark_best
from lrsweep.report.texts.wording import number, points, seeds_text
from lrsweep.storage import store
from lrsweep.storage.tables import setting_cell

_HIGHEST = 1.5  # times the first loss: what a curve does above it, on its way to four times its minimum, tells nothing


def sweep_like(run: RunConfig, folder: Path) -> Best | None:
    """The best range of the study's arm with the run's settings but rate and seed. None where there is none."""
    if not store.scan(folder).records:
        return None
    settings = {name: setting_cell(value) for name, value in flatten(asdict(run)).items()}
    wanted = {name: value for name, value in settings.items() if name not in ("seed", "optimizer.lr", "loss.name")}
    tables = analyse(folder)
    for arm, found in tables.findings.items():
        swept = tables.of_arm(arm).iloc[0]
        if swept["loss"] == run.loss.name and all(swept[name] == value for name, value in wanted.items()):
            return found.best
    return None


def plot_range_tests(
    tests: Sequence[RangeTest], by_seed: pd.DataFrame, combined: pd.DataFrame, best: Best | None, ax: Axes
) -> Axes:
    """Smoothed loss against the rate, a line a seed; a mark where a rule points, a dashed line at its median over the seeds."""
    for test in tests:
        label = None if ax.lines else seeds_text(len(tests))  # one for all: seeds need not be told apart
        ax.plot(test.rates, test.smoothed, color="#767676", linewidth=1, alpha=0.7, label=label)
    height = {test.seed: (np.log(test.rates), test.smoothed) for test in tests}
    for i, (rule, lr) in enumerate(zip(combined["rule"], combined["lr"], strict=True)):
        given = by_seed[(by_seed["rule"] == rule) & by_seed["lr"].notna()]
        losses = [np.interp(math.log(lr_of), *height[seed]) for lr_of, seed in zip(given["lr"], given["seed"], strict=True)]
        if not np.isnan(lr):
            ax.axvline(lr, color=LINES[i], linewidth=1, linestyle="--")
        label = f"{rule}: " + ("no suggestion" if np.isnan(lr) else f"{lr:.1e}")
        ax.plot(given["lr"], losses, MARKERS[i], color=LINES[i], markersize=7, markeredgecolor="white", label=label)
    if best is not None:
        mark_best(best, ax)
    lr_axis(ax)
    ax.set_ylim(top=min(ax.get_ylim()[1], _HIGHEST * max(test.smoothed[0] for test in tests)))
    ax.set_ylabel("smoothed training loss of a batch")
    legend_below(ax, ncols=3)
    return ax


def draw(
    folder: Path, tests: Sequence[RangeTest], by_seed: pd.DataFrame, combined: pd.DataFrame, best: Best | None, title: str
) -> None:
    """finder.png and .svg"""
    drawn, ax = figure_with(title)
    plot_range_tests(tests, by_seed, combined, best, ax)
    save(drawn, folder / "finder")


def table_text(suggestions: pd.DataFrame) -> str:
    """`suggestions` as `score` gives them, a line a rule, for a terminal."""
    header = ("rule", "suggestion", "seeds", "spread (decades)", "off the best range", "accuracy lost (points)")
    rows = [
        (
            row.rule,
            "no suggestion" if pd.isna(row.lr) else f"{row.lr:.2e}",
            f"{row.num_given} of {row.num_seeds}",
            number(row.spread_decades, ".2f"),
            _off_text(row.decades_off),
            "not measured" if pd.isna(row.shortfall) else points(row.shortfall),
        )
        for row in (pd.Series(row) for row in suggestions.to_dict("records"))
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in (header, *rows))


def _off_text(decades: float) -> str:
    if pd.isna(decades):
        return "not measured"
    return f"{abs(decades):.2f} decades " + ("below" if decades < 0 else "above") if decades else "inside"
