"""Records as the tables of a report, and Markdown tables as cells."""

from dataclasses import replace

import pandas as pd
from markdown_it import MarkdownIt

from lrsweep.analysis.findings import Analysis, Findings
from lrsweep.analysis.summary import summarise, with_arms, with_chance, with_seconds
from lrsweep.records import RunRecord
from lrsweep.storage import tables

CLEAN = {
    **{"device": "cpu", "device_name": "a processor", "cores": 2, "threads": 1, "workers": 2, "precision": "fp32"},
    **{"peak_memory_bytes": 462_000_000, "git_commit": "abcdef0123", "git_dirty": False},
}
EVIL = "<script>alert(1)</script> | `x` *y* [z](http://a)"


def runs_of(records: list[RunRecord]) -> pd.DataFrame:
    return with_arms(with_seconds(with_chance(tables.to_frame(records), tables.class_counts_frame(records))))


def tables_of(records: list[RunRecord], main_findings: Findings | None = None, expected: set[str] | None = None) -> Analysis:
    runs = runs_of(records)
    findings = {} if main_findings is None else {main_findings.best.arm: main_findings}
    counts, curves = tables.class_counts_frame(records), tables.curves_frame(records)
    return Analysis(runs, curves, counts, summarise(runs), findings, expected)


def cells_of(table: str) -> list[list[str]]:
    """The cells of a Markdown table as a Markdown parser splits them, header first."""
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(table)
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:  # not a sentence above the table
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def rows_of(table: str) -> list[list[str]]:
    return cells_of(table)[1:]


def on_machine(record: RunRecord, **environment: object) -> RunRecord:
    return replace(record, environment=environment)
