"""The comparison of a study's arms: its figure and its table."""

import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from synthetic_study import fill, record_of, scored

from lrsweep.analysis.best_rate import find_best
from lrsweep.analysis.evidence import read_study
from lrsweep.analysis.study import Study
from lrsweep.report.arm_comparison import comparison, plot_arms
from lrsweep.storage import store

RATES = [10**-3.5, 1e-3, 10**-2.5, 1e-2, 10**-1.9]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two arms. The best accuracy of the second one is half a percentage point lower."""
    folder = tmp_path_factory.mktemp("results")
    fill(folder / "mine", RATES, range(3))
    for lr in RATES:
        for seed in range(3):
            accuracy = round(0.965 - 0.08 * (math.log10(lr) + 3) ** 2, 4)
            store.save(folder / "mine", record_of(lr, scored(accuracy), seed=seed, batch_size=64))
    study = read_study(folder, "mine")
    assert study is not None
    return study


def test_each_arm_has_a_line_a_ring_at_its_best_rate_and_a_name_without_overlap(study: Study) -> None:
    figure, ax = plt.subplots()
    plot_arms(study, ax)
    figure.canvas.draw()
    lines = [line for line in ax.lines if len(line.get_xdata()) == len(RATES)]  # type: ignore[arg-type]
    rings = [line for line in ax.lines if len(line.get_xdata()) == 1]  # type: ignore[arg-type]
    for line, arm in zip(lines, study.runs["arm"].unique(), strict=True):
        means = study.runs[study.runs["arm"] == arm].groupby("lr")["test_accuracy"].mean()
        np.testing.assert_allclose(line.get_ydata(), 1 - means)
    assert sorted(float(ring.get_xdata()[0]) for ring in rings) == pytest.approx([1e-3, 10**-2.5])  # type: ignore[index]
    names = [text for text in ax.texts if text.get_text()]
    assert {text.get_text() for text in names} == {study.called(arm) for arm in study.runs["arm"].unique()}
    low, high = sorted((text.get_window_extent() for text in names), key=lambda box: box.y0)
    assert low.y1 <= high.y0
    plt.close(figure)


def test_a_perfect_accuracy_is_drawn_at_the_lowest_error(study: Study) -> None:
    figure, ax = plt.subplots()
    plot_arms(replace(study, runs=study.runs.assign(test_accuracy=1.0)), ax)
    assert {float(y) for line in ax.lines for y in line.get_ydata()} == {1e-4}  # type: ignore[union-attr]
    plt.close(figure)


def test_a_legend_has_the_names_if_the_arms_end_at_different_rates(study: Study) -> None:
    first, second = study.runs["arm"].unique()
    figure, ax = plt.subplots()
    plot_arms(replace(study, runs=study.runs[(study.runs["arm"] == first) | (study.runs["lr"] < 1e-2)]), ax)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [study.called(first), study.called(second)]
    assert not [text for text in ax.texts if text.get_text()]
    plt.close(figure)


def test_the_table_lists_the_best_arm_first(study: Study, tmp_path: Path) -> None:
    text = comparison(tmp_path, study, "arms")
    assert (tmp_path / "figures" / "arms.png").exists()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row[1] for row in rows] == ["0.0032 (10⁻²·⁵)", "0.001 (10⁻³)"]
    header = next(line for line in text.splitlines() if line.startswith("| arm")).split(" | ")
    assert [row[header.index("rates\u00a0×\u00a0seeds")] for row in rows] == ["5 × 3", "5 × 3"]
    assert rows[1][3].startswith("95.50%")
    # The accuracy falls by 0.02 within half a decade on both sides of 10^-3. By interpolation, it is one point below the best
    # at a quarter of a decade.
    assert float(rows[1][header.index("usable decades")]) == pytest.approx(2 * 0.5 * 0.01 / 0.02, abs=0.01)
    assert rows[1][header.index("rate sensitivity")] == "–"  # the rates do not reach a decade below the best


def test_fresh_seeds_are_a_column(study: Study, tmp_path: Path) -> None:
    arm = next(arm for arm in study.runs["arm"].unique() if "64" in arm)
    fresh = find_best(study.runs[(study.runs["arm"] == arm) & (study.runs["lr"] == 1e-3)])
    assert fresh is not None
    rows = [line.split(" | ") for line in comparison(tmp_path, study, "arms", {arm: fresh}).splitlines() if line.startswith("| ")]
    column = rows[0].index("fresh seeds")
    assert [row[column] for row in rows[1:]] == ["–", "95.50% ± 0.00 (3)"]


@pytest.mark.parametrize(("num_seeds", "seeds"), [(3, "3 seeds"), (1, "1 to 3 seeds per arm")])
def test_the_title_counts_the_seeds(study: Study, tmp_path: Path, num_seeds: int, seeds: str) -> None:
    runs = study.runs[(study.runs["training.batch_size"] == 32) | (study.runs["seed"] < num_seeds)]
    assert f"(study mine, {seeds})" in comparison(tmp_path, replace(study, runs=runs), "arms")
