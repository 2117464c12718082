"""The documents' sections 5-2 and 5-3, filled in, in English. All numbers come from analysis/."""

import math

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.confirmation import Confirmation
from lrsweep.analysis.explanations import VerySmall
from lrsweep.analysis.findings import SAVING_FROM, Findings
from lrsweep.analysis.plateau import LEVEL, MIN_SEEDS, Doubt
from lrsweep.report.texts.wording import (
    TIMES_EN,
    counted,
    escaped,
    interval,
    lr_text,
    percent,
    percents,
    points,
    rates_text,
    seconds_text,
    seeds_text,
    times,
)

DOUBTS_EN: dict[Doubt, str] = {
    "no_rate_dependable": "no rate learned on every seed",
    "at_lower_end": "the range begins at the lowest rate that was tried",
    "at_upper_end": "the range ends at the highest rate that was tried",
    "runs_missing": "runs are missing",
    "few_seeds": f"{MIN_SEEDS} seeds at least are needed to test it",
}


def certainty_en(best: Best) -> str:
    """How certain the best range is, and why."""
    doubts = best.plateau.doubts
    if not doubts:
        return "conclusive"
    level = "indicative only" if doubts == ("few_seeds",) else "inconclusive"
    return f"{level}: {', '.join(DOUBTS_EN[doubt] for doubt in doubts)}"


def conclusions_en(found: Findings) -> str:
    best = found.best
    time = TIMES_EN[best.best["time"]]
    from_to = f"from {rates_text(best.low, best.high)}" if best.low < best.high else lr_text(best.low)
    doubts = "" if best.is_conclusive else f" **This is {certainty_en(best)}.**"
    lines = [
        "### 5-2. Results",
        "",
        f"Every conclusion here is from {seeds_text(best.num_seeds)} ({escaped(best.arm)}).",
        "",
        f"* The accuracy is highest for learning rates **{from_to}**: "
        f"test accuracy {percents(best.rows['test_mean'])}. "
        f"The highest validation accuracy, {percent(best.best['valid_mean'])}, is at {lr_text(best.best['lr'])}; "
        f"{_range_en(best)}{doubts}",
        f"* Weighing accuracy against time, the best learning rate is **{lr_text(best.trade_off['lr'])}**, the fastest of that "
        f"range within {points(best.delta)} percentage points of the best: test accuracy "
        f"{percent(best.trade_off['test_mean'])} in "
        f"{seconds_text(best.trade_off['seconds_median'])} s of {time} ({best.trade_off['epochs_median']:.0f} epochs)."
        + _saving_en(best)
        + _knee_en(best),
    ]
    if fresh := found.confirmation:
        lines.append(_confirmed_en(best, fresh))
    if low := found.very_small:
        lines.append(_no_learning_en(low))
    if found.very_small or found.small:
        lines += ["", "### 5-3. Why", ""]
    if low := found.very_small:
        lines.append(
            f"* Below 1e-5 the document's reason is that validation sets no record for 5 epochs. All in all "
            f"{low.num_out_of_patience} of {low.num_runs} runs ended by patience; {low.num_stopped_at_once} did so without ever "
            f"improving on their first epoch, as it describes. {low.num_learned} learned before they ended."
        )
    if slow := found.small:
        lines.append(
            f"* From 1e-5 to 1e-4 (where outside the best range) training takes {times(slow.time_ratio)} times the best range's "
            f"{time} and {times(slow.epochs_ratio)} times its epochs (medians), and ends "
            f"{_points_en(slow.test_shortfall)} in test accuracy (means)."
        )
        lines.append(
            f"* The document supposes that records come too rarely there for the patience. {slow.num_out_of_patience} of "
            f"{slow.num_runs} runs were ended by patience, {slow.num_still_improving} of them while their validation loss was "
            f"still setting records: {_share_en(slow.num_still_improving, slow.num_runs)}."
        )
    return "\n".join(lines) + "\n"


