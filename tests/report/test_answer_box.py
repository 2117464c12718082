"""The title and the answer box of a report, and its section on what ran."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from synthetic_findings import FOUND, best_of, with_fresh
from synthetic_tables import CLEAN, EVIL, on_machine, runs_of, tables_of

from lrsweep.analysis.findings import Findings
from lrsweep.records import RunRecord
from lrsweep.report.texts.answer_box import completeness, title_and_answer, what_ran_section
from lrsweep.report.texts.decision import decision_en
from lrsweep.report.texts.wording import escaped

MakeRecord = Callable[..., RunRecord]


def answer(name: str, records: list[RunRecord], findings: Findings | None = None, expected: set[str] | None = None) -> str:
    """The line with this name, in the answer box or in the section on what ran."""
    tables = tables_of(records, findings, expected)
    lines = f"{title_and_answer('lr', tables)}\n{what_ran_section(tables)}".splitlines()
    (line,) = [line for line in lines if line.startswith(f"* **{name}:** ")]
    return line.removeprefix(f"* **{name}:** ")


@pytest.fixture(scope="module")
def one_run(make_record: MakeRecord) -> list[RunRecord]:
    return [on_machine(make_record(), **CLEAN)]


def test_the_answer_box_opens_with_the_decision(one_run: list[RunRecord]) -> None:
    title, _, *lines = title_and_answer("lr", tables_of(one_run, FOUND)).splitlines()
    assert title == "# Which learning rate for a small convolutional network on MNIST? (study lr)"
    assert lines[:-1] == [f"* **{question}** {text}" for question, text in decision_en(FOUND)]
    assert lines[-1] == "* **Fresh seeds:** none at the best rate yet (see `lrsweep-confirm --help`)"


def test_the_section_on_what_ran_names_network_runs_cost_and_machine(one_run: list[RunRecord]) -> None:
    assert what_ran_section(tables_of(one_run, FOUND)).splitlines() == [
        "## What ran",
        "",
        "* **Network and data:** a small convolutional network on MNIST (3,000 images to train, 5,000 to validate, 10,000 to "
        "test) with adamw, batch size 32, stopped after 1000 epochs, or 5 without improvement in validation accuracy",
        "* **Runs:** 1 run of 1 learning rate × 1 seed (cross_entropy): 1 ok, 0 diverged, 0 failed",
        "* **Cost:** 3 epochs in 1 run; median 3.3 s of the 1 that had the machine to themselves",
        "* **Machine:** a processor, 2 cores; commit abcdef0",
    ]


def test_a_report_on_fresh_seeds_or_with_fresh_seeds_does_not_ask_for_them(one_run: list[RunRecord]) -> None:
    assert "**Fresh seeds:**" not in title_and_answer("lr/confirm", tables_of(one_run, FOUND))
    assert "**Fresh seeds:**" not in title_and_answer("lr", tables_of(one_run, with_fresh()))


def test_a_study_whose_network_is_in_a_program_is_not_sent_to_lrsweep_confirm(one_run: list[RunRecord]) -> None:
    tables = tables_of(one_run, FOUND)
    tables.runs["model.target"] = "__main__:network"
    text = title_and_answer("mine", tables)
    assert "lrsweep-confirm" not in text
    assert "call `lrsweep.sweep` again with `seeds=range(1000, 1020)`" in text


def test_doubts_stand_beside_the_seeds(one_run: list[RunRecord]) -> None:
    found = replace(FOUND, best=best_of(doubts=("at_upper_end", "runs_missing")))
    warning = "**With care: the best rates reach the highest one that was tried; runs are missing.**"
    assert f"at once. {warning}\n" in title_and_answer("lr", tables_of(one_run, found))


def test_without_patience_only_the_number_of_epochs_is_named(make_record: MakeRecord) -> None:
    record = make_record()
    record.config["training"]["patience"] = None
    assert answer("Network and data", [record], FOUND).endswith("stopped after 1000 epochs")


@pytest.mark.parametrize(
    ("cpu_seconds", "text"),
    [
        ((1800, 3600, 9000), "9 epochs in 3 runs; median 3600 s of the 3 that had the machine to themselves"),
        ((1800, 1000, 1000), "9 epochs in 3 runs; median 1800 s of the 1 that had the machine to themselves"),
        ((1000, 1000, 1000), "9 epochs in 3 runs; time was not measured, because no run had the machine to itself"),
    ],
    ids=["idle", "sometimes busy", "busy"],
)
def test_the_cost_is_epochs_and_the_seconds_of_undisturbed_runs(
    make_record: MakeRecord, cpu_seconds: tuple[int, ...], text: str
) -> None:
    walls = (1800, 3600, 9000)
    records = [
        make_record(seed=seed, wall_seconds=wall, cpu_seconds=cpu)
        for seed, (wall, cpu) in enumerate(zip(walls, cpu_seconds, strict=True))
    ]
    records.append(make_record(seed=3, status="failed"))
    assert answer("Cost", records, FOUND) == text


def test_a_study_without_accuracies_has_no_answer(make_record: MakeRecord) -> None:
    tables = tables_of([make_record(status="failed")])
    text = title_and_answer("lr", tables)
    assert "* No run of this study was scored yet." in text
    assert "1 failed" in what_ran_section(tables)
    assert "Which rate?" not in text


def test_all_machines_and_uncommitted_files_are_named(make_record: MakeRecord) -> None:
    here = on_machine(make_record(lr=1e-3), **CLEAN)
    there = on_machine(make_record(lr=1e-4), **CLEAN | {"device_name": "another", "git_commit": "fedcba9876", "git_dirty": True})
    expected = "a processor, another, 2 cores; commit abcdef0, fedcba9 (1 of 2 runs with uncommitted files)"
    assert answer("Machine", [here, there]) == expected


def test_the_commit_of_the_fresh_seeds_is_named_too(make_record: MakeRecord) -> None:
    tables = tables_of([on_machine(make_record(), **CLEAN)], with_fresh())
    fresh = runs_of([on_machine(make_record(seed=1000), **CLEAN | {"git_commit": "fedcba9876"})])
    text = what_ran_section(replace(tables, quoted={"confirm": fresh}))
    assert "commit abcdef0; fresh seeds: a processor, 2 cores; commit fedcba9\n" in text + "\n"


def test_texts_from_configs_and_machines_are_escaped(make_record: MakeRecord) -> None:
    environment = CLEAN | {"device_name": EVIL, "git_commit": EVIL, "device": EVIL}
    records = [on_machine(make_record(), **environment), on_machine(make_record(seed=1, status="failed", error=EVIL))]
    tables = tables_of(records, replace(FOUND, best=best_of(arm=EVIL)))
    tables.runs["arm"] = EVIL
    for text in (title_and_answer(EVIL, tables) + what_ran_section(tables), completeness(tables.runs)):
        assert escaped(EVIL) in text
        assert not re.search(r"(?<!\\)[<`|*]\s?(script|x|y|z)", text)
    record = on_machine(make_record(), **CLEAN | {"git_commit": "<b>`|*1234"})
    assert answer("Machine", [record]).endswith(r"commit \<b\>\`\|\*1")


# How complete the study is.


def grid(make_record: MakeRecord, rates: list[float], seeds: list[int], loss: str = "cross_entropy") -> list[RunRecord]:
    return [make_record(lr=lr, seed=seed, loss=loss) for lr in rates for seed in seeds]


def ids_of(records: list[RunRecord]) -> set[str]:
    return {record.run_id for record in records}


@pytest.mark.parametrize(
    ("num_left_out", "present", "missing"),
    [
        (0, "6 runs of 3 learning rates × 2 seeds (cross_entropy): 6 ok", "The last sweep is complete (6 runs)"),
        (1, "5 runs of 3 learning rates × 2 seeds (cross_entropy): 5 ok", "**1 of 6 runs missing**"),
        (4, "2 runs of 1 learning rate × 2 seeds (cross_entropy): 2 ok", "**4 of 6 runs missing**"),
    ],
)
def test_missing_runs_are_counted_if_the_sweep_is_known(
    make_record: MakeRecord, num_left_out: int, present: str, missing: str
) -> None:
    records = grid(make_record, [1e-4, 1e-3, 1e-2], [0, 1])
    present += ", 0 diverged, 0 failed"
    assert answer("Runs", records[num_left_out:]) == present
    for findings in (FOUND, None):
        assert answer("Runs", records[num_left_out:], findings, ids_of(records)) == f"{present}. {missing}"
    box = title_and_answer("lr", tables_of(records[num_left_out:], FOUND, ids_of(records)))
    assert (f"* **Not finished:** {num_left_out} of 6 runs missing." in box) == bool(num_left_out)


def test_runs_of_an_earlier_sweep_do_not_complete_the_last_one(make_record: MakeRecord) -> None:
    earlier, later = grid(make_record, [1e-4, 1e-3], [0]), grid(make_record, [1e-2], [0, 1])
    assert completeness(runs_of(earlier + later[:1]), ids_of(later)).endswith("failed. **1 of 2 runs missing**")
    assert completeness(runs_of(earlier + later), ids_of(later)).endswith("failed. The last sweep is complete (2 runs)")


def test_missing_runs_of_all_arms_are_counted(make_record: MakeRecord) -> None:
    records = grid(make_record, [1e-4, 1e-3, 1e-2], [0, 1]) + grid(make_record, [1e-4, 1e-3], [0, 1], "double_softmax")
    text = completeness(runs_of(records[:6] + records[7:]), ids_of(records))
    arms = "3 learning rates × 2 seeds (cross_entropy) and 2 learning rates × 2 seeds (double_softmax)"
    assert text.startswith(f"9 runs of {arms}: ")
    assert text.endswith(". **1 of 10 runs missing**")


def test_failed_runs_are_present_but_must_be_repeated(make_record: MakeRecord) -> None:
    records = [make_record(lr=1e-4), make_record(lr=1e-3, status="diverged"), make_record(lr=1e-2, status="failed")]
    present = "3 runs of 3 learning rates × 1 seed (cross_entropy): 1 ok, 1 diverged, 1 failed"
    assert completeness(runs_of(records)) == present
    assert completeness(runs_of(records), ids_of(records)) == f"{present}. **1 of 3 runs failed and must be done again**"
    todo = "1 of 4 runs missing; 1 of 4 runs failed and must be done again"
    assert completeness(runs_of(records), {*ids_of(records), "another"}) == f"{present}. **{todo}**"
