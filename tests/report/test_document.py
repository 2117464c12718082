"""lrsweep.report.document: what the words say, and that every number in them was found, not typed."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from lrsweep import store
from lrsweep.analysis.best import Best
from lrsweep.analysis.explain import Small, VerySmall
from lrsweep.analysis.summary import summarise, with_arms, with_chance, with_seconds
from lrsweep.config import GridConfig, log_grid
from lrsweep.records import RunRecord
from lrsweep.report.conclusions import Findings, conclusions_en, conclusions_ko, in_both_languages, lr_text, percent
from lrsweep.report.document import (
    class_counts_table,
    completeness,
    data_section,
    environment_section,
    head,
    markdown_table,
    rates_table,
)

MakeRecord = Callable[..., RunRecord]

ROWS = pd.DataFrame(
    {
        "lr": [10**-3.4, 10**-2.9, 10**-2.6],
        "valid_mean": [0.9863, 0.9871, 0.9866],
        "test_mean": [0.9763, 0.9812, 0.9798],
        "seconds_median": [52.4, 61.2, 43.1],
        "epochs_median": [28.0, 36.0, 17.0],
        "time": "wall",
    }
)


def best_of(
    *, bargain: int = 2, num_seeds: int = 4, arm: str = "cross_entropy", time: str = "wall", bargain_seconds: float = 43.1
) -> Best:
    """The best rate takes 61.2 s."""
    rows = ROWS.assign(time=time)
    rows.loc[2, "seconds_median"] = bargain_seconds
    return Best(
        arm=arm,
        num_seeds=num_seeds,
        best=rows.iloc[1],
        tolerance=0.0016,
        low=10**-3.4,
        high=10**-2.6,
        plateau=rows,
        bargain=rows.iloc[bargain],
    )


VERY_SMALL = VerySmall(
    num_runs=23,
    num_learned=8,
    learned_from=10**-5.4,
    num_out_of_patience=21,
    num_stopped_at_once=14,
    highest_test_accuracy=0.3457,
)
NOTHING_LEARNED = replace(VERY_SMALL, num_learned=0, learned_from=None, highest_test_accuracy=0.1135)
SMALL = Small(
    num_runs=26, time_ratio=7.34, epochs_ratio=12.6, test_shortfall=0.0249, num_out_of_patience=22, num_still_improving=19
)
FOUND = Findings(best=best_of(), very_small=VERY_SMALL, small=SMALL)


def numbers(text: str) -> Counter[str]:
    """All numbers in a text, each as often as it is there; 10^-2.9 is one, and a section's 5-2 is two."""
    return Counter(re.findall(r"\d+(?:\.\d+)?(?:\^-?\d+(?:\.\d+)?|e-\d+)?", text))


# Numbers in words.


@pytest.mark.parametrize(
    ("lr", "text"),
    [
        (1e-3, "10^-3 (0.001)"),
        (10**-3.2, "10^-3.2 (0.000631)"),
        (10**-3.25, "10^-3.25 (0.000562)"),
        (10**-10.25, "10^-10.25 (5.62e-11)"),
        (1.0, "10^0 (1)"),
        (3e-4, "0.0003"),
        (0.123456, "0.123"),
    ],
)
def test_a_rate_has_its_exponent_where_that_is_short_and_its_value_always(lr: float, text: str) -> None:
    assert lr_text(lr) == text


def test_every_rate_of_the_documents_grid_has_an_exponent_of_its_own() -> None:
    exponents = [lr_text(lr).split(" (")[0] for lr in log_grid(GridConfig())]
    assert exponents == [f"10^{i / 10:g}" for i in range(-60, -14)]


