"""The documents' sections 5-2 and 5-3, filled in, in Korean. All numbers come from analysis/."""

import math

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.confirmation import Confirmation
from lrsweep.analysis.explanations import VerySmall
from lrsweep.analysis.findings import SAVING_FROM, Findings
from lrsweep.analysis.plateau import LEVEL, MIN_SEEDS, Doubt
from lrsweep.report.texts.wording import (
    TIMES_KO,
    escaped,
    interval,
    lr_text,
    percent,
    percents,
    points,
    rates_text,
    seconds_text,
    times,
)

DOUBTS_KO: dict[Doubt, str] = {
    "no_rate_dependable": "모든 시드에서 학습된 learning rate 가 없다",
    "at_lower_end": "구간이 실험한 가장 작은 learning rate 에서 시작한다",
    "at_upper_end": "구간이 실험한 가장 큰 learning rate 에서 끝난다",
    "runs_missing": "빠진 실행이 있다",
    "few_seeds": f"검정하려면 시드가 {MIN_SEEDS}개 이상 필요하다",
}


def _certainty_ko(best: Best) -> str:
    doubts = best.plateau.doubts
    level = "참고용이다" if doubts == ("few_seeds",) else "결론을 내리기 이르다"
    return f" **{level}**: {', '.join(DOUBTS_KO[doubt] for doubt in doubts)}." if doubts else ""


def conclusions_ko(found: Findings) -> str:
    best = found.best
    time = TIMES_KO[best.best["time"]]
    lines = [
        "### 5-2. 실험 결과",
        "",
        f"아래의 모든 결론은 시드 {best.num_seeds}개로 얻은 것이다 ({escaped(best.arm)}).",
        "",
        f"* 정확도가 가장 높은 learning rate 구간은 **{rates_text(best.low, best.high, '~')}** 이다. 이 구간의 test 정확도는 "
        f"{percents(best.rows['test_mean'], '~')} 이다. 가장 높은 validation 정확도 "
        f"{percent(best.best['valid_mean'])} 는 {lr_text(best.best['lr'])} 에서 나왔고, {_range_ko(best)}{_certainty_ko(best)}",
        f"* 성능 (정확도) 과 시간의 trade-off 를 고려할 때, 최적의 learning rate 는 **{lr_text(best.trade_off['lr'])}** 이다. 구간 안에서 최고 "
        f"정확도와의 차이가 {points(best.delta)}%p 이내인 값 중 가장 빠르며, 학습을 마치는 데 {time} {seconds_text(best.trade_off['seconds_median'])}초 "
        f"({best.trade_off['epochs_median']:.0f} epoch) 가 걸리고, test 정확도는 {percent(best.trade_off['test_mean'])} 이다."
        + _saving_ko(best)
        + _knee_ko(best),
    ]
    if fresh := found.confirmation:
        lines.append(_confirmed_ko(best, fresh))
    if low := found.very_small:
        lines.append(_no_learning_ko(low))
    if found.very_small or found.small:
        lines += ["", "### 5-3. 실험 결과에 대한 이유 분석", ""]
    if low := found.very_small:
        lines.append(
            f"* 1e-5 미만에 대해 문서가 든 이유는 5 epoch 동안 valid set 성능이 증가하지 않았다는 것이다. 전체 {low.num_runs}개 실행 중 "
            f"{low.num_out_of_patience}개가 early stopping 으로 끝났고, 문서의 설명대로 첫 epoch 의 성능을 한 번도 넘지 못한 실행은 "
            f"{low.num_stopped_at_once}개이다. {low.num_learned}개는 학습이 된 뒤에 끝났다."
        )
    if slow := found.small:
        lines.append(
            f"* 1e-5 ~ 1e-4 (최고 구간 밖) 에서는 최고 구간에 비해 {time}이 {times(slow.time_ratio)}배, epoch 수가 "
            f"{times(slow.epochs_ratio)}배이고 (중앙값), test 정확도는 {_points_ko(slow.test_shortfall)} (평균)."
        )
        lines.append(
            f"* 문서가 추정한 이유는 valid set 정확도가 5 epochs 동안 최고 기록을 갱신하지 않는 경우가 있다는 것이다. {slow.num_runs}개 실행 중 "
            f"{slow.num_out_of_patience}개가 early stopping 으로 끝났고, 그 가운데 {slow.num_still_improving}개는 그때까지도 validation loss 가 "
            f"최저 기록을 갱신하고 있었다. {_share_ko(slow.num_still_improving, slow.num_runs)}"
        )
    return "\n".join(lines) + "\n"


def _saving_ko(best: Best) -> str:
    if best.trade_off["lr"] == best.best["lr"]:
        alone = best.num_near == 1
        return " 이 learning rate 는 validation 정확도도 가장 높" + (
            "고, 구간 안에 그만큼 가까운 다른 값이 없어 시간은 선택에 영향을 주지 않았다." if alone else "다."
        )
    if best.time_saved < SAVING_FROM:
        return " validation 정확도가 가장 높은 learning rate 도 걸리는 시간은 비슷하다."
    return f" validation 정확도가 가장 높은 learning rate 보다 시간이 {percent(best.time_saved)} 적게 든다."


