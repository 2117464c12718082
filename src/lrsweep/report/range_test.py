"""The figure and table of `lrsweep-find`, and the sweep that scores its suggestions."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.findings import analyse
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.suggestions import combine, suggest
from lrsweep.config import WITHOUT_EFFECT, RunConfig, flatten
from lrsweep.records import RangeTest
from lrsweep.report.figures.axes import legend_below, lr_axis
from lrsweep.report.figures.files import Figure, save
from lrsweep.report.figures.style import LINES, MARKERS, mark_good, new_figure
from lrsweep.report.texts.language import say
from lrsweep.report.texts.wording import number, seeds_text
from lrsweep.storage import store
from lrsweep.storage.range_tests import has_range_tests, read_range_tests
from lrsweep.storage.tables import setting_cell

_MAX_LOSS_RATIO = 1.5  # the y axis ends at this multiple of the first loss, because every curve explodes beyond it


def sweep_like(run: RunConfig, folder: Path) -> Best | None:
    """The answers for the arm with the settings of this run, except rate and seed. None if the study has no such arm.

    The answers come from the study's own seeds, because fresh seeds may not cover all rates.
    """
    if not store.scan(folder).records:
        return None
    settings = {name: setting_cell(value) for name, value in flatten(asdict(run)).items()}
    others = {"seed", "optimizer.lr", "loss.name", *WITHOUT_EFFECT}
    wanted = {name: value for name, value in settings.items() if name not in others}
    tables = analyse(folder)
    for arm, findings in tables.findings.items():
        swept = tables.of_arm(arm).iloc[0]
        if swept["loss"] == run.loss.name and all(swept[name] == value for name, value in wanted.items()):
            return findings.best
    return None


def plot_range_tests(
    tests: Sequence[RangeTest], by_seed: pd.DataFrame, combined: pd.DataFrame, best: Best | None, ax: Axes
) -> Axes:
    """Smoothed loss against the rate, one line per seed. Markers show each rule's suggestions, a dashed line their median."""
    for test in tests:
        label = None if ax.lines else seeds_text(len(tests))  # one legend entry for all seeds
        ax.plot(test.rates, test.smoothed, color="#767676", linewidth=1, alpha=0.7, label=label)
    curve_of_seed = {test.seed: (np.log(test.rates), test.smoothed) for test in tests}
    for i, (rule, lr) in enumerate(zip(combined["rule"], combined["lr"], strict=True)):
        given = by_seed[(by_seed["rule"] == rule) & by_seed["lr"].notna()]
        losses = [np.interp(math.log(x), *curve_of_seed[seed]) for x, seed in zip(given["lr"], given["seed"], strict=True)]
        if not np.isnan(lr):
            ax.axvline(lr, color=LINES[i], linewidth=1, linestyle="--")
        label = f"{rule}: " + ("no suggestion" if np.isnan(lr) else decimal_rate(lr))
        ax.plot(given["lr"], losses, MARKERS[i], color=LINES[i], markersize=7, markeredgecolor="white", label=label)
    if best is not None:
        mark_good(best, ax)
    lr_axis(ax)
    top = _MAX_LOSS_RATIO * max(test.smoothed[0] for test in tests)
    shown = np.minimum(np.concatenate([test.smoothed for test in tests]), top)
    if margin := 0.05 * float(np.ptp(shown)):
        ax.set_ylim(float(shown.min()) - margin, float(shown.max()) + margin)
    ax.set_ylabel("smoothed training loss of a batch")
    legend_below(ax, ncols=3)
    return ax


def draw(
    folder: Path, tests: Sequence[RangeTest], by_seed: pd.DataFrame, combined: pd.DataFrame, best: Best | None, title: str
) -> None:
    """Write finder.png and finder.svg."""
    drawn, ax = new_figure(title)
    plot_range_tests(tests, by_seed, combined, best, ax)
    save(drawn, folder / "finder")


def finder_figure(folder: Path, best: Best) -> Figure | None:
    """The range tests of `lrsweep-find` in a study's folder, against its sweep; None if there are none."""
    if not has_range_tests(folder):
        return None
    found = read_range_tests(folder)
    by_seed = suggest(found.tests)
    return Figure(
        "finder",
        say("What the learning-rate finder suggests ({seeds})", seeds=seeds_text(len(found.tests))),
        say("Each rule reads a rate off the training loss while the rate rises at every step; a dashed line is a rule's median."),
        lambda ax: plot_range_tests(found.tests, by_seed, combine(by_seed), best, ax),
    )


def table_text(suggestions: pd.DataFrame) -> str:
    """The table that the terminal shows: one line per rule. `suggestions` is the result of `score`."""
    header = ("rule", "suggestion", "seeds", "spread (decades)", "accuracy lost there (points, 95%)", "class")
    rows = [
        (
            row.rule,
            "no suggestion" if pd.isna(row.lr) else f"{row.lr:.2e}",
            f"{row.num_given} of {row.num_seeds}",
            number(row.spread_decades, ".2f"),
            _lost_text(row),
            "–" if pd.isna(row.verdict) else row.verdict,
        )
        for row in (pd.Series(row) for row in suggestions.to_dict("records"))
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in (header, *rows))


def _lost_text(row: pd.Series) -> str:
    if pd.isna(row.shortfall):
        return "not measured"
    interval = "" if pd.isna(row.shortfall_low) else f" ({row.shortfall_low * 100:.2f} to {row.shortfall_high * 100:.2f})"
    return f"{row.shortfall * 100:.2f}{interval}"
