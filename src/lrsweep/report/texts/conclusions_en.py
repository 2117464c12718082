"""The answers in English: the sentences of the answer box, and the documents' sections 5-2 and 5-3, filled in.

All numbers come from analysis/.
"""

import math

import pandas as pd

from lrsweep.analysis.best_rate import Best, Doubt, TradeOff
from lrsweep.analysis.confirmation import Disagreement, disagreement
from lrsweep.analysis.edges import Edge, Edges
from lrsweep.analysis.explanations import Small, VerySmall
from lrsweep.analysis.findings import Findings
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.shortfall import MIN_SEEDS
from lrsweep.report.texts.wording import (
    counted,
    escaped,
    interval,
    listed,
    lr_text,
    percent,
    percents,
    points,
    points_interval,
    rates_text,
    seconds_text,
    seeds_text,
    stretches_text,
    times,
)

DOUBTS_EN: dict[Doubt, str] = {
    "no_rate_dependable": "no rate learned on every seed",
    "at_lower_end": "the best rates reach the lowest one that {tried}",
    "at_upper_end": "the best rates reach the highest one that {tried}",
    "runs_missing": "runs are missing",
    "few_seeds": f"fewer than {MIN_SEEDS} seeds cannot show a difference",
    "cut_short": "most runs reached the limit of epochs before early stopping could end them",
}


def conclusions_en(found: Findings) -> str:
    best = found.headline
    lines = [
        *(["### 5-2. Results", ""] if found.is_documents else []),
        f"These answers are from {evidence_en(found)} ({escaped(best.arm)}).{_rest_en(found)} {caution_en(found)}".rstrip(),
        "",
        f"* {_range_en(best)}",
        f"* The best rate by validation accuracy is {best_rate_en(best)}.",
        f"* Weighing accuracy against cost, the best learning rate is {trade_off_en(best)}",
    ]
    if disagree := disagreement_en(found):
        lines.append(f"* {disagree}")
    lines.append(f"* Where learning starts and ends: {edges_en(found)}.")
    if low := found.very_small:
        lines.append(_no_learning_en(low))
    low, slow = explained(found)
    if low or slow:
        lines += ["", "### 5-3. Why", ""]
    if low:
        at_once = _of_them(low.num_stopped_at_once, low.num_out_of_patience)
        lines.append(
            "* The document says that training below 1e-5 ends because validation accuracy does not improve for 5 epochs. Early "
            f"stopping ended {_share(low.num_out_of_patience, low.num_runs)} there; {at_once} never improved on their first "
            f"epoch, as the document describes. {low.num_learned} had learned before they ended."
        )
    if slow:
        reference = "the good rates" if len(found.best.good) else "the best rate"
        lines.append(
            f"* From 1e-5 to 1e-4, training takes {times(slow.epochs_ratio)} times the epochs of {reference} (medians) and ends "
            f"{_points_en(slow.test_shortfall)} in test accuracy (means)."
        )
        still_improving = _of_them(slow.num_still_improving, slow.num_out_of_patience)
        lines.append(
            "* The document supposes that patience runs out there during slow progress. Early stopping ended "
            f"{_share(slow.num_out_of_patience, slow.num_runs)}; in {still_improving} the validation loss reached a new minimum "
            "after the best epoch." + (" So they were still learning when they ended." if slow.num_still_improving else "")
        )
    return "\n".join(lines) + "\n"


def explained(found: Findings) -> tuple[VerySmall | None, Small | None]:
    """The runs that section 5-3 explains: without early stopping, there is nothing to explain."""
    low, slow = found.very_small, found.small
    return low if low and low.num_out_of_patience else None, slow if slow and slow.num_out_of_patience else None


def _rest_en(found: Findings) -> str:
    if found.headline is found.best:
        return ""
    why = ", and section 5-3," if any(explained(found)) else ""
    return f" Where learning starts and ends{why} are from the study's own {seeds_text(found.best.num_seeds)}."


def evidence_en(found: Findings) -> str:
    """The seeds that the answers are based on, and the kind of their intervals."""
    best = found.headline
    seeds = seeds_text(best.num_seeds)
    if found.headline is not found.best:
        fresh = counted(best.num_seeds, "fresh seed")
        seeds = f"{fresh}, which were not used to choose the {len(best.rows)} rates that ran on them"
    if not best.has_intervals:
        return seeds
    return f"{seeds}; the 95% intervals are paired by seed and hold for all {len(best.rows)} rates at once"


