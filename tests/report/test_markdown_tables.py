"""The tables and sections of a report."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from synthetic_findings import RATES, best_of
from synthetic_tables import CLEAN, EVIL, cells_of, on_machine, rows_of, runs_of

from lrsweep.analysis.best_rate import find_best
from lrsweep.records import RunRecord
from lrsweep.report.texts.markdown_tables import (
    class_counts_table,
    data_section,
    environment_section,
    longest_section,
    markdown_table,
    rates_table,
    seeds_table,
)
from lrsweep.report.texts.wording import escaped
from lrsweep.storage import tables

MakeRecord = Callable[..., RunRecord]


def test_a_table_is_valid_markdown() -> None:
    table = markdown_table(["a", "b"], [["1", escaped("x|y")], [escaped("||"), ""]])
    assert table.splitlines() == ["| a | b |", "|---|---|", r"| 1 | x\|y |", r"| \|\| |  |"]
    assert cells_of(table) == [["a", "b"], ["1", "x|y"], ["||", ""]]


def test_texts_from_configs_and_machines_are_escaped(make_record: MakeRecord) -> None:
    environment = CLEAN | {"device_name": EVIL, "git_commit": EVIL, "device": EVIL}
    records = [on_machine(make_record(), **environment), on_machine(make_record(seed=1, status="failed", error=EVIL))]
    runs = runs_of(records).assign(arm=EVIL)
    for text in (longest_section(runs), environment_section(runs, "lrsweep")):
        assert escaped(EVIL) in text
        assert not re.search(r"(?<!\\)[<`|*]\s?(script|x|y|z)", text)


# Rates.


def scored(valid: float, test: float, seconds: float = 2.0) -> dict[str, Any]:
    return {"valid_accuracy": valid, "test_accuracy": test, "wall_seconds": seconds, "cpu_seconds": seconds}


def rates_of(records: list[RunRecord]) -> list[list[str]]:
    best = find_best(runs_of(records))
    assert best is not None
    return cells_of(rates_table(best.rows))


@pytest.mark.parametrize(
    ("outcomes", "cells"),
    [
        ([scored(0.9, 0.88)], ["0.00", "undecided", "88.00%", "90.00%", "3.0", "2 (1 of 1)"]),
        (
            [scored(0.9, 0.88, 2.0), scored(0.8, 0.84, 5.0)],
            ["0.00", "undecided", "86.00%", "85.00%", "3.0", "3.5 (2 of 2)"],
        ),
        (
            [scored(0.9, 0.88, 2.0), scored(0.8, 0.84, 5.0), scored(0.85, 0.86)],
            ["0.00", "undecided", "86.00% ± 4.97", "85.00% ± 12.42", "3.0 ± 0.0", "3 ± 4.3 (3 of 3)"],
        ),
        ([scored(0.1, 0.11)], ["not measured", "worse, at chance", "11.00%", "10.00%", "3.0", "2 (1 of 1)"]),
        (
            [scored(0.1, 0.11), scored(0.9, 0.91)],
            ["not measured", "worse, 1 at chance", "51.00%", "50.00%", "3.0", "2 (2 of 2)"],
        ),
        (
            [{"status": "diverged"} | scored(0.4, 0.41)],
            ["not measured", "worse, 1 diverged", "41.00%", "40.00%", "0.0", "2 (1 of 1)"],
        ),
        (
            [scored(0.9, 0.88), {"status": "failed"}],
            ["0.00", "undecided, 1 failed", "88.00%", "90.00%", "3.0", "2 (1 of 1)"],
        ),
    ],
    ids=["ok", "two seeds", "three seeds", "at chance", "one of two at chance", "diverged late", "one of two failed"],
)
def test_the_row_of_a_rate_summarises_its_runs(make_record: MakeRecord, outcomes: list[dict[str, Any]], cells: list[str]) -> None:
    records = [make_record(lr=10**-3.2, seed=seed, **outcome) for seed, outcome in enumerate(outcomes)]
    _, row = rates_of(records)
    assert row == ["0.00063 (10⁻³·²)", *cells]


def test_the_rows_show_what_each_rate_loses_and_its_class() -> None:
    header, *rows = cells_of(rates_table(best_of().rows))
    assert header == [
        *("learning rate", "loses (points)", "class", "test accuracy", "validation accuracy", "epochs", "seconds"),
    ]
    assert [row[1:3] for row in rows] == [
        ["88.12", "worse, at chance"],
        ["0.49 (0.11 to 0.87)", "undecided"],
        ["0.00 (0.00 to 0.09)", "good"],
        ["0.14 (0.00 to 0.18)", "good"],
        ["2.12 (1.51 to 2.73)", "worse"],
    ]
    assert [row[6] for row in rows] == ["15 ± 1 (4 of 4)", "–", "61 ± 6 (3 of 4)", "43 ± 3 (2 of 4)", "20 ± 2 (4 of 4)"]


def test_runs_are_a_column_only_if_rates_have_different_numbers_of_them(make_record: MakeRecord) -> None:
    records = [make_record(lr=lr, seed=seed, **scored(0.9, 0.9)) for lr in (1e-3, 1e-2) for seed in range(3)]
    for chosen, first, column in ((records, "3 runs at each rate.", []), (records[1:], "", ["2", "3"])):
        best = find_best(runs_of(chosen))
        assert best is not None
        text = rates_table(best.rows)
        assert text.partition("|")[0].strip() == first
        header, *rows = cells_of(text)
        assert [row[header.index("runs")] for row in rows if "runs" in header] == column


def test_without_a_time_there_is_no_column_of_seconds() -> None:
    assert "seconds" not in cells_of(rates_table(best_of(is_timed=False).rows))[0]


def test_fresh_seeds_have_the_same_table_with_the_optimism_of_the_study() -> None:
    optimism = pd.Series({RATES[1]: 0.0013, RATES[3]: -0.0003})
    header, *rows = cells_of(rates_table(best_of(rates=slice(1, 4)).rows, optimism))
    assert header[-1] == "study\u00a0minus fresh"
    assert [row[-1] for row in rows] == ["+0.13", "not measured", "-0.03"]


def test_rates_are_sorted_and_one_that_varies_wildly_is_marked(make_record: MakeRecord) -> None:
    noise = [[0.001, 0.0, 0.0], [0.0, 0.001, -0.12], [0.001, 0.001, -0.01], [0.0, 0.0, -0.11], [0.001, 0.0, -0.06]]
    records = [
        make_record(lr=lr, seed=seed, **scored(0.9 + noise[seed][i], 0.9 + noise[seed][i]))
        for i, lr in enumerate((1e-4, 1e-3, 1e-2))
        for seed in range(5)
    ]
    _, *rows = rates_of(records[::-1])
    assert [row[0] for row in rows] == ["0.0001 (10⁻⁴)", "0.001 (10⁻³)", "0.01 (10⁻²)"]
    assert [row[2].partition(", ")[2] for row in rows] == ["", "", "varies too much"]


# Runs.


def test_every_run_has_a_cell(make_record: MakeRecord) -> None:
    records = [
        make_record(lr=1e-3, seed=0, test_accuracy=0.981),
        make_record(lr=1e-3, seed=7, test_accuracy=0.9825),
        make_record(lr=1e-2, seed=0, status="diverged"),
        make_record(lr=1e-2, seed=7, status="diverged", valid_accuracy=0.5, test_accuracy=0.4),
        make_record(lr=1e-4, seed=7, status="failed"),
    ]
    assert cells_of(seeds_table(runs_of(records))) == [
        ["learning rate", "seed 0", "seed 7"],
        ["0.0001 (10⁻⁴)", "–", "failed"],
        ["0.001 (10⁻³)", "98.10%", "98.25%"],
        ["0.01 (10⁻²)", "not scored ×", "40.00% ×"],
    ]


def test_the_five_longest_runs_are_listed_longest_first(make_record: MakeRecord) -> None:
    epoch = make_record().outcome.curve[0]
    lengths = {1e-3: 9, 1e-4: 12, 1e-5: 30, 1e-6: 3, 1e-7: 8, 1e-8: 7}
    records = [make_record(lr=lr, curve=(epoch,) * num, wall_seconds=99.4, cpu_seconds=99.0) for lr, num in lengths.items()]
    records[1] = replace(records[1], timing="calibrated")
    heading, failures, _, table, _ = longest_section(runs_of(records)).split("\n\n")
    header, *rows = cells_of(table)
    assert heading == "## Longest and failed runs"
    assert header == ["learning rate", "seed", "arm", "status", "epochs", "seconds"]
    assert rows[0] == ["10⁻⁵", "0", "cross_entropy", "ok", "30", "99"]
    assert [row[4] for row in rows] == ["30", "12", "9", "8", "7"]
    assert [row[5] for row in rows] == ["99", "–", "99", "99", "99"]
    assert failures == "No run failed."


def test_a_failed_run_is_listed_with_its_escaped_error(make_record: MakeRecord) -> None:
    error = "Traceback:\n  RuntimeError: <b> | `x`\n\n# out of *memory*"
    records = [make_record(), make_record(lr=1e-2, seed=4, status="failed", error=error)]
    _, failures, line, _, table, _ = longest_section(runs_of(records)).split("\n\n")
    assert failures == "Failed:"
    assert line == r"* 0.01 (10⁻²), seed 4: Traceback: RuntimeError: \<b\> \| \`x\` \# out of \*memory\*"
    assert [row[3:] for row in rows_of(table)] == [["ok", "3", "3"], ["failed", "0", "–"]]


# Data.


def counts_frame(rows: dict[tuple[str, int], list[int]]) -> pd.DataFrame:
    columns = [*tables.DRAWN_BY, "split", *map(str, range(10))]
    drawn = ["null", 0, 3000, 5000, 10000, "null"]
    return pd.DataFrame([[seed, *drawn, split, *counts] for (split, seed), counts in rows.items()], columns=columns)


def test_class_counts_have_one_row_per_split_and_seed() -> None:
    counts = {("train", 0): [300] * 10, ("valid", 3): [400, 600, *[500] * 8], ("test", 3): [0, 2000, *[1000] * 8]}
    assert rows_of(class_counts_table(counts_frame(counts))) == [
        ["train", "0", *["300"] * 10, "1.00"],
        ["valid", "3", "400", "600", *["500"] * 8, "1.50"],
        ["test", "3", "0", "2000", *["1000"] * 8, "–"],
    ]


def test_class_counts_name_all_settings_that_the_splits_depend_on() -> None:
    counts = counts_frame({("train", 0): [300] * 10, ("train", 1): [299, 301, *[300] * 8]})
    counts.loc[1, "data.skip"] = 8000
    header, *rows = cells_of(class_counts_table(counts))
    assert header[:4] == ["split", "seed", "data.skip", "0"]
    assert [row[:4] for row in rows] == [["train", "0", "0", "300"], ["train", "1", "8000", "299"]]


@pytest.mark.parametrize(
    ("valid", "is_even"),
    [([500] * 10, True), ([489, 567, 510, 503, 504, 442, 493, 501, 500, 491], True), ([2000, *[333] * 9], False)],
    ids=["even", "MNIST", "uneven"],
)
def test_the_data_section_judges_whether_the_classes_are_even(valid: list[int], is_even: bool) -> None:
    counts = counts_frame({("train", 0): [300] * 10, ("valid", 0): valid})
    runs = pd.DataFrame({"lr": [1e-3, 1e-3], "test_accuracy": 0.9, "balanced_test_accuracy": [0.7, 0.8], "test_loss": [0.5, 0.6]})
    text = data_section(counts, runs)
    assert ("| 75.00% | 0.550 |" in text) == (not is_even)
    assert ("accuracy is a fair measure" in text, "read accuracies with care" in text) == (is_even, not is_even)
    assert class_counts_table(counts) in text
    chosen = counts_frame({("train", 0): [600] * 5 + [0] * 5}).assign(**{"data.classes": "[0,1,2,3,4]"})
    assert "accuracy is a fair measure" in data_section(chosen, runs)
    assert rows_of(class_counts_table(chosen))[0][-1] == "1.00"
    assert "even" not in data_section(tables.class_counts_frame([]), runs)


# Machine.


def test_the_environment_section_names_the_machine(make_record: MakeRecord) -> None:
    records = [on_machine(make_record(lr=lr), **CLEAN) for lr in (1e-4, 1e-3)]
    section = environment_section(runs_of(records), "lrsweep")
    assert rows_of(section.split("\n\n")[1]) == [
        ["device", "cpu (a processor, 2 cores)"],
        ["workers × threads", "2 × 1"],
        ["engine, timing, precision", "solo, measured, fp32"],
        [
            "runs with a time",
            "2 of 2 had the machine to themselves (not trained together with others; on a CPU with one thread, and a wall time "
            "of at most 1.1 times the CPU time; on a GPU with one worker)",
        ],
        ["peak memory of a worker", "0.46 GB"],
        ["commit", "abcdef0123"],
    ]


def test_several_machines_and_uncommitted_files_are_named(make_record: MakeRecord) -> None:
    here = on_machine(make_record(lr=1e-3), **CLEAN)
    there = on_machine(make_record(lr=1e-4), **CLEAN | {"device_name": "another", "git_commit": "fedcba9876", "git_dirty": True})
    text = environment_section(runs_of([here, there]), "")
    assert "a processor, another" in text
    assert "abcdef0123, fedcba9876 (1 of 2 runs with uncommitted files)" in text


def test_an_unknown_machine_is_not_recorded(make_record: MakeRecord) -> None:
    text = environment_section(runs_of([on_machine(make_record(status="failed"))]), "")
    assert "nan" not in text.lower()
    assert "not recorded" in text


def test_the_command_is_a_code_block(make_record: MakeRecord) -> None:
    text = environment_section(runs_of([make_record()]), "lrsweep -m a='<b>|`'\nlrsweep two")
    (code,) = [token.content for token in MarkdownIt("commonmark").parse(text) if token.type == "fence"]
    assert code == "lrsweep -m a='<b>|`'\nlrsweep two\n"


def test_runs_of_a_busy_machine_have_no_time(make_record: MakeRecord) -> None:
    runs = runs_of([make_record(wall_seconds=3.3, cpu_seconds=1.1), make_record(seed=1)])
    assert "1 of 2 had the machine to themselves" in environment_section(runs, "")
