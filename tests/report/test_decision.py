"""The decision in four lines, in English and Korean."""

import math
import re
from collections import Counter
from dataclasses import replace

import pytest
from synthetic_findings import EDGES, FOUND, NO_GOOD_RATE, best_of, with_fresh

from lrsweep.analysis.edges import Edges
from lrsweep.analysis.findings import Findings
from lrsweep.analysis.rates import decimal_rate
from lrsweep.report.texts.decision import decision_en, decision_ko
from lrsweep.report.texts.language import language


def english(found: Findings) -> list[str]:
    return [answer for _, answer in decision_en(found)]


def korean(found: Findings) -> list[tuple[str, str]]:
    with language("ko"):
        return decision_ko(found)


def test_a_reader_learns_the_rate_its_neighbours_the_certainty_and_the_time() -> None:
    assert english(FOUND) == [
        "Use **0.0025**: test accuracy 97.98%. It is shown to lose less than 0.2 points of test accuracy, compared with the most "
        "accurate rate. Of the 2 rates for which this is shown (0.0013 to 0.0025), it takes the fewest epochs, 17.0. "
        "0.0013 loses the least of them, "
        "and takes 36.0 epochs. Another rate, 0.0004, may lose less or more than 0.2 points; more seeds would show.",
        "0.0013 loses 0.00 points (0.00 to 0.09). 0.01 loses 2.12 points (1.51 to 2.73). By estimate, at least half of all "
        "seeds fail to learn above 0.011 and below 5.2×10⁻⁶.",
        "4 seeds. The 95% intervals of the losses hold for all 5 rates at once.",
        "17 epochs (16 to 18), or 43 s if nothing else runs on the machine (timed on 2 runs).",
    ]


def test_runs_of_equal_length_have_no_range_of_lengths() -> None:
    rows = FOUND.best.rows.assign(**dict.fromkeys(("epochs_mean", "epochs_low", "epochs_high"), 6.0))
    found = replace(FOUND, best=replace(FOUND.best, rows=rows, best=rows.iloc[2], trade_off=None))
    assert english(found)[3].startswith("6 epochs, or")


def test_fresh_seeds_are_said_to_be_fresh_and_a_disagreement_is_told() -> None:
    assert english(with_fresh())[2].startswith("20 fresh seeds, which were not used to choose the rate.")
    fresh = best_of(["worse", "good", "worse", "good", "worse"], num_seeds=20, rates=slice(1, 4))
    assert "The study's own 4 seeds said otherwise" in english(with_fresh(fresh))[2]
    one_rate = with_fresh(best_of(num_seeds=20, trade_off=None, rates=slice(2, 3)))
    assert english(one_rate)[2].endswith("On 20 fresh seeds, 0.0013 reaches 98.12%.")


SAME_EPOCHS = replace(FOUND, best=replace(FOUND.best, rows=FOUND.best.rows.assign(epochs_mean=17.0)))
MORE_ACCURATE = FOUND.best.rows.assign(
    shortfall=[0.8812, 0.0049, 0.0, 0.0014, -0.0151], shortfall_low=math.nan, num_diverged=[0, 0, 0, 0, 1]
)
FAILS = replace(FOUND, best=replace(FOUND.best, rows=MORE_ACCURATE))
FRESH_DIVERGED = best_of(num_seeds=20, trade_off=None, rates=slice(2, 3))
FRESH_DIVERGED = with_fresh(replace(FRESH_DIVERGED, rows=FRESH_DIVERGED.rows.assign(num_scored=18, num_diverged=2)))
CASES = {
    "good rates that cost the same": SAME_EPOCHS,
    "an accurate rate that fails": FAILS,
    "fresh runs that diverged": FRESH_DIVERGED,
    "all there": FOUND,
    "no good rate": replace(FOUND, best=best_of(**NO_GOOD_RATE, num_seeds=3, seeds_needed=18)),
    "one seed": replace(FOUND, best=best_of(**NO_GOOD_RATE, num_seeds=1, doubts=("few_seeds",))),
    "one rate": replace(FOUND, best=replace(best_of(trade_off=None), rows=best_of(["undecided"] * 5).rows.iloc[2:3])),
    "fresh seeds": with_fresh(),
    "one fresh rate": with_fresh(best_of(num_seeds=20, trade_off=None, rates=slice(2, 3))),
    "no time": replace(FOUND, best=best_of(is_timed=False)),
    "edges beyond the grid": replace(FOUND, edges=Edges(None, None)),
    "one edge": replace(FOUND, edges=Edges(None, EDGES.end)),
}


@pytest.mark.parametrize("found", CASES.values(), ids=CASES.keys())
def test_both_languages_give_the_same_numbers(found: Findings) -> None:
    def numbers(pairs: list[tuple[str, str]]) -> Counter[str]:
        texts = [text.replace("Another", "1 other").replace("One seed", "1 seed") for _, text in pairs]
        return Counter(re.findall(r"\d[\d.,]*\d|\d", " ".join(texts)))

    texts = decision_en(found), korean(found)
    assert all(answer and "nan" not in answer for pairs in texts for _, answer in pairs)
    assert numbers(texts[0]) == numbers(texts[1])


