"""lrsweep.report.arm_comparison: the arms of a study in one figure and one table."""

import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_study import fill, record_of, scored

from lrsweep.analysis.findings import analyse
from lrsweep.analysis.study import Study
from lrsweep.report.arm_comparison import comparison, plot_arms
from lrsweep.report.audit.build import read_study
from lrsweep.report.build import build
from lrsweep.storage import store

RATES = [10**-3.5, 1e-3, 10**-2.5, 1e-2, 10**-1.9]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two arms of the documents' story; the second half a percentage point worse at its best."""
    folder = tmp_path_factory.mktemp("results")
    fill(folder / "made", RATES, range(3))
    for lr in RATES:
        for seed in range(3):
            accuracy = round(0.965 - 0.08 * (math.log10(lr) + 3) ** 2, 4)
            store.save(folder / "made", record_of(lr, scored(accuracy), seed=seed, batch_size=64))
    read = read_study(folder, "made")
    assert read is not None
    return read


def test_a_line_an_arm_a_ring_at_its_best_rate_and_its_name_at_its_end(study: Study) -> None:
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


def test_the_table_has_a_row_an_arm_the_best_first(study: Study, tmp_path: Path) -> None:
    text = comparison(tmp_path, study, "arms")
    assert (tmp_path / "figures" / "arms.png").exists()
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[1] for row in rows] == ["10^-2.5 (0.00316)", "10^-3 (0.001)"]
    assert rows[0].split(" | ")[6] == "5 × 3"
    assert "96.50%" in rows[1]


@pytest.mark.parametrize(("num_seeds", "told"), [(3, "3 seeds"), (1, "1 to 3 seeds an arm")])
def test_the_figure_says_how_many_seeds_each_arm_has(study: Study, tmp_path: Path, num_seeds: int, told: str) -> None:
    runs = study.runs[(study.runs["training.batch_size"] == 32) | (study.runs["seed"] < num_seeds)]
    assert f"(study made, {told})" in comparison(tmp_path, replace(study, runs=runs), "arms")


@pytest.mark.slow
@pytest.mark.parametrize(("losses", "is_compared"), [(["cross_entropy"], False), (["cross_entropy", "double_softmax"], True)])
def test_a_report_compares_arms_where_there_are_several(tmp_path: Path, losses: list[str], is_compared: bool) -> None:
    text = build(fill(tmp_path / "made", RATES, range(3), losses)).read_text(encoding="utf-8")
    assert ("## Arms compared" in text) == is_compared
    assert (tmp_path / "made" / "figures" / "arms.svg").exists() == is_compared


def test_the_arm_of_the_defaults_answers_whatever_the_others_are_called(tmp_path: Path) -> None:
    """As text, 128 comes before 32."""
    for size in (128, 32):
        fill(tmp_path, RATES, range(3), batch_size=size)
    assert [arm.rpartition("=")[2] for arm in analyse(tmp_path).findings] == ["32", "128"]
