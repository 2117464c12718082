"""The conclusions in both languages: what they say, and that all numbers in them come from the findings."""

import math
import re
from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest
from synthetic_findings import FOUND, NOTHING_LEARNED, SMALL, best_of, confirmation_of

from lrsweep.analysis.findings import Findings
from lrsweep.analysis.plateau import Doubt
from lrsweep.report.texts.conclusions_en import DOUBTS_EN, certainty_en, conclusions_en
from lrsweep.report.texts.conclusions_ko import DOUBTS_KO, conclusions_ko


def numbers(text: str) -> Counter[str]:
    """All numbers in a text with their counts. 10^-2.9 is one number; the section 5-2 is two."""
    return Counter(re.findall(r"\d+(?:\.\d+)?(?:\^-?\d+(?:\.\d+)?|e-\d+)?", text))


def both(findings: Findings) -> tuple[str, str]:
    return conclusions_en(findings), conclusions_ko(findings)


def assert_in(texts: tuple[str, str], english: str, korean: str) -> None:
    assert english in texts[0]
    assert korean in texts[1]


def assert_not_in(texts: tuple[str, str], english: str, korean: str) -> None:
    assert english not in texts[0]
    assert korean not in texts[1]


ENGLISH = (
    "### 5-2. Results\n\n"
    "Every conclusion here is from 4 seeds (cross_entropy).\n\n"
    "* The accuracy is highest for learning rates **from 10^-3.4 (0.000398) to 10^-2.6 (0.00251)**: test accuracy 97.63% "
    "to 98.12%. The highest validation accuracy, 98.71%, is at 10^-2.9 (0.00126); the range holds it and its neighbours "
    "that are not significantly worse, 3 rates over 0.8 decades (paired by seed, corrected for all comparisons, level 5%).\n"
    "* Weighing accuracy against time, the best learning rate is **10^-2.6 (0.00251)**, the fastest of that range within "
    "0.16 percentage points of the best: test accuracy 97.98% in 43 s of wall time (17 epochs). That is 29.58% less time "
    "than the rate of the highest validation accuracy takes. Kneedle agrees: it finds the knee of accuracy against time "
    "inside the range, at 10^-3.4 (0.000398).\n"
    "* Below 1e-5 nothing is learned: **true of 15 of 23 runs only**. The smallest rate at which a run leaves chance level "
    "is 10^-5.4 (3.98e-06); the best run below 1e-5 reaches 34.57% on the test set.\n\n"
    "### 5-3. Why\n\n"
    "* Below 1e-5 the document's reason is that validation sets no record for 5 epochs. All in all 21 of 23 runs ended by "
    "patience; 14 did so without ever improving on their first epoch, as it describes. 8 learned before they ended.\n"
    "* From 1e-5 to 1e-4 (where outside the best range) training takes 7.3 times the best range's wall time and 13 times "
    "its epochs (medians), and ends 2.49 percentage points lower in test accuracy (means).\n"
    "* The document supposes that records come too rarely there for the patience. 22 of 26 runs were ended by patience, 19 "
    "of them while their validation loss was still setting records: most runs are consistent with it.\n"
)
KOREAN = (
    "### 5-2. 실험 결과\n\n"
    "아래의 모든 결론은 시드 4개로 얻은 것이다 (cross_entropy).\n\n"
    "* 정확도가 가장 높은 learning rate 구간은 **10^-3.4 (0.000398) ~ 10^-2.6 (0.00251)** 이다. 이 구간의 test 정확도는 "
    "97.63% ~ 98.12% 이다. 가장 높은 validation 정확도 98.71% 는 10^-2.9 (0.00126) 에서 나왔고, 이 값과, 이어져 있으면서 "
    "유의하게 낮지 않은 이웃까지 모두 3개 (로그 눈금으로 0.8 decade) 를 이 구간으로 보았다 (시드별 대응 비교, 다중 비교 "
    "보정, 유의수준 5%).\n"
    "* 성능 (정확도) 과 시간의 trade-off 를 고려할 때, 최적의 learning rate 는 **10^-2.6 (0.00251)** 이다. 구간 안에서 "
    "최고 정확도와의 차이가 0.16%p 이내인 값 중 가장 빠르며, 학습을 마치는 데 수행 시간 43초 (17 epoch) 가 걸리고, test "
    "정확도는 97.98% 이다. validation 정확도가 가장 높은 learning rate 보다 시간이 29.58% 적게 든다. Kneedle 이 찾은 "
    "정확도-시간 곡선의 꺾이는 점도 이 구간 안의 10^-3.4 (0.000398) 이다.\n"
    "* learning rate 가 1e-5 미만이면 학습이 전혀 진행되지 않는다: 23개 실행 중 **15개에서만 사실이다**. 우연 수준을 넘은 "
    "실행이 있는 가장 작은 learning rate 는 10^-5.4 (3.98e-06) 이고, 1e-5 미만에서 test 정확도가 가장 높은 실행은 34.57% "
    "이다.\n\n"
    "### 5-3. 실험 결과에 대한 이유 분석\n\n"
    "* 1e-5 미만에 대해 문서가 든 이유는 5 epoch 동안 valid set 성능이 증가하지 않았다는 것이다. 전체 23개 실행 중 21개가 "
    "early stopping 으로 끝났고, 문서의 설명대로 첫 epoch 의 성능을 한 번도 넘지 못한 실행은 14개이다. 8개는 학습이 된 "
    "뒤에 끝났다.\n"
    "* 1e-5 ~ 1e-4 (최고 구간 밖) 에서는 최고 구간에 비해 수행 시간이 7.3배, epoch 수가 13배이고 (중앙값), test 정확도는 "
    "2.49%p 낮다 (평균).\n"
    "* 문서가 추정한 이유는 valid set 정확도가 5 epochs 동안 최고 기록을 갱신하지 않는 경우가 있다는 것이다. 26개 실행 중 "
    "22개가 early stopping 으로 끝났고, 그 가운데 19개는 그때까지도 validation loss 가 최저 기록을 갱신하고 있었다. "
    "대부분의 실행이 추정에 부합한다.\n"
)


