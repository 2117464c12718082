"""lrsweep.report.gallery: which figures there are, what they are called, and that all of each fits into its picture."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from made_study import ARMS, AT_CHANCE, MAIN_FIGURES, fill, record_of, scored
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lrsweep.analysis.findings import Analysis, analyse
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.figures import plots
from lrsweep.report.figures.files import Figure, draw, remove_figures_not_in
from lrsweep.report.figures.study_figures import main_figures
from lrsweep.storage import store

GRID = log_grid(GridConfig())


def save_all_at_chance(folder: Path) -> None:
    for lr in GRID[:3]:
        store.save(folder, record_of(lr, AT_CHANCE))


def save_long_names(folder: Path) -> None:
    for size in (16, 64):
        fill(folder, GRID[20::3], range(3), batch_size=size, max_epochs=size, patience=size // 8)


STUDIES: dict[str, Callable[[Path], object]] = {
    "the documents' grid": lambda folder: fill(folder, GRID, range(3), ARMS),
    "one seed": lambda folder: fill(folder, GRID[::5], [0]),
    "one run": lambda folder: store.save(folder, record_of(3e-4, scored(0.9))),
    "near rates": lambda folder: fill(folder, [2e-3, 3e-3, 4e-3], range(3)),
    "all at chance": save_all_at_chance,
    "no error": lambda folder: store.save(folder, record_of(1e-3, scored(1.0))),
    "arms of many settings": save_long_names,
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Analysis]:
    made: dict[str, Analysis] = {}

    def of(name: str) -> Analysis:
        if name not in made:
            folder = tmp_path_factory.mktemp("study")
            STUDIES[name](folder)
            made[name] = analyse(folder)
        return made[name]

    return of


def figures_of(tables: Analysis) -> list[Figure]:
    assert tables.main is not None
    return main_figures(tables, tables.main)


def test_the_figures_are_in_the_readers_order(tables: Callable[[str], Analysis]) -> None:
    assert tuple(figure.name for figure in figures_of(tables("the documents' grid"))) == MAIN_FIGURES


def test_every_figure_says_its_arm_its_seeds_and_how_to_read_it(tables: Callable[[str], Analysis]) -> None:
    for name, seeds in (("the documents' grid", "3 seeds"), ("one seed", "one seed")):
        for figure in figures_of(tables(name)):
            told = "seed 0" if figure.name == "training-curves" else seeds
            assert f"(cross_entropy, {told}" in figure.title, figure.name
            assert figure.reading.endswith(".")


def test_titles_say_which_time_bars_and_target(tables: Callable[[str], Analysis]) -> None:
    titles = {figure.name: figure.title for figure in figures_of(tables("the documents' grid"))}
    assert titles["accuracy-and-time"].startswith("Accuracy and wall time against")
    assert titles["trade-off"].startswith("Validation error against wall time,")
    assert titles["seconds-to-target"].startswith("Seconds of wall time to 95% validation accuracy")
    assert titles["epochs-to-target"].startswith("Epochs to 95% validation accuracy")
    assert "bars: 95% intervals" in titles["plateau"]
    few = {figure.name: figure.title for figure in figures_of(tables("one seed"))}
    assert "bars: one binomial standard error" in few["plateau"]


def test_a_busy_machines_figures_speak_of_cpu_time(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, scored(0.9) | {"wall_seconds": 30.0}))
    titles = {figure.name: figure.title for figure in figures_of(analyse(tmp_path))}
    assert titles["seconds-to-target"].startswith("Seconds of CPU time to")
    assert "CPU time" in titles["accuracy-and-time"]


def test_the_reading_of_the_curves_says_the_studys_own_patience(tmp_path: Path) -> None:
    store.save(tmp_path, record_of(1e-3, scored(0.9, num_epochs=14), patience=12))
    (reading,) = [figure.reading for figure in figures_of(analyse(tmp_path)) if figure.name == "training-curves"]
    assert "12 epochs" in reading


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_all_of_a_figure_fits_into_it_and_its_legend_lies_below(tables: Callable[[str], Analysis], study: str) -> None:
    for figure in figures_of(tables(study)):
        drawn, ax = plots.figure_with(figure.title)
        figure.plot(ax)
        drawn.draw_without_rendering()  # warnings are errors
        legend = ax.get_legend()
        assert legend is not None, figure.name
        whole = legend.get_window_extent()
        assert_inside(drawn.bbox, whole, f"{figure.name}: legend")
        assert whole.y1 <= ax.get_window_extent().y0, figure.name  # a curve cannot run into it
        beside = [ax.xaxis.label, *(label for label in ax.get_xticklabels() if label.get_text())]
        for text in beside:
            assert not whole.overlaps(text.get_window_extent()), (figure.name, text.get_text())
        titles = [text for text in ax.findobj(Text) if text.get_text() and text.get_text() == ax.get_title(loc="left")]
        assert len(titles) == 1
        for text in (*titles, *(axis.label for axes in drawn.axes for axis in (axes.xaxis, axes.yaxis) if axis.label.get_text())):
            assert_inside(drawn.bbox, text.get_window_extent(), f"{figure.name}: {text.get_text()}")
        plt.close(drawn)


def assert_inside(outer: Bbox, inner: Bbox, told: str) -> None:
    assert outer.x0 <= inner.x0, told
    assert inner.x1 <= outer.x1, told
    assert outer.y0 <= inner.y0, told
    assert inner.y1 <= outer.y1, told


def test_a_figure_is_written_as_png_and_svg_and_named_in_markdown(tmp_path: Path) -> None:
    figure = Figure("mine", "a | title <b>", "Read it so.", lambda ax: ax)
    markdown = draw(tmp_path, figure)
    assert markdown == "![a \\| title \\<b\\>](figures/mine.png)\n\nRead it so."
    assert (tmp_path / "figures" / "mine.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert ET.parse(tmp_path / "figures" / "mine.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert plt.get_fignums() == []  # none is left open


def test_a_figure_is_drawn_once_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is most of a report's time, and savefig would do it twice."""
    draw_any, formats = MatplotlibFigure.draw, []

    def counted_draw(drawn: MatplotlibFigure, renderer: Any) -> None:
        formats.append(type(renderer).__name__)
        draw_any(drawn, renderer)

    monkeypatch.setattr(MatplotlibFigure, "draw", counted_draw)
    draw(tmp_path, Figure("mine", "title", "", lambda ax: ax))
    assert formats == ["RendererAgg", "MixedModeRenderer"]


