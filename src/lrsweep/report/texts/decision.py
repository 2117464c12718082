"""The decision in four lines, in English and Korean: which rate, what other rates cost, how sure, how long.

The report and the READMEs open with it. Each function returns four pairs of a question and its answer.
"""

import math

import numpy as np
import pandas as pd

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.confirmation import disagreement
from lrsweep.analysis.edges import Edges
from lrsweep.analysis.findings import Findings
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.shortfall import Verdict
from lrsweep.report.texts.conclusions_en import caution_en, disagreement_en
from lrsweep.report.texts.conclusions_ko import caution_ko
from lrsweep.report.texts.language import is_korean
from lrsweep.report.texts.markdown_tables import shortfall_interval
from lrsweep.report.texts.wording import between, counted, percent, points, seconds_text, seeds_text, stretches_text

NEIGHBOUR = 0.5  # decades from the chosen rate to the neighbours whose loss is quoted


def decision(found: Findings) -> list[tuple[str, str]]:
    """In the report's language."""
    return decision_ko(found) if is_korean() else decision_en(found)


def decision_en(found: Findings) -> list[tuple[str, str]]:
    best = found.headline
    return [
        ("Which rate?", _rate_en(best)),
        ("What does a lower or higher rate cost?", _neighbours_en(best, found.edges)),
        ("How sure is this?", _certainty_en(found)),
        ("How long does a run take?", _time_en(chosen(best))),
    ]


def decision_ko(found: Findings) -> list[tuple[str, str]]:
    best = found.headline
    return [
        ("어떤 학습률이 좋은가?", _rate_ko(best)),
        ("더 작거나 큰 학습률을 쓰면 얼마나 손해인가?", _neighbours_ko(best, found.edges)),
        ("얼마나 확실한가?", _certainty_ko(found)),
        ("한 번 학습하는 데 얼마나 걸리는가?", _time_ko(chosen(best))),
    ]


def chosen(best: Best) -> pd.Series:
    """The good rate with the fewest epochs. If no rate is good: the rate with the highest validation accuracy."""
    return best.trade_off.row if best.trade_off else best.best


def _neighbours(best: Best) -> list[pd.Series]:
    """On each side of the chosen rate, the rate that is nearest to half a decade away."""
    decades = np.log10(best.rows["lr"] / chosen(best)["lr"])
    sides = ((decades[decades < 0], -NEIGHBOUR), (decades[decades > 0], NEIGHBOUR))
    nearest = [(side - target).abs().idxmin() for side, target in sides if len(side)]
    return [row for i, row in best.rows.iterrows() if i in nearest]


def _rate_en(best: Best) -> str:
    if not best.rows["num_learned"].any():
        return "No rate, because no run learned."
    lr = best.names[chosen(best)["lr"]]
    if best.trade_off is None:
        if len(best.rows) == 1:
            return f"Perhaps **{lr}**. No other rate has a finished run."
        needed = f" About {best.seeds_needed} seeds would probably show which rates are good." if best.seeds_needed else ""
        return (
            f"Perhaps **{lr}**. It has the highest validation accuracy, but no rate is shown yet to lose less than "
            f"{best.delta * 100:g} points of test accuracy.{needed}"
        )
    text = (
        f"Use **{lr}**: test accuracy {percent(chosen(best)['test_mean'])}. It is shown to lose less than {best.delta * 100:g} "
        "points of test accuracy, compared with the most accurate rate."
    )
    if len(best.good) > 1:
        rates, epochs = _rates(best, "good"), f"{best.trade_off.row['epochs_mean']:.1f}"
        if best.good_cost_the_same:
            text += f" This is shown for {len(best.good)} rates ({rates}), and all of them take {epochs} epochs; it has the "
            text += "highest validation accuracy of them."
        else:
            text += f" Of the {len(best.good)} rates for which this is shown ({rates}), it takes the fewest epochs, {epochs}"
            best_lr = best.names[best.best["lr"]]
            if _may_be_chance(best):
                text += f"; the difference from {best_lr}, the rate with the highest validation accuracy, may be chance"
            text += "."
        if (least := _loses_least(best))["lr"] != best.trade_off.row["lr"]:
            text += f" {best.names[least['lr']]} loses the least of them, and takes {least['epochs_mean']:.1f} epochs."
    if num := len(best.undecided):
        others = "Another rate," if num == 1 else f"{num} other rates,"
        rates = _rates(best, "undecided")
        text += f" {others} {rates}, may lose less or more than {best.delta * 100:g} points; more seeds would show."
    return text


