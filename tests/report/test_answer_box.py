"""lrsweep.report.texts.answer_box: the answer box, and that nothing in it is more than was found."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from made_document import CLEAN, EVIL, on_machine, runs_of, tables_of
from made_findings import FOUND, best_of, confirmation_of

from lrsweep.analysis.findings import Findings
from lrsweep.analysis.plateau import Doubt
from lrsweep.records import RunRecord
from lrsweep.report.texts.answer_box import completeness, head
from lrsweep.report.texts.wording import escaped

MakeRecord = Callable[..., RunRecord]


def answer(head_text: str, name: str) -> str:
    """The line of the answer box of that name."""
    (line,) = [line for line in head_text.splitlines() if line.startswith(f"* **{name}:** ")]
    return line.removeprefix(f"* **{name}:** ")


@pytest.fixture(scope="module")
def one_run(make_record: MakeRecord) -> list[RunRecord]:
    return [on_machine(make_record(), **CLEAN)]


def test_the_head_answers_a_line_a_question(one_run: list[RunRecord]) -> None:
    assert head("lr", tables_of(one_run, FOUND)).splitlines() == [
        "# lr: which learning rate?",
        "",
        "* **Best range:** 10^-3.4 (0.000398) to 10^-2.6 (0.00251), test accuracy 97.63% to 98.12%",
        "* **Best trade-off:** 10^-2.6 (0.00251), test accuracy 97.98% in 43 s of wall time (median); the fastest of the range "
        "within 0.16 percentage points of the best",
        "* **Learning begins and ends:** every seed learns at every rate from 10^-5 (1e-05) to 10^-2 (0.01), all that was tried",
        "* **How sure:** conclusive; 4 seeds. Standard error of the best rate's mean (spread pooled over the rates): 0.11 "
        "percentage points. The test does not tell the other rates of the range from it",
        "* **On fresh seeds:** not measured (`make confirm`)",
        "* **What ran:** a small convolutional network on MNIST (3,000 images to train, 5,000 to validate, 10,000 to test) with "
        "adamw, batch size 32, stopped after 1000 epochs, or 5 without a record in validation accuracy. *The document* is the "
        "text that designed this experiment; 5-2, 5-3: its sections",
        "* **How complete:** 1 run of 1 learning rate × 1 seed (cross_entropy): 1 ok, 0 diverged, 0 failed",
        "* **What it cost:** 0.1 minutes of wall time for these runs, 3 s the median one",
        "* **Where:** a processor, 2 cores; commit abcdef0",
    ]


def test_where_learning_ends_within_the_grid_that_is_its_end(one_run: list[RunRecord]) -> None:
    plateau = replace(best_of().plateau, learning_high=10**-2.6)
    text = head("lr", tables_of(one_run, replace(FOUND, best=replace(best_of(), plateau=plateau))))
    assert answer(text, "Learning begins and ends").endswith(" to 10^-2.6 (0.00251)")


def test_where_the_best_rate_failed_to_learn_once_no_range_of_learning_is_claimed(one_run: list[RunRecord]) -> None:
    plateau = best_of().plateau
    rates = plateau.rates.assign(learned=plateau.rates["lr"] != plateau.best_lr)
    text = head("lr", tables_of(one_run, replace(FOUND, best=replace(best_of(), plateau=replace(plateau, rates=rates)))))
    assert answer(text, "Learning begins and ends") == "not at the most accurate rate, where some seed did not learn"


def test_no_patience_is_none(make_record: MakeRecord) -> None:
    record = make_record()
    record.config["training"]["patience"] = None
    told = answer(head("lr", tables_of([record], FOUND)), "What ran")
    assert "stopped after 1000 epochs. *The document*" in told


def test_the_cost_is_of_all_runs_that_did_not_fail(make_record: MakeRecord) -> None:
    times = (1800, 3600, 9000)
    records = [make_record(seed=seed, wall_seconds=seconds, cpu_seconds=seconds) for seed, seconds in enumerate(times)]
    told = answer(head("lr", tables_of([*records, make_record(seed=3, status="failed")], FOUND)), "What it cost")
    assert told == "4.0 hours of wall time for these runs, 3600 s the median one"


def test_where_no_other_rate_is_near_time_is_not_said_to_have_chosen(one_run: list[RunRecord]) -> None:
    found = replace(FOUND, best=replace(best_of(trade_off=1), delta=1e-6))
    assert answer(head("lr", tables_of(one_run, found)), "Best trade-off").endswith(
        "; no other rate of the range is within 0.00 percentage points of the best"
    )


@pytest.mark.parametrize(
    ("doubts", "num_seeds", "told"),
    [
        ((), 4, "conclusive; 4 seeds. Standard error of the best rate's mean (spread pooled over the rates): 0.11"),
        ((), 10, "conclusive; 10 seeds. Standard error of the best rate's mean (spread pooled over the rates): 0.11"),
        (("few_seeds",), 2, "indicative only: 3 seeds at least are needed to test it; 2 seeds"),
        (("few_seeds",), 1, "indicative only: 3 seeds at least are needed to test it; one seed"),
        (("at_upper_end",), 4, "inconclusive: the range ends at the highest rate that was tried; 4 seeds. Standard error"),
        (("no_rate_dependable", "few_seeds"), 1, "inconclusive: no rate learned on every seed, 3 seeds at least are needed"),
    ],
    ids=["conclusive", "conclusive of ten", "two seeds", "one seed", "inconclusive", "inconclusive of one seed"],
)
def test_how_sure_it_is(one_run: list[RunRecord], doubts: tuple[Doubt, ...], num_seeds: int, told: str) -> None:
    found = replace(FOUND, best=best_of(num_seeds=num_seeds, doubts=doubts))
    line = answer(head("lr", tables_of(one_run, found)), "How sure")
    assert line.startswith(told)
    assert ("Resampling the seeds, the best is inside the range in 96% of cases, and is 10^-2.9 (0.00126) in 61%" in line) == (
        num_seeds >= 10  # of fewer there are few resamples
    )


def test_the_answer_quotes_fresh_seeds(one_run: list[RunRecord]) -> None:
    text = head("lr", tables_of(one_run, replace(FOUND, confirmation=confirmation_of())))
    assert answer(text, "On fresh seeds") == (
        "test accuracy 10^-2.9 (0.00126) 98.02% (95%: 97.94% to 98.10%), 10^-2.6 (0.00251) 97.93% (95%: 97.81% to 98.05%); "
        "10 seeds that chose nothing"
    )
    assert "make confirm" not in text


def test_every_finalist_is_quoted_also_where_the_bargain_is_the_best(one_run: list[RunRecord]) -> None:
    found = replace(FOUND, best=best_of(trade_off=1), confirmation=confirmation_of(same=True, num_seeds=1))
    assert answer(head("lr", tables_of(one_run, found)), "On fresh seeds") == (
        "test accuracy 10^-2.9 (0.00126) 98.02% (95%: 97.94% to 98.10%), 10^-2.6 (0.00251) 97.93% (95%: 97.81% to 98.05%); "
        "one seed that chose nothing"
    )


@pytest.mark.parametrize("found", [FOUND, None], ids=["an answer", "no answer"])
def test_the_head_says_what_is_missing(one_run: list[RunRecord], found: Findings | None) -> None:
    name = one_run[0].run_id
    there = completeness(runs_of(one_run))
    for expected, told in (
        (None, there),
        ({name, "b", "c"}, f"{there}. **2 of 3 missing**"),
        ({name}, f"{there}. The last sweep is complete (1)"),
    ):
        assert answer(head("lr", tables_of(one_run, found, expected)), "How complete") == told


def test_the_head_says_where_nothing_has_an_accuracy(make_record: MakeRecord) -> None:
    text = head("lr", tables_of([make_record(status="failed")]))
    assert "* No rate of this study was scored on every seed yet." in text
    assert "1 failed" in text
    assert "Best" not in text


@pytest.mark.parametrize(("cpu_seconds", "told"), [(3.2, False), (1.1, True)], ids=["idle", "busy"])
def test_the_head_warns_of_a_busy_machine(make_record: MakeRecord, cpu_seconds: float, told: bool) -> None:
    text = head("lr", tables_of([make_record(wall_seconds=3.3, cpu_seconds=cpu_seconds)], FOUND))
    assert ("wall time is at least 3.00 times CPU time" in text) == told
    assert ("busy" in text) == told


@pytest.mark.parametrize(
    ("timings", "told"),
    [(["measured"], False), (["calibrated"], True), (["measured", "calibrated"], True)],
    ids=["measured", "calibrated", "mixed"],
)
def test_the_head_says_where_times_are_not_measured(make_record: MakeRecord, timings: list[Any], told: bool) -> None:
    records = [replace(make_record(seed=i), timing=timing) for i, timing in enumerate(timings)]
    assert ("* **Times:** runs that were trained together" in head("lr", tables_of(records, FOUND))) == told


def test_two_machines_and_uncommitted_files_are_told(make_record: MakeRecord) -> None:
    here = on_machine(make_record(lr=1e-3), **CLEAN)
    there = on_machine(make_record(lr=1e-4), **CLEAN | {"device_name": "another", "git_commit": "fedcba9876", "git_dirty": True})
    assert answer(head("lr", tables_of([here, there])), "Where") == (
        "a processor, another, 2 cores; commit abcdef0, fedcba9 (1 of 2 runs with uncommitted files)"
    )


def test_text_that_is_not_ours_is_escaped_in_the_answer(make_record: MakeRecord) -> None:
    environment = CLEAN | {"device_name": EVIL, "git_commit": EVIL, "device": EVIL}
    records = [on_machine(make_record(), **environment), on_machine(make_record(seed=1, status="failed", error=EVIL))]
    tables = tables_of(records, replace(FOUND, best=best_of(arm=EVIL)))
    tables.runs["arm"] = EVIL
    for text in (head(EVIL, tables), completeness(tables.runs)):
        assert escaped(EVIL) in text
        assert not re.search(r"(?<!\\)[<`|*]\s?(script|x|y|z)", text)


def test_a_commit_is_escaped_in_the_head(make_record: MakeRecord) -> None:
    record = on_machine(make_record(), **CLEAN | {"git_commit": "<b>`|*1234"})
    assert answer(head("lr", tables_of([record])), "Where").endswith(r"commit \<b\>\`\|\*1")


# How complete.


def grid(make_record: MakeRecord, rates: list[float], seeds: list[int], loss: str = "cross_entropy") -> list[RunRecord]:
    return [make_record(lr=lr, seed=seed, loss=loss) for lr in rates for seed in seeds]


def ids_of(records: list[RunRecord]) -> set[str]:
    return {record.run_id for record in records}


@pytest.mark.parametrize(
    ("leave_out", "there", "missing"),
    [
        (
            0,
            "6 runs of 3 learning rates × 2 seeds (cross_entropy): 6 ok, 0 diverged, 0 failed",
            "The last sweep is complete (6)",
        ),
        (1, "5 runs of 3 learning rates × 2 seeds (cross_entropy): 5 ok, 0 diverged, 0 failed", "**1 of 6 missing**"),
        (4, "2 runs of 1 learning rate × 2 seeds (cross_entropy): 2 ok, 0 diverged, 0 failed", "**4 of 6 missing**"),
    ],
)
def test_missing_runs_are_counted_where_it_is_known_which_were_expected(
    make_record: MakeRecord, leave_out: int, there: str, missing: str
) -> None:
    records = grid(make_record, [1e-4, 1e-3, 1e-2], [0, 1])
    runs = runs_of(records[leave_out:])
    assert completeness(runs) == there
    assert completeness(runs, ids_of(records)) == f"{there}. {missing}"


def test_runs_of_an_earlier_sweep_make_no_later_one_complete(make_record: MakeRecord) -> None:
    earlier, later = grid(make_record, [1e-4, 1e-3], [0]), grid(make_record, [1e-2], [0, 1])
    assert completeness(runs_of(earlier + later[:1]), ids_of(later)).endswith("3 ok, 0 diverged, 0 failed. **1 of 2 missing**")
    assert completeness(runs_of(earlier + later), ids_of(later)).endswith(
        "4 ok, 0 diverged, 0 failed. The last sweep is complete (2)"
    )


def test_missing_runs_are_counted_whatever_their_arm(make_record: MakeRecord) -> None:
    records = grid(make_record, [1e-4, 1e-3, 1e-2], [0, 1]) + grid(make_record, [1e-4, 1e-3], [0, 1], "double_softmax")
    told = completeness(runs_of(records[:6] + records[7:]), ids_of(records))
    assert told.startswith(
        "9 runs of 3 learning rates × 2 seeds (cross_entropy) and 2 learning rates × 2 seeds (double_softmax): "
    )
    assert told.endswith(". **1 of 10 missing**")


def test_statuses_are_counted_and_one_seed_is_one_seed(make_record: MakeRecord) -> None:
    records = [make_record(lr=1e-4), make_record(lr=1e-3, status="diverged"), make_record(lr=1e-2, status="failed")]
    there = "3 runs of 3 learning rates × 1 seed (cross_entropy): 1 ok, 1 diverged, 1 failed"
    assert completeness(runs_of(records)) == there
    assert completeness(runs_of(records), ids_of(records)) == f"{there}. **1 of 3 to be done again**"  # all were made


def test_one_learning_rate_is_not_many(make_record: MakeRecord) -> None:
    assert completeness(runs_of([make_record()])).startswith("1 run of 1 learning rate × 1 seed (cross_entropy): ")
