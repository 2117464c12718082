"""The conclusions in both languages: what they say, and that all numbers in them come from the findings."""

import math
import re
from collections import Counter
from dataclasses import replace
from typing import Any, get_args

import pytest
from synthetic_findings import (
    EDGES,
    FOUND,
    NO_GOOD_RATE,
    NOTHING_LEARNED,
    RATES,
    SMALL,
    VERY_SMALL,
    best_of,
    with_fresh,
)

from lrsweep.analysis.best_rate import Doubt
from lrsweep.analysis.edges import Edge, Edges
from lrsweep.analysis.findings import Findings
from lrsweep.report.texts.conclusions_en import DOUBTS_EN, conclusions_en
from lrsweep.report.texts.conclusions_ko import DOUBTS_KO, conclusions_ko
from lrsweep.report.texts.language import language


def numbers(text: str) -> Counter[str]:
    """All numbers in a text with their counts. 10^-2.9 is one number; the section 5-2 is two."""
    return Counter(re.findall(r"\d+(?:\.\d+)?(?:\^-?\d+(?:\.\d+)?|e-\d+)?", text))


def both(findings: Findings) -> tuple[str, str]:
    with language("ko"):
        korean = conclusions_ko(findings)
    return conclusions_en(findings), korean


def assert_in(texts: tuple[str, str], english: str, korean: str) -> None:
    assert english in texts[0]
    assert korean in texts[1]


def assert_not_in(texts: tuple[str, str], english: str, korean: str) -> None:
    assert english not in texts[0]
    assert korean not in texts[1]