def _rate_ko(best: Best) -> str:
    if not best.rows["num_learned"].any():
        return "고를 수 없다. 학습에 성공한 실행이 하나도 없다."
    lr = best.names[chosen(best)["lr"]]
    if best.trade_off is None:
        if len(best.rows) == 1:
            return f"아마 **{lr}**일 것이다. 다른 학습률에서는 끝난 실행이 없다."
        needed = f" 가려내려면 시드가 약 {best.seeds_needed}개 필요할 것으로 보인다." if best.seeds_needed else ""
        return (
            f"아마 **{lr}**일 것이다. 검증 정확도가 가장 높다. 다만 테스트 정확도 손실이 {best.delta * 100:g}%p 미만임이 확인된 "
            f"학습률은 아직 없다.{needed}"
        )
    text = (
        f"**{lr}** (테스트 정확도 {percent(chosen(best)['test_mean'])}). 정확도가 가장 높은 학습률에 비해 테스트 정확도 손실이 "
    )
    text += f"{best.delta * 100:g}%p 미만임이 확인되었다."
    if len(best.good) > 1:
        rates, epochs = _rates(best, "good"), f"{best.trade_off.row['epochs_mean']:.1f}"
        if best.good_cost_the_same:
            text += f" 이렇게 확인된 학습률은 {len(best.good)}개({rates})이고 epoch 수는 모두 {epochs}이다. "
            text += "이 학습률은 그 가운데 검증 정확도가 가장 높다."
        else:
            text += f" 이렇게 확인된 학습률 {len(best.good)}개({rates}) 가운데 epoch 수가 {epochs}로 가장 적다."
            if _may_be_chance(best):
                text += f" 다만 검증 정확도가 가장 높은 학습률({best.names[best.best['lr']]})과의 epoch 차이는 우연일 수 있다."
        if (least := _loses_least(best))["lr"] != best.trade_off.row["lr"]:
            text += f" 그중 손실이 가장 적은 학습률은 {best.names[least['lr']]}이고, epoch 수는 {least['epochs_mean']:.1f}이다."
    if num := len(best.undecided):
        rates = _rates(best, "undecided")
        text += f" 다른 학습률 {num}개({rates})는 손실이 {best.delta * 100:g}%p보다 큰지 작은지 아직 판단할 수 없다. "
        text += "시드를 늘리면 알 수 있다."
    return text


def _may_be_chance(best: Best) -> bool:
    """True unless the chosen rate is shown to take fewer epochs than the best rate."""
    return best.trade_off is not None and best.trade_off.row["lr"] != best.best["lr"] and not best.trade_off.saved_low > 0


def _loses_least(best: Best) -> pd.Series:
    return best.good.sort_values("shortfall").iloc[0]


def _rates(best: Best, verdict: Verdict) -> str:
    return stretches_text(best.stretches(verdict), best.names.__getitem__)


def _neighbours_en(best: Best, edges: Edges) -> str:
    parts = [_loss_en(best.names[row["lr"]], row) for row in _neighbours(best) if not math.isnan(row["shortfall"])]
    if outside := _outside(edges, "above {}", "below {}"):
        parts.append(f"By estimate, at least half of all seeds fail to learn {' and '.join(outside)}.")
    why = "no other rate has a finished run" if len(best.rows) == 1 else "no rate learned on every seed"
    return " ".join(parts) or f"Not known: {why}."


def _neighbours_ko(best: Best, edges: Edges) -> str:
    parts = [_loss_ko(best.names[row["lr"]], row) for row in _neighbours(best) if not math.isnan(row["shortfall"])]
    if outside := _outside(edges, "{}보다 클 때", "{}보다 작을 때"):
        parts.append(f"{'와 '.join(outside)}는 전체 시드의 절반 이상이 학습에 실패하는 것으로 추정된다.")
    why = "다른 학습률에서는 끝난 실행이 없다" if len(best.rows) == 1 else "모든 시드에서 학습된 학습률이 없다"
    return " ".join(parts) or f"알 수 없다. {why}."


def _loss_en(lr: str, row: pd.Series) -> str:
    size = points(row["shortfall"])
    if row["shortfall"] >= 0:
        return f"{lr} loses {size} points{shortfall_interval(row)}."
    num, total = row["num_diverged"], row["num_measured"]
    why = f"{num} of {total} runs diverged" if num else f"only {row['num_learned']} of {total} runs learned"
    return f"{lr} is {size} points more accurate on average, but {why if row['verdict'] == 'worse' else 'varies too much'}."