def _saving_en(best: Best) -> str:
    if best.trade_off["lr"] == best.best["lr"]:
        alone = best.num_near == 1
        return " It is the rate of the highest validation accuracy" + (
            ", and no other of the range is that near to it: time had nothing to decide." if alone else " as well."
        )
    if best.time_saved < SAVING_FROM:
        return " The rate of the highest validation accuracy takes about as long."
    return f" That is {percent(best.time_saved)} less time than the rate of the highest validation accuracy takes."


def _range_en(best: Best) -> str:
    rates = counted(len(best.rows), "rate")
    if best.plateau.is_tested:
        return (
            f"the range holds it and its neighbours that are not significantly worse, {rates} over "
            f"{best.plateau.num_decades:.1f} decades (paired by seed, corrected for all comparisons, level {LEVEL:.0%})."
        )
    standard_error = points(best.plateau.standard_error)
    return f"the range holds it and its neighbours within one standard error ({standard_error} percentage points): {rates}."


def _knee_en(best: Best) -> str:
    if best.is_knee_in_range is None:
        return " The curve of accuracy against time has no knee to check this by."
    if best.is_knee_in_range:
        return f" Kneedle agrees: it finds the knee of accuracy against time inside the range, at {lr_text(best.knee_lr or 0)}."
    return (
        f" Kneedle disagrees: it finds the knee of accuracy against time at {lr_text(best.knee_lr or 0)}, outside the range, "
        "because it weighs time as much as accuracy."
    )


def _confirmed_en(best: Best, fresh: Confirmation) -> str:
    optimism = float(fresh.best["optimism"])
    text = (
        f"* On {seeds_text(fresh.num_seeds)} that chose nothing, {lr_text(fresh.best['lr'])} reaches "
        f"{percent(fresh.best['test_mean'])}{interval(fresh.best['test_low'], fresh.best['test_high'])} on the test set. Its "
        f"validation accuracy there is {points(optimism)} percentage points {'lower' if optimism >= 0 else 'higher'} than in the "
        f"study that picked it.{_winner_en(fresh)}"
    )
    if fresh.trade_off["lr"] == fresh.best["lr"]:
        return text
    return text + (
        f" {lr_text(fresh.trade_off['lr'])} reaches {percent(fresh.trade_off['test_mean'])}"
        f"{interval(fresh.trade_off['test_low'], fresh.trade_off['test_high'])}, {points(fresh.cost)} percentage points "
        f"{'less' if fresh.cost >= 0 else 'more'}{_between(fresh.cost_low, fresh.cost_high)}."
    )


def _winner_en(fresh: Confirmation) -> str:
    """Whether the best rate of the study is also the best finalist on fresh seeds."""
    if len(fresh.rows) == 1:
        return ""
    accuracy, num = percent(fresh.winner["valid_mean"]), len(fresh.rows)
    if fresh.winner["lr"] == fresh.best["lr"]:
        return f" It has the highest validation accuracy of the {num} finalists there as well, {accuracy}."
    return (
        f" There {lr_text(fresh.winner['lr'])} has the highest validation accuracy of the {num} finalists, {accuracy} to its "
        f"{percent(fresh.best['valid_mean'])}: which rate of the range is the best is not settled."
    )


def _between(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" (best less bargain, 95%: {low * 100:+.2f} to {high * 100:+.2f})"


def _no_learning_en(low: VerySmall) -> str:
    top = percent(low.highest_test_accuracy)
    if low.learned_from is None:
        return f"* Below 1e-5 nothing is learned: **true** of all {low.num_runs} runs; none leaves chance (test at most {top})."
    return (
        f"* Below 1e-5 nothing is learned: **true of {low.num_runs - low.num_learned} of {low.num_runs} runs only**. "
        f"The smallest rate at which a run leaves chance level is {lr_text(low.learned_from)}; the best run below 1e-5 reaches "
        f"{top} on the test set."
    )


def _share_en(count: int, total: int) -> str:
    if count == total:
        return "every run is consistent with it"
    return f"{'most runs are' if 2 * count > total else 'some runs only are' if count else 'no run is'} consistent with it"


def _points_en(shortfall: float) -> str:
    if math.isnan(shortfall):
        return "at a distance that was not measured"
    return f"{points(shortfall)} percentage points {'lower' if shortfall > 0 else 'higher'}"
