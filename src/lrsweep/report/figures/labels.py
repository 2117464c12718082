"""Labels beside points, placed so that none can be taken for another point's."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lrsweep.report.figures.style import SOFT

_LETTER, _LINE, _DOT = 6.5, 12.0, 4.0  # points; the size of a label, and half of a mark
_DISTANCES = (5, 14, 23, 32, 41)  # points; of a label from its point, the nearest first
_CLEAR = 11  # points; no other point is as near to a label, so that it cannot be taken for another's
_ANGLES = [math.pi / 8 * i for i in (2, 6, 14, 10, 0, 8, 4, 12, 1, 7, 15, 9, 3, 5, 13, 11)]  # the corners first


def label_points(texts: Sequence[str], points: np.ndarray[Any, Any], ax: Axes) -> None:
    """Write a text beside each point, the first texts first. A label that is not next to its point gets a thin line to it.

    A label that finds no place inside the axes, away from all other points, labels and lines, is left out. `points` has one row
    per text: x and y.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    if layout := figure.get_layout_engine():
        layout.execute(figure)  # moves the axes to their final place
    to_points = 72 / figure.dpi
    places = ax.transData.transform(points) * to_points
    inside = np.array(ax.get_window_extent().extents) * to_points
    taken = np.hstack([places - _DOT, places + _DOT])  # boxes: left, low, right, top
    for i, (text, place) in enumerate(zip(texts, places, strict=True)):
        size = np.array([_LETTER * len(text), _LINE])
        for away, angle in itertools.product(_DISTANCES, _ANGLES):
            direction = np.array([math.cos(angle), math.sin(angle)])
            middle = place + (away + size / 2) * direction / max(abs(direction))
            low, high = middle - size / 2, middle + size / 2
            gaps = np.hypot(*(places - np.clip(places, low, high)).T)  # from each point to the label
            line = np.linspace(place, np.clip(place, low, high), 9)[1:-1]
            boxes = np.vstack([[*low, *high], np.hstack([line, line])])
            is_inside = (inside[:2] <= low).all() and (high <= inside[2:]).all()
            if is_inside and (np.delete(gaps, i) > _CLEAR).all() and not _overlap(boxes, np.delete(taken, i, axis=0)):
                look = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": _DOT}
                ax.annotate(
                    text, points[i], xytext=middle - place, textcoords="offset points", ha="center", va="center",
                    fontsize=10, arrowprops=look if away > _DISTANCES[0] else None,
                )  # fmt: skip
                taken = np.vstack([taken, boxes])
                break


def _overlap(boxes: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> bool:
    return bool(((boxes[:, None, :2] < others[:, 2:]) & (others[:, :2] < boxes[:, None, 2:])).all(axis=-1).any())
