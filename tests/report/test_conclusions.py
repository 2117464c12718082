"""lrsweep.report.texts.conclusions_en and …_ko: what the words say, and that every number in them was found, not typed."""

import math
import re
from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest
from made_findings import FOUND, NOTHING_LEARNED, SMALL, best_of, confirmation_of

from lrsweep.analysis.findings import Findings
from lrsweep.analysis.plateau import Doubt
from lrsweep.report.texts.conclusions_en import DOUBTS_EN, certainty_en, conclusions_en
from lrsweep.report.texts.conclusions_ko import DOUBTS_KO, conclusions_ko


def numbers(text: str) -> Counter[str]:
    """All numbers in a text, each as often as it is there; 10^-2.9 is one, and a section's 5-2 is two."""
    return Counter(re.findall(r"\d+(?:\.\d+)?(?:\^-?\d+(?:\.\d+)?|e-\d+)?", text))


def both(found: Findings) -> tuple[str, str]:
    return conclusions_en(found), conclusions_ko(found)


# FOUND's numbers, in their places.


@pytest.mark.parametrize(
    "sentence",
    [
        "Every conclusion here is from 4 seeds (cross_entropy).",
        "highest for learning rates **from 10^-3.4 (0.000398) to 10^-2.6 (0.00251)**: test accuracy 97.63% to 98.12%.",
        "The highest validation accuracy, 98.71%, is at 10^-2.9 (0.00126);",
        "; the range holds it and its neighbours that are not significantly worse, 3 rates over 0.8 decades "
        "(paired by seed, corrected for all comparisons, level 5%).\n",
        "the best learning rate is **10^-2.6 (0.00251)**, the fastest of that range within 0.16 percentage points of the best: "
        "test accuracy 97.98% in 43 s of wall time (17 epochs).",
        " That is 29.58% less time than the rate of the highest validation accuracy takes.",
        " Kneedle agrees: it finds the knee of accuracy against time inside the range, at 10^-3.4 (0.000398).\n",
        "* Below 1e-5 nothing is learned: **true of 15 of 23 runs only**.",
        "The smallest rate at which a run leaves chance level is 10^-5.4 (3.98e-06);",
        "; the best run below 1e-5 reaches 34.57% on the test set.\n",
        "* Below 1e-5 the document's reason is that validation sets no record for 5 epochs. All in all 21 of 23 runs",
        "21 of 23 runs ended by patience; 14 did so without ever improving on their first epoch, as it describes.",
        " 8 learned before they ended.\n",
        "* From 1e-5 to 1e-4 (where outside the best range) training takes 7.3 times the best range's wall time",
        "wall time and 13 times its epochs (medians), and ends 2.49 percentage points lower in test accuracy (means).\n",
        "* The document supposes that records come too rarely there for the patience. 22 of 26 runs were ended by patience,",
        "22 of 26 runs were ended by patience, 19 of them while their validation loss was still setting records:",
        ", 19 of them while their validation loss was still setting records: most runs are consistent with it.\n",
    ],
)
def test_the_english_conclusions_say(sentence: str) -> None:
    assert sentence in conclusions_en(FOUND)