def test_the_conclusions_state_the_findings_in_both_languages() -> None:
    assert both(FOUND) == (ENGLISH, KOREAN)


FINDINGS = {
    "everything found": FOUND,
    "one seed": replace(FOUND, best=best_of(num_seeds=1, doubts=("few_seeds",))),
    "two seeds at the grid's end": replace(FOUND, best=best_of(num_seeds=2, doubts=("at_upper_end", "few_seeds"))),
    "runs missing": replace(FOUND, best=best_of(doubts=("runs_missing",))),
    "the trade-off is the best": replace(FOUND, best=best_of(trade_off=1)),
    "hardly faster": replace(FOUND, best=best_of(best_trade_off_seconds=59.0)),
    "no knee": replace(FOUND, best=best_of(knee_lr=None)),
    "a knee elsewhere": replace(FOUND, best=best_of(knee_lr=10**-1.9)),
    "CPU time": replace(FOUND, best=best_of(time="cpu")),
    "nothing learned": replace(FOUND, very_small=NOTHING_LEARNED),
    "no very small rates": replace(FOUND, very_small=None),
    "no small rates": replace(FOUND, small=None),
    "neither": replace(FOUND, very_small=None, small=None),
    "patience fits no run": replace(FOUND, small=replace(SMALL, num_still_improving=0)),
    "small rates ahead": replace(FOUND, small=replace(SMALL, test_shortfall=-0.0012)),
    "an arm with a number": replace(FOUND, best=best_of(arm="cross_entropy, training.batch_size=64")),
    "confirmed": replace(FOUND, confirmation=confirmation_of()),
    "confirmed on one seed": replace(FOUND, confirmation=confirmation_of(num_seeds=1, cost_low=math.nan, cost_high=math.nan)),
    "confirmed, and the trade-off is the best": replace(
        FOUND, best=best_of(trade_off=1), confirmation=confirmation_of(same=True)
    ),
    "all very small rates failed": replace(FOUND, very_small=replace(NOTHING_LEARNED, highest_test_accuracy=math.nan)),
    "all small rates failed": replace(
        FOUND, small=replace(SMALL, time_ratio=math.nan, epochs_ratio=math.nan, test_shortfall=math.nan)
    ),
}


