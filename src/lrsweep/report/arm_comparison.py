"""Compare the arms of a study, each at its own best rate, in a figure and a table."""

import contextlib
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lrsweep.analysis.arm_comparison import compare
from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.block_design import WINDOW, BlockDesign
from lrsweep.analysis.sensitivity import DECADES, NEAR
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.report.figures.axes import error_axis, error_of, legend_below, lr_axis
from lrsweep.report.figures.files import Figure, draw
from lrsweep.report.figures.style import LINES, MARKERS, STYLES, is_narrow
from lrsweep.report.texts.language import say
from lrsweep.report.texts.markdown_tables import markdown_table
from lrsweep.report.texts.wording import escaped, fold, lr_text, percent, points, seeds_text

_COLUMNS = ["arm", "best rate", "validation", "test ± half of 95%", "loss nearby", "usable decades", "rate sensitivity"]


def comparison_note(has_fresh: bool) -> str:
    """How to read the table, folded."""
    notes = [
        say(
            "An *arm* is one choice of all settings except the seed and the learning rate; *base* has the default settings. Each "
            "arm is shown at its own best rate."
        ),
        say(
            "*±*: half of a 95% interval for comparing arms. It is narrower than the interval of a single rate, because it "
            "leaves out what all arms share on a seed, and pools the spread of all arms."
        ),
        say(
            "*Loss nearby*: by how many percentage points the mean test accuracy of the rates within {window:g} decades of the "
            "best rate is below that of the best rate. A decade is a factor of ten.",
            window=WINDOW,
        ),
        say(
            "*Usable decades*: the width of the range of rates whose test accuracy is within {near:g} percentage point of the "
            "arm's own best, as a mean over the seeds; ≥: it reaches an end of the rates tried.",
            near=NEAR * 100,
        ),
        say(
            "*Rate sensitivity*: by how much the mean validation loss (at the best epoch) of the rates within {decades:g} "
            "decade of the best exceeds that of the best rate; a loss counts at most as much as before training (Wortsman et "
            "al. 2023, arXiv:2309.14322). Smaller is less sensitive; –: the rates tried do not reach that far. It cannot "
            "compare arms with different losses, such as double_softmax.",
            decades=DECADES,
        ),
        say("*Edge*: the best rate is the lowest or highest one tried, so a better one may lie beyond."),
    ]
    if has_fresh:
        fresh = "*Fresh seeds*: test accuracy at the best rate on seeds that were not used to choose it. Compare arms by these."
        notes.append(say(fresh))
    listed = "\n".join(f"* {note}" for note in notes)
    return fold(say("How to read the table"), listed)


def comparison(folder: Path, study: Study, name: str, fresh: Mapping[str, Best] | None = None) -> str:
    """The figure and the table as Markdown. Draws the figure, called `name`, into the folder.

    `fresh` has the answers on fresh seeds by arm, for arms that ran on them. These answers become a column.
    """
    fresh = fresh or {}
    figure = Figure(
        name,
        say(
            "Test error against the rate, one line per arm (study {study}, {seeds})",
            study=study.name,
            seeds=_seeds_of_arms(study),
        ),
        say("A ring: the arm's best rate, chosen by validation accuracy."),
        functools.partial(plot_arms, study),
    )
    columns = [say(name) for name in (*_COLUMNS, *(["fresh seeds"] if fresh else []), "rates\u00a0×\u00a0seeds", "epochs")]
    rows = [_arm_row(row, fresh) for _, row in compare(study).dropna(subset="lr").iterrows()]
    return f"{draw(folder, figure)}\n\n{markdown_table(columns, rows)}"


def _seeds_of_arms(study: Study) -> str:
    numbers = study.runs.groupby("arm")["seed"].nunique()
    if numbers.min() == numbers.max():
        return seeds_text(int(numbers.max()))
    return say("{low} to {high} seeds per arm", low=numbers.min(), high=numbers.max())