@pytest.mark.parametrize(
    "sentence",
    [
        "아래의 모든 결론은 시드 4개로 얻은 것이다 (cross_entropy).",
        "learning rate 구간은 **10^-3.4 (0.000398) ~ 10^-2.6 (0.00251)** 이다. 이 구간의 test 정확도는 97.63% ~ 98.12% 이다.",
        "가장 높은 validation 정확도 98.71% 는 10^-2.9 (0.00126) 에서 나왔고, 이 값과, 이어져 있으면서 ",
        "유의하게 낮지 않은 이웃까지 모두 3개",
        "3개 (로그 눈금으로 0.8 decade) 를 이 구간으로 보았다 (시드별 대응 비교, 다중 비교 보정, 유의수준 5%).\n",
        "최적의 learning rate 는 **10^-2.6 (0.00251)** 이다. 구간 안에서 최고 정확도와의 차이가 0.16%p 이내인 값 중 가장 빠르며,",
        "학습을 마치는 데 수행 시간 43초 (17 epoch) 가 걸리고, test 정확도는 97.98% 이다.",
        " validation 정확도가 가장 높은 learning rate 보다 시간이 29.58% 적게 든다.",
        " Kneedle 이 찾은 정확도-시간 곡선의 꺾이는 점도 이 구간 안의 10^-3.4 (0.000398) 이다.\n",
        "* learning rate 가 1e-5 미만이면 학습이 전혀 진행되지 않는다: 23개 실행 중 **15개에서만 사실이다**.",
        "우연 수준을 넘은 실행이 있는 가장 작은 learning rate 는 10^-5.4 (3.98e-06) 이고,",
        "이고, 1e-5 미만에서 test 정확도가 가장 높은 실행은 34.57% 이다.\n",
        "* 1e-5 미만에 대해 문서가 든 이유는 5 epoch 동안 valid set 성능이 증가하지 않았다는 것이다.",
        "전체 23개 실행 중 21개가 early stopping 으로 끝났고, 문서의 설명대로",
        "문서의 설명대로 첫 epoch 의 성능을 한 번도 넘지 못한 실행은 14개이다. 8개는 학습이 된 뒤에 끝났다.\n",
        "* 1e-5 ~ 1e-4 (최고 구간 밖) 에서는 최고 구간에 비해 수행 시간이 7.3배, epoch 수가 13배이고 (중앙값),",
        "(중앙값), test 정확도는 2.49%p 낮다 (평균).\n",
        "* 문서가 추정한 이유는 valid set 정확도가 5 epochs 동안 최고 기록을 갱신하지 않는 경우가 있다는 것이다. 26개 실행 중",
        "26개 실행 중 22개가 early stopping 으로 끝났고, 그 가운데 19개는 그때까지도",
        "validation loss 가 최저 기록을 갱신하고 있었다. 대부분의 실행이 추정에 부합한다.\n",
    ],
)
def test_the_korean_conclusions_say(sentence: str) -> None:
    assert sentence in conclusions_ko(FOUND)


QUOTED = "5-2 5-3 1e-5 1e-5 1e-5 1e-5 1e-4 5"  # the documents' section numbers, bounds and patience
FOUND_IN_WORDS = (
    "4 10^-3.4 0.000398 10^-2.6 0.00251 97.63 98.12 98.71 10^-2.9 0.00126 3 0.8 5 "  # the best range; its test's level
    "10^-2.6 0.00251 0.16 97.98 43 17 29.58 10^-3.4 0.000398 "  # the bargain; the knee
    "15 23 10^-5.4 3.98e-06 34.57 21 23 14 8 "  # very small rates
    "7.3 13 2.49 22 26 19"  # small ones
)


def test_the_conclusions_hold_the_findings_numbers_and_the_quoted_ones_and_no_others() -> None:
    assert numbers(conclusions_en(FOUND)) == numbers(f"{QUOTED} {FOUND_IN_WORDS}")


FINDINGS = {
    "everything found": FOUND,
    "one seed": replace(FOUND, best=best_of(num_seeds=1, doubts=("few_seeds",))),
    "two seeds at the grid's end": replace(FOUND, best=best_of(num_seeds=2, doubts=("at_upper_end", "few_seeds"))),
    "runs missing": replace(FOUND, best=best_of(doubts=("runs_missing",))),
    "the bargain is the best": replace(FOUND, best=best_of(trade_off=1)),
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
    "confirmed, and the bargain is the best": replace(FOUND, best=best_of(trade_off=1), confirmation=confirmation_of(same=True)),
}


@pytest.mark.parametrize("found", FINDINGS.values(), ids=FINDINGS.keys())
def test_both_languages_state_the_same_numbers(found: Findings) -> None:
    english, korean = (numbers(text) for text in both(found))
    fresh = found.confirmation
    for is_one in (found.best.num_seeds == 1, fresh is not None and fresh.num_seeds == 1):
        if is_one:
            korean -= Counter(["1"])  # "one seed" is a word in English, "시드 1개" a number in Korean
    # The document's own patience is quoted once more in Korean, "5 epochs 동안": "too rarely for the patience" in English.
    if found.small is not None:
        korean -= Counter(["5"])
    assert english == korean


