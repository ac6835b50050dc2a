"""Words on pictures: plates beside objects, bands at the top and at the bottom."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cs3_ros.collision import Image, Mask

Colour = tuple[int, int, int]
"""RGB, 0 to 255 each."""
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Pen:
    """Writes text that can be read on a picture of this size.

    Args:
        canvas: RGB uint8 [H, W, 3], written on in place.
    """

    def __init__(self, canvas: Image) -> None:
        self.canvas = canvas
        self.scale = max(0.4, max(canvas.shape[:2]) / 1200)
        self.thickness = max(1, round(1.6 * self.scale))

    def measure(self, text: str) -> tuple[int, int, int]:
        """Width, height above and height below the base line in pixels."""
        (width, above), below = cv2.getTextSize(text, _FONT, self.scale, self.thickness)
        return width, above, below

    def fit(self, text: str, width: float) -> None:
        """Write smaller from now on, where the text needs it to fit into this width in pixels."""
        needed = self.measure(text)[0]
        if needed > width:
            self.scale *= width / needed
            self.thickness = max(1, round(1.6 * self.scale))

    def write(self, text: str, x: int, base: int, colour: Colour) -> None:
        """Put the text with its left end at ``x`` on the base line, in pixels."""
        at, line = (x, base), cv2.LINE_AA
        cv2.putText(self.canvas, text, at, _FONT, self.scale, colour, self.thickness, line)


def tags(
    canvas: Image,
    names: Sequence[str],
    masks: Sequence[Mask],
    colours: Sequence[Colour],
) -> None:
    """Number and name of each object on a plate of its colour, above its mask where it fits.

    Args:
        canvas: RGB uint8 [H, W, 3], drawn on in place.
        names: of the objects, numbered from 1.
        masks: bool [H, W], one for each; an empty one gets no plate.
        colours: at least one for each.
    """
    height, width = canvas.shape[:2]
    pen = Pen(canvas)
    plates: list[tuple[int, int, int, int]] = []
    for number, (name, mask, colour) in enumerate(zip(names, masks, colours, strict=False), 1):
        rows, columns = np.flatnonzero(mask.any(1)), mask.sum(0)
        if rows.size == 0:
            continue
        middle = np.average(np.arange(mask.shape[1]), weights=columns)
        text = f'{number} {name}'
        pen.fit(text, 0.9 * width)
        wide, above, below = pen.measure(text)
        margin = below // 2
        wide, high = wide + 2 * margin, above + below + 2 * margin
        x = int(np.clip(middle - wide / 2, 0, max(width - wide, 0)))
        y = int(np.clip(rows[0] - 1.5 * high, 0, max(height - high, 0)))
        for x0, y0, x1, y1 in plates:
            if x < x1 and x0 < x + wide and y < y1 and y0 < y + high:
                y = y1 if y1 + high <= height else max(y0 - high, 0)
        plates.append((x, y, x + wide, y + high))
        canvas[y : y + high, x : x + wide] = colour
        pen.write(text, x + margin, y + margin + above, BLACK)


def caption(canvas: Image, parts: Sequence[str]) -> None:
    """The parts on a darkened band at the bottom, in as many lines as they need.

    Args:
        canvas: RGB uint8 [H, W, 3], drawn on in place.
        parts: at least one.
    """
    pen = Pen(canvas)
    width = canvas.shape[1]
    pen.fit(max(parts, key=len), 0.94 * width)
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f'{lines[-1]}  |  {part}'
        if pen.measure(longer)[0] <= 0.94 * width:
            lines[-1] = longer
        else:
            lines.append(part)
    _, above, below = pen.measure(lines[0])
    pitch = above + 2 * below
    top = max(canvas.shape[0] - pitch * len(lines) - below, 0)
    canvas[top:] = canvas[top:] // 4
    for index, text in enumerate(lines):
        base = top + below + above + index * pitch
        pen.write(text, round(0.03 * width), base, WHITE)


def heading(width: int, text: str) -> Image:
    """One line in white on dark: RGB uint8 [H, width, 3], as high as the text needs."""
    canvas = np.full((max(width, 1), width, 3), 32, np.uint8)  # as high as needed for any text
    pen = Pen(canvas)
    pen.fit(text, 0.94 * width)
    _, above, below = pen.measure(text)
    pen.write(text, round(0.03 * width), above + below, WHITE)
    return canvas[: above + 3 * below]
