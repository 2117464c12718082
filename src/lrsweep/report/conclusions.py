"""The documents' sections 5-2 and 5-3, filled in, English and Korean. Every number comes from analysis/; none is typed here."""

import math
from dataclasses import dataclass

from lrsweep.analysis.best import Best
from lrsweep.analysis.explain import Small, VerySmall

TIME_EN = {"wall": "wall time", "cpu": "CPU time"}
TIME_KO = {"wall": "수행 시간", "cpu": "CPU 시간"}


@dataclass(frozen=True)
class Findings:
    """What the conclusions are written from."""

    best: Best
    very_small: VerySmall | None
    small: Small | None


def lr_text(lr: float) -> str:
    """10^-3.2 (0.000631); the exponent only where it is a short decimal."""
    exponent = math.log10(lr)
    number = f"{lr:.3g}"
    return f"10^{round(exponent, 2):g} ({number})" if math.isclose(exponent, round(exponent, 2), abs_tol=1e-9) else number


def percent(share: float) -> str:
    return "not scored" if math.isnan(share) else f"{share:.2%}"


def _times(ratio: float) -> str:
    if math.isnan(ratio):
        return "(not measured)"
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def seeds_text(best: Best) -> str:
    return "one seed" if best.num_seeds == 1 else f"{best.num_seeds} seeds"


def conclusions_en(found: Findings) -> str:
    """The documents' sections 5-2 and 5-3, filled in."""
    best = found.best
    time = TIME_EN[best.best["time"]]
    lines = [
        "### 5-2. Results",
        "",
        f"Every conclusion here is from {seeds_text(best)} ({best.arm}).",
        "",
        f"* The accuracy is highest for learning rates **from {lr_text(best.low)} to {lr_text(best.high)}**: "
        f"test accuracy {percent(best.plateau['test_mean'].min())} to {percent(best.plateau['test_mean'].max())}. "
        f"The highest validation accuracy, {percent(best.best['valid_mean'])}, is at {lr_text(best.best['lr'])}; the range "
        f"holds it and its neighbours within one standard error ({best.tolerance * 100:.2f} percentage points): "
        f"{counted(len(best.plateau), 'rate')}.",
        f"* Weighing accuracy against time, the best learning rate is **{lr_text(best.bargain['lr'])}**, the fastest of that "
        f"range: test accuracy {percent(best.bargain['test_mean'])} in {best.bargain['seconds_median']:.0f} s "
        f"of {time} ({best.bargain['epochs_median']:.0f} epochs)." + _saving_en(best),
    ]
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
            f"* From 1e-5 to 1e-4 (where outside the best range) training takes {_times(slow.time_ratio)} times the best range's "
            f"{time} and {_times(slow.epochs_ratio)} times its epochs (medians), and ends "
            f"{_points_en(slow.test_shortfall)} in test accuracy (means)."
        )
        lines.append(
            f"* The document supposes that records come too rarely there for the patience. {slow.num_out_of_patience} of "
            f"{slow.num_runs} runs were ended by patience, {slow.num_still_improving} of them while their validation loss was "
            f"still setting records: {_share_en(slow.num_still_improving, slow.num_runs)}."
        )
    return "\n".join(lines) + "\n"


_SAVING_FROM = 0.05  # less than that share of the time is no saving to speak of


def _saving_en(best: Best) -> str:
    if best.bargain["lr"] == best.best["lr"]:
        return " It is the rate of the highest validation accuracy as well."
    if best.time_saved < _SAVING_FROM:
        return " The rate of the highest validation accuracy takes about as long."
    return f" That is {percent(best.time_saved)} less time than the rate of the highest validation accuracy takes."


def _no_learning_en(found: VerySmall) -> str:
    top = percent(found.highest_test_accuracy)
    if found.learned_from is None:
        return f"* Below 1e-5 nothing is learned: **true** of all {found.num_runs} runs; none leaves chance (test at most {top})."
    return (
        f"* Below 1e-5 nothing is learned: **true of {found.num_runs - found.num_learned} of {found.num_runs} runs only**. "
        f"The smallest rate at which a run leaves chance level is {lr_text(found.learned_from)}; the best run below 1e-5 reaches "
        f"{top} on the test set."
    )


def _share_en(number: int, of: int) -> str:
    """A verdict of counted runs, no stronger than the count."""
    if number == of:
        return "it fits every run"
    return "it fits most runs" if 2 * number > of else "it fits some runs only" if number else "it fits no run"


def _points_en(shortfall: float) -> str:
    if math.isnan(shortfall):
        return "at a distance that was not measured"
    return f"{abs(shortfall) * 100:.2f} percentage points {'lower' if shortfall > 0 else 'higher'}"