ENGLISH = (
    "### 5-2. Results\n"
    "\n"
    "These answers are from 4 seeds; the 95% intervals are paired by seed and hold for all 5 rates at once (cross_entropy).\n"
    "\n"
    "* The accuracy is highest for learning rates **0.0013 (10⁻²·⁹) to 0.0025 (10⁻²·⁶)**, as far as 4 "
    "seeds can show. Each of these 2 rates is "
    "shown to lose less than 0.2 percentage points of test accuracy against the best rate; test accuracy 97.98% to "
    "98.12%. Undecided: 1 rate, 0.0004 (10⁻³·⁴); the other 2 are worse.\n"
    "* The best rate by validation accuracy is 0.0013 (10⁻²·⁹): test accuracy 98.12% (95%: 98.01% to 98.23%).\n"
    "* Weighing accuracy against cost, the best learning rate is **0.0025 (10⁻²·⁶)**, the good rate with the fewest "
    "epochs: 17.0 epochs (95%: 15.5 to 18.5), 53% fewer than at the best rate (95%: 48% to 57%). It takes 43 s (95%: 40 "
    "to 46; timed on 2 of 4 runs, those that had the machine to themselves).\n"
    "* Where learning starts and ends: by estimate, at least half of all seeds learn between 5.2×10⁻⁶ (95%: 3.7×10⁻⁶ to 7.2×10⁻⁶"
    "; 4 seeds) and 0.011 (95%: 0.01 to 0.013; 4 seeds).\n"
    "* The document says that nothing is learned below 1e-5. But 8 of 23 runs there learned, from 4×10⁻⁶ (10⁻⁵·⁴) on; "
    "the best of them reaches 34.57% on the test set.\n"
    "\n"
    "### 5-3. Why\n"
    "\n"
    "* The document says that training below 1e-5 ends because validation accuracy does not improve for 5 epochs. Early "
    "stopping ended 21 of 23 runs there; 14 of them never improved on their first epoch, as the document describes. 8 had "
    "learned before they ended.\n"
    "* From 1e-5 to 1e-4, training takes 13 times the epochs of the good rates (medians) and ends 2.49 percentage "
    "points lower in test accuracy (means).\n"
    "* The document supposes that patience runs out there during slow progress. Early stopping ended 22 of 26 runs; in 19 "
    "of them the validation loss reached a new minimum after the best epoch. So they were still learning when they ended.\n"
)
KOREAN = (
    "### 5-2. 실험 결과\n"
    "\n"
    "아래의 결론(cross_entropy)은 시드 4개로 얻은 것이다. 구간은 시드별로 짝지어 비교한 95% 구간이며, 학습률 5개에 동시에 "
    "성립한다.\n"
    "\n"
    "* 시드 4개로 확인된 범위에서, "
    "정확도가 가장 높은 학습률 구간은 **0.0013 (10⁻²·⁹) ~ 0.0025 (10⁻²·⁶)이다**. 이 구간의 학습률 2개는 모두 가장 "
    "좋은 학습률과의 테스트 정확도 차이가 0.2%p 미만임이 확인되었다. 테스트 정확도는 97.98% ~ 98.12%이다. 아직 판단할 "
    "수 없는 학습률은 1개이다 (0.0004 (10⁻³·⁴)). 나머지 2개는 나쁜 학습률이다.\n"
    "* 검증 정확도가 가장 높은 학습률은 0.0013 (10⁻²·⁹)이다. 테스트 정확도는 98.12% (95%: 98.01% ~ 98.23%)이다.\n"
    "* 성능 (정확도) 과 비용의 trade-off 를 고려할 때, 최적의 학습률은 **0.0025 (10⁻²·⁶)이다**. 좋은 학습률 가운데 "
    "epoch 수가 가장 적어 평균 17.0 epoch이다 (95%: 15.5 ~ 18.5). 검증 정확도가 가장 높은 학습률보다 53% 적다 (95%: 48% ~ "
    "57%). 수행 시간은 43초이다 (95%: 40 ~ 46). 다른 작업의 방해를 받지 않은 실행만 잰 값이다 (4회 중 2회).\n"
    "* 학습이 되고 안 되는 경계에서는 전체 시드의 절반이 학습되는 것으로 추정된다. 아래쪽 경계는 5.2×10⁻⁶이다 (95%: 3.7×10⁻⁶ ~ "
    "7.2×10⁻⁶, 시드 4개). 위쪽 경계는 0.011이다 (95%: 0.01 ~ 0.013, 시드 4개).\n"
    "* 문서는 학습률이 1e-5 미만이면 학습이 전혀 진행되지 않는다고 한다. 그러나 이 범위의 실행 23회 중 8회가 "
    "학습되었다. 학습된 실행의 학습률은 모두 4×10⁻⁶ (10⁻⁵·⁴) 이상이며, 가장 높은 테스트 정확도는 34.57%이다.\n"
    "\n"
    "### 5-3. 실험 결과에 대한 이유 분석\n"
    "\n"
    "* 문서는 1e-5 미만에서는 5 epoch 동안 검증 성능이 나아지지 않아서 학습이 종료된다고 설명한다. 실제로 이 "
    "범위에서는 23회 중 21회가 조기 종료되었다. 그중 문서의 설명대로 첫 epoch의 성능을 한 번도 넘지 못한 실행은 "
    "14회이다. 학습된 뒤에 끝난 실행은 8회이다.\n"
    "* 1e-5 ~ 1e-4에서는 좋은 학습률에 비해 epoch 수가 13배이고 (중앙값), 테스트 정확도는 2.49%p 낮다 (평균).\n"
    "* 문서는 이 범위의 정확도가 낮은 것이, 정확도가 느리게 올라 최고 기록을 제때 갱신하지 못하기 때문이라고 추정한다. 실제로 "
    "26회 중 22회가 조기 종료되었다. 그중 19회는 정확도가 가장 높았던 epoch 뒤에도 검증 손실이 최저값을 갱신했다. "
    "즉, 종료될 때에도 학습이 진행되고 있었다.\n"
)


def test_the_conclusions_state_the_findings_in_both_languages() -> None:
    assert both(FOUND) == (ENGLISH, KOREAN)


FEW: dict[str, Any] = NO_GOOD_RATE | {"num_seeds": 3, "seeds_needed": 18}
STUDY_SAYS_OTHERWISE = best_of(["worse", "worse", "good", "good", "worse"])
FRESH_SAY = best_of(["worse", "good", "worse", "worse", "worse"], num_seeds=20, trade_off=None, rates=slice(1, 4))