def caution_en(found: Findings) -> str:
    """A warning with the doubts about the answers; empty if there are none."""
    tried = "was tried" if found.headline is found.best else "ran on fresh seeds"
    doubts = [DOUBTS_EN[doubt].format(tried=tried) for doubt in found.headline.doubts]
    return f"**With care: {'; '.join(doubts)}.**" if doubts else ""


def good_rates_en(best: Best) -> str:
    num_good = len(best.good)
    loses_less = f"to lose less than {best.delta * 100:g} percentage points of test accuracy against the best rate"
    if num_good:
        return f"{stretches_text(best.stretches('good'))}: {_good_of_en(best)}, shown {loses_less}{_undecided_en(best)}"
    if not best.rows["num_learned"].any():
        return "none, because no run learned"
    if len(best.rows) == 1:
        return "not known, because only one rate has a finished run"
    return f"**none** is shown yet {loses_less}{_undecided_en(best)}{_needed_en(best)}"


def _range_en(best: Best) -> str:
    num_good = len(best.good)
    if not num_good:
        return f"The range of the highest accuracy is not known. Good rates: {good_rates_en(best)}."
    subject = f"{'Each of these ' if num_good > 1 else 'This '}{_good_of_en(best)}"
    so_far = f", as far as {best.num_seeds} seeds can show" if len(best.undecided) else ""
    return (
        f"The accuracy is highest for learning rates "
        f"**{stretches_text(best.stretches('good'))}**{so_far}. {subject} is shown to lose "
        f"less than {best.delta * 100:g} percentage points of test accuracy against the best rate; test accuracy "
        f"{percents(best.good['test_mean'])}{_undecided_en(best)}."
    )


def _good_of_en(best: Best) -> str:
    """How many rates are good. For fresh seeds, also how many rates ran on them."""
    num_good = "one rate" if len(best.good) == 1 else f"{len(best.good)} rates"
    return num_good if len(best.rows) == len(best.tried) else f"{num_good} of the {len(best.rows)} that ran on fresh seeds"


def _undecided_en(best: Best) -> str:
    num_undecided, num_worse = len(best.undecided), int((best.rows["verdict"] == "worse").sum())
    worse = f"; the other {num_worse} {'is' if num_worse == 1 else 'are'} worse" if num_worse else ""
    if not num_undecided:
        return worse
    return f". Undecided: {counted(num_undecided, 'rate')}, {stretches_text(best.stretches('undecided'))}{worse}"


def _needed_en(best: Best) -> str:
    if best.seeds_needed is None:
        return ""
    return f". About {best.seeds_needed} seeds would probably show which rates are good"


def best_rate_en(best: Best) -> str:
    row = best.best
    if not best.rows["num_learned"].any():
        return "not known, because no run learned"
    lr = f"**{lr_text(row['lr'])}**" if best.good.empty else lr_text(row["lr"])
    accuracy = f"{percent(row['test_mean'])}{interval(row['test_low'], min(row['test_high'], 1))}"
    text = f"{lr}: test accuracy {accuracy}"
    if row["verdict"] == "good" or math.isnan(row["shortfall_high"]):
        return text
    return f"{text}; it may lose {points(row['shortfall_low'])} to {points(row['shortfall_high'])} percentage points (95%)"


def trade_off_en(best: Best) -> str:
    chosen = best.trade_off
    if chosen is None:
        return "not known, because no rate is shown to be good."
    epochs = f"{chosen.row['epochs_mean']:.1f} epochs{interval(chosen.row['epochs_low'], chosen.row['epochs_high'], form='.1f')}"
    lr = f"**{lr_text(chosen.row['lr'])}**"
    if chosen.row["lr"] == best.best["lr"]:
        why = "the only good one" if len(best.good) == 1 else "because no good rate trains for fewer epochs"
        return f"{lr}, the best rate itself, {why}: {epochs}. {_seconds_en(best, chosen)}"
    fewer = ""
    if chosen.saved > 0:
        saved = interval(chosen.saved_low, chosen.saved_high, form=".0%")
        fewer = f", {chosen.saved:.0%} fewer than at the best rate{saved}"
    why = "the good rate with the fewest epochs"
    if best.good_cost_the_same:
        why = "of the good rates, which all take as many epochs, the one with the highest validation accuracy"
    return f"{lr}, {why}: {epochs}{fewer}. {_seconds_en(best, chosen)}"


