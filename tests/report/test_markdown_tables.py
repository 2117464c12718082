"""The tables and sections of a report."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from synthetic_findings import RATES, best_of, confirmation_of
from synthetic_tables import CLEAN, EVIL, cells_of, on_machine, rows_of, runs_of

from lrsweep.analysis.fixed_budget import Sensitivity
from lrsweep.analysis.plateau import find_plateau
from lrsweep.analysis.summary import summarise, with_arms, with_chance, with_seconds
from lrsweep.records import RunRecord
from lrsweep.report.texts.markdown_tables import (
    class_counts_table,
    confirmation_table,
    data_section,
    environment_section,
    markdown_table,
    rates_table,
    seeds_table,
    sensitivity_section,
    slowest_section,
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
    for text in (slowest_section(runs), environment_section(runs, "lrsweep")):
        assert escaped(EVIL) in text
        assert not re.search(r"(?<!\\)[<`|*]\s?(script|x|y|z)", text)


# Rates.


def scored(valid: float, test: float, seconds: float = 2.0) -> dict[str, Any]:
    return {"valid_accuracy": valid, "test_accuracy": test, "wall_seconds": seconds, "cpu_seconds": seconds}


NOT_SCORED = ["not scored", "not scored"]


@pytest.mark.parametrize(
    ("outcomes", "cells"),
    [
        ([scored(0.9, 0.88)], ["1", "90.00%", "88.00%", "3", "2.0", ""]),
        ([scored(0.9, 0.88, 2.0), scored(0.8, 0.84, 5.0)], ["2", "85.00% ± 63.53", "86.00% ± 25.41", "3", "3.5", ""]),
        ([scored(0.1, 0.11)], ["1", "10.00%", "11.00%", "3", "2.0", "at chance"]),
        ([scored(0.1, 0.11), scored(0.9, 0.91)], ["2", "50.00%", "51.00%", "3", "2.0", "1 at chance"]),
        ([scored(a, a) for a in (0.9, 0.91, 0.92, 0.93, 0.94)], ["5", "92.00% ± 1.96", "92.00% ± 1.96", "3", "2.0", ""]),
        ([scored(0.1, 0.11)] * 2, ["2", "10.00% ± 0.00", "11.00% ± 0.00", "3", "2.0", "at chance"]),
        ([{"status": "diverged"} | scored(0.4, 0.41)], ["1", "40.00%", "41.00%", "0", "2.0", "1 diverged"]),
        ([{"status": "diverged"}], ["1", *NOT_SCORED, "0", "1.1", "1 diverged"]),
        ([{"status": "diverged"} | scored(0.1, 0.1)], ["1", "10.00%", "10.00%", "0", "2.0", "1 diverged, at chance"]),
        ([{"status": "failed"}], ["1", *NOT_SCORED, "not measured", "not measured", "1 failed"]),
        ([scored(0.9, 0.88), {"status": "failed"}], ["2", "90.00%", "88.00%", "3", "2.0", "1 failed"]),
        ([{"status": "diverged"}, {"status": "failed"}], ["2", *NOT_SCORED, "0", "1.1", "1 diverged, 1 failed"]),
    ],
    ids=[
        *("ok", "two seeds", "at chance", "one of two at chance", "five seeds", "both at chance", "diverged late"),
        *("diverged before scoring", "diverged at chance", "failed", "one of two failed", "nothing scored"),
    ],
)
def test_the_row_of_a_rate_summarises_its_runs(make_record: MakeRecord, outcomes: list[dict[str, Any]], cells: list[str]) -> None:
    records = [make_record(lr=10**-3.2, seed=seed, **outcome) for seed, outcome in enumerate(outcomes)]
    splits = [make_record(seed=seed) for seed in range(len(outcomes))]  # the class counts depend on the seed only
    runs = with_seconds(with_chance(tables.to_frame(records), tables.class_counts_frame(splits)))
    assert rows_of(rates_table(summarise(with_arms(runs)))) == [["10^-3.2 (0.000631)", *cells]]


@pytest.mark.parametrize(("cpu_seconds", "name"), [(3.3, "wall time (s)"), (1.1, "CPU time (s)")], ids=["idle", "busy"])
def test_the_table_of_rates_is_sorted_and_names_the_kind_of_time(make_record: MakeRecord, cpu_seconds: float, name: str) -> None:
    records = [make_record(lr=lr, cpu_seconds=cpu_seconds) for lr in (1e-2, 1e-4, 1e-3)]
    header, *rows = cells_of(rates_table(summarise(runs_of(records))))
    assert [row[0] for row in rows] == ["10^-4 (0.0001)", "10^-3 (0.001)", "10^-2 (0.01)"]
    assert header[5:-1] == [name, *(["wall time, disturbed (s)"] if name.startswith("CPU") else [])]
    assert {row[5] for row in rows} == {str(cpu_seconds)}
    assert {row[-2] for row in rows} == {"3.3"}  # the wall time


def test_the_remarks_contain_what_the_plateau_found(make_record: MakeRecord) -> None:
    accuracies = {1e-5: (0.1, 0.1, 0.1), 1e-4: (0.80, 0.81, 0.82), 1e-3: (0.90, 0.915, 0.92), 1e-2: (0.905, 0.91, 0.93)}
    records = [
        make_record(lr=lr, seed=seed, valid_accuracy=accuracy)
        for lr, of_rate in accuracies.items()
        for seed, accuracy in enumerate(of_rate)
    ]
    runs = runs_of(records)
    plateau = find_plateau(runs, 5_000)
    assert plateau is not None
    wins = plateau.rates.set_index("lr")["wins"]
    assert {row[0]: row[-1] for row in rows_of(rates_table(summarise(runs), plateau))} == {
        "10^-5 (1e-05)": "at chance",
        "10^-4 (0.0001)": "",
        "10^-3 (0.001)": f"best range, wins {wins[1e-3]:.1%}",
        "10^-2 (0.01)": f"best range, wins {wins[1e-2]:.1%}",
    }


@pytest.mark.parametrize(
    ("timings", "name"),
    [(["calibrated"], "calibrated time (s)"), (["calibrated", "measured"], "measured or calibrated time (s)")],
)
def test_the_tables_name_calibrated_times(make_record: MakeRecord, timings: list[Any], name: str) -> None:
    runs = runs_of([replace(make_record(seed=i), timing=timing) for i, timing in enumerate(timings)])
    for table in (rates_table(summarise(runs)), slowest_section(runs).split("\n\n")[1]):
        assert name in cells_of(table)[0]


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
        ["10^-4 (0.0001)", "–", "failed"],
        ["10^-3 (0.001)", "98.10%", "98.25%"],
        ["10^-2 (0.01)", "not scored ×", "40.00% ×"],
    ]


def test_the_five_slowest_runs_are_listed_slowest_first(make_record: MakeRecord) -> None:
    records = [make_record(lr=10.0**i, wall_seconds=10.0 - i, cpu_seconds=10.0 - i) for i in range(-8, 0)]
    records += [make_record(lr=10**-8.5, seed=3, status="diverged", wall_seconds=99.4, cpu_seconds=99.0)]
    heading, table, failures = slowest_section(runs_of(records)).split("\n\n")
    header, *rows = cells_of(table)
    assert heading == "## Slowest and failed runs"
    assert header == ["learning rate", "seed", "arm", "status", "epochs", "wall time (s)"]
    assert rows[0] == ["10^-8.5 (3.16e-09)", "3", "cross_entropy", "diverged", "0", "99"]
    assert [row[5] for row in rows] == ["99", "18", "17", "16", "15"]
    assert failures == "No run failed."


def test_a_failed_run_is_listed_with_its_escaped_error(make_record: MakeRecord) -> None:
    error = "Traceback:\n  RuntimeError: <b> | `x`\n\n# out of *memory*"
    records = [make_record(), make_record(lr=1e-2, seed=4, status="failed", error=error)]
    _, table, failures, line = slowest_section(runs_of(records)).split("\n\n")
    assert failures == "Failed:"
    assert line == r"* 10^-2 (0.01), seed 4: Traceback: RuntimeError: \<b\> \| \`x\` \# out of \*memory\*"
    assert [row[3:] for row in rows_of(table)] == [["ok", "3", "3"], ["failed", "0", "not measured"]]


# Fresh seeds and fixed budget.


def test_the_confirmation_compares_the_finalists_with_the_study() -> None:
    fresh = confirmation_of()
    assert cells_of(confirmation_table(fresh)) == [
        ["learning rate", "runs", "validation, study", "validation, fresh", "study less fresh", "test, fresh", "epochs"],
        ["10^-2.9 (0.00126)", "10", "98.71%", "98.58% ± 0.10", "+0.13", "98.02% ± 0.08", "35"],
        ["10^-2.6 (0.00251)", "10", "98.66%", "98.69% ± 0.12", "-0.03", "97.93% ± 0.12", "18.5"],
    ]
    fresh.rows.loc[1, ["valid_mean", "valid_high", "optimism", "test_mean", "test_high", "epochs_median"]] = math.nan
    expected = ["98.66%", "not scored", "not measured", "not scored", "not measured"]
    assert rows_of(confirmation_table(fresh))[1][2:] == expected


def sensitivity_of(num_seeds: int = 2) -> Sensitivity:
    """Two rates. At the first one, a patience of 40 never runs out."""
    rows = pd.DataFrame({"lr": RATES[:2], "num_runs": 2.0, "full": [0.9872, 0.9881], "test_full": [0.98, 0.981]})
    for i, patience in enumerate((5, 10, 20, 40)):
        rows[f"valid_{patience}"] = [0.97 + 0.001 * i, 0.98]
        rows[f"epochs_{patience}"] = [17.4 + i, 200.0]
        rows[f"cut_{patience}"] = [0.0 if patience == 40 else 1.0, 0.5]
    return Sensitivity(rows, 200, num_seeds, best_of(num_seeds=num_seeds, doubts=("few_seeds",)))


def test_the_sensitivity_section_compares_both_ranges_and_all_patiences() -> None:
    other = replace(best_of(), plateau=replace(best_of().plateau, low=10**-3.1, high=10**-2.3))
    heading, answers, how, table = sensitivity_section(sensitivity_of(), other).split("\n\n")
    assert heading == "## Does early stopping decide it?"
    assert "Here each had the same, 200 epochs, and its best epoch was picked in retrospect (2 seeds, 2 rates)." in answers
    assert "The best range is then 10^-3.4 (0.000398) to 10^-2.6 (0.00251) (indicative only: 3 seeds at least" in answers
    early = "; with early stopping it is 10^-3.1 (0.000794) to 10^-2.3 (0.00501). The best rate is the same. At 1 rate of 2 "
    assert early in answers
    assert answers.endswith("of those, this budget cannot tell what early stopping decides.")
    assert "+: patience did not run out" in how
    assert cells_of(table) == [
        ["learning rate", *(f"patience {p} (epochs)" for p in (5, 10, 20, 40)), "200 epochs, the best"],
        ["10^-3.4 (0.000398)", "97.00% (17)", "97.10% (18)", "97.20% (19)", "97.30% (20+)", "98.72%"],
        ["10^-2.9 (0.00126)", *["98.00% (200)"] * 4, "98.81%"],
    ]


def test_one_seed_and_one_rate_are_singular() -> None:
    fixed = sensitivity_of(num_seeds=1)
    assert "(one seed, 1 rate)" in sensitivity_section(replace(fixed, rows=fixed.rows.iloc[:1]), best_of())


# Data.


def counts_frame(rows: dict[tuple[str, int], list[int]]) -> pd.DataFrame:
    columns = [*tables.DRAWN_BY, "split", *map(str, range(10))]
    drawn = [0, 3000, 5000, 10000, "null"]
    return pd.DataFrame([[seed, *drawn, split, *counts] for (split, seed), counts in rows.items()], columns=columns)


def test_class_counts_have_one_row_per_split_and_seed() -> None:
    counts = {("train", 0): [300] * 10, ("valid", 3): [400, 600, *[500] * 8], ("test", 3): [0, 2000, *[1000] * 8]}
    assert rows_of(class_counts_table(counts_frame(counts))) == [
        ["train", "0", *["300"] * 10, "1.00"],
        ["valid", "3", "400", "600", *["500"] * 8, "1.50"],
        ["test", "3", "0", "2000", *["1000"] * 8, "inf"],
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
    text = data_section(counts)
    assert ("accuracy is a fair measure" in text, "read accuracies with care" in text) == (is_even, not is_even)
    assert class_counts_table(counts) in text
    chosen = counts_frame({("train", 0): [600] * 5 + [0] * 5}).assign(**{"data.classes": "[0,1,2,3,4]"})
    assert "accuracy is a fair measure" in data_section(chosen)
    assert rows_of(class_counts_table(chosen))[0][-1] == "1.00"
    assert "even" not in data_section(tables.class_counts_frame([]))


# Machine.


def test_the_environment_section_names_the_machine(make_record: MakeRecord) -> None:
    records = [on_machine(make_record(lr=lr), **CLEAN) for lr in (1e-4, 1e-3)]
    section = environment_section(runs_of(records), "lrsweep")
    assert rows_of(section.split("\n\n")[1]) == [
        ["device", "cpu (a processor, 2 cores)"],
        ["workers × threads", "2 × 1"],
        ["engine, timing, precision", "solo, measured, fp32"],
        ["wall time / CPU time", "1.03 (a quarter of the CPU runs reach it; well above 1: other work beside)"],
        ["peak memory of a worker", "0.46 GB"],
        ["commit", "abcdef0123"],
    ]
    failed = on_machine(make_record(lr=1e-2, status="failed"))  # nothing is known about its machine
    assert environment_section(runs_of([*records, failed]), "lrsweep") == section


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


def test_a_busy_machine_shows_in_its_times(make_record: MakeRecord) -> None:
    busy = runs_of([make_record(wall_seconds=3.3, cpu_seconds=1.1)])
    assert "3.00 (a quarter of the CPU runs reach it;" in environment_section(busy, "")
    assert "not measured (a quarter" in environment_section(busy.assign(device="cuda"), "")