def _arm_row(row: pd.Series, fresh: Mapping[str, Best]) -> list[str]:
    half = (row["test_high"] - row["test"]) * 100
    return [
        escaped(row["called"]),
        lr_text(row["lr"]) + (say(" (edge)") if row["is_at_edge"] else ""),
        percent(row["valid"]),
        percent(row["test"]) + ("" if math.isnan(half) else f" ± {half:.2f}"),
        f"{row['loss_nearby'] * 100:.2f}",
        "–" if math.isnan(row["decades"]) or row["num_rates"] < 2 else f"{'≥ ' * row['is_cut']}{row['decades']:.2g}",
        "–" if math.isnan(row["sensitivity"]) else f"{row['sensitivity']:.3f}",
        *([_fresh_text(row["lr"], fresh.get(row["arm"]))] if fresh else []),
        f"{row['num_rates']:.0f} × {row['num_seeds']:.0f}",
        f"{row['epochs']:.0f}",
    ]


def _fresh_text(lr: float, fresh: Best | None) -> str:
    if fresh is None or lr not in set(fresh.rows["lr"]):
        return "–"
    row = fresh.rows[fresh.rows["lr"] == lr].iloc[0]
    half = "" if math.isnan(row["test_high"]) else f" ± {points(row['test_high'] - row['test_mean'])}"
    return f"{percent(row['test_mean'])}{half} ({row['num_measured']})"


def plot_arms(study: Study, ax: Axes) -> Axes:
    """Mean test error of every arm against the rate, with a ring at the arm's best rate.

    If all arms have the same highest rate, each line ends with the arm's name; otherwise a legend has the names.
    """
    design = BlockDesign(study, "test_accuracy")
    arms = list(study.measured["arm"].unique())
    ends: list[tuple[float, float, str, str]] = []
    for i, arm in enumerate(arms):
        error = error_of(design.table[arm].mean())
        colour, style = LINES[i % len(LINES)], STYLES[(i // len(LINES)) % len(STYLES)]
        ax.plot(
            error.index, error, linestyle=style, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=4, linewidth=1.4,
            label=study.called(arm),
        )  # fmt: skip
        with contextlib.suppress(NoSuchRuns):
            best = study.choose(arm).lr
            ax.plot(best, error[best], "o", markersize=11, fillstyle="none", color=colour)
        ends.append((float(error.index[-1]), float(error.iloc[-1]), study.called(arm), colour))
    error_axis(ax)
    ax.set_ylabel("test error (1 - accuracy)")
    lr_axis(ax)
    if is_narrow(ax) or len({lr for lr, *_ in ends}) > 1:  # lines to the names would cross the curves
        legend_below(ax, ncols=2 if is_narrow(ax) else 4)
    else:
        _label_line_ends(ends, ax)
    return ax


def _label_line_ends(ends: Sequence[tuple[float, float, str, str]], ax: Axes) -> None:
    """Write the names in the right margin without overlaps, each joined to the end of its curve by a thin line."""
    places = ax.transAxes.inverted().transform(ax.transData.transform([(x, y) for x, y, _, _ in ends]))
    order = np.argsort(places[:, 1])
    heights = _spread_apart(places[order, 1])
    for rank, i in enumerate(order):
        _, _, name, colour = ends[i]
        ax.annotate(
            name, places[i], xytext=(1.03, heights[rank]), xycoords="axes fraction", textcoords="axes fraction",
            va="center", fontsize=10, color=colour, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6},
        )  # fmt: skip


def _spread_apart(heights: Any, step: float = 0.052) -> list[float]:
    """Move ascending heights up until they are `step` apart. If the last one is then above the axes, push them down again."""
    spread: list[float] = []
    for height in heights:
        spread.append(max(float(height), spread[-1] + step) if spread else float(height))
    over = max(0.0, spread[-1] - 1.0) if spread else 0.0
    for i in range(len(spread) - 1, -1, -1):
        limit = 1.0 if i == len(spread) - 1 else spread[i + 1] - step
        spread[i] = min(spread[i], limit) if over else spread[i]
    return spread