def _seconds_en(best: Best, trade_off: TradeOff) -> str:
    if best.fastest is None:
        return "The time is not known: no good rate has three runs that had the machine to themselves."
    row = best.fastest.row
    subject = "It takes" if row["lr"] == trade_off.row["lr"] else f"The least time is at {lr_text(row['lr'])}:"
    return (
        f"{subject} {seconds_text(row['seconds_mean'])} s (95%: {seconds_text(row['seconds_low'])} to "
        f"{seconds_text(row['seconds_high'])}; timed on {row['num_timed']} of {row['num_measured']} runs, those that had the "
        "machine to themselves)."
    )


def disagreement_en(found: Findings) -> str:
    """How the fresh seeds contradict the study, in one sentence; empty if they do not."""
    contradiction = None if found.headline is found.best else disagreement(found.best, found.headline)
    if contradiction is None:
        return ""
    return (
        f"The study's own {seeds_text(found.best.num_seeds)} said otherwise: {', and '.join(_disagreements_en(contradiction))}."
    )


def _disagreements_en(found: Disagreement) -> list[str]:
    parts = []
    if (row := found.worse_best) is not None:
        loss = f"{points(row['shortfall'])} percentage points{points_interval(row['shortfall_low'], row['shortfall_high'])}"
        where = f", where it loses {loss}" if row["shortfall"] >= 0 else ""  # a diverged run makes a rate worse, too
        parts.append(f"their best rate, {lr_text(row['lr'])}, is worse on the fresh seeds{where}")
    if found.no_longer_good:
        parts.append(f"they called {listed(found.no_longer_good)} good, which the fresh seeds show to be worse")
    if found.good_after_all:
        parts.append(f"they called {listed(found.good_after_all)} worse, which the fresh seeds show to be good")
    return parts


def edges_en(found: Findings) -> str:
    rows, edges = found.best.rows, found.edges
    if not rows["num_kept_learning"].any():
        return "nowhere, because " + ("all runs that learned diverged later" if rows["num_learned"].any() else "no run learned")
    first, last = rows.iloc[0], rows.iloc[-1]
    if edges == Edges(None, None) and all(2 * row["num_kept_learning"] > row["num_measured"] for row in (first, last)):
        return f"beyond the rates tried, {rates_text(first['lr'], last['lr'])}"
    start = _edge_en(edges.start, "below", "lowest", first)
    end = _edge_en(edges.end, "above", "highest", last)
    return f"by estimate, at least half of all seeds learn between {start} and {end}"


def _edge_en(edge: Edge | None, beyond: str, outermost: str, row: pd.Series) -> str:
    if edge is not None and edge.num_seeds > 1:
        return (
            f"{decimal_rate(edge.lr)} (95%: {decimal_rate(edge.low)} to {decimal_rate(edge.high)}; {seeds_text(edge.num_seeds)})"
        )
    if edge is not None:
        return f"{decimal_rate(edge.lr)} (one seed)"
    if 2 * row["num_kept_learning"] > row["num_measured"]:
        return f"a rate {beyond} {decimal_rate(row['lr'])} (the {outermost} tried)"
    if row["num_kept_learning"]:
        learned = f"{row['num_kept_learning']} of {counted(row['num_measured'], 'run')} learned at {decimal_rate(row['lr'])}"
        return f"a rate that is not known ({learned}, the {outermost} tried)"
    return "a rate that is not known, because no seed has a run at every rate"


def _no_learning_en(low: VerySmall) -> str:
    top = percent(low.highest_test_accuracy)
    if low.learned_from is None:
        best = "" if math.isnan(low.highest_test_accuracy) else f" (test accuracy at most {top})"
        none = "the one run there did not learn" if low.num_runs == 1 else f"none of the {low.num_runs} runs there learned"
        return f"* The document says that nothing is learned below 1e-5, and {none}{best}."
    return (
        f"* The document says that nothing is learned below 1e-5. But {_share(low.num_learned, low.num_runs)} there learned, "
        f"from {lr_text(low.learned_from)} on; the best of them reaches {top} on the test set."
    )


def _share(count: int, total: int) -> str:
    if count == total == 1:
        return "the one run"
    return f"all {counted(total, 'run')}" if count == total else f"{count} of {counted(total, 'run')}"


def _of_them(count: int, total: int) -> str:
    return "all of them" if count == total and count > 1 else f"{count} of them"


def _points_en(shortfall: float) -> str:
    if math.isnan(shortfall):
        return "at a distance that was not measured"
    return f"{points(shortfall)} percentage points {'lower' if shortfall > 0 else 'higher'}"
