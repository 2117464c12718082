"""The documents' sections 5-2 and 5-3, filled in, in Korean. All numbers come from analysis/."""

import math

import pandas as pd

from lrsweep.analysis.best_rate import Best, Doubt, TradeOff
from lrsweep.analysis.confirmation import Disagreement, disagreement
from lrsweep.analysis.edges import Edge, Edges
from lrsweep.analysis.explanations import VerySmall
from lrsweep.analysis.findings import Findings
from lrsweep.analysis.rates import decimal_rate
from lrsweep.analysis.shortfall import MIN_SEEDS
from lrsweep.report.texts.conclusions_en import explained
from lrsweep.report.texts.language import all_of_them
from lrsweep.report.texts.wording import (
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
    stretches_text,
    times,
)

DOUBTS_KO: dict[Doubt, str] = {
    "no_rate_dependable": "모든 시드에서 학습된 학습률이 없다",
    "at_lower_end": "가장 좋은 학습률이 {tried} 범위의 아래쪽 끝에 있다",
    "at_upper_end": "가장 좋은 학습률이 {tried} 범위의 위쪽 끝에 있다",
    "runs_missing": "빠진 실행이 있다",
    "few_seeds": f"시드가 {MIN_SEEDS}개보다 적으면 차이를 확인할 수 없다",
    "cut_short": "대부분의 실행이 조기 종료되기 전에 epoch 한도에 이르렀다",
}


def conclusions_ko(found: Findings) -> str:
    best = found.headline
    lines = [
        *(["### 5-2. 실험 결과", ""] if found.is_documents else []),
        f"아래의 결론({escaped(best.arm)})은 {_evidence(found)}.{_rest(found)} {caution_ko(found)}".rstrip(),
        "",
        f"* {_range(best)}",
        f"* {_best_rate(best)}",
        f"* 성능 (정확도) 과 비용의 trade-off 를 고려할 때, {_trade_off(best)}",
    ]
    if found.headline is not found.best and (contradiction := disagreement(found.best, found.headline)):
        lines.append(f"* 본 실험의 시드 {found.best.num_seeds}개에서는 결과가 달랐다. {' '.join(_disagreements(contradiction))}")
    lines.append(f"* {_edges(found)}")
    if low := found.very_small:
        lines.append(_no_learning(low))
    low, slow = explained(found)
    if low or slow:
        lines += ["", "### 5-3. 실험 결과에 대한 이유 분석", ""]
    if low:
        lines.append(
            "* 문서는 1e-5 미만에서는 5 epoch 동안 검증 성능이 나아지지 않아서 학습이 종료된다고 설명한다. 실제로 이 범위에서는 "
            f"{_share(low.num_out_of_patience, low.num_runs)} 조기 종료되었다. 그중 문서의 설명대로 첫 epoch의 성능을 한 번도 넘지 못한 "
            f"실행은 {low.num_stopped_at_once}회이다. 학습된 뒤에 끝난 실행은 {low.num_learned}회이다."
        )
    if slow:
        reference = "좋은 학습률" if len(found.best.good) else "가장 좋은 학습률"
        lines.append(
            f"* 1e-5 ~ 1e-4에서는 {reference}에 비해 epoch 수가 {times(slow.epochs_ratio)}배이고 (중앙값), 테스트 정확도는 "
            f"{_points(slow.test_shortfall)} (평균)."
        )
        improving = f"그중 {slow.num_still_improving}회는"
        if slow.num_still_improving == slow.num_out_of_patience > 1:
            improving = f"그 {slow.num_still_improving}회 모두"
        lines.append(
            "* 문서는 이 범위의 정확도가 낮은 것이, 정확도가 느리게 올라 최고 기록을 제때 갱신하지 못하기 때문이라고 추정한다. 실제로 "
            f"{_share(slow.num_out_of_patience, slow.num_runs)} 조기 종료되었다. {improving} 정확도가 가장 높았던 "
            "epoch 뒤에도 검증 손실이 최저값을 갱신했다."
            + (" 즉, 종료될 때에도 학습이 진행되고 있었다." if slow.num_still_improving else "")
        )
    return "\n".join(lines) + "\n"


