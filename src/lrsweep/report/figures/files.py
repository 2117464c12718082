"""Draw a figure and write it as PNG and SVG."""

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

from lrsweep.report.figures import plots
from lrsweep.report.texts.wording import escaped
from lrsweep.storage import files

PIXELS_PER_INCH = 150  # of a PNG
_MANY = 2_000  # points that an SVG has as such; of more, it has a picture


@dataclass(frozen=True)
class Figure:
    name: str
    title: str
    reading: str  # how to read it, in a sentence
    plot: Callable[[Axes], Axes]


def draw(folder: Path, figure: Figure) -> str:
    """Draw one figure as PNG and SVG; return its Markdown."""
    drawn, ax = plots.figure_with(figure.title)
    figure.plot(ax)
    for axes in drawn.axes:
        for points in axes.collections:
            points.set_rasterized(isinstance(points, PathCollection) and np.shape(points.get_offsets())[0] > _MANY)
    save(drawn, folder / "figures" / figure.name)
    return _markdown(figure)


def _markdown(figure: Figure) -> str:
    image = f"![{escaped(figure.title)}](figures/{figure.name}.png)"
    return f"{image}\n\n{figure.reading}" if figure.reading else image


def save(drawn: MatplotlibFigure, path: Path) -> None:
    """As `path`.png and `path`.svg."""
    for form, content in (("png", _png(drawn)), ("svg", _svg(drawn))):
        files.write_atomically(path.with_name(f"{path.name}.{form}"), content)
    plt.close(drawn)


# Not savefig: it draws everything once more before it draws into the file. No date, no version: the same data give the same file.


def _png(drawn: MatplotlibFigure) -> bytes:
    buffer = BytesIO()
    drawn.set_dpi(PIXELS_PER_INCH)
    FigureCanvasAgg(drawn).print_png(buffer, metadata={"Software": None})
    drawn.set_layout_engine("none")  # laid out once for both files: it takes as long as drawing
    return buffer.getvalue()


def _svg(drawn: MatplotlibFigure) -> bytes:
    buffer = BytesIO()
    FigureCanvasSVG(drawn).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def remove_figures_not_in(report: str, folder: Path) -> None:
    """Those of an arm that is gone."""
    for path in (folder / "figures").glob("*.*"):
        if f"(figures/{path.stem}.png)" not in report and path.suffix in (".png", ".svg"):
            path.unlink()
