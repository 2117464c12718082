"""The arithmetic, the tables and the files that all benchmarks share."""

from collections.abc import Iterator

import pytest
from benchmarking import data_config, ratios, spread, table, take_turns

from lrsweep.config import DataConfig


def test_ratios_are_taken_within_a_round() -> None:
    assert ratios([1.0, 2.0, 4.0], [2.0, 2.0, 2.0]) == [0.5, 1.0, 2.0]


def test_a_round_that_is_not_complete_has_no_ratio() -> None:
    assert ratios([1.0, 2.0], [2.0]) == [0.5]


def test_a_spread_is_the_median_with_range_and_number_of_values() -> None:
    assert spread([4.0, 1.0, 2.0]) == "2.00 (1.00–4.00; 3)"
    assert spread([1_000.0, 2_000.0], ",.0f") == "1,500 (1,000–2,000; 2)"


def test_a_row_without_figures_reads_not_measured() -> None:
    assert table(["", "a", "b"], [["CPU", "1", "2"], ["GPU"]])[2:] == [
        "| CPU | 1            | 2            |",
        "| GPU | not measured | not measured |",
    ]


def test_a_crash_loses_only_the_measurements_after_it() -> None:
    def measure() -> Iterator[float]:
        yield from (1.0, 2.0)
        raise KeyboardInterrupt

    values, published = measure(), {}
    with pytest.raises(KeyboardInterrupt):
        take_turns(dict.fromkeys(("a", "b"), lambda: next(values)), 2, published.update)
    assert published == {"a": [1.0], "b": [2.0]}


def test_sizes_keep_the_documents_proportions() -> None:
    assert data_config(3_000) == DataConfig()
