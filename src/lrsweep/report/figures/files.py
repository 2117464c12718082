"""Draw figures and write them as PNG and SVG."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.text import Text
from PIL import Image

from lrsweep.report.figures.style import KOREAN_FONT, new_figure
from lrsweep.report.texts.figure_words import in_korean
from lrsweep.report.texts.language import is_korean
from lrsweep.report.texts.wording import escaped
from lrsweep.storage import files

NARROW, KOREAN = "-narrow", ".ko"  # end the names of the version for phones and of the one with Korean words
PIXELS_PER_INCH = 150
_MAX_SVG_POINTS = 2_000  # a scatter plot with more points becomes a bitmap inside the SVG
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@dataclass(frozen=True)
class Figure:
    name: str
    title: str
    reading: str  # how to read it, in a few sentences; may be empty
    plot: Callable[[Axes], Axes]


def draw(folder: Path, figure: Figure) -> str:
    """Draw a figure into folder/figures, and return its Markdown: the picture, and below it title and reading.

    The English report comes first. It draws a PNG, an SVG and a narrow SVG, which the page shows on phones. The Korean report
    draws only a PNG, if there is a Korean font. The Korean page translates the words of the SVG.
    """
    path = folder / "figures" / figure.name
    if not is_korean():
        save(_drawn(figure), path)
        save_svg(_drawn(figure, is_narrow=True), path.with_name(f"{path.name}{NARROW}.svg"))
    elif KOREAN_FONT:
        path = path.with_name(f"{path.name}{KOREAN}")
        drawn = _drawn(figure)
        for text in drawn.findobj(Text):
            text.set_text(in_korean(text.get_text()))
        save_png(drawn, path)
        plt.close(drawn)
    title = escaped(figure.title)
    return f"![{title}](figures/{path.name}.png)\\\n**{title}.** {figure.reading}".rstrip()


def _drawn(figure: Figure, *, is_narrow: bool = False) -> MatplotlibFigure:
    drawn, ax = new_figure(is_narrow=is_narrow)
    figure.plot(ax)
    for axes in drawn.axes:
        for points in axes.collections:
            points.set_rasterized(isinstance(points, PathCollection) and np.shape(points.get_offsets())[0] > _MAX_SVG_POINTS)
    return drawn


def save(drawn: MatplotlibFigure, path: Path) -> None:
    """Write `path`.png and `path`.svg, and close the figure."""
    save_png(drawn, path)
    drawn.set_layout_engine("none")  # the layout of the PNG serves the SVG too
    save_svg(drawn, path.with_name(f"{path.name}.svg"))


def save_png(drawn: MatplotlibFigure, path: Path) -> None:
    png = BytesIO()
    drawn.set_dpi(PIXELS_PER_INCH)
    canvas = FigureCanvasAgg(drawn)  # not savefig, which draws every figure twice per file
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # With 256 colours, a figure looks the same and needs a third of the bytes.
    picture.quantize(256, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    files.write_atomically(path.with_name(f"{path.name}.png"), png.getvalue())


def save_svg(drawn: MatplotlibFigure, path: Path) -> None:
    svg = BytesIO()
    with plt.rc_context({"svg.hashsalt": path.name}):  # without it, the ids in an SVG are random
        FigureCanvasSVG(drawn).print_svg(svg, metadata=_NO_METADATA)
    plt.close(drawn)
    files.write_atomically(path, svg.getvalue())


def remove_figures_not_in(report: str, folder: Path) -> None:
    """Delete figures of an earlier report, for example of an arm that no longer exists, and files of a report that was killed."""
    for place in (folder, folder / "figures"):
        files.remove_leftovers(place)
    for path in (folder / "figures").glob("*.*"):
        if f"(figures/{path.stem.removesuffix(NARROW)}.png)" not in report and path.suffix in (".png", ".svg"):
            path.unlink()