def test_without_a_good_rate_it_is_a_guess_and_says_how_many_seeds_would_help() -> None:
    which, *_ = english(CASES["no good rate"])
    assert which.startswith("Perhaps **0.0013**.")
    assert which.endswith("About 18 seeds would probably show which rates are good.")


def test_fewer_epochs_that_may_be_chance_are_called_so() -> None:
    assert FOUND.best.trade_off is not None
    unsure = replace(FOUND, best=replace(FOUND.best, trade_off=replace(FOUND.best.trade_off, saved_low=-0.1)))
    assert "17.0; the difference from 0.0013, the rate with the highest validation accuracy, may be chance." in english(unsure)[0]
    assert "검증 정확도가 가장 높은 학습률(0.0013)과의 epoch 차이는 우연일 수 있다." in korean(unsure)[0][1]


def test_rates_that_differ_in_the_third_digit_have_three() -> None:
    rows = FOUND.best.rows.assign(lr=[0.002, 0.00201, 0.00203, 0.00206, 0.003])
    best = replace(FOUND.best, rows=rows, best=rows.iloc[2], trade_off=replace(FOUND.best.trade_off, row=rows.iloc[3]))
    answer = english(replace(FOUND, best=replace(best, tried=tuple(rows["lr"]))))[0]
    assert answer.startswith("Use **0.00206**")
    assert "Of the 2 rates for which this is shown (0.00203 to 0.00206), it takes" in answer
    assert "0.00203 loses the least of them" in answer


def test_good_rates_that_cost_the_same_are_not_compared_by_their_epochs() -> None:
    assert "This is shown for 2 rates (0.0013 to 0.0025), and all of them take 17.0 epochs; it has the" in english(SAME_EPOCHS)[0]
    assert "epoch 수는 모두 17.0이다." in korean(SAME_EPOCHS)[0][1]


def test_a_rate_that_is_more_accurate_but_fails_does_not_lose() -> None:
    assert "0.01 is 1.51 points more accurate on average, but 1 of 4 runs diverged." in english(FAILS)[1]
    rows = MORE_ACCURATE.assign(num_diverged=0, num_learned=3)
    half = replace(FAILS, best=replace(FAILS.best, rows=rows))
    assert "0.01 is 1.51 points more accurate on average, but only 3 of 4 runs learned." in english(half)[1]


def test_a_study_of_one_seed_is_not_called_seeds() -> None:
    found = with_fresh(best=best_of(**NO_GOOD_RATE, num_seeds=1))
    assert "Where learning fails was measured on the one seed of the full sweep." in english(found)[2]


def test_the_mean_of_fresh_runs_leaves_out_those_that_diverged_and_says_so() -> None:
    assert english(FRESH_DIVERGED)[2].endswith(
        "On 20 fresh seeds, 2 runs at 0.0013 diverged before the first score, and the mean of the others is 98.12%."
    )


def test_fresh_runs_that_all_diverged_have_no_mean() -> None:
    fresh = FRESH_DIVERGED.confirmation
    assert fresh is not None
    none = with_fresh(replace(fresh, rows=fresh.rows.assign(num_scored=0, num_diverged=20, test_mean=math.nan)))
    assert english(none)[2].endswith("On 20 fresh seeds, 20 runs at 0.0013 diverged before the first score.")
    assert "점수를 얻기 전에 발산했다." in korean(none)[2][1]


def test_the_good_rate_that_loses_the_least_is_named_only_if_it_is_another_one() -> None:
    rows = FOUND.best.rows.assign(
        shortfall=FOUND.best.rows["shortfall"].where(FOUND.best.rows["lr"] != FOUND.best.trade_off.row["lr"], -1)
    )
    found = replace(FOUND, best=replace(FOUND.best, rows=rows))
    assert "loses the least" not in english(found)[0]
    assert "그중" not in korean(found)[0][1]


def test_if_nothing_learned_no_rate_is_named() -> None:
    best = best_of(**NO_GOOD_RATE)
    unknown = dict.fromkeys(("shortfall", "shortfall_low", "shortfall_high"), math.nan)
    rows = best.rows.assign(num_learned=0, epochs_mean=1.0, **unknown)
    nothing = replace(FOUND, best=replace(best, rows=rows, best=rows.iloc[0]), edges=Edges(None, None))
    assert english(nothing)[:3] == [
        "No rate, because no run learned.",
        "Not known: no rate learned on every seed.",
        "4 seeds.",
    ]
    assert english(nothing)[3].startswith("1 epoch,")
    assert korean(nothing)[0][1] == "고를 수 없다. 학습에 성공한 실행이 하나도 없다."


@pytest.mark.parametrize(
    ("lr", "text"),
    [
        (10**-2.6, "0.0025"),
        (0.1, "0.1"),
        (1.0, "1"),
        (25.0, "25"),
        (1e-4, "0.0001"),
        (5.24e-6, "5.2×10⁻⁶"),
        (math.nan, "–"),
        (1e-6, "10⁻⁶"),
    ],
)
def test_a_rate_has_two_digits(lr: float, text: str) -> None:
    assert decimal_rate(lr) == text