def _rest(found: Findings) -> str:
    if found.headline is found.best:
        return ""
    edges = "경계와 5-3은" if any(explained(found)) else "경계는"
    return f" 다만 학습이 되고 안 되는 {edges} 본 실험의 시드 {found.best.num_seeds}개로 얻은 것이다."


def _evidence(found: Findings) -> str:
    best = found.headline
    seeds = f"시드 {best.num_seeds}개로 얻은 것이다"
    if found.headline is not found.best:
        seeds = (
            f"학습률을 고르는 데 쓰지 않은 새 시드 {best.num_seeds}개로, 학습률 {len(best.rows)}개를 다시 실험하여 얻은 것이다"
        )
    if not best.has_intervals:
        return seeds
    return f"{seeds}. 구간은 시드별로 짝지어 비교한 95% 구간이며, 학습률 {len(best.rows)}개에 동시에 성립한다"


def caution_ko(found: Findings) -> str:
    tried = "실험한" if found.headline is found.best else "새 시드로 다시 실험한"
    doubts = [DOUBTS_KO[doubt].format(tried=tried) for doubt in found.headline.doubts]
    return f"**주의: {'. '.join(doubts)}.**" if doubts else ""


def good_rates_ko(best: Best) -> str:
    """Like `good_rates_en`, without a full stop."""
    if len(best.good):
        rates = stretches_text(best.stretches("good"))
        return f"{rates} ({len(best.good)}개). 테스트 정확도 손실이 {best.delta * 100:g}%p 미만임이 확인되었다.{_undecided(best)}".rstrip(
            "."
        )
    if not best.rows["num_learned"].any():
        return "없음 (학습된 실행이 없다)"
    if len(best.rows) == 1:
        return "알 수 없음 (학습률 하나에서만 실행이 끝났다)"
    none = f"**없음**. 테스트 정확도 손실이 {best.delta * 100:g}%p 미만임이 확인된 학습률이 아직 없다."
    return f"{none}{_undecided(best)}{_needed(best)}".rstrip(".")


def _range(best: Best) -> str:
    num_good = len(best.good)
    margin = f"{best.delta * 100:g}%p"
    if num_good:
        of_tried = "" if len(best.rows) == len(best.tried) else f"새 시드로 다시 실험한 {len(best.rows)}개 가운데 "
        subject = f"{of_tried}이 구간의 학습률 {num_good}개는 모두" if num_good > 1 else f"{of_tried}이 학습률은"
        return (
            f"{f'시드 {best.num_seeds}개로 확인된 범위에서, ' if len(best.undecided) else ''}"
            f"정확도가 가장 높은 학습률 구간은 **{stretches_text(best.stretches('good'))}이다**. {subject} 가장 좋은 학습률과의 "
            f"테스트 정확도 차이가 {margin} 미만임이 확인되었다. 테스트 정확도는 {percents(best.good['test_mean'])}이다."
            f"{_undecided(best)}"
        )
    if not best.rows["num_learned"].any():
        return "정확도가 가장 높은 학습률 구간은 알 수 없다. 학습된 실행이 없다."
    if len(best.rows) == 1:
        return "정확도가 가장 높은 학습률 구간은 알 수 없다. 학습률 하나에서만 실행이 끝났다."
    return (
        f"정확도가 가장 높은 학습률 구간은 아직 알 수 없다. 가장 좋은 학습률과의 테스트 정확도 차이가 {margin} 미만임이 확인된 학습률이 없다."
        f"{_undecided(best)}{_needed(best)}"
    )


