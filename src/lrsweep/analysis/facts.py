"""Contrasts that state facts: the blanks of document 003, shares of runs, a bound by arithmetic, and the shapes of schedules.

Their answers have no interval, or one that needs no further correction, so they take no share of the audit's level.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from lrsweep.analysis.best_rate import Best, TradeOff
from lrsweep.analysis.block_design import BlockDesign
from lrsweep.analysis.evidence import Evidence, best_of, doubts_about, settings_of
from lrsweep.analysis.explanations import check_patience
from lrsweep.analysis.phrases import Phrase, joined
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.shortfall import LEVEL, Verdict
from lrsweep.analysis.student import critical_t
from lrsweep.analysis.study import NoSuchRuns, Study, described
from lrsweep.analysis.summary import kept_learning
from lrsweep.analysis.verdicts import Effect
from lrsweep.config import ScheduleConfig
from lrsweep.storage.tables import class_columns
from lrsweep.training.schedules import Pace, lr_at


def blank(
    evidence: Evidence,
    level: float,
    *,
    study: str,
    answer: Literal["range", "trade-off"],
    by: Literal["epochs", "seconds"] = "epochs",
) -> Effect:
    """Fill in one of the documents' "???" with rates shown to lose less than δ against the best.

    The effect is minus the shortfall of one rate: for a range, the rate whose shortfall has the lowest upper bound; for a
    trade-off, the rate with the fewest epochs or seconds. The interval is simultaneous over the rates at LEVEL, as in the report.
    """
    stored = evidence.study(study)
    best = best_of(stored, {})
    chosen = None if answer == "range" else best.trade_off if by == "epochs" else best.fastest
    if by == "seconds" and chosen is None:
        raise NoSuchRuns(Phrase("no good rate has three timed runs that had the machine to themselves"))
    candidates = best.rows[best.rows["dependable"]] if best.good.empty else best.good
    if candidates["shortfall_high"].isna().all():
        raise NoSuchRuns(Phrase("no rate learned on at least three seeds"))
    row = chosen.row if chosen else candidates.iloc[int(np.nanargmin(candidates["shortfall_high"].to_numpy(dtype=float)))]
    shortfall, low, high = (float(row[name]) for name in ("shortfall", "shortfall_low", "shortfall_high"))
    pair_level = LEVEL / max(1, len(best.rows) - 1)
    sd = (high - shortfall) * math.sqrt(best.num_seeds) / float(critical_t(pair_level, max(1, best.num_seeds - 1)))
    is_at_edge = {"at_lower_end", "at_upper_end"} & set(best.doubts)
    reaches = "the good rates, or the best one, reach an end of the {num} rates of {study}"
    edge_text = Phrase(reaches, num=len(best.rows), study=study)
    return Effect(
        -shortfall, -high, -low, "accuracy", best.num_seeds, len(stored.runs_of({})), pair_level, sd,
        joined(([_cost_text(best, chosen, by)] if chosen else []) + _classes_texts(best)),
        doubts=doubts_about([stored], best.num_seeds), caveats=(edge_text,) if is_at_edge else (),
    )  # fmt: skip


def _cost_text(best: Best, chosen: TradeOff, by: str) -> Phrase:
    """How long training takes at the chosen rate, and how much that saves compared with the best rate."""
    lr, best_lr = float(chosen.row["lr"]), float(best.best["lr"])
    trains = "{rate} trains for {cost} epochs" if by == "epochs" else "{rate} trains for {cost} seconds ({num} runs were timed)"
    own = Phrase(trains, rate=decimal_rate(lr), cost=f"{chosen.row[f'{by}_mean']:.0f}", num=int(chosen.row["num_timed"]))
    if lr == best_lr:
        return Phrase("{own}, and has the highest validation accuracy too", own=own)
    if math.isnan(chosen.saved_high):  # too few seeds ran at both rates
        return own
    interval = Phrase("95%: {low} to {high}", low=f"{chosen.saved_low:.0%}", high=f"{chosen.saved_high:.0%}")
    saves = "{own} and saves {saved} ({interval}) against {best}, the rate with the highest validation accuracy"
    if chosen.saved <= 0:  # the rate is the cheapest on average, but not on most seeds
        saves = "{own} and saves nothing ({interval}) against {best}, the rate with the highest validation accuracy"
    return Phrase(saves, own=own, saved=f"{chosen.saved:.0%}", interval=interval, best=decimal_rate(best_lr))


def _classes_texts(best: Best) -> list[Phrase]:
    texts = []
    verdicts: tuple[Verdict, ...] = ("good", "undecided", "worse")
    for verdict in verdicts:
        stretches = [
            low if low == high else Phrase("{low} to {high}", low=low, high=high)
            for low, high in (map(decimal_rate, ends) for ends in best.stretches(verdict))
        ]
        named = joined(stretches, ", ") if stretches else Phrase("none")
        texts.append(Phrase("{verdict}: {rates}", verdict=Phrase(verdict), rates=named))
    return texts


def share(
    evidence: Evidence, level: float, *, study: str, of: str, arm: Mapping[str, Any] | None = None, among: str = ""
) -> Effect:
    """The share of an arm's runs that meet the condition `of`, see `_meets`.

    Counts only runs that meet the condition `among`, at rates within the range of exponents `arm["at"]`. Both are optional.
    There is no interval, because runs of the same seed are not independent.
    """
    chosen = dict(arm or {})
    stored = evidence.study(study)
    runs = stored.runs_of(settings_of(chosen))
    runs = runs[runs["status"] != "failed"]
    if "at" in chosen:
        low, high = chosen["at"]
        runs = runs[np.log10(runs["lr"]).between(low - 1e-6, high + 1e-6)]
    if among and not runs.empty:
        runs = runs[_meets(among, stored, runs)]
    if runs.empty:
        missing = "no runs of {arm} that are {among}" if among else "no runs of {arm}"
        raise NoSuchRuns(Phrase(missing, arm=described(settings_of(chosen)), among=Phrase(among)))
    num, num_seeds = int(_meets(of, stored, runs).sum()), int(runs["seed"].nunique())
    detail = Phrase("{num} of {total} runs", num=num, total=len(runs))
    return Effect(num / len(runs), math.nan, math.nan, "share", num_seeds, len(runs), level, detail=detail)


def _meets(condition: str, study: Study, runs: pd.DataFrame) -> pd.Series:
    """Which of the runs meet a condition that `share` can count."""
    match condition:
        case "learned":
            return runs["learned"]
        case "bad":
            return ~kept_learning(runs)
    patience = check_patience(runs, study.curves).set_index("run_id")
    stopped = {
        "stopped by patience": patience["confirmed"],
        "stopped at once": patience["confirmed"] & patience["at_once"],
        "still improving": patience["still_improving"],
    }[condition]
    return runs["run_id"].isin(patience.index[stopped])


def balance(evidence: Evidence, level: float, *, study: str) -> Effect:
    """An upper bound on the difference between balanced accuracy and accuracy at the best rate.

    With shares p of the n classes, and their errors e, the error is Σ p·e and the balanced error Σ e / n. So the balanced error
    is between 1 / (n max p) and 1 / (n min p) times the error, whatever the class errors are.
    """
    stored = evidence.study(study)
    column = BlockDesign(stored, "test_accuracy").column(stored.find_arm({}))
    classes = class_columns(stored.class_counts)
    counts = stored.class_counts[classes].astype(float)
    test = counts[stored.class_counts["split"] == "test"]
    if test.empty:
        raise NoSuchRuns(Phrase("no class counts of the test images"))
    shares = test.div(test.sum(axis="columns"), axis="index")
    even = 1 / len(classes)
    error = 1 - float(column.by_seed.mean())
    bound = error * max(float((even / shares).max().max()) - 1, 1 - float((even / shares).min().min()))
    ratio = float((counts.max(axis="columns") / counts.min(axis="columns")).max())
    detail = Phrase(
        "test classes are {low} to {high} of the images; in no split is the largest more than {ratio} times the smallest. At "
        "{accuracy} accuracy, balanced accuracy is at most {bound} points away, whichever classes the errors are in",
        low=f"{shares.min().min():.2%}",
        high=f"{shares.max().max():.2%}",
        ratio=f"{ratio:.2f}",
        accuracy=f"{1 - error:.2%}",
        bound=f"{bound * 100:.2f}",
    )
    return Effect(-bound, -bound, 0.0, "accuracy", len(column.by_seed), len(column.runs), detail=detail)


NUM_EPOCHS, EPOCH_STEPS = 10, 94  # the documents' 3,000 images in batches of 32 make 94 steps


def shape(evidence: Evidence, level: float, *, schedule: dict[str, Any], shows: str, low: float, high: float) -> Effect:
    """Compute a property of a schedule's formula, without a run, and check that it is in [low, high], as the document says."""
    config = ScheduleConfig(**schedule)
    rates = np.array([lr_at(config, 1.0, step, Pace(EPOCH_STEPS, NUM_EPOCHS)) for step in range(EPOCH_STEPS * NUM_EPOCHS)])
    value = _SHAPES[shows](rates, round(config.every * EPOCH_STEPS))
    is_so = low - 1e-9 <= value <= high + 1e-9
    expected = f"{low:g}" if high - low < 1e-3 else Phrase("{low} to {high}", low=f"{low:g}", high=f"{high:g}")
    agrees = "{shows}: {value}; the document implies {expected}, so the program's formula agrees"
    differs = "{shows}: {value}; the document implies {expected}, so the program's formula differs"
    detail = Phrase(agrees if is_so else differs, shows=Phrase(shows), value=f"{value:.4g}", expected=expected)
    doubts = () if is_so else (Phrase("the formula differs"),)
    return Effect(value, value, value, "number", 0, 0, detail=detail, doubts=doubts)


_SHAPES = {
    "share of the steps that rise": lambda rates, every: float((np.diff(rates) > 0).mean()),
    "steps that change their slope": lambda rates, every: float((np.abs(np.diff(rates, 2)) > 1e-9).sum()),
    "last rate over the lowest": lambda rates, every: float(rates[-1] / rates.min()) if rates.min() else float(rates[-1] == 0),
    "rate over the rate s steps later": lambda rates, every: float((rates[:-every] / rates[every:]).max()),
}