def _loss_ko(lr: str, row: pd.Series) -> str:
    size = points(row["shortfall"])
    if row["shortfall"] >= 0:
        return f"{lr}에서는 정확도를 {size}%p 잃는다{shortfall_interval(row)}."
    num, total = row["num_diverged"], row["num_measured"]
    why = f"실행 {total}회 중 {num}회가 발산했다" if num else f"실행 {total}회 중 {row['num_learned']}회만 학습되었다"
    why = why if row["verdict"] == "worse" else "시드별 차이가 너무 크다"
    return f"{lr}의 평균 정확도는 {size}%p 더 높지만, {why}."


def _outside(edges: Edges, above: str, below: str) -> list[str]:
    """Where at least half of all seeds fail to learn, by estimate."""
    sides = ((edges.end, above), (edges.start, below))
    return [text.format(decimal_rate(edge.lr)) for edge, text in sides if edge is not None]


def _at_best_rate(best: Best, fresh: Best) -> pd.Series:
    """What the fresh seeds say about the study's best rate."""
    row: pd.Series = fresh.rows[fresh.rows["lr"] == best.best["lr"]].iloc[0]
    return row


def _certainty_en(found: Findings) -> str:
    best = found.headline
    if found.headline is not found.best:
        text = f"{counted(best.num_seeds, 'fresh seed')}, which were not used to choose the rate"
    else:
        text = seeds_text(best.num_seeds).capitalize()
    if best.has_intervals:
        text += f". The 95% intervals of the losses hold for all {len(best.rows)} rates at once"
    if found.confirmation is not None and found.headline is found.best:
        row = _at_best_rate(found.best, found.confirmation)
        lr, num_unscored = best.names[row["lr"]], row["num_measured"] - row["num_scored"]
        text += f". On {counted(row['num_measured'], 'fresh seed')}, "
        if num_unscored:
            text += f"{counted(num_unscored, 'run')} at {lr} diverged before the first score"
            text += f", and the mean of the others is {percent(row['test_mean'])}" if row["num_scored"] else ""
        else:
            text += f"{lr} reaches {percent(row['test_mean'])}"
    if found.headline is not found.best and found.edges != Edges(None, None):
        text += f". Where learning fails was measured on the {seeds_text(found.best.num_seeds)} of the full sweep"
    return " ".join([f"{text}.", *filter(None, (disagreement_en(found), caution_en(found)))])


def _certainty_ko(found: Findings) -> str:
    best = found.headline
    if found.headline is not found.best:
        text = f"학습률을 고르는 데 쓰지 않은 새 시드 {best.num_seeds}개로 확인했다."
    else:
        text = f"시드 {best.num_seeds}개로 얻은 결과이다."
    if best.has_intervals:
        text += f" 정확도 손실의 95% 구간은 학습률 {len(best.rows)}개에 동시에 성립한다."
    if found.confirmation is not None and found.headline is found.best:
        row = _at_best_rate(found.best, found.confirmation)
        rate, accuracy = best.names[row["lr"]], percent(row["test_mean"])
        num_seeds, num_unscored = row["num_measured"], row["num_measured"] - row["num_scored"]
        if num_unscored:
            others = f"발산했고, 나머지의 평균 테스트 정확도는 {accuracy}였다." if row["num_scored"] else "발산했다."
            text += f" 새 시드 {num_seeds}개에서 {rate}의 실행 {num_unscored}회는 점수를 얻기 전에 {others}"
        else:
            text += f" 새 시드 {num_seeds}개에서 {rate}의 테스트 정확도는 {accuracy}였다."
    if found.headline is not found.best and found.edges != Edges(None, None):
        text += f" 학습에 실패하는 범위는 모든 학습률을 실험한 본 실험의 시드 {found.best.num_seeds}개로 구했다."
    if found.headline is not found.best and disagreement(found.best, found.headline):
        text += f" 본 실험의 시드 {found.best.num_seeds}개에서는 결과가 달랐다."
    return f"{text} {caution_ko(found)}".rstrip()


def _time_en(row: pd.Series) -> str:
    text = f"{counted(round(row['epochs_mean']), 'epoch')}{_epochs_interval(row)}"
    if row["num_timed"]:
        timed = counted(row["num_timed"], "run")
        text += f", or {seconds_text(row['seconds_mean'])} s if nothing else runs on the machine (timed on {timed})"
    return f"{text}."


def _time_ko(row: pd.Series) -> str:
    text = f"평균 {row['epochs_mean']:.0f} epoch{_epochs_interval(row)}"
    if row["num_timed"]:
        text += f", 컴퓨터에서 다른 작업을 하지 않을 때 {seconds_text(row['seconds_mean'])}초 ({row['num_timed']}회 측정)"
    return f"{text}."


def _epochs_interval(row: pd.Series) -> str:
    low, high = f"{row['epochs_low']:.0f}", f"{row['epochs_high']:.0f}"
    return "" if low == high else f" ({between(low, high)})"
