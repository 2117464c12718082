"""The list of figures in a report, in reading order, each with its title, one sentence on how to read it, and its plot."""

import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.findings import Analysis, Findings, Target
from lrsweep.report.figures import plots
from lrsweep.report.figures.files import Figure
from lrsweep.report.texts.wording import TIMES_EN, escaped, seeds_text


def main_figures(tables: Analysis, main: Findings) -> list[Figure]:
    best = main.best
    summary, runs, target = tables.summary, tables.of_arm(best.arm), tables.target
    seeds, arm = seeds_text(best.num_seeds), best.arm
    time = TIMES_EN[best.best["time"]]
    rates = plots.representative_rates(summary, best)
    first_seed = int(runs.loc[runs["epochs"] > 0, "seed"].min())
    sizes = int(runs["data.num_valid"].iloc[0]), int(runs["data.num_test"].iloc[0])
    return [
        Figure(
            "error",
            f"Test error against the learning rate ({arm}, {seeds})",
            "Lower is better; both axes are logarithmic. Every run is a point; the shaded range is the answer.",
            lambda ax: plots.plot_error(summary, runs, best, ax),
        ),
        Figure(
            "accuracy-and-time",
            f"Accuracy and {time} against the learning rate ({arm}, {seeds})",
            f"The documents' figure: accuracy on the left axis, {time} of a run on the right one.",
            lambda ax: plots.plot_accuracy_and_cost(summary, runs, best, "seconds", ax),
        ),
        Figure(
            "accuracy-and-epochs",
            f"Accuracy and epochs against the learning rate ({arm}, {seeds})",
            "The same with epochs, which do not depend on the machine.",
            lambda ax: plots.plot_accuracy_and_cost(summary, runs, best, "epochs", ax),
        ),
        Figure(
            "plateau",
            f"The highest accuracies, enlarged ({arm}, {seeds}; bars: "
            + ("95% intervals)" if best.plateau.is_tested else "one binomial standard error)"),
            "Rates are chosen by validation accuracy; test accuracy is only reported.",
            lambda ax: plots.plot_plateau(summary, best, *sizes, ax),
        ),
        Figure(
            "bad",
            f"Runs that diverged or stayed at chance ({arm}, {seeds}; bars: 95% Wilson intervals)",
            "Where training breaks: 0% is every run learned, 100% is none did. Few runs leave wide bars.",
            lambda ax: plots.plot_bad(summary, best, ax),
        ),
        Figure(
            "trade-off",
            f"Validation error against {time}, a point a rate ({arm}, {seeds})",
            "Down and to the left is better; no rate beats one on the Pareto front in both.",
            lambda ax: plots.plot_trade_off(summary, best, ax),
        ),
        *([] if target is None else _to_target_figures(target, best, f"({arm}, {seeds})", time)),
        Figure(
            "training-curves",
            f"Training at {len(rates)} telling rates ({arm}, seed {first_seed}; a mark: the best epoch)",
            _reading_of_curves(runs.iloc[0]),
            lambda ax: plots.plot_training_curves(tables.curves, rates, arm, first_seed, ax),
        ),
    ]


def _to_target_figures(target: Target, best: Best, runs: str, time: str) -> list[Figure]:
    to_target = f"to {target.accuracy:.0%} validation accuracy"
    return [
        Figure(
            f"{cost}-to-target",
            f"{label[0].upper()}{label[1:]} {to_target} {runs}",
            "An open triangle is a run that ended before it got there; the line is broken where half of the runs did.",
            lambda ax, cost=cost, label=label: plots.plot_time_to_target(  # type: ignore[misc]
                target.times, target.medians, cost, f"{label} {to_target}", best, ax
            ),
        )
        for cost, label in (("epochs", "epochs"), ("seconds", f"seconds of {time}"))
    ]


def _reading_of_curves(run: pd.Series) -> str:
    patience, budget = escaped(run["training.patience"]), escaped(run["training.max_epochs"])
    return f"Every run has {budget} epochs." if patience == "null" else f"A run ends when {patience} epochs set no new record."
