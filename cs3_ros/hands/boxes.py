"""What the detectors of hands and held objects do with their boxes."""

from __future__ import annotations

from collections.abc import Sequence

from cs3_ros.collision import Box

MIN_OBJECT_AREA = 16.0
"""Smallest box of a held object that is kept, square pixels (method.md B2)."""


def clipped(box: Sequence[float], shape: tuple[int, ...], min_area: float) -> Box | None:
    """The part of a box that lies in the picture; None where it is smaller than ``min_area``.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels, far edge exclusive.
        shape: of the picture, height and width first.
        min_area: smallest area kept, square pixels; an empty box is never kept.
    """
    height, width = shape[:2]
    x0, x1 = (min(max(float(x), 0.0), float(width)) for x in (box[0], box[2]))
    y0, y1 = (min(max(float(y), 0.0), float(height)) for y in (box[1], box[3]))
    if not (x1 > x0 and y1 > y0 and (x1 - x0) * (y1 - y0) >= min_area):
        return None
    return (x0, y0, x1, y1)