FINDINGS = {
    "everything found": FOUND,
    "one seed": replace(FOUND, best=best_of(**NO_GOOD_RATE, num_seeds=1, doubts=("few_seeds",))),
    "few seeds": replace(FOUND, best=best_of(**FEW)),
    "at the grid's end": replace(FOUND, best=best_of(doubts=("at_upper_end",))),
    "runs missing": replace(FOUND, best=best_of(doubts=("runs_missing",))),
    "the trade-off is the best": replace(FOUND, best=best_of(trade_off=2)),
    "no time": replace(FOUND, best=best_of(is_timed=False)),
    "edges beyond the grid": replace(FOUND, edges=Edges(None, None)),
    "edges of one seed": replace(FOUND, edges=Edges(Edge(5.2e-6, math.nan, math.nan, 1), EDGES.end)),
    "nothing learned below 1e-5": replace(FOUND, very_small=NOTHING_LEARNED),
    "no very small rates": replace(FOUND, very_small=None),
    "no small rates": replace(FOUND, small=None),
    "neither": replace(FOUND, very_small=None, small=None),
    "small rates ahead": replace(FOUND, small=replace(SMALL, test_shortfall=-0.0012)),
    "an arm with a number": replace(FOUND, best=best_of(arm="cross_entropy, training.batch_size=64")),
    "fresh seeds": with_fresh(),
    "fresh seeds disagree": with_fresh(FRESH_SAY, best=STUDY_SAYS_OTHERWISE),
    "one fresh rate": with_fresh(best_of(num_seeds=20, trade_off=None, rates=slice(2, 3))),
    "all very small rates failed": replace(FOUND, very_small=replace(NOTHING_LEARNED, highest_test_accuracy=math.nan)),
    "all small rates failed": replace(FOUND, small=replace(SMALL, epochs_ratio=math.nan, test_shortfall=math.nan)),
}


@pytest.mark.parametrize("findings", FINDINGS.values(), ids=FINDINGS.keys())
def test_both_languages_state_the_same_numbers_and_have_no_empty_section(findings: Findings) -> None:
    for text in both(findings):
        assert "nan" not in text
        assert "None" not in text
        assert all(section.strip() for section in re.split(r"(?m)^### .*\n", text)[1:])
    english, korean = (numbers(text) for text in both(findings))
    num_singles = conclusions_en(findings).count("one seed")  # "시드 1개" in Korean
    assert english == korean - Counter({"1": num_singles})


def test_few_seeds_give_cautious_answers() -> None:
    texts = both(FINDINGS["few seeds"])
    assert_in(
        texts,
        "Good rates: **none** is shown yet to lose less than 0.2 percentage points of test accuracy against the best rate. "
        "Undecided: 4 rates, 0.0004 (10⁻³·⁴) to 0.01 (10⁻²); the other 1 is worse. "
        "About 18 seeds would probably show which rates are good.",
        "가장 좋은 학습률과의 테스트 정확도 차이가 0.2%p 미만임이 확인된 학습률이 없다. 아직 판단할 수 없는 학습률은 4개이다",
    )
    assert_in(texts, "The best rate by validation accuracy is **0.0013 (10⁻²·⁹)**", "**0.0013 (10⁻²·⁹)이다**")
    assert_in(
        texts, "the best learning rate is not known, because no rate is shown to be good", "최적의 학습률은 아직 알 수 없다"
    )
    assert_in(both(FINDINGS["one seed"]), "These answers are from one seed (cross_entropy)", "결론(cross_entropy)은 시드 1개로")


def test_no_text_claims_more_than_the_classes_say() -> None:
    for findings in FINDINGS.values():
        english, korean = both(findings)
        assert not re.search("significant|conclusive|wins", english)
        assert not re.search("유의", korean)


def test_a_rate_that_may_lose_much_says_so() -> None:
    best = best_of(["worse", *["undecided"] * 4], trade_off=None)
    texts = both(replace(FOUND, best=best))
    assert_in(texts, "; it may lose 0.00 to 0.09 percentage points (95%).", "최선보다 0.00 ~ 0.09%p 낮을 수 있다 (95%).")


