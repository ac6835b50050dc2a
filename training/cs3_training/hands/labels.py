"""The detection set: pictures with boxes of hands and of what they hold, in four labels.

JSON lines ``{"picture": "a.jpg", "size": [W, H], "boxes": [["left_hand", x0, y0, x1, y1], ...],
"group": "P01_01"}``: paths are relative to the file, boxes are pixels of a picture of ``size``,
whatever size the file of the picture has. A label may stand several times. What both hands hold is
there twice, once for each hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Box
from cs3_ros.files.atomic import write_text
from cs3_ros.files.fields import expect, items, mapping, number, one_of, text, whole
from cs3_ros.files.jsonfile import load_json
from cs3_ros.files.regular import check_regular
from cs3_training.data.tables import LINE_BYTES, TOLD

LABELS = ('left_hand', 'right_hand', 'left_hand_object', 'right_hand_object')
"""What the detector of the package finds, in its order (``cs3_ros.hands.detr.LABELS``)."""
MOST_BOXES = 32
"""Of one picture."""
LEAST = 4.0
"""Smallest side of a box that is kept, pixels."""

Labelled = tuple[str, Box]
"""Label and box in pixels."""


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture with its boxes."""

    picture: Path
    """The file, which need not be there."""
    size: tuple[int, int]
    """Width and height that the boxes are pixels of."""
    boxes: tuple[Labelled, ...]
    """What is on it; may be empty."""
    group: str
    """Pictures of one group are not independent: the video or the source."""

    def targets(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Boxes [n, 4], corners in units of the picture, and labels [n], places in ``LABELS``."""
        corners = np.array([box for _, box in self.boxes], np.float32).reshape(-1, 4)
        corners = corners / np.array(self.size * 2, np.float32)
        return corners, np.array([LABELS.index(label) for label, _ in self.boxes], np.int64)


def kept(boxes: Iterable[Labelled], size: tuple[int, int]) -> tuple[Labelled, ...]:
    """Boxes clipped to the picture; specks and equal ones are left out, the largest come first.

    Args:
        boxes: any.
        size: width and height of the picture.
    """
    width, height = size
    found: dict[Labelled, None] = {}
    for label, (x0, y0, x1, y1) in boxes:
        x0, x1 = (min(max(x, 0.0), float(width)) for x in (x0, x1))
        y0, y1 = (min(max(y, 0.0), float(height)) for y in (y0, y1))
        if x1 - x0 >= LEAST and y1 - y0 >= LEAST:
            found[label, (x0, y0, x1, y1)] = None
    ranked = sorted(found, key=lambda each: -(each[1][2] - each[1][0]) * (each[1][3] - each[1][1]))
    return tuple(ranked[:MOST_BOXES])


def write_labels(path: Path, pictures: Sequence[LabelledPicture]) -> None:
    """Write a detection set.

    Raises:
        ValueError: there is not one picture.
        OSError: it cannot be written.
    """
    expect(bool(pictures), str(path), 'no pictures', 'at least one')
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                'picture': Path(os.path.relpath(each.picture, path.parent)).as_posix(),
                'size': each.size,
                'boxes': [[label, *box] for label, box in each.boxes],
                'group': each.group,
            }
        )
        for each in pictures
    ]
    write_text(path, '\n'.join([*lines, '']))


def read_labels(path: Path) -> list[LabelledPicture]:
    """Read a detection set.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: lines are bad: says how many, and line and value of the first few.
    """
    check_regular(path, 'detection set')
    pictures: list[LabelledPicture] = []
    told: list[str] = []
    bad = 0
    with path.open('rb') as file:
        for line, data in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b''), 1):
            try:
                expect(len(data) <= LINE_BYTES, 'length', len(data), f'at most {LINE_BYTES} bytes')
                pictures.append(_picture(load_json(data.decode()), path.parent))
            except ValueError as error:
                bad += 1
                if len(told) < TOLD:
                    told.append(f'line {line}, {error}')
    if bad:
        raise ValueError(f'{path}: {bad} bad line(s): {"; ".join(told)}')
    expect(bool(pictures), str(path), '', 'a JSON object on each line')
    return pictures


def _picture(value: Any, folder: Path) -> LabelledPicture:
    data = mapping(value, 'picture', ('picture', 'size', 'boxes', 'group'))
    sides = items(data['size'], 'size', 2)
    expect(len(sides) == 2, 'size', sides, 'width and height')
    width, height = (whole(side, 'size', 1, 20_000) for side in sides)
    rows = items(data['boxes'], 'boxes')
    expect(len(rows) <= MOST_BOXES, 'boxes', len(rows), f'at most {MOST_BOXES}')
    return LabelledPicture(
        folder / text(data['picture'], 'picture'),
        (width, height),
        tuple(_box(row, f'boxes[{k}]', width, height) for k, row in enumerate(rows)),
        text(data['group'], 'group', blank=True),
    )


def _box(value: Any, where: str, width: int, height: int) -> Labelled:
    row = items(value, where, 5)
    expect(len(row) == 5, where, row, 'a label, x0, y0, x1, y1')
    x0, x1 = (number(x, where, 0, width) for x in (row[1], row[3]))
    y0, y1 = (number(y, where, 0, height) for y in (row[2], row[4]))
    expect(x0 < x1 and y0 < y1, where, row, 'x0 < x1 and y0 < y1')
    return one_of(row[0], where, LABELS), (x0, y0, x1, y1)