def _undecided(best: Best) -> str:
    num_undecided, num_worse = len(best.undecided), int((best.rows["verdict"] == "worse").sum())
    worse = f" 나머지 {num_worse}개는 나쁜 학습률이다." if num_worse else ""
    if not num_undecided:
        return worse
    rates = stretches_text(best.stretches("undecided"))
    return f" 아직 판단할 수 없는 학습률은 {num_undecided}개이다 ({rates}).{worse}"


def _needed(best: Best) -> str:
    if best.seeds_needed is None:
        return ""
    return f" 어느 학습률이 좋은지 가려내려면 시드가 약 {best.seeds_needed}개 필요할 것으로 보인다."


def _best_rate(best: Best) -> str:
    row = best.best
    if not best.rows["num_learned"].any():
        return "검증 정확도가 가장 높은 학습률은 알 수 없다. 학습된 실행이 없다."
    mark = "**" if best.good.empty else ""
    text = (
        f"검증 정확도가 가장 높은 학습률은 {mark}{lr_text(row['lr'])}이다{mark}. 테스트 정확도는 "
        f"{percent(row['test_mean'])}{interval(row['test_low'], min(row['test_high'], 1))}이다."
    )
    if row["verdict"] == "good" or math.isnan(row["shortfall_high"]):
        return text
    return f"{text} 최선보다 {points(row['shortfall_low'])} ~ {points(row['shortfall_high'])}%p 낮을 수 있다 (95%)."


def _trade_off(best: Best) -> str:
    chosen = best.trade_off
    if chosen is None:
        return "최적의 학습률은 아직 알 수 없다. 좋다고 확인된 학습률이 없기 때문이다."
    lr = f"최적의 학습률은 **{lr_text(chosen.row['lr'])}이다**."
    epochs = f"평균 {chosen.row['epochs_mean']:.1f} epoch이다{interval(chosen.row['epochs_low'], chosen.row['epochs_high'], form='.1f')}"
    if chosen.row["lr"] == best.best["lr"]:
        why = "좋다고 확인된 유일한 값이다. epoch 수는" if len(best.good) == 1 else "epoch 수도 좋은 학습률 가운데 가장 적어"
        return f"{lr} 검증 정확도가 가장 높은 바로 그 학습률이며, {why} {epochs}. {_seconds(best, chosen)}"
    fewer = ""
    if chosen.saved > 0:
        saved = interval(chosen.saved_low, chosen.saved_high, form=".0%")
        fewer = f" 검증 정확도가 가장 높은 학습률보다 {chosen.saved:.0%} 적다{saved}."
    why = "좋은 학습률 가운데 epoch 수가 가장 적어"
    if best.good_cost_the_same:
        why = "좋은 학습률의 epoch 수는 모두 같고, 그 가운데 검증 정확도가 가장 높다. epoch 수는"
    return f"{lr} {why} {epochs}.{fewer} {_seconds(best, chosen)}"


def _seconds(best: Best, trade_off: TradeOff) -> str:
    if best.fastest is None:
        return "시간은 알 수 없다. 다른 작업의 방해를 받지 않은 실행이 세 번 이상인 좋은 학습률이 없다."
    row = best.fastest.row
    subject = (
        "수행 시간은" if row["lr"] == trade_off.row["lr"] else f"좋은 학습률 가운데 {lr_text(row['lr'])}의 수행 시간이 가장 짧아"
    )
    return all_of_them(
        f"{subject} {seconds_text(row['seconds_mean'])}초이다"
        f" (95%: {seconds_text(row['seconds_low'])} ~ {seconds_text(row['seconds_high'])}). 다른 작업의 "
        f"방해를 받지 않은 실행만 잰 값이다 ({row['num_measured']}회 중 {row['num_timed']}회)."
    )