def test_a_figure_without_a_sentence_is_only_its_picture(tmp_path: Path) -> None:
    assert draw(tmp_path, Figure("mine", "title", "", lambda ax: ax)) == "![title](figures/mine.png)"


def test_a_figure_drawn_again_changes_no_byte(tmp_path: Path) -> None:
    figure = Figure("mine", "title", "", lambda ax: ax.plot([1, 2], label="$10^{-3}$") and ax)
    pictures = []
    for _ in range(2):
        draw(tmp_path, figure)
        pictures.append([(tmp_path / "figures" / f"mine.{form}").read_bytes() for form in ("png", "svg")])
    assert pictures[0] == pictures[1]


def test_figures_that_the_report_does_not_name_are_removed(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    names = ("error.png", "error.svg", "gone-error.png", "gone-error.svg", "notes.txt")
    for name in names:
        (tmp_path / "figures" / name).touch()
    remove_figures_not_in("![An error](figures/error.png)\n", tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"error.png", "error.svg", "notes.txt"}


def test_where_there_are_no_figures_none_is_removed(tmp_path: Path) -> None:
    remove_figures_not_in("", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("num_points", "is_picture"), [(2_000, False), (2_001, True)])
def test_an_svg_of_very_many_points_has_them_as_a_picture(tmp_path: Path, num_points: int, is_picture: bool) -> None:
    draw(tmp_path, Figure("many", "Many", "", lambda ax: ax.scatter(range(num_points), range(num_points)).axes))
    svg = (tmp_path / "figures" / "many.svg").read_text(encoding="utf-8")
    assert ("<image" in svg) == is_picture