def test_if_nothing_learned_nothing_is_claimed() -> None:
    best = best_of(["worse"] * 5, trade_off=None, doubts=("no_rate_dependable",))
    best = replace(best, rows=best.rows.assign(num_learned=0, num_kept_learning=0))
    texts = both(replace(FOUND, best=best, edges=Edges(None, None)))
    assert_in(texts, "The best rate by validation accuracy is not known, because no run learned.", "학습된 실행이 없다.")
    assert_in(texts, "**With care: no rate learned on every seed.**", "**주의: 모든 시드에서 학습된 학습률이 없다.**")
    assert "98.12%" not in texts[0]


def test_if_the_trade_off_is_the_best_no_saving_is_claimed() -> None:
    texts = both(FINDINGS["the trade-off is the best"])
    assert_in(
        texts,
        "**0.0013 (10⁻²·⁹)**, the best rate itself, because no good rate trains for fewer epochs: 36.0 epochs (95%: 33.0 to "
        "39.0).",
        "검증 정확도가 가장 높은 바로 그 학습률이며, epoch 수도 좋은 학습률 가운데 가장 적어 평균 36.0 epoch이다 (95%: 33.0 ~ "
        "39.0).",
    )
    assert_not_in(texts, "fewer than at the best rate", "적다")
    assert_in(texts, "The least time is at 0.0025 (10⁻²·⁶): 43 s", "0.0025 (10⁻²·⁶)의 수행 시간이 가장 짧아 43초이다")


def test_time_that_was_not_measured_is_not_claimed() -> None:
    texts = both(FINDINGS["no time"])
    assert_in(texts, "The time is not known: no good rate has three runs that had the machine", "시간은 알 수 없다.")
    assert_not_in(texts, "43 s", "43초")


@pytest.mark.parametrize("doubt", get_args(Doubt))
def test_every_doubt_is_written_in_both_languages(doubt: Doubt) -> None:
    texts = both(replace(FOUND, best=best_of(doubts=(doubt,))))
    assert_in(
        texts,
        f"**With care: {DOUBTS_EN[doubt].format(tried='was tried')}.**\n",
        f"**주의: {DOUBTS_KO[doubt].format(tried='실험한')}.**\n",
    )
    assert_not_in(both(FOUND), "With care", "주의")


@pytest.mark.parametrize("name", ["fresh seeds", "fresh seeds disagree"])
def test_the_fresh_seeds_are_the_headline(name: str) -> None:
    texts = both(FINDINGS[name])
    assert_in(
        texts,
        "These answers are from 20 fresh seeds, which were not used to choose the 3 rates that ran on them; the 95% intervals "
        "are paired by seed and hold for all 3 rates at once (cross_entropy). Where learning starts and ends, and section 5-3, "
        "are from the study's own 4 seeds.",
        "새 시드 20개로, 학습률 3개를 다시 실험하여 얻은 것이다.",
    )
    assert ("said otherwise" in texts[0]) == ("결과가 달랐다" in texts[1]) == (name == "fresh seeds disagree")


def test_a_disagreement_is_written_in_one_sentence() -> None:
    texts = both(FINDINGS["fresh seeds disagree"])
    assert_in(
        texts,
        "* The study's own 4 seeds said otherwise: their best rate, 0.0013 (10⁻²·⁹), is worse on the fresh "
        "seeds, where it loses 0.00 percentage points (95%: 0.00 to 0.09), and they called 0.0025 (10⁻²·⁶) good, which the "
        "fresh seeds show to be worse, and they called 0.0004 (10⁻³·⁴) worse, which the fresh seeds show to be good.\n",
        "그 시드에서는 좋았으나 새 시드에서 나쁜 것으로 확인된 학습률은 0.0025 (10⁻²·⁶)이다.",
    )


def test_a_worse_rate_without_a_shortfall_has_no_number() -> None:
    unknown = replace(FRESH_SAY, rows=FRESH_SAY.rows.assign(shortfall=math.nan, shortfall_low=math.nan, shortfall_high=math.nan))
    texts = both(with_fresh(unknown, best=STUDY_SAYS_OTHERWISE))
    assert_in(texts, "is worse on the fresh seeds, and they called", "새 시드에서 나쁜 것으로 확인되었다.")
    assert_not_in(texts, "nan", "nan")