@pytest.mark.parametrize("findings", FINDINGS.values(), ids=FINDINGS.keys())
def test_both_languages_state_the_same_numbers_and_have_no_empty_section(findings: Findings) -> None:
    for text in both(findings):
        assert "nan" not in text
        assert all(section.strip() for section in re.split(r"(?m)^### .*\n", text)[1:])
    english, korean = (numbers(text) for text in both(findings))
    fresh = findings.confirmation
    for is_one_seed in (findings.best.num_seeds == 1, fresh is not None and fresh.num_seeds == 1):
        if is_one_seed:
            korean -= Counter(["1"])  # "one seed" in English, "시드 1개" in Korean
    if findings.small is not None:
        korean -= Counter(["5"])  # the Korean text quotes the document's patience once more: "5 epochs 동안"
    assert english == korean


def test_with_few_seeds_the_range_is_one_standard_error_and_no_test_is_claimed() -> None:
    texts = both(FINDINGS["one seed"])
    assert_in(
        texts,
        "Every conclusion here is from one seed (cross_entropy).",
        "아래의 모든 결론은 시드 1개로 얻은 것이다 (cross_entropy).",
    )
    assert_in(
        texts,
        "the range holds it and its neighbours within one standard error (0.11 percentage points): 3 rates.",
        "이 값과, 이어져 있으면서 그 차이가 표준오차(0.11%p) 이내인 이웃까지 모두 3개를 이 구간으로 보았다.",
    )
    assert_not_in(texts, "significant", "유의")


def test_one_rate_is_singular() -> None:
    one = replace(best_of(), rows=best_of().rows.iloc[1:2])
    assert "not significantly worse, 1 rate over" in conclusions_en(replace(FOUND, best=one))


@pytest.mark.parametrize(
    ("doubts", "english", "korean"),
    [
        ((), "conclusive", ""),
        (("few_seeds",), "indicative only: 3 seeds at least are needed to test it", "**참고용이다**: 검정하려면 시드가 3개 이상"),
        (
            ("runs_missing", "few_seeds"),
            "inconclusive: runs are missing, 3 seeds at least are needed to test it",
            "**결론을 내리기 이르다**: 빠진 실행이 있다, 검정하려면 시드가 3개 이상 필요하다.",
        ),
        (
            ("at_lower_end",),
            "inconclusive: the range begins at the lowest rate that was tried",
            "**결론을 내리기 이르다**: 구간이 실험한 가장 작은 learning rate 에서 시작한다.",
        ),
    ],
    ids=["none", "few seeds", "missing and few seeds", "at the end of the grid"],
)
def test_doubts_follow_the_answer(doubts: tuple[Doubt, ...], english: str, korean: str) -> None:
    best = best_of(doubts=doubts, num_seeds=1 if "few_seeds" in doubts else 4)
    assert certainty_en(best) == english
    texts = both(replace(FOUND, best=best))
    assert (f" **This is {english}.**\n" in texts[0]) == bool(doubts)
    assert korean in texts[1]
    levels = ("inconclusive" in english, "indicative" in english)
    assert ("inconclusive" in texts[0], "indicative" in texts[0]) == levels
    assert ("이르다" in texts[1], "참고용" in texts[1]) == levels


def test_every_doubt_has_its_words_in_both_languages() -> None:
    for words in (DOUBTS_EN, DOUBTS_KO):
        assert set(words) == set(get_args(Doubt))
        assert len(set(words.values())) == len(words)