def _disagreements(found: Disagreement) -> list[str]:
    parts = []
    if (row := found.worse_best) is not None:
        loss = f"{points(row['shortfall'])}%p 낮아{points_interval(row['shortfall_low'], row['shortfall_high'])}"
        how = f"정확도가 최선보다 {loss} " if row["shortfall"] >= 0 else ""
        parts.append(f"그 시드로 고른 최고의 학습률 {lr_text(row['lr'])}은 새 시드에서 {how}나쁜 것으로 확인되었다.")
    if found.no_longer_good:
        parts.append(f"그 시드에서는 좋았으나 새 시드에서 나쁜 것으로 확인된 학습률은 {listed(found.no_longer_good)}이다.")
    if found.good_after_all:
        parts.append(f"그 시드에서는 나빴으나 새 시드에서 좋은 것으로 확인된 학습률은 {listed(found.good_after_all)}이다.")
    return parts


def _edges(found: Findings) -> str:
    rows, edges = found.best.rows, found.edges
    if not rows["num_kept_learning"].any():
        why = "학습된 실행은 모두 나중에 발산했다." if rows["num_learned"].any() else "학습된 실행이 없다."
        return f"학습이 되고 안 되는 경계는 알 수 없다. {why}"
    first, last = rows.iloc[0], rows.iloc[-1]
    if edges == Edges(None, None) and all(2 * row["num_kept_learning"] > row["num_measured"] for row in (first, last)):
        return f"학습이 되고 안 되는 경계는 실험한 범위 ({rates_text(first['lr'], last['lr'])}) 밖에 있다."
    start = _edge(edges.start, "작은", "작다", first)
    end = _edge(edges.end, "큰", "크다", last)
    text = "학습이 되고 안 되는 경계에서는 전체 시드의 절반이 학습되는 것으로 추정된다."
    return f"{text} 아래쪽 경계는 {start}. 위쪽 경계는 {end}."


def _edge(edge: Edge | None, outermost: str, beyond: str, row: pd.Series) -> str:
    if edge is not None and edge.num_seeds > 1:
        return f"{decimal_rate(edge.lr)}이다 (95%: {decimal_rate(edge.low)} ~ {decimal_rate(edge.high)}, 시드 {edge.num_seeds}개)"
    if edge is not None:
        return f"{decimal_rate(edge.lr)}이다 (시드 1개)"
    if 2 * row["num_kept_learning"] > row["num_measured"]:
        return f"실험한 가장 {outermost} 학습률보다 {beyond} ({decimal_rate(row['lr'])})"
    if row["num_kept_learning"]:
        learned = f"실행 {row['num_measured']}회 중 {row['num_kept_learning']}회가 학습되었기 때문이다"
        return f"알 수 없다. 실험한 가장 {outermost} 학습률({decimal_rate(row['lr'])})에서도 {learned}"
    return "알 수 없다 (모든 학습률을 실행한 시드가 없다)"


def _no_learning(low: VerySmall) -> str:
    top = percent(low.highest_test_accuracy)
    claim = "* 문서는 학습률이 1e-5 미만이면 학습이 전혀 진행되지 않는다고 한다."
    if low.learned_from is None:
        best = "" if math.isnan(low.highest_test_accuracy) else f" (테스트 정확도 최고 {top})"
        runs = "실행 1회는" if low.num_runs == 1 else f"{low.num_runs}회 모두"
        return f"{claim} 실제로 {runs} 학습되지 않았다{best}."
    return all_of_them(
        f"{claim} 그러나 이 범위의 실행 {low.num_runs}회 중 {low.num_learned}회가 학습되었다. 학습된 실행의 학습률은 모두 "
        f"{lr_text(low.learned_from)} 이상이며, 가장 높은 테스트 정확도는 {top}이다."
    )


def _share(count: int, total: int) -> str:
    return all_of_them(f"{total}회 중 {count}회가")


def _points(shortfall: float) -> str:
    if math.isnan(shortfall):
        return "측정되지 않았다"
    return f"{points(shortfall)}%p {'낮다' if shortfall > 0 else '높다'}"
