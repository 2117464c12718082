"""The list of figures in a report, and how figures become files."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from matplotlib.transforms import Bbox
from synthetic_study import ARMS, AT_CHANCE, MAIN_FIGURES, fill, fill_budget, record_of, scored

from lrsweep.analysis.findings import analyse
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.figures.files import Figure, draw, remove_figures_not_in
from lrsweep.report.figures.study_figures import main_figures
from lrsweep.report.figures.style import new_figure
from lrsweep.storage import store

GRID = log_grid(GridConfig())


def save(folder: Path, outcome: dict[str, Any]) -> None:
    for lr in GRID[20:23]:
        store.save(folder, record_of(lr, outcome))


def save_long_names(folder: Path) -> None:
    for size in (16, 64):
        fill(folder, GRID[20::3], range(3), batch_size=size, max_epochs=size, patience=size // 8)


def save_with_fresh_seeds(folder: Path) -> None:
    fill(folder, GRID, range(3))
    fill(folder / "confirm", GRID[30:41], range(1000, 1005))
    fill_budget(folder / "budget", GRID[20:40], [0])


STUDIES: dict[str, Callable[[Path], object]] = {
    "the documents' grid": lambda folder: fill(folder, GRID, range(3), ARMS),
    "one seed": lambda folder: fill(folder, GRID[::5], [0]),
    "one run": lambda folder: store.save(folder, record_of(3e-4, scored(0.9))),
    "rates close together": lambda folder: fill(folder, [2e-3, 3e-3, 4e-3], range(3)),
    "all at chance": lambda folder: save(folder, AT_CHANCE),
    "no error": lambda folder: store.save(folder, record_of(1e-3, scored(1.0))),
    "nothing right": lambda folder: save(folder, AT_CHANCE | {"valid_accuracy": 0.0, "test_accuracy": 0.0}),
    "all equal": lambda folder: save(folder, scored(0.9)),
    "all diverged late": lambda folder: save(folder, scored(0.9) | {"status": "diverged"}),
    "arms with long names": save_long_names,
    "fresh seeds and a fixed budget": save_with_fresh_seeds,
}


def figures_of(folder: Path) -> dict[str, Figure]:
    tables = analyse(folder)
    assert tables.main is not None
    return {figure.name: figure for figure in main_figures(tables, tables.main)}


def test_titles_name_arm_and_seeds(tmp_path: Path) -> None:
    figures = figures_of(fill(tmp_path / "three", GRID[20::3], range(3), ARMS))
    assert tuple(figures) == MAIN_FIGURES
    for figure in figures.values():
        assert f"(cross_entropy, {'seed 0' if figure.name == 'training-curves' else '3 seeds'}" in figure.title
        assert figure.reading.endswith(".")
        assert figure.title not in figure.reading
    assert figures["shortfall"].title.startswith("What each learning rate loses (cross_entropy, 3 seeds; bars: 95%, simultaneous")
    assert "(cross_entropy, one seed)" in figures_of(fill(tmp_path / "one", GRID[::5], [0]))["error"].title


def test_runs_of_equal_length_have_no_figure_of_what_accuracy_costs(tmp_path: Path) -> None:
    for i, lr in enumerate(GRID[20:23]):
        store.save(tmp_path, record_of(lr, scored(0.9 + i / 100)))
    store.save(tmp_path, record_of(GRID[23], {"status": "failed", "stop_reason": "error"}))  # it has no epochs
    assert tuple(figures_of(tmp_path)) == ("shortfall", "error", "training-curves")


def test_fresh_seeds_and_a_fixed_budget_add_their_figures(tmp_path: Path) -> None:
    fill(tmp_path, GRID[20::3], range(3))
    fill(tmp_path / "confirm", GRID[20::3], range(1000, 1004))
    fill_budget(tmp_path / "budget", GRID[20:38:3], range(2))
    figures = figures_of(tmp_path)
    assert tuple(figures) == (*MAIN_FIGURES, "fresh-seeds", "early-stopping")
    assert "(cross_entropy, 2 seeds)" in figures["early-stopping"].title


def test_a_run_that_is_rarely_validated_is_drawn_too(tmp_path: Path) -> None:
    for seed in range(3):
        outcome = scored(0.9 + seed / 100)
        *earlier, last = outcome["curve"]
        curve = (*(replace(epoch, valid_loss=None, valid_accuracy=None) for epoch in earlier), last)
        settings = {"patience": None, "max_epochs": 7, "validate_every": 7}
        store.save(tmp_path, record_of(1e-3, outcome | {"curve": curve, "best_epoch": 7}, seed=seed, **settings))
    for figure in figures_of(tmp_path).values():
        drawn, ax = new_figure()
        figure.plot(ax)
        drawn.draw_without_rendering()
        plt.close(drawn)


def test_the_main_figure_shows_the_fresh_seeds_if_there_are_any(tmp_path: Path) -> None:
    fill(tmp_path, GRID[20::3], range(3))
    fill(tmp_path / "confirm", GRID[20::3], range(1000, 1004))
    figures = figures_of(tmp_path)
    assert "4 fresh seeds" in figures["shortfall"].title
    assert "3 seeds" in figures["error"].title


def test_the_reading_of_the_curves_names_the_patience(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, scored(0.9, num_epochs=14), patience=12))
    assert "12 epochs" in figures_of(tmp_path)["training-curves"].reading


def test_the_best_of_the_fresh_seeds_may_be_a_rate_that_the_study_did_not_try(tmp_path: Path) -> None:
    fill(tmp_path, GRID[20::5], range(3))
    fill(tmp_path / "confirm", GRID[20:41], range(1000, 1004))
    drawn, ax = new_figure()
    figures_of(tmp_path)["error"].plot(ax)
    assert any(text.get_text().startswith("best") for text in ax.get_legend().get_texts())
    plt.close(drawn)


@pytest.mark.slow
@pytest.mark.parametrize("is_narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("study", STUDIES)
def test_all_text_is_inside_the_figure_and_the_legend_is_below_the_axes(tmp_path: Path, study: str, is_narrow: bool) -> None:
    STUDIES[study](tmp_path)
    for figure in figures_of(tmp_path).values():
        drawn, ax = new_figure(is_narrow=is_narrow)
        figure.plot(ax)
        drawn.draw_without_rendering()  # warnings are errors
        legend = ax.get_legend()
        assert legend is not None, figure.name
        box = legend.get_window_extent()
        assert_inside(drawn.bbox, box, f"{figure.name}: legend")
        assert box.y1 <= ax.get_window_extent().y0, figure.name
        low, high = ax.get_xlim()
        ticks = [tick.label1.get_window_extent() for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        for extent in (ax.xaxis.label.get_window_extent(), *ticks):
            assert not box.overlaps(extent), figure.name
        for left, right in pairwise(sorted(ticks, key=lambda tick: tick.x0)):
            assert left.x1 < right.x0, f"{figure.name}: labels of ticks overlap"
        for text in (*ax.texts, ax.xaxis.label, ax.yaxis.label):
            assert_inside(drawn.bbox, text.get_window_extent(), f"{figure.name}: {text.get_text()}")
        plt.close(drawn)


def assert_inside(outer: Bbox, inner: Bbox, name: str) -> None:
    assert outer.x0 <= inner.x0 <= inner.x1 <= outer.x1, name
    assert outer.y0 <= inner.y0 <= inner.y1 <= outer.y1, name


def test_a_figure_becomes_png_svg_and_markdown_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    figure = Figure("mine", "a | title <b>", "Read it so.", lambda ax: ax.plot([1, 2], label="$10^{-3}$") and ax)
    pictures = []
    for _ in range(2):
        markdown = draw(tmp_path, figure)
        assert markdown == "![a \\| title \\<b\\>](figures/mine.png)\\\n**a \\| title \\<b\\>.** Read it so."
        pictures.append([(tmp_path / "figures" / name).read_bytes() for name in ("mine.png", "mine.svg", "mine-narrow.svg")])
    assert pictures[0] == pictures[1]
    assert pictures[0][0].startswith(b"\x89PNG\r\n\x1a\n")
    wide, narrow = (ET.fromstring(picture) for picture in pictures[0][1:])
    assert wide.tag == narrow.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(wide.attrib["viewBox"].split()[2]) > 2 * float(narrow.attrib["viewBox"].split()[2])
    assert plt.get_fignums() == []  # all figures are closed
    assert draw(tmp_path, Figure("mine", "title", "", lambda ax: ax)) == "![title](figures/mine.png)\\\n**title.**"


def test_figures_that_the_report_does_not_show_are_removed(tmp_path: Path) -> None:
    remove_figures_not_in("", tmp_path)  # no folder
    (tmp_path / "figures").mkdir()
    old = ("error.ko.png", "old-error.png", "old-error-narrow.svg")
    for name in ("error.png", "error.svg", "error-narrow.svg", "notes.txt", *old):
        (tmp_path / "figures" / name).touch()
    remove_figures_not_in("![An error](figures/error.png)\n", tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"error.png", "error.svg", "error-narrow.svg", "notes.txt"}


@pytest.mark.parametrize(("num_points", "is_bitmap"), [(2_000, False), (2_001, True)])
def test_very_many_points_are_a_bitmap_in_the_svg(tmp_path: Path, num_points: int, is_bitmap: bool) -> None:
    draw(tmp_path, Figure("many", "Many", "", lambda ax: ax.scatter(range(num_points), range(num_points)).axes))
    assert ("<image" in (tmp_path / "figures" / "many.svg").read_text(encoding="utf-8")) == is_bitmap