def test_a_rate_that_is_worse_only_because_a_run_diverged_does_not_lose() -> None:
    ahead = replace(FRESH_SAY, rows=FRESH_SAY.rows.assign(shortfall=-0.0196))
    texts = both(with_fresh(ahead, best=STUDY_SAYS_OTHERWISE))
    assert_in(texts, "is worse on the fresh seeds, and they called", "새 시드에서 나쁜 것으로 확인되었다.")
    assert_not_in(texts, "1.96", "1.96")


def test_one_rate_on_fresh_seeds_does_not_replace_the_comparison() -> None:
    assert both(FINDINGS["one fresh rate"]) == both(FOUND)


def test_good_rates_with_undecided_rates_between_them_are_listed_one_by_one() -> None:
    best = best_of(["good", "undecided", "good", "undecided", "good"])
    texts = both(replace(FOUND, best=best))
    assert_in(texts, "**10⁻⁵, 0.0013 (10⁻²·⁹) and 0.01 (10⁻²)**", "**10⁻⁵, 0.0013 (10⁻²·⁹), 0.01 (10⁻²)이다**")


# Where learning starts and ends, and why.


def test_an_edge_beyond_the_grid_is_not_an_estimate() -> None:
    best = replace(best_of(), rows=best_of().rows.assign(num_learned=4, num_kept_learning=4))
    texts = both(replace(FOUND, best=best, edges=Edges(None, EDGES.end)))
    assert_in(
        texts,
        "between a rate below 10⁻⁵ (the lowest tried) and 0.011 (95%: 0.01 to 0.013; 4 seeds)",
        "실험한 가장 작은 학습률보다 작다 (10⁻⁵)",
    )
    assert RATES[0] == 1e-5


def test_an_edge_is_not_known_if_few_seeds_learn_at_the_end_of_the_grid() -> None:
    best = replace(best_of(), rows=best_of().rows.assign(num_learned=1, num_kept_learning=1))
    texts = both(replace(FOUND, best=best, edges=Edges(None, None)))
    assert_in(
        texts,
        "between a rate that is not known (1 of 4 runs learned at 10⁻⁵, the lowest tried) and a rate that is not known (1 of 4",
        "실험한 가장 작은 학습률(10⁻⁵)에서도 실행 4회 중 1회가 학습되었기 때문이다",
    )
    assert_not_in(texts, "beyond", "밖에 있다")


def test_runs_that_diverged_after_they_learned_move_the_edges() -> None:
    late = best_of().rows.assign(num_learned=4, num_kept_learning=[1, 4, 4, 4, 1])
    texts = both(replace(FOUND, best=replace(best_of(), rows=late), edges=Edges(None, None)))
    assert_in(texts, "a rate that is not known (1 of 4 runs learned at 0.01, the highest tried)", "실행 4회 중 1회가 학습되었기")
    texts = both(replace(FOUND, best=replace(best_of(), rows=late.assign(num_kept_learning=0)), edges=Edges(None, None)))
    assert_in(texts, "nowhere, because all runs that learned diverged later.", "학습된 실행은 모두 나중에 발산했다.")


def test_good_rates_that_cost_the_same_are_not_compared_by_their_epochs() -> None:
    rows = FOUND.best.rows.assign(epochs_mean=17.0)
    assert FOUND.best.trade_off is not None
    same = replace(FOUND.best.trade_off, row=rows.loc[FOUND.best.trade_off.row.name], saved=0.0, saved_low=0.0, saved_high=0.0)
    texts = both(replace(FOUND, best=replace(FOUND.best, rows=rows, trade_off=same)))
    assert_in(texts, "of the good rates, which all take as many epochs, the one with the highest", "epoch 수는 모두 같고")
    assert_not_in(texts, "fewer", "적다")


def test_no_saving_is_claimed_if_the_means_disagree() -> None:
    """The arithmetic mean chooses the rate, and the saving is a geometric mean, which a single long run moves less."""
    assert FOUND.best.trade_off is not None
    dearer = replace(FOUND.best.trade_off, saved=-0.8, saved_low=-2.0, saved_high=0.9)
    texts = both(replace(FOUND, best=replace(FOUND.best, trade_off=dearer)))
    assert_in(texts, "the good rate with the fewest epochs: 17.0", "epoch 수가 가장 적어")
    assert_not_in(texts, "fewer", "적다")


