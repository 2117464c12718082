"""The list of figures in a report, in reading order, each with its title, one sentence on how to read it, and its plot."""

import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.findings import Analysis, Findings, Target
from lrsweep.report.figures import plots
from lrsweep.report.figures.files import Figure
from lrsweep.report.texts.language import is_korean, say
from lrsweep.report.texts.wording import counted, escaped, seeds_text


def words_in_figures() -> str:
    """For Korean readers: the figures serve both languages, so their words are English."""
    return say("The words in the figures") if is_korean() else ""


def main_figures(tables: Analysis, main: Findings) -> list[Figure]:
    study, headline = main.best, main.headline
    runs, target = tables.of_arm(study.arm), tables.target
    seeds, arm = seeds_text(study.num_seeds), study.arm
    rates = plots.representative_rates(study)
    first_seed = int(runs.loc[runs["epochs"] > 0, "seed"].min())
    return [
        shortfall_figure("shortfall", main),
        Figure(
            "error",
            say("Test error against the learning rate ({arm}, {seeds})", arm=arm, seeds=seeds),
            say("Lower is better; both axes are logarithmic. Every run is a point."),
            lambda ax: plots.plot_error(runs, study, headline, main.edges, ax),
        ),
        Figure(
            "accuracy-and-epochs",
            say("Accuracy and epochs against the learning rate ({arm}, {seeds})", arm=arm, seeds=seeds),
            say("The documents' figure: accuracy on the left axis, the cost of a run on the right one."),
            lambda ax: plots.plot_accuracy_and_epochs(runs, study, headline, ax),
        ),
        Figure(
            "error-and-epochs",
            say("Test error against epochs, one point per rate ({arm}, {seeds}; bars: 95%)", arm=arm, seeds=seeds),
            say("Down and to the left is better: fewer errors for fewer epochs."),
            lambda ax: plots.plot_error_and_epochs(study, headline, ax),
        ),
        *([] if target is None else [_target_figure(target, headline, f"({arm}, {seeds})")]),
        Figure(
            "training-curves",
            say(
                "Training at {rates} ({arm}, seed {seed}; a mark: the best epoch)",
                rates=counted(len(rates), "rate"),
                arm=arm,
                seed=first_seed,
            ),
            _reading_of_curves(runs.iloc[0]),
            lambda ax: plots.plot_training_curves(tables.curves, rates, arm, first_seed, ax),
        ),
    ]


def _target_figure(target: Target, headline: Best, runs: str) -> Figure:
    to_target = f"to {target.accuracy:.0%} validation accuracy"  # the axis label
    return Figure(
        "epochs-to-target",
        say("Epochs to {accuracy:.0%} validation accuracy {runs}", accuracy=target.accuracy, runs=runs),
        say("An open triangle is a run that ended before it got there; the line is broken where half of the runs did."),
        lambda ax: plots.plot_epochs_to_target(target.times, target.medians, f"epochs {to_target}", headline, ax),
    )


def shortfall_figure(name: str, found: Findings) -> Figure:
    """The main figure of an arm."""
    best = found.headline
    bars = say("; bars: 95%, simultaneous") if best.rows["shortfall_low"].notna().any() else ""
    return Figure(
        name,
        say("What each learning rate loses ({arm}, {seeds}{bars})", arm=best.arm, seeds=_seeds(found), bars=bars),
        say(
            "A rate is good if its whole bar lies below δ, worse if its whole bar lies above, and undecided otherwise. A hollow "
            "mark has no interval: not every seed learned, or there are too few seeds. The axis is linear up to {linear:g} "
            "points.",
            linear=best.delta * 250,
        ),
        lambda ax: plots.plot_shortfall(found.best, best, found.edges, ax),
    )


def _seeds(found: Findings) -> str:
    best = found.headline
    return seeds_text(best.num_seeds) if best is found.best else counted(best.num_seeds, "fresh seed")


def _reading_of_curves(run: pd.Series) -> str:
    patience, budget = escaped(run["training.patience"]), escaped(run["training.max_epochs"])
    if patience == "null":
        return say("Every run has {epochs} epochs.", epochs=budget)
    return say("A run ends after {epochs} epochs without improvement.", epochs=patience)
