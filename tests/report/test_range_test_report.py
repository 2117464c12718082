"""The figure and table of lrsweep-find, and the sweep that it is scored against."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from synthetic_study import fill, record_of, scored

from lrsweep.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig, TrainingConfig
from lrsweep.records import RangeTest
from lrsweep.report.range_test import draw, plot_range_tests, sweep_like, table_text
from lrsweep.storage import store

RATES = tuple(np.geomspace(1e-5, 1e-1, 41).tolist())
TESTS = [
    RangeTest(seed=seed, rates=RATES, losses=(2.0,) * 41, smoothed=tuple(np.linspace(2, 1 + seed, 41).tolist()), end="high")
    for seed in (0, 1)
]
BY_SEED = pd.DataFrame(
    {"rule": ["valley", "valley", "slide", "slide"], "seed": [0, 1, 0, 1], "lr": [1e-3, 1e-2, math.nan, math.nan]}
)
COMBINED = pd.DataFrame(
    {
        **{"rule": ["valley", "slide"], "lr": [10**-2.5, math.nan], "spread_decades": [1.0, math.nan]},
        **{"num_given": [2, 0], "num_seeds": [2, 2], "shortfall": [0.0123, math.nan]},
        **{"shortfall_low": [0.0045, math.nan], "shortfall_high": [0.0201, math.nan], "verdict": ["worse", math.nan]},
    }
)


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_each_seed_has_a_curve_with_markers_at_the_suggestions(ax: Axes) -> None:
    plot_range_tests(TESTS, BY_SEED, COMBINED, None, ax)
    first, second = ax.lines[:2]
    assert tuple(first.get_xdata()) == RATES  # type: ignore[arg-type]
    assert tuple(second.get_ydata()) == TESTS[1].smoothed  # type: ignore[arg-type]
    (markers,) = [line for line in ax.lines if line.get_label() == "valley: 0.0032"]
    np.testing.assert_allclose(markers.get_xdata(), [1e-3, 1e-2])
    np.testing.assert_allclose(markers.get_ydata(), [1.5, 2.0])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels == ["2 seeds", "valley: 0.0032", "slide: no suggestion"]


def test_the_good_rates_of_the_sweep_are_shaded(ax: Axes, tmp_path: Path) -> None:
    for lr, accuracy in ((1e-4, 0.9), (1e-3, 0.98), (1e-2, 0.9)):
        for seed in range(4):
            store.save(tmp_path, record_of(lr, scored(accuracy + 0.0002 * seed), seed=seed))
    best = sweep_like(RunConfig(), tmp_path)
    assert best is not None
    plot_range_tests(TESTS, BY_SEED, COMBINED, best, ax)
    (shade,) = [patch for patch in ax.patches if str(patch.get_label()) == "good rates"]
    assert shade.get_extents().width > 0


def test_an_exploding_curve_leaves_the_axes(ax: Axes) -> None:
    high = replace(TESTS[0], smoothed=(*TESTS[0].smoothed[:-1], 100.0))
    plot_range_tests([high], BY_SEED[:0], COMBINED[:0], None, ax)
    low, top = ax.get_ylim()
    assert 0.9 * min(high.smoothed) < low < min(high.smoothed)
    assert 3.0 < top < 3.2


def test_the_same_tests_give_the_same_files(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        draw(tmp_path / name, TESTS, BY_SEED, COMBINED, None, "A title")
        files.append([(tmp_path / name / f"finder.{form}").read_bytes() for form in ("png", "svg")])
    assert files[0] == files[1]


def test_the_table_has_one_line_per_rule() -> None:
    header, valley, slide = table_text(COMBINED).splitlines()
    assert header.split()[:2] == ["rule", "suggestion"]
    assert valley.split() == ["valley", "3.16e-03", "2", "of", "2", "1.00", "1.23", "(0.45", "to", "2.01)", "worse"]
    assert slide.split("  ")[-1].strip() == "–"
    assert slide.count("not measured") == 2
    assert "no suggestion" in slide


def test_only_an_arm_with_the_same_settings_counts_whatever_its_rate_and_seed(tmp_path: Path) -> None:
    assert sweep_like(RunConfig(), tmp_path) is None
    fill(tmp_path, [1e-4, 1e-3, 1e-2], [0], losses=("cross_entropy", "double_softmax"))
    best = sweep_like(RunConfig(seed=7, optimizer=OptimizerConfig(lr=0.5)), tmp_path)
    assert best is not None
    assert best.arm == "cross_entropy"
    own = {"name": "arrays", "target": "lrsweep.data.sets.arrays:load"}
    record = record_of(1e-3, scored(0.9))
    moved = replace(record, config=record.config | {"data": record.config["data"] | own | {"path": "here.npz"}})
    store.save(tmp_path / "moved", moved)
    assert sweep_like(RunConfig(data=DataConfig(**own, path="there.npz")), tmp_path / "moved") is not None
    for run in (
        RunConfig(optimizer=OptimizerConfig(name="sgd")),
        RunConfig(model=ModelConfig(activation="relu")),
        RunConfig(training=TrainingConfig(patience=None)),
    ):
        assert sweep_like(run, tmp_path) is None