@pytest.mark.parametrize("found", FINDINGS.values(), ids=FINDINGS.keys())
def test_a_part_without_findings_has_no_heading(found: Findings) -> None:
    for text in both(found):
        sections = re.split(r"^### .*\n", text, flags=re.MULTILINE)[1:]
        assert all(section.strip() for section in sections)


def test_one_seed_says_so_in_both_languages() -> None:
    english, korean = both(FINDINGS["one seed"])
    assert "Every conclusion here is from one seed (cross_entropy)." in english
    assert "아래의 모든 결론은 시드 1개로 얻은 것이다 (cross_entropy)." in korean


def test_a_range_of_few_seeds_is_a_band_of_the_validation_set_and_claims_no_test() -> None:
    english, korean = both(FINDINGS["one seed"])
    assert "the range holds it and its neighbours within one standard error (0.11 percentage points): 3 rates." in english
    assert "이 값과, 이어져 있으면서 그 차이가 표준오차(0.11%p) 이내인 이웃까지 모두 3개를 이 구간으로 보았다." in korean
    assert "significant" not in english
    assert "유의" not in korean


def test_one_rate_is_one_rate() -> None:
    one = replace(best_of(), rows=best_of().rows.iloc[1:2])
    assert "not significantly worse, 1 rate over" in conclusions_en(replace(FOUND, best=one))


# How sure.