def _range_ko(best: Best) -> str:
    num_rates = len(best.rows)
    if best.plateau.is_tested:
        return (
            f"이 값과, 이어져 있으면서 유의하게 낮지 않은 이웃까지 모두 {num_rates}개 (로그 눈금으로 {best.plateau.num_decades:.1f} decade) 를 "
            f"이 구간으로 보았다 (시드별 대응 비교, 다중 비교 보정, 유의수준 {LEVEL:.0%})."
        )
    return (
        f"이 값과, 이어져 있으면서 그 차이가 표준오차({points(best.plateau.standard_error)}%p) 이내인 이웃까지 모두 {num_rates}개를 "
        "이 구간으로 보았다."
    )


def _knee_ko(best: Best) -> str:
    if best.is_knee_in_range is None:
        return " 정확도-시간 곡선에 꺾이는 점이 없어 Kneedle 로는 확인할 수 없다."
    if best.is_knee_in_range:
        return f" Kneedle 이 찾은 정확도-시간 곡선의 꺾이는 점도 이 구간 안의 {lr_text(best.knee_lr or 0)} 이다."
    return (
        f" Kneedle 이 찾은 정확도-시간 곡선의 꺾이는 점은 구간 밖의 {lr_text(best.knee_lr or 0)} 로, 이 결론과 다르다. 시간을 정확도와 "
        "같은 비중으로 보기 때문이다."
    )


def _confirmed_ko(best: Best, fresh: Confirmation) -> str:
    optimism = float(fresh.best["optimism"])
    text = (
        f"* 선택에 쓰지 않은 시드 {fresh.num_seeds}개로 다시 확인한 결과, {lr_text(fresh.best['lr'])} 의 test 정확도는 "
        f"{percent(fresh.best['test_mean'])}{interval(fresh.best['test_low'], fresh.best['test_high'], '~')} 이다. validation 정확도는 "
        f"이 값을 고른 실험보다 {points(optimism)}%p {'낮다' if optimism >= 0 else '높다'}.{_winner_ko(fresh)}"
    )
    if fresh.trade_off["lr"] == fresh.best["lr"]:
        return text
    return text + (
        f" {lr_text(fresh.trade_off['lr'])} 의 test 정확도는 {percent(fresh.trade_off['test_mean'])}"
        f"{interval(fresh.trade_off['test_low'], fresh.trade_off['test_high'], '~')} 로, {points(fresh.cost)}%p "
        f"{'낮다' if fresh.cost >= 0 else '높다'}{_between_ko(fresh.cost_low, fresh.cost_high)}."
    )


def _winner_ko(fresh: Confirmation) -> str:
    if len(fresh.rows) == 1:
        return ""
    accuracy, num = percent(fresh.winner["valid_mean"]), len(fresh.rows)
    if fresh.winner["lr"] == fresh.best["lr"]:
        return f" 다시 확인한 후보 {num}개 가운데 여기에서도 validation 정확도가 가장 높다 ({accuracy})."
    return (
        f" 다시 확인한 후보 {num}개 가운데 validation 정확도는 {lr_text(fresh.winner['lr'])} 이 {accuracy} 로 가장 높고, 이 값은 "
        f"{percent(fresh.best['valid_mean'])} 이다. 구간 안의 어느 값이 최적인지는 아직 가려지지 않았다."
    )


def _between_ko(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" (두 값의 차이, 95%: {low * 100:+.2f} ~ {high * 100:+.2f})"


def _no_learning_ko(low: VerySmall) -> str:
    top = percent(low.highest_test_accuracy)
    if low.learned_from is None:
        return (
            f"* learning rate 가 1e-5 미만이면 학습이 전혀 진행되지 않는다: {low.num_runs}개 실행 모두에서 **사실이다**. "
            f"우연 수준을 넘은 실행이 없다 (test 정확도 최고 {top})."
        )
    return (
        f"* learning rate 가 1e-5 미만이면 학습이 전혀 진행되지 않는다: {low.num_runs}개 실행 중 "
        f"**{low.num_runs - low.num_learned}개에서만 사실이다**. 우연 수준을 넘은 실행이 있는 가장 작은 "
        f"learning rate 는 {lr_text(low.learned_from)} 이고, 1e-5 미만에서 test 정확도가 가장 높은 실행은 {top} 이다."
    )


def _share_ko(count: int, total: int) -> str:
    if count == total:
        return "모든 실행이 추정에 부합한다."
    return (
        "대부분의 실행이 추정에 부합한다."
        if 2 * count > total
        else "일부 실행만 추정에 부합한다."
        if count
        else "추정에 부합하는 실행이 없다."
    )


def _points_ko(shortfall: float) -> str:
    if math.isnan(shortfall):
        return "측정되지 않았다"
    return f"{points(shortfall)}%p {'낮다' if shortfall > 0 else '높다'}"
