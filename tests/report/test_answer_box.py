"""The title and the answer box of a report."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from synthetic_findings import FOUND, best_of, confirmation_of
from synthetic_tables import CLEAN, EVIL, on_machine, runs_of, tables_of

from lrsweep.analysis.findings import Findings
from lrsweep.analysis.plateau import Doubt
from lrsweep.records import RunRecord
from lrsweep.report.texts.answer_box import completeness, title_and_answer
from lrsweep.report.texts.wording import escaped

MakeRecord = Callable[..., RunRecord]


def answer(name: str, records: list[RunRecord], findings: Findings | None = None, expected: set[str] | None = None) -> str:
    """The line of the answer box with this name."""
    text = title_and_answer("lr", tables_of(records, findings, expected))
    (line,) = [line for line in text.splitlines() if line.startswith(f"* **{name}:** ")]
    return line.removeprefix(f"* **{name}:** ")


@pytest.fixture(scope="module")
def one_run(make_record: MakeRecord) -> list[RunRecord]:
    return [on_machine(make_record(), **CLEAN)]


def test_the_answer_box_has_one_line_per_question(one_run: list[RunRecord]) -> None:
    assert title_and_answer("lr", tables_of(one_run, FOUND)).splitlines() == [
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


def test_learning_may_end_inside_the_grid(one_run: list[RunRecord]) -> None:
    plateau = replace(best_of().plateau, learning_high=10**-2.6)
    line = answer("Learning begins and ends", one_run, replace(FOUND, best=replace(best_of(), plateau=plateau)))
    assert line.endswith(" to 10^-2.6 (0.00251)")


def test_if_a_seed_did_not_learn_at_the_best_rate_no_range_of_learning_is_claimed(one_run: list[RunRecord]) -> None:
    plateau = best_of().plateau
    rates = plateau.rates.assign(learned=plateau.rates["lr"] != plateau.best_lr)
    findings = replace(FOUND, best=replace(best_of(), plateau=replace(plateau, rates=rates)))
    assert answer("Learning begins and ends", one_run, findings) == "not at the most accurate rate, where some seed did not learn"


def test_without_patience_only_the_number_of_epochs_is_named(make_record: MakeRecord) -> None:
    record = make_record()
    record.config["training"]["patience"] = None
    assert "stopped after 1000 epochs. *The document*" in answer("What ran", [record], FOUND)


def test_the_cost_leaves_out_failed_runs(make_record: MakeRecord) -> None:
    times = (1800, 3600, 9000)
    records = [make_record(seed=seed, wall_seconds=seconds, cpu_seconds=seconds) for seed, seconds in enumerate(times)]
    records.append(make_record(seed=3, status="failed"))
    assert answer("What it cost", records, FOUND) == "4.0 hours of wall time for these runs, 3600 s the median one"


def test_if_no_other_rate_is_near_the_trade_off_is_not_called_the_fastest(one_run: list[RunRecord]) -> None:
    findings = replace(FOUND, best=replace(best_of(trade_off=1), delta=1e-6))
    expected = "; no other rate of the range is within 0.00 percentage points of the best"
    assert answer("Best trade-off", one_run, findings).endswith(expected)


@pytest.mark.parametrize(
    ("doubts", "num_seeds", "start"),
    [
        ((), 4, "conclusive; 4 seeds. Standard error of the best rate's mean (spread pooled over the rates): 0.11"),
        ((), 10, "conclusive; 10 seeds. Standard error of the best rate's mean (spread pooled over the rates): 0.11"),
        (("few_seeds",), 2, "indicative only: 3 seeds at least are needed to test it; 2 seeds"),
        (("at_upper_end",), 4, "inconclusive: the range ends at the highest rate that was tried; 4 seeds. Standard error"),
        (("no_rate_dependable", "few_seeds"), 1, "inconclusive: no rate learned on every seed, 3 seeds at least are needed"),
    ],
)
def test_the_answer_box_says_how_certain_the_range_is(
    one_run: list[RunRecord], doubts: tuple[Doubt, ...], num_seeds: int, start: str
) -> None:
    line = answer("How sure", one_run, replace(FOUND, best=best_of(num_seeds=num_seeds, doubts=doubts)))
    assert line.startswith(start)
    resampled = "Resampling the seeds, the best is inside the range in 96% of cases, and is 10^-2.9 (0.00126) in 61%"
    assert (resampled in line) == (num_seeds >= 10)


@pytest.mark.parametrize(("trade_off", "num_seeds", "seeds"), [(2, 10, "10 seeds"), (1, 1, "one seed")])
def test_every_finalist_is_quoted(one_run: list[RunRecord], trade_off: int, num_seeds: int, seeds: str) -> None:
    fresh = confirmation_of(num_seeds=num_seeds, same=trade_off == 1)
    assert answer("On fresh seeds", one_run, replace(FOUND, best=best_of(trade_off=trade_off), confirmation=fresh)) == (
        "test accuracy 10^-2.9 (0.00126) 98.02% (95%: 97.94% to 98.10%), 10^-2.6 (0.00251) 97.93% (95%: 97.81% to 98.05%); "
        f"{seeds} that chose nothing"
    )


def test_a_study_without_accuracies_has_no_answer(make_record: MakeRecord) -> None:
    text = title_and_answer("lr", tables_of([make_record(status="failed")]))
    assert "* No rate of this study was scored on every seed yet." in text
    assert "1 failed" in text
    assert "Best" not in text


@pytest.mark.parametrize(("cpu_seconds", "is_busy"), [(3.2, False), (1.1, True)])
def test_a_busy_machine_is_mentioned(make_record: MakeRecord, cpu_seconds: float, is_busy: bool) -> None:
    text = title_and_answer("lr", tables_of([make_record(wall_seconds=3.3, cpu_seconds=cpu_seconds)], FOUND))
    assert ("wall time is at least 3.00 times CPU time" in text) == ("busy" in text) == is_busy


@pytest.mark.parametrize("timings", [["measured"], ["calibrated"], ["measured", "calibrated"]])
def test_calibrated_times_are_mentioned(make_record: MakeRecord, timings: list[Any]) -> None:
    records = [replace(make_record(seed=i), timing=timing) for i, timing in enumerate(timings)]
    text = title_and_answer("lr", tables_of(records, FOUND))
    assert ("* **Times:** runs that were trained together" in text) == ("calibrated" in timings)


def test_all_machines_and_uncommitted_files_are_named(make_record: MakeRecord) -> None:
    here = on_machine(make_record(lr=1e-3), **CLEAN)
    there = on_machine(make_record(lr=1e-4), **CLEAN | {"device_name": "another", "git_commit": "fedcba9876", "git_dirty": True})
    expected = "a processor, another, 2 cores; commit abcdef0, fedcba9 (1 of 2 runs with uncommitted files)"
    assert answer("Where", [here, there]) == expected


def test_texts_from_configs_and_machines_are_escaped(make_record: MakeRecord) -> None:
    environment = CLEAN | {"device_name": EVIL, "git_commit": EVIL, "device": EVIL}
    records = [on_machine(make_record(), **environment), on_machine(make_record(seed=1, status="failed", error=EVIL))]
    tables = tables_of(records, replace(FOUND, best=best_of(arm=EVIL)))
    tables.runs["arm"] = EVIL
    for text in (title_and_answer(EVIL, tables), completeness(tables.runs)):
        assert escaped(EVIL) in text
        assert not re.search(r"(?<!\\)[<`|*]\s?(script|x|y|z)", text)
    record = on_machine(make_record(), **CLEAN | {"git_commit": "<b>`|*1234"})
    assert answer("Where", [record]).endswith(r"commit \<b\>\`\|\*1")


# How complete the study is.


def grid(make_record: MakeRecord, rates: list[float], seeds: list[int], loss: str = "cross_entropy") -> list[RunRecord]:
    return [make_record(lr=lr, seed=seed, loss=loss) for lr in rates for seed in seeds]


def ids_of(records: list[RunRecord]) -> set[str]:
    return {record.run_id for record in records}


@pytest.mark.parametrize(
    ("num_left_out", "present", "missing"),
    [
        (0, "6 runs of 3 learning rates × 2 seeds (cross_entropy): 6 ok", "The last sweep is complete (6)"),
        (1, "5 runs of 3 learning rates × 2 seeds (cross_entropy): 5 ok", "**1 of 6 missing**"),
        (4, "2 runs of 1 learning rate × 2 seeds (cross_entropy): 2 ok", "**4 of 6 missing**"),
    ],
)
def test_missing_runs_are_counted_if_the_sweep_is_known(
    make_record: MakeRecord, num_left_out: int, present: str, missing: str
) -> None:
    records = grid(make_record, [1e-4, 1e-3, 1e-2], [0, 1])
    present += ", 0 diverged, 0 failed"
    assert answer("How complete", records[num_left_out:]) == present
    for findings in (FOUND, None):
        assert answer("How complete", records[num_left_out:], findings, ids_of(records)) == f"{present}. {missing}"


def test_runs_of_an_earlier_sweep_do_not_complete_the_last_one(make_record: MakeRecord) -> None:
    earlier, later = grid(make_record, [1e-4, 1e-3], [0]), grid(make_record, [1e-2], [0, 1])
    assert completeness(runs_of(earlier + later[:1]), ids_of(later)).endswith("failed. **1 of 2 missing**")
    assert completeness(runs_of(earlier + later), ids_of(later)).endswith("failed. The last sweep is complete (2)")


def test_missing_runs_of_all_arms_are_counted(make_record: MakeRecord) -> None:
    records = grid(make_record, [1e-4, 1e-3, 1e-2], [0, 1]) + grid(make_record, [1e-4, 1e-3], [0, 1], "double_softmax")
    text = completeness(runs_of(records[:6] + records[7:]), ids_of(records))
    arms = "3 learning rates × 2 seeds (cross_entropy) and 2 learning rates × 2 seeds (double_softmax)"
    assert text.startswith(f"9 runs of {arms}: ")
    assert text.endswith(". **1 of 10 missing**")


def test_failed_runs_are_present_but_must_be_repeated(make_record: MakeRecord) -> None:
    records = [make_record(lr=1e-4), make_record(lr=1e-3, status="diverged"), make_record(lr=1e-2, status="failed")]
    present = "3 runs of 3 learning rates × 1 seed (cross_entropy): 1 ok, 1 diverged, 1 failed"
    assert completeness(runs_of(records)) == present
    assert completeness(runs_of(records), ids_of(records)) == f"{present}. **1 of 3 to be done again**"