@pytest.mark.parametrize(
    ("doubts", "english", "korean"),
    [
        ((), "conclusive", ""),
        (("few_seeds",), "indicative only: 3 seeds at least are needed to test it", "**참고용이다**: 검정하려면 시드가 3개 이상"),
        (("runs_missing",), "inconclusive: runs are missing", "**결론을 내리기 이르다**: 빠진 실행이 있다."),
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
    ids=["sure", "few seeds", "missing", "missing and few", "at the end"],
)
def test_how_sure_it_is_stands_beside_the_answer(doubts: tuple[Doubt, ...], english: str, korean: str) -> None:
    best = best_of(doubts=doubts, num_seeds=1 if "few_seeds" in doubts else 4)
    assert certainty_en(best) == english
    texts = both(replace(FOUND, best=best))
    assert (f" **This is {english}.**\n" in texts[0]) == bool(doubts)
    assert korean in texts[1]
    assert ("inconclusive" in texts[0], "indicative" in texts[0]) == ("inconclusive" in english, "indicative" in english)
    assert ("이르다" in texts[1], "참고용" in texts[1]) == ("inconclusive" in english, "indicative" in english)


def test_every_doubt_has_words_of_its_own_in_both_languages() -> None:
    for words in (DOUBTS_EN, DOUBTS_KO):
        assert set(words) == set(get_args(Doubt))
        assert len(set(words.values())) == len(words)


# What is learned at very small rates.


def test_where_nothing_was_learned_the_documents_claim_is_true() -> None:
    english, korean = both(FINDINGS["nothing learned"])
    assert "nothing is learned: **true** of all 23 runs; none leaves chance (test at most 11.35%)." in english
    assert "23개 실행 모두에서 **사실이다**. 우연 수준을 넘은 실행이 없다 (test 정확도 최고 11.35%)." in korean
    assert "only" not in english
    assert "에서만" not in korean


def test_where_something_was_learned_it_is_true_of_the_others_only() -> None:
    english, korean = both(FOUND)
    assert "**true**" not in english
    assert "모두에서" not in korean


# The bargain.

ABOUT_AS_LONG_EN = " The rate of the highest validation accuracy takes about as long."
ABOUT_AS_LONG_KO = " validation 정확도가 가장 높은 learning rate 도 걸리는 시간은 비슷하다."


def test_where_the_bargain_is_the_best_nothing_is_saved() -> None:
    english, korean = both(FINDINGS["the bargain is the best"])
    assert "(36 epochs). It is the rate of the highest validation accuracy as well." in english
    assert "이다. 이 learning rate 는 validation 정확도도 가장 높다." in korean
    assert "less time" not in english
    assert "적게" not in korean


@pytest.mark.parametrize(
    ("best_trade_off_seconds", "english", "korean"),
    [
        (58.0, "That is 5.23% less time than the rate", "learning rate 보다 시간이 5.23% 적게 든다."),
        (58.4, ABOUT_AS_LONG_EN, ABOUT_AS_LONG_KO),
        (61.2, ABOUT_AS_LONG_EN, ABOUT_AS_LONG_KO),
    ],
    ids=["just above 5 %", "just below 5 %", "none"],
)
def test_a_saving_below_5_percent_is_none_to_speak_of(best_trade_off_seconds: float, english: str, korean: str) -> None:
    texts = both(replace(FOUND, best=best_of(best_trade_off_seconds=best_trade_off_seconds)))
    assert english in texts[0]
    assert korean in texts[1]
    is_saving = best_trade_off_seconds == 58.0
    assert ("less time" in texts[0], ABOUT_AS_LONG_EN in texts[0]) == (is_saving, not is_saving)
    assert ("적게" in texts[1], ABOUT_AS_LONG_KO in texts[1]) == (is_saving, not is_saving)


@pytest.mark.parametrize(
    ("time", "english", "korean"),
    [
        ("wall", "43 s of wall time", "수행 시간 43초"),
        ("cpu", "43 s of CPU time", "CPU 시간 43초"),
        ("calibrated", "43 s of calibrated time", "환산 시간 43초"),
        ("mixed", "43 s of measured or calibrated time", "측정 또는 환산 시간 43초"),
    ],
)
def test_the_conclusions_say_which_time_they_mean(time: str, english: str, korean: str) -> None:
    texts = both(replace(FOUND, best=best_of(time=time)))
    assert english in texts[0]
    assert korean in texts[1]


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
def test_the_text_says_where_kneedle_disagrees(knee_lr: float | None, english: str, korean: str) -> None:
    texts = both(replace(FOUND, best=best_of(knee_lr=knee_lr)))
    assert english in texts[0]
    assert korean in texts[1]
    assert ("disagrees" in texts[0]) == ("disagrees" in english)


# On fresh seeds.


def test_what_fresh_seeds_say_is_told_with_its_intervals() -> None:
    english, korean = both(FINDINGS["confirmed"])
    assert (
        "* On 10 seeds that chose nothing, 10^-2.9 (0.00126) reaches 98.02% (95%: 97.94% to 98.10%) on the test set. "
        "Its validation accuracy there is 0.13 percentage points lower than in the study that picked it. "
        "There 10^-2.6 (0.00251) has the highest validation accuracy of the 2 finalists, 98.69% to its 98.58%: which rate of the "
        "range is the best is not settled. "
        "10^-2.6 (0.00251) reaches 97.93% (95%: 97.81% to 98.05%), 0.09 percentage points less "
        "(best less bargain, 95%: -0.02 to +0.20).\n"
    ) in english
    assert (
        "* 선택에 쓰지 않은 시드 10개로 다시 확인한 결과, 10^-2.9 (0.00126) 의 test 정확도는 98.02% (95%: 97.94% ~ 98.10%) "
        "이다. validation 정확도는 이 값을 고른 실험보다 0.13%p 낮다. "
        "다시 확인한 후보 2개 가운데 validation 정확도는 10^-2.6 (0.00251) 이 98.69% 로 가장 "
        "높고, 이 값은 98.58% 이다. 구간 안의 어느 값이 최적인지는 아직 가려지지 않았다. 10^-2.6 (0.00251) 의 test 정확도는 "
        "97.93% (95%: 97.81% ~ 98.05%) 로, 0.09%p 낮다"
    ) in korean
    assert "95%: -0.02 ~ +0.20" in korean


def test_fresh_seeds_that_pick_the_same_rate_say_so() -> None:
    fresh = confirmation_of()
    fresh.rows.loc[0, "valid_mean"] = 0.99
    english, korean = both(replace(FOUND, confirmation=fresh))
    assert "It has the highest validation accuracy of the 2 finalists there as well, 99.00%." in english
    assert "다시 확인한 후보 2개 가운데 여기에서도 validation 정확도가 가장 높다 (99.00%)." in korean
    assert "not settled" not in english


def test_without_fresh_seeds_nothing_is_said_of_them() -> None:
    english, korean = both(FOUND)
    assert "chose nothing" not in english
    assert "확인한" not in korean


def test_fresh_seeds_may_be_kinder() -> None:
    fresh = confirmation_of(cost=-0.0004)
    better = replace(fresh, best=fresh.best.replace({0.0013: -0.0007}))
    english, korean = both(replace(FOUND, confirmation=better))
    assert "is 0.07 percentage points higher than in the study" in english
    assert "0.04 percentage points more (best less bargain" in english
    assert "고른 실험보다 0.07%p 높다." in korean
    assert "로, 0.04%p 높다" in korean


def test_one_fresh_seed_has_no_interval_of_the_difference() -> None:
    english, korean = both(FINDINGS["confirmed on one seed"])
    assert "On one seed that chose nothing" in english
    assert "시드 1개로" in korean
    assert "best less bargain" not in english
    assert "nan" not in english + korean


def test_where_the_bargain_is_the_best_it_is_confirmed_once() -> None:
    english, korean = both(FINDINGS["confirmed, and the bargain is the best"])
    for text in (english, korean):
        (line,) = [line for line in text.splitlines() if "98.02%" in line]
        assert "97.93%" not in line
        assert line.count("10^-2.9") == 1


# Why: verdicts of counted runs.

VERDICTS = {
    26: ("every run is consistent with it", "모든 실행이 추정에 부합한다."),
    25: ("most runs are consistent with it", "대부분의 실행이 추정에 부합한다."),
    14: ("most runs are consistent with it", "대부분의 실행이 추정에 부합한다."),
    13: ("some runs only are consistent with it", "일부 실행만 추정에 부합한다."),  # a half is not most
    1: ("some runs only are consistent with it", "일부 실행만 추정에 부합한다."),
    0: ("no run is consistent with it", "추정에 부합하는 실행이 없다."),
}


@pytest.mark.parametrize("number", VERDICTS)
def test_a_verdict_is_no_stronger_than_the_count_of_all_runs(number: int) -> None:
    texts = both(replace(FOUND, small=replace(SMALL, num_out_of_patience=26, num_still_improving=number)))
    english, korean = VERDICTS[number]
    assert texts[0].endswith(
        f"26 of 26 runs were ended by patience, {number} of them while their validation loss "
        f"was still setting records: {english}.\n"
    )
    assert texts[1].endswith(f"그 가운데 {number}개는 그때까지도 validation loss 가 최저 기록을 갱신하고 있었다. {korean}\n")


def test_a_verdict_is_of_all_runs_not_of_those_that_patience_ended() -> None:
    english, korean = both(replace(FOUND, small=replace(SMALL, num_out_of_patience=10, num_still_improving=10)))
    assert "10 of 26 runs were ended by patience, 10 of them while" in english
    assert english.endswith("some runs only are consistent with it.\n")
    assert korean.endswith("일부 실행만 추정에 부합한다.\n")


@pytest.mark.parametrize(
    ("shortfall", "english", "korean"),
    [(0.0249, "2.49 percentage points lower", "2.49%p 낮다"), (-0.0012, "0.12 percentage points higher", "0.12%p 높다")],
)
def test_small_rates_end_lower_or_higher(shortfall: float, english: str, korean: str) -> None:
    texts = both(replace(FOUND, small=replace(SMALL, test_shortfall=shortfall)))
    assert english in texts[0]
    assert korean in texts[1]


# What is not there, and what is not ours.


@pytest.mark.parametrize(
    "found",
    [
        replace(FOUND, very_small=replace(NOTHING_LEARNED, highest_test_accuracy=math.nan)),
        replace(FOUND, small=replace(SMALL, time_ratio=math.nan, epochs_ratio=math.nan, test_shortfall=math.nan)),
    ],
    ids=["very small rates", "small rates"],
)
def test_where_all_runs_of_a_range_failed_no_sentence_says_nan(found: Findings) -> None:
    for text in both(found):
        assert "nan" not in text


def test_an_arms_name_is_escaped() -> None:
    for text in both(replace(FOUND, best=best_of(arm="<b>`x`|*"))):
        assert r"(\<b\>\`x\`\|\*)" in text
