"""The list of figures in a report, in reading order, each with its title, how to read it, and its plot."""

import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.findings import Analysis, Findings
from lrsweep.analysis.fixed_budget import Sensitivity
from lrsweep.report.figures import plots
from lrsweep.report.figures.files import Figure
from lrsweep.report.texts.language import say
from lrsweep.report.texts.wording import counted, escaped, seeds_text


def main_figures(tables: Analysis, main: Findings) -> list[Figure]:
    study, headline = main.best, main.headline
    runs = tables.main_runs
    seeds, arm = seeds_text(study.num_seeds), study.arm
    rates = plots.representative_rates(study)
    first_seed = int(runs.loc[runs["epochs"] > 0, "seed"].min())
    return [
        shortfall_figure("shortfall", main),
        Figure(
            "error",
            say("Test error against the learning rate ({arm}, {seeds})", arm=arm, seeds=seeds),
            say(
                "Lower is better. Both axes are logarithmic, and every run is a point. Runs at the upper edge learned nothing or "
                "diverged: their errors are larger than the axis.{star}",
                star="" if headline is study else say(" The star is the mean of the fresh seeds."),
            ),
            lambda ax: plots.plot_error(runs, study, headline, main.edges, ax),
        ),
        *([_price_figure(main)] if len(set(runs["epochs"][runs["status"] != "failed"])) > 1 else []),  # else all cost the same
        Figure(
            "training-curves",
            say("Training at {rates} ({arm}, seed {seed})", rates=counted(len(rates), "rate"), arm=arm, seed=first_seed),
            f"{say('Lower is better.')} {_reading_of_curves(runs.iloc[0])}",
            lambda ax: plots.plot_training_curves(tables.curves, rates, arm, first_seed, ax),
        ),
        *([_fresh_figure(study, main.confirmation)] if main.confirmation else []),
        *([_early_stopping_figure(main.sensitivity, arm)] if main.sensitivity else []),
    ]


def _price_figure(main: Findings) -> Figure:
    study, headline = main.best, main.headline
    is_partial = any(len(plots.near(best.rows, headline.delta)) < len(best.rows) for best in (study, headline))
    left_out = say(" Rates that are not shown lose more than five times δ, or did not learn on every seed.")
    return Figure(
        "price",
        say("What accuracy costs, a point per rate ({arm}, {seeds})", arm=study.arm, seeds=_seeds(main)),
        say(
            "Up and to the left is better: more accuracy for fewer epochs. The numbers are learning rates; thin bars are 95% "
            "intervals.{left_out}",
            left_out=left_out if is_partial else "",
        ),
        lambda ax: plots.plot_price(study, headline, ax),
    )


def _fresh_figure(study: Best, fresh: Best) -> Figure:
    return Figure(
        "fresh-seeds",
        say("Fresh seeds against the study's own ({arm})", arm=study.arm),
        say(
            "The study's own seeds chose the best rate; the fresh seeds did not. Where the grey mark is higher, the own seeds "
            "flattered the rate. Bars are 95% intervals."
        ),
        lambda ax: plots.plot_fresh_seeds(study, fresh, ax),
    )


def _early_stopping_figure(fixed: Sensitivity, arm: str) -> Figure:
    return Figure(
        "early-stopping",
        say("With and without early stopping ({arm}, {seeds})", arm=arm, seeds=seeds_text(fixed.best.num_seeds)),
        say(
            "Lower is better. Both lines are from the same seeds. The shade between them is what early stopping gives up, or "
            "gains where it trains for longer."
        ),
        lambda ax: plots.plot_early_stopping(fixed, ax),
    )


def shortfall_figure(name: str, found: Findings) -> Figure:
    """The main figure of an arm."""
    best = found.headline
    bars = say("; bars: 95%, simultaneous") if best.rows["shortfall_low"].notna().any() else ""
    hollow = say("A hollow mark has no interval: not every seed learned, or there are too few seeds. ")
    grey = say("A grey mark is the rate's loss on the study's own {own}. ", own=seeds_text(found.best.num_seeds))
    return Figure(
        name,
        say("What each learning rate loses ({arm}, {seeds}{bars})", arm=best.arm, seeds=_seeds(found), bars=bars),
        say(
            "A rate is good if its whole bar lies below δ, the smallest difference that matters, worse if it lies above δ, and "
            "undecided otherwise. {hollow}{grey}The axis is linear up to {linear:g} points.",
            hollow=hollow if best.rows["shortfall_low"].isna().any() else "",
            grey="" if best is found.best else grey,
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