def test_edges_beyond_the_grid_on_both_sides_share_one_sentence() -> None:
    best = replace(best_of(), rows=best_of().rows.assign(num_learned=4, num_kept_learning=4))
    texts = both(replace(FOUND, best=best, edges=Edges(None, None)))
    assert_in(
        texts,
        "* Where learning starts and ends: beyond the rates tried, 10⁻⁵ to 0.01 (10⁻²).",
        "* 학습이 되고 안 되는 경계는 실험한 범위 (10⁻⁵ ~ 0.01 (10⁻²)) 밖에 있다.",
    )


def test_if_nothing_was_learned_below_1e_5_the_document_is_right() -> None:
    texts = both(FINDINGS["nothing learned below 1e-5"])
    assert_in(
        texts,
        "nothing is learned below 1e-5, and none of the 23 runs there learned (test accuracy at most 11.35%).",
        "실제로 23회 모두 학습되지 않았다 (테스트 정확도 최고 11.35%).",
    )


def test_if_all_runs_below_1e_5_learned_they_are_not_counted_twice() -> None:
    texts = both(replace(FOUND, very_small=replace(VERY_SMALL, num_runs=8)))
    assert_in(texts, "But all 8 runs there learned, from", "그러나 이 범위의 실행 8회 모두 학습되었다.")


def test_one_run_below_1e_5_without_a_score() -> None:
    one = replace(NOTHING_LEARNED, num_runs=1, num_out_of_patience=1, num_stopped_at_once=1, highest_test_accuracy=math.nan)
    texts = both(replace(FOUND, very_small=one))
    assert_in(texts, "and the one run there did not learn.\n", "실제로 실행 1회는 학습되지 않았다.\n")
    assert_in(texts, "stopping ended the one run there; 1 of them never", "")


def test_an_interval_of_an_accuracy_ends_at_100_percent() -> None:
    rows = FOUND.best.rows.assign(test_high=1.0122)
    texts = both(replace(FOUND, best=replace(FOUND.best, rows=rows, best=rows.iloc[2])))
    assert_in(texts, "98.12% (95%: 98.01% to 100.00%)", "98.12% (95%: 98.01% ~ 100.00%)")


@pytest.mark.parametrize(
    ("num_stopped", "count", "english", "korean"),
    [
        (26, 26, "ended all 26 runs; in all of them the", "26회 모두 조기 종료되었다. 그 26회 모두"),
        (26, 25, "ended all 26 runs; in 25 of them the", "26회 모두 조기 종료되었다. 그중 25회는"),
        (22, 0, "ended 22 of 26 runs; in 0 of them the", "26회 중 22회가 조기 종료되었다. 그중 0회는"),
    ],
)
def test_early_stopped_runs_are_counted(num_stopped: int, count: int, english: str, korean: str) -> None:
    small = replace(SMALL, num_out_of_patience=num_stopped, num_still_improving=count)
    assert_in(both(replace(FOUND, small=small)), english, korean)


def test_small_rates_are_compared_with_the_best_rate_if_none_is_good() -> None:
    assert_in(both(FINDINGS["few seeds"]), "times the epochs of the best rate", "가장 좋은 학습률에 비해 epoch 수가")


def test_small_rates_may_end_higher() -> None:
    assert_in(both(FINDINGS["small rates ahead"]), "0.12 percentage points higher", "0.12%p 높다")


def test_the_name_of_an_arm_is_escaped() -> None:
    for text in both(replace(FOUND, best=best_of(arm="<b>`x`|*"))):
        assert r"(\<b\>\`x\`\|\*)" in text


def test_without_early_stopping_there_is_nothing_to_explain() -> None:
    never = {"num_out_of_patience": 0}
    found = replace(FOUND, very_small=replace(VERY_SMALL, **never), small=replace(SMALL, **never))
    assert "5-3" not in conclusions_en(found) + conclusions_ko(found)
    assert "5-3" not in conclusions_en(with_fresh(very_small=found.very_small, small=found.small))