def test_if_nothing_was_learned_the_documents_claim_is_true() -> None:
    texts = both(FINDINGS["nothing learned"])
    assert_in(
        texts,
        "nothing is learned: **true** of all 23 runs; none leaves chance (test at most 11.35%).",
        "23개 실행 모두에서 **사실이다**. 우연 수준을 넘은 실행이 없다 (test 정확도 최고 11.35%).",
    )
    assert_not_in(texts, "only", "에서만")
    assert_not_in(both(FOUND), "**true**", "모두에서")


def test_if_the_trade_off_is_the_best_no_saving_is_claimed() -> None:
    texts = both(FINDINGS["the trade-off is the best"])
    assert_in(
        texts,
        "(36 epochs). It is the rate of the highest validation accuracy as well.",
        "이다. 이 learning rate 는 validation 정확도도 가장 높다.",
    )
    assert_not_in(texts, "less time", "적게")


@pytest.mark.parametrize(("seconds", "is_saving"), [(58.0, True), (58.4, False), (61.2, False)])
def test_a_saving_below_5_percent_is_not_mentioned(seconds: float, is_saving: bool) -> None:
    texts = both(replace(FOUND, best=best_of(best_trade_off_seconds=seconds)))
    saving = ("That is 5.23% less time than the rate", "learning rate 보다 시간이 5.23% 적게 든다.")
    none = (
        " The rate of the highest validation accuracy takes about as long.",
        " validation 정확도가 가장 높은 learning rate 도 걸리는 시간은 비슷하다.",
    )
    assert_in(texts, *(saving if is_saving else none))
    assert_not_in(texts, *(none if is_saving else ("less time", "적게")))


@pytest.mark.parametrize(
    ("time", "english", "korean"),
    [
        ("cpu", "43 s of CPU time", "CPU 시간 43초"),
        ("calibrated", "43 s of calibrated time", "환산 시간 43초"),
        ("mixed", "43 s of measured or calibrated time", "측정 또는 환산 시간 43초"),
    ],
)
def test_the_conclusions_name_the_kind_of_time(time: str, english: str, korean: str) -> None:
    assert_in(both(replace(FOUND, best=best_of(time=time))), english, korean)


@pytest.mark.parametrize(
    ("knee_lr", "english", "korean"),
    [
        (10**-2.9, "Kneedle agrees: ", "꺾이는 점도 이 구간 안의 10^-2.9 (0.00126) 이다."),
        (10**-1.9, "Kneedle disagrees: ", "꺾이는 점은 구간 밖의 10^-1.9 (0.0126) 로, 이 결론과 다르다."),
        (10**-5.0, "Kneedle disagrees: ", "꺾이는 점은 구간 밖의 10^-5 (1e-05) 로, 이 결론과 다르다."),
        (None, "has no knee to check this by.", "꺾이는 점이 없어 Kneedle 로는 확인할 수 없다."),
    ],
    ids=["inside", "above", "below", "none"],
)
def test_the_conclusions_compare_the_range_with_the_knee(knee_lr: float | None, english: str, korean: str) -> None:
    assert_in(both(replace(FOUND, best=best_of(knee_lr=knee_lr))), english, korean)


# Fresh seeds.


def test_fresh_seeds_are_quoted_with_their_intervals() -> None:
    assert_in(
        both(FINDINGS["confirmed"]),
        "* On 10 seeds that chose nothing, 10^-2.9 (0.00126) reaches 98.02% (95%: 97.94% to 98.10%) on the test set. "
        "Its validation accuracy there is 0.13 percentage points lower than in the study that picked it. "
        "There 10^-2.6 (0.00251) has the highest validation accuracy of the 2 finalists, 98.69% to its 98.58%: which rate of the "
        "range is the best is not settled. "
        "10^-2.6 (0.00251) reaches 97.93% (95%: 97.81% to 98.05%), 0.09 percentage points less "
        "(best less bargain, 95%: -0.02 to +0.20).\n",
        "* 선택에 쓰지 않은 시드 10개로 다시 확인한 결과, 10^-2.9 (0.00126) 의 test 정확도는 98.02% (95%: 97.94% ~ 98.10%) "
        "이다. validation 정확도는 이 값을 고른 실험보다 0.13%p 낮다. "
        "다시 확인한 후보 2개 가운데 validation 정확도는 10^-2.6 (0.00251) 이 98.69% 로 가장 "
        "높고, 이 값은 98.58% 이다. 구간 안의 어느 값이 최적인지는 아직 가려지지 않았다. 10^-2.6 (0.00251) 의 test 정확도는 "
        "97.93% (95%: 97.81% ~ 98.05%) 로, 0.09%p 낮다 (두 값의 차이, 95%: -0.02 ~ +0.20).",
    )
    assert_not_in(both(FOUND), "chose nothing", "확인한")


