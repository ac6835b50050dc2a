"""What a person draws on a frame, and the masks that follow from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from cs3_ros.collision import NS_PER_S, Box, Mask, Prompt
from cs3_ros.files.fields import expect, items, mapping, number, one_of, whole
from cs3_training.data.manifest import MOST_MASKS
from cs3_training.data.tables import LATEST_S

Point = tuple[float, float]
Verdict = Literal['open', 'done', 'skipped']
VERDICTS: tuple[Verdict, ...] = ('open', 'done', 'skipped')
"""Not looked at or not finished; in the manifest; of no use."""

MOST_POINTS = 200
"""Points that include or exclude, of one object."""
MOST_STROKES = 2_000
"""Strokes of the brush on one object."""
STROKE_POINTS = 20_000
"""Points of one stroke."""
FARTHEST = 100_000.0
"""Pixels; nothing is drawn further away from the picture's corner."""
FRACTION_BITS = 4
"""Of a pixel, in which strokes are drawn."""


@dataclass(frozen=True)
class Stroke:
    """One stroke of the brush."""

    add: bool
    """Adds to the mask; else it takes away."""
    radius: float
    """Of the brush, pixels."""
    points: tuple[Point, ...]
    """Where it went, at least one point (x, y) in pixels."""


@dataclass(frozen=True)
class DrawnObject:
    """One of the colliding objects as a person drew it; the strokes come after the masker."""

    box: Box | None = None
    """Box round it."""
    include: tuple[Point, ...] = ()
    """Points on it."""
    exclude: tuple[Point, ...] = ()
    """Points that are not on it."""
    strokes: tuple[Stroke, ...] = ()
    """Corrections with the brush, in their order."""

    @property
    def prompt(self) -> Prompt | None:
        """What the masker is asked; None where only the brush says anything."""
        if self.box is None and not self.include:
            return None
        include, exclude = (
            np.array(points, np.float32).reshape(-1, 2) for points in (self.include, self.exclude)
        )
        return Prompt(self.box, include, exclude)


@dataclass(frozen=True)
class Drawing:
    """All that a person said about a candidate."""

    onset_ns: int
    """Media time of the collision."""
    frame_ns: int
    """Media time of the frame that is drawn on."""
    objects: tuple[DrawnObject, ...] = ()
    """At most two."""
    verdict: Verdict = 'open'
    """What became of it."""


def as_data(drawing: Drawing) -> dict[str, Any]:
    """A drawing as JSON data; ``read_drawing`` reads it."""
    return asdict(drawing)


def read_drawing(value: Any) -> Drawing:
    """A drawing of JSON data, from the page or from disk.

    Raises:
        ValueError: it is none; names the place, the value and what was expected.
    """
    data = mapping(value, 'drawing', ('onset_ns', 'frame_ns', 'objects', 'verdict'))
    times = [whole(data[k], k, 0, round(LATEST_S * NS_PER_S)) for k in ('onset_ns', 'frame_ns')]
    objects = items(data['objects'], 'objects')
    expect(len(objects) <= MOST_MASKS, 'objects', len(objects), f'at most {MOST_MASKS}')
    verdict: Any = one_of(data['verdict'], 'verdict', VERDICTS)
    read = tuple(_object(each, f'objects[{k}]') for k, each in enumerate(objects))
    return Drawing(times[0], times[1], read, verdict)


def _object(value: Any, where: str) -> DrawnObject:
    data = mapping(value, where, ('box', 'include', 'exclude', 'strokes'))
    box: Any = None
    if data['box'] is not None:
        corners = items(data['box'], f'{where}.box')
        expect(len(corners) == 4, f'{where}.box', corners, 'four numbers')
        box = tuple(_pixels(each, f'{where}.box') for each in corners)
        expect(box[0] < box[2] and box[1] < box[3], f'{where}.box', box, 'x0 < x1 and y0 < y1')
    include, exclude = (
        _points(data[name], f'{where}.{name}', MOST_POINTS) for name in ('include', 'exclude')
    )
    strokes = items(data['strokes'], f'{where}.strokes')
    expect(
        len(strokes) <= MOST_STROKES, f'{where}.strokes', len(strokes), f'at most {MOST_STROKES}'
    )
    return DrawnObject(box, include, exclude, tuple(_stroke(each, where) for each in strokes))


def _stroke(value: Any, where: str) -> Stroke:
    where = f'{where}.strokes'
    data = mapping(value, where, ('add', 'radius', 'points'))
    expect(isinstance(data['add'], bool), f'{where}.add', data['add'], 'true or false')
    radius = number(data['radius'], f'{where}.radius', 0.5, 1000)
    points = _points(data['points'], f'{where}.points', STROKE_POINTS)
    expect(bool(points), f'{where}.points', points, 'at least one point')
    return Stroke(data['add'], radius, points)


def _points(value: Any, where: str, most: int) -> tuple[Point, ...]:
    points = items(value, where)
    expect(len(points) <= most, where, len(points), f'at most {most} points')
    for point in points:
        expect(isinstance(point, list) and len(point) == 2, where, point, 'points [x, y]')
    return tuple((_pixels(x, where), _pixels(y, where)) for x, y in points)


def _pixels(value: Any, where: str) -> float:
    return number(value, where, -FARTHEST, FARTHEST)


def painted(mask: Mask, strokes: tuple[Stroke, ...]) -> Mask:
    """A mask bool [H, W] with the strokes of the brush over it, in their order."""
    import cv2

    canvas = mask.astype(np.uint8)
    scale = 1 << FRACTION_BITS
    for stroke in strokes:
        value = (int(stroke.add),)
        # pixel (x, y) covers [x, x + 1): its centre is OpenCV's (x, y)
        points = np.round((np.array(stroke.points) - 0.5) * scale).astype(np.int32)  # [K, 2]
        radius = round(stroke.radius * scale)
        for x, y in points.tolist():
            cv2.circle(canvas, (x, y), radius, value, -1, shift=FRACTION_BITS)
        width = max(round(2 * stroke.radius), 1)
        cv2.polylines(canvas, [points], False, value, width, shift=FRACTION_BITS)
    return canvas > 0