@pytest.mark.parametrize(("share", "text"), [(0.98125, "98.12%"), (1.0, "100.00%"), (0.0016, "0.16%"), (math.nan, "not scored")])
def test_a_share_is_percent_with_two_decimals(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_table_is_markdown_and_pipes_in_it_are_escaped() -> None:
    table = markdown_table(["a", "b"], [["1", "x|y"], ["||", ""]])
    assert table.splitlines() == ["| a | b |", "|---|---|", r"| 1 | x\|y |", r"| \|\| |  |"]


# The conclusions: FOUND's numbers, in their places.


@pytest.mark.parametrize(
    "sentence",
    [
        "Every conclusion here is from 4 seeds (cross_entropy).",
        "highest for learning rates **from 10^-3.4 (0.000398) to 10^-2.6 (0.00251)**: test accuracy 97.63% to 98.12%.",
        "The highest validation accuracy, 98.71%, is at 10^-2.9 (0.00126);",
        "; the range holds it and its neighbours within one standard error (0.16 percentage points): 3 rates.\n",
        "the best learning rate is **10^-2.6 (0.00251)**, the fastest of that range: test accuracy 97.98% in 43 s",
        "of wall time (17 epochs). That is 29.58% less time than the rate of the highest validation accuracy takes.\n",
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
        ", 19 of them while their validation loss was still setting records: it fits most runs.\n",
    ],
)
def test_the_english_conclusions_say(sentence: str) -> None:
    assert sentence in conclusions_en(FOUND)


@pytest.mark.parametrize(
    "sentence",
    [
        "아래의 모든 결론은 시드 4개의 결과이다 (cross_entropy).",
        "learning rate 구간은 **10^-3.4 (0.000398) ~ 10^-2.6 (0.00251)** 이다. 이 구간의 test 정확도는 97.63% ~ 98.12% 이다.",
        "가장 높은 validation 정확도 98.71% 는 10^-2.9 (0.00126) 에서 나왔고, 그 값과의 차이가 표준오차 이내(0.16%p)이면서",
        "이내(0.16%p)이면서 서로 이웃한 learning rate 3개를 이 구간으로 보았다.\n",
        "최적의 learning rate 는 **10^-2.6 (0.00251)** 이다. 이 구간에서 가장 빠르며,",
        "학습을 마치는 데 수행 시간 43초 (17 epoch) 가 걸리고, test 정확도는 97.98% 이다.",
        " validation 정확도가 가장 높은 learning rate 보다 시간이 29.58% 적게 든다.\n",
        "* learning rate 가 1e-5 미만이면 학습이 전혀 진행되지 않는다: 23개 실행 중 **15개에서만 사실이다**.",
        "우연 수준을 넘은 실행이 있는 가장 작은 learning rate 는 10^-5.4 (3.98e-06) 이고,",
        "이고, 1e-5 미만에서 test 정확도가 가장 높은 실행은 34.57% 이다.\n",
        "* 1e-5 미만에 대해 문서가 든 이유는 5 epoch 동안 valid set 성능이 증가하지 않았다는 것이다.",
        "전체 23개 실행 중 21개가 early stopping 으로 끝났고, 문서의 설명대로",
        "문서의 설명대로 첫 epoch 의 성능을 한 번도 넘지 못한 실행은 14개이다. 8개는 학습이 된 뒤에 끝났다.\n",
        "* 1e-5 ~ 1e-4 (최고 구간 밖) 에서는 최고 구간에 비해 수행 시간이 7.3배, epoch 수가 13배이고 (중앙값),",
        "(중앙값), test 정확도는 2.49%p 낮다 (평균).\n",
        "* 문서가 추정한 이유는 valid set 정확도가 5 epochs 동안 최고 기록을 갱신하지 않는 경우가 있다는 것이다. 26개 실행 중",
        "26개 실행 중 22개가 early stopping 으로 끝났고, 그중 19개는 그때까지도",
        "validation loss 가 최저 기록을 갱신하고 있었다. 대부분의 실행에서 추정과 맞는다.\n",
    ],
)
def test_the_korean_conclusions_say(sentence: str) -> None:
    assert sentence in conclusions_ko(FOUND)


QUOTED = "5-2 5-3 1e-5 1e-5 1e-5 1e-5 1e-4 5"  # the documents' section numbers, bounds and patience
FOUND_IN_WORDS = (
    "4 10^-3.4 0.000398 10^-2.6 0.00251 97.63 98.12 98.71 10^-2.9 0.00126 3 0.16 "  # the best range
    "10^-2.6 0.00251 97.98 43 17 29.58 "  # the bargain
    "15 23 10^-5.4 3.98e-06 34.57 21 23 14 8 "  # very small rates
    "7.3 13 2.49 22 26 19"  # small ones
)


def test_the_conclusions_hold_the_findings_numbers_and_the_quoted_ones_and_no_others() -> None:
    assert numbers(conclusions_en(FOUND)) == numbers(f"{QUOTED} {FOUND_IN_WORDS}")


FINDINGS = {
    "everything found": FOUND,
    "one seed": replace(FOUND, best=best_of(num_seeds=1)),
    "the bargain is the best": replace(FOUND, best=best_of(bargain=1)),
    "hardly faster": replace(FOUND, best=best_of(bargain_seconds=59.0)),
    "CPU time": replace(FOUND, best=best_of(time="cpu")),
    "nothing learned": replace(FOUND, very_small=NOTHING_LEARNED),
    "no very small rates": replace(FOUND, very_small=None),
    "no small rates": replace(FOUND, small=None),
    "neither": replace(FOUND, very_small=None, small=None),
    "patience fits no run": replace(FOUND, small=replace(SMALL, num_still_improving=0)),
    "small rates ahead": replace(FOUND, small=replace(SMALL, test_shortfall=-0.0012)),
    "an arm with a number": replace(FOUND, best=best_of(arm="cross_entropy, training.batch_size=64")),
}


@pytest.mark.parametrize("found", FINDINGS.values(), ids=FINDINGS.keys())
def test_both_languages_state_the_same_numbers(found: Findings) -> None:
    english, korean = numbers(conclusions_en(found)), numbers(conclusions_ko(found))
    if found.best.num_seeds == 1:
        korean -= Counter(["1"])  # "one seed" is a word in English, "시드 1개" a number in Korean
    # The document's own patience is quoted once more in Korean, "5 epochs 동안": "too rarely for the patience" in English.
    if found.small is not None:
        korean -= Counter(["5"])
    assert english == korean


@pytest.mark.parametrize("found", FINDINGS.values(), ids=FINDINGS.keys())
def test_a_part_without_findings_has_no_heading(found: Findings) -> None:
    for text in (conclusions_en(found), conclusions_ko(found)):
        sections = re.split(r"^### .*\n", text, flags=re.MULTILINE)[1:]
        assert all(section.strip() for section in sections)


def test_one_seed_says_so_in_both_languages() -> None:
    found = FINDINGS["one seed"]
    assert "Every conclusion here is from one seed (cross_entropy)." in conclusions_en(found)
    assert "아래의 모든 결론은 시드 1개의 결과이다 (cross_entropy)." in conclusions_ko(found)


def test_where_nothing_was_learned_the_documents_claim_is_true() -> None:
    english, korean = conclusions_en(FINDINGS["nothing learned"]), conclusions_ko(FINDINGS["nothing learned"])
    assert "nothing is learned: **true** of all 23 runs; none leaves chance (test at most 11.35%)." in english
    assert "23개 실행 모두에서 **사실이다**. 우연 수준을 넘은 실행이 없다 (test 정확도 최고 11.35%)." in korean
    assert "only" not in english
    assert "에서만" not in korean


def test_where_something_was_learned_it_is_true_of_the_others_only() -> None:
    english, korean = conclusions_en(FOUND), conclusions_ko(FOUND)
    assert "**true**" not in english
    assert "모두에서" not in korean


ABOUT_AS_LONG_EN = " The rate of the highest validation accuracy takes about as long."
ABOUT_AS_LONG_KO = " validation 정확도가 가장 높은 learning rate 도 걸리는 시간은 비슷하다."


def test_where_the_bargain_is_the_best_nothing_is_saved() -> None:
    english, korean = (write(FINDINGS["the bargain is the best"]) for write in (conclusions_en, conclusions_ko))
    assert "(36 epochs). It is the rate of the highest validation accuracy as well.\n" in english
    assert "이다. 이 learning rate 는 validation 정확도도 가장 높다.\n" in korean
    assert "less time" not in english
    assert "적게" not in korean


@pytest.mark.parametrize(
    ("bargain_seconds", "english", "korean"),
    [
        (58.0, "That is 5.23% less time than the rate", "learning rate 보다 시간이 5.23% 적게 든다."),
        (58.4, ABOUT_AS_LONG_EN, ABOUT_AS_LONG_KO),
        (61.2, ABOUT_AS_LONG_EN, ABOUT_AS_LONG_KO),
    ],
    ids=["just above 5 %", "just below 5 %", "none"],
)
def test_a_saving_below_5_percent_is_none_to_speak_of(bargain_seconds: float, english: str, korean: str) -> None:
    found = replace(FOUND, best=best_of(bargain_seconds=bargain_seconds))
    texts = conclusions_en(found), conclusions_ko(found)
    assert english in texts[0]
    assert korean in texts[1]
    is_saving = bargain_seconds == 58.0
    assert ("less time" in texts[0], ABOUT_AS_LONG_EN in texts[0]) == (is_saving, not is_saving)
    assert ("적게" in texts[1], ABOUT_AS_LONG_KO in texts[1]) == (is_saving, not is_saving)


VERDICTS = {
    26: ("it fits every run", "모든 실행에서 추정과 맞는다."),
    25: ("it fits most runs", "대부분의 실행에서 추정과 맞는다."),
    14: ("it fits most runs", "대부분의 실행에서 추정과 맞는다."),
    13: ("it fits some runs only", "일부 실행에서만 추정과 맞는다."),  # a half is not most
    1: ("it fits some runs only", "일부 실행에서만 추정과 맞는다."),
    0: ("it fits no run", "추정과 맞는 실행이 없다."),
}


@pytest.mark.parametrize("number", VERDICTS)
def test_a_verdict_is_no_stronger_than_the_count_of_all_runs(number: int) -> None:
    found = replace(FOUND, small=replace(SMALL, num_out_of_patience=26, num_still_improving=number))
    english, korean = VERDICTS[number]
    assert conclusions_en(found).endswith(
        f"26 of 26 runs were ended by patience, {number} of them while their validation loss "
        f"was still setting records: {english}.\n"
    )
    assert conclusions_ko(found).endswith(
        f"그중 {number}개는 그때까지도 validation loss 가 최저 기록을 갱신하고 있었다. {korean}\n"
    )


def test_a_verdict_is_of_all_runs_not_of_those_that_patience_ended() -> None:
    found = replace(FOUND, small=replace(SMALL, num_out_of_patience=10, num_still_improving=10))
    assert "10 of 26 runs were ended by patience, 10 of them while" in conclusions_en(found)
    assert conclusions_en(found).endswith("it fits some runs only.\n")
    assert conclusions_ko(found).endswith("일부 실행에서만 추정과 맞는다.\n")


@pytest.mark.parametrize(
    ("shortfall", "english", "korean"),
    [(0.0249, "2.49 percentage points lower", "2.49%p 낮다"), (-0.0012, "0.12 percentage points higher", "0.12%p 높다")],
)
def test_small_rates_end_lower_or_higher(shortfall: float, english: str, korean: str) -> None:
    found = replace(FOUND, small=replace(SMALL, test_shortfall=shortfall))
    assert english in conclusions_en(found)
    assert korean in conclusions_ko(found)


@pytest.mark.parametrize(
    ("time", "english", "korean"), [("wall", "43 s of wall time", "수행 시간 43초"), ("cpu", "43 s of CPU time", "CPU 시간 43초")]
)
def test_the_conclusions_say_which_time_they_mean(time: str, english: str, korean: str) -> None:
    found = replace(FOUND, best=best_of(time=time))
    assert english in conclusions_en(found)
    assert korean in conclusions_ko(found)


@pytest.mark.parametrize(
    "found",
    [
        replace(FOUND, very_small=replace(NOTHING_LEARNED, highest_test_accuracy=math.nan)),
        replace(FOUND, small=replace(SMALL, time_ratio=math.nan, epochs_ratio=math.nan, test_shortfall=math.nan)),
    ],
    ids=["very small rates", "small rates"],
)
def test_where_all_runs_of_a_range_failed_no_sentence_says_nan(found: Findings) -> None:
    assert "nan" not in conclusions_en(found)
    assert "nan" not in conclusions_ko(found)


def test_both_languages_stand_in_the_report() -> None:
    text = in_both_languages(FOUND)
    assert conclusions_en(FOUND) in text
    assert conclusions_ko(FOUND) in text


# The tables.


def runs_of(records: list[RunRecord]) -> pd.DataFrame:
    return with_arms(with_seconds(with_chance(store.to_frame(records), store.class_counts_frame(records))))


def rows_of(table: str) -> list[list[str]]:
    """A Markdown table's cells, without its header."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def scored(valid: float, test: float, seconds: float = 2.0) -> dict[str, Any]:
    return {"valid_accuracy": valid, "test_accuracy": test, "wall_seconds": seconds, "cpu_seconds": seconds}


NOT_SCORED = ["not scored", "not scored"]


@pytest.mark.parametrize(
    ("outcomes", "cells"),
    [
        ([scored(0.9, 0.88)], ["1", "90.00%", "88.00%", "3", "2.0", ""]),
        ([scored(0.9, 0.88, 2.0), scored(0.8, 0.84, 5.0)], ["2", "85.00% ± 7.07", "86.00% ± 2.83", "3", "3.5", ""]),
        ([scored(0.1, 0.11)], ["1", "10.00%", "11.00%", "3", "2.0", "at chance"]),
        ([scored(0.1, 0.11), scored(0.9, 0.91)], ["2", "50.00% ± 56.57", "51.00% ± 56.57", "3", "2.0", "1 at chance"]),
        ([scored(0.1, 0.11)] * 2, ["2", "10.00% ± 0.00", "11.00% ± 0.00", "3", "2.0", "at chance"]),
        ([{"status": "diverged"} | scored(0.4, 0.41)], ["1", "40.00%", "41.00%", "0", "2.0", "1 diverged"]),
        ([{"status": "diverged"}], ["1", *NOT_SCORED, "0", "1.1", "1 diverged"]),
        ([{"status": "diverged"} | scored(0.1, 0.1)], ["1", "10.00%", "10.00%", "0", "2.0", "1 diverged, at chance"]),
        ([{"status": "failed"}], ["1", *NOT_SCORED, "not measured", "not measured", "1 failed"]),
        ([scored(0.9, 0.88), {"status": "failed"}], ["2", "90.00%", "88.00%", "3", "2.0", "1 failed"]),
        ([{"status": "diverged"}, {"status": "failed"}], ["2", *NOT_SCORED, "0", "1.1", "1 diverged, 1 failed"]),
    ],
    ids=[
        *("ok", "two seeds", "at chance", "one of two at chance", "both at chance", "diverged late", "diverged unscored"),
        *("diverged at chance", "failed", "one of two failed", "nothing scored"),
    ],
)
def test_a_rates_row_says_what_became_of_its_runs(
    make_record: MakeRecord, outcomes: list[dict[str, Any]], cells: list[str]
) -> None:
    records = [make_record(lr=10**-3.2, seed=seed, **outcome) for seed, outcome in enumerate(outcomes)]
    splits = [make_record(seed=seed) for seed in range(len(outcomes))]  # the classes are those of the seeds, whatever failed
    runs = with_seconds(with_chance(store.to_frame(records), store.class_counts_frame(splits)))
    assert rows_of(rates_table(summarise(with_arms(runs)))) == [["10^-3.2 (0.000631)", *cells]]


@pytest.mark.parametrize(("cpu_seconds", "name"), [(3.3, "wall time (s)"), (1.1, "CPU time (s)")], ids=["idle", "busy"])
def test_the_rates_table_has_a_row_a_rate_and_says_which_time_it_shows(
    make_record: MakeRecord, cpu_seconds: float, name: str
) -> None:
    table = rates_table(summarise(runs_of([make_record(lr=lr, cpu_seconds=cpu_seconds) for lr in (1e-2, 1e-4, 1e-3)])))
    assert [row[0] for row in rows_of(table)] == ["10^-4 (0.0001)", "10^-3 (0.001)", "10^-2 (0.01)"]
    assert {row[5] for row in rows_of(table)} == {str(cpu_seconds)}
    assert name in table.splitlines()[0]


def counts_frame(rows: dict[tuple[str, int], list[int]]) -> pd.DataFrame:
    digits = [str(digit) for digit in range(10)]
    return pd.DataFrame([[seed, split, *counts] for (split, seed), counts in rows.items()], columns=["seed", "split", *digits])


def test_class_counts_are_a_row_a_split_and_seed() -> None:
    counts = {("train", 0): [300] * 10, ("valid", 3): [400, 600, *[500] * 8], ("test", 3): [0, 2000, *[1000] * 8]}
    assert rows_of(class_counts_table(counts_frame(counts))) == [
        ["train", "0", *["300"] * 10, "1.00"],
        ["valid", "3", "400", "600", *["500"] * 8, "1.50"],
        ["test", "3", "0", "2000", *["1000"] * 8, "inf"],
    ]


@pytest.mark.parametrize(
    ("valid", "even"),
    [([500] * 10, True), ([489, 567, 510, 503, 504, 442, 493, 501, 500, 491], True), ([2000, *[333] * 9], False)],
    ids=["even", "MNIST's own", "uneven"],
)
def test_the_data_section_says_whether_the_classes_are_even(valid: list[int], even: bool) -> None:
    counts = counts_frame({("train", 0): [300] * 10, ("valid", 0): valid})
    text = data_section(counts)
    assert ("accuracy is a fair measure" in text, "read accuracies with care" in text) == (even, not even)
    assert class_counts_table(counts) in text


def test_without_class_counts_nothing_is_claimed_of_them() -> None:
    assert "even" not in data_section(store.class_counts_frame([]))


# How complete, and where.


def grid(make_record: MakeRecord, rates: list[float], seeds: list[int], loss: str = "cross_entropy") -> list[RunRecord]:
    return [make_record(lr=lr, seed=seed, loss=loss) for lr in rates for seed in seeds]


def ids_of(records: list[RunRecord]) -> set[str]:
    return {record.run_id for record in records}


@pytest.mark.parametrize(
    ("leave_out", "there", "missing"),
    [
        (0, "6 (3 learning rates, up to 2 seeds): 6 ok, 0 diverged, 0 failed", ". The last sweep is complete (6)"),
        (1, "5 (3 learning rates, up to 2 seeds): 5 ok, 0 diverged, 0 failed", ". **1 of 6 missing**"),
        (4, "2 (1 learning rate, up to 2 seeds): 2 ok, 0 diverged, 0 failed", ". **4 of 6 missing**"),
    ],
)
def test_missing_runs_are_counted_where_it_is_known_which_were_expected(
    make_record: MakeRecord, leave_out: int, there: str, missing: str
) -> None:
    records = grid(make_record, [1e-4, 1e-3, 1e-2], [0, 1])
    runs = runs_of(records[leave_out:])
    assert completeness(runs) == there
    assert completeness(runs, ids_of(records)) == there + missing


def test_runs_of_an_earlier_sweep_make_no_later_one_complete(make_record: MakeRecord) -> None:
    earlier, later = grid(make_record, [1e-4, 1e-3], [0]), grid(make_record, [1e-2], [0, 1])
    assert completeness(runs_of(earlier + later[:1]), ids_of(later)).endswith("3 ok, 0 diverged, 0 failed. **1 of 2 missing**")
    assert completeness(runs_of(earlier + later), ids_of(later)).endswith(
        "4 ok, 0 diverged, 0 failed. The last sweep is complete (2)"
    )


def test_missing_runs_are_counted_whatever_their_arm(make_record: MakeRecord) -> None:
    records = grid(make_record, [1e-4, 1e-3, 1e-2], [0, 1]) + grid(make_record, [1e-4, 1e-3], [0, 1], "double_softmax")
    told = completeness(runs_of(records[:6] + records[7:]), ids_of(records))
    assert told.startswith("9 (3 learning rates, up to 2 seeds): ")
    assert told.endswith(". **1 of 10 missing**")


def test_statuses_are_counted_and_one_seed_is_one_seed(make_record: MakeRecord) -> None:
    records = [make_record(lr=1e-4), make_record(lr=1e-3, status="diverged"), make_record(lr=1e-2, status="failed")]
    there = "3 (3 learning rates, up to 1 seed): 1 ok, 1 diverged, 1 failed"
    assert completeness(runs_of(records)) == there
    assert completeness(runs_of(records), ids_of(records)) == f"{there}. The last sweep is complete (3)"  # all were made


def test_one_learning_rate_is_not_many(make_record: MakeRecord) -> None:
    assert completeness(runs_of([make_record()])).startswith("1 (1 learning rate, up to 1 seed): ")


@pytest.mark.parametrize(("num_seeds", "seeds"), [(4, "(4 seeds)"), (1, "(one seed)")])
def test_the_head_answers_in_three_lines(make_record: MakeRecord, num_seeds: int, seeds: str) -> None:
    found = replace(FOUND, best=best_of(num_seeds=num_seeds))
    assert head("lr", runs_of([make_record()]), found).splitlines() == [
        "# lr: which learning rate?",
        "",
        f"* **Most accurate:** 10^-3.4 (0.000398) to 10^-2.6 (0.00251), test accuracy 97.91% on average {seeds}",
        f"* **Best trade-off:** 10^-2.6 (0.00251), test accuracy 97.98% in 43 s of wall time {seeds}",
        "* **Runs:** 1 (1 learning rate, up to 1 seed): 1 ok, 0 diverged, 0 failed",
    ]


@pytest.mark.parametrize("found", [FOUND, None], ids=["an answer", "no accuracy"])
def test_the_head_says_what_is_missing(make_record: MakeRecord, found: Findings | None) -> None:
    record = make_record()
    runs = runs_of([record])
    there = f"* **Runs:** {completeness(runs)}"
    assert there in head("lr", runs, found).splitlines()
    assert f"{there}. **2 of 3 missing**" in head("lr", runs, found, {record.run_id, "b", "c"}).splitlines()
    assert f"{there}. The last sweep is complete (1)" in head("lr", runs, found, {record.run_id}).splitlines()


def test_the_head_says_where_nothing_has_an_accuracy(make_record: MakeRecord) -> None:
    text = head("lr", runs_of([make_record(status="failed")]), None)
    assert "No run of this study has an accuracy yet." in text
    assert "1 failed" in text


@pytest.mark.parametrize(("cpu_seconds", "told"), [(3.2, False), (1.1, True)], ids=["idle", "busy"])
def test_the_head_warns_of_a_busy_machine(make_record: MakeRecord, cpu_seconds: float, told: bool) -> None:
    text = head("lr", runs_of([make_record(wall_seconds=3.3, cpu_seconds=cpu_seconds)]), FOUND)
    assert ("wall time is 3.00 times CPU time" in text) == told
    assert ("busy" in text) == told


def on_machine(record: RunRecord, **environment: object) -> RunRecord:
    return replace(record, environment=environment)


CLEAN = {"device": "cpu", "device_name": "a processor", "cores": 2, "threads": 1, "workers": 2, "peak_memory_bytes": 462_000_000}


def test_the_machine_is_named(make_record: MakeRecord) -> None:
    records = [on_machine(make_record(lr=lr), **CLEAN, git_commit="abc", git_dirty=False) for lr in (1e-4, 1e-3)]
    assert rows_of(environment_section(runs_of(records)).split("\n\n")[1]) == [
        ["device", "cpu (a processor, 2 cores)"],
        ["workers × threads", "2 × 1"],
        ["engine, timing", "solo, measured"],
        ["wall time / CPU time", "1.03 (median of the runs on a CPU; well above 1: the machine was busy with other work)"],
        ["peak memory of a worker", "0.46 GB"],
        ["commit", "abc"],
    ]


def test_a_failed_run_changes_nothing_of_the_machine(make_record: MakeRecord) -> None:
    good = on_machine(make_record(lr=1e-3), **CLEAN, git_commit="abc", git_dirty=False)
    failed = on_machine(make_record(lr=1e-4, status="failed"))  # as the sweep records it: nothing is known of where
    assert environment_section(runs_of([good, failed])) == environment_section(runs_of([good]))


def test_two_machines_are_both_named_and_uncommitted_changes_are_told(make_record: MakeRecord) -> None:
    here = on_machine(make_record(lr=1e-3), **CLEAN, git_commit="abc", git_dirty=False)
    there = on_machine(make_record(lr=1e-4), **CLEAN | {"device_name": "another"}, git_commit="def", git_dirty=True)
    text = environment_section(runs_of([here, there]))
    assert "a processor, another" in text
    assert "abc, def (with uncommitted changes)" in text


def test_what_was_not_recorded_is_said_to_be_so(make_record: MakeRecord) -> None:
    text = environment_section(runs_of([on_machine(make_record(status="failed"))]))
    assert "nan" not in text.lower()
    assert "not recorded" in text