def conclusions_ko(found: Findings) -> str:
    """문서의 5-2, 5-3 절을 채운 글."""
    best = found.best
    time = TIME_KO[best.best["time"]]
    lines = [
        "### 5-2. 실험 결과",
        "",
        f"아래의 모든 결론은 시드 {best.num_seeds}개의 결과이다 ({best.arm}).",
        "",
        f"* 정확도가 가장 높은 learning rate 구간은 **{lr_text(best.low)} ~ {lr_text(best.high)}** 이다. 이 구간의 test 정확도는 "
        f"{percent(best.plateau['test_mean'].min())} ~ {percent(best.plateau['test_mean'].max())} 이다. 가장 높은 validation 정확도 "
        f"{percent(best.best['valid_mean'])} 는 {lr_text(best.best['lr'])} 에서 나왔고, 그 값과의 차이가 표준오차 "
        f"이내({best.tolerance * 100:.2f}%p)이면서 서로 이웃한 learning rate {len(best.plateau)}개를 이 구간으로 보았다.",
        f"* 성능 (정확도) 과 시간의 trade-off 를 고려할 때, 최적의 learning rate 는 **{lr_text(best.bargain['lr'])}** 이다. 이 구간에서 "
        f"가장 빠르며, 학습을 마치는 데 {time} {best.bargain['seconds_median']:.0f}초 ({best.bargain['epochs_median']:.0f} epoch) 가 "
        f"걸리고, test 정확도는 {percent(best.bargain['test_mean'])} 이다." + _saving_ko(best),
    ]
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
            f"* 1e-5 ~ 1e-4 (최고 구간 밖) 에서는 최고 구간에 비해 {time}이 {_times(slow.time_ratio)}배, epoch 수가 "
            f"{_times(slow.epochs_ratio)}배이고 (중앙값), test 정확도는 {_points_ko(slow.test_shortfall)} (평균)."
        )
        lines.append(
            f"* 문서가 추정한 이유는 valid set 정확도가 5 epochs 동안 최고 기록을 갱신하지 않는 경우가 있다는 것이다. {slow.num_runs}개 실행 중 "
            f"{slow.num_out_of_patience}개가 early stopping 으로 끝났고, 그중 {slow.num_still_improving}개는 그때까지도 validation loss 가 "
            f"최저 기록을 갱신하고 있었다. {_share_ko(slow.num_still_improving, slow.num_runs)}"
        )
    return "\n".join(lines) + "\n"


def _saving_ko(best: Best) -> str:
    if best.bargain["lr"] == best.best["lr"]:
        return " 이 learning rate 는 validation 정확도도 가장 높다."
    if best.time_saved < _SAVING_FROM:
        return " validation 정확도가 가장 높은 learning rate 도 걸리는 시간은 비슷하다."
    return f" validation 정확도가 가장 높은 learning rate 보다 시간이 {percent(best.time_saved)} 적게 든다."


def _no_learning_ko(found: VerySmall) -> str:
    top = percent(found.highest_test_accuracy)
    if found.learned_from is None:
        return (
            f"* learning rate 가 1e-5 미만이면 학습이 전혀 진행되지 않는다: {found.num_runs}개 실행 모두에서 **사실이다**. "
            f"우연 수준을 넘은 실행이 없다 (test 정확도 최고 {top})."
        )
    return (
        f"* learning rate 가 1e-5 미만이면 학습이 전혀 진행되지 않는다: {found.num_runs}개 실행 중 "
        f"**{found.num_runs - found.num_learned}개에서만 사실이다**. 우연 수준을 넘은 실행이 있는 가장 작은 "
        f"learning rate 는 {lr_text(found.learned_from)} 이고, 1e-5 미만에서 test 정확도가 가장 높은 실행은 {top} 이다."
    )


def _share_ko(number: int, of: int) -> str:
    if number == of:
        return "모든 실행에서 추정과 맞는다."
    return (
        "대부분의 실행에서 추정과 맞는다."
        if 2 * number > of
        else "일부 실행에서만 추정과 맞는다."
        if number
        else "추정과 맞는 실행이 없다."
    )


def _points_ko(shortfall: float) -> str:
    if math.isnan(shortfall):
        return "측정되지 않았다"
    return f"{abs(shortfall) * 100:.2f}%p {'낮다' if shortfall > 0 else '높다'}"


def in_both_languages(found: Findings) -> str:
    """The documents' sections 5-2 and 5-3, filled in, in both languages."""
    return f"{conclusions_en(found)}\n<details open><summary>한국어</summary>\n\n{conclusions_ko(found)}\n</details>"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
