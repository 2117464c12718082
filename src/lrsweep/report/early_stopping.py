"""What early stopping hides: the section of the report that compares the study with runs of a fixed length."""

from dataclasses import replace

import pandas as pd

from lrsweep.analysis.fixed_budget import PATIENCES, Sensitivity
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.shortfall import MIN_SEEDS
from lrsweep.report.texts.conclusions_en import good_rates_en
from lrsweep.report.texts.conclusions_ko import good_rates_ko
from lrsweep.report.texts.language import is_korean, say
from lrsweep.report.texts.markdown_tables import markdown_table
from lrsweep.report.texts.wording import counted, fold, lr_text, percent, points, rates_text, seeds_text


def with_own_runs(fixed: Sensitivity, fixed_runs: pd.DataFrame, own_runs: pd.DataFrame) -> Sensitivity:
    """Where the budget is too short for a patience to run out, the study's own runs show what it leads to, if they had this
    patience and the same seeds. `own_runs` are those of one arm.
    """
    stopped = own_runs[(own_runs["stop_reason"] == "patience") & own_runs["seed"].isin(fixed_runs["seed"])]
    rows = fixed.rows.copy()
    for patience in PATIENCES:
        for lr, runs in stopped[stopped["training.patience"].astype(str) == str(patience)].groupby("lr"):
            is_open = (rows["lr"] == lr) & (rows[f"cut_{patience}"] < 1) & (rows["num_runs"] == len(runs))
            values = [runs["valid_accuracy"].mean(), runs["epochs"].mean(), 1.0]
            rows.loc[is_open, [f"valid_{patience}", f"epochs_{patience}", f"cut_{patience}"]] = values
    return replace(fixed, rows=rows)


def early_stopping_section(fixed: Sensitivity, best_lr: float, figure: str) -> str:
    """`best_lr` is the study's best rate, `figure` the Markdown of the figure."""
    opening = say(
        "With early stopping, the number of epochs depends on the rate. Here every run has {epochs} epochs, and its best epoch "
        "counts ({seeds}, {rates}).",
        epochs=fixed.epochs,
        seeds=seeds_text(fixed.best.num_seeds),
        rates=counted(len(fixed.rows), "rate"),
    )
    good = good_rates_ko(fixed.best) if is_korean() else good_rates_en(fixed.best)
    sentences = [
        opening,
        *([say("Good rates then: {good}.", good=good)] if fixed.best.num_seeds >= MIN_SEEDS else []),
        _best_rates_compared(fixed, best_lr),
        *_gains(fixed),
        *_still_open(fixed),
    ]
    return "\n\n".join(
        [
            f"## {say('What does early stopping hide?')}",
            " ".join(sentences),
            figure,
            fold(say("Every rate, and other patiences"), f"{_reading(fixed.epochs)}\n\n{_table(fixed)}"),
        ]
    )


def _best_rates_compared(fixed: Sensitivity, best_lr: float) -> str:
    lr = float(fixed.best.best["lr"])
    if lr == best_lr:
        return say("The best rate by validation accuracy is still {rate}.", rate=lr_text(lr))
    return say("The best rate by validation accuracy is then {rate}.", rate=lr_text(lr))


def _gains(fixed: Sensitivity) -> list[str]:
    """What the fixed length gains at its best rate and at most, and where early stopping gains because it trains for longer."""
    patience = PATIENCES[0]
    rows = fixed.rows.assign(gain=fixed.rows["full"] - fixed.rows[f"valid_{patience}"])
    closed = rows[rows[f"cut_{patience}"] == 1]
    gained = closed[closed["gain"] > 0]
    at_best, most = gained[gained["lr"] == float(fixed.best.best["lr"])], gained.nlargest(1, "gain")
    texts = []
    if len(at_best):
        gain = points(at_best["gain"].iloc[0])
        texts.append(say("There, a patience of {num} gives up {gain} points of validation accuracy.", num=patience, gain=gain))
    if len(most):
        lr, gain = lr_text(most["lr"].iloc[0]), points(most["gain"].iloc[0])
        texts.append(say("The most is given up at {rate}: {gain} points.", rate=lr, gain=gain))
    longer = closed[closed[f"epochs_{patience}"] > fixed.epochs]
    if longer["gain"].min() < 0:
        texts.append(
            say(
                "Early stopping can also help, by training for longer: at {rates} ({range}), it allows more than {epochs} "
                "epochs and reaches up to {gain} points more.",
                rates=counted(len(longer), "rate"),
                range=rates_text(longer["lr"].min(), longer["lr"].max(), decimal_rate),
                epochs=fixed.epochs,
                gain=points(longer["gain"].min()),
            )
        )
    return texts


def _still_open(fixed: Sensitivity) -> list[str]:
    num_open = int((fixed.rows[f"cut_{PATIENCES[0]}"] < 1).sum())
    limit = say(
        "At {num} of {rates}, a patience of {patience} did not always run out within {epochs} epochs, so this budget cannot tell "
        "what early stopping decides there.",
        num=num_open,
        rates=counted(len(fixed.rows), "rate"),
        patience=PATIENCES[0],
        epochs=fixed.epochs,
    )
    return [limit] if num_open else []


def _reading(num_epochs: int) -> str:
    return say(
        "Validation accuracy that each patience reaches, and in brackets its number of epochs; +: patience did not run out "
        "within {epochs} epochs. A number above {epochs} is from the study's own runs, which have no such limit.",
        epochs=num_epochs,
    )


def _table(fixed: Sensitivity) -> str:
    header = [say("learning rate"), *(say("patience {num} (epochs)", num=p) for p in PATIENCES)]
    header.append(say("{num} epochs, the best", num=fixed.epochs))
    rows = (
        [
            lr_text(row["lr"]),
            *(f"{percent(row[f'valid_{p}'])} ({row[f'epochs_{p}']:.0f}{'' if row[f'cut_{p}'] else '+'})" for p in PATIENCES),
            percent(row["full"]),
        ]
        for _, row in fixed.rows.iterrows()
    )
    return markdown_table(header, rows)