def test_fresh_seeds_may_favour_the_same_rate() -> None:
    fresh = confirmation_of()
    fresh.rows.loc[0, "valid_mean"] = 0.99
    texts = both(replace(FOUND, confirmation=fresh))
    assert_in(
        texts,
        "It has the highest validation accuracy of the 2 finalists there as well, 99.00%.",
        "다시 확인한 후보 2개 가운데 여기에서도 validation 정확도가 가장 높다 (99.00%).",
    )
    assert_not_in(texts, "not settled", "가려지지 않았다")


def test_fresh_seeds_may_be_better_than_the_study() -> None:
    fresh = confirmation_of(cost=-0.0004)
    texts = both(replace(FOUND, confirmation=replace(fresh, best=fresh.best.replace({0.0013: -0.0007}))))
    assert_in(texts, "is 0.07 percentage points higher than in the study", "고른 실험보다 0.07%p 높다.")
    assert_in(texts, "0.04 percentage points more (best less bargain", "로, 0.04%p 높다")


def test_one_fresh_seed_has_no_interval() -> None:
    texts = both(FINDINGS["confirmed on one seed"])
    assert_in(texts, "On one seed that chose nothing", "시드 1개로")
    assert_not_in(texts, "best less bargain", "두 값의 차이")


def test_if_the_trade_off_is_the_best_it_is_confirmed_once() -> None:
    for text in both(FINDINGS["confirmed, and the trade-off is the best"]):
        (line,) = [line for line in text.splitlines() if "98.02%" in line]
        assert "97.93%" not in line
        assert line.count("10^-2.9") == 1


# The reasons.


@pytest.mark.parametrize(
    ("num_stopped", "count", "english", "korean"),
    [
        (26, 26, "every run is consistent with it", "모든 실행이 추정에 부합한다."),
        (26, 25, "most runs are consistent with it", "대부분의 실행이 추정에 부합한다."),
        (26, 14, "most runs are consistent with it", "대부분의 실행이 추정에 부합한다."),
        (26, 13, "some runs only are consistent with it", "일부 실행만 추정에 부합한다."),  # half is not most
        (10, 10, "some runs only are consistent with it", "일부 실행만 추정에 부합한다."),  # a share of all runs
        (26, 0, "no run is consistent with it", "추정에 부합하는 실행이 없다."),
    ],
)
def test_the_verdict_depends_on_the_share_of_all_runs(num_stopped: int, count: int, english: str, korean: str) -> None:
    texts = both(replace(FOUND, small=replace(SMALL, num_out_of_patience=num_stopped, num_still_improving=count)))
    assert texts[0].endswith(
        f"{num_stopped} of 26 runs were ended by patience, {count} of them while their validation loss was still setting "
        f"records: {english}.\n"
    )
    assert texts[1].endswith(f"그 가운데 {count}개는 그때까지도 validation loss 가 최저 기록을 갱신하고 있었다. {korean}\n")


def test_small_rates_may_end_higher() -> None:
    assert_in(both(FINDINGS["small rates ahead"]), "0.12 percentage points higher", "0.12%p 높다")


def test_the_name_of_an_arm_is_escaped() -> None:
    for text in both(replace(FOUND, best=best_of(arm="<b>`x`|*"))):
        assert r"(\<b\>\`x\`\|\*)" in text
